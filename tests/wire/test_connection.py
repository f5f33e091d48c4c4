"""The two connections alone: what they cost, and what they tell whoever waits."""

import ctypes
import operator
import select
import signal
import time
import timeit
from itertools import starmap

import pytest

from kdsim.errors import ProtocolError
from kdsim.wire import links
from kdsim.wire.endpoint import BreakIn, Lost, Packet, Reset
from kdsim.wire.host_connection import HostConnection
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.manipulate import (
    Api,
    Continue2Arguments,
    Manipulate,
    MemoryArguments,
    VersionArguments,
)
from kdsim.wire.messages import CommandStringChange, ExceptionChange, FileIo, LoadSymbolsChange
from kdsim.wire.packets import PacketType
from kdsim.wire.target_connection import FILE_PATIENCE, Request, TargetConnection
from tests.wire.simulated import SimulatedLink

KEY = "1.2.3.4"
STOP = ExceptionChange(0, 1, 0, 0, code=0x80000003)
LOAD = LoadSymbolsChange(0, 1, 0, 0, base=0x1000, size=0x1000, path="a.sys")


def net(tmp_path):
    listener = links.udp_listen(0, "127.0.0.1")
    host = HostConnection(KdnetHost(KEY), listener)
    link = links.udp_connect(listener.local)
    return host, TargetConnection(KdnetTarget(KEY, listener.local, link.local), link)


def pipe(tmp_path):
    target = TargetConnection(KdcomTarget(), links.unix_listen(tmp_path / "kd"))
    return HostConnection(KdcomHost(), links.unix_connect(tmp_path / "kd")), target


@pytest.fixture(params=[net, pipe])
def ends(request, tmp_path):
    """Both ends connected, in this one thread."""
    host, target = request.param(tmp_path)
    pump(host, target, lambda: host._starts and target.present)
    settle(host, target)
    host._events.clear()
    target._events.clear()
    yield host, target
    host.close()
    target.close()


def pump(host, target, until, limit=5.0):
    end = time.monotonic() + limit
    while not until():
        assert time.monotonic() < end
        host._sleep(time.monotonic() + 0.001)
        target._step()


def settle(host, target):
    pump(host, target, lambda: host.endpoint.idle and target.endpoint.idle)
    for _ in range(5):
        host._sleep(time.monotonic() + 0.002)
        target._step()


def test_poll_is_one_cheap_system_call(ends):
    host, target = ends
    settle(host, target)
    while target.poll() is not None:
        pass
    best = min(timeit.repeat(target.poll, number=500, repeat=5)) / 500
    assert best < 20e-6, "microseconds, since it stands between two slices"


def test_break_in_and_requests(ends):
    host, target = ends
    assert target.poll() is None
    host.break_in()
    pump(host, target, lambda: bool(target._events))
    assert target.poll() == BreakIn()
    target.report(STOP)
    pump(host, target, lambda: bool(host._events))
    assert host.wait(0) == STOP
    request = Manipulate.request(Api.GET_VERSION)
    host.endpoint.send(PacketType.MANIPULATE, request.pack(), time.monotonic())
    host._flush()
    assert target.wait(5) == Request(request)
    target.reply(request.reply(arguments=VersionArguments(15, 19041)))
    assert target.wait(0) is None


class Answering:
    """A link for the host whose target answers, in this thread, whenever the host waits."""

    def __init__(self, host, target):
        self.link, self.target = host.link, target
        self.asked = []
        self.late = []
        self.interrupt_at = None
        """The address asked for at which Ctrl+C comes between ACK and reply."""

    def __getattr__(self, name):
        return getattr(self.link, name)

    def wait(self, timeout):
        if self.late and self.interrupt_at is not None:
            self.interrupt_at = None
            raise KeyboardInterrupt
        while self.late:
            self.answer(self.late.pop())
        while isinstance(event := self.target.wait(0), Request):
            address, _, _ = event.message.arguments(MemoryArguments)
            self.asked.append(address)
            if address == self.interrupt_at:
                self.late.append(event.message)
                self.target._flush()
            else:
                self.answer(event.message)
        return self.link.wait(min(timeout, 0.01))

    def answer(self, question):
        address, size, _ = question.arguments(MemoryArguments)
        done = MemoryArguments(address, size, size)
        self.target.reply(question.reply(0, done, bytes([address % 251]) * size))


def questions(addresses):
    return [Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(each, 4)) for each in addresses]


@pytest.fixture
def answering(ends, monkeypatch):
    host, target = ends
    target.report(STOP)
    settle(host, target)
    link = Answering(host, target)
    monkeypatch.setattr(host, "link", link)
    yield host, link
    monkeypatch.undo()


def test_a_conversation(answering):
    host, link = answering
    came = []
    host.converse(questions(range(50)), lambda reply: came.append(reply.data) is None)
    assert came == [bytes([number] * 4) for number in range(50)]
    assert link.asked == list(range(50))
    assert host.endpoint.repetitions == 0


def test_a_conversation_that_is_ended(answering):
    """What was asked in vain is not taken for the answer to what is asked next."""
    host, _ = answering
    came = []
    for start in range(10):
        host.converse(questions(range(start, 50)), lambda reply: bool(came.append(reply.data)))
        assert came.pop() == bytes([start] * 4)
        assert not came
        (question,) = questions([start + 1])
        assert host.request(question).data == bytes([start + 1] * 4)
    assert host.endpoint.repetitions == 0


def test_a_conversation_after_an_interrupted_request(answering):
    """The late reply comes first; nothing waits for a retransmission."""
    host, link = answering
    host.converse(questions([1, 2]), lambda reply: True)
    link.interrupt_at = 99
    with pytest.raises(KeyboardInterrupt):
        host.request(questions([99])[0])
    came = []
    start = time.monotonic()
    host.converse(questions(range(20)), lambda reply: came.append(reply.data) is None)
    assert came == [bytes([number] * 4) for number in range(20)]
    assert time.monotonic() - start < host.reply_timeout
    assert link.asked == [1, 2, 99, *range(20)]


def test_repeat_when_stopped(ends):
    host, target = ends
    target.report(STOP)
    settle(host, target)
    host.break_in()
    assert target.wait(5) == BreakIn()
    host.reset()
    assert target.wait(5) == Reset()
    assert target.wait(0.01) is None


def test_break_in_that_crosses_the_state_change_is_answered_by_it(ends):
    host, target = ends
    target.report(STOP)
    host.break_in()
    assert target.wait(0.05) is None


GO = Manipulate.request(Api.CONTINUE2, Continue2Arguments(0x10002))


@pytest.mark.parametrize("heard", [True, False], ids=["after the notice", "before the notice"])
def test_a_break_in_that_crosses_a_notice_stops_the_target_after_it(ends, heard):
    host, target = ends
    target.report(LOAD)
    if heard:
        settle(host, target)
    host.break_in()
    assert target.wait(0.05) == (BreakIn() if heard else None)
    settle(host, target)
    host.endpoint.part(GO.pack(), time.monotonic())
    host._flush()
    assert target.wait(5) == Request(GO)
    assert target.poll() == BreakIn()
    assert target.poll() is None


def test_a_break_in_and_the_request_to_go_on_after_a_notice(ends):
    """Both in one piece, as from a debugger that goes on at once."""
    host, target = ends
    target.report(LOAD)
    settle(host, target)
    host.endpoint.break_in(time.monotonic())
    host.endpoint.part(GO.pack(), time.monotonic())
    host._flush()
    assert target.wait(5) in (BreakIn(), Request(GO))
    settle(host, target)
    assert target.poll() == BreakIn()


def test_requests_that_come_too_early_wait_for_the_stop(ends):
    host, target = ends
    request = Manipulate.request(Api.GET_VERSION)
    host.endpoint.send(PacketType.MANIPULATE, request.pack(), time.monotonic())
    settle(host, target)
    assert target.poll() is None
    target.report(STOP)
    assert target.wait(5) == Request(request)


def test_short_requests_are_dropped(ends):
    host, target = ends
    target.report(STOP)
    host.endpoint.send(PacketType.MANIPULATE, b"short", time.monotonic())
    settle(host, target)
    assert target.wait(0) is None


def test_a_state_change_that_makes_no_sense_is_an_error_once(ends):
    host, target = ends
    target.endpoint.send(PacketType.STATE_CHANGE64, bytes(239), time.monotonic())
    target._flush()
    settle(host, target)
    with pytest.raises(ProtocolError, match="state change of 239 bytes"):
        host.wait(1)
    assert host.wait(0) is None


def test_module_notice_is_given_up(ends, monkeypatch):
    host, target = ends
    settle(host, target)
    monkeypatch.setattr("kdsim.wire.target_connection.GIVE_UP_AFTER", 0.1)
    target.endpoint.retry = 0.05
    target.report(LOAD)
    event = target.wait(5)
    assert isinstance(event, Lost)
    assert not target.present
    assert not target.print(b"nobody hears")
    host.break_in()
    pump(host, target, lambda: target.present)


class Silence:
    """A link to nobody, in simulated time; sends go nowhere and nothing comes."""

    description = "silence"
    reconnects = False

    def __init__(self):
        self.now = time.monotonic()

    def wait(self, timeout):
        assert timeout is not None
        self.now += timeout
        return False

    def receive(self):
        return []

    def send(self, pieces, to=None):
        return


class Interrupted(Silence):
    """Nothing comes, and Ctrl+C between the last bytecode before the wait and the wait."""

    def wait(self, timeout):
        milliseconds = 60_000 if timeout is None else timeout * 1000
        strike = (getattr(ctypes.PyDLL(None), "raise"), signal.SIGINT)
        list(starmap(operator.call, [strike, (select.poll().poll, milliseconds)]))
        return False


def test_ctrl_c_just_before_a_wait_is_seen_soon(ends, monkeypatch):
    host, _ = ends
    monkeypatch.setattr(host, "link", Interrupted())
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        host.wait(None)
    assert time.monotonic() - start < 5
    monkeypatch.undo()


COMMAND = CommandStringChange(0, 1, 0, 0, name="kd", command="k")
WORDS = {
    "print": lambda target: target.print(b"text"),
    "long print": lambda target: target.print(bytes(10_000)),
    "file": lambda target: target.file(FileIo.create("a.sys")),
    "module notice": lambda target: (target.report(LOAD), target.wait()),
    "command string": lambda target: (target.report(COMMAND), target.wait()),
}


@pytest.mark.parametrize("say", WORDS.values(), ids=WORDS)
def test_a_debugger_that_fell_silent_costs_two_seconds_once(ends, monkeypatch, say):
    _, target = ends
    link, silence = target.link, Silence()
    start = silence.now
    monkeypatch.setattr(target, "link", silence)
    monkeypatch.setattr(target, "_clock", lambda: silence.now)
    say(target)
    assert 1 < silence.now - start < 2.5
    assert not target.present
    assert not target.print(b"more")
    assert silence.now - start < 2.5
    monkeypatch.setattr(target, "link", link)


@pytest.mark.parametrize(
    ("host", "target"),
    [
        pytest.param(KdnetHost(KEY), KdnetTarget(KEY, ("127.0.0.1", 1)), id="net"),
        pytest.param(KdcomHost(), KdcomTarget(), id="com"),
    ],
)
def test_a_file_request_that_is_acknowledged_and_not_answered_ends(host, target):
    link = SimulatedLink(host)
    connection = TargetConnection(target, link, link.clock)
    while not connection.present:
        connection.wait(0.1)
    start = link.now
    assert connection.file(FileIo.create("a.sys")) is None
    assert start + FILE_PATIENCE <= link.now < start + FILE_PATIENCE + 1
    assert connection.present, "it is there, and hears what else there is to say"
    assert connection.print(b"text")
    kinds = [event.type for event in link.events if isinstance(event, Packet)]
    assert kinds == [PacketType.FILE_IO, PacketType.DEBUG_IO]


def test_a_stop_waits_for_a_silent_debugger(ends, monkeypatch):
    _, target = ends
    link, silence = target.link, Silence()
    monkeypatch.setattr(target, "link", silence)
    monkeypatch.setattr(target, "_clock", lambda: silence.now)
    target.report(STOP)
    assert target.wait(60) is None
    assert target.present
    monkeypatch.setattr(target, "link", link)


def test_a_debugger_that_died_costs_nothing_and_another_may_come(tmp_path):
    listener = links.udp_listen(0, "127.0.0.1")
    host = HostConnection(KdnetHost(KEY), listener)
    link = links.udp_connect(listener.local)
    target = TargetConnection(KdnetTarget(KEY, listener.local, link.local), link)
    pump(host, target, lambda: host._starts and target.present)
    settle(host, target)
    listener.close()
    start = time.monotonic()
    assert not target.print(b"nobody hears")
    assert time.monotonic() - start < 0.4
    another = HostConnection(KdnetHost(KEY), links.udp_listen(listener.local[1], "127.0.0.1"))
    pump(another, target, lambda: another._starts and target.present, limit=1.0)
    another.close()
    target.close()


def test_without_a_debugger(tmp_path):
    target = TargetConnection(KdcomTarget(), links.unix_listen(tmp_path / "kd"))
    assert target.poll() is None
    assert not target.present
    assert not target.print(b"text")
    assert target.file(FileIo.create("a.sys")) is None
    target.report(STOP)
    assert target.wait(0.01) is None
    target.close()


def test_files_are_refused(ends):
    host, target = ends
    request = FileIo.create("\\SystemRoot\\a.sys")
    target.endpoint.send(PacketType.FILE_IO, request.pack(), time.monotonic())
    target._flush()
    pump(host, target, lambda: PacketType.FILE_IO in target._answers)
    assert FileIo.unpack(target._answers[PacketType.FILE_IO]).status == 0xC000000F


def test_files_are_handed_out(ends):
    host, target = ends
    host.files = lambda request: request.created(7, 0x1234)
    request = FileIo.create("\\SystemRoot\\a.sys")
    target.endpoint.send(PacketType.FILE_IO, request.pack(), time.monotonic())
    target._flush()
    pump(host, target, lambda: PacketType.FILE_IO in target._answers)
    answer = FileIo.unpack(target._answers[PacketType.FILE_IO])
    assert (answer.status, answer.creation.handle, answer.creation.length) == (0, 7, 0x1234)
    assert answer.creation._replace(handle=0, length=0) == request.creation


class Bell:
    """Something else the machine's thread serves."""

    def __init__(self, tmp_path):
        self.listener = links.unix_listen(tmp_path / "bell")
        self.rung = 0

    def fileno(self):
        return self.listener._listener.fileno()

    def service(self):
        self.rung += len(self.listener.receive())


def test_watched_descriptors_are_served(ends, tmp_path):
    _, target = ends
    bell = Bell(tmp_path)
    target.watch(bell)
    ringer = links.unix_connect(tmp_path / "bell")
    assert target.poll() is None
    assert bell.rung == 1
    another = links.open_unix(tmp_path / "bell")
    target.wait(0.01)
    another.close()
    ringer.close()
    bell.listener.close()
