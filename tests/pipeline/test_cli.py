import importlib.metadata

import pytest

from pipeline import config, queries
from tests import forked


def test_help_explains_every_option_with_its_default(matinee):
    code, out, _ = matinee("compile", "--help")
    assert code == 0
    for cls in config.sections().values():
        for name in cls.__pydantic_fields__.keys() - {"resources"}:  # A table; docs/kubeflow.md has it.
            assert f"--{name.replace('_', '-')}" in out
    assert "[default: (1024)]" in out


def test_print_config_is_a_config_file(matinee, tmp_path):
    code, out, _ = matinee("run", "--print-config", "--epochs", 3, "--hidden-units", "64,32")
    assert code == 0
    path = tmp_path / "run.yaml"
    path.write_text(out)
    assert config.load(str(path), {}) == config.load(None, {"epochs": 3, "hidden_units": [64, 32]})


def test_sample_says_what_it_wrote(matinee, tmp_path):
    code, out, _ = matinee("data", "sample", "--output", tmp_path, "--users", 100, "--ratings", 3000, "--movies", 200)
    assert code == 0
    assert "ratings of 200 movies by 100 users" in out
    assert (tmp_path / "ratings.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--epochs", "0"], "the options: trainer.epochs = 0"),
        (["run", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["run", "--nonsense"], "No such option: --nonsense"),
        (["recommend"], "pass either --user ID or --rate"),
        (["recommend", "--rate", "1=5"], "--rate: '1=5' is not of the form movie:rating"),
        (["recommend", "--user", "1", "--serving-dir", "nowhere"], "no model is published under nowhere"),
        (["data", "download", "ml-1b"], "no archive 'ml-1b'"),
    ],
)
def test_wrong_calls_give_one_line_and_exit_2(matinee, arguments, message):
    code, _, err = matinee(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_ratings_are_parsed():
    assert queries.parse_ratings("1:5, 260:4.5,") == [("1", 5.0), ("260", 4.5)]
    assert queries.parse_ratings("") == []


WITHOUT_KFP = """
import sys
for name in [name for name in sys.modules if name.startswith(("kfp", "tfx.orchestration.kubeflow"))]:
    del sys.modules[name]
sys.modules["kfp"] = None
from pipeline.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("compile", "--image", "x@sha256:" + "0" * 64), ("submit", "--endpoint", "http://x")]
)
def test_without_kfp_compile_and_submit_say_what_to_do(command):
    done = forked.run(WITHOUT_KFP, *command, timeout=60)
    assert done.returncode == 2
    assert "needs the kfp package" in done.stdout
    assert "make install PYTHON=3.10" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_report_is_that_of_the_latest_evaluation(matinee, tmp_path):
    for execution in (9, 10):
        directory = tmp_path / "artifacts" / "EvaluationGate" / "evaluation" / str(execution)
        directory.mkdir(parents=True)
        (directory / "report.html").write_text(f"report {execution}")
    target = tmp_path / "mine.html"
    code, out, _ = matinee("report", "--output", tmp_path, "--to", target)
    assert (code, out.strip()) == (0, str(target))
    assert target.read_text() == "report 10"
    code, _, err = matinee("report", "--output", tmp_path / "elsewhere")
    assert code == 2
    assert "run the pipeline first" in " ".join(err.split())


def test_the_version_is_the_packages(matinee):
    assert matinee("--version") == (0, f"matinee {importlib.metadata.version('matinee')}\n", "")


def test_add_takes_its_defaults_from_the_configurations(matinee):
    code, out, _ = matinee("index", "add", "--help")
    text = " ".join(out.split())
    assert code == 0
    for option in ("--keep-versions", "--on-bad-rows", "--max-bad-rows"):
        assert option in text
    assert "--epochs" not in text
    assert "[default: (3)]" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "--rate", "[/b]"], "error --rate: '[/b]' is not of the form"),
        (["recommend", "--user", "1", "--serving-dir", "no[/where]"], "no model is published under no[/where]"),
        (["recommend", "--user", "1", "--serving-dir", "a:pizza:"], "no model is published under a:pizza:"),
        (
            ["run", "--output", "out/run[1]"],
            "out/run[1] for a pattern of files and finds none; choose another --output",
        ),
        (["run", "--config", "[red]x[/red].yaml"], "cannot read the configuration [red]x[/red].yaml"),
    ],
)
def test_messages_are_text(matinee, arguments, message):
    code, _, err = matinee(*arguments)
    assert code == 2
    assert message in err


def test_files_that_are_in_the_way_are_one_line(matinee, tmp_path, published):
    (tmp_path / "file").write_text("")
    for arguments in (
        ("run", "--data", tmp_path, "--output", tmp_path / "file"),
        ("data", "sample", "--output", tmp_path / "file", "--users", 50, "--ratings", 1000, "--movies", 100),
        ("index", "add", "--movies", tmp_path, "--serving-dir", published),
    ):
        code, _, err = matinee(*arguments)
        assert code == 2, arguments
        assert_one_line(err, tmp_path)


def test_a_compiled_file_without_a_directory_is_one_line(matinee, tmp_path):
    pytest.importorskip("kfp")
    code, _, err = matinee("compile", "--image", "x@sha256:" + "0" * 64, "--output", tmp_path / "nowhere" / "x.yaml")
    assert code == 2
    assert_one_line(err, tmp_path)


def assert_one_line(err, path):
    assert str(path) in err
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("error "), err


def test_a_report_goes_to_a_directory_that_is_not_there_yet(matinee, tmp_path):
    directory = tmp_path / "artifacts" / "EvaluationGate" / "evaluation" / "3"
    directory.mkdir(parents=True)
    (directory / "report.html").write_text("report")
    code, _, err = matinee("report", "--output", tmp_path, "--to", tmp_path / "new" / "mine.html")
    assert (code, err) == (0, "")
    assert (tmp_path / "new" / "mine.html").read_text() == "report"
