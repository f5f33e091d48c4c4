"""Reading a real machine: few requests for typical commands, none twice, and never what was before.

The debugger runs in this process and every request it makes of the machine is noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdsim.debugger.commands.engine import equip
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from kdsim.debugger.shell.private import PrivateBackend
from kdsim.debugger.shell.private_target import PrivateTarget
from kdsim.wire.manipulate import Api, Manipulate, MemoryArguments
from kdsim.wire.packets import PacketType

READS = (Api.READ_VIRTUAL, Api.READ_PHYSICAL)


class Kd:
    """A session with a private machine, and what it asked of it."""

    def __init__(self) -> None:
        self.printed: list[str] = []
        self.asked: list[Manipulate] = []
        self.backend = PrivateBackend(PrivateTarget(seed=1))
        endpoint = self.backend._connection.endpoint
        send = endpoint.send

        def noted(kind: PacketType, payload: bytes, *rest: object) -> None:
            if kind is PacketType.MANIPULATE:
                self.asked.append(Manipulate.unpack(payload))
            send(kind, payload, *rest)

        endpoint.send = noted
        self.session = Session(self.backend, Output(self.printed.append))
        equip(self.session)
        self.session.attach(break_in=True, timeout=30)

    def run(self, line: str) -> str:
        self.printed.clear()
        self.session.execute(line)
        return "".join(self.printed)

    def value(self, expression: str) -> int:
        return int(self.run(f"? {expression}").rpartition("= ")[2].replace("`", ""), 16)

    def reads(self, line: str) -> list[MemoryArguments]:
        """The requests for memory that a command line makes."""
        self.asked.clear()
        errors = self.session.errors
        self.run(line)
        assert self.session.errors == errors, "".join(self.printed)
        return [m.arguments(MemoryArguments) for m in self.asked if m.api in READS]


@pytest.fixture(scope="module")
def shared() -> Iterator[Kd]:
    kd = Kd()
    yield kd
    kd.session.quit("q")


@pytest.fixture
def kd(shared: Kd) -> Iterator[Kd]:
    """At the initial break, with nothing cached; tests put back what they change."""
    shared.run(".cache flushall")
    yield shared
    shared.run(".process; .cache 0n1000; .cache unhold")


COMMANDS = [
    pytest.param("k", 2, 1, id="k"),
    pytest.param("db nt l80", 2, 1, id="db"),
    pytest.param("dt nt!_EPROCESS @$proc", 8, 10, id="dt"),
    pytest.param("lm", 4, 10, id="lm"),
    pytest.param("!process 0 0", 64, 2, id="process"),
    pytest.param("!poolused", 100, 1, id="poolused"),
]


@pytest.mark.parametrize(("command", "most", "coalesced"), COMMANDS)
def test_a_command_asks_little_and_nothing_twice(
    kd: Kd, command: str, most: int, coalesced: int
) -> None:
    # Symbols, and what a session asks once for all.
    kd.run(f"{command}; .cache flushall")
    first = kd.reads(command)
    text = "".join(kd.printed)
    assert 1 <= len(first) <= most
    assert kd.reads(command) == []
    assert "".join(kd.printed) == text
    kd.run(".cache 0")
    assert len(kd.reads(command)) >= coalesced * len(first)
    assert "".join(kd.printed) == text


@pytest.mark.parametrize(("command", "most", "coalesced"), COMMANDS)
def test_a_run_makes_every_command_ask_again(
    shared: Kd, command: str, most: int, coalesced: int
) -> None:
    shared.run(command)
    assert shared.reads(command) == []
    assert shared.reads(f"t; {command}") != []


def test_small_reads_that_move_upwards_are_fetched_together(kd: Kd) -> None:
    small = ".for (r $t0 = nt; @$t0 < nt + 8000; r $t0 = @$t0 + 10) { db @$t0 l10 }"
    kd.run("db nt l10")
    asked = kd.reads(small)
    assert 40 * len(asked) < 0x8000 // 0x10
    assert kd.reads("db nt l7000") == []


# -- what was read before a write, a switch or a run is never shown behind it ----------------------

PLACE = "nt!KdPrintDefaultCircularBuffer"
VIEWS = {
    "virtual": "dd {va} l1",
    "physical": "!dd {pa} l1",
    "expression": "? dwo({va})",
    "C++": "?? *(unsigned long*){va}",
    "string": "db {va} l4",
    "search": "s -d {va} l1 {new}",
}
WRITES = {
    "ed": "ed {va} {new}",
    "eb": "eb {va} {b0} {b1} {b2} {b3}",
    "eq": "eq {va} {new}",
    "eb unaligned": "ed {va} 0; eb {va}+3 {b3}; eb {va} {b0}; ew {va}+1 {b2}{b1}",
    "!ed": "!ed {pa} {new}",
    "!eb": "!eb {pa} {b0} {b1} {b2} {b3}",
    "f": "f {va} l4 {b0} {b1} {b2} {b3}",
    "fp": "fp {pa} l4 {b0} {b1} {b2} {b3}",
    "m": "ed {va}+800 {new}; m {va}+800 l4 {va}",
    ".readmem": ".readmem {file} {va} l4",
    "C++": "?? *(unsigned long*){va} = 0x{new}",
}


@pytest.fixture
def words(kd: Kd, tmp_path: Path) -> dict[str, str]:
    """What stands in the braces of the tables; the place holds zeros."""
    va = kd.value(PLACE)
    pa = kd.session.memory.page_tables().translate(va).pa
    new = 0x1A2B3C4D
    (tmp_path / "new").write_bytes(new.to_bytes(4, "little"))
    given = {f"b{index}": f"{byte:02x}" for index, byte in enumerate(new.to_bytes(4, "little"))}
    kd.run(f"f {va:x} l8 0")
    return {
        "va": f"{va:x}",
        "pa": f"{pa:x}",
        "new": f"{new:x}",
        "file": str(tmp_path / "new"),
    } | given


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_seen_by_every_view(
    kd: Kd, words: dict[str, str], write: str, view: str
) -> None:
    look = VIEWS[view].replace("{va}", "0x{va}").format(**words)
    before = kd.run(look)
    assert kd.reads(look) == []
    errors = kd.session.errors
    kd.run(WRITES[write].replace("{va}", "0x{va}").format(**words))
    assert kd.session.errors == errors, "".join(kd.printed)
    after = kd.run(look)
    assert after != before
    kd.run(".cache flushall")
    assert kd.run(look) == after


def test_writemem_writes_what_is_there(kd: Kd, words: dict[str, str], tmp_path: Path) -> None:
    kd.run("dd {va} l1".format(**words))
    kd.run("!ed {pa} {new}".format(**words))
    kd.run(f".writemem {tmp_path / 'out'} {words['va']} l4")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "new").read_bytes()


def test_breakpoints_are_never_seen(kd: Kd) -> None:
    """The target plants them; while it stands they are out, and what is read is the code."""
    code = kd.run("db nt!ExAllocatePoolWithTag l10")
    text = kd.run("bp nt!ExAllocatePoolWithTag; g; db nt!ExAllocatePoolWithTag l10")
    assert text.endswith(code)
    assert kd.run("bc *; db nt!ExAllocatePoolWithTag l10") == code
    kd.run(".cache flushall")
    assert kd.run("db nt!ExAllocatePoolWithTag l10") == code


@pytest.mark.parametrize(
    "look", ["dq 0xfffff78000000008 l1", "!dq {pa} l1"], ids=["virtual", "physical"]
)
def test_the_machine_has_run_meanwhile(kd: Kd, look: str) -> None:
    """The interrupt time of the shared page."""
    pa = kd.session.memory.page_tables().translate(0xFFFFF78000000008).pa
    look = look.format(pa=f"{pa:x}")
    before = kd.run(look)
    kd.run("bp nt!KeUpdateSystemTime; g; g; bc *")
    assert kd.run(look) != before


# -- processes -------------------------------------------------------------------------------------


@pytest.fixture
def processes(kd: Kd) -> list[tuple[int, int, int]]:
    """Address, page directory and PEB of those with a user half."""
    found = []
    address = peb = 0
    for line in kd.run("!process 0 0").splitlines():
        word = line.split()
        if line.startswith("PROCESS"):
            address = int(word[1], 16)
            peb = 0
        elif "Peb:" in line:
            peb = int(word[word.index("Peb:") + 1], 16)
        elif "DirBase:" in line and peb:
            found.append((address, int(word[1], 16), peb))
    assert len(found) > 2
    return found


@pytest.mark.parametrize(
    "choose",
    [
        ".process /p {0:x}",
        ".context {1:x}",
        ".process {0:x}; .cache forcedecodeuser",
        ".process /P {0:x}",
    ],
    ids=["process", "context", "cache", "all"],
)
def test_another_process_is_another_memory(kd: Kd, processes, choose: str) -> None:
    one, other = processes[:2]
    look = f"dq 0x{one[2]:x} l2"
    kd.run(choose.format(*one))
    mine = kd.run(look)
    assert "?" not in mine
    kd.run(choose.format(*other))
    assert "????????`????????" in kd.run(look)
    kd.run(choose.format(*one))
    assert kd.run(look) == mine
    kd.run(".process" if "context" not in choose else ".context 0")
    assert "????????`????????" in kd.run(look)


def test_a_page_of_a_process_by_its_two_addresses(kd: Kd, processes) -> None:
    process, _, peb = processes[0]
    va = peb + 0xF00
    kd.run(f".process /p {process:x}")
    pa = kd.session.memory.page_tables().translate(va).pa
    old = kd.run(f"dd {va:x} l1")
    kd.run(f"!dd {pa:x} l1")
    kd.run(f"!ed {pa:x} 11112222")
    assert "11112222" in kd.run(f"dd {va:x} l1")
    kd.run(f"ed {va:x} 33334444")
    assert "33334444" in kd.run(f"!dd {pa:x} l1")
    kd.run(f"ed {va:x} {old.split()[1]}")


@pytest.mark.parametrize(
    ("edit", "choose"),
    [
        pytest.param("!ed {pa:x} {new:x}", ".process /p", id="physical"),
        # /P: the entries are seen where this process has them, not the stopped processor's.
        pytest.param("ed {va:x} {new:x}", ".process /P", id="virtual"),
    ],
)
def test_changed_page_tables_are_walked_anew(kd: Kd, processes, edit: str, choose: str) -> None:
    """The page of one process is put where another has its own, and taken away again."""
    (one, _, peb), (other, _, page) = processes[:2]
    kd.run(f".process /p {other:x}")
    theirs = kd.session.memory.page_tables().translate(page).entries[-1]
    there = kd.value(f"poi(0x{page:x} + 10)")
    kd.run(f"{choose} {one:x}")
    mine = kd.session.memory.page_tables().translate(peb).entries[-1]
    here = kd.value(f"poi(0x{peb:x} + 10)")
    assert here != there
    pte = kd.run(f"!pte 0x{peb:x}")
    va = int(re.findall(r"PTE at ([0-9A-F]+)", pte)[0], 16)
    # The low half is enough: both pages lie below 4 GB.
    for entry, shown in ((theirs, there), (mine, here)):
        kd.run(edit.format(pa=mine.pa, va=va, new=entry.value & 0xFFFFFFFF))
        assert kd.value(f"poi(0x{peb:x} + 10)") == shown
