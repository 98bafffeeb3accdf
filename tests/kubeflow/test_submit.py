"""Submission to an endpoint that speaks Kubeflow Pipelines' REST API, over loopback."""

import http.server
import json
import re
import sys
import threading

import pytest
import yaml

from pipeline import cli


class Api(http.server.BaseHTTPRequestHandler):
    """The part of the API that a submission uses; a run fails or succeeds after two questions."""

    def do_GET(self):
        server = self.server
        if self.path.endswith("/healthz"):
            self.answer({"multi_user": False})
        elif "/experiments" in self.path:
            found = [{"experiment_id": "e1", "display_name": name} for name in server.experiments]
            self.answer({"experiments": found, "total_size": len(found)})
        elif re.search(r"/runs/r1", self.path):
            server.questions += 1
            state = "RUNNING" if server.questions < 3 else server.end
            details = [
                {"display_name": "Trainer", "state": state, "task_id": "t1", "run_id": "r1"},
            ]
            self.answer({"run_id": "r1", "state": state, "run_details": {"task_details": details}})
        else:
            self.send_error(404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "/experiments" in self.path:
            self.server.experiments.append(body["display_name"])
            self.answer({"experiment_id": "e1", **body})
        elif "/runs" in self.path:
            self.server.runs.append(body)
            self.answer({"run_id": "r1", **body})
        else:
            self.send_error(404)

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.experiments, server.runs, server.questions, server.end = [], [], 0, "SUCCEEDED"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def matinee(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["matinee", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out + captured.err

    return call


def url(server):
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def package(compile_file):
    return compile_file("/mnt/data", "/mnt/serving", pipeline_root="s3://bucket/root").path


def test_a_run_is_started_with_its_parameters_and_followed_to_its_end(endpoint, package, matinee):
    code, out = matinee(
        *("submit", "--endpoint", url(endpoint), "--package", package, "--run-name", "nightly", "--epochs", "7"),
        *("--poll-s", "0.1", "--pipeline-root", "s3://bucket/other"),
    )
    assert code == 0, out
    (run,) = endpoint.runs
    assert run["display_name"] == "nightly"
    assert run["runtime_config"]["parameters"] == {"epochs": 7}
    assert run["runtime_config"]["pipeline_root"] == "s3://bucket/other"
    assert run["pipeline_spec"] == yaml.safe_load(package.read_text())
    assert endpoint.experiments == ["matinee"]
    assert f"nightly: {url(endpoint)}/#/runs/details/r1" in out
    assert out.index("Trainer  running") < out.index("Trainer  succeeded") < out.index("nightly: succeeded")


def test_a_failed_run_is_a_failed_command(endpoint, package, matinee):
    endpoint.end = "FAILED"
    code, out = matinee("submit", "--endpoint", url(endpoint), "--package", package, "--poll-s", "0.1")
    assert code == 1
    assert "Trainer  failed" in out


def test_other_data_gets_its_own_fingerprint(endpoint, package, matinee, sample):
    code, out = matinee("submit", "--endpoint", url(endpoint), "--package", package, "--data", sample, "--no-follow")
    assert code == 0, out
    given = endpoint.runs[0]["runtime_config"]["parameters"]
    assert endpoint.runs[0]["runtime_config"]["pipeline_root"] == "s3://bucket/root"
    assert given["data"] == str(sample)
    assert len(given["data_fingerprint"]) == 64


def test_no_endpoint_is_one_clear_error(package, matinee):
    code, out = matinee("submit", "--endpoint", "http://127.0.0.1:9", "--package", package)
    assert code == 2
    assert "no Kubeflow Pipelines endpoint answers at http://127.0.0.1:9" in out


def test_a_file_that_is_no_pipeline_is_told(endpoint, tmp_path, matinee):
    (tmp_path / "x.yaml").write_text("a: 1")
    code, out = matinee("submit", "--endpoint", url(endpoint), "--package", tmp_path / "x.yaml")
    assert code == 2
    assert "is no compiled pipeline" in out
    code, out = matinee("submit", "--endpoint", url(endpoint), "--package", tmp_path / "y.yaml")
    assert "compile the pipeline first" in out
