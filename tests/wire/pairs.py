"""Both pairs of endpoints on a network, and what they say to each other."""

import pytest
from hypothesis import HealthCheck

from kdsim.wire.endpoint import Connected, Packet
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.packets import TRAILER, Frame, PacketType
from tests.wire.network import HOST, TARGET, Network

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


BAD = {"max_examples": 25, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


# --------------------------------------------------------------------------------------- KDCOM


def frames(network, side):
    """Data frames one side put on a stream."""
    return [Frame.unpack(d[:-1]) for d in network.sent[side] if d.endswith(TRAILER)]


# --------------------------------------------------------------------------------------- KDNET


def opened(network, side):
    """Bodies one side sent on the data channel, with their sequences."""
    end = network.ends[side]
    found = [end._data_sealer.open(data) for data in network.sent[side]]
    return [(datagram.sequence, datagram.body) for datagram in found if datagram is not None]
