"""Who has not the key, or only what was said before, changes nothing and is counted."""

import random

import pytest

from kdsim.wire.endpoint import BreakIn, Connected, Packet
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.packets import PacketType
from kdsim.wire.sealing import MOST_BYTES
from kdsim.wire.tally import Drop
from tests.wire.network import HOST, TARGET, Network
from tests.wire.pairs import ADDRESS, KEY, connected, converse, kdnet

ELSEWHERE = ("127.0.0.1", 1)


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("side", [HOST, TARGET])
def test_replayed_datagrams_are_dropped_and_counted(side):
    network = connected(kdnet)
    converse(network, 5)
    end = network.ends[side]
    sent = list(network.sent[1 - side])
    for data in sent:
        assert end.receive(data, network.now, ELSEWHERE) == []
    assert end.outgoing() == []
    assert end.tally.dropped == {Drop.REPLAYED: len(sent)}


@pytest.mark.parametrize("side", [HOST, TARGET])
def test_any_flipped_bit_and_any_cut_is_dropped_and_counted(side):
    """Seen from either end, of a datagram that would have been taken."""
    network = connected(kdnet)
    end, sender = network.ends[side], network.ends[1 - side]
    sender.send(PacketType.MANIPULATE, b"hello", network.now)
    (data,) = sender.outgoing()
    bad = [flipped(data, bit) for bit in range(len(data) * 8)]
    bad += [data[:size] for size in range(len(data))]
    bad += [data + bytes(size) for size in (1, 16, 65000)]
    for piece in bad:
        assert end.receive(piece, network.now, ELSEWHERE) == []
    assert end.outgoing() == []
    assert sum(end.tally.dropped.values()) == len(bad)
    assert end.receive(data, network.now, ELSEWHERE) == [Packet(PacketType.MANIPULATE, b"hello")]


@pytest.mark.parametrize("side", [HOST, TARGET])
def test_what_we_said_ourselves_is_no_message_to_us(side):
    network = connected(kdnet)
    end = network.ends[side]
    end.send(PacketType.MANIPULATE, b"hello", network.now)
    (data,) = end.outgoing()
    assert end.receive(data, network.now, ELSEWHERE) == []
    assert end.tally.dropped == {Drop.REFLECTED: 1}


def test_an_old_response_never_fits_again():
    """Not even after 256 pokes, when Windows' client key is the same once more."""
    target = KdnetTarget(KEY, ADDRESS, random=bytes)
    host = KdnetHost(KEY)
    target.tick(0.0)
    (poke,) = target.outgoing()
    host.receive(poke, 0.0, ELSEWHERE)
    response = host.outgoing()[0]
    assert target.receive(response, 0.0) == [Connected()]
    for number in range(1, 1000):
        target.tick(number * target.poke_period)
        target.outgoing()
        assert target.receive(response, 0.0) == []
    assert target.tally.dropped == {Drop.REPLAYED: 999}


def test_a_poke_of_an_earlier_boot_does_not_end_the_session():
    host = KdnetHost(KEY)
    first, second = (KdnetTarget(KEY, ADDRESS) for _ in range(2))
    first.tick(0.0)
    (old,) = first.outgoing()
    host.receive(old, 0.0, ELSEWHERE)
    host.outgoing()
    network = Network(host, second)
    assert network.run(lambda: Connected() in network.events[HOST])
    network.run(limit=0.1)
    assert host.receive(old, network.now, ("127.0.0.1", 1000 + HOST)) == []
    assert host.outgoing() == []
    assert host.tally.dropped == {Drop.REPLAYED: 1}
    network.events[HOST].clear()
    converse(network, 3)


def test_noise_changes_nothing():
    network = connected(kdnet)
    chance = random.Random(1)
    noise = [chance.randbytes(chance.randrange(1600)) for _ in range(500)]
    noise += [b"MDBG\4\0" + chance.randbytes(16 * size) for size in range(92)]
    noise += [b"MDBG\4\1" + chance.randbytes(16 * size) for size in range(92)]
    for end in network.ends:
        for data in noise:
            assert end.receive(data, network.now, ELSEWHERE) == []
        assert end.outgoing() == []
        assert set(end.tally.dropped) == {Drop.FOREIGN, Drop.STRAY, Drop.MALFORMED}
        assert end.tally.dropped.total() == len(noise)
    converse(network, 3)


@pytest.mark.parametrize(("channel", "kind"), [(b"\0", Drop.STRAY), (b"\1", Drop.FOREIGN)])
@pytest.mark.parametrize("side", [HOST, TARGET])
def test_every_size_is_counted_for_what_it_is(side, channel, kind):
    end = connected(kdnet).ends[side]
    most = MOST_BYTES - 22
    for size in range(65508):
        sealed = size - 22
        fits = 16 <= sealed <= most and sealed % 16 == 0
        expected = kind if fits else Drop.MALFORMED
        before = end.tally.dropped[expected]
        data = (b"MDBG\4" + channel).ljust(size, b"\xa5")[:size]
        assert end.receive(data, 0.0, ELSEWHERE) == []
        assert end.tally.dropped[expected] == before + 1
    assert end.outgoing() == []


class Forgetful(KdnetTarget):
    """Pokes as it did at every boot before: with the same client key and the same number."""

    def _count_client_key(self):
        self._poke_sequence = 3


@pytest.mark.parametrize("kind", [KdnetTarget, Forgetful])
def test_a_target_whose_pokes_begin_again_at_each_boot_comes_back(kind):
    host = KdnetHost(KEY)
    network = Network(host, None)
    for boot in range(3):
        network.ends = (host, kind(KEY, ADDRESS, random=bytes))
        network.run(limit=12.0)
        assert network.events[HOST][0] == Connected(again=boot > 0)
        network.events = ([], [])
        network.run(limit=20.0)
        assert network.events[HOST] == [], "a keep-alive begins no session"
        converse(network, 3)
        network.events = ([], [])


def test_a_replay_into_the_silence_gets_an_offer_but_not_the_session():
    host = KdnetHost(KEY)
    target = KdnetTarget(KEY, ADDRESS)
    network = Network(host, target)
    assert network.run(lambda: Connected() in network.events[HOST])
    network.run(limit=0.1)
    poke = network.sent[TARGET][0]
    place = ("127.0.0.1", 1000 + HOST)
    assert host.receive(poke, network.now + 6, (place[0], 7)) == []
    assert host.outgoing() == []
    assert host.tally.dropped == {Drop.REPLAYED: 1}

    network.now += 30
    for _ in range(2):
        assert host.receive(poke, network.now, (place[0], 7)) == []
    offer, again = host.outgoing()
    assert offer == again
    assert target.receive(offer, network.now) == [], "the target did not ask for it now"
    network.events[HOST].clear()
    network.events[TARGET].clear()
    converse(network, 3)
    assert not [event for event in network.events[HOST] if isinstance(event, Connected)]
    assert host.peer == place


def test_the_port_of_the_target_may_change():
    network = connected(kdnet)
    host, target = network.ends
    target.send(PacketType.DEBUG_IO, b"from a new port", network.now)
    (data,) = target.outgoing()
    host.receive(data, network.now, ("127.0.0.1", 4711))
    assert host.peer == ("127.0.0.1", 4711)
    host.receive(data, network.now, ELSEWHERE)
    assert host.peer == ("127.0.0.1", 4711), "a replay moves nothing"


def test_a_wrong_key_gets_no_answer_and_breaks_nothing_in():
    network = connected(kdnet)
    stranger = KdnetHost("4.3.2.1")
    poke = network.ends[TARGET]
    poke.tick(network.now + 10)
    stranger.receive(poke.outgoing()[0], 0.0, ELSEWHERE)
    assert stranger.outgoing() == []
    stranger.knock()
    stranger.break_in(0.0)
    events = [e for data in stranger.outgoing() for e in network.ends[TARGET].receive(data, 0.0)]
    assert BreakIn() not in events
    assert network.ends[TARGET].outgoing() == []
