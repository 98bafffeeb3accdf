"""What the shell can ask of a served version."""

import json
import os
import subprocess
import sys

import jsonschema
import pytest
from pydantic import TypeAdapter

from pipeline import queries
from schemas.evaluation import Evaluation, ModelQuality
from serving import Recommender
from serving.answers import Movie, Recommendation, SimilarMovie
from serving.store import ServingStore


@pytest.fixture(scope="module")
def recommender(published):
    return Recommender.load(str(published))


@pytest.fixture
def ask(matinee, published):
    def call(*arguments):
        code, out, err = matinee(*arguments, "--serving-dir", published)
        assert code == 0, err
        return out

    return call


def test_json_is_what_python_answers(ask, recommender, published):
    def read(kind, *arguments):
        return TypeAdapter(kind).validate_json(ask(*arguments, "--json"))

    assert read(list[Recommendation], "recommend", "--user", 1, "-n", 3) == recommender.recommend(1, n=3)
    rated = recommender.recommend(ratings=[(1, 5.0), (2, 3.5)])
    assert read(list[Recommendation], "recommend", "--rate", "1:5,2:3.5") == rated
    assert read(list[SimilarMovie], "similar", 7, "-n", 4) == recommender.similar_movies(7, 4)
    assert read(list[Movie], "search", "the", "-n", 5) == recommender.find_movies("the", 5)
    assert read(list[int], "users", "-n", 3) == recommender.user_ids[:3].tolist()
    assert read(list[int], "versions") == ServingStore(str(published)).versions()


EVALUATION = Evaluation(
    model=ModelQuality(rmse=0.9, mae=0.7, ratings=9, recall=0.1, ndcg=0.2, users=3, coverage=0.4, famous=0.5),
    baselines={},
    slices={},
    served_version=None,
    comparison=None,
    blessed=False,
    reason="refused: too bad",
)
SHAPES = {
    ("recommend", "--user", 1): list[Recommendation],
    ("recommend", "--rate", "1:5"): list[Recommendation],
    ("similar", 7): list[SimilarMovie],
    ("search", "the"): list[Movie],
    ("users",): list[int],
    ("versions",): list[int],
}


@pytest.mark.parametrize("command", SHAPES)
def test_json_has_the_schema_of_the_answers(ask, command):
    schema = TypeAdapter(SHAPES[command]).json_schema(mode="serialization")
    answer = json.loads(ask(*command, "--json"))
    assert answer
    jsonschema.validate(answer, schema)


def test_the_evaluation_as_a_table_and_as_json(matinee, tmp_path):
    directory = tmp_path / "artifacts" / "EvaluationGate" / "evaluation" / "7"
    directory.mkdir(parents=True)
    (directory / "evaluation.json").write_text(EVALUATION.to_json())
    code, out, _ = matinee("evaluate", "--output", tmp_path)
    assert code == 0
    assert "0.9000" in out
    assert "refused: too bad" in out
    code, out, _ = matinee("evaluate", "--output", tmp_path, "--json")
    jsonschema.validate(json.loads(out), Evaluation.model_json_schema(mode="serialization"))
    assert Evaluation.from_json(out) == EVALUATION


def test_what_is_no_terminal_gets_no_lines_and_its_own_width(published):
    def run(**environment):
        command = [sys.executable, "-c", "from pipeline.cli import main; main()", "similar", "7", "-n", "3"]
        done = subprocess.run(
            [*command, "--serving-dir", published],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    wide, narrow = run(PYTHONIOENCODING="utf-8").decode(), run(COLUMNS="50", PYTHONIOENCODING="utf-8").decode()
    assert not any(0x2500 <= ord(sign) < 0x2580 for sign in wide)
    assert max(map(len, narrow.splitlines())) <= 50 < max(map(len, wide.splitlines()))
    run(PYTHONIOENCODING="ascii").decode("ascii")


def test_tables_hold_the_titles_and_the_reasons(ask, recommender):
    (first, *_) = recommender.recommend(1)
    table = ask("recommend", "--user", 1)
    assert str(first.movie_id) in table
    assert "because of" in table
    assert "similarity" in ask("similar", 7)
    assert recommender.find_movies("", 1)[0].title in ask("search")
    assert ask("users", "-n", 2).split() == [str(user) for user in recommender.user_ids[:2]]


def test_movies_may_be_named_by_their_titles(ask, matinee, published, recommender):
    first, second = (recommender.movie(movie) for movie in (5, 9))
    by_title = ask("recommend", "--rate", f"{first.title}:5,{second.title}:2", "--json")
    assert json.loads(by_title) == json.loads(ask("recommend", "--rate", "5:5,9:2", "--json"))
    assert ask("similar", first.title, "--json") == ask("similar", 5, "--json")
    word = recommender.find_movies("", 1)[0].title.split()[0]
    code, _, err = matinee("similar", word, "--serving-dir", published)
    assert code == 2
    assert f"{word!r} may be " in err
    assert ": pass the id, or the title with its year" in err


def test_where_there_is_a_terminal_it_is_asked(monkeypatch, recommender):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(queries.typer, "prompt", lambda *_, **__: 2)
    word = recommender.find_movies("", 1)[0].title.split()[0]
    assert queries._movie(recommender, word) == recommender.find_movies(word, 5)[1].movie_id


def test_unknown_movies_are_ignored_and_named_unless_there_are_no_others(matinee, published):
    code, _, err = matinee("recommend", "--rate", "1:5,no such film:2,99999:1", "--serving-dir", published)
    assert code == 0
    assert "ignored, unknown movies: no such film, 99999" in err
    code, _, err = matinee("recommend", "--rate", "no such film:2", "--serving-dir", published)
    assert code == 2
    assert "no movie has the id or the title 'no such film'; search for it first" in err


def test_titles_in_ratings_may_have_commas_and_colons():
    pairs = queries.parse_ratings("Monsters, Inc.:5, Star Wars: Episode IV:4.5,1:2")
    assert pairs == [("Monsters, Inc.", 5.0), ("Star Wars: Episode IV", 4.5), ("1", 2.0)]


def test_what_needs_no_user_tower_imports_no_tensorflow(published):
    code = (
        "import sys\nfrom pipeline.cli import main\ntry:\n    main()\nfinally:\n    print('tensorflow' in sys.modules)"
    )
    for arguments in (["similar", "7"], ["search", "a"], ["users"], ["versions"]):
        command = [sys.executable, "-c", code, *arguments, "--serving-dir", str(published)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout.rstrip().endswith("False"), done.stderr


def test_bare_the_help_is_printed_and_nothing_else(matinee):
    code, out, err = matinee()
    assert code == 2
    assert "Commands" in out + err
    assert "error" not in out + err
    assert matinee("search", "-h")[0] == 0
