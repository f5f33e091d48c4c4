"""How `dt` and `dx` write values, and how they read what is asked of them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.debugger.commands.model_expression import split
from kdsim.debugger.commands.model_format import Formats, cpp_name, parse_formats
from kdsim.debugger.inspect.typetree import FieldLine, Style, TypeTree, Wanted
from kdsim.debugger.inspect.typevalues import TypeValues, bits, scalar
from kdsim.debugger.text import IntegerStyle
from kdsim.errors import ArgumentError
from kdsim.symbols.basetypes import builtin_named
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.types import (
    Array,
    BaseType,
    BitField,
    Enum,
    Field,
    Function,
    Pointer,
    Record,
    Type,
)

BASE = 0x1000


def named(name: str) -> BaseType:
    found = builtin_named(name)
    assert found is not None
    return found


U8, I8, U16, I16 = map(named, ("unsigned char", "char", "unsigned short", "short"))
U32, I32, U64, I64 = map(named, ("unsigned long", "long", "unsigned int64", "int64"))
WCHAR, BOOL, FLOAT, DOUBLE, VOID = map(named, ("wchar_t", "bool", "float", "double", "void"))
COLOR = Enum("_COLOR", I32, {"Red": 1, "Blue": -5})
LINK: Pointer = Pointer(lambda: LIST)
LIST: Record = Record(
    "_LIST_ENTRY", 16, "struct", lambda: (Field("Flink", 0, LINK), Field("Blink", 8, LINK))
)
GUID = Record("_GUID", 16)
LARGE = Record("_LARGE_INTEGER", 8, "union", (Field("QuadPart", 0, I64),))
ROUTINE = Function(VOID, (U32, Pointer(LIST)))
THING = Record(
    "_THING",
    0x38,
    "struct",
    (
        Field("Id", 0, U32),
        Field("Links", 8, LIST),
        Field("LinkCount", 0x18, U32),
        Field("Flags", 0x1C, BitField(U32, 2, 3)),
        Field("Names", 0x20, Array(U16, 4)),
        Field("Pairs", 0x28, Array(LARGE, 2)),
    ),
)


@pytest.mark.parametrize(
    ("style", "kind", "raw", "text"),
    [
        pytest.param({"radix": 16}, I64, b"\xfe" + b"\xff" * 7, "0xffffffff`fffffffe", id="hex"),
        pytest.param({"radix": 10}, I64, b"\xfe" + b"\xff" * 7, "0n-2", id="decimal"),
        pytest.param({"radix": 10}, U64, b"\x10" + b"\0" * 7, "0n16", id="unsigned decimal"),
        pytest.param({"radix": 8}, U16, b"\x08\0", "0t10", id="octal"),
        pytest.param({"radix": 10}, U32, b"\x10\0\0\0", "0x10", id="a long is another matter"),
        pytest.param({"long_radix": 10}, U32, b"\x10\0\0\0", "0n16", id="a long in decimal"),
        pytest.param({"long_radix": 16}, I32, b"\xff" * 4, "0xffffffff", id="a long in hex"),
        pytest.param({"long_radix": 16}, I16, b"\xff" * 2, "0n-1", id="a short is no long"),
        pytest.param({"radix": 10}, U8, b"A", "0x41 'A'", id="characters stay"),
        pytest.param({"unicode": True}, Array(U16, 3), b"A\0B\0\0\0", '[3]  "AB"', id="text"),
        pytest.param({}, Array(U16, 3), b"A\0B\0\0\0", "[3] 0x41", id="no text"),
    ],
)
def test_type_options(style: dict[str, int | bool], kind: Type, raw: bytes, text: str) -> None:
    values = TypeValues(BytesMemory(BASE, raw), integers=IntegerStyle(**style))
    assert values.value(kind, BASE) == text


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        pytest.param(U32, b"\x09\0\0\0", "9", id="unsigned below 10: a bare digit"),
        pytest.param(U32, b"\x0a\0\0\0", "0xa", id="unsigned from 10 on: hexadecimal"),
        pytest.param(U64, b"\0\0\0\0\1\0\0\0", "0x00000001`00000000", id="wide: with a tick"),
        pytest.param(U64, b"\xff\xff\xff\xff\0\0\0\0", "0xffffffff", id="wide but small"),
        pytest.param(I32, b"\xfe\xff\xff\xff", "0n-2", id="signed: decimal"),
        pytest.param(I64, b"\xff" * 8, "0n-1", id="signed of eight bytes"),
        pytest.param(U8, b"\0", "0 ''", id="a byte of nothing"),
        pytest.param(U8, b"\x05", "0x5 ''", id="a byte is hexadecimal below 10 too"),
        pytest.param(U8, b"A", "0x41 'A'", id="a byte that is a letter"),
        pytest.param(I8, b"b", "98 'b'", id="the manual's char"),
        pytest.param(I8, b"\xff", "-1 ''", id="a negative char"),
        pytest.param(WCHAR, b"\x41\0", "0x41 'A'", id="a wide character"),
        pytest.param(FLOAT, struct.pack("<f", 1.5), "1.5", id="float"),
        pytest.param(DOUBLE, struct.pack("<d", -0.25), "-0.25", id="double"),
    ],
)
def test_numbers(kind: BaseType, raw: bytes, text: str) -> None:
    assert scalar(kind, raw) == text


@given(st.sampled_from([U8, U16, U32, U64, I16, I32, I64]), st.integers(0, 2**64 - 1))
def test_a_number_reads_back(kind: BaseType, number: int) -> None:
    """What is written tells the value, whatever its notation."""
    value = number % (1 << 8 * kind.size)
    text = scalar(kind, value.to_bytes(kind.size, "little")).split()[0]
    digits = text.removeprefix("0n").replace("`", "")
    assert int(digits, 16 if digits.startswith("0x") else 10) % (1 << 8 * kind.size) == value


@given(st.integers(1, 64), st.integers(0, 2**64 - 1))
def test_bits_read_back(length: int, number: int) -> None:
    value = number % (1 << length)
    text = bits(value, length)
    digits = text.split()[0].removeprefix("0y")
    assert (len(digits), int(digits, 2)) == (length, value)
    assert ("(" in text) == (length > 4)


def memory() -> BytesMemory:
    data = bytearray(0x100)
    struct.pack_into("<I4xQQII4HQq", data, 0, 7, BASE, 0x2_0000_0000, 12, 0x16, 1, 2, 3, 4, 1, -1)
    data[0x40:0x50] = bytes(range(16))
    data[0x50:0x56] = "hi\0".encode("utf-16-le")
    struct.pack_into("<Q", data, 0x58, BASE + 0x50)
    return BytesMemory(BASE, data)


@pytest.mark.parametrize(
    ("kind", "offset", "text"),
    [
        pytest.param(
            LIST, 8, "_LIST_ENTRY [ 0x00000000`00001000 - 0x00000002`00000000 ]", id="list"
        ),
        pytest.param(
            LINK,
            8,
            "0x00000000`00001000 _LIST_ENTRY [ 0x00000000`00000007 - 0x00000000`00001000 ]",
            id="a pointer to a list entry shows its links",
        ),
        pytest.param(LINK, 16, "0x00000002`00000000 _LIST_ENTRY", id="that cannot be read"),
        pytest.param(LINK, 0x60, "(null) ", id="null"),
        pytest.param(
            Pointer(LINK),
            8,
            "0x00000000`00001000 -> 0x00000000`00000007 _LIST_ENTRY",
            id="to a pointer",
        ),
        pytest.param(Pointer(U32), 8, "0x00000000`00001000 -> 7", id="to a number"),
        pytest.param(Pointer(VOID), 8, "0x00000000`00001000 Void", id="to anything"),
        pytest.param(Pointer(WCHAR), 0x58, '0x00000000`00001050  "hi"', id="to text"),
        pytest.param(Pointer(ROUTINE), 8, "0x00000000`00001000     void  nt!F+10", id="to code"),
        pytest.param(GUID, 0x40, "_GUID {03020100-0504-0706-0809-0a0b0c0d0e0f}", id="guid"),
        pytest.param(LARGE, 0x28, "_LARGE_INTEGER 0x1", id="small large integer"),
        pytest.param(COLOR, 0x28, "0n1 ( Red )", id="enumerator"),
        pytest.param(COLOR, 0, "0n7 (No matching name)", id="no enumerator"),
        pytest.param(Array(U16, 4), 0x20, "[4] 1", id="an array shows its first element"),
        pytest.param(Array(Array(U16, 2), 2), 0x20, "[2] [2] 1", id="an array of arrays"),
        pytest.param(Array(WCHAR, 3), 0x50, '[3]  "hi"', id="an array of characters"),
        pytest.param(BitField(U32, 2, 3), 0x1C, "0y101", id="bits"),
        pytest.param(U32, 0x200, "????", id="unreadable"),
    ],
)
def test_values(kind: Type, offset: int, text: str) -> None:
    values = TypeValues(memory(), describe=lambda _va: "nt!F+0x10")
    assert values.value(kind, BASE + offset) == text
    assert (values.failure is not None) == (text == "????")


@pytest.mark.parametrize(
    ("path", "prefix", "fields"),
    [
        pytest.param("id", False, ["Id"], id="whatever the case"),
        pytest.param("Link", False, [], id="the whole name"),
        pytest.param("Link", True, ["Links", "LinkCount"], id="-y: its beginning"),
        pytest.param("Link*", False, ["Links", "LinkCount"], id="a wildcard"),
        pytest.param("*s", False, ["Links", "Flags", "Names", "Pairs"], id="a wildcard in front"),
        pytest.param("Names[2]", False, ["Names[2]"], id="an element"),
        pytest.param("Links.", False, ["Links", "Flink", "Blink"], id="a dot opens"),
        pytest.param(
            "Li.Bl.",
            False,
            ["Links", "Blink", "Flink", "Blink", "LinkCount"],
            id="dots mean prefixes, and open pointers",
        ),
        pytest.param("Links.Blink", False, ["Links", "Blink"], id="a path"),
        pytest.param("Pairs[1].QuadPart", False, ["Pairs[1]", "QuadPart"], id="into an element"),
        pytest.param("Nope", False, [], id="nothing"),
    ],
)
def test_fields_asked_for(path: str, prefix: bool, fields: list[str]) -> None:
    wanted = Wanted(tuple(path.split(".")), prefix)
    lines = TypeTree(memory(), Style()).fields(THING, None, (wanted,))
    assert [line.name for line in lines] == fields


def test_an_element_is_read_where_it_lies() -> None:
    wanted = Wanted(("Names[2]",)), Wanted(("Pairs[1]",))
    lines = TypeTree(memory(), Style()).fields(THING, BASE, wanted)
    assert [str(line) for line in lines] == [
        "   +0x024 Names[2]         : 3",
        "   +0x030 Pairs[1]         : _LARGE_INTEGER 0xffffffff`ffffffff",
    ]


@pytest.mark.parametrize(
    ("line", "options", "text"),
    [
        pytest.param(FieldLine(0, 8, "Id", "7"), {}, "   +0x008 Id               : 7", id="plain"),
        pytest.param(
            FieldLine(1, 8, "Id", "7"), {}, "      +0x008 Id               : 7", id="nested"
        ),
        pytest.param(FieldLine(0, 8, "Id", "7"), {"width": 4}, "   +0x008 Id   : 7", id="narrow"),
        pytest.param(
            FieldLine(1, 8, "Id", "7"), {"indent": False}, "+0x008 Id               : 7", id="-i"
        ),
        pytest.param(
            FieldLine(0, 8, "Id", "7"), {"offsets": False}, "   Id               : 7", id="-o"
        ),
        pytest.param(FieldLine(1, 2, "[01]", "7"), {}, "    [01] 7", id="an element"),
    ],
)
def test_lines(line: FieldLine, options: dict[str, int], text: str) -> None:
    assert line.line(**options) == text  # type: ignore[arg-type]


# -- dx ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(U64, "unsigned __int64", id="__int64"),
        pytest.param(Pointer(THING), "_THING *", id="without struct"),
        pytest.param(Pointer(Pointer(VOID)), "void * *", id="pointers"),
        pytest.param(Array(Array(U8, 8), 2), "unsigned char [2][8]", id="arrays"),
        pytest.param(ROUTINE, "void __cdecl(unsigned long,_LIST_ENTRY *)", id="a function"),
        pytest.param(
            Pointer(ROUTINE), "void (__cdecl*)(unsigned long,_LIST_ENTRY *)", id="a pointer to one"
        ),
        pytest.param(BitField(U32, 2, 3), "unsigned long", id="bits are of their base"),
    ],
)
def test_type_names(kind: Type, name: str) -> None:
    assert cpp_name(kind) == name


@pytest.mark.parametrize(
    ("word", "value", "text"),
    [
        pytest.param("x", 300, "0x12c", id="x"),
        pytest.param("d", 300, "300", id="d"),
        pytest.param("o", 300, "0454", id="o"),
        pytest.param("b", 5, "0y101", id="b"),
        pytest.param("x", -1, "-0x1", id="negative"),
    ],
)
def test_number_formats(word: str, value: int, text: str) -> None:
    assert parse_formats([word], raw=False, length=None).number(value, signed=True) == text


def test_numbers_without_a_format() -> None:
    assert (Formats().number(-5, signed=True), Formats().number(255)) == ("-5", "0xff")


def test_an_unknown_format() -> None:
    with pytest.raises(ArgumentError, match="Unknown format specifier 'zz'"):
        parse_formats(["zz"], raw=False, length=None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("a,x", ["a", "x"], id="a format"),
        pytest.param("f(a, b), [1,2]", ["f(a, b)", "[1,2]"], id="brackets"),
        pytest.param('"a,b", c', ['"a,b"', "c"], id="quotes"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_parts_between_commas(text: str, parts: list[str]) -> None:
    assert split(text) == parts
