"""A KDNET debugger that has its next request ready when a reply comes says just what it would say
otherwise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsim.wire.endpoint import Connected, Packet
from kdsim.wire.packets import PacketType
from tests.wire.network import HOST, TARGET, Faults
from tests.wire.pairs import connected, kdcom, kdnet

ROUNDS = 20


class Conversation:
    """The host asks, one question after the other, with or without foresight."""

    def __init__(self, network, foresee, before=lambda number: None):
        self.network = network
        self.foresee = foresee
        self.before = before
        """Called when question `number` is under way and the next one is foreseen."""
        self.host, self.target = network.ends
        self.armed = False
        self.ahead = 0
        """Questions that left on their own."""

    def run(self):
        self.network.on_event = (self.at_host, self.at_target)
        self.number = 0
        self.send()
        return self.network.run(lambda: self.number == ROUNDS and self.host.idle)

    def send(self):
        self.host.send(PacketType.MANIPULATE, b"ask %d" % self.number, self.network.now)
        self.look_ahead()

    def look_ahead(self):
        following = self.number + 1
        self.armed = (
            self.foresee and following < ROUNDS and self.host.foresee(b"ask %d" % following)
        )
        self.before(self.number)

    def at_target(self, event):
        if isinstance(event, Packet):
            reply = event.payload.replace(b"ask", b"reply")
            self.target.send(PacketType.MANIPULATE, reply, self.network.now)

    def at_host(self, event):
        if not isinstance(event, Packet) or event.type is not PacketType.MANIPULATE:
            return
        assert event.payload == b"reply %d" % self.number
        self.number += 1
        if self.armed and not self.host.withdraw():
            self.ahead += 1
            self.look_ahead()
        elif self.number < ROUNDS:
            self.send()


def asked(network):
    return [p for p in network.packets(TARGET) if p.startswith(b"ask")]


def test_the_same_datagrams():
    said = []
    for foresee in (False, True):
        network = connected(kdnet)
        talk = Conversation(network, foresee)
        assert talk.run()
        # The first reply's id is not known yet.
        assert talk.ahead == (ROUNDS - 2 if foresee else 0)
        said.append(network.sent[HOST])
    plain, foreseen = said
    assert foreseen == plain


def test_a_stream_foresees_nothing():
    network = connected(kdcom)
    host, _ = network.ends
    host.send(PacketType.MANIPULATE, b"ask", network.now)
    assert not host.foresee(b"more")
    assert not host.withdraw()


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_nothing_is_lost_on_a_bad_line(seed):
    network = connected(kdnet)
    faults = Faults(seed, loss=0.1, repeat=0.1, delay=0.2, damage=0.1)
    network.faults = faults
    talk = Conversation(network, True)
    assert talk.run()
    questions = [b"ask %d" % number for number in range(ROUNDS)]
    assert asked(network) == questions


def break_in(talk):
    talk.host.break_in(talk.network.now)


def target_prints(talk):
    talk.target.send(PacketType.DEBUG_IO, b"print", talk.network.now)


@pytest.mark.parametrize("disturb", [break_in, target_prints])
def test_what_comes_between_is_answered_in_its_turn(disturb):
    network = connected(kdnet)
    talk = Conversation(network, True, lambda number: number % 5 == 2 and disturb(talk))
    assert talk.run()
    assert asked(network) == [b"ask %d" % number for number in range(ROUNDS)]
    assert 0 < talk.ahead < ROUNDS
    assert not network.ends[HOST].tally.dropped
    assert not network.ends[TARGET].tally.dropped


def test_a_new_session_forgets_it():
    network = connected(kdnet)
    host, target = network.ends
    target.send(PacketType.DEBUG_IO, b"print", network.now)
    assert network.run(lambda: network.packets(HOST))
    host.send(PacketType.MANIPULATE, b"ask", network.now)
    assert network.run(lambda: network.packets(TARGET))
    assert host.foresee(b"more")
    target.restart()
    assert network.run(lambda: Connected(again=True) in network.events[HOST])
    assert not host.withdraw()
