"""The debug port of a machine: what its thread calls while the guest runs and while it stands."""

from __future__ import annotations

import select
import time
from collections import deque
from typing import NamedTuple, Protocol

from kdsim.errors import ProtocolError
from kdsim.wire.carrier import Carrier, Clock
from kdsim.wire.eagerness import Eagerness
from kdsim.wire.endpoint import BreakIn, Connected, Lost, Packet, Reset, WireEvent
from kdsim.wire.kdcom import KdcomTarget
from kdsim.wire.kdnet import KdnetTarget
from kdsim.wire.links import Link
from kdsim.wire.manipulate import PARTING, PROMPT, Manipulate
from kdsim.wire.messages import (
    AnyStateChange,
    ExceptionChange,
    FileIo,
    GetString,
    PrintString,
    StringAnswer,
)
from kdsim.wire.packets import PacketType

GIVE_UP_AFTER = 2.0
"""Seconds without an acknowledgement of a print or notice until the debugger counts as gone."""
FILE_PATIENCE = 5.0
"""Seconds after which a debugger that acknowledged a file request is not going to answer it."""
UNANSWERED = 20
"""Pokes without an answer, and without a word that nobody is there, until the user is told."""
DEBUG_IO_HEADER = 16


class Request(NamedTuple):
    """The debugger asks something of the stopped target."""

    message: Manipulate


TargetEvent = Request | BreakIn | Reset | Connected | Lost


class Watched(Protocol):
    """Something served from the machine thread whenever its descriptor is readable."""

    def fileno(self) -> int: ...

    def service(self) -> None: ...


class TargetConnection(Carrier["KdcomTarget | KdnetTarget"]):
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
        self._notices = False
        """We stand at a notice: the debugger lets us go on by itself."""
        self._owes_break_in = False
        """A break-in came at a notice. As in Windows it stops us when that is over."""

    def watch(self, watched: Watched) -> None:
        """Serve `watched` from `poll` and `wait` when its descriptor is readable."""
        self._watched[watched.fileno()] = watched
        self._watch.register(watched.fileno(), select.POLLIN)
        self.link.watch(watched.fileno())

    def poll(self) -> BreakIn | Connected | Lost | None:
        """What happened while the guest ran. Never sleeps; one cheap system call."""
        if self._owes_break_in:
            self._owes_break_in = False
            return BreakIn()
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
        self._notices = not isinstance(change, ExceptionChange)
        tries = self._tries if self._notices else None
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
            self._step(stands=True)

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
        self._owes_break_in = False
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
            before, start = self.endpoint.delivered, self._starts
            self.endpoint.send(kind, payload, self._clock(), tries)
            self._flush()
            while not self.endpoint.idle:
                self.link.wait(self._until(None))
                self._step()
            delivered = self.endpoint.delivered > before
            if delivered or self._starts == start:
                return delivered
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

    def _step(self, *, stands: bool = False) -> None:
        for event in self._service():
            self._take(event)
        if not stands:
            self._flush()
            # To go on was meant for a notice that we did not wait for, not for the next stop.
            self._requests = deque(r for r in self._requests if r.api not in PARTING)
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
            self.present = self._notices = False
            self._lost_at = self._clock() if self.endpoint.connected else None
            self._events.append(event)
        elif isinstance(event, BreakIn):
            self._owes_break_in |= self._notices
            if not event.crossed and event not in self._events:
                self._events.append(event)
        else:
            self._starts += 1
            if isinstance(event, Connected):
                self.endpoint.tally.new_session()
                self._told_alone = False
            self._requests.clear()
            self._owes_break_in = False
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
            self._notices = False
            wishes = (BreakIn, Reset)
            self._events = deque(e for e in self._events if not isinstance(e, wishes))
