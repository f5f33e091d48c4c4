"""Typed views over memory."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.errors import FormatError, MemoryFault, SymbolError
from kdsim.symbols.basetypes import builtin
from kdsim.symbols.memory import BytesMemory, Snapshot
from kdsim.symbols.types import Array, BitField, Enum, Field, Pointer, Record
from kdsim.symbols.views import (
    ArrayView,
    MissingField,
    View,
    containing_record,
    list_entries,
    read_value,
    write_value,
)

UCHAR, USHORT, ULONG, LONG, UINT64 = (builtin(index) for index in (0x20, 0x21, 0x22, 0x12, 0x23))
LIST = Record(
    "_LIST_ENTRY",
    16,
    "struct",
    lambda: (Field("Flink", 0, Pointer(LIST)), Field("Blink", 8, Pointer(LIST))),
)
COLOR = Enum("_COLOR", builtin(0x74), {"Red": 1, "Blue": -5})
ITEM = Record(
    "_ITEM",
    80,
    "struct",
    (
        Field("Id", 0, UINT64),
        Field("Links", 8, LIST),
        Field("Low", 24, BitField(ULONG, 0, 3)),
        Field("High", 24, BitField(LONG, 30, 2)),
        Field("Color", 28, COLOR),
        Field("Name", 32, Array(UCHAR, 8)),
        Field("Wide", 40, Array(builtin(0x71), 4)),
        Field("Table", 48, Array(Array(USHORT, 2), 2)),
        Field("Real", 56, builtin(0x41)),
        Field("address", 64, ULONG),
        Field("Small", 68, builtin(0x10)),
        Field("Flag", 69, builtin(0x30)),
    ),
)
BASE = 0xFFFF_8000_0000_1000


@pytest.fixture
def memory():
    return BytesMemory(BASE, bytearray(0x400))


@pytest.fixture
def item(memory):
    return View(memory, ITEM, BASE)


ROUND_TRIPS = [
    ("Id", 0x1122_3344_5566_7788, 0x1122_3344_5566_7788),
    ("Id", -1, (1 << 64) - 1),
    ("Low", 0xFD, 5),
    ("High", 3, -1),
    ("Color", -5, -5),
    ("Table[1][0]", 0x1_0007, 7),
    ("Real", 2.5, 2.5),
    ("address", 9, 9),
    ("Small", 0xFF, -1),
    ("Flag", 1, True),
    ("Links.Blink", BASE, BASE),
]


@pytest.mark.parametrize(("path", "value", "expected"), ROUND_TRIPS)
def test_what_is_set_is_read(item, path, value, expected):
    item.set(path, value)
    assert item[path] == expected
    item.set(path, 0)
    assert item.bytes() == bytes(80)


@given(st.integers(0, 31), st.integers(1, 32), st.integers(0, (1 << 32) - 1), st.integers())
def test_bit_fields_leave_their_neighbours_alone(position, length, before, value):
    length = min(length, 32 - position)
    memory = BytesMemory(0, bytearray(before.to_bytes(4, "little")))
    field = BitField(ULONG, position, length)
    write_value(memory, field, 0, value)
    mask = (1 << length) - 1
    assert read_value(memory, field, 0) == value & mask
    after = int.from_bytes(memory.data, "little")
    assert after & ~(mask << position) == before & ~(mask << position)


def test_nested_records_and_arrays(item):
    assert isinstance(item.Links, View)
    assert item.Links.address == BASE + 8
    assert isinstance(item.Table, ArrayView)
    item.Table[1].set(-1, 6)
    assert [list(row) for row in item.Table] == [[0, 0], [0, 6]]
    assert item.Table[0:1][0].address == BASE + 48
    with pytest.raises(IndexError):
        item.Table[2]


def test_text(item):
    item.memory.write(BASE + 32, b"smss\0xyz")
    item.memory.write(BASE + 40, "ab\0c".encode("utf-16-le"))
    assert item.Name.text() == "smss"
    assert item.Name.bytes() == b"smss\0xyz"
    assert item.Wide.text() == "ab"


def test_addresses_and_pointers(item):
    item.set("Links.Flink", BASE + 0x100)
    assert item.at("Links.Blink") == BASE + 16
    assert item.deref("Links.Flink") == View(item.memory, LIST, BASE + 0x100)
    assert containing_record(item.memory, ITEM, "Links", BASE + 8) == item
    with pytest.raises(SymbolError, match=r"_ITEM\.Id is no pointer"):
        item.deref("Id")


def test_fields_with_names_of_the_view_itself(item):
    item.set("address", 5)
    assert (item["address"], item.address) == (5, BASE)


def test_missing_field(item):
    assert not item.has("Nothing")
    assert not hasattr(item, "Nothing")
    with pytest.raises(MissingField, match="_ITEM has no field Nothing"):
        item.Nothing  # noqa: B018


def test_unreadable_field_faults_at_its_own_access():
    view = View(BytesMemory(BASE, bytearray(40)), ITEM, BASE)
    assert view.Id == 0
    with pytest.raises(MemoryFault) as caught:
        view.Real  # noqa: B018
    assert caught.value.address == BASE + 56


@pytest.mark.parametrize("path", ["Links", "Table"])
def test_composites_cannot_be_written_as_a_whole(item, path):
    with pytest.raises(SymbolError, match="cannot be written as a whole"):
        item.set(path, 1)


def test_snapshot_keeps_what_was_read(item):
    item.set("Id", 1)
    frozen = item.snapshot()
    item.set("Id", 2)
    assert (frozen.Id, item.Id) == (1, 2)
    frozen.set("Id", 3)
    assert (frozen.Id, item.Id) == (3, 3)


def test_snapshot_reads_once(memory):
    reads = []

    class Counted(BytesMemory):
        def read(self, va, size):
            reads.append(size)
            return super().read(va, size)

    snapshot = Snapshot(Counted(BASE, memory.data), BASE, 80)
    view = View(snapshot, ITEM, BASE)
    assert [view.Id, view.Color, view.Links.Flink] == [0, 0, 0]
    assert reads == [80]


def link(memory, head, places):
    chain = [head, *places, head]
    for here, there in itertools.pairwise(chain):
        memory.write(here, there.to_bytes(8, "little"))


def test_list_entries(memory):
    link(memory, BASE + 0x200, [BASE + 0x108, BASE + 0x58, BASE + 0x300])
    found = [view.address for view in list_entries(memory, BASE + 0x200, ITEM, "Links")]
    assert found == [BASE + 0x100, BASE + 0x50, BASE + 0x2F8]


def test_list_that_never_returns(memory):
    link(memory, BASE + 0x200, [BASE + 0x108, BASE + 0x58])
    memory.write(BASE + 0x58, (BASE + 0x108).to_bytes(8, "little"))
    with pytest.raises(FormatError, match="never returns to its head"):
        list(list_entries(memory, BASE + 0x200, ITEM, "Links"))


def test_list_that_ends_in_nowhere(memory):
    link(memory, BASE + 0x200, [BASE + 0x108, BASE + 0x58])
    memory.write(BASE + 0x58, (0x10).to_bytes(8, "little"))
    walk = list_entries(memory, BASE + 0x200, ITEM, "Links")
    assert [next(walk).address, next(walk).address] == [BASE + 0x100, BASE + 0x50]
    with pytest.raises(MemoryFault):
        next(walk)
