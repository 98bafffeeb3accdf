"""What the report says of those who ask the service."""

import numpy as np
import pytest

from components.evaluation_gate.report.live import live_features, read_live
from serving.metrics import Metrics
from tests.workspace import free_ports


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return {"user_activity": rng.normal(1.5, 1.0, 400), "user_average_rating": rng.normal(0.0, 1.2, 400)}


@pytest.fixture
def metrics(scores):
    found = Metrics()
    found.observe_features(scores)
    return found.text().decode()


def test_features_are_what_the_service_has_counted(scores, metrics):
    activity, average = found = live_features(metrics)
    for each in found:
        values = scores[each.name]
        assert each.users == 400
        assert each.median == pytest.approx(np.median(values), abs=0.1), "linear within a bucket of a half"
        assert each.low == pytest.approx((values <= -2).mean())
        assert each.high == pytest.approx((values > 2).mean())
    assert (activity.name, activity.drifted, average.drifted) == ("user_activity", True, False)


def test_several_services_are_counted_together(scores, metrics):
    one = live_features(metrics)
    two = live_features(metrics + metrics)
    assert [each.users for each in two] == [800, 800]
    assert [each.median for each in two] == [each.median for each in one]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (Metrics().text().decode(), "nobody has asked yet"),
        ("", "nobody has asked yet"),
        ("<html>a page</html>", "ValueError"),
    ],
)
def test_metrics_that_say_nothing_are_named(tmp_path, text, what):
    (tmp_path / "metrics.txt").write_text(text)
    found = read_live(str(tmp_path / "metrics.txt"))
    assert found.features == ()
    assert what in found.problem


def test_a_service_that_is_gone_is_named(tmp_path):
    (port,) = free_ports(1)
    assert "No such file" in read_live(str(tmp_path / "none")).problem
    assert "ConnectError" in read_live(f"http://127.0.0.1:{port}/metrics").problem
    assert "InvalidURL" in read_live("http://127.0.0.1:port/metrics").problem
    assert "ValueError" in read_live("nosuch://bucket/metrics").problem
