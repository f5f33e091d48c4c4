"""The rules of the language, each with a line that shows it: the tables in `rules/`.

A rule is a comment line; commands follow, and what they print, indented. Every rule starts from the
same stopped target, with a module `lab` of a few variables: see `language/language_fakes.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kdsim.debugger.language.conversions import basic
from kdsim.symbols.lines import SourceLine
from kdsim.symbols.symbols import Symbol
from kdsim.symbols.types import Array, Function, Pointer, Type
from tests.debugger.conftest import Kd
from tests.debugger.debugger_symbols import TYPES
from tests.debugger.language import language_fakes as fakes

INDENT = "    "


@dataclass
class Rule:
    """One entry of a table."""

    text: str
    commands: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)


def read_rules(path: Path) -> list[Rule]:
    """The entries of a table, behind its first comment."""
    rules: list[Rule] = []
    blank = 0
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("# "):
            rules.append(Rule(line[2:]))
        elif line.startswith(INDENT):
            # Blank lines are printed when something follows them.
            rules[-1].printed += [""] * blank + [line[len(INDENT) :]]
        elif line:
            rules[-1].commands.append(line)
        blank = 0 if line else blank + 1
    return rules[1:]


TABLES = sorted(Path(__file__).with_name("rules").glob("*.txt"))
RULES = [(path.stem, rule) for path in TABLES for rule in read_rules(path)]


def _symbol(name: str, offset: int, kind: Type | None) -> Symbol:
    source = None if kind is None else lambda: kind
    if isinstance(kind, Function):
        return Symbol(name, offset, 0x80, "function", type_source=source)
    return Symbol(name, offset, 0, "data", type_source=source)


# What `lab` has besides the variables of `language_fakes`: (offset, type, bytes).
MORE: dict[str, tuple[int, Type | None, bytes]] = {
    "Text": (0x200, Array(basic("char"), 12), b""),
    "Wide": (0x220, Array(basic("wchar_t"), 5), b""),
    "Ansi": (0x240, fakes.STRING, b""),
    "Unicode": (0x250, None, b""),
    "Markup": (0x280, None, b"<a> & b\0"),
    "`string'": (0x2C0, fakes.ULONG, b""),
    "GetNode": (0x1100, Function(Pointer(fakes.NODE)), b""),
    "OpenThing": (0x1200, Function(Pointer(basic("void"))), b""),
    "CountThings": (0x1300, Function(fakes.ULONG), b""),
}
HEADER = 0x2000
ENTRY = 0x1234


def _image_header() -> bytes:
    """A 64-bit image's header that says little more than where the entry point is."""
    data = bytearray(0x200)
    data[0:2], data[0x3C], data[0x40:0x44] = b"MZ", 0x40, b"PE\0\0"
    struct.pack_into("<HHIIIHH", data, 0x44, 0x8664, 0, 0, 0, 0, 0xF0, 0x22)
    struct.pack_into("<HBBIIII", data, 0x58, 0x20B, 14, 0, 0, 0, 0, ENTRY)
    struct.pack_into("<II", data, 0x58 + 56, 0x1000, 0x200)
    struct.pack_into("<I", data, 0x58 + 108, 16)
    return bytes(data)


@pytest.fixture
def lab(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> Kd:
    """A stopped target with the module `lab`."""
    for name, kind in fakes.TYPES.items():
        monkeypatch.setitem(TYPES, name, kind)
    kd.space.add("lab", fakes.BASE, fakes.SIZE)
    symbols = [
        _symbol(name.removeprefix("nt!"), va - fakes.BASE, fakes.VARIABLES.get(name[3:]))
        for name, va in fakes.SYMBOLS.items()
        if name.startswith("nt!") and name[3:] not in MORE
    ]
    symbols += [_symbol(name, offset, kind) for name, (offset, kind, _) in MORE.items()]
    kd.space.known["lab"] = symbols
    kd.space.known["nt"].append(Symbol("KeMaximumIncrement", 0x3500, 4, "data"))
    kd.space.lines[fakes.BASE + 0x100C] = SourceLine("work.c", 12, 0x100C, 4)
    kd.backend.virtual.map(fakes.BASE, bytes(fakes.memory_bytes()))
    for offset, _, data in MORE.values():
        kd.backend.virtual.poke(fakes.BASE + offset, data)
    kd.backend.virtual.poke(fakes.BASE + HEADER, _image_header())
    kd.backend.physical.map(0x1000, bytes(range(16)))
    kd.session.flush_memory()
    kd.run("r rax = 11223344`55667788")
    return kd


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_every_rule_says_something_else(table: Path) -> None:
    texts = [rule.text for rule in read_rules(table)]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    "rule", [rule for _, rule in RULES], ids=[f"{t}: {r.text}" for t, r in RULES]
)
def test_rule(lab: Kd, rule: Rule) -> None:
    printed = [line.rstrip() for command in rule.commands for line in lab.lines(command)]
    while printed and not printed[-1]:
        printed.pop()
    assert printed == rule.printed
