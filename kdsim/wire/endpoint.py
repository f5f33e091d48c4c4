"""What both ends of a KD connection do: number packets, acknowledge, retransmit, drop duplicates.

An endpoint takes the bytes that came and the time, and gives events and the bytes to send; it does
no I/O and never reads a clock. `kdcom` and `kdnet` add the two transports.

Whoever owns an endpoint calls `receive` with each arrival, `tick` once `deadline` has passed, and
sends what `outgoing` hands out after any other call.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from kdsim.wire.packets import MAX_PAYLOAD, Frame, PacketType
from kdsim.wire.tally import Tally


class Packet(NamedTuple):
    """A data packet of the peer, delivered once and already acknowledged."""

    type: PacketType
    payload: bytes


@dataclass(frozen=True)
class BreakIn:
    """The debugger asks a running target to stop; a stopped one repeats its state change.

    Args:
        crossed: a state change was on its way, which is answer enough if it says a stop.
    """

    crossed: bool = False


@dataclass(frozen=True)
class Reset:
    """The peer started over. Nothing of ours is under way any more: repeat what still matters."""


@dataclass(frozen=True)
class Connected:
    """A session began; as after `Reset`, nothing sent earlier is under way.

    Args:
        again: a session existed before (a target that came back).
    """

    again: bool = False


@dataclass(frozen=True)
class Lost:
    """A packet was given up, or the link broke: nobody listens."""

    reason: str = ""


WireEvent = Packet | BreakIn | Reset | Connected | Lost

# A packet of the left type proves that the peer had the outstanding packet of the right types,
# though its ACK has not come: the ACK was lost or overtaken.
_PROVES: dict[int, set[PacketType]] = {
    PacketType.MANIPULATE: {PacketType.MANIPULATE, PacketType.STATE_CHANGE64},
    PacketType.DEBUG_IO: {PacketType.DEBUG_IO},
    PacketType.FILE_IO: {PacketType.FILE_IO},
}

_DATA_TYPES = {
    kind.value: kind
    for kind in PacketType
    if kind not in (PacketType.UNUSED, PacketType.POLL_BREAK_IN)
}


SOONEST = 0.01
ROUND_TRIPS = 8
"""Until an ACK that has not come is likely never to come, and the least of it in seconds."""
SLOWDOWN = 1.5
"""How much longer each wait is than the one before; what is lost by chance is no sign of crowding,
so not twice."""


CLEAN = 1.0001
"""Transmissions a packet takes at most, as averaged, on a line that counts as losing nothing: since
one was lost, fifty were not."""
MOST_EFFORT = 10
"""Transmissions in vain from which on it is not the line that loses: the peer does not listen."""


class Outgoing:
    """A packet that waits for its turn or for its ACK."""

    __slots__ = ("asked", "due", "first", "last", "payload", "sent", "tries", "type")

    def __init__(self, kind: PacketType, payload: bytes, tries: int | None) -> None:
        self.type = kind
        self.payload = payload
        self.tries = tries
        self.due = self.first = self.last = 0.0
        self.sent = self.asked = 0
        """Transmissions, and those of them that the peer asked for."""


class Endpoint:
    """Base of the four ends. One packet is outstanding at a time; the rest queue behind it."""

    retry = 0.5
    """Seconds until an unacknowledged packet is sent again."""
    payload_limit = MAX_PAYLOAD
    """Most payload bytes of one packet."""
    connected = True
    """Whether a session exists; what is sent without one is dropped."""
    unit = "packet"
    """What the tally counts."""
    heard: float | None = None
    """When the peer last gave a sign of life."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.repetitions = 0
        """Transmissions of packets that had been sent before."""
        self.delivered = 0
        """Packets that the peer acknowledged, or is known to have."""
        self.round_trip = 0.0
        """Seconds to an acknowledgement, averaged over the last few."""
        self.effort = 1.0
        """Transmissions that a packet took, averaged in the same way; but for those asked for."""
        self._out: list[bytes] = []
        self._queue: deque[Outgoing] = deque()
        self._outstanding: Outgoing | None = None
        self._next_id = 0
        self._last_id: int | None = None

    # -- for the owner ---------------------------------------------------------------------

    def receive(
        self, data: bytes, now: float, source: tuple[str, int] | None = None
    ) -> list[WireEvent]:
        """Take what came from the link: any piece of a stream, or one datagram and its sender."""
        raise NotImplementedError

    def send(self, kind: PacketType, payload: bytes, now: float, tries: int | None = None) -> None:
        """Queue a data packet, sent until acknowledged (for at most `tries` retries if given)."""
        if not self.connected:
            return
        self._queue.append(Outgoing(kind, payload, tries))
        self._pump(now)

    def foresee(self, payload: bytes) -> bool:
        """Prepare a request that shall leave at once, with its ACK, when the next reply comes.

        Whether this end does so; `withdraw` tells whether it has happened.
        """
        return False

    def withdraw(self) -> bool:
        """Forget what was foreseen; False when it has left."""
        return False

    def outgoing(self) -> list[bytes]:
        """Bytes to put on the link now, in order; handed out once."""
        out = self._out
        if out:
            self._out = []
            self.tally.sent += len(out)
        return out

    def tick(self, now: float) -> list[WireEvent]:
        """Do what is due: retransmissions and giving up."""
        packet = self._outstanding
        if packet is None or now < packet.due:
            return []
        if now >= packet.first + self._most(packet):
            return self.give_up(now, "no acknowledgement")
        self._transmit(packet, now)
        return []

    def give_up(self, now: float, reason: str) -> list[WireEvent]:
        """Drop the outstanding packet if it is of the kind that may be given up."""
        packet = self._outstanding
        if packet is None or packet.tries is None:
            return []
        self._outstanding = None
        self._abandoned()
        self._pump(now)
        return [Lost(reason)]

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do next."""
        return None if self._outstanding is None else self._outstanding.due

    @property
    def idle(self) -> bool:
        """Nothing waits for an ACK."""
        return self._outstanding is None and not self._queue

    # -- for the transports ----------------------------------------------------------------

    def _put(self, frame: Frame) -> None:
        """Append one frame to the outgoing bytes in the transport's form."""
        raise NotImplementedError

    def _following(self, packet_id: int) -> int:
        """The packet id after `packet_id`."""
        raise NotImplementedError

    def _accepts(self, frame: Frame, now: float) -> bool:
        """Whether a data packet is new; remembers it if so."""
        raise NotImplementedError

    def _acknowledges(self, ack_id: int) -> bool:
        return ack_id == self._next_id

    def _abandoned(self) -> None:
        """The outstanding packet was given up; the peer may or may not have it."""
        self._next_id = self._following(self._next_id)

    def _on_reset(self, packet_id: int, now: float) -> list[WireEvent]:
        raise NotImplementedError

    def _on_break_in(self) -> list[WireEvent]:
        """A target hears a break-in."""
        packet = self._outstanding
        return [BreakIn(packet is not None and packet.type is PacketType.STATE_CHANGE64)]

    def _forget(self) -> None:
        self._queue.clear()
        self._outstanding = None

    def _control(self, kind: PacketType, packet_id: int = 0) -> None:
        self._put(Frame(kind, packet_id, control=True))

    def _receive_frame(self, frame: Frame, now: float) -> list[WireEvent]:
        if frame.control:
            return self._receive_control(frame, now)
        self._control(PacketType.ACK, frame.id)
        if not self._accepts(frame, now):
            self.tally.repeated += 1
            self._on_repetition(now)
            return []
        kind = _DATA_TYPES.get(frame.type)
        if kind is None:
            return []
        if self._outstanding is not None and self._proves(frame, self._outstanding):
            self._proved()
            self._delivered(now)
        return [Packet(kind, frame.payload)]

    def _proves(self, frame: Frame, packet: Outgoing) -> bool:
        """Whether the peer cannot have said this without having had that packet of ours."""
        return packet.type in _PROVES.get(frame.type, ())

    def _proved(self) -> None:
        """The peer seems to have the outstanding packet, without an ACK."""

    def _on_repetition(self, now: float) -> None:
        """The peer has not seen our ACK, nor what may have travelled with it."""
        packet = self._outstanding
        if packet is not None and now >= packet.last + self._patience(0) / 2:
            self._transmit(packet, now)

    def _receive_control(self, frame: Frame, now: float) -> list[WireEvent]:
        if frame.type == PacketType.ACK:
            if self._outstanding is not None and self._acknowledges(frame.id):
                self._acknowledged(now)
        elif frame.type == PacketType.RESEND:
            if self._outstanding is not None:
                self._outstanding.asked += 1
                self._transmit(self._outstanding, now)
        elif frame.type == PacketType.RESET:
            return self._on_reset(frame.id, now)
        return []

    def _acknowledged(self, now: float) -> None:
        packet = self._outstanding
        if packet is not None and packet.sent == 1:
            self.round_trip += (now - packet.first - self.round_trip) / 8
        self._delivered(now)

    def _delivered(self, now: float) -> None:
        packet, self._outstanding = self._outstanding, None
        self.delivered += 1
        if packet is not None:
            took = min(packet.sent - packet.asked, MOST_EFFORT)
            self.effort += (took - self.effort) / 8
        self._next_id = self._following(self._next_id)
        if self._queue:
            self._pump(now)

    def _pump(self, now: float) -> None:
        if self._outstanding is None and self._queue:
            self._outstanding = self._queue.popleft()
            self._transmit(self._outstanding, now)

    def _patience(self, sent: int) -> float:
        """Seconds until a packet that was sent so often before is sent again.

        On a line that loses nothing it is Windows' own time. On one that loses we wait for some
        round trips, more each time, but the less the more it loses.
        """
        if self.effort < CLEAN:
            return self.retry
        soon = max(SOONEST, ROUND_TRIPS * self.round_trip)
        return min(self.retry / self.effort, soon * SLOWDOWN ** min(sent, 10))

    def _most(self, packet: Outgoing) -> float:
        """Seconds after which a packet is given up."""
        return math.inf if packet.tries is None else self._as_likely(packet.tries) * self.retry

    def _as_likely(self, tries: int) -> float:
        """The tries after which silence says as much as after so many on a line that loses nothing.

        They grow with the square of the transmissions a packet takes: a margin.
        """
        return tries * self.effort**2

    def _transmit(self, packet: Outgoing, now: float) -> None:
        self._note_sent(packet, now)
        self._put(Frame(packet.type, self._next_id, packet.payload))

    def _note_sent(self, packet: Outgoing, now: float) -> None:
        if packet.sent:
            self.repetitions += 1
        else:
            packet.first = now
        packet.last = now
        packet.due = min(now + self._patience(packet.sent), packet.first + self._most(packet))
        packet.sent += 1


class HostEndpoint(Endpoint):
    """A debugger's end: it breaks in and resets."""

    reset_tries = 3
    """A target that answers none of them runs and reads nothing, or is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.parting = False
        """What was sent last ends a stop."""
        self.crossed = False
        """A state change came before the target acknowledged that."""
        self._break_in_due: float | None = None
        self._reset_due: float | None = None
        self._resets_left = 0
        self._resets_unanswered = 0

    def break_in(self, now: float) -> None:
        """Ask a running target to stop, again and again until it says that it did."""
        self._break_in_due = now + 2 * self.retry
        if self.connected:
            self._put_break_in()

    def _put_break_in(self) -> None:
        raise NotImplementedError

    def part(self, payload: bytes, now: float) -> None:
        """Send a request that ends a stop.

        A state change that comes before its ACK may be the stop we leave, told once more. It is
        not accepted: the target forgets that one as it goes on, and repeats a new one.
        """
        self.parting, self.crossed = True, False
        self._break_in_due = None
        self.send(PacketType.MANIPULATE, payload, now)

    def _receive_frame(self, frame: Frame, now: float) -> list[WireEvent]:
        if frame.type == PacketType.STATE_CHANGE64:
            if self.parting and self._outstanding is not None:
                self.crossed = True
                return []
            self.parting, self._break_in_due = False, None
        return super()._receive_frame(frame, now)

    def _proves(self, frame: Frame, packet: Outgoing) -> bool:
        # Not the late reply to an earlier request: both begin with the same number.
        other = frame.type == PacketType.MANIPULATE and frame.payload[:4] != packet.payload[:4]
        return not other and super()._proves(frame, packet)

    def reset(self, now: float) -> None:
        """Start over: forget what is under way; a stopped target sends its state change again."""
        self._start_over()
        self._resets_left = round(self._as_likely(self.reset_tries))
        self._send_reset(now)

    def tick(self, now: float) -> list[WireEvent]:
        if self._reset_due is not None and now >= self._reset_due:
            if self._resets_left:
                self._send_reset(now)
            else:
                self._reset_due = None
        if self._break_in_due is not None and now >= self._break_in_due:
            self.break_in(now)
        return super().tick(now)

    @property
    def deadline(self) -> float | None:
        packet, reset, break_in = self._outstanding, self._reset_due, self._break_in_due
        if reset is None and break_in is None:
            return None if packet is None else packet.due
        dues = (reset, break_in, None if packet is None else packet.due)
        return min(due for due in dues if due is not None)

    def _start_over(self) -> None:
        """A RESET goes out: what is under way is forgotten."""
        self._forget()

    def _reset_id(self) -> int:
        raise NotImplementedError

    def _reset_answered(self, packet_id: int) -> None:
        """The target answered our RESET."""

    def _reset_done(self) -> None:
        """The target is in step with us: the RESET need not be repeated."""
        self._reset_due = None

    def _on_break_in(self) -> list[WireEvent]:
        return []

    def _send_reset(self, now: float) -> None:
        self._control(PacketType.RESET, self._reset_id())
        self._reset_due = now + self.retry
        self._resets_left -= 1
        self._resets_unanswered += 1

    def _on_reset(self, packet_id: int, now: float) -> list[WireEvent]:
        # A target answers every RESET, also our answer to one of its own. Only a count of those
        # still owed keeps two ends from answering each other for ever.
        self._reset_done()
        if self._resets_unanswered:
            self._resets_unanswered -= 1
            self._reset_answered(packet_id)
            return []
        self._start_over()
        self._control(PacketType.RESET, self._reset_id())
        self._resets_unanswered += 1
        return [Reset()]
