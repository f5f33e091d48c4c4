"""The documentation's own examples print here what they print there: `documentation.txt`."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kdsim.resources import resource_path
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.symbols import Symbol
from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import KERNEL, PROCESS, THREAD
from tests.debugger.debugger_symbols import TYPES

TEB = 0x8E_ED57B000
INCREMENT = Symbol("KeMaximumIncrement", 0x3500, 4, "data")
TEN_MILLISECONDS = 100_000


@dataclass
class Page:
    """One example, and what it needs."""

    name: str
    given: list[str] = field(default_factory=list)
    memory: dict[int, bytes] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    exchanges: list[tuple[str, list[str]]] = field(default_factory=list)

    def take(self, line: str) -> None:
        """One line of the file."""
        word, _, rest = line.partition(" ")
        if word == "kd>":
            self.exchanges.append((rest, []))
        elif self.exchanges:
            self.exchanges[-1][1].append(line)
        elif line.startswith("    "):
            list(self.files.values())[-1].append(line[4:])
        elif word == "given":
            self.given.append(rest)
        elif word == "memory":
            address, _, content = rest.partition(" ")
            self.memory[int(address, 16)] = _bytes(content)
        elif word == "file":
            self.files[rest] = []


def _bytes(content: str) -> bytes:
    if content.startswith('"'):
        return content.strip('"').encode()
    if content.endswith(" zeros"):
        return bytes(int(content.split()[0], 16))
    return bytes.fromhex(content)


def _pages() -> list[Page]:
    pages: list[Page] = []
    for line in Path(__file__).with_name("documentation.txt").read_text("utf-8").splitlines():
        if line.startswith("== "):
            pages.append(Page(line[3:]))
        elif pages and not line.startswith("#"):
            pages[-1].take(line)
    return pages


PAGES = _pages()


@pytest.fixture(scope="module")
def kernel_types() -> Pdb:
    """The types of the kernel that kdsim ships."""
    return Pdb.open(next(resource_path("targets").glob("images/nt*.pdb/*/*.pdb")))


@pytest.fixture(autouse=True)
def _pacific(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The pages were written in Redmond; the one with a summer date knows no summer time."""
    monkeypatch.setenv("TZ", "PST8")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def machine(kd: Kd, kernel_types: Pdb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kd:
    """A stopped 64-bit target with a TEB at the pages' address."""
    for name in ("_TEB", "_PEB"):
        monkeypatch.setitem(TYPES, name, kernel_types.type(name))
    kd.space.known["nt"].append(INCREMENT)
    for address in (THREAD, PROCESS, TEB, TEB + 0x1000):
        kd.backend.virtual.map(address)
    kd.poke(THREAD + TYPES["_KTHREAD"].offset("Teb"), struct.pack("<Q", TEB))
    kd.poke(KERNEL + INCREMENT.rva, struct.pack("<I", TEN_MILLISECONDS))
    monkeypatch.chdir(tmp_path)
    return kd


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(machine: Kd, page: Page) -> None:
    for name, lines in page.files.items():
        Path(name).write_text("\n".join(lines), encoding="utf-8")
    for address, data in page.memory.items():
        machine.backend.virtual.map(address, data)
    machine.session.flush_memory()
    for command in page.given:
        machine.run(command)
    for command, printed in page.exchanges:
        shown = "\n".join(line.rstrip() for line in machine.lines(command))
        assert shown.rstrip() == "\n".join(printed).rstrip(), command


WILDCARDS = [
    # (pattern, matches, does not match): what the page string-wildcard-syntax lists
    ("Prog[er-t7]am", "Progeam Program Progsam Progtam Prog7am", "Progam Progxam Progqam"),
    ("Lo#p", "Lp Lop Loop Looop", "Loap Lo"),
    ("m[ia]#n", "mn min man maan main mian miin miain", "mon"),
    ("Lo+p", "Lop Loop", "Lp"),
    ("m[ia]+n", "min man maan main", "mn"),
    ("a?+b", "axb axxb", "ab"),
    ("a*b", "ab axb axxb", "abc"),
    (r"\#\?\[\]\*\+", "#?[]*+", "x #"),
    ("a-b", "a-b", "ab"),
]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"), WILDCARDS, ids=[row[0] for row in WILDCARDS]
)
def test_string_wildcards(machine: Kd, pattern: str, matching: str, others: str) -> None:
    for texts, value in ((matching, 1), (others, 0)):
        for text in texts.split():
            shown = machine.run(f'? $spat(@"{text}", @"{pattern}")')
            assert shown == f"Evaluate expression: {value} = 00000000`0000000{value}\n", text
