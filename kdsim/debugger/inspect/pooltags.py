"""What pool tags stand for: `pooltag.txt`, in the format of Microsoft's file of that name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kdsim.resources import resource_path

TAG_WIDTH = 4


@dataclass(frozen=True, slots=True)
class TagDescription:
    """One line: `Tag - binary - description`."""

    binary: str
    text: str


@cache
def _table() -> dict[str, TagDescription]:
    found: dict[str, TagDescription] = {}
    for line in resource_path("targets", "pooltag.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("rem") or not line.strip():
            continue
        binary, _, text = line[TAG_WIDTH:].lstrip(" -").partition(" - ")
        found[line[:TAG_WIDTH].ljust(TAG_WIDTH)] = TagDescription(binary.strip(), text.strip())
    return found


def describe(tag: str) -> TagDescription | None:
    return _table().get(tag)
