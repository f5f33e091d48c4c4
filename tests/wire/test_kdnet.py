"""The two ends of KDNET against each other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsim.wire.endpoint import BreakIn, Connected
from kdsim.wire.kdcom import INITIAL_ID, SYNC
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.packets import Frame, PacketType
from kdsim.wire.sealing import Channel, Sealer, derive_data_key, derive_hmac_key, parse_key
from kdsim.wire.tally import Drop
from tests.wire.network import HOST, TARGET, Faults, Network
from tests.wire.pairs import (
    ADDRESS,
    BAD,
    KEY,
    connected,
    converse,
    kdnet,
    opened,
)


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


def test_break_in_before_the_handshake_is_kept():
    network = kdnet()
    network.ends[HOST].break_in(0.0)
    network.run(lambda: BreakIn() in network.events[TARGET], 1.0)
    assert network.events[TARGET][:2] == [Connected(), BreakIn()]


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
