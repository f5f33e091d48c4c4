"""Requests about memory: virtual, physical, search, fill, query."""

from __future__ import annotations

from contextlib import suppress

from kdsim.errors import MemoryFault
from kdsim.target.ntos.memory_search import search
from kdsim.target.ntos.requests import Debuggee, answers
from kdsim.wire.manipulate import (
    Api,
    FillArguments,
    Manipulate,
    MemoryArguments,
    QueryMemoryArguments,
    SearchArguments,
    Status,
)

ADDRESS_SPACE = 1 << 64
MAX_SEARCH = 1 << 30
"""Bytes one SearchMemory request may look at: nothing runs meanwhile."""
MAX_FILL = 16 << 20


def _read(debuggee: Debuggee, address: int, size: int, *, physical: bool) -> bytes:
    """The readable start of the range."""
    if not physical:
        return debuggee.memory.read_prefix(address, size)
    ram = debuggee.machine.ram
    return ram.read(address, min(size, ram.size - address)) if address < ram.size else b""


def _write(debuggee: Debuggee, address: int, data: bytes, *, physical: bool) -> int:
    """Write the start of the range that is there; the number of bytes written."""
    if not physical:
        return debuggee.memory.write_prefix(address, data)
    ram = debuggee.machine.ram
    if address >= ram.size:
        return 0
    data = data[: ram.size - address]
    ram.write(address, data)
    # Nobody knows which virtual addresses execute from there.
    debuggee.machine.flush_code()
    return len(data)


@answers(Api.READ_VIRTUAL, Api.READ_PHYSICAL, while_running=True)
def read_memory(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = request.arguments(MemoryArguments)
    count = min(wanted.size, debuggee.limit)
    physical = request.api == Api.READ_PHYSICAL
    data = _read(debuggee, wanted.address, count, physical=physical)
    status = Status.SUCCESS if len(data) == count else Status.UNSUCCESSFUL
    return request.reply(status, wanted._replace(actual=len(data)), data)


@answers(Api.WRITE_VIRTUAL, Api.WRITE_PHYSICAL, while_running=True)
def write_memory(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = request.arguments(MemoryArguments)
    data = request.data[: wanted.size]
    physical = request.api == Api.WRITE_PHYSICAL
    done = _write(debuggee, wanted.address, data, physical=physical)
    status = Status.SUCCESS if done == wanted.size else Status.UNSUCCESSFUL
    return request.reply(status, wanted._replace(actual=done))


@answers(Api.SEARCH_MEMORY, while_running=True)
def search_memory(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """The first place of the pattern; "not found" only when all that can be read was looked at."""
    wanted = request.arguments(SearchArguments)
    pattern = request.data[: wanted.pattern_length]
    if not pattern or len(pattern) != wanted.pattern_length:
        return request.reply(Status.INVALID_PARAMETER)
    end = min(wanted.address + wanted.length, ADDRESS_SPACE)
    place, looked_at = search(debuggee.memory, wanted.address, end, pattern, MAX_SEARCH)
    if place is not None:
        return request.reply(Status.SUCCESS, wanted._replace(address=place))
    complete = 0 < looked_at < MAX_SEARCH
    return request.reply(Status.NOT_FOUND if complete else Status.UNSUCCESSFUL)


@answers(Api.FILL_MEMORY)
def fill_memory(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = request.arguments(FillArguments)
    pattern = request.data[: wanted.pattern_length]
    physical = wanted.flags == 2
    if not pattern or wanted.flags not in (1, 2):
        return request.reply(Status.INVALID_PARAMETER, wanted._replace(length=0))
    length = min(wanted.length, MAX_FILL)
    data = (pattern * (length // len(pattern) + 1))[:length]
    done = _write(debuggee, wanted.address, data, physical=physical)
    status = Status.SUCCESS if done == wanted.length else Status.UNSUCCESSFUL
    return request.reply(status, wanted._replace(length=done))


# DBGKD_QUERY_MEMORY values, protocol page 4.2.
# KdpQueryMemory in ReactOS ntoskrnl/kd64/kdapi.c asks nobody whether the address is there.
_SPACE_VIRTUAL = _SPACE_PROCESS = 0
_SPACE_KERNEL = 2
_READ, _WRITE, _EXECUTE, _FIXED = 1, 2, 4, 8


@answers(Api.QUERY_MEMORY, while_running=True)
def query_memory(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """What kind of address it is, and what may be done there; all of it where nothing is."""
    wanted = request.arguments(QueryMemoryArguments)
    if wanted.space != _SPACE_VIRTUAL:
        return request.reply(Status.INVALID_PARAMETER)
    kernel = bool(wanted.address >> 63)
    flags = _READ | _WRITE | _EXECUTE
    with suppress(MemoryFault):
        page = debuggee.memory.translate(wanted.address)
        flags = _READ | _WRITE * page.writable | _EXECUTE * page.executable | _FIXED * kernel
    space = _SPACE_KERNEL if kernel else _SPACE_PROCESS
    return request.reply(Status.SUCCESS, QueryMemoryArguments(wanted.address, 0, space, flags))


@answers(Api.PAGE_IN, Api.CHECK_LOW_MEMORY)
def nothing_to_do(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """Nothing is paged out, and there is no low-memory signature to check."""
    return request.reply(Status.UNSUCCESSFUL)
