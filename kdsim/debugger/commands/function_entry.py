"""`.fnent`: the function table entry of an address and its unwind data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.commands.symbols import NearestSymbols, nearest_symbols
from kdsim.debugger.registers import GENERAL
from kdsim.debugger.text import address as tick
from kdsim.errors import FormatError, UserError
from kdsim.symbols import unwind

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

EXCEPTION_DIRECTORY = 3
HEADER_SIZE, CODE_SIZE = 4, 2
"""Of UNWIND_INFO and of one unwind code, in bytes."""

OPERATIONS = {
    unwind.PUSH_NONVOL: "UWOP_PUSH_NONVOL",
    unwind.ALLOC_LARGE: "UWOP_ALLOC_LARGE",
    unwind.ALLOC_SMALL: "UWOP_ALLOC_SMALL",
    unwind.SET_FPREG: "UWOP_SET_FPREG",
    unwind.SAVE_NONVOL: "UWOP_SAVE_NONVOL",
    unwind.SAVE_NONVOL_FAR: "UWOP_SAVE_NONVOL_FAR",
    unwind.EPILOG: "UWOP_EPILOG",
    unwind.SPARE: "UWOP_SPARE_CODE",
    unwind.SAVE_XMM128: "UWOP_SAVE_XMM128",
    unwind.SAVE_XMM128_FAR: "UWOP_SAVE_XMM128_FAR",
    unwind.MACHINE_FRAME: "UWOP_PUSH_MACHFRAME",
}


@dataclass(frozen=True, slots=True)
class FunctionEntry:
    """A RUNTIME_FUNCTION, RVAs as it holds them, and what its unwind data say."""

    symbols: NearestSymbols | None
    where: int
    begin: int
    end: int
    unwind_rva: int
    unwind_va: int
    info: unwind.UnwindInfo
    slots: tuple[int, ...]
    handler: str

    def lines(self) -> Iterator[str]:
        yield f"Debugger function entry {tick(self.where)} for:"
        if self.symbols is not None:
            yield from self.symbols.lines()
        yield ""
        yield f"BeginAddress      = {tick(self.begin)}"
        yield f"EndAddress        = {tick(self.end)}"
        yield f"UnwindInfoAddress = {tick(self.unwind_rva)}"
        yield ""
        info = self.info
        count = self.slots[-1] if self.slots else 0
        yield f"Unwind info at {tick(self.unwind_va)}, {HEADER_SIZE + CODE_SIZE * count:x} bytes"
        yield (
            f"  version {info.version}, flags {info.flags:x}, prolog {info.prolog_size:x}, "
            f"codes {count:x}"
        )
        if info.frame_register:
            yield f"  frame reg {GENERAL[info.frame_register]}, frame offs {info.frame_offset:x}"
        if self.handler:
            yield f"  handler routine: {self.handler}"
        if info.chained is not None:
            chained = info.chained
            yield f"  chained to {chained.begin:x} - {chained.end:x}, unwind {chained.unwind_rva:x}"
        for slot, code in zip((0, *self.slots), info.codes, strict=False):
            yield _code_line(slot, code)


def _code_line(slot: int, code: unwind.UnwindCode) -> str:
    name = OPERATIONS[code.operation]
    if code.operation in (unwind.PUSH_NONVOL, unwind.SAVE_NONVOL, unwind.SAVE_NONVOL_FAR):
        name += f" reg: {GENERAL[code.info]}"
    elif code.operation in (unwind.ALLOC_LARGE, unwind.ALLOC_SMALL):
        name += f" size: {code.value:x}"
    return (
        f"  {slot:02x}: offs {code.prolog_offset:x}, unwind op {code.operation:x}, "
        f"op info {code.info:x}\t{name}."
    )


@command(
    ".fnent",
    summary="Show the function table entry and the unwind data of an address.",
    group="stack",
    params=(Param("address", "symbol", "in a function"),),
    needs=Caps.READ,
    see_also=("ln", "k", "uf"),
)
def function_entry(session: Session, args: Arguments, name: str) -> FunctionEntry:
    va = args.address()
    args.at_end()
    module = session.symbols.module_at(va)
    image = module.image if module is not None else None
    entry = image.functions.find(va - module.base) if image and module else None
    if module is None or image is None or entry is None:
        raise UserError(f"No function entry for {tick(va)}")
    try:
        info = unwind.read_unwind_info(image.read, entry.unwind_rva)
    except FormatError as error:
        raise UserError(f"The unwind data of {tick(va)} are damaged: {error}") from error
    table = image.directories[EXCEPTION_DIRECTORY].rva
    index = next(i for i, other in enumerate(image.functions) if other.begin == entry.begin)
    handler = ""
    if info.handler_rva:
        target = module.base + info.handler_rva
        handler = f"{session.symbols.format(target)} ({tick(target)})"
    return FunctionEntry(
        nearest_symbols(session, va),
        module.base + table + 12 * index,
        entry.begin,
        entry.end,
        entry.unwind_rva,
        module.base + entry.unwind_rva,
        info,
        tuple(_slot_ends(info)),
        handler,
    )


def _slot_ends(info: unwind.UnwindInfo) -> Iterator[int]:
    """How many slots are used up behind each code."""
    total = 0
    for code in info.codes:
        total += 1 + (unwind.extra_slots(code.operation, code.info, info.version) or 0)
        yield total
