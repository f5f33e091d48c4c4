"""Both endpoint pairs against each other, over good and bad networks."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsim.wire.endpoint import BreakIn, Connected, Lost, Packet, Reset
from kdsim.wire.kdcom import INITIAL_ID, SYNC, KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.packets import BREAK_IN, TRAILER, Frame, PacketType
from kdsim.wire.sealing import Channel, Sealer, derive_data_key, derive_hmac_key, parse_key
from kdsim.wire.tally import Drop
from tests.wire.network import HOST, TARGET, Faults, Network

KEY = "1.2.3.4"
ADDRESS = ("127.0.0.1", 50000)


def kdnet(faults=None, **options):
    host = KdnetHost(KEY, random=lambda size: bytes(size))
    target = KdnetTarget(KEY, ADDRESS, random=lambda size: bytes(size), **options)
    return Network(host, target, faults)


def kdcom(faults=None):
    host, target = KdcomHost(), KdcomTarget()
    network = Network(host, target, faults)
    network._note(TARGET, target.link_up(0.0))
    network._note(HOST, host.link_up(0.0))
    return network


def connected(make, faults=None):
    """A network whose two ends know each other and have nothing under way."""
    network = make(faults)
    assert network.run(lambda: Connected() in network.events[HOST])
    network.run(limit=0.1)
    for events in (*network.events, *network.sent):
        events.clear()
    return network


PAIRS = pytest.mark.parametrize("make", [kdnet, kdcom])


def acknowledge(endpoint):
    """As if the peer's ACK had come."""
    endpoint._receive_control(Frame(PacketType.ACK, endpoint._next_id, control=True), 0.0)


def converse(network, rounds):
    """The host asks `rounds` times; now and then the target says something itself."""
    host, target = network.ends
    asked = iter(range(rounds))

    def ask():
        number = next(asked, None)
        if number is not None:
            host.send(PacketType.MANIPULATE, b"ask %d" % number, network.now)

    def at_host(event):
        if isinstance(event, Packet) and event.type is PacketType.MANIPULATE:
            ask()

    def at_target(event):
        if isinstance(event, Packet):
            target.send(PacketType.MANIPULATE, event.payload + b"!", network.now)
            if event.payload.endswith(b"2"):
                target.send(PacketType.DEBUG_IO, b"print " + event.payload[4:], network.now)

    network.on_event = (at_host, at_target)
    ask()
    prints = len(range(2, rounds, 10))
    done = network.run(
        lambda: (
            len(network.packets(HOST)) >= rounds + prints
            and network.ends[HOST].idle
            and network.ends[TARGET].idle
        )
    )
    assert done, (network.packets(HOST)[-3:], network.packets(TARGET)[-3:])
    numbers = range(rounds)
    assert network.packets(TARGET) == [b"ask %d" % n for n in numbers]
    replies = [p for p in network.packets(HOST) if p.startswith(b"ask")]
    assert replies == [b"ask %d!" % n for n in numbers]
    said = [p for p in network.packets(HOST) if p.startswith(b"print")]
    assert said == [b"print %d" % n for n in numbers if n % 10 == 2]


@PAIRS
def test_conversation(make):
    network = connected(make)
    start = network.now
    converse(network, 50)
    assert network.now - start < 0.4, "nothing may wait for a retransmission on a good network"


BAD = {"max_examples": 25, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@given(st.integers(0, 2**32))
@settings(**BAD)
def test_kdnet_survives_loss_repetition_reordering_damage(seed):
    faults = Faults(seed, loss=0.1, repeat=0.1, delay=0.2, damage=0.1)
    network = kdnet(faults)
    assert network.run(lambda: Connected() in network.events[HOST])
    faults.loss = faults.repeat = faults.delay = faults.damage = 0.0
    network.run(limit=2.0)
    network.events[HOST].clear()
    network.events[TARGET].clear()
    faults.loss = faults.repeat = faults.damage = 0.1
    faults.delay = 0.2
    converse(network, 15)
    assert not [e for e in network.events[HOST] if isinstance(e, Connected)]


@given(st.integers(0, 2**32))
@settings(**BAD)
def test_kdcom_survives_loss_and_damage(seed):
    faults = Faults(seed, loss=0.1, damage=0.1)
    network = connected(kdcom)
    network.faults = faults
    converse(network, 15)


@PAIRS
def test_a_large_packet_and_an_empty_one(make):
    network = connected(make)
    host, target = network.ends
    target.send(PacketType.MANIPULATE, bytes(target.payload_limit), network.now)
    host.send(PacketType.MANIPULATE, b"", network.now)
    assert network.run(lambda: host.idle and target.idle, 0.1)
    assert network.packets(HOST) == [bytes(target.payload_limit)]
    assert network.packets(TARGET) == [b""]


def test_kdnet_stub_whose_ids_toggle():
    """As on a serial line; another ReactOS has one."""
    host = connected(kdnet).ends[HOST]
    said = []
    for number in (INITIAL_ID | SYNC, INITIAL_ID | 1, INITIAL_ID | 1, INITIAL_ID, INITIAL_ID | 1):
        frame = Frame(PacketType.DEBUG_IO, number, b"%x" % number)
        said += [event.payload for event in host._receive_frame(frame, 0.0)]
    assert said == [b"80800800", b"80800001", b"80800000", b"80800001"]


def test_kdnet_payload_limit_fits_an_ethernet_frame():
    network = connected(kdnet)
    target = network.ends[TARGET]
    target.send(PacketType.MANIPULATE, bytes(target.payload_limit), network.now)
    (datagram,) = target.outgoing()
    assert 1456 < len(datagram) <= 1472


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


def test_break_in_before_the_handshake_is_kept():
    network = kdnet()
    network.ends[HOST].break_in(0.0)
    network.run(lambda: BreakIn() in network.events[TARGET], 1.0)
    assert network.events[TARGET][:2] == [Connected(), BreakIn()]


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


# --------------------------------------------------------------------------------------- KDCOM


def frames(network, side):
    """Data frames one side put on a stream."""
    return [Frame.unpack(d[:-1]) for d in network.sent[side] if d.endswith(TRAILER)]


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


@PAIRS
def test_damaged_packet_is_resent_at_once(make):
    network = connected(make)
    target = network.ends[TARGET]
    network.faults.damage = 1.0
    target.send(PacketType.DEBUG_IO, b"hello", network.now)
    network._collect()
    network.faults.damage = 0.0
    assert network.run(lambda: network.packets(HOST) == [b"hello"], 5.0)


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


# --------------------------------------------------------------------------------------- KDNET


def opened(network, side):
    """Bodies one side sent on the data channel, with their sequences."""
    end = network.ends[side]
    found = [end._data_sealer.open(data) for data in network.sent[side]]
    return [(datagram.sequence, datagram.body) for datagram in found if datagram is not None]


def test_kdnet_counters():
    """Ids go up by 2 per data packet, sequences by 1 per datagram, resent ones included."""
    network = connected(kdnet)
    host, target = network.ends
    start = target._sequence_out
    target.send(PacketType.DEBUG_IO, b"1", network.now)
    network.run(limit=0.1)
    network.faults.loss = 1.0
    target.send(PacketType.DEBUG_IO, b"2", network.now)
    network.run(limit=0.6)
    network.faults.loss = 0.0
    network.run(lambda: target.idle, 1.0)
    sent = [(sequence, Frame.unpack(body).id) for sequence, body in opened(network, TARGET)]
    first = sent[0][1]
    assert sent[:3] == [(start + 1, first), (start + 2, first + 2), (start + 3, first + 2)]
    host.send(PacketType.MANIPULATE, b"1", network.now)
    host.send(PacketType.MANIPULATE, b"2", network.now)
    network.run(lambda: host.idle, 1.0)
    ids = [Frame.unpack(body).id for _, body in opened(network, HOST)[-2:]]
    assert ids == [0x80000000, 0x80000002]


def test_kdnet_first_data_datagram():
    network = kdnet()
    network.run(lambda: Connected() in network.events[HOST], 1.0)
    assert opened(network, TARGET)[0] == (1, bytes(8) + bytes([1, 0, 0, 127]))


@pytest.mark.parametrize("version", [2, 4, 5, 6, 255])
def test_kdnet_version_is_copied(version):
    network = kdnet(version=version)
    network.run(lambda: Connected() in network.events[HOST], 1.0)
    assert {data[4] for data in network.sent[HOST]} == {version}


def test_kdnet_wrong_key_is_silence():
    network = Network(KdnetHost("1.2.3.5"), KdnetTarget(KEY, ADDRESS))
    network.run(limit=20.0)
    assert network.events == ([], [])
    assert network.sent[HOST] == []
    assert network.ends[HOST].tally.dropped[Drop.FOREIGN] > 30


def test_kdnet_keep_alive_pokes_are_not_answered():
    network = connected(kdnet)
    network.run(limit=30.0)
    assert len(network.sent[TARGET]) in (9, 10)
    assert network.sent[HOST] == []


def test_kdnet_fresh_host_takes_over_a_connected_target():
    network = connected(kdnet)
    converse(network, 3)
    fresh = Network(KdnetHost(KEY), network.ends[TARGET])
    fresh.now = network.now
    assert fresh.run(lambda: Connected() in fresh.events[HOST], 4.0)
    assert Connected(again=True) in fresh.events[TARGET]
    fresh.run(limit=0.1)
    fresh.events[HOST].clear()
    fresh.events[TARGET].clear()
    converse(fresh, 3)


def test_kdnet_target_restart_rekeys():
    network = connected(kdnet)
    host, target = network.ends
    key = host._data_sealer
    target.restart()
    assert network.run(lambda: Connected(again=True) in network.events[HOST], 2.0)
    assert host._data_sealer is not key
    network.run(limit=0.1)
    network.events[HOST].clear()
    network.events[TARGET].clear()
    converse(network, 3)


def test_kdnet_repeated_poke_gets_the_same_response():
    host = KdnetHost(KEY)
    target = KdnetTarget(KEY, ADDRESS)
    target.tick(0.0)
    (poke,) = target.outgoing()
    source = ("127.0.0.1", 1)
    host.receive(poke, 0.0, source)
    first = host.outgoing()[0]
    host.receive(poke, 0.0, source)
    assert host.outgoing() == [first]
    assert target.receive(first, 0.0) == [Connected()]
    assert target.receive(first, 0.0) == [], "the response is good for once"


def test_kdnet_two_pokes_under_way_connect_once():
    """Pokes that waited in the socket's buffer: both are answered, the last one counts."""
    network = kdnet()
    target = network.ends[TARGET]
    target.tick(0.0)
    target._poke(0.0)
    network.run(limit=1.0)
    assert network.events[HOST] == [Connected()]
    assert not network.ends[HOST].tally.dropped[Drop.FOREIGN], "the key is the same"
    network.events[TARGET].clear()
    converse(network, 3)


def test_kdnet_poke_from_elsewhere_does_not_take_the_session():
    network = connected(kdnet)
    stranger = KdnetTarget(KEY, ADDRESS)
    stranger.tick(0.0)
    (poke,) = stranger.outgoing()
    host = network.ends[HOST]
    assert host.receive(poke, network.now, ("192.0.2.1", 9)) == []
    assert host.outgoing() == []
    converse(network, 3)


def test_kdnet_knock_makes_the_target_poke():
    network = connected(kdnet)
    network.ends[HOST].knock()
    network.run(limit=0.1)
    assert [len(data) for data in network.sent[TARGET]] == [374]


def test_kdnet_reset_repeats_the_outstanding_packet_with_its_id():
    network = connected(kdnet)
    host, target = network.ends
    target.send(PacketType.MANIPULATE, b"reply", network.now)
    target.outgoing()
    host.reset(network.now)
    network.run(limit=0.1)
    assert network.packets(HOST) == [b"reply"]
    bodies = [Frame.unpack(body) for _, body in opened(network, TARGET)]
    assert [(f.type, f.control) for f in bodies[:2]] == [(6, True), (2, False)]
    assert bodies[0].id == bodies[1].id
    assert network.events[TARGET] == []


class Rizin:
    """A host that toggles serial ids on KDNET and acknowledges everything, ACKs included."""

    def __init__(self, target):
        self.target, self.sequence, self.id = target, 0, INITIAL_ID
        key = parse_key(KEY)
        self.hmac = derive_hmac_key(key)
        control = Sealer(key, self.hmac)
        target.tick(0.0)
        poke = control.open(target.outgoing()[0])
        response = (b"\x01\x02" + poke.body[2:34]).ljust(322, b"\0")
        self.data = Sealer(derive_data_key(key, response), self.hmac)
        target.receive(control.seal(4, Channel.CONTROL, poke.sequence, True, response), 0.0)

    def put(self, frame):
        self.sequence += 1
        return self.target.receive(self.data.seal(4, 0, self.sequence, True, frame.pack()), 0.0)

    def get(self):
        bodies = [self.data.open(data).body for data in self.target.outgoing()]
        return [Frame.unpack(body) for body in bodies if len(body) >= 16]


def test_kdnet_target_serves_a_host_that_toggles_ids():
    target = KdnetTarget(KEY, ADDRESS)
    rizin = Rizin(target)
    for number in range(6):
        frame = Frame(PacketType.MANIPULATE, rizin.id, b"%d" % number)
        assert [e.payload for e in rizin.put(frame)] == [b"%d" % number]
        assert rizin.put(frame) == [], "a repetition is acknowledged and dropped"
        target.send(PacketType.MANIPULATE, b"reply", 0.0)
        received = rizin.get()
        assert [f.id for f in received if f.control] == [rizin.id, rizin.id]
        for frame in received:
            rizin.put(Frame(PacketType.ACK, frame.id, control=True))
        assert target.idle
        rizin.id ^= 1


@given(st.lists(st.binary(max_size=40), max_size=10))
@pytest.mark.parametrize("make", [KdcomTarget, KdcomHost])
def test_any_stream_bytes_are_survived(make, pieces):
    endpoint = make()
    endpoint.link_up(0.0)
    for piece in pieces:
        endpoint.receive(piece, 0.0)
    endpoint.tick(100.0)


@given(st.binary(max_size=80))
def test_any_sealed_body_is_survived(body):
    """Whoever has the key can still send nonsense."""
    target = KdnetTarget(KEY, ADDRESS)
    rizin = Rizin(target)
    target.receive(rizin.data.seal(4, 0, 1, True, body), 0.0)
    control = Sealer(parse_key(KEY), rizin.hmac)
    target.receive(control.seal(4, Channel.CONTROL, 1, True, body), 0.0)
    host = KdnetHost(KEY)
    host.receive(control.seal(4, Channel.CONTROL, 1, False, body), 0.0, ("127.0.0.1", 1))
