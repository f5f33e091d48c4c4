"""KDCOM: KD over a byte stream (serial line, named pipe, TCP).

Packet ids toggle bit 0; the first packet of a restarted stream carries the SYNC bit. ReactOS
`drivers/base/kdcom/kddll.c` is the public account of the target's end.
"""

from __future__ import annotations

from kdsim.wire.endpoint import (
    Connected,
    Endpoint,
    HostEndpoint,
    Lost,
    Reset,
    WireEvent,
)
from kdsim.wire.packets import BREAK_IN, TRAILER, Frame, LoneBreakIn, PacketType, StreamParser
from kdsim.wire.tally import Drop

INITIAL_ID = 0x80800000
SYNC = 0x00000800


class _Kdcom(Endpoint):
    """Stream framing and toggling ids, the same at both ends."""

    retry = 1.0
    stall = 0.5
    """Seconds after which the rest of a begun packet is not waited for any longer."""

    connected = False

    def __init__(self) -> None:
        super().__init__()
        self._parser = StreamParser()
        self._begun: float | None = None
        self._last_sync: Frame | None = None
        self._synced_at = 0.0
        self._sessions = 0
        self._start_ids()

    def link_up(self, now: float) -> list[WireEvent]:
        """The stream is open: a listener accepted, or a connection was made."""
        self._parser.abandon()
        self._begun = None
        self._out.clear()
        self._forget()
        self._start_ids()
        self.connected = True
        self._sessions += 1
        return [Connected(again=self._sessions > 1)]

    def link_down(self, reason: str) -> list[WireEvent]:
        """The stream closed."""
        self._forget()
        self._out.clear()
        self.connected = False
        return [Lost(reason)]

    def receive(
        self, data: bytes, now: float, source: tuple[str, int] | None = None
    ) -> list[WireEvent]:
        self.heard = now
        events: list[WireEvent] = []
        for item in self._parser.feed(data):
            self.tally.received += 1
            if isinstance(item, Frame) and (item.control or item.id & ~(SYNC | 1) == INITIAL_ID):
                events += self._receive_frame(item, now)
            elif isinstance(item, LoneBreakIn):
                events += self._on_break_in()
            else:
                self.tally.drop(Drop.DAMAGED)
                self._control(PacketType.RESEND)
        self._begun = now if self._parser.unfinished else None
        return events

    def tick(self, now: float) -> list[WireEvent]:
        if self._begun is not None and now >= self._begun + self.stall:
            self._begun = None
            self._parser.abandon()
            self.tally.drop(Drop.DAMAGED)
            self._control(PacketType.RESEND)
        return super().tick(now)

    @property
    def deadline(self) -> float | None:
        other = super().deadline
        if self._begun is None:
            return other
        stalled = self._begun + self.stall
        return stalled if other is None else min(other, stalled)

    def _start_ids(self) -> None:
        self._next_id = INITIAL_ID
        self._last_id = None
        self._last_sync = None

    def _put(self, frame: Frame) -> None:
        if self.connected:
            self._out.append(frame.pack() + (b"" if frame.control else TRAILER))

    def _following(self, packet_id: int) -> int:
        return (packet_id & ~SYNC) ^ 1

    def _acknowledges(self, ack_id: int) -> bool:
        return ack_id & ~SYNC == self._next_id & ~SYNC

    def _acknowledged(self, now: float) -> None:
        packet = self._outstanding
        if packet is not None and packet.first >= self._synced_at:
            self._last_sync = None
        super()._acknowledged(now)

    def _accepts(self, frame: Frame, now: float) -> bool:
        if frame.id & SYNC:
            # The same packet once more, with nothing of ours said and accepted in between, is a
            # retransmission. After that it is news: VirtualBox's stub restarts its ids, with SYNC,
            # at every stop (src/VBox/Debugger/DBGCRemoteKd.cpp).
            if frame == self._last_sync:
                return False
            # The first packet after our own RESET says nothing new: we restarted ourselves.
            if self._last_id is not None:
                self._on_restarted_stream()
            self._last_id = frame.id & ~SYNC
            self._last_sync, self._synced_at = frame, now
            return True
        if frame.id == self._last_id:
            return False
        self._last_id = frame.id
        self._last_sync = None
        return True

    def _on_restarted_stream(self) -> None:
        """The peer restarted its ids by itself."""


class KdcomTarget(_Kdcom):
    """The target's end of a stream."""

    break_in_pause = 0.05
    """Seconds after a break-in within which a RESET comes, if at all: at first, or of rizin."""

    _listens_until: float | None = None
    """A debugger that connects speaks first: rizin takes nothing before the answer to its RESET.
    As long as Windows waits before it repeats a state change we say nothing by ourselves."""
    _sync_proved = False
    _acks_control = False
    """The debugger acknowledges our control packets too."""

    def restart(self) -> None:
        """The machine restarts on the same line: the ids begin anew."""
        self._forget()
        self._start_ids()

    def link_up(self, now: float) -> list[WireEvent]:
        self._acks_control = False
        self._listens_until = now + self.retry
        return super().link_up(now)

    def receive(
        self, data: bytes, now: float, source: tuple[str, int] | None = None
    ) -> list[WireEvent]:
        events = super().receive(data, now, source)
        if self._listens_until is not None:
            pause = 0.0 if data.strip(BREAK_IN) else self.break_in_pause
            self._listens_until = min(self._listens_until, now + pause)
            self._pump(now)
        elif self._acks_control and data.endswith(BREAK_IN):
            self._listens_until = now + self.break_in_pause
        return events

    def tick(self, now: float) -> list[WireEvent]:
        self._pump(now)
        return super().tick(now)

    @property
    def deadline(self) -> float | None:
        other = super().deadline
        if not self._queue or self._listens_until is None:
            return other
        return self._listens_until if other is None else min(other, self._listens_until)

    def _pump(self, now: float) -> None:
        if self._listens_until is not None:
            if now < self._listens_until:
                return
            self._listens_until = None
        super()._pump(now)

    def _start_ids(self) -> None:
        super()._start_ids()
        self._next_id = INITIAL_ID | SYNC

    def _put(self, frame: Frame) -> None:
        if self._acks_control and not frame.control:
            # Such a debugger (rizin) takes an ACK for a repetition of the data packet before it
            # when the ids are equal; those of our data packets then never are.
            frame = frame._replace(id=frame.id | SYNC)
        super()._put(frame)

    def _abandoned(self) -> None:
        self._start_ids()

    def _proved(self) -> None:
        self._sync_proved = bool(self._next_id & SYNC)

    def _receive_control(self, frame: Frame, now: float) -> list[WireEvent]:
        if frame.type == PacketType.ACK:
            # Only our RESET has the id 0.
            self._acks_control |= frame.id == 0
            if self._sync_proved and frame.id & ~SYNC == INITIAL_ID:
                # It asked before it had seen that our ids start over; now it has, and so do its.
                self._last_id = None
            self._sync_proved = False
        return super()._receive_control(frame, now)

    def _acknowledged(self, now: float) -> None:
        if self._next_id & SYNC:
            # It made the debugger restart its own ids, perhaps at the one we saw last.
            self._last_id = None
        super()._acknowledged(now)

    def _on_reset(self, packet_id: int, now: float) -> list[WireEvent]:
        self._forget()
        self._start_ids()
        self._acks_control = False
        self._control(PacketType.RESET)
        return [Reset()]


class KdcomHost(_Kdcom, HostEndpoint):
    """The debugger's end of a stream."""

    def link_up(self, now: float) -> list[WireEvent]:
        events = super().link_up(now)
        self._resets_unanswered = 0
        self.reset(now)
        return events

    def _put_break_in(self) -> None:
        self._out.append(BREAK_IN)

    def receive(
        self, data: bytes, now: float, source: tuple[str, int] | None = None
    ) -> list[WireEvent]:
        events = super().receive(data, now, source)
        self._pump(now)
        return events

    def tick(self, now: float) -> list[WireEvent]:
        events = super().tick(now)
        self._pump(now)
        return events

    def _pump(self, now: float) -> None:
        # What the target has not taken for a RESET yet would count as of the old ids.
        if self._reset_due is None:
            super()._pump(now)

    def _receive_frame(self, frame: Frame, now: float) -> list[WireEvent]:
        if self._reset_due is not None and not frame.control:
            if not frame.id & SYNC:
                # Of the old ids: our ACK might be taken for one of the new.
                return []
            self._reset_done()
        return super()._receive_frame(frame, now)

    def _start_over(self) -> None:
        super()._start_over()
        self._start_ids()

    def _control(self, kind: PacketType, packet_id: int = 0) -> None:
        # ReactOS takes an ACK only without the bit, though its packet has it.
        super()._control(kind, packet_id & ~SYNC)

    def _reset_id(self) -> int:
        return 0

    def _on_restarted_stream(self) -> None:
        # The target expects our base id next, also from a packet that still waits.
        self._next_id = INITIAL_ID
