"""Compare the types of the built images' PDBs with a symbol table made from Windows' own.

    python targets/compare.py ntkrnlmp.pdb.json.xz

The table is a Volatility 3 one (intermediate symbol file), as JPCERTCC/Windows-Symbol-Tables keeps
them: ``symbols/windows/ntkrnlmp.pdb/<GUID>-<age>.json.xz``. Run by hand; one line a difference.
Types that the table does not have and padding are passed over.
"""

from __future__ import annotations

import json
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdsim.errors import SymbolError
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.types import BitField, Enum, Record, Type

IMAGES = Path(__file__).parent / "images"

BASE_SIZES = {
    "void": 0, "char": 1, "unsigned char": 1, "bool": 1, "wchar": 2,
    "short": 2, "unsigned short": 2, "int": 4, "unsigned int": 4,
    "long": 4, "unsigned long": 4, "float": 4, "double": 8,
    "long long": 8, "unsigned long long": 8, "pointer": 8,
}  # fmt: skip
"""Of the table's base types (LLP64)."""


class Table:
    """The foreign types."""

    def __init__(self, path: Path) -> None:
        with lzma.open(path) as file:
            data = json.load(file)
        self.types: dict[str, Any] = data["user_types"]
        self.enums: dict[str, Any] = data["enums"]

    def size(self, kind: dict[str, Any]) -> int | None:
        """Bytes of a field's type; None when the table does not say."""
        match kind["kind"]:
            case "pointer" | "function":
                return 8
            case "base":
                return BASE_SIZES.get(kind["name"])
            case "array":
                element = self.size(kind["subtype"])
                return None if element is None else element * int(kind["count"])
            case "bitfield":
                return self.size(kind["type"])
            case "enum":
                found = self.enums.get(kind["name"])
            case _:
                found = self.types.get(kind["name"])
        return int(found["size"]) if found else None

    def flat(self, name: str) -> dict[str, tuple[int, dict[str, Any]]]:
        """Every field, those of unnamed members included, at its offset."""
        fields: dict[str, tuple[int, dict[str, Any]]] = {}
        for field, entry in self.types[name]["fields"].items():
            kind = entry["type"]
            if kind.get("name", "").startswith("<unnamed") and entry.get("anonymous"):
                for inner, (offset, inner_kind) in self.flat(kind["name"]).items():
                    fields[inner] = (entry["offset"] + offset, inner_kind)
            fields[field] = (entry["offset"], kind)
        return fields


def record_differences(table: Table, ours: Record) -> Iterator[str]:
    """Sizes, and every field of ours that has a name of the table's."""
    theirs = table.types[ours.name]
    if ours.size != theirs["size"]:
        yield f"{ours.name}: {ours.size:#x} bytes, theirs {theirs['size']:#x}"
    fields = table.flat(ours.name)
    for field in ours.fields:
        if field.name.startswith("_Padding"):
            continue
        known = fields.pop(field.name, None)
        if known is None:
            yield f"{ours.name}.{field.name}: at {field.offset:#x}, theirs has no such field"
            continue
        yield from field_differences(
            table, f"{ours.name}.{field.name}", field.offset, field.type, known
        )
    for name, (offset, _) in fields.items():
        yield f"{ours.name}: theirs has {name} at {offset:#x}"


def field_differences(
    table: Table, name: str, offset: int, kind: Type, known: tuple[int, dict[str, Any]]
) -> Iterator[str]:
    their_offset, their_kind = known
    if offset != their_offset:
        yield f"{name}: at {offset:#x}, theirs at {their_offset:#x}"
    if isinstance(kind, BitField) != (their_kind["kind"] == "bitfield"):
        yield f"{name}: a bit field in one of the two"
    elif isinstance(kind, BitField):
        bits = (their_kind["bit_position"], their_kind["bit_length"])
        if (kind.position, kind.length) != bits:
            yield f"{name}: bits {kind.position}+{kind.length}, theirs {bits[0]}+{bits[1]}"
    else:
        size = table.size(their_kind)
        if size is not None and kind.size != size:
            yield f"{name}: {kind.size:#x} bytes, theirs {size:#x}"


def enum_differences(table: Table, ours: Enum) -> Iterator[str]:
    theirs = table.enums[ours.name]["constants"]
    for name in ours.values.keys() | theirs.keys():
        if ours.values.get(name) != theirs.get(name):
            yield f"{ours.name}::{name} = {ours.values.get(name)}, theirs {theirs.get(name)}"


def differences(table: Table, pdb: Pdb) -> Iterator[str]:
    for name in sorted(set(pdb.type_names())):
        try:
            ours = pdb.type(name)
        except SymbolError:
            continue
        if isinstance(ours, Record) and name in table.types:
            yield from record_differences(table, ours)
        elif isinstance(ours, Enum) and name in table.enums:
            yield from sorted(enum_differences(table, ours))


def main() -> int:
    table = Table(Path(sys.argv[1]))
    found: dict[str, None] = {}
    for path in sorted(IMAGES.glob("*.pdb/*/*.pdb")):
        found.update(dict.fromkeys(differences(table, Pdb.open(path))))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
