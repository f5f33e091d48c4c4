"""What the two programs call: a target's machine thread and a debugger's main thread.

A connection owns an endpoint and a link and moves bytes between them; it starts no thread.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from kdsim.errors import ProtocolError, TargetEnded, TargetGone
from kdsim.wire.eagerness import Eagerness
from kdsim.wire.endpoint import BreakIn, Connected, Endpoint, Lost, Packet, Reset, WireEvent
from kdsim.wire.interrupts import Interrupts
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.links import Address, Data, Link, LinkUp, Refused
from kdsim.wire.manipulate import HEADER_SIZE, PARTING, PROMPT, Manipulate, Status
from kdsim.wire.messages import (
    AnyStateChange,
    ExceptionChange,
    FileIo,
    GetString,
    PrintString,
    StateChange,
    StringAnswer,
    unpack_debug_io,
)
from kdsim.wire.packets import PacketType
from kdsim.wire.tally import Drop

E = TypeVar("E", bound=Endpoint)
Clock = Callable[[], float]

GIVE_UP_AFTER = 2.0
"""Seconds without an acknowledgement of a print or notice until the debugger counts as gone."""
FILE_PATIENCE = 5.0
"""Seconds after which a debugger that acknowledged a file request is not going to answer it."""
UNANSWERED = 20
"""Pokes without an answer, and without a word that nobody is there, until the user is told."""
DEBUG_IO_HEADER = 16
MOST_PATIENCE = 3
"""Times a debugger's patience for a target that gives signs of life and takes no question."""
MOST_ARRIVALS = 64
"""Datagrams taken in a row before something else has its turn."""
LONGEST_SLEEP = 0.5
"""Seconds a debugger waits at a time. Python sees a Ctrl+C that comes just before a wait only when
the wait ends."""


class _Carrier(Generic[E]):
    """Moves bytes between an endpoint and a link."""

    def __init__(self, endpoint: E, link: Link, clock: Clock = time.monotonic) -> None:
        self.endpoint = endpoint
        self.link = link
        self.notice: Callable[[str], None] = _unheard
        """Takes a line for the user about what is wrong on the wire."""
        self._clock = clock

    @property
    def description(self) -> str:
        return self.link.description

    @property
    def data_limit(self) -> int:
        """Most data bytes of one manipulate message."""
        return self.endpoint.payload_limit - HEADER_SIZE

    def _service(self) -> list[WireEvent]:
        """Take what came and do what is due; `_flush` sends what follows from it. Never sleeps."""
        endpoint, now = self.endpoint, self._clock()
        events: list[WireEvent] = []
        for arrival in self.link.receive():
            if isinstance(arrival, Data):
                if arrival.source != self._peer:
                    # It may become the peer; what is queued belongs to the one we have.
                    self._flush()
                events += endpoint.receive(arrival.data, now, arrival.source)
            elif isinstance(arrival, Refused):
                if isinstance(endpoint, KdnetTarget):
                    endpoint.search(now)
                events += endpoint.give_up(now, "nobody listens")
            elif isinstance(endpoint, KdcomTarget | KdcomHost):
                if isinstance(arrival, LinkUp):
                    events += endpoint.link_up(now)
                else:
                    events += endpoint.link_down(arrival.reason)
        deadline = endpoint.deadline
        if deadline is not None and now >= deadline:
            events += endpoint.tick(now)
        return events

    @property
    def _peer(self) -> Address | None:
        """Where a debugger's datagrams go; the other links know only one place."""
        return self.endpoint.peer if isinstance(self.endpoint, KdnetHost) else None

    def _flush(self) -> None:
        out = self.endpoint.outgoing()
        if out:
            self.link.send(out, self._peer)

    def _until(self, end: float | None) -> float | None:
        """Seconds to sleep at most: to the endpoint's deadline or `end`."""
        deadline = self.endpoint.deadline
        if deadline is None or (end is not None and end < deadline):
            deadline = end
        return None if deadline is None else max(0.0, deadline - self._clock())


# ---------------------------------------------------------------------------- the target's side


class Request(NamedTuple):
    """The debugger asks something of the stopped target."""

    message: Manipulate


TargetEvent = Request | BreakIn | Reset | Connected | Lost


class Watched(Protocol):
    """Something served from the machine thread whenever its descriptor is readable."""

    def fileno(self) -> int: ...

    def service(self) -> None: ...


class TargetConnection(_Carrier["KdcomTarget | KdnetTarget"]):
    """The debug port of a machine.

    While the guest runs its thread calls `poll` between slices. To stop, it calls `report` with a
    state change and then `wait` until a request tells it to continue. In `wait`, BreakIn, Reset and
    Connected all ask for the same thing: that the state change be reported again.
    """

    def __init__(
        self, endpoint: KdcomTarget | KdnetTarget, link: Link, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(endpoint, link, clock)
        self.present = False
        """A debugger is there: a session exists and nothing had to be given up since."""
        self._events: deque[BreakIn | Reset | Connected | Lost] = deque()
        self._requests: deque[Manipulate] = deque()
        self._answers: dict[PacketType, bytes] = {}
        self._starts = 0
        self._lost_at: float | None = None
        self._watched: dict[int, Watched] = {}
        self._watch = select.poll()
        self._eagerness = Eagerness()
        self._told_alone = False

    def watch(self, watched: Watched) -> None:
        """Serve `watched` from `poll` and `wait` when its descriptor is readable."""
        self._watched[watched.fileno()] = watched
        self._watch.register(watched.fileno(), select.POLLIN)
        self.link.watch(watched.fileno())

    def poll(self) -> BreakIn | Connected | Lost | None:
        """What happened while the guest ran. Never sleeps; one cheap system call."""
        if not self._events:
            deadline = self.endpoint.deadline
            if not self.link.wait(0) and (deadline is None or self._clock() < deadline):
                return None
            self._step()
        while self._events:
            event = self._events.popleft()
            # A running target has nothing to repeat.
            if not isinstance(event, Reset):
                return event
        return None

    def report(self, change: AnyStateChange) -> None:
        """Tell the debugger that the target stopped, or tell it again.

        Only an exception waits for a debugger: when nobody takes a notice, `wait` returns Lost.
        """
        # This report answers every wish to see the state change that came before it.
        self._events.clear()
        tries = None if isinstance(change, ExceptionChange) else self._tries
        self.endpoint.send(PacketType.STATE_CHANGE64, change.pack(), self._clock(), tries)
        self._flush()

    def wait(self, timeout: float | None = None) -> TargetEvent | None:
        """The next event of a stopped target; None after `timeout` seconds."""
        end = None if timeout is None else self._clock() + timeout
        while True:
            event = self._next_event()
            if event is not None:
                return event
            if self._requests:
                request = self._requests.popleft()
                if request.api not in PROMPT:
                    self._flush()
                return Request(request)
            self._flush()
            came = self._eagerness.wait(self.link, self._until(end))
            if not came and end is not None and self._clock() >= end:
                return None
            self._step(flush=False)

    def reply(self, message: Manipulate) -> None:
        """Answer a request; returns at once."""
        self.endpoint.send(PacketType.MANIPULATE, message.pack(), self._clock())
        self._flush()

    def print(self, text: bytes, processor: int = 0, level: int = 0) -> bool:
        """Send DbgPrint text and wait until the debugger has it; False when nobody does."""
        if not self.present:
            return False
        room = self.endpoint.payload_limit - DEBUG_IO_HEADER
        pieces = (text[start : start + room] for start in range(0, len(text), room))
        return all(
            self._deliver(
                PacketType.DEBUG_IO, PrintString(piece, processor, level).pack(), self._tries
            )
            for piece in pieces
        )

    def prompt(self, question: GetString) -> bytes | None:
        """Ask the debugger's user and wait for the answer; None when no debugger is there."""
        answer = self._ask(PacketType.DEBUG_IO, question.pack(), None)
        return None if answer is None else StringAnswer.unpack(answer).text[: question.limit]

    def file(self, request: FileIo) -> FileIo | None:
        """Ask for a file on the debugger's side; None when no debugger answers in time."""
        answer = self._ask(PacketType.FILE_IO, request.pack(), self._tries, FILE_PATIENCE)
        return None if answer is None else FileIo.unpack(answer)

    def restart(self) -> None:
        """The machine restarts: the session is over and a new one is sought."""
        self._events.clear()
        self._requests.clear()
        self.endpoint.restart()
        if isinstance(self.endpoint, KdnetTarget):
            self.present = False

    def close(self) -> None:
        self._flush()
        self.link.close()

    @property
    def _tries(self) -> int:
        """Transmissions of a packet that the guest will not wait for long."""
        return round(GIVE_UP_AFTER / self.endpoint.retry)

    def _next_event(self) -> BreakIn | Reset | Connected | Lost | None:
        # What came behind a request that lets us go is for the time after it.
        while self._events and not any(request.api in PARTING for request in self._requests):
            event = self._events.popleft()
            # The state change that is still on its way answers a break-in.
            if not isinstance(event, BreakIn) or self.endpoint.idle:
                return event
        return None

    def _deliver(self, kind: PacketType, payload: bytes, tries: int | None) -> bool:
        """Send a packet and wait for its ACK, from the start again if the session does so."""
        while self.present:
            before = self.endpoint.delivered
            self.endpoint.send(kind, payload, self._clock(), tries)
            self._flush()
            while not self.endpoint.idle:
                self.link.wait(self._until(None))
                self._step()
            if self.endpoint.delivered > before:
                return True
        return False

    def _ask(
        self, kind: PacketType, payload: bytes, tries: int | None, patience: float | None = None
    ) -> bytes | None:
        self._answers.pop(kind, None)
        while self._deliver(kind, payload, tries):
            start = self._starts
            end = None if patience is None else self._clock() + patience
            while self._starts == start and self.present:
                if kind in self._answers:
                    return self._answers.pop(kind)
                if end is not None and self._clock() >= end:
                    return None
                self.link.wait(self._until(end))
                self._step()
        return None

    def _step(self, *, flush: bool = True) -> None:
        for _ in range(MOST_ARRIVALS):
            for event in self._service():
                self._take(event)
            if self._requests or not self.link.wait(0):
                break
        if flush:
            self._flush()
        if self._lost_at is not None and (self.endpoint.heard or 0) > self._lost_at:
            # Whoever was given up speaks again.
            self._lost_at = None
            self.present = True
        self._tell_news()
        for fd, _ in self._watch.poll(0):
            self._watched[fd].service()

    def _tell_news(self) -> None:
        """One line about the first drop of each kind in a session, and about deaf ears."""
        endpoint = self.endpoint
        for drop in endpoint.tally.news():
            self.notice(f"a {endpoint.unit} was dropped, and more may be: {drop.value}")
        alone = isinstance(endpoint, KdnetTarget) and endpoint.unanswered >= UNANSWERED
        if alone and not self._told_alone:
            self._told_alone = True
            self.notice(f"no answer from {self.description}; the debugger may have another key")

    def _take(self, event: WireEvent) -> None:
        if isinstance(event, Packet):
            self._take_packet(event)
        elif isinstance(event, Lost):
            self.present = False
            self._lost_at = self._clock() if self.endpoint.connected else None
            self._events.append(event)
        elif isinstance(event, BreakIn):
            if BreakIn() not in self._events:
                self._events.append(event)
        else:
            self._starts += 1
            if isinstance(event, Connected):
                self.endpoint.tally.new_session()
                self._told_alone = False
            self._requests.clear()
            self.present = True
            self._lost_at = None
            # A debugger resets as soon as it is connected; repeating things once is enough.
            wished = self._events and not isinstance(self._events[-1], Lost)
            if not (wished and isinstance(event, Reset)):
                self._events.append(event)

    def _take_packet(self, packet: Packet) -> None:
        if packet.type is not PacketType.MANIPULATE:
            self._answers[packet.type] = packet.payload
            return
        try:
            request = Manipulate.unpack(packet.payload)
        except ProtocolError:
            # Acknowledged and not answered: there is no header to echo.
            return
        self._requests.append(request)
        if request.api in PARTING:
            # It has seen what it asked us to repeat, or does not care.
            wishes = (BreakIn, Reset)
            self._events = deque(e for e in self._events if not isinstance(e, wishes))


# -------------------------------------------------------------------------- the debugger's side

HostEvent = AnyStateChange | PrintString | GetString | Connected


class HostConnection(_Carrier["KdcomHost | KdnetHost"]):
    """A debugger's way to its target. Ctrl+C leaves every call as KeyboardInterrupt, unharmed.

    Attributes:
        files: answers the target's requests for files.
    """

    reply_timeout = 3.0
    """Seconds a target may take to answer what it acknowledged before we reset and ask again."""
    attempts = 3
    patience = 20.0
    """Seconds without a sign of life until a target that was asked something counts as gone."""
    silence = 20.0
    """Seconds without any datagram after which a KDNET target is gone; it pokes every 3."""

    def __init__(
        self, endpoint: KdcomHost | KdnetHost, link: Link, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(endpoint, link, clock)
        self._interrupts = Interrupts()
        self._events: deque[HostEvent | ProtocolError] = deque()
        self._replies: list[Manipulate] = []
        self._asking = False
        self._owed: Manipulate | None = None
        """A question whose answer nobody waited for."""
        self._holding = False
        self._eagerness = Eagerness()
        self._starts = 0
        self._gone: str | None = None
        self._guard: Callable[[], None] | None = None
        self.files: Callable[[FileIo], FileIo] = _no_files

    def guard(self, fd: int, check: Callable[[], None]) -> None:
        """End every wait when `fd` becomes readable, and ask `check`, which may raise."""
        self.link.watch(fd)
        self._guard = check

    def open(self, timeout: float | None) -> None:
        """Wait for the target; TargetGone after `timeout` seconds (None: for ever)."""
        end = None if timeout is None else self._clock() + timeout
        with self._interrupts:
            while not self._starts:
                self._sleep(end)
                self._check_link()
                if Drop.FOREIGN in self.endpoint.tally.news():
                    self.notice("Datagrams come that are sealed with another key")
                if end is not None and self._clock() >= end and not self._starts:
                    raise TargetGone(f"no target answered on {self.description}{self._hint()}")
        # The first session is the caller's own doing, not news.
        self._events = deque(e for e in self._events if not isinstance(e, Connected))

    def _hint(self) -> str:
        if isinstance(self.endpoint, KdnetHost) and self.endpoint.tally.dropped[Drop.FOREIGN]:
            return "; datagrams came that were sealed with another key"
        return ""

    def request(self, message: Manipulate) -> Manipulate:
        """Ask the stopped target and return its reply.

        Raises:
            TargetGone: it does not answer, or restarted meanwhile.
        """
        with self._questions() as sessions:
            self._ask(message)
            return self._answer(message, sessions)

    def converse(self, messages: Iterable[Manipulate], take: Callable[[Manipulate], bool]) -> None:
        """Ask one after the other; each leaves with the ACK of the reply before it.

        `take` sees every reply, with the next request already under way; False ends the
        conversation, and what was asked in vain is forgotten.

        Raises:
            TargetGone: as for `request`.
        """
        with self._questions() as sessions:
            try:
                waiting = iter(messages)
                message = next(waiting, None)
                if message is not None:
                    self._ask(message)
                while message is not None:
                    following = next(waiting, None)
                    reply = self._answer_and_go_on(message, following, sessions)
                    if not take(reply):
                        return
                    message = following
            finally:
                self._holding = False
                self.endpoint.withdraw()
                self._flush()

    def _answer_and_go_on(
        self, message: Manipulate, following: Manipulate | None, sessions: int
    ) -> Manipulate:
        """The reply to `message`; with it the next request is on its way."""
        if following is None:
            self._holding = False
            return self._answer(message, sessions)
        # A late reply to what was interrupted sends it early; replies come in order all the same.
        foreseen = self.endpoint.foresee(following.pack())
        self._holding = not foreseen
        reply = self._answer(message, sessions)
        if not foreseen or self.endpoint.withdraw():
            self._ask(following)
        else:
            self._owed = following
        return reply

    @contextmanager
    def _questions(self) -> Iterator[int]:
        """The block in which replies are awaited; the number of this session."""
        with self._interrupts:
            self._check_link()
            self._asking = True
            try:
                yield self._starts
            finally:
                self._asking = False

    def _ask(self, message: Manipulate) -> None:
        self._forgo()
        self._owed = message
        self._replies.clear()
        self.endpoint.send(PacketType.MANIPULATE, message.pack(), self._clock())
        self._flush()

    def _answer(self, message: Manipulate, sessions: int) -> Manipulate:
        """The reply to what was asked; asks again, after a RESET, when none comes."""
        for attempt in range(self.attempts):
            if attempt:
                self._reset()
                self._ask(message)
            reply = self._reply_to(message, sessions)
            if reply is not None:
                return reply
        raise self._no_answer()

    def _reply_to(self, message: Manipulate, sessions: int) -> Manipulate | None:
        """None when the target has the question and says nothing to it.

        A line that loses much takes its time: until then all that matters is a sign of life.
        """
        begun, end, self._owed = self._clock(), None, None
        while end is None or self._clock() < end:
            if end is None and self.endpoint.idle:
                end = self._clock() + self.reply_timeout
            self._sleep(end, eager=True)
            self._check_link()
            if self._starts != sessions:
                raise TargetGone(f"the target on {self.description} restarted")
            for reply in self._replies:
                if reply.answers(message):
                    self._replies.clear()
                    return reply
            self._check_patience(begun)
        return None

    def _forgo(self) -> None:
        """Let the answer come that nobody waited for.

        Otherwise the next question would tell the target that we have it; on a stream, when it
        got lost, the answer after it would then look like its repetition.
        """
        if self._owed is not None:
            self._reply_to(self._owed, self._starts)

    def post(self, message: Manipulate) -> None:
        """Send a request that has no reply and wait until the target has it."""
        with self._interrupts:
            self._check_link()
            self._forgo()
            self.endpoint.part(message.pack(), self._clock())
            self._settle()
            if self.endpoint.crossed and isinstance(self.endpoint, KdnetHost):
                # Windows may take the request that we repeated for an ACK of it.
                self._reset()

    def answer(self, question: GetString, text: bytes) -> None:
        """Answer a prompt, and its repetitions that came meanwhile."""
        self.discard(GetString)
        with self._interrupts:
            packet = question.answer(text).pack()
            self.endpoint.send(PacketType.DEBUG_IO, packet, self._clock())
            self._settle()

    def _settle(self) -> None:
        """Wait until the target has what we sent."""
        begun = self._clock()
        self._flush()
        while not self.endpoint.idle:
            self._sleep(None)
            self._check_link()
            self._check_patience(begun)

    def _check_patience(self, begun: float) -> None:
        heard = max(begun, self.endpoint.heard or begun)
        if self._clock() >= min(heard + self.patience, begun + MOST_PATIENCE * self.patience):
            raise self._no_answer()

    def _no_answer(self) -> TargetGone:
        return TargetGone(f"the target on {self.description} does not answer")

    def wait(self, timeout: float | None) -> HostEvent | None:
        """The next thing the target says by itself; None after `timeout` seconds.

        Raises:
            TargetGone: the stream closed, or a KDNET target has been silent for too long.
            ProtocolError: a packet made no sense; it is dropped.
        """
        start = self._clock()
        end = None if timeout is None else start + timeout
        with self._interrupts:
            while not self._events:
                self._check_link()
                patience = self._patience(start)
                self._sleep(patience if end is None else min(end, patience or end))
                if self._events:
                    break
                now = self._clock()
                if end is not None and now >= end:
                    return None
                if patience is not None and now >= patience == self._patience(start):
                    silent = self.silence * self.endpoint.effort
                    raise TargetGone(f"no sign of the target for {silent:.0f} seconds")
        # An interrupt noted meanwhile left the block above; the event then waits for the next call.
        event = self._events.popleft()
        if isinstance(event, ProtocolError):
            raise event
        return event

    def _patience(self, start: float) -> float | None:
        """Until when a target may stay silent; a stream need not say anything for ever."""
        if not isinstance(self.endpoint, KdnetHost):
            return None
        # Of the pokes, too, fewer come where packets need more than one transmission.
        return max(start, self.endpoint.heard or start) + self.silence * self.endpoint.effort

    @property
    def sessions(self) -> int:
        """How often the target was met."""
        return self._starts

    def look(self) -> None:
        """Take in what has come, without waiting for more."""
        with self._interrupts:
            for _ in range(MOST_ARRIVALS):
                self._check_link()
                if not self.link.wait(0):
                    return
                self._sleep(0)

    def discard(self, kind: type[StateChange] | type[GetString]) -> None:
        """Forget what came of this kind and was not asked for yet."""
        self._events = deque(e for e in self._events if not isinstance(e, kind))

    def break_in(self) -> None:
        """Ask a running target to stop."""
        with self._interrupts:
            self.endpoint.break_in(self._clock())
            self._flush()

    def reset(self) -> None:
        """Start over; a stopped target sends its state change again."""
        with self._interrupts:
            self._reset()

    def _reset(self) -> None:
        self._owed = None
        self.endpoint.reset(self._clock())
        self._flush()

    def close(self) -> None:
        """Let go of the target, which stays as it is."""
        if isinstance(self.endpoint, KdnetHost) and self.endpoint.connected:
            # The target begins to look for its next debugger.
            self.endpoint.knock()
        self._flush()
        self.link.close()

    def _check_link(self) -> None:
        if self._guard is not None:
            self._guard()
        if self._gone is not None and not self.link.reconnects:
            raise TargetEnded(self._gone)

    def _sleep(self, end: float | None, *, eager: bool = False) -> None:
        """Wait for something to arrive or to be due, and take it in."""
        self._flush()
        with self._interrupts.sleeping:
            until = self._until(end)
            until = LONGEST_SLEEP if until is None else min(until, LONGEST_SLEEP)
            if eager:
                self._eagerness.wait(self.link, until)
            else:
                self.link.wait(until)
        events = self._service()
        if not self._holding:
            self._flush()
        for event in events:
            self._take(event)
        if not self._holding:
            self._flush()

    def _take(self, event: WireEvent) -> None:
        if isinstance(event, Packet):
            try:
                self._take_packet(event)
            except ProtocolError as error:
                self._events.append(error)
        elif isinstance(event, Connected):
            self._starts += 1
            self._gone = None
            self._events.append(event)
        elif isinstance(event, Lost):
            self._gone = event.reason

    def _take_packet(self, packet: Packet) -> None:
        if packet.type is PacketType.STATE_CHANGE64:
            self._events.append(StateChange.unpack(packet.payload))
        elif packet.type is PacketType.MANIPULATE:
            # Without a question it is the late answer to one that was interrupted.
            if self._asking:
                self._replies.append(Manipulate.unpack_reply(packet.payload))
        elif packet.type is PacketType.DEBUG_IO:
            self._events.append(unpack_debug_io(packet.payload))
        elif packet.type is PacketType.FILE_IO:
            answer = self.files(FileIo.unpack(packet.payload))
            self.endpoint.send(PacketType.FILE_IO, answer.pack(), self._clock())


def _unheard(line: str) -> None:
    """Nobody wants to know."""


def _no_files(request: FileIo) -> FileIo:
    """No files are offered; the target then uses its own."""
    return request.reply(Status.NO_SUCH_FILE)
