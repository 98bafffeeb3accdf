"""Everything that can go wrong around the product, tried on purpose; what was lost is counted.

    python -m benchmarks.faults [--only kills --only disks ...] [--kills 30]

Lost is: a served version, a later run, memory, a process that hangs or lives on, a wrong answer, or an error that is a
traceback. The disks are small file systems of their own, for which the program must be root.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import anyio
import httpx
import psutil
import structlog
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.faults.inputs import HOSTILE, write_hostile
from benchmarks.faults.requests import RAW, exchange, is_right, statuses
from benchmarks.faults.versions import DAMAGES, copy_version, edit_manifest
from pipeline.data_sample import SampleConfig, write_sample
from schemas.manifest import EMBEDDING_INDEX
from schemas.signatures import USER_TOWER
from serving import Recommender
from serving.metrics import Metrics
from serving.store import ServingStore
from serving.user_tower import InProcessUserTowers
from serving.verification import newest_whole, whole
from serving.versions import Versions

_MATINEE = [sys.executable, "-c", "from pipeline.cli import main; main()"]
_QUICK = ["--epochs", "8", "--refit-epochs", "0", "--hidden-units", "32", "--negatives", "32", "--batch-size", "128"]
_QUICK += ["--min-recall-vs-popularity", "0", "--max-rmse-increase", "9", "--max-recall-decrease", "9"]
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_DISKS_MB = (1, 2, 3, 4, 6, 8, 12, 16)
_CLOCKS_S = (1.9e9, 1.7e9, 0.0, -5e9, 4e9, 9e9, 1.8e9, 2.0**40, 1.0)
_MEBIBYTE = 1 << 20
_CONSOLE = Console(width=110)

Tried = tuple[int, list[str]]
"""How many were tried, and what was lost."""


class Workplace:
    """A good data set, an output directory with a served version, and room for temporary files."""

    def __init__(self, base: pathlib.Path) -> None:
        """Run the pipeline once."""
        self.data, self.output, self.temporary = base / "data", base / "output", base / "tmp"
        self.base, self.serving = base, base / "output" / "serving"
        self.temporary.mkdir()
        write_sample(str(self.data), SampleConfig(users=120, movies=300, ratings=12_000))
        begin = time.monotonic()
        done = self.run()
        if done.returncode:
            raise RuntimeError(f"the first run failed:\n{done.stdout}")
        self.seconds = time.monotonic() - begin

    def arguments(
        self, *options: str, output: pathlib.Path | None = None, data: pathlib.Path | None = None
    ) -> list[str]:
        """Return a run's command."""
        return [
            *_MATINEE,
            "run",
            "--data",
            str(data or self.data),
            "--output",
            str(output or self.output),
            *_QUICK,
            *options,
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment of a run."""
        return {**os.environ, "TMPDIR": str(self.temporary)}

    def run(self, *options: str, **paths: pathlib.Path) -> subprocess.CompletedProcess[str]:
        """Run the pipeline to its end."""
        return subprocess.run(
            self.arguments(*options, **paths),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=600,
        )

    def problems(self, *expected: int) -> list[str]:
        """Return what is wrong with what is served; versions that are expected must be there."""
        store = ServingStore(str(self.serving))
        found = store.versions()
        lost = [f"version {version} is gone" for version in expected if version not in found]
        lost += [f"version {version} is not whole" for version in found if whole(store, version) is None]
        if len(Recommender.load(str(self.serving)).recommend(user_id=1)) != 10:
            lost.append("no ten recommendations")
        return lost


def kills(place: Workplace, count: int) -> Tried:
    """End runs at random moments, by each signal; the next one succeeds, and nothing is left behind."""
    lost, chance = [], random.Random(0)
    for i in track(range(count), "kills"):
        latest = ServingStore(str(place.serving)).latest()
        sent, moment = _SIGNALS[i % len(_SIGNALS)], chance.uniform(0, place.seconds)
        what = f"{sent.name} after {moment:.1f} s"
        process = subprocess.Popen(
            place.arguments("--seed", str(i + 1)),
            env=place.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        time.sleep(moment)
        process.send_signal(sent)
        try:
            out, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            lost.append(f"{what}: it did not end within a minute")
            continue
        if "Traceback" in out:
            lost.append(f"{what}: a traceback\n{out[-2000:]}")
        time.sleep(1)
        alive = [p.pid for p in psutil.process_iter() if _session(p.pid) == process.pid]
        lost += [f"{what}: process {pid} lives on" for pid in alive]
        lost += [f"{what}: {problem}" for problem in place.problems(*([latest] if latest else []))]
        if len(left := list(place.temporary.iterdir())) > 1:
            lost.append(f"{what}: {len(left)} temporary files are left")
    done = place.run("--seed", "1000")
    if done.returncode:
        lost.append(f"the run afterwards ended with {done.returncode}\n{done.stdout[-2000:]}")
    lost += place.problems()
    lost += [f"{path} is left" for path in place.temporary.iterdir()]
    lost += [str(path) for path in place.serving.rglob(".staging*")]
    return count + 1, lost


def _session(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid) if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else None
    return None


@contextlib.contextmanager
def _disk(directory: pathlib.Path, size: str) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _said(done: subprocess.CompletedProcess[str], what: str) -> list[str]:
    """Return what is wrong with how a run failed."""
    if done.returncode == 0:
        return []
    lost = [f"{what}: a traceback\n{done.stdout[-3000:]}"] if "Traceback" in done.stdout else []
    if not re.search(r"[Nn]o space left|[Ff]ull|[Dd]isk", done.stdout):
        lost.append(f"{what}: the error does not say why\n{done.stdout[-1500:]}")
    return lost


def disks(place: Workplace) -> Tried:
    """Run out of disk: under the output at any size, and under the serving root with what it holds."""
    if os.geteuid() != 0:
        return 0, ["not tried: mounting needs root"]
    lost, tried = [], 0
    disk = place.base / "disk"
    for size in track(_DISKS_MB, "disks"):
        tried += 2
        with _disk(disk, f"{size}m"):
            what = f"an output directory of {size} MB"
            lost += _said(place.run(output=disk / "output"), what)
            subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
            after = place.run(output=disk / "output")
            if after.returncode:
                lost.append(f"{what}: with room again it ends with {after.returncode}\n{after.stdout[-1500:]}")
        with _disk(disk, "200m"):
            what = f"a serving root with {size / 4:g} MB left"
            shutil.copytree(place.serving, disk / "serving")
            room = shutil.disk_usage(disk).free
            (disk / "filler").write_bytes(bytes(room - size * _MEBIBYTE // 4))
            store = ServingStore(str(disk / "serving"))
            before, free = store.versions(), shutil.disk_usage(disk).free
            lost += _said(place.run("--serving-dir", str(disk / "serving"), "--seed", str(5000 + size)), what)
            lost += [f"{what}: version {v} is gone" for v in before if v not in store.versions()]
            lost += [f"{what}: version {v} is not whole" for v in store.versions() if whole(store, v) is None]
            if store.versions() == before and shutil.disk_usage(disk).free < free - 65_536:
                lost.append(f"{what}: {free - shutil.disk_usage(disk).free:,} bytes were not given back")
            (disk / "filler").unlink()
            after = place.run("--serving-dir", str(disk / "serving"), "--seed", str(6000 + size))
            if after.returncode:
                lost.append(f"{what}: with room again it ends with {after.returncode}\n{after.stdout[-1500:]}")
    return tried, lost


def clocks(place: Workplace) -> Tried:
    """Step the clock between publications: a later one always has the greater number, and is the one in use."""
    lost, root = [], place.base / "clocks"
    shutil.copytree(place.serving, root)
    store = ServingStore(str(root))

    async def follow() -> None:
        versions = Versions(store, InProcessUserTowers(store), Metrics(), 1, 60)
        for now in _CLOCKS_S:
            latest = store.latest() or 0
            aside = place.base / "aside"
            shutil.copytree(root, aside)
            copy_version(aside, latest)
            version = store.next_version(now)
            with store.exclusive():
                index, tower = (aside / kind / str(latest + 1) for kind in (EMBEDDING_INDEX, USER_TOWER))
                edit_manifest(index, partial(_renumber, version))
                store.publish(version, str(index), str(tower))
                store.prune(3)
            shutil.rmtree(aside)
            await versions.refresh()
            if version <= latest or not versions.current or versions.current.version != version:
                lost.append(f"at {now:g} s version {version} follows {latest}, {versions.problem}")

    anyio.run(follow)
    shutil.rmtree(root)
    return len(_CLOCKS_S), lost


def _renumber(version: int, manifest: dict[str, Any]) -> None:
    manifest["version"] = version


def versions(place: Workplace) -> Tried:
    """Damage the newest version in every way: neither the service nor a run puts it into use, the one before stays."""
    lost, root = [], place.base / "damaged"

    async def refresh(store: ServingStore) -> Versions:
        followed = Versions(store, InProcessUserTowers(store), Metrics(), 1, 10)
        with anyio.fail_after(30):
            await followed.refresh()
        return followed

    for name, damage in track(DAMAGES.items(), "versions"):
        shutil.copytree(place.serving, root)
        store = ServingStore(str(root))
        good = store.versions()[-1]
        bad = copy_version(root, good)
        damage(root / EMBEDDING_INDEX / str(bad), root / USER_TOWER / str(bad))
        try:
            followed = anyio.run(refresh, store)
            found = newest_whole(store)
        except Exception as error:
            lost.append(f"{name}: {error!r}")
        else:
            if not followed.current or followed.current.version != good or not found or found[0] != good:
                lost.append(f"{name}: in use {followed.current and followed.current.version}, {followed.problem}")
        shutil.rmtree(root)
    return len(DAMAGES), lost


@contextlib.contextmanager
def _service(place: Workplace) -> Iterator[tuple[str, psutil.Process]]:
    process = subprocess.Popen(
        [*_MATINEE, "serve", "--serving-dir", str(place.serving), "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr
        for line in process.stderr:
            if found := re.search(r"running on (http://[\d.:]+)", line):
                break
        else:
            raise RuntimeError("the service did not start")
        stderr = process.stderr
        threading.Thread(target=lambda: [None for _ in stderr], daemon=True).start()
        yield found[1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


def requests(place: Workplace) -> Tried:
    """Send raw requests, whole and in parts: each has its status, and the service neither grows nor ends."""
    lost = []
    with _service(place) as (url, process):
        port = int(url.rsplit(":", 1)[1])
        before = process.memory_info().rss
        cases = [(name, parts) for name in RAW for parts in (1, 50)]
        for name, parts in track(cases, "requests"):
            data, expected = RAW[name]
            found = statuses(exchange(port, data, parts))
            if not is_right(found, expected):
                lost.append(f"{name}: {found}, expected {expected}")
            if httpx.get(f"{url}/healthz", timeout=10).status_code != 200:
                lost.append(f"{name}: the service is away")
        if (grown := process.memory_info().rss - before) > 50 * _MEBIBYTE:
            lost.append(f"the service has grown by {grown >> 20} MB")
    return len(cases), lost


def load(place: Workplace, count: int = 50_000) -> Tried:
    """Ask for recommendations: none fails, and neither memory nor descriptors grow."""
    lost: list[str] = []

    def client(url: str, number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as http:
            for i in range(number):
                answer = http.get(f"/v1/users/{i % 39 + 1}/recommendations")
                if answer.status_code != 200:
                    lost.append(answer.text)

    with _service(place) as (url, process):
        client(url, 2000)
        before = process.memory_info().rss, process.num_fds()
        threads = [threading.Thread(target=client, args=(url, count // 4)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(6)  # Connections that were kept are closed.
        after = process.memory_info().rss, process.num_fds()
    _CONSOLE.print(
        f"{count:,} requests: {before[0] >> 20} to {after[0] >> 20} MB, {before[1]} to {after[1]} descriptors"
    )
    if after[0] > 1.05 * before[0] or after[1] > before[1] + 8:
        lost.append(f"memory and descriptors grew from {before} to {after}")
    return count, lost


def inputs(place: Workplace) -> Tried:
    """Read hostile data sets: each is refused within a minute, in few words and bounded memory."""
    lost = []
    expected = ServingStore(str(place.serving)).versions()
    for name in track(HOSTILE, "inputs"):
        data = write_hostile(name, place.base / "hostile")
        begin = time.monotonic()
        try:
            done = place.run(data=data)
        except subprocess.TimeoutExpired:
            lost.append(f"{name}: it hangs")
            continue
        seconds = time.monotonic() - begin
        if done.returncode == 0 or "Traceback" in done.stdout or len(done.stdout) > 5000 or seconds > 60:
            lost.append(f"{name}: {done.returncode} after {seconds:.0f} s\n{done.stdout[-1500:]}")
        lost += [f"{name}: {problem}" for problem in place.problems(*expected)]
    shutil.rmtree(place.base / "hostile")
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    if most > 4000:
        lost.append(f"a run took {most:,} MB")
    return len(HOSTILE), lost


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Of: kills, disks, clocks, versions, requests, load, inputs")
    ] = None,
    kill: Annotated[int, typer.Option("--kills", help="How many runs to end")] = 30,
) -> None:
    """Try what can go wrong, and count what is lost."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # It tells of each tower that does not load.
    everything: dict[str, Callable[[Workplace], Tried]] = {
        "kills": lambda place: kills(place, kill),
        "disks": disks,
        "clocks": clocks,
        "versions": versions,
        "requests": requests,
        "load": load,
        "inputs": inputs,
    }
    table, failures = Table("", "tried", "lost", "seconds"), []
    with tempfile.TemporaryDirectory(prefix="matinee-faults-") as base:
        place = Workplace(pathlib.Path(base))
        for name in only or everything:
            begin = time.monotonic()
            tried, lost = everything[name](place)
            table.add_row(name, f"{tried:,}", f"{len(lost)}" if lost else "nothing", f"{time.monotonic() - begin:.0f}")
            failures += [f"{name}: {what}" for what in lost]
    for failure in failures:
        _CONSOLE.print(failure, markup=False, highlight=False)
    _CONSOLE.print(table)
    raise typer.Exit(1 if failures else 0)


if __name__ == "__main__":
    typer.run(main)
