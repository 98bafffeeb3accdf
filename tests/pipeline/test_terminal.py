import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from components import progress
from pipeline.terminal import RunView, Stage, elapsed
from serving.console import terminal_console
from tests.forked import ROOT


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [
        (500, None, "(50/s)"),
        (500, 2000, "(25%, 50/s, 0:00:30 left)"),
        (500_000, 50_000_000, "(1%, 50,000/s, 0:16:30 left)"),
        (2100, 2000, "(100%, 210/s, 0:00:00 left)"),
        (0, 2000, "(0/s)"),
    ],
)
def test_a_stage_says_how_fast_it_is_and_how_long_the_rest_takes(done, total, expected):
    assert Stage(100.0, done, total).progress(110.0) == expected


def test_what_a_component_says_is_text():
    output = io.StringIO()
    with RunView(terminal_console(output)) as view:
        view.start("Pusher")
        progress.advance("read", 1, "rows", note="[/where] [rec] :pizza:")
        view.end("done", "pushed to out/run[1] [/b] :smile:")
    assert "pushed to out/run[1] [/b] :smile:" in output.getvalue()


def test_a_stage_begins_when_the_one_before_was_last_heard_of(monkeypatch):
    now = iter([0.0, 10.0, 14.0, 14.0])
    monkeypatch.setattr("pipeline.terminal.time.perf_counter", lambda: next(now))
    output = io.StringIO()
    with RunView(Console(file=output, width=120)) as view:
        view.start("PolarsExampleGen")
        progress.advance("read", 1000, "rows", 1000)
        progress.advance("write", 200, "rows", 1000)
        assert view._live() == "PolarsExampleGen  write 200 rows (20%, 50/s, 0:00:16 left)  "
        view.end("done")
    assert "read 1,000 rows, write 200 rows" in output.getvalue()


REDIRECTED = """
import pathlib, sys
from pipeline.terminal import redirected_to
with redirected_to(pathlib.Path(sys.argv[1])) as console:
    console.print("The \\u00c5ngstr\\u00f6m (1915)")
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, b"The ?ngstr?m (1915)"), ({"PYTHONIOENCODING": "utf-8"}, "The Ångström (1915)".encode())],
)
def test_a_locale_that_knows_ascii_alone_loses_letters_and_nothing_else(tmp_path, variables, expected):
    environment = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PATH": os.environ["PATH"],
        **variables,
    }
    log = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", REDIRECTED, log], cwd=ROOT, env=environment, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


@pytest.mark.parametrize(
    ("seconds", "worded"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (94, "1 min 34 s"), (7_530, "2 h 5 min")]
)
def test_times_in_words(seconds, worded):
    assert elapsed(seconds) == worded
