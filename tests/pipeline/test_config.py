import pytest

from pipeline import config


def test_yaml_round_trips(tmp_path):
    original = config.load(None, {"epochs": 3, "hidden_units": [64, 32], "max_rmse": 0.9, "beam_args": ["--a=b"]})
    path = tmp_path / "run.yaml"
    path.write_text(config.to_yaml(original))
    assert config.load(str(path), {}) == original
    assert original.trainer.hidden_units == (64, 32)


def test_options_override_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("trainer:\n  epochs: 3\n  dropout: 0.5\n")
    merged = config.load(str(path), {"epochs": 5, "seed": None})
    assert (merged.trainer.epochs, merged.trainer.dropout, merged.trainer.seed) == (5, 0.5, 0)


def test_a_fields_name_belongs_to_one_section():
    names = [name for cls in config.sections().values() for name in cls.__pydantic_fields__]
    assert len(names) == len(set(names))


def test_every_field_is_described():
    for section, cls in config.sections().items():
        for name, field in cls.__pydantic_fields__.items():
            assert field.description, f"{section}.{name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer:\n  epochs: 0\n", r"trainer.epochs = 0: Input should be greater than or equal to 1"),
        ("trainer:\n  epoch: 3\n", r"trainer.epoch = 3: Unexpected keyword argument"),
        ("tranier:\n  epochs: 3\n", r"tranier: Unexpected keyword argument"),
        ("data:\n  on_bad_rows: ignore\n", r"data.on_bad_rows = 'ignore': Input should be 'fail' or 'drop'"),
        (
            "just text",
            "holds no sections; expected data, beam, trainer, tuner, warm_start, gate, pusher, bulk, kubeflow",
        ),
        ("a: [", "cannot read the configuration"),
    ],
)
def test_a_bad_file_is_named_with_the_field(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        config.load(str(path), {})
    assert "run.yaml" in str(error.value)


def test_a_missing_file():
    with pytest.raises(ValueError, match=r"cannot read the configuration nowhere\.yaml"):
        config.load("nowhere.yaml", {})
