"""Contexts, control space and model specific registers."""

import pytest

from kdsim.wire.context import CONTEXT_SIZE, Context, SpecialRegisters
from kdsim.wire.endpoint import BreakIn, Connected, Reset
from kdsim.wire.manipulate import (
    Api,
    ContextExArguments,
    Manipulate,
    MemoryArguments,
    MsrArguments,
    Status,
)


def test_contexts_of_both_processors(booted):
    change = booted.script.reports[0]
    own, other = (
        Context(booted.one(Api.GET_CONTEXT, processor=number).data)
        for number in (change.processor, 1 - change.processor)
    )
    assert own.get("rip") == change.pc
    assert own.get("flags") == 0x10001F
    assert (own.get("cs"), own.get("ss")) == (0x10, 0x18)
    assert other.get("rip") != own.get("rip")
    assert booted.one(Api.GET_CONTEXT, processor=2).status == Status.UNSUCCESSFUL


def test_a_context_in_pieces_is_the_same(booted):
    whole = booted.one(Api.GET_CONTEXT).data
    pieces = b""
    for offset in range(0, CONTEXT_SIZE, 500):
        wanted = ContextExArguments(offset, 500)
        reply = booted.one(Api.GET_CONTEXT_EX, wanted)
        assert reply.arguments(ContextExArguments).total == len(reply.data)
        pieces += reply.data
    assert pieces == whole
    beyond = ContextExArguments(CONTEXT_SIZE, 4)
    assert booted.one(Api.GET_CONTEXT_EX, beyond).status == Status.UNSUCCESSFUL


def test_contexts_are_bytes_in_the_kprcb(booted):
    for prcb in booted.kernel.processors():
        context = booted.one(Api.GET_CONTEXT, processor=prcb.Number).data
        assert prcb.ProcessorState.ContextFrame.bytes() == context


def test_setting_a_context_needs_a_look_at_it_first(fresh):
    request = Manipulate.request(Api.SET_CONTEXT, None, bytes(CONTEXT_SIZE))
    (refused,) = fresh.ask(request)
    assert refused.status == Status.UNSUCCESSFUL
    raw = fresh.one(Api.GET_CONTEXT).data
    short = Manipulate.request(Api.SET_CONTEXT, None, raw[:100])
    get = Manipulate.request(Api.GET_CONTEXT)
    assert fresh.ask(get, short)[1].status == Status.INVALID_PARAMETER


@pytest.mark.parametrize("event", [BreakIn(), Reset(), Connected()], ids=lambda e: type(e).__name__)
def test_a_context_that_was_looked_at_can_be_set_after_the_stop_is_told_again(fresh, event):
    number = fresh.script.reports[-1].processor
    context = Context(fresh.one(Api.GET_CONTEXT, processor=number).data)
    context.set("rbx", 0x1234)
    told = len(fresh.script.reports)
    fresh.script.requests.append(event)
    set_context = Manipulate.request(Api.SET_CONTEXT, None, context.raw, processor=number)
    (reply,) = fresh.ask(set_context)
    assert reply.status == Status.SUCCESS
    assert len(fresh.script.reports) == told + 2
    fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=number))
    (reply,) = fresh.ask(set_context)
    assert reply.status == Status.UNSUCCESSFUL


def test_only_the_named_register_groups_are_set(fresh):
    context = Context(fresh.one(Api.GET_CONTEXT).data)
    context.set("flags", 0x100001)  # control registers only
    context.set("rip", context.get("rip") + 1)
    context.set("rbx", 0x1234)
    get = Manipulate.request(Api.GET_CONTEXT)
    _, done, after = fresh.ask(get, Manipulate.request(Api.SET_CONTEXT, None, context.raw), get)
    assert done.status == Status.SUCCESS
    assert Context(after.data).get("rip") == context.get("rip")
    assert Context(after.data).get("rbx") != 0x1234


def test_registers_set_by_the_debugger_reach_the_processor(fresh):
    number = fresh.script.reports[0].processor
    cpu = fresh.system.machine.processors[number]
    context = Context(fresh.one(Api.GET_CONTEXT, processor=number).data)
    context.set("rip", context.get("rip") + 1)
    context.set("r12", 0x1122334455667788)
    context.set("xmm7", 0xABCDEF << 64)
    get = Manipulate.request(Api.GET_CONTEXT, processor=number)
    half = CONTEXT_SIZE // 2
    parts = [
        Manipulate.request(
            Api.SET_CONTEXT_EX,
            ContextExArguments(start, half, CONTEXT_SIZE),
            context.raw[start : start + half],
            processor=number,
        )
        for start in (0, half)
    ]
    go = Manipulate.request(Api.CONTINUE)
    replies = fresh.ask(get, *parts, go)
    assert [reply.status for reply in replies] == [0, 0, 0]
    assert fresh.stub.stop is None
    assert cpu.r12 == 0x1122334455667788
    assert cpu.rip == context.get("rip")
    assert cpu.fxsave()[0xA0 + 7 * 16 : 0xA0 + 8 * 16] == (0xABCDEF << 64).to_bytes(16, "little")


def test_control_space(booted):
    for prcb in booted.kernel.processors():
        number = prcb.Number
        pcr, own, special, thread = (
            booted.one(Api.READ_CONTROL_SPACE, MemoryArguments(n, 0xF0), processor=number).data
            for n in range(4)
        )
        assert int.from_bytes(own, "little") == prcb.address
        view = booted.kernel.view("_KPCR", int.from_bytes(pcr, "little"))
        assert view.CurrentPrcb == prcb.address
        assert int.from_bytes(thread, "little") == prcb.CurrentThread
        registers = SpecialRegisters(special)
        cpu = booted.system.machine.processors[number]
        assert (registers.get("cr3"), registers.get("cr4")) == (cpu.cr3, cpu.cr4)
        assert registers.get("gs_base") == view.address
        assert registers.get("gdtr") == view.GdtBase
        assert (registers.get("idtr"), registers.get("idtl")) == (view.IdtBase, 0xFFF)
        assert registers.get("tr") == 0x40


@pytest.mark.parametrize(
    ("api", "selector", "processor", "status", "actual"),
    [
        pytest.param(Api.READ_CONTROL_SPACE, 2, 0, Status.SUCCESS, 168, id="short"),
        pytest.param(Api.READ_CONTROL_SPACE, 4, 0, Status.UNSUCCESSFUL, 0, id="selector"),
        pytest.param(Api.READ_CONTROL_SPACE, 2, 9, Status.UNSUCCESSFUL, 0, id="processor"),
        pytest.param(Api.WRITE_CONTROL_SPACE, 1, 0, Status.UNSUCCESSFUL, 0, id="read-only"),
    ],
)
def test_control_space_limits(booted, api, selector, processor, status, actual):
    reply = booted.one(api, MemoryArguments(selector, 168), processor=processor)
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (status, actual)


def test_special_registers_can_be_written(fresh):
    number = fresh.script.reports[0].processor
    wanted = MemoryArguments(2, 0xF0)
    special = SpecialRegisters(fresh.one(Api.READ_CONTROL_SPACE, wanted, processor=number).data)
    special.set("cr2", 0x4242)
    special.set("dr0", 0xFFFFF80000001000)
    reply = fresh.one(Api.WRITE_CONTROL_SPACE, wanted, special.raw, processor=number)
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (Status.SUCCESS, 0xF0)
    fresh.go()
    cpu = fresh.system.machine.processors[number]
    assert (cpu.cr2, cpu.dr0) == (0x4242, 0xFFFFF80000001000)


def test_model_specific_registers(fresh):
    efer = fresh.one(Api.READ_MSR, MsrArguments(0xC0000080)).arguments(MsrArguments)
    assert efer.low == 0xD01
    star = MsrArguments(0xC0000082, 0x9ABCDEF0, 0xFFFFF801)
    assert fresh.one(Api.WRITE_MSR, star).status == Status.SUCCESS
    assert fresh.one(Api.READ_MSR, MsrArguments(0xC0000082)).arguments(MsrArguments) == star
    assert fresh.one(Api.READ_MSR, MsrArguments(0x9999)).status == Status.NO_SUCH_DEVICE
    assert fresh.one(Api.WRITE_MSR, MsrArguments(0x9999)).status == Status.NO_SUCH_DEVICE
