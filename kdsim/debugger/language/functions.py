"""The functions of MASM expressions: `$iment`, `$scmp`, `$sicmp`, `$spat`, `$vvalid`, `$fnsucc`."""

from __future__ import annotations

from collections.abc import Sequence

from kdsim.debugger.language.context import Context
from kdsim.debugger.language.numbers import signed
from kdsim.errors import MemoryFault, SymbolError
from kdsim.symbols.types import BaseType, Function, Pointer
from kdsim.symbols.wildcard import matches

_PAGE = 0x1000


def call(name: str, arguments: Sequence[int | str], context: Context) -> int:
    """The value of a function; TypeError for operands of the wrong number or kind."""
    match name, *arguments:
        case "$iment", int(base):
            from kdsim.symbols.pe import PeImage

            return base + PeImage.from_memory(context.memory, base).entry_rva
        case "$scmp", str(a), str(b):
            return _order(a, b)
        case "$sicmp", str(a), str(b):
            return _order(a.lower(), b.lower())
        case "$spat", str(text), str(pattern):
            return int(matches(pattern, text))
        case "$vvalid", int(address), int(size):
            return int(_readable(context, address, size))
        case "$fnsucc", int(function), int(value), int(flag):
            return int(_succeeded(context, function, value, flag))
    raise TypeError(name)


def _order(a: str, b: str) -> int:
    return ((a > b) - (a < b)) & (1 << 64) - 1


def _readable(context: Context, address: int, size: int) -> bool:
    """One byte per page decides: a page is readable as a whole or not at all."""
    page = address
    while page < address + size:
        try:
            context.memory.read(page, 1)
        except MemoryFault:
            return False
        page = (page | _PAGE - 1) + 1
    return True


def _succeeded(context: Context, function: int, value: int, flag: int) -> bool:
    declared = context.function_type(function)
    if not isinstance(declared, Function):
        raise SymbolError(f"no type is known for the function at {context.describe(function)}")
    result = declared.result
    value &= (1 << 8 * (result.size or 8)) - 1
    if isinstance(result, Pointer):
        # A HANDLE is a pointer to void, and INVALID_HANDLE_VALUE is one that failed.
        is_handle = isinstance(result.target, BaseType) and result.target.kind == "void"
        return value != 0 and not (is_handle and value == (1 << 64) - 1)
    name = result.c_name if isinstance(result, BaseType) else ""
    if name in ("long", "HRESULT"):
        return signed(value, 4) >= 0
    if name in ("int", "bool", "unsigned char"):
        return value != 0
    return (value == 0) if flag else (value != 0)
