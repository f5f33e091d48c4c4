"""Debugger and target over a line that loses, repeats, delays and damages: nothing goes wrong.

Everything happens in simulated time; see `line`.
"""

import random
from contextlib import contextmanager
from typing import ClassVar

import pytest

from kdsim.debugger.backends.base import PrintEvent, Resume, StopEvent
from kdsim.debugger.backends.live import LiveBackend
from kdsim.errors import TargetGone
from kdsim.wire.context import Context
from kdsim.wire.endpoint import Lost
from kdsim.wire.kdcom import INITIAL_ID, SYNC, KdcomHost
from kdsim.wire.manipulate import Api, Continue2Arguments, Manipulate, MemoryArguments
from kdsim.wire.packets import TRAILER, Frame, PacketType
from tests.wire.fake_target import BASE, FakeTarget
from tests.wire.line import Line
from tests.wire.network import HOST, TARGET, Faults
from tests.wire.pairs import connected, kdcom, kdnet

KINDS = pytest.mark.parametrize("kind", ["net", "com"])
PAIRS = pytest.mark.parametrize("make", [kdnet, kdcom])
GO = Manipulate.request(Api.CONTINUE2, Continue2Arguments(0x10002, 0, 0x400)).pack()
READ = Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(BASE, 16))


class Stepper(FakeTarget):
    """Prints at every step; what it prints and where it stands tell how often it stepped."""

    def _continue(self, message):
        super()._continue(message)
        if message.arguments(Continue2Arguments).trace:
            context = self.contexts[0]
            context.set("rip", context.get("rip") + 1)
            self.connection.print(b"at %d" % context.get("rip"))
            self._stop(self.breakpoint())

    HANDLERS: ClassVar = {**FakeTarget.HANDLERS, Api.CONTINUE2: _continue}


@contextmanager
def debugged(line, halted=True):
    """A debugger at a target, which is stopped and has said so."""
    target = Stepper(line.target, halted)
    with line.served_by(target._main):
        backend = LiveBackend(line.host)
        backend.connect(None)
        if halted:
            assert stop(backend) == []
        yield backend, target
        target._done = True


def stop(backend):
    """What the target prints until it stops."""
    printed = []
    while not isinstance(event := backend.wait(None), StopEvent):
        assert isinstance(event, PrintEvent), event
        printed.append(event.text)
    return printed


def converse(backend, target, seed, rounds):
    chosen = random.Random(seed)
    pc = 0
    for _ in range(rounds):
        place, data = BASE + chosen.randrange(0x1000), chosen.randbytes(100)
        act = chosen.randrange(4)
        if act == 0:
            assert backend.read_virtual(place, 100) == bytes(target.memory[place - BASE :][:100])
        elif act == 1:
            assert backend.write_virtual(place, data) == len(data)
            assert backend.read_virtual(place, 100) == data
        elif act == 2:
            assert Context(backend.read_context(0)).get("rip") == pc
        else:
            pc += 1
            backend.resume(Resume(trace=True))
            assert stop(backend) == [f"at {pc}"]


@KINDS
@pytest.mark.parametrize("chance", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_everything_happens_once(kind, chance, seed):
    mixed = {} if kind == "com" else {"repeat": chance, "delay": chance}
    line = Line(kind, Faults(seed, loss=chance, damage=chance, **mixed))
    with debugged(line) as (backend, target):
        converse(backend, target, seed, 60)


# ------------------------------------------------------------------- what used to go wrong there


@KINDS
def test_a_question_may_take_long_as_long_as_the_target_is_heard(kind):
    line = Line(kind)
    with debugged(line) as (backend, _):
        heard, again = line.now, line.now + 30
        line.lost = lambda side, data: side == HOST and line.now < again
        if kind == "com":
            # It does not poke; an idle line carries nothing.
            again = heard + 15
        assert backend.read_virtual(BASE, 16) == bytes(range(16))
        assert line.now > heard + 12


@KINDS
def test_a_target_that_says_nothing_is_gone(kind):
    line = Line(kind)
    with debugged(line) as (backend, _):
        start = line.now
        line.lost = lambda side, data: True
        with pytest.raises(TargetGone, match="the target on the line does not answer"):
            backend.read_virtual(BASE, 16)
        assert line.now - start == pytest.approx(line.host.patience, abs=1)


def test_a_target_that_pokes_and_takes_no_question_is_gone_at_last():
    line = Line("net")
    with debugged(line) as (backend, _):
        line.lost = lambda side, data: side == HOST
        with pytest.raises(TargetGone, match="does not answer"):
            backend.read_virtual(BASE, 16)


def test_a_running_target_of_which_little_is_heard_is_waited_for():
    faults = Faults(1, loss=0.3, repeat=0.3, delay=0.3, damage=0.3)
    line = Line("net", faults)
    with debugged(line) as (backend, target):
        converse(backend, target, 1, 20)
        backend.resume(Resume())
        assert line.host.wait(2000.0) is None


@PAIRS
def test_a_stop_told_twice_is_not_the_next(make):
    """It crosses the request to go on; the target forgets it, so that the next one is new."""
    network = connected(make)
    host, target = network.ends
    target.send(PacketType.STATE_CHANGE64, b"this stop again", network.now)
    host.part(GO, network.now)
    assert network.run(lambda: network.packets(TARGET) == [GO], 1.0)
    network.run(limit=0.1)
    target.send(PacketType.STATE_CHANGE64, b"the next", network.now)
    assert network.run(lambda: bool(network.packets(HOST)), 2.0)
    assert network.packets(HOST) == [b"the next"]


@PAIRS
def test_a_stop_whose_ack_came_too_late_is_told_again(make):
    """The ACK of the request to go on is lost, and the target stops at once."""
    network = connected(make)
    host, target = network.ends
    host.part(GO, network.now)
    (request,) = host.outgoing()
    assert target.receive(request, network.now)
    target.outgoing()
    target.send(PacketType.STATE_CHANGE64, b"the next", network.now)
    assert network.run(lambda: bool(network.packets(HOST)), 5.0)
    network.run(limit=1.0)
    assert network.packets(HOST) == [b"the next"]
    assert network.packets(TARGET) == [], "it goes on only once"


@PAIRS
def test_a_late_reply_does_not_say_that_we_may_go(make):
    network = connected(make)
    host, target = network.ends
    target.send(PacketType.MANIPULATE, READ.pack(), network.now)
    host.part(GO, network.now)
    host.outgoing()
    (reply,) = target.outgoing()
    host.receive(reply, network.now)
    assert not host.idle, "the request was lost, and must be repeated"


@KINDS
def test_a_print_that_was_heard_is_not_said_again_after_a_reset(kind):
    line = Line(kind)
    with debugged(line) as (backend, target):
        backend.resume(Resume())
        target.print(b"once")
        event = backend.wait(None)
        line.host.reset()
        assert event == PrintEvent("once")
        assert backend.wait(5) is None


@KINDS
def test_whoever_goes_on_does_not_want_the_stop_again(kind):
    """A break-in that reaches a stopped target in one piece with the request to go on."""
    line = Line(kind)
    with debugged(line) as (backend, target):
        line.host.endpoint.break_in(line.now)
        backend.resume(Resume())
        assert backend.wait(5) is None
        assert not target._halted


@KINDS
def test_a_break_in_right_behind_the_request_to_go_on_stops_again(kind):
    line = Line(kind)
    with debugged(line) as (backend, target):
        endpoint = line.host.endpoint
        backend._known.halted = False
        start = line.now
        endpoint.part(GO, line.now)
        endpoint.break_in(line.now)
        assert stop(backend) == []
        assert line.now < start + endpoint.retry, "at once, not when it is repeated"
        assert backend.wait(5) is None
        assert target._halted, "it is not the stop before"


@KINDS
def test_a_lost_break_in_is_repeated(kind):
    line = Line(kind)
    with debugged(line, halted=False) as (backend, _):
        again = line.now + 3
        line.lost = lambda side, data: side == HOST and line.now < again
        backend.break_in()
        assert stop(backend) == []


@KINDS
def test_a_stop_told_twice_does_not_spoil_a_write_of_registers(kind):
    """The target takes no context that it has not shown since; noise can be a break-in."""
    line = Line(kind)
    with debugged(line) as (backend, target):
        context = backend.read_context(0)
        line.host.endpoint.break_in(line.now)
        backend.write_context(0, context)
        assert target.requests[-1] == Api.SET_CONTEXT


@PAIRS
def test_a_line_that_loses_much_is_not_given_up_soon(make):
    network = connected(make)
    target = network.ends[TARGET]
    network.faults.loss = 0.6
    for _ in range(20):
        target.send(PacketType.DEBUG_IO, b"text", network.now, tries=4)
        network.run(lambda: target.idle)
    assert not [event for event in network.events[TARGET] if isinstance(event, Lost)][1:]
    network.faults.loss = 0.0
    for _ in range(40):
        target.send(PacketType.DEBUG_IO, b"text", network.now, tries=4)
        network.run(lambda: target.idle)
    assert target.effort == pytest.approx(1, abs=0.1), "it got better, and so does our patience"


def test_a_stream_speaks_when_its_reset_was_answered():
    """What was sent before would count as of the old ids, and so would our ACKs."""
    host = KdcomHost()
    host.link_up(0.0)
    host.outgoing()
    host.send(PacketType.MANIPULATE, b"ask", 0.0)
    assert host.receive(Frame(PacketType.DEBUG_IO, INITIAL_ID, b"old").pack() + TRAILER, 0.0) == []
    assert host.outgoing() == []
    host.receive(Frame(PacketType.RESET, 0, control=True).pack(), 0.0)
    assert [Frame.unpack(data[:-1]).payload for data in host.outgoing()] == [b"ask"]


def test_a_stream_that_starts_over_needs_no_answer_to_reset():
    host = KdcomHost()
    host.link_up(0.0)
    host.outgoing()
    first = Frame(PacketType.STATE_CHANGE64, INITIAL_ID | SYNC, b"stop").pack() + TRAILER
    assert [event.payload for event in host.receive(first, 0.0)] == [b"stop"]
    host.outgoing()
    host.tick(100.0)
    assert host.outgoing() == []


@pytest.mark.parametrize("later", [0.0, 1.0])
def test_a_poke_that_was_under_way_does_not_begin_the_session_anew(later):
    """Sent by a target that had not had our response yet, and overtaken by what it said since."""
    network = kdnet()
    host, target = network.ends
    target.tick(0.0)
    pokes = target.outgoing()
    target._poke(0.0)
    late = target.outgoing()
    host.receive(pokes[0], 0.0, ("127.0.0.1", 1001))
    assert network.run(lambda: bool(network.events[HOST]), 1.0)
    network.run(limit=later)
    target.send(PacketType.DEBUG_IO, b"text", network.now)
    network.run(lambda: bool(network.packets(HOST)), limit=1.0)
    host.receive(late[0], network.now, ("127.0.0.1", 1001))
    network.run(limit=1.0)
    assert network.packets(HOST) == [b"text"]
    assert len(network.events[HOST]) == 2


@KINDS
def test_an_answer_nobody_waited_for_is_waited_for(kind):
    """On a stream its repetition would pass for the answer to the next question."""
    line = Line(kind)
    with debugged(line) as (backend, _):
        questions = [READ, Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(BASE + 16, 16))]
        line.host.converse(questions, lambda reply: False)
        again = line.now + 2
        line.lost = lambda side, data: side == TARGET and line.now < again
        assert backend.read_virtual(BASE + 32, 16) == bytes(range(32, 48))
        assert Context(backend.read_context(0)).get("rip") == 0
