"""The service seen from outside: traces, drift, the dashboard and the alerts."""

import contextlib
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from components.evaluation_gate.report.live import read_live
from tests.workspace import ROOT, free_ports

MONITORING = pathlib.Path(ROOT) / "serving" / "deploy" / "monitoring"
NAME = re.compile(r"\bmatinee_[a-z_]+")


@pytest.fixture(scope="module")
def exported(service):
    """Every name that the service's metrics have."""
    service.get("/v1/users/1/recommendations")
    service.get("/v1/users/0/recommendations")
    families = [*text_string_to_metric_families(service.get("/metrics").text)]
    # Of a counter with labels there is no sample before the first event.
    counters = {f"{family.name}_total" for family in families if family.type == "counter"}
    return {sample.name for family in families for sample in family.samples} | counters


def expressions():
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [rule["expr"] for rule in rules] + [each["expr"] for panel in panels for each in panel["targets"]]


def test_dashboard_and_alerts_name_metrics_that_there_are(exported):
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(named) > 10
    assert named <= exported
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian's package prometheus)")
def test_prometheus_takes_the_rules_and_the_dashboards_queries(tmp_path):
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for place, expression in enumerate(expressions()):
        query = expression.replace("$__rate_interval", "5m")
        rules["groups"][0]["rules"].append({"record": f"matinee:{place}", "expr": query})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian's package prometheus)")
def test_the_alert_of_drift_comes_where_most_who_ask_are_far_off(tmp_path):
    buckets = [
        {"series": f'matinee_feature_z_bucket{{feature="{name}", le="{bound}"}}', "values": f"0+{more}x300"}
        for name, counts in {"user_activity": (0, 2, 9, 10), "user_average_rating": (2, 9, 10, 10)}.items()
        for bound, more in zip(("-1.0", "1.0", "2.0", "+Inf"), counts, strict=True)
    ]
    median = "Their median is 1.429 standard deviations off the mean. A training from the start is due."
    summary = "Users who ask differ from those the model has learned from: user_activity"
    alert = {
        "exp_labels": {"feature": "user_activity", "severity": "warn"},
        "exp_annotations": {"summary": summary, "description": median},
    }
    asked = [
        {"alertname": "MatineeFeatureDrift", "eval_time": when, "exp_alerts": expected}
        for when, expected in (("1h", []), ("20h", [alert]))
    ]
    test = {
        "rule_files": [str(MONITORING / "alerts.yml")],
        "evaluation_interval": "5m",
        "tests": [{"interval": "5m", "input_series": buckets, "alert_rule_test": asked}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_features_of_who_asks_are_counted(service, recommender_features):
    before = recommender_features()
    service.get("/v1/recommendations")
    answer = service.post("/v1/recommendations", {"ratings": [{"movie_id": 1, "rating": 5}]})
    assert answer.status_code in (200, 404)
    movie = service.get("/v1/movies", params={"n": 1}).json()["movies"][0]["movie_id"]
    service.post("/v1/recommendations", {"ratings": [{"movie_id": movie, "rating": 5}]})
    after = recommender_features()
    assert {"user_activity", "user_average_rating"} <= set(after)
    assert all(after[name] > before.get(name, 0) for name in after)
    live = read_live(f"{service.client.base_url}/metrics")
    assert live.problem == ""
    assert {each.name: each.users for each in live.features} == after


@pytest.fixture
def recommender_features(service):
    def counts():
        found = re.findall(r'^matinee_feature_z_count\{feature="(\w+)"\} (\S+)', service.get("/metrics").text, re.M)
        return {name: float(count) for name, count in found}

    return counts


@contextlib.contextmanager
def collector():
    """An OpenTelemetry collector that keeps what it gets."""
    spans = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in body["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    spans.extend(scope["spans"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", spans
        server.shutdown()


def test_a_request_and_its_stages_are_a_trace(published):
    (port,) = free_ports()
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", "--port", str(port)]
    with collector() as (url, spans):
        options = ["--serving-dir", str(published), "--traces", url]
        process = subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        break
                time.sleep(0.1)
            assert httpx.get(f"http://127.0.0.1:{port}/v1/users/1/recommendations").status_code == 200
        finally:
            process.terminate()
            process.wait(timeout=30)
    (request,) = [span for span in spans if span["name"].endswith("/v1/users/{user_id}/recommendations")]
    stages = [span for span in spans if span.get("parentSpanId") == request["spanId"]]
    assert {span["name"] for span in stages} >= {"features", "tower", "search"}
    assert {span["traceId"] for span in stages} == {request["traceId"]}
