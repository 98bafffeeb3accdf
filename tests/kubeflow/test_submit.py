"""Submission to an endpoint that speaks Kubeflow Pipelines' REST API, over loopback."""

import dataclasses
import http.server
import json
import re
import threading

import pytest
import yaml

from components.trainer.config import TrainerConfig
from pipeline import config
from schemas.configuration import from_json
from tests.kubeflow.conftest import OVERRIDES


class Api(http.server.BaseHTTPRequestHandler):
    """The part of the API that a submission uses; a run fails or succeeds after two questions."""

    def do_GET(self):
        server = self.server
        if server.instead:
            status, headers, body = server.instead
            self.answer(body, status, headers)
        elif self.path.endswith("/healthz"):
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
            self.answer({"run_id": self.server.run_id, **body})
        else:
            self.send_error(404)

    def answer(self, content, status=200, headers=()):
        self.server.asked.append((self.path, dict(self.headers)))
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "text/html; charset=utf-8" if isinstance(content, bytes) else "application/json"
        for name, value in (("Content-Type", kind), *headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.instead, server.run_id, server.asked = None, "r1", []
    server.experiments, server.runs, server.questions, server.end = [], [], 0, "SUCCEEDED"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def submit(matinee):
    """Run `matinee submit`; return exit status, and output and errors as one text."""

    def call(*arguments):
        code, out, err = matinee("submit", *arguments)
        return code, out + err

    return call


def url(server):
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def package(compile_file):
    return compile_file("/mnt/data", "/mnt/serving", pipeline_root="s3://bucket/root").path


def test_a_run_is_started_with_its_parameters_and_followed_to_its_end(endpoint, package, submit):
    code, out = submit(
        *("--endpoint", url(endpoint), "--package", package, "--run-name", "nightly"),
        *("--set", "trainer.epochs=7", "--set", "trainer.hidden_units=[8, 4]", "--set", "gate.max_rmse=0.9"),
        *("--poll-s", "0.1", "--pipeline-root", "s3://bucket/other"),
    )
    assert code == 0, out
    (run,) = endpoint.runs
    assert run["display_name"] == "nightly"
    parameters = {name: json.loads(value) for name, value in run["runtime_config"]["parameters"].items()}
    assert parameters.keys() == {"trainer_config", "gate_config"}, "steps whose sections stay the same stay cached"
    compiled = config.load(None, OVERRIDES)
    trainer = from_json(TrainerConfig, json.dumps(parameters["trainer_config"]))
    assert trainer == dataclasses.replace(compiled.trainer, epochs=7, hidden_units=(8, 4))
    assert parameters["gate_config"]["max_rmse"] == 0.9
    assert run["runtime_config"]["pipeline_root"] == "s3://bucket/other"
    assert run["pipeline_spec"] == yaml.safe_load(package.read_text())
    assert endpoint.experiments == ["matinee"]
    assert f"nightly: {url(endpoint)}/#/runs/details/r1" in out
    assert out.index("Trainer  running") < out.index("Trainer  succeeded") < out.index("nightly: succeeded")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=7", "'epochs=7' is not of the form section.option=value"),
        ("trainer.epochs", "'trainer.epochs' is not of the form"),
        ("kubeflow.retries=1", "a run has no section 'kubeflow'; expected one of data, trainer"),
        ("tuner.trials=3", "was compiled without the section 'tuner'"),
        ("trainer.epoch=7", "--set trainer: epoch = 7: Unexpected keyword argument"),
        ("trainer.epochs=0", "--set trainer: epochs = 0: Input should be greater than or equal to 1"),
        ("trainer.epochs=[", "--set: '[' is no value"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_sent(endpoint, package, submit, setting, message):
    code, out = submit("--endpoint", url(endpoint), "--package", package, "--set", setting)
    assert code == 2
    assert message in out
    assert endpoint.runs == []


def test_a_failed_run_is_a_failed_command(endpoint, package, submit):
    endpoint.end = "FAILED"
    code, out = submit("--endpoint", url(endpoint), "--package", package, "--poll-s", "0.1")
    assert code == 1
    assert "Trainer  failed" in out


def test_other_data_gets_its_own_fingerprint(endpoint, package, submit, sample):
    code, out = submit("--endpoint", url(endpoint), "--package", package, "--data", sample, "--no-follow")
    assert code == 0, out
    given = endpoint.runs[0]["runtime_config"]["parameters"]
    assert endpoint.runs[0]["runtime_config"]["pipeline_root"] == "s3://bucket/root"
    assert given["data"] == str(sample)
    assert len(given["data_fingerprint"]) == 64


PAGE = b"<!doctype html><title>Log in</title>"


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        ((200, (), PAGE), "answered a page (text/html) and not the API's JSON: a login page? Pass --token"),
        ((200, (), []), "answered a page (application/json) and not the API's JSON"),
        ((401, (), PAGE), "answered 401: it wants to know who asks. Pass --token"),
        ((403, (), {"error": "no"}), "answered 403: it wants to know who asks. Pass --token"),
        ((302, (("Location", "/dex/auth"),), b""), "answered 302 (to /dex/auth): it wants to know who asks"),
        ((404, (), PAGE), "answered 404 to /apis/v2beta1/healthz: it is not the API"),
        ((500, (), PAGE), "answered 500 to /apis/v2beta1/healthz"),
    ],
)
def test_what_is_not_the_api_is_told_at_once(endpoint, package, submit, instead, message):
    endpoint.instead = instead
    code, out = submit("--endpoint", url(endpoint), "--package", package)
    assert code == 2
    assert message in out
    assert (endpoint.runs, len(endpoint.asked)) == ([], 1), "asked once, and nothing was sent"


def test_a_token_and_cookies_are_passed_on(endpoint, package, submit):
    given = ("--token", "abc", "--cookies", "authservice_session=xyz")
    code, out = submit("--endpoint", url(endpoint), "--package", package, "--no-follow", *given)
    assert code == 0, out
    assert len(endpoint.asked) > 1
    for path, headers in endpoint.asked:
        named = {name.lower(): value for name, value in headers.items()}
        assert (named.get("authorization"), named.get("cookie")) == ("Bearer abc", "authservice_session=xyz"), path


def test_a_run_without_an_id_is_no_run(endpoint, package, submit):
    endpoint.run_id = None
    code, out = submit("--endpoint", url(endpoint), "--package", package)
    assert code == 2
    assert "named no id" in out
    assert "None" not in out


def test_a_missing_file_is_told_before_the_endpoint_is_asked(submit, tmp_path):
    code, out = submit("--endpoint", "http://127.0.0.1:9", "--package", tmp_path / "y.yaml")
    assert code == 2
    assert "compile the pipeline first" in out
    assert "127.0.0.1" not in out


def test_no_endpoint_is_one_clear_error(package, submit):
    code, out = submit("--endpoint", "http://127.0.0.1:9", "--package", package)
    assert code == 2
    assert "no Kubeflow Pipelines endpoint answers at http://127.0.0.1:9" in out
    assert "port-forward" in out


def test_a_file_that_is_no_pipeline_is_told(endpoint, tmp_path, submit):
    (tmp_path / "x.yaml").write_text("a: 1")
    code, out = submit("--endpoint", url(endpoint), "--package", tmp_path / "x.yaml")
    assert code == 2
    assert "is no compiled pipeline" in out
    code, out = submit("--endpoint", url(endpoint), "--package", tmp_path / "y.yaml")
    assert "compile the pipeline first" in out
