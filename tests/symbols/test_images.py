"""The project's own images: real linker output, read by every path there is."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import pytest

from kdsim.resources import resource_path
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.pe import PeImage
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.store import SymbolPath
from kdsim.symbols.types import Record
from kdsim.symbols.unwind import MACHINE_FRAME, UnwindInfo, read_unwind_info

IMAGES = ("ntoskrnl.exe", "hal.dll", "leaky.sys", "tidy.sys")
BASE = 0xFFFF_F800_0000_0000


@functools.cache
def image(name: str) -> PeImage:
    folder = resource_path("targets", "images", name)
    (path,) = folder.glob(f"*/{name}")
    return PeImage.from_file(path.read_bytes(), name)


@functools.cache
def space(name: str) -> SymbolSpace:
    mapped = image(name)
    memory = BytesMemory(BASE, mapped.read(0, mapped.size_of_image))
    made = SymbolSpace(SymbolPath.parse(""), memory)
    made.add("", BASE, 0, image_name=name)
    made.load_all()
    return made


def pdb(name: str) -> Pdb:
    found = space(name).modules[0].pdb
    assert found is not None
    return found


every_image = pytest.mark.parametrize("name", IMAGES)


@every_image
def test_image_and_pdb_belong_together(name):
    module = space(name).modules[0]
    assert module.problem == ""
    code = image(name).codeview
    assert code is not None
    assert (code.guid, code.age) == (pdb(name).guid, pdb(name).age)
    assert module.pdb_path is not None
    assert module.pdb_path.parent.name == code.key


@every_image
def test_every_symbol_is_found_through_the_linkers_hash_tables(name):
    for symbol in pdb(name).match("*"):
        assert symbol in pdb(name).symbols(symbol.name.upper())


@every_image
def test_every_type_is_found_through_the_linkers_hash_table(name):
    table = pdb(name)
    for type_name in table.type_names():
        found = table.type(type_name)
        assert found.name == type_name or type_name.endswith("-tag>")
        if isinstance(found, Record):
            assert all(0 <= field.offset <= found.size for field in found.fields)


@every_image
def test_every_address_leads_back_to_its_symbol(name):
    table = pdb(name)
    for symbol in table.by_address():
        nearest = table.nearest(symbol.rva)
        assert nearest is not None
        assert nearest.rva == symbol.rva


@every_image
def test_every_function_has_a_name_and_unwind_data(name):
    table = pdb(name)
    for function in image(name).functions:
        symbol = table.nearest(function.begin)
        assert symbol is not None
        assert (symbol.rva, symbol.kind) == (function.begin, "function")
        assert isinstance(read_unwind_info(image(name).read, function.unwind_rva), UnwindInfo)


@pytest.mark.parametrize("name", ["ntoskrnl.exe", "leaky.sys", "tidy.sys"])
def test_exports_agree_with_the_pdb(name):
    for export in image(name).exports.by_name.values():
        if not export.forwarder:
            assert export.rva in [s.rva for s in pdb(name).symbols(export.name)]


@pytest.mark.parametrize("name", ["ntoskrnl.exe", "leaky.sys", "tidy.sys"])
def test_static_functions_are_found_by_name_and_address(name):
    table = pdb(name)
    static = [s for s in table.match("*") if s.is_static and s.kind == "function"]
    assert static
    for symbol in static:
        assert symbol.size > 0
        inside = table.nearest(symbol.rva + symbol.size - 1)
        assert inside is not None
        assert inside.rva == symbol.rva


def test_code_has_lines_and_parameters():
    nt = space("ntoskrnl.exe")
    entry = nt.resolve("nt!KeBugCheckEx")
    line = nt.line(entry)
    assert line is not None
    assert line.file.endswith("bugcheck.c")
    assert nt.line_address("nt", line.file, line.line) == entry
    names = [local.name for local in nt.locals(entry) if local.is_parameter]
    assert len(names) == 5


def test_trap_entries_push_a_machine_frame():
    nt = space("ntoskrnl.exe")
    found = {}
    for name in ("KiPageFault", "KiBreakpointTrap"):
        function = image("ntoskrnl.exe").functions.find(nt.resolve(f"nt!{name}") - BASE)
        assert function is not None
        info = read_unwind_info(image("ntoskrnl.exe").read, function.unwind_rva)
        found[name] = [code.info for code in info.codes if code.operation == MACHINE_FRAME]
    assert found == {"KiPageFault": [1], "KiBreakpointTrap": [0]}


def test_one_name_costs_a_small_part_of_all_names():
    def shortest(look: Callable[[Pdb], object]) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            assert look(Pdb.open(pdb("ntoskrnl.exe").path))
            times.append(time.process_time() - start)
        return min(times)

    one = shortest(lambda fresh: (fresh.symbols("PoolHitTag"), fresh.type("_EPROCESS")))
    every = shortest(lambda fresh: list(map(fresh.symbols, fresh.names())))
    assert one < every / 5
