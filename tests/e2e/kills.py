"""Faults that kill a run, by where it is then."""

KILLS = {
    "PolarsExampleGen": """
from components.polars_example_gen import shards
shards.write_parquet = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
""",
    "Trainer": """
from components.trainer import export
export.export_user_tower = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
""",
    "Pusher, between index and model": """
from serving.store import ServingStore
from tests import forked
put = ServingStore._put
def _put(self, source, kind, version):
    if kind == "user_tower":
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, source, kind, version)
ServingStore._put = _put
""",
}
