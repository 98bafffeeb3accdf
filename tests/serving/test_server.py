"""`matinee serve` as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx

from tests.workspace import ROOT

COMMAND = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve"]


def test_the_process_serves_logs_json_and_stops_when_told(published):
    process = subprocess.Popen(
        [*COMMAND, "--serving-dir", str(published), "--port", "0"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        lines, url = [], None
        for line in process.stderr:
            lines.append(json.loads(line) if line.startswith("{") else {"event": line})
            if "running on" in lines[-1]["event"]:
                url = lines[-1]["event"].split()[3]
                break
        assert url, lines
        assert httpx.get(f"{url}/readyz", timeout=20).status_code == 200
        assert httpx.get(f"{url}/v1/users/1/recommendations", timeout=20).status_code == 200
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)
        assert time.monotonic() - begin < 10
    finally:
        process.kill()
        process.communicate()
    assert any(line["event"] == "version in use" for line in lines)
    requests = [json.loads(line) for line in rest.splitlines() if '"request"' in line]
    assert {line["route"] for line in requests} == {"/readyz", "/v1/users/{user_id}/recommendations"}
    assert all(line["status"] == 200 and line["ms"] > 0 and line["request_id"] for line in requests)
    assert "Traceback" not in rest


def test_a_busy_port_is_noticed_before_anything_is_loaded(published):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*COMMAND, "--serving-dir", str(published), "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"cannot serve on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "version in use" not in done.stderr


def test_people_get_lines_and_a_wrong_folder_is_named(tmp_path):
    """On a terminal; nothing is published where it looks."""
    leader, follower = os.openpty()
    command = [*COMMAND, "--serving-dir", str(tmp_path / "none"), "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=follower, env={**os.environ, "NO_COLOR": "1"})
    os.close(follower)
    said = ""
    try:
        while "running on" not in said:
            said += os.read(leader, 1 << 16).decode()
    finally:
        process.terminate()
        process.wait(timeout=30)
        os.close(leader)
    assert "nothing to serve yet" in said
    assert f"no model is published under {tmp_path / 'none'}" in said
    assert '{"' not in said


def test_wrong_settings_are_one_clear_line(published):
    for options, message in (
        (["--tf-serving", "localhost"], "expected http://host:8501 or grpc://host:8500"),
        (["--port", "70000"], "port = 70000"),
        (["--api-key-file", "/nowhere"], "cannot read the API key"),
    ):
        done = subprocess.run(
            [*COMMAND, "--serving-dir", str(published), *options], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def threads_of_products(**given):
    """Return how many threads BLAS takes before a server runs and while it does."""
    code = """
import numpy, threadpoolctl, uvicorn
from serving.config import ServiceConfig
from serving.process import run_server

def run(server, sockets=None):
    server.started = True
    print(*(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"))

run(uvicorn.Server)
uvicorn.Server.run = run
run_server(None, ServiceConfig())
"""
    env = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")} | given
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.splitlines()
    return before.split(), after.split()


def test_a_product_of_matrices_takes_one_thread_unless_it_is_told_otherwise():
    _, after = threads_of_products()
    assert after
    assert set(after) == {"1"}
    before, after = threads_of_products(OPENBLAS_NUM_THREADS="2")
    assert after == before
