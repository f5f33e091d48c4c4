"""The commands of kd that kdsim does not have: what they are, and why they are not here.

`absent.toml` is the table. A name that is declared is never looked up here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

TABLE = "absent.toml"

_HEAD = re.compile(r"[!.]?\w+(?:\.\w+)?[+-]?|\|+")
_BANG = re.compile(r"!(?:(?P<module>\w+)\.)?(?P<name>\w+)")


@dataclass(frozen=True, slots=True)
class Absent:
    """What is said about one name.

    Attributes:
        what: what the command does, a verb and its object.
        why: why it is not here, or what to type instead; a sentence.
        replaced_by: of an old name, the command to type instead.
        module: of a command of an extension module, the module's name.
    """

    name: str
    what: str
    why: str
    replaced_by: str = ""
    module: str = ""

    def lines(self) -> Iterator[str]:
        yield f"{self.name} {self.what}."
        yield self.why


@cache
def table() -> dict[str, Absent]:
    """Every name, commands of extension modules by their full name (`!wdfkd.wdfqueue`)."""
    data = tomllib.loads(files(__package__).joinpath(TABLE).read_text(encoding="utf-8"))
    found = [
        Absent(name, "is an old name", f"Use {new} instead.", replaced_by=new)
        for name, new in data["replaced"].items()
    ]
    for reason in data["reason"]:
        found += [Absent(name, what, reason["why"]) for name, what in reason["names"].items()]
    for module, content in data["modules"].items():
        what = f"belongs to {module}, the extension module for {content['about']}"
        why = "kdsim loads no extension modules of Windows."
        names = (f"!{module}.{name}" for name in content["commands"])
        found += [Absent(name, what, why, module=module) for name in names]
    return {item.name: item for item in found}


def find(typed: str) -> Absent | None:
    """What is known about a word that stands where a command should."""
    head = _HEAD.match(typed)
    if head is None:
        return None
    names = table()
    for name in (typed, head[0], head[0].rstrip("+-")):
        for spelling in (name, name.lower()):
            if spelling in names:
                return names[spelling]
    return _of_extension(head[0])


def _of_extension(typed: str) -> Absent | None:
    """`!wdfqueue`, as it is typed once wdfkd is loaded, or another name of a known module."""
    match = _BANG.fullmatch(typed)
    if match is None:
        return None
    same = [item for item in table().values() if item.name.endswith(f".{match['name']}")]
    module = match["module"]
    if module is None:
        return same[0] if len(same) == 1 else None
    known = next((item for item in table().values() if item.module == module), None)
    return replace(known, name=typed) if known else table().get(f"!{match['name']}")
