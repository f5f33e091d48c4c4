"""What the commands say of each kind of symbols: private, public, exports, none, another build's.

The image is mapped in a made-up machine; the symbol path is a folder with what the case puts there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdsim.debugger.session import Session
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.store import SymbolPath
from kdsim.symbols.symbols import Symbol
from kdsim.symbols.types import Pointer
from tests.debugger import debugger_symbols
from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import DATA, KERNEL
from tests.debugger.debugger_symbols import U16, U64, FakeLocated, record
from tests.symbols.pdbmaker import GUID_TEXT, PdbMaker
from tests.symbols.pemaker import driver
from tests.symbols.sample import sample

BASE = 0xFFFF_F807_2000_0000
PLACE = "fffff807`20000000 fffff807`20009000   sample  "
SIZE = 0x9000
WRONG_AGE = 7
HEADERS = 0x1000

Symbols = Callable[[Path], None]


def private(folder: Path) -> None:
    maker, strings = sample()
    maker.write(folder / "sample.pdb", strings)


def public(folder: Path) -> None:
    """As Microsoft gives them away: names and addresses, no types, no lines, no locals."""
    maker = PdbMaker(stripped=True)
    maker.public("Outer", 1, 0, 2)
    maker.public("Helper", 1, 0x40, 2)
    maker.public("PoolHitTag", 2, 0x10)
    maker.write(folder / "sample.pdb", b"")


def other_build(folder: Path) -> None:
    maker, strings = sample()
    maker.age = WRONG_AGE
    maker.write(folder / "sample.pdb", strings)


def nothing(folder: Path) -> None:
    """No PDB: the exports of the image are all there is."""


def image_file(folder: Path) -> None:
    """The PDB, and the image itself, for want of its header in memory."""
    private(folder)
    (folder / "sample.sys").write_bytes(driver().file())


def make_space(session: Session, folder: Path) -> SymbolSpace:
    """A real symbol space in the place of the fake one, wired as the session wires its own."""
    modules = session.modules
    path = SymbolPath.parse(str(folder), shipped=folder / "none")
    space = SymbolSpace(path, session.memory)
    space.on_load(modules._loaded)
    modules._space, modules._listed = space, True
    return space


@pytest.fixture
def sampled(kd: Kd, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a line in a session with one module, `sample`, and the symbols of a case."""

    def run(
        symbols: Symbols, *lines: str, header: bool = True, stamp: int = -1, checksum: int = 0x1234
    ) -> list[str]:
        symbols(tmp_path)
        image = driver()
        mapped = bytes(image.mapped()).ljust(SIZE, b"\0")
        skip = 0 if header else HEADERS
        kd.backend.virtual.map(BASE + skip, mapped[skip:], size=SIZE - skip)
        make_space(kd.session, tmp_path).add(
            "sample",
            BASE,
            SIZE,
            image_name="sample.sys",
            timestamp=image.timestamp if stamp < 0 else stamp,
            checksum=checksum,
        )
        text = "".join(kd.run(line) for line in lines)
        return text.replace(str(tmp_path), "DIR").splitlines()

    return run


EXPORTS = "*** ERROR: Symbol file could not be found.  Defaulted to export symbols for sample.sys -"
NONE = "*** ERROR: Module load completed but symbols could not be loaded for sample.sys"


@pytest.mark.parametrize(
    ("symbols", "options", "said", "row"),
    [
        pytest.param(private, {}, [], "  (private pdb symbols)  DIR/sample.pdb", id="private"),
        pytest.param(public, {}, [], "  (pdb symbols)          DIR/sample.pdb", id="public"),
        pytest.param(
            nothing, {}, [EXPORTS], "  (export symbols)       sample.sys", id="exports only"
        ),
        pytest.param(
            other_build, {}, [EXPORTS], "# (export symbols)       sample.sys", id="another build's"
        ),
        pytest.param(private, {"header": False}, [NONE], "  (no symbols)", id="no header page"),
        pytest.param(
            image_file,
            {"header": False},
            [],
            "  (private pdb symbols)  DIR/sample.pdb",
            id="no header page, but the image's file",
        ),
        pytest.param(
            private,
            {"checksum": 0},
            ["*** WARNING: Unable to verify checksum for sample.sys"],
            "C (private pdb symbols)  DIR/sample.pdb",
            id="no checksum",
        ),
        pytest.param(
            private,
            {"header": False, "stamp": 0},
            [NONE],
            "T (no symbols)",
            id="no timestamp",
        ),
    ],
)
def test_loading(
    sampled: Callable[..., list[str]],
    symbols: Symbols,
    options: dict[str, int],
    said: list[str],
    row: str,
) -> None:
    """What `.reload /f` complains about, and the row of `lm` afterwards."""
    *complaints, _, found = sampled(symbols, ".reload /f sample.sys", "lm", **options)
    assert complaints == said
    assert found == f"{PLACE} {row}"


@pytest.mark.parametrize(
    ("symbols", "command", "expected"),
    [
        pytest.param(
            private,
            "x /v sample!*e*",
            [
                "prv func   fffff807`20001000   40 sample!Outer (void)",
                "prv func   fffff807`20001040   20 sample!helper (void)",
                "pub func   fffff807`20001200    0 sample!AsmEntry (<no parameter info>)",
                "prv global fffff807`20002020    4 sample!hidden = 0n589439264",
            ],
            id="private: a function of assembler is known by its public name",
        ),
        pytest.param(
            private,
            "dt sample!*",
            [
                "fffff807`20002010  sample!PoolHitTag",
                "fffff807`20002020  sample!hidden",
                "          sample!_COLOR",
                "          sample!_THING",
            ],
            id="private: variables have addresses, types none",
        ),
        pytest.param(
            private,
            "dt -s 4 -v sample!*",
            [
                "Enumerating symbols matching sample!*, Size = 0x4",
                "Address            Size Symbol",
                "fffff807`20002010   004 sample!PoolHitTag",
                "fffff807`20002020   004 sample!hidden",
                "                    004 sample!_COLOR",
            ],
            id="private: of one size",
        ),
        pytest.param(
            private,
            "dt sample!_THING Color Table Call* fffff807`20002000",
            [
                "   +0x014 Color : 0n387323156 (No matching name)",
                "   +0x018 Table : [3] [4] 0x1918",
                "   +0x038 Callback : 0x3f3e3d3c`3b3a3938     void",
            ],
            id="private: a value the enumeration does not know; an array of arrays; a function",
        ),
        pytest.param(
            private,
            "dv /f sample!Outer",
            [
                "@rcx                   count",
                "@rbp-0x0008            frame",
                "<unavailable>            gone",
                "fffff807`20002030           calls",
            ],
            id="private: variables of a function that does not run",
        ),
        pytest.param(
            public,
            "x /v /t sample!*",
            [
                "pub func   fffff807`20001000    0 <NoType> sample!Outer (<no parameter info>)",
                "pub func   fffff807`20001040    0 <NoType> sample!Helper (<no parameter info>)",
                "pub global fffff807`20002010    0 <NoType> sample!PoolHitTag"
                " = <no type information>",
            ],
            id="public: names alone",
        ),
        pytest.param(
            public,
            "dt sample!PoolHitTag",
            ["Symbol sample!PoolHitTag not found."],
            id="public: a variable without a type",
        ),
        pytest.param(
            public,
            "dv /f sample!Outer",
            ["Unable to enumerate locals, no private symbols for this frame"],
            id="public: no locals",
        ),
        pytest.param(
            public,
            "dx sample!PoolHitTag",
            ["Error: No type (or void) for object at Address 0xfffff80720002010"],
            id="public: dx wants a type",
        ),
        pytest.param(
            public,
            "dx (unsigned long*)&sample!PoolHitTag",
            [
                "(unsigned long*)&sample!PoolHitTag                 : "
                "0xfffff80720002010 : 0x13121110 [Type: unsigned long *]"
            ],
            id="public: the address may be cast",
        ),
        pytest.param(
            public,
            "ln sample!Helper+4",
            [
                "(fffff807`20001040)   sample!Helper+0x4   |  "
                "(fffff807`20002010)   sample!PoolHitTag"
            ],
            id="public: nearest names",
        ),
        pytest.param(
            nothing,
            "x sample!*",
            [
                EXPORTS,
                "fffff807`20001000 sample!Outer (<no parameter info>)",
                "fffff807`20001040 sample!Helper (<no parameter info>)",
                "fffff807`20002010 sample!Data = <no type information>",
            ],
            id="exports: the warning first",
        ),
        pytest.param(
            nothing,
            "dt sample!_THING",
            [EXPORTS, "Symbol sample!_THING not found."],
            id="exports: no types",
        ),
        pytest.param(
            nothing,
            "ld sample",
            [
                EXPORTS,
                f"Symbols not loaded for sample: sample.pdb ({GUID_TEXT}3) was not found: "
                "DIR/none - not found; DIR - not found",
            ],
            id="exports: ld tells what was tried",
        ),
        pytest.param(
            nothing,
            "!for_each_module .echo @#SymbolType @#SymbolFileName",
            ["0x5 sample.sys"],
            id="deferred: the image's name stands for the symbol file's",
        ),
    ],
)
def test_what_a_command_says(
    sampled: Callable[..., list[str]], symbols: Symbols, command: str, expected: list[str]
) -> None:
    assert sampled(symbols, command) == expected


def test_symbols_of_another_build_on_demand(sampled: Callable[..., list[str]]) -> None:
    """`.reload /i` takes them, and everybody is told."""
    found = sampled(other_build, ".reload /i sample.sys", "lm", "lm e", "!chksym sample")
    row = f"{PLACE} M (private pdb symbols)  DIR/sample.pdb"
    assert found[0] == "*** WARNING: Mismatched symbols are used for sample.sys"
    assert found[2] == found[4] == row
    assert found[-1] == "MISMATCH: sample.pdb and sample.sys"


def test_load_anything_is_a_symbol_option(sampled: Callable[..., list[str]]) -> None:
    found = sampled(other_build, ".symopt+ 40", ".reload /f sample.sys", "x /1 sample!Pool*")
    assert found[-2:] == [
        "*** WARNING: Mismatched symbols are used for sample.sys",
        "sample!PoolHitTag",
    ]


def test_noisy_search(sampled: Callable[..., list[str]]) -> None:
    """Every place that was looked at, in order; a new path does not silence it."""
    found = sampled(other_build, "!sym noisy", ".sympath+ DIR2", ".reload /f sample.sys")
    key = f"sample.pdb/{GUID_TEXT}3"
    assert [line for line in found if key in line or line.startswith("DBGHELP")][1:] == [
        f"SYMSRV:  DIR/{key} - mismatched pdb {GUID_TEXT}{WRONG_AGE}",
        f"SYMSRV:  DIR2/{key} - not found",
        "DBGHELP: sample - export symbols",
    ]


def test_a_header_that_is_paged_out_is_named(kd: Kd) -> None:
    """The made-up machine has hal on its list and no memory for it."""
    assert kd.lines(".reload")[1:4] == [
        "Loading Kernel Symbols",
        "..Unable to read image header for hal.dll at fffff807`11100000 - NTSTATUS 0xC0000001",
        "Loading User Symbols",
    ]


@pytest.fixture
def unloaded(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> Kd:
    """A machine that has unloaded gone.sys."""
    string = record(
        "_UNICODE_STRING", 16, Length=(0, U16), MaximumLength=(2, U16), Buffer=(8, Pointer(U16))
    )
    layout = record(
        "_UNLOADED_DRIVERS",
        0x28,
        Name=(0, string),
        StartAddress=(0x10, U64),
        EndAddress=(0x18, U64),
        CurrentTime=(0x20, U64),
    )
    monkeypatch.setitem(debugger_symbols.TYPES, "_UNLOADED_DRIVERS", layout)
    table, text = DATA + 0xD00, "gone.sys".encode("utf-16-le")
    kd.space.known["nt"] += [
        Symbol("MmUnloadedDrivers", table - KERNEL, 0, "data"),
        Symbol("MmLastUnloadedDriver", table + 8 - KERNEL, 0, "data"),
    ]
    row = struct.pack("<HHIQQQQ", len(text), len(text), 0, table + 0x80, BASE, BASE + 0x5000, 0)
    kd.poke(table, struct.pack("<QI", table + 0x10, 1).ljust(16, b"\0") + row)
    kd.poke(table + 0x80, text)
    return kd


GONE = ["", "Unloaded modules:", "fffff807`20000000 fffff807`20005000   gone.sys"]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        pytest.param("lm", True, id="all"),
        pytest.param("lm k", True, id="of the kernel"),
        pytest.param("lm m g*", True, id="that fit"),
        pytest.param("lm m nt", False, id="that do not fit"),
        pytest.param("lmo", False, id="loaded ones only"),
        pytest.param("lml", False, id="with symbols only"),
        pytest.param("lma nt", False, id="at an address"),
    ],
)
def test_unloaded_modules(unloaded: Kd, command: str, shown: bool) -> None:
    assert (unloaded.lines(command)[-3:] == GONE) == shown


@pytest.mark.parametrize(
    ("va", "name"),
    [
        pytest.param(BASE, "<Unloaded_gone.sys>+0x0", id="start"),
        pytest.param(BASE + 0x1234, "<Unloaded_gone.sys>+0x1234", id="inside"),
        pytest.param(BASE + 0x5000, f"0x{BASE + 0x5000:x}", id="behind"),
        pytest.param(0x1000, "0x1000", id="user address"),
    ],
)
def test_name_of_an_address_in_an_unloaded_module(unloaded: Kd, va: int, name: str) -> None:
    modules = unloaded.session.modules
    modules.forget_unloaded()
    assert modules.name_outside(va) == name


def test_symbols_of_an_unloaded_module(unloaded: Kd) -> None:
    """`.reload /unl` puts it back where it was."""
    assert unloaded.run(".reload /unl gone.sys") == ""
    assert unloaded.run("lm1m m gone") == "gone\n"
    found = unloaded.session.symbols.module_named("gone")
    assert found is not None
    assert found.base == BASE


def test_ctrl_c_ends_a_listing(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endless listing is left at the symbol where the key was pressed."""
    symbol = next(kd.space.match("nt!Loop"))
    looked_at = 0

    def endless(_pattern: str) -> Iterator[FakeLocated]:
        nonlocal looked_at
        while True:
            looked_at += 1
            if looked_at == 100:
                kd.session.interrupt()
            yield symbol

    monkeypatch.setattr(kd.space, "match", endless)
    for command in ("x nt!*", "dt -v nt!*", "!for_each_function -m:nt -p:* -c:.echo"):
        looked_at = 0
        assert kd.lines(command)[-1] == "^C"
        assert looked_at == 100
