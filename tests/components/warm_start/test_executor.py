"""Which model training goes on from, and when it does not."""

import dataclasses
import pathlib
import shutil
import time

import pytest

from components.trainer.config import TrainerConfig
from components.trainer.state import TrainingState
from components.warm_start import executor
from components.warm_start.config import WarmStartConfig
from schemas import artifacts, keys
from schemas.configuration import CONFIG, to_json
from schemas.data_spec import movielens
from serving.store import ServingStore

DAY_S = 86_400
STATE = TrainingState(TrainerConfig(), movielens(), (1, 2), 1_600_000_000, int(time.time()) - 3 * DAY_S)


def decide(serving, root, trainer=TrainerConfig(), **config):  # noqa: B008  Frozen.
    """Run the executor; return the base model."""
    base = artifacts.BaseModel()
    base.uri = str(root / "base")
    executor.Executor().Do(
        {},
        {keys.BASE_MODEL: [base]},
        {
            keys.SERVING_DIR: str(serving),
            keys.TRAINER_CONFIG: to_json(trainer),
            CONFIG: to_json(WarmStartConfig(warm_start=True, **config)),
        },
    )
    return base


def test_where_nothing_is_served_training_starts_anew(tmp_path):
    base = decide(tmp_path / "nothing", tmp_path)
    assert base.get_int_custom_property(keys.VERSION) == 0
    assert base.get_string_custom_property(keys.REASON) == "from the start: nothing is served yet"


def test_a_version_without_a_state_is_not_gone_on_from(published, tmp_path):
    base = decide(published, tmp_path)
    assert base.get_int_custom_property(keys.VERSION) == 0
    assert "no training state" in base.get_string_custom_property(keys.REASON)


@pytest.mark.parametrize(
    ("state", "trainer", "config", "reason"),
    [
        (STATE, TrainerConfig(), {}, "goes on from version {}"),
        (STATE, TrainerConfig(learning_rate=0.01), {}, "goes on from version {}"),
        (STATE, TrainerConfig(), {"max_age_days": 2}, "the last training from the start is 3 days old"),
        (STATE, TrainerConfig(id_dim=16), {}, "id_dim was 32 and is 16"),
        (dataclasses.replace(STATE, due="movie_year has drifted"), TrainerConfig(), {}, "movie_year has drifted"),
        (
            dataclasses.replace(STATE, domain=dataclasses.replace(movielens(), timed=False)),
            TrainerConfig(),
            {},
            "the ratings have no times",
        ),
        (None, TrainerConfig(), {}, "no training state that this code reads"),
    ],
)
def test_what_is_decided(monkeypatch, published, tmp_path, state, trainer, config, reason):
    """The published towers are untrained, and a state is put beside them after their digests were verified."""
    version = ServingStore(str(published)).latest()
    read = executor.state.read

    def with_state(directory):
        assert (pathlib.Path(directory) / "saved_model.pb").exists()
        folder = pathlib.Path(directory) / "assets.extra"
        folder.mkdir()
        (folder / "training.json").write_text(to_json(state) if state else '{"of": "another version"}')
        return read(directory)

    monkeypatch.setattr(executor.state, "read", with_state)
    base = decide(published, tmp_path, trainer, **config)
    said = base.get_string_custom_property(keys.REASON)
    assert reason.format(version) in said
    goes_on = said.startswith("goes on")
    assert base.get_int_custom_property(keys.VERSION) == (version if goes_on else 0)
    if goes_on:
        assert base.get_int_custom_property(keys.LATEST_S) == STATE.latest_s


def test_a_damaged_version_counts_as_not_served(published, tmp_path):
    copy = tmp_path / "serving"
    shutil.copytree(published, copy)
    for file in copy.glob("embedding_index/*/embeddings.npy"):
        file.chmod(0o644)
        file.write_bytes(b"damaged")
    base = decide(copy, tmp_path)
    assert base.get_string_custom_property(keys.REASON) == "from the start: nothing is served yet"
