"""Either side is kept from the processor, for as long as it may be: that is no sign of the other.

The line between them loses nothing. Everything happens in simulated time; see `line`.
"""

import random

import pytest

from kdsim.debugger.backends.base import ModuleEvent, PrintEvent, Resume, StopEvent
from kdsim.errors import TargetEnded
from kdsim.wire.endpoint import MOST_EFFORT
from kdsim.wire.links import LinkDown
from kdsim.wire.manipulate import Api, Manipulate, MemoryArguments
from kdsim.wire.messages import LoadSymbolsChange
from kdsim.wire.packets import PacketType
from kdsim.wire.target_connection import GIVE_UP_AFTER
from tests.wire.fake_target import BASE, PAGE
from tests.wire.line import Line, Stalls
from tests.wire.network import HOST, TARGET
from tests.wire.pairs import connected, kdcom, kdnet
from tests.wire.test_unreliable_line import converse, debugged

KINDS = pytest.mark.parametrize("kind", ["net", "com"])
PAIRS = pytest.mark.parametrize("make", [kdnet, kdcom])
MINUTES = 300.0


@KINDS
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("chance", "lengths", "sides"),
    [
        pytest.param(0.02, (0.01, 0.3, 1, 6), (HOST, TARGET), id="both"),
        pytest.param(0.003, (0.3, 5, 70), (HOST,), id="the debugger, for long"),
        pytest.param(0.05, (0.01, 0.3, 1), (TARGET,), id="the target, often"),
    ],
)
def test_nothing_is_lost_or_done_twice(kind, seed, chance, lengths, sides):
    late = random.Random(seed).uniform(0, 6)
    line = Line(kind, stalls=Stalls(seed, chance, lengths, sides, late))
    with debugged(line) as (backend, target):
        assert backend.version().kernel_base == BASE
        converse(backend, target, seed, 25)


def suspend(end, length):
    """Its next wait lasts so long, whatever comes."""
    wait = end.wait

    def suspended(timeout):
        if timeout:
            end.wait = wait
            end.stall(length)
        return wait(timeout)

    end.wait = suspended


@KINDS
def test_whoever_was_suspended_finds_the_answer(kind):
    """Ctrl+Z, and `fg` much later."""
    line = Line(kind)
    with debugged(line) as (backend, target):
        suspend(line.host_end, MINUTES)
        asked = line.now
        assert backend.read_virtual(BASE, 16) == bytes(range(16))
        assert line.now >= asked + MINUTES
        assert target.requests.count(Api.READ_VIRTUAL) == 1, "it was there all the time"


@PAIRS
def test_whoever_does_not_listen_is_not_shouted_at(make):
    """What is sent in vain to somebody who is suspended does not count as lost for ever."""
    network = connected(make)
    target = network.ends[TARGET]
    for number in range(20):
        target.send(PacketType.STATE_CHANGE64, b"stop %d" % number, network.now)
        while not target.idle and target.deadline < network.now + MINUTES:
            target.tick(target.deadline)
        sent = len(target.outgoing())
        assert sent <= 2 * MOST_EFFORT * MINUTES / target.retry
        target._acknowledged(network.now)
        target._queue.clear()


def test_an_acknowledgement_that_lies_unread_is_none_too_late():
    """The target is kept from the processor for longer than it waits for an ACK of a print."""
    line = Line("net")
    with debugged(line) as (backend, target):
        backend.resume(Resume())
        target.print(b"once")
        deliver = line.target._deliver

        def suspended(*packet):
            line.send(HOST, b"something else")
            suspend(line.target_end, 2 * GIVE_UP_AFTER)
            return deliver(*packet)

        line.target._deliver = suspended
        assert backend.wait(MINUTES) == PrintEvent("once")
        assert backend.wait(5) is None
        assert target.printed.get_nowait()


@KINDS
def test_a_notice_that_was_not_waited_for(kind):
    """The debugger lets the target go from it, much later: the next stop is not that one."""
    line = Line(kind)
    with debugged(line) as (backend, target):
        backend.resume(Resume())
        target.stop(LoadSymbolsChange(0, 2, 0, 0, path="late.sys"))
        line.host_end.stall(2 * GIVE_UP_AFTER)
        assert isinstance(backend.wait(5), ModuleEvent)
        assert not target._halted
        backend.resume(Resume())
        target.stop(target.breakpoint())
        assert isinstance(backend.wait(5), StopEvent)
        assert backend.wait(5) is None
        assert target._halted


def test_a_question_is_answered_before_what_came_behind_it_is_looked_at():
    """A RESET that was repeated; as the question was acknowledged, it will not come again."""
    line = Line("net")
    with debugged(line) as (backend, target):
        suspend(line.target_end, 2 * line.target.endpoint.poke_period)
        line.host_end.stall(1.0)
        line.host._ask(Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(BASE, 16)))
        line.host.endpoint._control(PacketType.RESET, line.host.endpoint._next_id)
        line.host._flush()
        line.lost = lambda side, data: side == HOST
        assert backend.wait(3 * line.target.endpoint.poke_period) is None
        assert target.requests[-1] == Api.READ_VIRTUAL


@KINDS
def test_whoever_goes_on_does_not_wait_for_what_was_asked_in_vain(kind):
    """A listing that ended at a hole leaves a question behind; its answer is there soon."""
    line = Line(kind)
    with debugged(line) as (backend, _):
        questions = [
            Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(BASE + place, 16))
            for place in range(0, PAGE, 16)
        ]
        line.host.converse(questions, lambda reply: False)
        start = line.now
        backend.resume(Resume())
        assert line.now < start + line.host.reply_timeout


def test_a_target_that_leaves_closes_the_line_behind_its_acknowledgement():
    line = Line("com")
    with debugged(line) as (backend, _):
        receive, end = line.host_end.receive, line.host_end

        def receive_the_last():
            arrived = receive()
            if arrived:
                end.inbox.append(LinkDown("the target closed the connection"))
                end.receive = receive
            return arrived

        end.receive = receive_the_last
        backend.resume(Resume())
        with pytest.raises(TargetEnded):
            backend.wait(5)
