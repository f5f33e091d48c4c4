"""Any request has a reply: those with little behind them, unknown ones and garbage."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsim.target.ntos.addresses import SHARED_DATA
from kdsim.wire.context import CONTEXT_SIZE
from kdsim.wire.manipulate import (
    NO_REPLY,
    Api,
    BusDataArguments,
    IoArguments,
    IoExtendedArguments,
    Manipulate,
    MemoryArguments,
    Status,
)
from tests.target.booted import Debugged


def test_garbage_in_a_request_is_echoed(booted):
    header = struct.pack("<IHHI", Api.READ_VIRTUAL, 0x6166, 110, 0xDEAD).ljust(56, b"\x5a")
    header = header[:16] + struct.pack("<QI", SHARED_DATA, 8) + header[28:]
    (reply,) = booted.ask(Manipulate(header))
    assert reply.status == Status.SUCCESS
    assert (reply.level, reply.processor) == (0x6166, 110)
    assert reply.header[12:16] == b"\x5a" * 4
    assert reply.header[32:] == b"\x5a" * 24


@pytest.mark.parametrize(
    ("api", "arguments", "status"),
    [
        pytest.param(Api.READ_IO, IoArguments(0x60, 1), Status.SUCCESS, id="port"),
        pytest.param(Api.READ_IO, IoArguments(0x60, 3), Status.INVALID_PARAMETER, id="size"),
        pytest.param(Api.WRITE_IO, IoArguments(0x60, 4, 5), Status.SUCCESS, id="write"),
        pytest.param(
            Api.READ_IO_EXTENDED, IoExtendedArguments(2, 0, 0, 0, 0x60), Status.SUCCESS, id="wide"
        ),
        pytest.param(
            Api.GET_BUS_DATA, BusDataArguments(4, 0, 0, 0, 64), Status.UNSUCCESSFUL, id="bus"
        ),
        pytest.param(Api.PAGE_IN, MemoryArguments(0, 0), Status.UNSUCCESSFUL, id="page-in"),
        pytest.param(Api.QUERY_SPECIAL_CALLS, None, Status.UNSUCCESSFUL, id="special-calls"),
        pytest.param(Api.SWITCH_PARTITION, None, Status.UNSUCCESSFUL, id="partition"),
    ],
)
def test_requests_with_little_behind_them(booted, api, arguments, status):
    assert booted.one(api, arguments).status == status


def test_an_absent_device_reads_as_ones(booted):
    assert booted.one(Api.READ_IO, IoArguments(0x60, 2)).arguments(IoArguments).value == 0xFFFF


def test_an_unknown_request_is_refused(booted):
    header = struct.pack("<I", 0x31FF).ljust(56, b"\0")
    (reply,) = booted.ask(Manipulate(header))
    assert reply.status == Status.UNSUCCESSFUL


RUN_CONTROL = {
    Api.CONTINUE,
    Api.CONTINUE2,
    Api.REBOOT,
    Api.CAUSE_BUGCHECK,
    Api.SWITCH_PROCESSOR,
}
QUESTIONS = [api for api in Api if api not in RUN_CONTROL | NO_REPLY]
numbers = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 4096, 2**32 - 1, SHARED_DATA, 2**64 - 1])
)


@pytest.fixture(scope="module")
def victim():
    """A machine that may come to harm."""
    target = Debugged()
    target.run_to_stop()
    return target


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    api=st.sampled_from(QUESTIONS),
    processor=st.sampled_from([0, 1, 2, 0xFFFF]),
    union=st.lists(numbers, min_size=5, max_size=5),
    data=st.binary(max_size=64),
)
def test_any_request_has_a_reply(victim, api, processor, union, data):
    head = struct.pack("<IHHII", api, 0, processor, 0x103, 0)
    request = Manipulate(head + struct.pack("<5Q", *union), data)
    (reply,) = victim.ask(request)
    assert reply.api == api
    assert len(reply.data) <= max(victim.script.data_limit, CONTEXT_SIZE)
