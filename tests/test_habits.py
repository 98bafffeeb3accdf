"""What people read and what machines run beside the code: documents, workflows, locks, benchmarks."""

import importlib.util
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import typer

from pipeline import cli
from tests import forked
from tests.forked import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(document):
    """Lines of a document's code blocks that call `matinee`, without their comments."""
    for block in re.findall(r"^```\w*\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("matinee "):
                yield re.sub(r"\s#.*", "", line)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_in_the_documents_have_the_options_that_they_use(document):
    for line in commands(document):
        command = typer.main.get_command(cli.app)
        _, *words = shlex.split(line)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known | {"--help"}, line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert (document.parent / target.strip()).exists(), target


def test_the_readme_fits_two_screens_and_shows_what_to_type():
    assert len(list(commands(ROOT / "README.md"))) >= 9
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_a_locks_packages_come_from_wherever_the_user_gets_packages():
    for path in ROOT.glob("**/requirements.lock"):
        if ".venv" not in str(path):
            assert "://" not in path.read_text(), path


def test_the_workflow_follows_its_schema():
    checker = pathlib.Path(sys.executable).with_name("check-jsonschema")
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    command = [checker, "--builtin-schema", "vendor.github-workflows", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("implicit"), reason="implicit has wheels for Python 3.10 alone")
def test_the_benchmarks_start():
    names = [*sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")), "faults.__main__"]
    assert len(names) >= 9
    done = forked.run("\n".join(f"import benchmarks.{name}" for name in names), timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_environment_is_made_again_while_it_is_activated(tmp_path):
    """The activated environment's own Python would become a link to itself."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\n[ "$1" != --version ] && echo "$@"\nexit 0\n')
    uv.chmod(0o755)
    path = f"{environment / 'bin'}:{tmp_path}:{os.environ['PATH']}"
    version = "{}.{}".format(*sys.version_info)
    answer = subprocess.run(
        [ROOT / ".ci" / "install", environment, version],
        env=os.environ | {"PATH": path, "VIRTUAL_ENV": str(environment)},
        capture_output=True,
        text=True,
        check=True,
    )
    python = pathlib.Path(re.search(r"venv .*--python (\S+)", answer.stdout)[1])
    assert not (python.parent.parent / "pyvenv.cfg").exists()
