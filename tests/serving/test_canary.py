"""Two versions at a time, and the decision between them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from serving.canary import Canary, decide, is_tried, read_decisions
from serving.events.compare import GO_ON, PROMOTE, ROLL_BACK, compare, latest_pair
from serving.events.model import Event
from serving.events.store import EventStore
from serving.store import ServingStore
from tests.serving.harness import publish_next, serving, workers
from tests.workspace import ROOT

USERS = range(1, 61)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7=10%", Canary(7, 0.1)), ("7=0.25", Canary(7, 0.25)), ("newest=5%", Canary(None, 0.05))],
)
def test_what_is_tried_is_read(text, expected):
    assert Canary.of(text) == expected


@pytest.mark.parametrize("text", ["7", "x=10%", "7=0%", "7=100%", "7=-1", "=10%", "7=nan"])
def test_what_makes_no_sense_is_said(text):
    with pytest.raises(ValueError, match="is not of the form VERSION=10%"):
        Canary.of(text)


@pytest.mark.parametrize(
    ("canary", "versions", "decisions", "everybody", "tried"),
    [
        ("2=10%", [1, 2], {}, 1, 2),
        ("2=10%", [1, 2, 3], {}, 3, 2),
        ("2=10%", [1], {}, 1, None),
        ("2=10%", [2], {}, 2, None),
        ("2=10%", [1, 2], {2: 1.0}, 2, None),
        ("2=10%", [1, 2], {2: 0.0}, 1, None),
        ("newest=10%", [1, 2, 3], {}, 2, 3),
        ("newest=10%", [1, 2, 3], {3: 0.0}, 1, 2),
        ("newest=10%", [1, 2, 3], {3: 1.0}, 3, None),
        ("newest=10%", [1], {1: 0.0}, 1, None),
    ],
)
def test_which_versions_are_in_use(canary, versions, decisions, everybody, tried):
    main, some, share = Canary.of(canary).split(versions, decisions)
    assert (max(main), max(some, default=None)) == (everybody, tried)
    assert share == (0.1 if tried else 0.0)


def test_a_share_of_the_users_and_of_each_version_others():
    of_seven = [is_tried(str(user), 7, 0.1) for user in range(20_000)]
    of_eight = [is_tried(str(user), 8, 0.1) for user in range(20_000)]
    assert 0.09 < np.mean(of_seven) < 0.11
    assert np.corrcoef(of_seven, of_eight)[0, 1] < 0.05
    assert all(is_tried(str(user), 7, 0.2) for user, tried in enumerate(of_seven) if tried), "more, and the same ones"


def versions_of_users(service):
    answers = [service.get(f"/v1/users/{user}/recommendations").json() for user in USERS]
    return [answer["model_version"] for answer in answers]


def expected(first, second, share):
    return [second if is_tried(str(user), second, share) else first for user in USERS]


def test_users_stick_to_a_version_until_it_is_decided(root, tmp_path):
    first = ServingStore(str(root)).latest()
    second = publish_next(root)
    where = str(tmp_path / "events.db")
    EventStore(where).upgrade()
    with serving(root, canary=f"{second}=40%", events=where) as service:
        split = expected(first, second, 0.4)
        assert {first, second} == set(split)
        service.wait_for(lambda: versions_of_users(service) == split)
        assert versions_of_users(service) == split
        assert service.version() == first
        one = next(user for user, version in zip(USERS, split, strict=True) if version == second)
        assert service.post("/v1/recommendations", {"user_id": str(one)}).json()["model_version"] == second
        assert service.post("/v1/recommendations", {"user_id": f"0{one}"}).json()["model_version"] == second
        assert service.post("/v1/recommendations", {}).json()["model_version"] == first
        events = [{"key": str(user), "user_id": str(user), "kind": "click", "movie_id": 1} for user in USERS]
        assert service.post("/v1/events", {"events": events}).status_code == 200
        assert [event.model_version for _, event in EventStore(where).all()] == split
        metrics = service.get("/metrics").text.splitlines()
        tried = [line.split()[1] for line in metrics if line.startswith("matinee_tried_version ")]
        assert [float(value) for value in tried] == [second]

        decide(str(root), second, 1.0, "better")
        service.wait_for(lambda: set(versions_of_users(service)) == {second})
        third = publish_next(root, seed=3)
        service.wait_for(lambda: set(versions_of_users(service)) == {third})
    decide(str(root), second, 0.0, "worse")
    with serving(root, canary=f"{second}=40%", events=where) as service:
        service.wait_for(lambda: set(versions_of_users(service)) == {third})


def test_every_new_version_is_tried_against_the_one_before(root):
    first = ServingStore(str(root)).latest()
    with serving(root, canary="newest=30%") as service:
        assert set(versions_of_users(service)) == {first}
        second = publish_next(root)
        service.wait_for(lambda: versions_of_users(service) == expected(first, second, 0.3))
        decide(str(root), second, 0.0, "worse")
        service.wait_for(lambda: set(versions_of_users(service)) == {first})
        third = publish_next(root, seed=3)
        service.wait_for(lambda: versions_of_users(service) == expected(first, third, 0.3))


@pytest.mark.slow
def test_workers_try_the_same_version_with_the_same_users(root, tmp_path):
    first = ServingStore(str(root)).latest()
    second = publish_next(root)
    with workers(root, tmp_path, "--canary", f"{second}=40%") as service:
        split = expected(first, second, 0.4)
        service.wait_for(lambda: versions_of_users(service) == split)
        for _ in range(3):  # Each request over a connection of its own.
            assert versions_of_users(service) == split
        service.kill(service.pids()[0])
        service.wait_for(lambda: service.metric("workers") == 2)
        service.wait_for(lambda: versions_of_users(service) == split)
        decide(str(root), second, 1.0, "better")
        service.wait_for(lambda: set(versions_of_users(service)) == {second})
        service.wait_for(lambda: len(list(tmp_path.glob("tmp/matinee-*/[0-9]*-*"))) == 1)


def simulated(rng, users, share, lift, impressions):
    """Return what users did who differ from each other: a share of them, with version 2, choose more by `lift`."""
    tried, taste = rng.random(users) < share, rng.beta(2, 18, users)
    who = rng.integers(0, users, impressions)
    chosen = rng.random(impressions) < taste[who] * (1 + lift * tried[who])
    for place, user in enumerate(who.tolist()):
        version = 2 if tried[user] else 1
        yield Event(f"i{place}", str(user), "impression", 0, str(place), None, version)
        if chosen[place]:
            yield Event(f"c{place}", str(user), "click", 0, str(place), None, version)


@pytest.mark.slow
@pytest.mark.parametrize(("lift", "decision"), [(0.3, PROMOTE), (-0.3, ROLL_BACK)])
def test_a_known_difference_is_decided_right(lift, decision):
    """A hundred thousand impressions, a tenth of five thousand users on the new version."""
    for seed in range(5):
        events = simulated(np.random.default_rng(seed), 5_000, 0.1, lift, 100_000)
        found = compare(events, 2, 1, liked=4)
        assert found.decision == decision
        assert found.p_value <= 0.05
        assert (found.low > 0) if lift > 0 else (found.high < 0)


@pytest.mark.slow
def test_looking_all_the_time_finds_no_difference_where_there_is_none():
    """Two hundred looks at each of three hundred trials; a test that may not be peeked at finds one in every third."""
    wrong = 0
    for seed in range(300):
        events = simulated(np.random.default_rng(1000 + seed), 1_200, 0.2, 0.0, 6_000)
        wrong += compare(events, 2, 1, liked=4).decision != GO_ON
    assert wrong / 300 < 0.05


def test_what_counts():
    events = [
        Event("1", "a", "impression", 0, "10", None, 2),
        Event("2", "a", "impression", 0, "11", None, 2),
        Event("3", "a", "click", 0, "10", None, 2),
        Event("4", "a", "rating", 0, "10", 5.0, 2),
        Event("5", "a", "rating", 0, "11", 2.0, 2),
        Event("6", "a", "click", 0, "99", None, 2),
        Event("7", "b", "impression", 0, "10", None, 1),
        Event("8", "b", "rating", 0, "10", 4.0, 1),
        Event("9", "b", "click", 0, "10", None, 3),
    ]
    found = compare(events, 2, 1, liked=4)
    assert (found.new.users, found.new.impressions, found.new.interactions) == (1, 2, 1)
    assert (found.old.users, found.old.impressions, found.old.interactions) == (1, 1, 1)
    assert (found.decision, found.p_value) == (GO_ON, 1.0), "of so few nothing is concluded"
    assert latest_pair(events) == (2, 1)
    with pytest.raises(ValueError, match="no impressions of two versions"):
        latest_pair(events[:3])


def test_a_name_that_is_misspelt_makes_no_database(tmp_path):
    command = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    for arguments in (["compare"], ["data", "export-events", "--to", f"{tmp_path}/{{SPAN}}"]):
        done = subprocess.run(
            [*command, *arguments, "--events", f"{tmp_path}/typo.db"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "there are no events in" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_decision_goes_to_the_services(root, tmp_path):
    where = str(tmp_path / "events.db")
    store = EventStore(where)
    store.upgrade()
    for part in np.array_split(np.array([*simulated(np.random.default_rng(0), 2_000, 0.5, -0.8, 12_000)], object), 30):
        store.add([*part])
    store.close()
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "compare", "--events", where]
    options = ["--serving-dir", str(root)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "always valid: roll back" in done.stdout
    assert read_decisions(str(root)) == {}
    done = subprocess.run(
        [*command, *options, "--auto", "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["decision"] == "roll back"
    assert read_decisions(str(root)) == {2: 0.0}
    assert "2 is for nobody from now on" in done.stderr
    (root / "canary.json").write_text("{")
    with pytest.raises(ValueError, match=r"canary\.json makes no sense"):
        read_decisions(str(root))
