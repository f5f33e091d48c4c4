"""The PDB reader, on PDBs whose contents are known to the byte."""

from __future__ import annotations

import struct

import pytest

from kdsim.errors import FormatError, SymbolError
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.types import Array, BitField, Enum, Function, Pointer, Record

from . import pdbmaker as make
from .sample import INT, THING, ULONG, sample


@pytest.fixture(params=[True, False], ids=["hashed", "without type hash"])
def pdb(request, tmp_path):
    maker, strings = sample(hashed=request.param)
    return Pdb.open(maker.write(tmp_path / "sample.pdb", strings))


def test_identity(pdb):
    assert (pdb.guid, pdb.age, pdb.key) == (make.GUID_TEXT, 3, make.GUID_TEXT + "3")
    assert pdb.is_private


def test_stripped_pdb_is_public(tmp_path):
    maker, strings = sample(stripped=True)
    assert not Pdb.open(maker.write(tmp_path / "p.pdb", strings)).is_private


FIELDS = [
    ("Id", 0, "Uint8B", 8),
    ("Next", 8, "Ptr64 _THING", 8),
    ("Low", 16, "Pos 0, 3 Bits", 4),
    ("High", 16, "Pos 31, 1 Bit", 4),
    ("Color", 20, "_COLOR", 4),
    ("Table", 24, "[3] [4] Uint2B", 24),
    ("Whole", 40, "Uint8B", 8),
    ("Part", 40, "Uint4B", 4),
    ("Constant", 48, "Ptr64 Uint4B", 8),
    ("Callback", 56, "Ptr64     void ", 8),
    ("Any", 64, "Ptr64 Void", 8),
]


def test_record_has_every_field(pdb):
    record = pdb.type("_THING")
    assert isinstance(record, Record)
    shown = [(f.name, f.offset, f.type.name, f.type.size) for f in record.fields]
    assert shown == FIELDS
    assert (record.size, record.kind) == (72, "struct")


def test_forward_reference_gives_the_definition(pdb):
    record = pdb.type("_THING")
    following = record.by_name["Next"].type
    assert isinstance(following, Pointer)
    assert following.target is record


@pytest.mark.parametrize("name", ["_thing", "_THING", "THING", "thing"])
def test_types_ignore_case_and_typedefs_name_them(pdb, name):
    assert pdb.type(name) is pdb.types.type(THING)


def test_enum_values_take_the_sign_of_their_base(pdb):
    color = pdb.type("_COLOR")
    assert isinstance(color, Enum)
    assert color.values == {"Red": 1, "Blue": -5}
    assert color.name_of(-5) == "Blue"
    assert color.name_of(7) is None


def test_member_paths(pdb):
    record = pdb.type("_THING")
    assert record.offset("Table[2][1]") == 24 + 2 * 8 + 2
    assert isinstance(record.find("Low")[1], BitField)
    assert isinstance(record.find("Table[0]")[1], Array)
    with pytest.raises(KeyError):
        record.offset("Table.Nothing")


def test_missing_type_is_a_symbol_error(pdb):
    with pytest.raises(SymbolError, match=r"no type _NONE in sample\.pdb"):
        pdb.type("_NONE")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("*", {"_COLOR", "_THING"}), ("_t*", {"_THING"}), ("x*", set())],
    ids=["all", "some", "none"],
)
def test_type_names(pdb, pattern, names):
    assert set(pdb.type_names(pattern)) == names


SYMBOLS = [
    pytest.param("outer", [("Outer", 0x1000, 0x40, "function", False, False)], id="function"),
    pytest.param("HELPER", [("helper", 0x1040, 0x20, "function", False, True)], id="static"),
    pytest.param("poolhittag", [("PoolHitTag", 0x2010, 0, "data", False, False)], id="data"),
    pytest.param("hidden", [("hidden", 0x2020, 0, "data", False, True)], id="static data"),
    pytest.param("asmentry", [("AsmEntry", 0x1200, 0, "function", True, False)], id="public"),
    pytest.param("Limit", [("Limit", 0, 0, "constant", False, False)], id="constant"),
    pytest.param("Absolute", [], id="in no section"),
    pytest.param("nothing", [], id="unknown"),
]


@pytest.mark.parametrize(("name", "expected"), SYMBOLS)
def test_symbols_by_name(pdb, name, expected):
    found = pdb.symbols(name)
    shown = [(s.name, s.rva, s.size, s.kind, s.is_public, s.is_static) for s in found]
    assert shown == expected


def test_symbol_types(pdb):
    assert isinstance(pdb.symbols("Outer")[0].type, Function)
    data = pdb.symbols("PoolHitTag")[0]
    assert data.type is not None
    assert (data.type.name, data.extent) == ("Uint4B", 4)
    assert pdb.symbols("Limit")[0].value == -5
    assert pdb.symbols("AsmEntry")[0].type is None


def test_match_tells_each_symbol_once(pdb):
    names = [symbol.name for symbol in pdb.match("*")]
    assert sorted(names) == ["AsmEntry", "Limit", "Outer", "PoolHitTag", "helper", "hidden"]
    assert [symbol.name for symbol in pdb.match("po*TAG")] == ["PoolHitTag"]


NEAREST = [
    (0x0FFF, None),
    (0x1000, "Outer"),
    (0x103F, "Outer"),
    (0x1040, "helper"),
    (0x1060, "helper"),
    (0x1250, "AsmEntry"),
    (0x2000, None),
    (0x2010, "PoolHitTag"),
    (0x2FFF, "hidden"),
]


@pytest.mark.parametrize(("rva", "name"), NEAREST, ids=[hex(row[0]) for row in NEAREST])
def test_nearest(pdb, rva, name):
    found = pdb.nearest(rva)
    assert (found and found.name) == name


def test_symbols_above_an_address(pdb):
    found = list(pdb.by_address())
    for place in found[:: len(found) // 7]:
        assert pdb.after(place.rva - 1).rva == place.rva
        following = next((symbol.rva for symbol in found if symbol.rva > place.rva), None)
        assert (pdb.after(place.rva) and pdb.after(place.rva).rva) == following


def test_every_symbol_by_address(pdb):
    rvas = [symbol.rva for symbol in pdb.by_address()]
    assert rvas == sorted(rvas)
    assert {0x1000, 0x1040, 0x1200, 0x2010, 0x2020} == set(rvas)


LINES = [(0x1000, 10, 16), (0x100F, 10, 16), (0x1010, 11, 16), (0x1040, 20, 32)]


@pytest.mark.parametrize(("rva", "line", "size"), LINES, ids=[hex(row[0]) for row in LINES])
def test_lines(pdb, rva, line, size):
    found = pdb.line(rva)
    assert found is not None
    assert (found.file, found.line, found.size) == ("C:\\kdsim\\main.c", line, size)


@pytest.mark.parametrize("rva", [0x1020, 0x1060, 0x1200, 0x2000], ids=hex)
def test_addresses_without_a_line(pdb, rva):
    assert pdb.line(rva) is None


def test_code_of_a_line(pdb):
    assert [entry.rva for entry in pdb.lines_of("MAIN.c", 20)] == [0x1040]
    assert pdb.lines_of("other.c", 20) == []


def _places(pdb, rva):
    return {local.name: (local.place, local.register, local.offset) for local in pdb.locals(rva)}


def test_locals_at_the_begin(pdb):
    assert _places(pdb, 0x1000) == {
        "count": ("register", "rcx", 0),
        "frame": ("memory", "rbp", -8),
        "gone": ("unavailable", "", 0),
        "calls": ("static", "", 0x2030),
    }
    parameters = [local.name for local in pdb.locals(0x1000) if local.is_parameter]
    assert parameters == ["count"]


def test_locals_in_a_gap_and_in_a_block(pdb):
    assert _places(pdb, 0x1009)["count"] == ("unavailable", "", 0)
    assert _places(pdb, 0x1028)["inner"] == ("memory", "rbp", -16)
    assert "inner" not in _places(pdb, 0x1030)


def test_no_locals_outside_procedures(pdb):
    assert pdb.locals(0x1200) == ()
    assert pdb.locals(0x2010) == ()


def test_reordered_image(tmp_path):
    """OMAP: symbols count in the sections before reordering; addresses are those after it."""
    maker, strings = sample()
    maker.original_sections = make.SECTIONS
    maker.sections = ((b".text", 0x3000, 0x1000, make.CODE), *make.SECTIONS[1:])
    moved = [(0x1000, 0x1800), (0x1040, 0x1100), (0x1060, 0), (0x2000, 0x2000)]
    back = [(0x1000, 0), (0x1100, 0x1040), (0x1120, 0), (0x1800, 0x1000), (0x2000, 0x2000)]
    maker.omap = (back, moved)
    pdb = Pdb.open(maker.write(tmp_path / "moved.pdb", strings))
    assert pdb.symbols("helper")[0].rva == 0x1100
    assert pdb.symbols("AsmEntry") == []
    found = pdb.nearest(0x1110)
    assert found is not None
    assert found.name == "helper"
    assert pdb.symbols("PoolHitTag")[0].rva == 0x2010


def test_base_classes_are_taken_in(tmp_path):
    maker = make.PdbMaker()
    base = maker.struct("Base", 8, maker.fields(make.member("Inherited", ULONG, 4)))
    derived = maker.fields(
        struct.pack("<HHI", 0x1400, 3, base) + make.numeric(8),
        struct.pack("<HHI", 0x1409, 0, 0x1000),
        struct.pack("<HHI", 0x150E, 3, INT) + make.name("shared"),
        struct.pack("<HHII", 0x1511, 4 << 2, INT, 0) + make.name("method"),
        struct.pack("<HHI", 0x1510, 0, base) + make.name("Nested"),
        make.member("Own", INT, 16),
    )
    maker.struct("Derived", 24, derived)
    record = Pdb.open(maker.write(tmp_path / "c.pdb")).type("Derived")
    assert isinstance(record, Record)
    shown = [(field.name, field.offset) for field in record.fields]
    assert shown == [("Inherited", 12), ("__VFN_table", 0), ("Own", 16)]


def test_undefined_record_has_no_fields(tmp_path):
    maker = make.PdbMaker()
    forward = maker.struct("_OPAQUE", 0, 0, forward=True)
    maker.data("thing", maker.pointer(forward), 2, 0)
    pointer = Pdb.open(maker.write(tmp_path / "o.pdb")).symbols("thing")[0].type
    assert isinstance(pointer, Pointer)
    assert isinstance(pointer.target, Record)
    assert (pointer.name, pointer.target.fields) == ("Ptr64 _OPAQUE", ())


LOOPS = [
    pytest.param(lambda m: m.pointer(0x1000), id="pointer to itself"),
    pytest.param(lambda m: m.type(0x1001, struct.pack("<IH", 0x1000, 1)), id="modifier"),
    pytest.param(
        lambda m: m.type(0x1503, struct.pack("<II", 0x1000, ULONG) + b"\4\0\0\0"), id="array"
    ),
]


@pytest.mark.parametrize("loop", LOOPS)
def test_types_made_of_themselves_are_refused(tmp_path, loop):
    maker = make.PdbMaker()
    maker.data("thing", loop(maker), 2, 0)
    symbol = Pdb.open(maker.write(tmp_path / "l.pdb")).symbols("thing")[0]
    with pytest.raises(FormatError, match="refers to itself"):
        symbol.type  # noqa: B018


def test_class_that_is_its_own_base_is_refused(tmp_path):
    maker = make.PdbMaker()
    fields = maker.fields(struct.pack("<HHI", 0x1400, 3, 0x1001) + make.numeric(0))
    maker.struct("Self", 8, fields)
    record = Pdb.open(maker.write(tmp_path / "s.pdb")).type("Self")
    assert isinstance(record, Record)
    with pytest.raises(FormatError, match="its own base class"):
        record.fields  # noqa: B018
