"""Damaged PDBs: a FormatError (or a SymbolError for a lost name), never anything else."""

from __future__ import annotations

import functools
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsim.errors import FormatError, SymbolError
from kdsim.symbols.msf import MsfFile
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.types import Array, Enum, Function, Pointer, Record, Type

from .sample import sample


@functools.cache
def whole() -> bytes:
    maker, strings = sample()
    return maker.build(strings)


def open_bytes(data: bytes, tmp_path) -> Pdb:
    path = tmp_path / "damaged.pdb"
    path.write_bytes(data)
    return Pdb.open(path)


def look_at(kind: Type | None, depth: int = 0) -> None:
    """Everything a debugger would ask of a type."""
    if kind is None or depth > 4:
        return
    assert kind.size >= 0
    assert isinstance(kind.name, str)
    if isinstance(kind, Record):
        for field in kind.fields:
            look_at(field.type, depth + 1)
    elif isinstance(kind, Enum):
        assert isinstance(kind.values, dict)
    elif isinstance(kind, Array):
        look_at(kind.element, depth + 1)
    elif isinstance(kind, Pointer):
        look_at(kind.target, depth + 1)
    elif isinstance(kind, Function):
        for parameter in kind.parameters:
            look_at(parameter, depth + 1)


QUESTIONS = [
    lambda pdb: [look_at(symbol.type) for symbol in pdb.match("*")],
    lambda pdb: [look_at(pdb.type(name)) for name in pdb.type_names()],
    lambda pdb: [look_at(pdb.type(name)) for name in ("_THING", "_COLOR", "BYTE_")],
    lambda pdb: [pdb.symbols(name) for name in ("Outer", "helper", "PoolHitTag", "AsmEntry")],
    lambda pdb: [pdb.nearest(rva) for rva in range(0xFF0, 0x2100, 0x30)],
    lambda pdb: [pdb.line(rva) for rva in range(0x1000, 0x1080, 8)],
    lambda pdb: [look_at(v.type) for rva in (0x1000, 0x1009, 0x1028) for v in pdb.locals(rva)],
    lambda pdb: list(pdb.by_address()),
    lambda pdb: pdb.is_private,
]


def interrogate(data: bytes, tmp_path) -> None:
    with suppress(FormatError):
        pdb = open_bytes(data, tmp_path)
        for question in QUESTIONS:
            with suppress(FormatError, SymbolError):
                question(pdb)


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 20), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])),
        min_size=1,
        max_size=12,
    )
)
def test_changed_bytes(tmp_path, changes):
    data = bytearray(whole())
    for place, value in changes:
        data[place % len(data)] = value
    interrogate(bytes(data), tmp_path)


@FUZZ
@given(st.integers(0, 1 << 20), st.sampled_from([0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF, 4]))
def test_changed_numbers(tmp_path, place, value):
    data = bytearray(whole())
    start = place % (len(data) // 4) * 4
    data[start : start + 4] = value.to_bytes(4, "little")
    interrogate(bytes(data), tmp_path)


def test_every_truncation_is_refused(tmp_path):
    data = whole()
    for length in range(0, len(data), 97):
        with pytest.raises(FormatError):
            open_bytes(data[:length], tmp_path)


CASES = [
    pytest.param(b"", "empty", id="empty"),
    pytest.param(b"MZ" + bytes(100), "no MSF 7.00 signature", id="an image"),
    pytest.param(b"Microsoft C/C++ program database 2.00\r\n\x1aJG", "no MSF", id="version 2"),
]


@pytest.mark.parametrize(("data", "reason"), CASES)
def test_foreign_files(tmp_path, data, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        open_bytes(data, tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        Pdb.open(tmp_path / "nothing.pdb")


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (32, 3, "block size 3 is impossible"),
        (40, 0xFFFF, "truncated"),
        (44, 0x7FFFFFFF, "outside the file"),
        (52, 0xFFFFFF, "outside the file"),
    ],
    ids=["block size", "block count", "directory size", "block map"],
)
def test_superblock(tmp_path, place, value, reason):
    data = bytearray(whole())
    data[place : place + 4] = value.to_bytes(4, "little")
    with pytest.raises(FormatError, match=reason):
        MsfFile(bytes(data), "x.pdb")
