"""The cache of target memory, and `.cache`, which tells it what to do."""

from __future__ import annotations

import pytest

from kdsim.debugger.memory import LINE_SIZE, MOST_LINES, READ_AHEAD, CachedMemory
from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import DATA, KERNEL


class Counted:
    """Memory that counts how often it is read."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.memory = CachedMemory(self.read, lambda _va, data: len(data))

    def read(self, va: int, size: int) -> bytes:
        self.reads.append(va)
        return bytes(size)


def test_cache_keeps_to_its_size() -> None:
    memory = Counted().memory
    for address in range(0, LINE_SIZE * (MOST_LINES + 8), 0x10000):
        memory.read(address, 0x10000)
    assert len(memory.cache) <= MOST_LINES


@pytest.mark.parametrize("lines", [0, 1, 3, MOST_LINES])
def test_a_range_larger_than_the_cache_is_read_once(lines: int) -> None:
    counted = Counted()
    counted.memory.cache.most_lines = lines
    size = 3 * MOST_LINES * LINE_SIZE
    assert counted.memory.read(0, size) == bytes(size)
    assert len(counted.reads) == len(set(counted.reads))


def test_what_was_read_first_goes_first() -> None:
    counted = Counted()
    counted.memory.cache.most_lines = 2
    for line in (0, 5, 9):
        counted.memory.read(line * LINE_SIZE, 1)
    counted.reads.clear()
    for line in (9, 5, 0):
        counted.memory.read(line * LINE_SIZE, 1)
    assert counted.reads == [0]


def test_reads_that_move_upwards_are_fetched_ahead() -> None:
    counted = Counted()
    lines = 256
    for address in range(0, lines * LINE_SIZE, 16):
        counted.memory.read(address, 16)
    assert len(counted.reads) < lines / (READ_AHEAD / 2)
    counted.reads.clear()
    counted.memory.flush()
    for address in range(0, lines * LINE_SIZE, 2 * LINE_SIZE):
        counted.memory.read(address, 16)
    assert len(counted.reads) == lines / 2, "who jumps gets no more than he asked for"


USER = 0x7FF7_0000_0000


@pytest.mark.parametrize(
    "switch",
    [
        pytest.param("~1s", id="processor"),
        pytest.param(".cache hold; ~1s", id="processor, and the cache is held"),
    ],
)
def test_another_processor_may_be_in_another_process(
    kd: Kd, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    """A target reads user addresses by the page tables of the processor that is looked at."""
    kd.backend.virtual.map(USER, b"\1\1\1\1")
    change = kd.backend.switch_processor

    def switch_processor(number: int) -> None:
        kd.backend.virtual.poke(USER, bytes([number + 1]) * 4)
        change(number)

    monkeypatch.setattr(kd.backend, "switch_processor", switch_processor)
    assert kd.run(f"dd {USER:x} l1").endswith("  01010101\n")
    kd.run(switch)
    assert kd.run(f"dd {USER:x} l1").endswith("  02020202\n")
    kd.run("~0s")
    assert kd.run(f"dd {USER:x} l1").endswith("  01010101\n")


def test_another_processor_ends_the_choice_of_a_process(kd: Kd) -> None:
    kd.session.memory.select_process(0x1AD000)
    kd.run("~1s")
    assert kd.session.memory.process_cr3 is None


def test_flushall_forgets_physical_memory_too(kd: Kd) -> None:
    kd.backend.physical.map(0x1000, b"\1\1\1\1")
    assert kd.run("!dd 1000 l1").endswith("01010101\n")
    kd.backend.physical.poke(0x1000, b"\2\2\2\2")
    assert kd.run("!dd 1000 l1").endswith("01010101\n")
    assert kd.run(".cache flushall; !dd 1000 l1").endswith("02020202\n")


def test_a_write_is_seen_even_when_the_cache_is_held(kd: Kd) -> None:
    kd.run(".cache hold")
    kd.run("dd poolhittag L1")
    assert kd.run("ed poolhittag 5; dd poolhittag L1").endswith("  00000005\n")


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        pytest.param("", "12345678", id="cached"),
        pytest.param("flushall", "00000001", id="flushall"),
        pytest.param("flush poolhittag", "00000001", id="flush"),
        pytest.param("flush nt", "12345678", id="flush another page"),
        pytest.param("flushu", "12345678", id="flushu"),
        pytest.param("0", "00000001", id="no cache"),
    ],
)
def test_flushing(kd: Kd, words: str, seen: str) -> None:
    """Memory that changed behind the debugger's back."""
    kd.run("dd poolhittag L1")
    kd.backend.virtual.poke(DATA, b"\1\0\0\0")
    kd.run(f".cache {words}")
    assert kd.lines("dd poolhittag L1")[-1] == f"fffff807`11003000  {seen}"


def test_flushu_drops_errors(kd: Kd) -> None:
    assert kd.run("dd nt+8000 L1").endswith("????????\n")
    kd.backend.virtual.map(KERNEL + 0x8000)
    assert kd.run("dd nt+8000 L1").endswith("????????\n")
    kd.run(".cache flushu")
    assert kd.run("dd nt+8000 L1").endswith("00000000\n")


@pytest.mark.parametrize(
    ("words", "seen"),
    [pytest.param("hold", "12345678", id="hold"), pytest.param("unhold", "00000001", id="unhold")],
)
def test_a_held_cache_outlives_a_run(kd: Kd, words: str, seen: str) -> None:
    kd.run(f".cache {words}")
    kd.run("dd poolhittag L1")
    kd.backend.virtual.poke(DATA, b"\1\0\0\0")
    kd.run("t 2")
    assert kd.lines("dd poolhittag L1")[-1] == f"fffff807`11003000  {seen}"


def test_a_dump_has_no_cache(kd: Kd) -> None:
    from kdsim.debugger.backends.base import Caps

    kd.backend.caps = Caps.READ | Caps.REGISTERS
    assert kd.run(".cache").startswith("Operation not supported by current debuggee error")
