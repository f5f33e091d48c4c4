"""The two ends of a byte stream against each other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsim.wire.endpoint import BreakIn, Connected, Lost, Reset
from kdsim.wire.kdcom import INITIAL_ID, SYNC, KdcomHost, KdcomTarget
from kdsim.wire.packets import BREAK_IN, TRAILER, Frame, PacketType
from tests.wire.network import HOST, TARGET, Faults, Network
from tests.wire.pairs import (
    BAD,
    acknowledge,
    connected,
    converse,
    frames,
    kdcom,
)


@given(st.integers(0, 2**32))
@settings(**BAD)
def test_kdcom_survives_loss_and_damage(seed):
    faults = Faults(seed, loss=0.1, damage=0.1)
    network = connected(kdcom)
    network.faults = faults
    converse(network, 15)


def test_kdcom_target_ids():
    """ReactOS and an independent client agree: SYNC first after a RESET, then bit 0 toggles."""
    network = connected(kdcom)
    network.ends[HOST].reset(network.now)
    network.run(limit=0.1)
    target = network.ends[TARGET]
    for text in (b"1", b"2", b"3", b"4"):
        target.send(PacketType.DEBUG_IO, text, network.now)
        network.run(limit=0.1)
    ids = [frame.id for frame in frames(network, TARGET)]
    assert ids == [INITIAL_ID | SYNC, INITIAL_ID | 1, INITIAL_ID, INITIAL_ID | 1]


def test_a_target_lets_a_debugger_that_connects_speak_first():
    """Rizin sends a break-in and RESET, each alone, and takes nothing before the answer."""
    target = KdcomTarget()
    target.link_up(0.0)
    target.send(PacketType.STATE_CHANGE64, b"stop", 0.0)
    assert target.outgoing() == []
    target.receive(BREAK_IN, 0.1)
    assert target.outgoing() == []
    reset = Frame(PacketType.RESET, 0, control=True).pack()
    assert target.receive(reset, 0.11) == [Reset()]
    target.send(PacketType.STATE_CHANGE64, b"stop", 0.11)
    assert [d[4] for d in target.outgoing()] == [PacketType.RESET, PacketType.STATE_CHANGE64]
    # Its first try fails, since our RESET has the id 0; the second begins in the same way.
    target.receive(Frame(PacketType.ACK, 0, control=True).pack(), 0.2)
    acknowledge(target)
    assert target.receive(BREAK_IN, 0.3) == [BreakIn()]
    target.send(PacketType.STATE_CHANGE64, b"again", 0.3)
    assert target.outgoing() == []
    assert target.receive(reset, 0.31) == [Reset()]


@pytest.mark.parametrize(("word", "limit"), [(b"", 1.0), (BREAK_IN, 0.3)])
def test_a_debugger_that_says_nothing_more_is_told_soon(word, limit):
    target = KdcomTarget()
    target.link_up(0.0)
    target.send(PacketType.STATE_CHANGE64, b"stop", 0.0)
    target.receive(word, 0.2)
    target.tick(target.deadline)
    assert target.deadline <= limit + target.retry
    (data,) = target.outgoing()
    assert Frame.unpack(data[:-1]).payload == b"stop"


def test_ids_for_a_debugger_that_acknowledges_acknowledgements():
    """Rizin takes an ACK for a repetition when its id is that of the data packet before it."""
    target = connected(kdcom).ends[TARGET]
    target.receive(Frame(PacketType.ACK, 0, control=True).pack(), 0.0)
    ids = []
    for text in (b"1", b"2", b"3"):
        target.send(PacketType.MANIPULATE, text, 0.0)
        (data,) = target.outgoing()
        ids.append(Frame.unpack(data[:-1]).id)
        target.receive(Frame(PacketType.ACK, ids[-1], control=True).pack(), 0.0)
    assert ids == [INITIAL_ID | SYNC, INITIAL_ID | SYNC | 1, INITIAL_ID | SYNC]


def test_kdcom_host_ids():
    network = connected(kdcom)
    for text in (b"1", b"2", b"3"):
        network.ends[HOST].send(PacketType.MANIPULATE, text, network.now)
        network.run(limit=0.1)
    assert [frame.id for frame in frames(network, HOST)] == [INITIAL_ID, INITIAL_ID | 1, INITIAL_ID]


def test_kdcom_host_acknowledges_without_the_sync_bit():
    """ReactOS waits for that id, whatever its packet had."""
    host = KdcomHost()
    host.link_up(0.0)
    host.outgoing()
    host.receive(Frame(PacketType.DEBUG_IO, INITIAL_ID | SYNC, b"hello").pack() + TRAILER, 0.0)
    assert [Frame.unpack(data).id for data in host.outgoing()] == [INITIAL_ID]


def test_kdcom_stub_that_restarts_its_ids_at_every_stop():
    """VirtualBox: 0x80800800 for each state change, replies with the request's id xor 1."""
    host = KdcomHost()
    host.link_up(0.0)
    host.receive(Frame(PacketType.RESET, 0, control=True).pack(), 0.0)
    host.outgoing()
    stop = Frame(PacketType.STATE_CHANGE64, INITIAL_ID | SYNC, b"stop").pack() + TRAILER
    for _ in range(2):
        assert [e.payload for e in host.receive(stop, 0.0)] == [b"stop"]
        assert host.receive(stop, 0.0) == [], "a retransmission"
        host.outgoing()
        for text in (b"first", b"second"):
            host.send(PacketType.MANIPULATE, text, 0.0)
            (data,) = host.outgoing()
            request = Frame.unpack(data[:-1])
            host.receive(Frame(PacketType.ACK, request.id, control=True).pack(), 0.0)
            reply = Frame(PacketType.MANIPULATE, request.id ^ 1, text.upper()).pack() + TRAILER
            assert [e.payload for e in host.receive(reply, 0.0)] == [text.upper()]
            host.outgoing()


@pytest.mark.parametrize("sync", [0, SYNC])
def test_kdcom_request_before_the_first_state_change_is_seen(sync):
    """The debugger's ids start over when it has; its next request is no repetition.

    WinDbg's ACK has no SYNC bit, whatever the packet had.
    """
    target = KdcomTarget()
    target.link_up(0.0)
    target.send(PacketType.STATE_CHANGE64, b"stop", 0.0)
    target.tick(target.deadline)
    early = Frame(PacketType.MANIPULATE, INITIAL_ID, b"early").pack() + TRAILER
    assert [e.payload for e in target.receive(early, 0.0)] == [b"early"]
    target.receive(Frame(PacketType.ACK, INITIAL_ID | sync, control=True).pack(), 0.0)
    first = Frame(PacketType.MANIPULATE, INITIAL_ID, b"first").pack() + TRAILER
    assert [e.payload for e in target.receive(first, 0.0)] == [b"first"]


def test_kdcom_unfinished_packet_is_asked_for_again():
    network = connected(kdcom)
    host, target = network.ends
    host.send(PacketType.MANIPULATE, b"request", network.now)
    (data,) = host.outgoing()
    target.receive(data[:20], network.now)
    start = network.now
    assert network.run(lambda: network.packets(TARGET) == [b"request"], 5.0)
    assert network.now - start < 0.6, "sooner than the host's own retransmission"


def test_kdcom_second_debugger_on_the_line():
    """A new stream: the ids begin anew on both sides."""
    network = connected(kdcom)
    converse(network, 4)
    target, host = network.ends[TARGET], KdcomHost()
    assert target.link_down("gone") == [Lost("gone")]
    again = Network(host, target)
    assert target.link_up(0.0) == [Connected(again=True)]
    assert host.link_up(0.0) == [Connected()]
    converse(again, 4)
