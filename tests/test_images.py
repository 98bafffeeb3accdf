"""The Dockerfile: hadolint's rules, and its install commands run in a clean environment.

There need be no container engine: of each RUN, what installs Python packages is run as it stands, with the files that
were copied before it and nothing else; what asks Debian for packages is left out.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.forked import ROOT

FILE = ROOT / "Dockerfile"
ENVIRONMENT = "/opt/matinee"
CHECKS = {
    "pipeline": "import tfx, tensorflow_io, pipeline.kubeflow.step, components.trainer.executor",
    "service": "import sys, matinee, serving.app, serving.server, pipeline.cli; assert 'tensorflow' not in sys.modules",
}


def stages():
    """Name of each stage -> what it starts from, and its instructions: (word, rest)."""
    found = {}
    for text in re.split(r"^FROM ", FILE.read_text(), flags=re.MULTILINE)[1:]:
        first, *lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        base, name = first.split(" AS ")
        found[name] = base, [tuple(line.split(" ", 1)) for line in lines]
    return found


def test_hadolint_finds_nothing():
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, FILE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", CHECKS)
def test_the_image_is_not_root_and_builds_nothing(name):
    base, instructions = stages()[name]
    assert base == "${PYTHON_IMAGE}"
    assert ("USER", "65532:65532") in instructions
    assert not [rest for _, rest in instructions if re.search(r"apt-get|\bpip\b|g\+\+", rest)]


def test_the_default_image_is_the_pipelines():
    assert list(stages())[-1] == "pipeline"


def copy(rest, source):
    """Do what COPY does, below `source`, where the image has /src."""
    if rest.startswith("--from=source"):
        for word, other in stages()["source"][1]:
            assert word == "COPY"
            copy(other, source)
        return
    *paths, target = rest.split()
    place = source / target.removeprefix("/src").lstrip("/")
    for path in paths:
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, place)


@pytest.mark.images
@pytest.mark.skipif(sys.version_info[:2] != (3, 10), reason="the images have Python 3.10")
@pytest.mark.parametrize("name", CHECKS)
def test_the_install_commands_run_in_a_clean_environment(name, tmp_path):
    source, base, target = tmp_path / "src", tmp_path / "base", tmp_path / "matinee"
    source.mkdir()
    subprocess.run([sys.executable, "-m", "venv", base], check=True)
    # The package index's settings may be in the machine's environment; nothing else of it is used.
    kept = {key: value for key, value in os.environ.items() if re.match(r"(UV|PIP|SSL|REQUESTS)_|HOME$", key)}
    environment = {**kept, "PATH": f"{base}/bin:/usr/bin:/bin"}
    for word, rest in stages()["build"][1] + stages()[f"build-{name}"][1]:
        if word == "COPY":
            copy(rest, source)
        elif word == "ENV":
            environment |= dict(pair.split("=") for pair in rest.replace(ENVIRONMENT, str(target)).split())
        elif word == "RUN" and "apt-get" not in rest:
            command = rest.replace(ENVIRONMENT, str(target)).replace("--no-cache ", "")
            done = subprocess.run(
                command, shell=True, cwd=source, env=environment, capture_output=True, text=True, timeout=900
            )
            assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    clean = {"PATH": f"{target}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(["python", "-c", CHECKS[name]], cwd=tmp_path, env=clean, check=True, timeout=300)
    shown = subprocess.run(["matinee", "--help"], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300)
    assert "recommend" in shown.stdout
