"""A session over made-up modules, to complete in without a machine."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from kdsim.debugger.commands.engine import Engine, equip
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.store import SymbolPath
from tests.debugger.debugger_fakes import FakeBackend
from tests.symbols import pdbmaker as make

ULONG, UINT64 = 0x22, 0x23
BASE = 0xFFFFF800_00000000


def kernel_pdb(folder: Path, functions: Iterable[str] = (), structures: int = 0) -> Path:
    """A kernel of a few types and variables, and as many more names as one likes."""
    pdb = make.PdbMaker()
    entry = pdb.fields(make.member("Flink", 0x603, 0), make.member("Blink", 0x603, 8))
    list_entry = pdb.struct("_LIST_ENTRY", 16, entry)
    header = pdb.fields(make.member("Type", ULONG, 0), make.member("WaitListHead", list_entry, 8))
    dispatcher = pdb.struct("_DISPATCHER_HEADER", 24, header)
    pcb = pdb.fields(make.member("Header", dispatcher, 0), make.member("Affinity", UINT64, 24))
    kprocess = pdb.struct("_KPROCESS", 32, pcb)
    forward = pdb.struct("_EPROCESS", 0, 0, forward=True)
    to_process = pdb.pointer(forward)
    fields = pdb.fields(
        make.member("Pcb", kprocess, 0),
        make.member("ActiveProcessLinks", list_entry, 32),
        make.member("ActiveThreads", ULONG, 48),
        make.member("Parent", to_process, 56),
    )
    pdb.struct("_EPROCESS", 64, fields)
    for number in range(structures):
        pdb.struct(f"_STRUCTURE{number}", 64, fields)
    row = pdb.type(0x1503, struct.pack("<II", to_process, UINT64) + make.numeric(32) + b"\0")
    pdb.data("PsInitialSystemProcess", to_process, 2, 0x10)
    pdb.data("PsActiveProcessHead", list_entry, 2, 0x20)
    pdb.data("PspTable", row, 2, 0x30)
    pdb.public("PsLookupProcessByProcessId", 1, 0x10, 2)
    pdb.public("KeBugCheckEx", 1, 0x20, 2)
    pdb.public("poolhittag", 2, 0x40)
    pdb.public("??_C@_05ABCDEF@nt@", 2, 0x50)
    for number, name in enumerate(functions):
        pdb.public(name, 1, 0x100 + number % 0xE00, 2)
    return pdb.write(folder / "nt.pdb")


def driver_pdb(folder: Path) -> Path:
    pdb = make.PdbMaker()
    pdb.struct("_LEAKY_DEVICE", 8, pdb.fields(make.member("Count", ULONG, 0)))
    pdb.public("LeakyWorker", 1, 0, 2)
    return pdb.write(folder / "leaky.pdb")


def engine_over(modules: dict[str, Path | None], printed: list[str] | None = None) -> Engine:
    """A session whose target has these modules; one without a PDB is still deferred."""
    backend = FakeBackend()
    session = Session(backend, Output((printed if printed is not None else []).append))
    space = SymbolSpace(SymbolPath.parse(""), session.memory)
    session.modules._space = space
    for number, (name, path) in enumerate(modules.items()):
        module = space.add(name, BASE + number * 0x100000, 0x10000, timestamp=1)
        if path is not None:
            module.pdb = module.source = Pdb.open(path)
            module.pdb_path, module.status = path, "private pdb"
    return equip(session)
