"""Pool, timers and bug checks as the debugger reads them, over memory made by hand."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.debugger.inspect import bugchecks, heaps, pool, poolcheck, timers
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import MemoryFault
from kdsim.resources import resource_path
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.store import SymbolPath
from tests.debugger.debugger_fakes import FakePages

GLOBALS = 0xFFFFF800_00001000
SEGMENT = 0xFFFF9000_00100000
HEAP_KEY, LFH_KEY = 0x1122334455667788, 0x99AABBCCDDEEFF00
MASK = (1 << 64) - 1
U64 = st.integers(0, MASK)


class Pages(FakePages):
    """As `symbols.Memory`."""

    def read(self, va: int, size: int) -> bytes:
        data = self.peek(va, size)
        if len(data) < size:
            raise MemoryFault(va + len(data), size - len(data))
        return data

    def write(self, va: int, data: bytes) -> None:
        self.poke(va, data)


class HandMadeNt(Nt):
    """The kernel's types from its PDB, its globals where a test puts them."""

    def __init__(self, memory: Pages) -> None:
        super().__init__(SymbolSpace(SymbolPath.parse(""), memory), memory)
        (path,) = resource_path("targets", "images", "ntkrnlmp.pdb").rglob("*.pdb")
        self._pdb = Pdb.open(path)

    def type(self, name: str):
        return self._pdb.type(name)

    def address(self, name: str) -> int:
        assert name == "RtlpHpHeapGlobals"
        return GLOBALS


@pytest.fixture
def memory() -> Pages:
    pages = Pages()
    pages.map(GLOBALS, size=0x1000)
    return pages


@pytest.fixture
def nt(memory: Pages) -> HandMadeNt:
    nt = HandMadeNt(memory)
    view = nt.view("_RTLP_HP_HEAP_GLOBALS", GLOBALS)
    view.set("HeapKey", HEAP_KEY)
    view.set("LfhKey", LFH_KEY)
    return nt


def pool_header(tag: bytes, units: int) -> bytes:
    return struct.pack("<HBB4sQ", 0, units, 2, tag, 0)


def vs_subsegment(memory: Pages, start: int, chunks: list[tuple[int, bytes]], size: int) -> None:
    """Chunks of (bytes, tag), a free one with an empty tag; the last is made to fill the rest."""
    at, previous = start + 0x30, 0
    for length, tag in chunks:
        memory.map(at, size=0x20)
        decoded = length // 16 << 16 | previous // 16 << 32 | (1 << 48 if tag else 0)
        memory.poke(at, struct.pack("<Q", decoded ^ at ^ HEAP_KEY))
        if tag:
            memory.poke(at + 16, pool_header(tag, (length - 16) // 16))
        at, previous = at + length, length
    assert at == start + size


@pytest.fixture
def walker(nt: HandMadeNt) -> heaps.HeapWalker:
    return heaps.HeapWalker(nt, heaps.Heap(heaps.NONPAGED_NX, SEGMENT))


CHUNKS = [(0x50, b"Abcd"), (0x5000, b""), (0x90, b"Efg "), (0xAEF0, b"")]
VS = heaps.Range(SEGMENT, 0x10000, heaps.VS_RANGE)


def test_pages_inside_a_free_chunk_may_be_missing(memory, walker):
    vs_subsegment(memory, SEGMENT, CHUNKS, VS.size)
    assert len(memory.pages) < VS.size // 0x1000
    found = list(walker.blocks(VS))
    assert [(b.size, b.allocated) for b in found] == [
        (0x40, True),
        (0x4FF0, False),
        (0x80, True),
        (0xAEE0, False),
    ]
    assert [block.address + block.size + 0x10 for block in found[:-1]] == [
        block.address for block in found[1:]
    ]
    assert [b.previous for b in found[1:]] == [b.size for b in found[:-1]]


@pytest.mark.parametrize(
    ("wanted", "tags"),
    [
        pytest.param("Efg ", [b"Efg "], id="exact"),
        pytest.param("*", [b"Abcd", b"Efg "], id="all"),
        pytest.param(int.from_bytes(b"Abcd", "little"), [b"Abcd"], id="value"),
        pytest.param("abcd", [], id="case-counts"),
    ],
)
def test_the_quick_walk_finds_what_the_full_one_does(memory, walker, wanted, tags):
    vs_subsegment(memory, SEGMENT, CHUNKS, VS.size)
    matcher = pool.TagMatcher(wanted)
    quick = list(walker.tagged(VS, matcher))
    full = [b for b in walker.blocks(VS) if b.allocated and matcher[b.tag]]
    assert quick == full
    assert [block.tag.to_bytes(4, "little") for block in quick] == tags


def test_a_low_fragmentation_subsegment(memory, walker, nt):
    """Block size and first offset are scrambled; two bits a block say what is in use."""
    memory.map(SEGMENT, size=0x1000)
    view = nt.view("_HEAP_LFH_SUBSEGMENT", SEGMENT)
    view.set("BlockCount", 5)
    first, size = 0x50, 0x40
    offsets = nt.record("_HEAP_LFH_SUBSEGMENT_ENCODED_OFFSETS")
    plain = first << 8 * offsets.offset("FirstBlockOffset") | size << 8 * offsets.offset(
        "BlockSize"
    )
    encoded = plain ^ LFH_KEY ^ (SEGMENT >> 12)
    memory.poke(view.at("BlockOffsets"), (encoded & 0xFFFFFFFF).to_bytes(4, "little"))
    memory.poke(view.at("BlockBitmap"), (0b01_00_01_00_01).to_bytes(8, "little"))
    for index in (0, 2, 4):
        memory.poke(SEGMENT + first + size * index, pool_header(b"Lfh" + bytes([48 + index]), 4))
    piece = heaps.Range(SEGMENT, 0x1000, heaps.LFH_RANGE)
    found = list(walker.blocks(piece))
    assert [b.allocated for b in found] == [True, False, True, False, True]
    assert [pool.tag_text(b.tag) for b in found if b.allocated] == ["Lfh0", "Lfh2", "Lfh4"]
    assert {right.address - left.address for left, right in pairwise(found)} == {size}
    assert list(walker.tagged(piece, pool.TagMatcher("Lfh2"))) == [found[2]]


def test_a_segment_tells_what_its_pages_are_for(memory, nt):
    """Descriptors: a VS run of two pages, a free one, an LFH page, a big block."""
    heap = 0xFFFF9000_00010000
    memory.map(heap, size=0x1000)
    memory.map(SEGMENT, size=0x2000)
    context = nt.view("_SEGMENT_HEAP", heap).SegContexts[0]
    for field, value in (
        ("SegmentMask", -0x100000),
        ("UnitShift", 12),
        ("FirstDescriptorIndex", 2),
    ):
        context.set(field, value & MASK)
    for index in (0, 1):
        other = nt.view("_SEGMENT_HEAP", heap).SegContexts[index]
        head = other.at("SegmentListHead")
        link = SEGMENT if index == 0 else head
        memory.poke(head, struct.pack("<QQ", link, link))
    memory.poke(SEGMENT, struct.pack("<QQ", context.at("SegmentListHead"), 0))
    layout = nt.record("_HEAP_PAGE_RANGE_DESCRIPTOR")
    for index, flags, units in (
        (2, 0x3 | 3 << 2, 2),
        (4, 0x2, 3),
        (7, 0x3 | 2 << 2, 1),
        (8, 0x3, 9),
    ):
        place = SEGMENT + index * layout.size
        memory.poke(place + layout.offset("RangeFlags"), bytes([flags]))
        memory.poke(place + layout.offset("UnitSize"), bytes([units]))
    memory.poke(SEGMENT + 17 * layout.size + layout.offset("UnitSize"), bytes([239]))
    walker = heaps.HeapWalker(nt, heaps.Heap(heaps.PAGED, heap))
    vs, lfh = heaps.Range(SEGMENT + 0x2000, 0x2000, 3), heaps.Range(SEGMENT + 0x7000, 0x1000, 2)
    assert walker.ranges() == [vs, lfh]
    assert walker.range_of(SEGMENT + 0x3FFF) == vs
    assert walker.range_of(SEGMENT + 0x4000) is None
    assert walker.range_of(SEGMENT + 0x100000) is None


def test_a_damaged_header_is_skipped_to_the_next_sound_one(memory, walker, nt):
    vs_subsegment(memory, SEGMENT, CHUNKS, VS.size)
    memory.poke(SEGMENT + 0x30 + 0x50, bytes(8))
    with pytest.raises(MemoryFault):
        list(walker.blocks(VS))
    blocks, regions = poolcheck.check_run(nt, walker, VS)
    assert [pool.tag_text(b.tag) for b in blocks if b.allocated] == ["Abcd", "Efg "]
    assert [(r.start - SEGMENT, r.end - SEGMENT) for r in regions] == [(0x80, 0x5080)]


@pytest.mark.parametrize(
    ("pattern", "tag", "matches"),
    [
        pytest.param("Abc ", b"Abc ", True, id="trailing-blank"),
        pytest.param("Abc", b"Abc ", True, id="short-is-padded"),
        pytest.param("A?c?", b"Abcd", True, id="one-character"),
        pytest.param("A*", b"Abcd", True, id="any-end"),
        pytest.param("*d", b"Abcd", True, id="any-start"),
        pytest.param("A*d", b"Abcd", True, id="any-middle"),
        pytest.param("A*e", b"Abcd", False, id="other-end"),
        pytest.param("abcd", b"Abcd", False, id="case"),
        pytest.param("Abcd", b"Abc\xe4", True, id="protected-bit"),
        pytest.param("....", b"Abcd", False, id="dots-are-dots"),
        pytest.param("Abcde", b"Abcd", False, id="too-long"),
    ],
)
def test_tag_patterns(pattern: str, tag: bytes, matches: bool):
    assert pool.tag_matches(int.from_bytes(tag, "little"), pattern) is matches


def test_what_a_tag_looks_like_in_memory():
    assert pool.tag_bytes("Abc ") == (b"Abc ", b"Abc\xa0")
    assert pool.tag_bytes(0x20636241) == (b"Abc ", b"Abc\xa0")
    assert pool.tag_bytes("Irp?") == (b"Irp", b"Ir\xf0")
    assert pool.tag_bytes("*bcd") == (b"bcd", b"bc\xe4")
    assert pool.tag_bytes("Ab?d") == pool.tag_bytes("A*") == ()


@given(timer=U64, dpc=U64.filter(bool), never=U64, always=U64)
def test_a_timers_dpc_is_decoded(timer: int, dpc: int, never: int, always: int):
    """Against the kernel's own encoding, step by step."""
    value = int.from_bytes((dpc ^ always).to_bytes(8, "little"), "big") ^ timer
    turn = never & 0x3F
    stored = ((value >> turn | value << 64 - turn) & MASK) ^ never
    decoded = timers.decode_dpc(timer, stored, never, always)
    assert decoded == (dpc if stored else 0)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        pytest.param(0x1, "APC_INDEX_MISMATCH", id="first"),
        pytest.param(0x19, "BAD_POOL_HEADER", id="pool-header"),
        pytest.param(0xC5, "DRIVER_CORRUPTED_EXPOOL", id="expool"),
        pytest.param(0x1000007E, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M", id="minidump-form"),
        pytest.param(0xC000021A, "WINLOGON_FATAL_ERROR", id="status-as-code"),
        pytest.param(0xDEADDEAD, "MANUALLY_INITIATED_CRASH1", id="last"),
        pytest.param(0x9999, "Unknown bugcheck code (9999)", id="unknown"),
    ],
)
def test_bug_checks_have_names(code: int, name: str):
    assert bugchecks.describe(code).name == name


def test_every_described_bug_check_is_of_the_reference():
    """The name in the descriptions is the one of the list."""
    assert len(bugchecks.names()) > 370
    for code, known in bugchecks.described().items():
        assert bugchecks.names()[code] == known.name


def test_the_minidump_form_is_explained_like_the_plain_one():
    assert bugchecks.describe(0x1000007E).arguments == bugchecks.describe(0x7E).arguments
