"""Both endpoint pairs against each other, over good and bad networks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.wire.endpoint import BreakIn, Lost, Reset
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.packets import Frame, PacketType
from tests.wire.network import HOST, TARGET
from tests.wire.pairs import (
    PAIRS,
    acknowledge,
    connected,
    converse,
)


@PAIRS
def test_conversation(make):
    network = connected(make)
    start = network.now
    converse(network, 50)
    assert network.now - start < 0.4, "nothing may wait for a retransmission on a good network"


@PAIRS
def test_a_large_packet_and_an_empty_one(make):
    network = connected(make)
    host, target = network.ends
    target.send(PacketType.MANIPULATE, bytes(target.payload_limit), network.now)
    host.send(PacketType.MANIPULATE, b"", network.now)
    assert network.run(lambda: host.idle and target.idle, 0.1)
    assert network.packets(HOST) == [bytes(target.payload_limit)]
    assert network.packets(TARGET) == [b""]


@PAIRS
def test_break_in(make):
    network = connected(make)
    network.ends[HOST].break_in(network.now)
    network.run(limit=0.1)
    assert network.events[TARGET] == [BreakIn()]


@PAIRS
def test_a_break_in_that_crosses_the_state_change_is_known_as_such(make):
    """Also when the ACK comes right behind it, in the same piece: rizin wants one state change."""
    network = connected(make)
    host, target = network.ends
    target.send(PacketType.STATE_CHANGE64, b"stop", network.now)
    host.break_in(network.now)
    for data in target.outgoing():
        host.receive(data, network.now)
    events = [e for data in host.outgoing() for e in target.receive(data, network.now)]
    assert events == [BreakIn(crossed=True)]
    assert target.idle
    host.break_in(network.now)
    (data,) = host.outgoing()
    assert target.receive(data, network.now) == [BreakIn()]


@PAIRS
def test_reset_tells_a_stopped_target_to_repeat(make):
    network = connected(make)
    network.ends[HOST].reset(network.now)
    network.run(limit=5.0)
    assert network.events[TARGET] == [Reset()]
    assert network.events[HOST] == []


@PAIRS
def test_reset_forgets_what_the_host_had_under_way(make):
    network = connected(make)
    host = network.ends[HOST]
    host.send(PacketType.MANIPULATE, b"one", network.now)
    host.send(PacketType.MANIPULATE, b"two", network.now)
    host.outgoing()
    host.reset(network.now)
    assert host.idle
    converse(network, 3)


@PAIRS
def test_unanswered_resets_end(make):
    network = connected(make)
    network.faults.loss = 1.0
    network.ends[HOST].reset(network.now)
    network.run(limit=30.0)
    assert network.ends[HOST].deadline is None


@PAIRS
def test_two_answers_to_one_reset_start_no_quarrel(make):
    network = connected(make)
    host, target = network.ends
    host.reset(network.now)
    host._send_reset(network.now)
    network.run(limit=2.0)
    target._control(PacketType.RESET)
    network.run(limit=2.0)
    assert len([e for e in network.events[TARGET] if isinstance(e, Reset)]) <= 3
    network.sent[HOST].clear()
    network.run(limit=10.0)
    control_only = [d for d in network.sent[HOST] if len(d) < 100]
    assert control_only == []


@PAIRS
def test_print_is_given_up(make):
    network = connected(make)
    network.faults.loss = 1.0
    target = network.ends[TARGET]
    target.send(PacketType.DEBUG_IO, b"hello", network.now, tries=3)
    assert network.run(lambda: target.idle, 10.0)
    assert [type(e) for e in network.events[TARGET]] == [Lost]
    network.faults.loss = 0.0
    target.send(PacketType.DEBUG_IO, b"again", network.now)
    converse(network, 3)
    assert b"again" in network.packets(HOST)


@PAIRS
def test_state_change_is_repeated_for_ever(make):
    network = connected(make)
    network.faults.loss = 1.0
    network.ends[TARGET].send(PacketType.STATE_CHANGE64, b"stop", network.now)
    network.run(limit=300.0)
    network.faults.loss = 0.0
    network.run(lambda: network.packets(HOST) == [b"stop"], 2.0)
    assert network.packets(HOST) == [b"stop"]


@PAIRS
def test_a_line_that_loses_is_asked_sooner(make):
    """A clean one is given Windows' time; what was lost once tells that this one is not."""
    target = connected(make).ends[TARGET]
    waits = []
    for now in (10.0, 20.0):
        target.send(PacketType.STATE_CHANGE64, b"stop", now)
        first = target._outstanding.due
        target.tick(first)
        waits += [first - now, target._outstanding.due - first]
        acknowledge(target)
    assert waits[0] == pytest.approx(target.retry)
    assert waits[2] < waits[0]
    assert waits[3] > waits[2]


@PAIRS
def test_a_line_that_loses_no_more_is_a_clean_one_again(make):
    target = connected(make).ends[TARGET]
    target.send(PacketType.STATE_CHANGE64, b"stop", 10.0)
    target.tick(target._outstanding.due)
    acknowledge(target)
    waits = []
    for number in range(60):
        now = 20.0 + number
        target.send(PacketType.MANIPULATE, b"reply", now)
        waits.append(target._outstanding.due - now)
        acknowledge(target)
    assert waits[0] < target.retry
    assert waits[-1] == pytest.approx(target.retry)


@PAIRS
def test_who_asks_for_a_packet_again_is_not_hurried(make):
    """WinDbg asks so for the first one, on any line."""
    target = connected(make).ends[TARGET]
    target.send(PacketType.STATE_CHANGE64, b"stop", 10.0)
    target._receive_control(Frame(PacketType.RESEND, 0, control=True), 10.0)
    assert target._outstanding.due == pytest.approx(10.0 + target.retry)
    acknowledge(target)
    target.send(PacketType.MANIPULATE, b"reply", 20.0)
    assert target._outstanding.due == pytest.approx(20.0 + target.retry)


@PAIRS
def test_a_repeated_request_gets_the_reply_again(make):
    """Its ACK was lost, and so may be the reply that travelled with it."""
    network = connected(make)
    host, target = network.ends
    host.send(PacketType.MANIPULATE, b"ask", network.now)
    (request,) = host.outgoing()
    target.receive(request, network.now)
    target.send(PacketType.MANIPULATE, b"reply", network.now)
    assert len(target.outgoing()) == 2
    host.tick(network.now + host.retry)
    for data in host.outgoing():
        target.receive(data, network.now + host.retry)
    assert len(target.outgoing()) == 2


@PAIRS
def test_resend_with_nothing_outstanding_is_survived(make):
    network = connected(make)
    network.ends[HOST]._control(PacketType.RESEND)
    network.ends[TARGET]._control(PacketType.RESEND)
    network.ends[HOST]._control(PacketType.ACK, 0x1234)
    converse(network, 3)


@PAIRS
def test_control_packets_of_unknown_types_are_ignored(make):
    network = connected(make)
    for kind in (*range(4), *range(7, 13), 0x77, 0xFFFF):
        for end in network.ends:
            end._control(kind, end._next_id)
    converse(network, 3)


@PAIRS
def test_the_next_request_proves_the_reply(make):
    """Instead of an ACK for its reply the target may see the next request."""
    network = connected(make)
    host, target = network.ends
    target.send(PacketType.MANIPULATE, b"reply", network.now)
    target.outgoing()
    host.send(PacketType.MANIPULATE, b"next", network.now)
    network.run(lambda: bool(network.packets(TARGET)), 0.1)
    assert target.idle


@PAIRS
def test_damaged_packet_is_resent_at_once(make):
    network = connected(make)
    target = network.ends[TARGET]
    network.faults.damage = 1.0
    target.send(PacketType.DEBUG_IO, b"hello", network.now)
    network._collect()
    network.faults.damage = 0.0
    assert network.run(lambda: network.packets(HOST) == [b"hello"], 5.0)


@given(st.lists(st.binary(max_size=40), max_size=10))
@pytest.mark.parametrize("make", [KdcomTarget, KdcomHost])
def test_any_stream_bytes_are_survived(make, pieces):
    endpoint = make()
    endpoint.link_up(0.0)
    for piece in pieces:
        endpoint.receive(piece, 0.0)
    endpoint.tick(100.0)
