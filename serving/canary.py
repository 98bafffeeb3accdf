"""Two versions at a time: a share of the users gets a new one, until it is decided which stays."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import fsspec

DECISIONS_FILE = "canary.json"
"""Below the serving root: version -> share of the users, as `matinee compare --auto` has decided it."""
NEWEST = "newest"


@dataclasses.dataclass(frozen=True)
class Canary:
    """Which version is tried, and with whom."""

    version: int | None
    """None: always the newest."""
    share: float
    """Of the users."""

    @classmethod
    def of(cls, text: str) -> Canary:
        """Read `VERSION=10%`, or `newest=0.1`.

        Raises:
          ValueError: It is something else.
        """
        name, _, share = text.partition("=")
        try:
            number = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
            version = None if name == NEWEST else int(name)
        except ValueError:
            version, number = None, -1.0
        if not 0 < number < 1:
            raise ValueError(f"canary: {text!r} is not of the form VERSION=10% or {NEWEST}=10%")
        return cls(version, number)

    def split(self, versions: Sequence[int], decisions: dict[int, float]) -> tuple[list[int], list[int], float]:
        """Part the versions that are there.

        Args:
          versions: In ascending order.
          decisions: See `read_decisions`.

        Returns:
          Those of which the newest is for everybody, those of which the newest is tried, and with what share of users.
        """
        kept = [version for version in versions if decisions.get(version, 1.0) > 0] or list(versions)
        tried = self.version if self.version is not None else max(kept, default=None)
        if tried not in kept:
            return kept, [], 0.0
        share = decisions.get(tried, self.share)
        others = [version for version in kept if version != tried]
        if share >= 1 or not others:  # It has won, or there is nothing else.
            return kept, [], 0.0
        return others, [tried], share


def is_tried(user_id: str, version: int, share: float) -> bool:
    """Whether a user belongs to the share that gets a version: the same one always, and of each version others."""
    digest = hashlib.blake2b(f"{version} {user_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def read_decisions(root: str) -> dict[int, float]:
    """Return the share of users that was decided for each version: 1 for all, 0 for none; nothing of the undecided.

    Raises:
      ValueError: The file is none of `decide`'s.
    """
    fs, path = fsspec.core.url_to_fs(f"{root.rstrip('/')}/{DECISIONS_FILE}")
    if not fs.exists(path):
        return {}
    try:
        found: dict[str, Any] = json.loads(fs.cat_file(path))
        return {int(version): float(entry["share"]) for version, entry in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{root}/{DECISIONS_FILE} makes no sense: {error}; mend or remove it") from None


def decide(root: str, version: int, share: float, why: str) -> None:
    """Note for the services over a root that a version is for all, 1, or for nobody, 0."""
    fs, path = fsspec.core.url_to_fs(f"{root.rstrip('/')}/{DECISIONS_FILE}")
    found = json.loads(fs.cat_file(path)) if fs.exists(path) else {}
    found[str(version)] = {"share": share, "why": why}
    text = json.dumps(found, indent=1).encode()
    fs.pipe_file(f"{path}.new", text)
    fs.mv(f"{path}.new", path)
