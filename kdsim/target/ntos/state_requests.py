"""Requests about processors: version, contexts, control space, model-specific registers, ports."""

from __future__ import annotations

from kdsim.target.ntos.requests import Debuggee, answers
from kdsim.target.ntos.state import capture
from kdsim.wire.context import CONTEXT_SIZE
from kdsim.wire.manipulate import (
    UNION_OFFSET,
    UNION_SIZE,
    Api,
    BusDataArguments,
    ContextExArguments,
    IoArguments,
    IoExtendedArguments,
    Manipulate,
    MemoryArguments,
    MsrArguments,
    Status,
)


@answers(Api.GET_VERSION, while_running=True)
def get_version(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """Reads: nt!KdVersionBlock."""
    block = debuggee.memory.read(debuggee.kernel.address("KdVersionBlock"), UNION_SIZE)
    return Manipulate(request.reply().header[:UNION_OFFSET] + block)


@answers(Api.GET_CONTEXT)
def get_context(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    states = debuggee.states
    if states is None or request.processor not in states:
        return request.reply(Status.UNSUCCESSFUL)
    states.context_sent = True
    return request.reply(data=states.context(request.processor))


@answers(Api.SET_CONTEXT)
def set_context(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    states = debuggee.states
    if states is None or not states.context_sent or request.processor not in states:
        return request.reply(Status.UNSUCCESSFUL)
    if len(request.data) < CONTEXT_SIZE:
        return request.reply(Status.INVALID_PARAMETER)
    states.set_context(request.processor, request.data[:CONTEXT_SIZE])
    return request.reply()


@answers(Api.GET_CONTEXT_EX)
def get_context_part(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    states = debuggee.states
    wanted = request.arguments(ContextExArguments)
    if states is None or request.processor not in states or wanted.offset >= CONTEXT_SIZE:
        return request.reply(Status.UNSUCCESSFUL, wanted._replace(total=0))
    states.context_sent = True
    count = min(wanted.size, debuggee.limit)
    data = states.context(request.processor)[wanted.offset : wanted.offset + count]
    return request.reply(Status.SUCCESS, wanted._replace(total=len(data)), data)


@answers(Api.SET_CONTEXT_EX)
def set_context_part(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """Collects pieces; the context counts once its last piece has come."""
    states = debuggee.states
    wanted = request.arguments(ContextExArguments)
    refused = request.reply(Status.UNSUCCESSFUL, wanted._replace(total=0))
    if states is None or not states.context_sent or request.processor not in states:
        return refused
    end = wanted.offset + wanted.size
    if end > CONTEXT_SIZE or wanted.total > CONTEXT_SIZE or len(request.data) < wanted.size:
        return refused
    states.pending[wanted.offset : end] = request.data[: wanted.size]
    if end == wanted.total:
        states.set_context(request.processor, bytes(states.pending))
    return request.reply(Status.SUCCESS, wanted._replace(total=wanted.size))


# Selectors of control space on AMD64: KPCR, KPRCB, KSPECIAL_REGISTERS, KTHREAD.
_PCR, _PRCB, _SPECIAL, _THREAD = range(4)


@answers(Api.READ_CONTROL_SPACE, while_running=True)
def read_control_space(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = request.arguments(MemoryArguments)
    data = _control_space(debuggee, request.processor, wanted.address)
    if data is None:
        return request.reply(Status.UNSUCCESSFUL, wanted._replace(actual=0))
    data = data[: min(wanted.size, debuggee.limit)]
    return request.reply(Status.SUCCESS, wanted._replace(actual=len(data)), data)


def _control_space(debuggee: Debuggee, number: int, selector: int) -> bytes | None:
    prcb = next((p for p in debuggee.kernel.processors() if p.Number == number), None)
    if prcb is None:
        return None
    if selector == _SPECIAL:
        if debuggee.states is not None:
            return debuggee.states.special(number)
        return capture(debuggee.machine.processors[number])[1].raw
    pointers = {
        _PCR: prcb.address - debuggee.kernel.record("_KPCR").offset("Prcb"),
        _PRCB: prcb.address,
        _THREAD: prcb.CurrentThread,
    }
    return pointers[selector].to_bytes(8, "little") if selector in pointers else None


@answers(Api.WRITE_CONTROL_SPACE)
def write_control_space(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """Only the special registers can be written."""
    wanted = request.arguments(MemoryArguments)
    states = debuggee.states
    if states is None or request.processor not in states or wanted.address != _SPECIAL:
        return request.reply(Status.UNSUCCESSFUL, wanted._replace(actual=0))
    old = states.special(request.processor)
    data = request.data[: min(wanted.size, len(old))]
    states.set_special(request.processor, data + old[len(data) :])
    return request.reply(Status.SUCCESS, wanted._replace(actual=len(data)))


@answers(Api.READ_MSR)
def read_msr(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = request.arguments(MsrArguments)
    states = debuggee.states
    value = states.processor.read_msr(wanted.msr) if states is not None else None
    if value is None:
        return request.reply(Status.NO_SUCH_DEVICE)
    return request.reply(Status.SUCCESS, wanted._replace(low=value & 0xFFFF_FFFF, high=value >> 32))


@answers(Api.WRITE_MSR)
def write_msr(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = request.arguments(MsrArguments)
    states = debuggee.states
    if states is None or not states.processor.write_msr(wanted.msr, wanted.high << 32 | wanted.low):
        return request.reply(Status.NO_SUCH_DEVICE)
    return request.reply()


_PORT_SIZES = (1, 2, 4)


@answers(Api.READ_IO, Api.READ_IO_EXTENDED)
def read_port(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """No device decodes a port, so the bus floats: all ones, as on hardware."""
    wanted = _port(request)
    if wanted.size not in _PORT_SIZES:
        return request.reply(Status.INVALID_PARAMETER)
    return request.reply(Status.SUCCESS, wanted._replace(value=(1 << 8 * wanted.size) - 1))


@answers(Api.WRITE_IO, Api.WRITE_IO_EXTENDED)
def write_port(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = _port(request)
    return request.reply(Status.SUCCESS if wanted.size in _PORT_SIZES else Status.INVALID_PARAMETER)


def _port(request: Manipulate) -> IoArguments | IoExtendedArguments:
    if request.api in (Api.READ_IO_EXTENDED, Api.WRITE_IO_EXTENDED):
        return request.arguments(IoExtendedArguments)
    return request.arguments(IoArguments)


@answers(Api.GET_BUS_DATA, Api.SET_BUS_DATA)
def bus_data(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """The machine has no PCI bus."""
    wanted = request.arguments(BusDataArguments)
    return request.reply(Status.UNSUCCESSFUL, wanted._replace(length=0))
