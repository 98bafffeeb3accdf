"""The Dockerfiles: hadolint's rules, and their install commands run in a clean environment.

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

from tests.workspace import ROOT

FILES = {"pipeline": ROOT / "Dockerfile", "service": ROOT / "serving/deploy/Dockerfile"}
ENVIRONMENT = "/opt/matinee"
CHECKS = {
    "pipeline": "import tfx, tensorflow_io, pipeline.kubeflow.step, components.trainer.executor",
    "service": "import sys, serving.app, serving.server, pipeline.cli; assert 'tensorflow' not in sys.modules",
}


@pytest.mark.parametrize("name", FILES)
def test_hadolint_finds_nothing(name):
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, FILES[name]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", FILES)
def test_the_last_stage_is_not_root_and_builds_nothing(name):
    last = re.split(r"^FROM ", FILES[name].read_text(), flags=re.MULTILINE)[-1]
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert not re.search(r"apt-get|pip|g\+\+", last)


def instructions(text):
    """Instructions of the build stage, (word, rest)."""
    stage = re.search(r"^FROM \S+ AS build$(.*?)^FROM ", text, re.MULTILINE | re.DOTALL).group(1)
    lines = [line for line in stage.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


@pytest.mark.e2e
@pytest.mark.skipif(sys.version_info[:2] != (3, 10), reason="the images have Python 3.10")
@pytest.mark.parametrize("name", FILES)
def test_the_install_commands_run_in_a_clean_environment(name, tmp_path):
    source, base, target = tmp_path / "src", tmp_path / "base", tmp_path / "matinee"
    source.mkdir()
    subprocess.run([sys.executable, "-m", "venv", base], check=True)
    # The package index's settings may be in the machine's environment; nothing else of it is used.
    kept = {key: value for key, value in os.environ.items() if re.match(r"(UV|PIP|SSL|REQUESTS)_|HOME$", key)}
    environment = {**kept, "PATH": f"{base}/bin:/usr/bin:/bin"}
    for word, rest in instructions(FILES[name].read_text()):
        if word == "COPY":
            what, where = rest.split()[:-1], rest.split()[-1]
            for path in what:
                if (ROOT / path).is_dir():
                    shutil.copytree(ROOT / path, source / where, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / path, source)
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
