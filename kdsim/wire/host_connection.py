"""A debugger's way to its target: what its main thread calls."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from kdsim.errors import ProtocolError, TargetEnded, TargetGone
from kdsim.wire.carrier import MOST_ARRIVALS, Carrier, Clock
from kdsim.wire.eagerness import Eagerness
from kdsim.wire.endpoint import Connected, Lost, Packet, WireEvent
from kdsim.wire.interrupts import Interrupts
from kdsim.wire.kdcom import KdcomHost
from kdsim.wire.kdnet import KdnetHost
from kdsim.wire.links import Link
from kdsim.wire.manipulate import Manipulate, Status
from kdsim.wire.messages import (
    AnyStateChange,
    FileIo,
    GetString,
    PrintString,
    StateChange,
    unpack_debug_io,
)
from kdsim.wire.packets import PacketType
from kdsim.wire.tally import Drop

MOST_PATIENCE = 3
"""Times a debugger's patience for a target that gives signs of life and takes no question."""
LONGEST_SLEEP = 0.5
"""Seconds a debugger waits at a time. Python sees a Ctrl+C that comes just before a wait only when
the wait ends."""

HostEvent = AnyStateChange | PrintString | GetString | Connected


class HostConnection(Carrier["KdcomHost | KdnetHost"]):
    """A debugger's way to its target. Ctrl+C leaves every call as KeyboardInterrupt, unharmed.

    Attributes:
        files: answers the target's requests for files.
    """

    reply_timeout = 3.0
    """Seconds a target may take to answer what it acknowledged before we reset and ask again."""
    attempts = 3
    patience = 20.0
    """Seconds without a sign of life until a target that was asked something counts as gone."""

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
        self._waited = 0.0
        """Seconds spent waiting, as long as was meant: we may be kept from the processor for much
        longer, while the answer lies there."""
        self._heard = 0.0
        """What `_waited` was when the target last gave a sign of life."""
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
            before, self._asking = self._asking, True
            try:
                yield self._starts
            finally:
                self._asking = before

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
        begun, end, self._owed = self._waited, None, None
        while end is None or self._waited < end:
            if end is None and self.endpoint.idle:
                end = self._waited + self.reply_timeout
            self._sleep(None, eager=True)
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
            with self._questions() as sessions:
                self._reply_to(self._owed, sessions)

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
        begun, before = self._waited, self.endpoint.delivered
        self._flush()
        while not self.endpoint.idle:
            self._check_link()
            self._check_patience(begun)
            self._sleep(None)
        if self.endpoint.delivered == before:
            # A target that leaves closes the line behind its acknowledgement.
            self._check_link()

    def _check_patience(self, begun: float) -> None:
        heard = max(begun, self._heard)
        if self._waited >= min(heard + self.patience, begun + MOST_PATIENCE * self.patience):
            raise self._no_answer()

    def _no_answer(self) -> TargetGone:
        return TargetGone(f"the target on {self.description} does not answer")

    def wait(self, timeout: float | None) -> HostEvent | None:
        """The next thing the target says by itself; None after `timeout` seconds.

        Raises:
            TargetGone: the stream closed.
            ProtocolError: a packet made no sense; it is dropped.
        """
        end = None if timeout is None else self._clock() + timeout
        with self._interrupts:
            while not self._events:
                self._check_link()
                self._sleep(end)
                if not self._events and end is not None and self._clock() >= end:
                    return None
        # An interrupt noted meanwhile left the block above; the event then waits for the next call.
        event = self._events.popleft()
        if isinstance(event, ProtocolError):
            raise event
        return event

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
            start = self._clock()
            if eager:
                self._eagerness.wait(self.link, until)
            else:
                self.link.wait(until)
            self._waited += min(self._clock() - start, until)
        events = self._service()
        if (self.endpoint.heard or 0.0) >= start:
            self._heard = self._waited
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


def _no_files(request: FileIo) -> FileIo:
    """No files are offered; the target then uses its own."""
    return request.reply(Status.NO_SUCH_FILE)
