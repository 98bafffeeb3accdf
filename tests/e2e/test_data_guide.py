"""Every command of docs/data.md, in its order, as somebody would type them."""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

import httpx
import pytest
import yaml

from schemas.configuration import build
from schemas.data_spec import DataSpec, built_in
from tests.workspace import FAST, ROOT, free_ports

pytestmark = pytest.mark.e2e

GUIDE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("matinee ")]
MATINEE = [sys.executable, "-c", "from pipeline.cli import main; main()"]


def call(command, directory):
    arguments = shlex.split(command)[1:]
    quicker = FAST if arguments[0] == "run" else ()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [*MATINEE, *arguments, *quicker], cwd=directory, capture_output=True, text=True, timeout=300, env=environment
    )


def test_every_command_does_what_the_guide_says(tmp_path):
    assert len(COMMANDS) == 8
    *before, serve = COMMANDS
    outputs = {}
    for command in before:
        done = call(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        outputs[command] = done.stdout
    shown = next(block for block in BLOCKS if block.startswith("Specification"))
    for line in shown.splitlines():
        assert line == "..." or line in outputs["matinee data inspect theirs"].splitlines()
    assert "Recommendations for user user-17" in outputs["matinee recommend --user user-17"]
    (port,) = free_ports()
    process = subprocess.Popen(
        [*MATINEE, *shlex.split(serve)[1:], "--port", str(port)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        assert httpx.get(f"http://127.0.0.1:{port}/v1/model").json()["scale"]["max"] == 10
    finally:
        process.terminate()
        process.wait()


def test_the_guides_specification_is_one():
    (text,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    spec = build(DataSpec, yaml.safe_load(text), "the guide")
    values = yaml.safe_load(text)
    for section, part in (("ratings", spec.ratings), ("items", spec.items), ("categories", spec.categories)):
        unsaid = (
            set(vars(part)) - set(values[section]) - {"format", *(vars(spec.ratings) if section == "items" else ())}
        )
        assert unsaid == set(), "every field is explained"
    assert all(f"`{name}`" in GUIDE for name in built_in())
    assert pathlib.Path(ROOT / "schemas" / "specs").is_dir()
