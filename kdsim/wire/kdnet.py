"""KDNET: KD over encrypted UDP. The debugger listens, the target connects and pokes.

Two counters run side by side: the sequence of the sealed datagram (one more for every datagram,
also for a repeated packet) and the packet id (two more for every data packet; it does not toggle).
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from kdsim.errors import ProtocolError
from kdsim.wire.endpoint import (
    Connected,
    Endpoint,
    HostEndpoint,
    Outgoing,
    Packet,
    Reset,
    WireEvent,
)
from kdsim.wire.packets import BREAK_IN, HEADER, Frame, PacketType
from kdsim.wire.sealing import (
    RESPONSE_SIZE,
    VERSION,
    Channel,
    Datagram,
    Sealer,
    derive_data_key,
    derive_hmac_key,
    parse_key,
    well_formed,
)
from kdsim.wire.tally import Drop

Address = tuple[str, int]

CONTROL = bytes((Channel.CONTROL,))
POKE = b"\x01\x01"
RESPONSE = b"\x01\x02"
POKE_SIZE = 344
CLIENT_KEY = slice(2, 34)
BOOT = slice(4, 32)
"""What of a client key stays the same from one power-on to the next; the rest counts pokes."""
CONNECTED_PORT = slice(0x56, 0x58)
POKE_STEP = 3
"""Windows' pokes are numbered 3, 6, 9 ...; nobody needs the number but to echo it."""
KEPT_CLIENT_KEYS = 8
KEPT_BOOTS = 64
UNDER_WAY = 0.5
"""Seconds by which what was sent in a session may overtake a poke that was sent before it."""
FIRST_HOST_ID = 0x80000000
PAYLOAD_LIMIT = 1416
"""What fits one Ethernet frame: 1472 bytes of UDP, less the seal, whole AES blocks, two headers."""


class _Kdnet(Endpoint):
    """Sealing and counting, the same at both ends."""

    retry = 0.5
    payload_limit = PAYLOAD_LIMIT
    unit = "datagram"
    connected = False
    _from_host: bool

    def __init__(self, key: str, version: int) -> None:
        super().__init__()
        self.version = version
        self._control_key = parse_key(key)
        self._hmac_key = derive_hmac_key(self._control_key)
        self._control_sealer = Sealer(self._control_key, self._hmac_key)
        self._data_sealer: Sealer | None = None
        self._sequence_out = 0
        self._sequence_in = 0
        self._start_ids()

    def receive(self, data: bytes, now: float, source: Address | None = None) -> list[WireEvent]:
        """Take one datagram. What was not sealed with the right key is dropped and counted."""
        self.tally.received += 1
        control = data[5:6] == CONTROL
        sealer = self._control_sealer if control else self._data_sealer
        datagram = sealer.open(data) if sealer is not None else None
        if datagram is None and not control:
            datagram = self._open_otherwise(data, now)
        if datagram is None:
            # The control channel's key is the same in every session.
            known = Drop.FOREIGN if control else Drop.STRAY
            return self._drop(known if well_formed(data) else Drop.MALFORMED)
        if datagram.from_host == self._from_host:
            return self._drop(Drop.REFLECTED)
        if control:
            return self._receive_poke_or_response(datagram, now, source)
        if datagram.sequence <= self._sequence_in:
            return self._drop(Drop.REPLAYED)
        self._sequence_in = datagram.sequence
        self._hear(now, source)
        return self._receive_body(datagram.body, now)

    def _open_otherwise(self, data: bytes, now: float) -> Datagram | None:
        """A datagram of the data channel that the session's key does not open."""
        return None

    def _hear(self, now: float, source: Address | None) -> None:
        """What came is the peer's, and new."""
        self.heard = now

    def _drop(self, why: Drop) -> list[WireEvent]:
        self.tally.drop(why)
        return []

    def _receive_body(self, body: bytes, now: float) -> list[WireEvent]:
        if len(body) < HEADER.size:
            # The target's 12-byte first datagram, or a break-in, which the target's end takes.
            return []
        try:
            frame = Frame.unpack(body)
        except ProtocolError:
            self._control(PacketType.RESEND)
            return []
        return self._receive_frame(frame, now)

    def _receive_poke_or_response(
        self, datagram: Datagram, now: float, source: Address | None
    ) -> list[WireEvent]:
        raise NotImplementedError

    def _start_ids(self) -> None:
        raise NotImplementedError

    def _start_session(self, response: bytes) -> None:
        self._data_sealer = Sealer(derive_data_key(self._control_key, response), self._hmac_key)
        self._sequence_out = self._sequence_in = 0
        self._forget()
        self._start_ids()
        self.connected = True

    def _put(self, frame: Frame) -> None:
        self._put_body(frame.pack())

    def _put_body(self, body: bytes) -> None:
        if self._data_sealer is None:
            return
        self._sequence_out += 1
        self._out.append(self._seal(self._sequence_out, body))

    def _seal(self, sequence: int, body: bytes) -> bytes:
        assert self._data_sealer is not None
        return self._data_sealer.seal(self.version, Channel.DATA, sequence, self._from_host, body)

    def _put_control(self, version: int, sequence: int, body: bytes) -> None:
        self._out.append(
            self._control_sealer.seal(version, Channel.CONTROL, sequence, self._from_host, body)
        )

    def _following(self, packet_id: int) -> int:
        return packet_id & 0x80000000 | (packet_id + 2) & 0x7FFFFFFF


class KdnetTarget(_Kdnet):
    """The target's end.

    Args:
        key: the key text.
        host: where the debugger listens, as an IPv4 or IPv6 address and a port.
        local: our own address; it only stands in the pokes.
        version: KDNET version; the debugger copies it.
        random: source of the client key's bytes.
    """

    poke_period = 3.0
    """Windows' own, from the WinDbg capture; the poke is also the keep-alive."""
    search_period = 0.25
    """While nobody answers we poke faster than Windows, so that a new debugger need not wait."""

    _from_host = False

    def __init__(
        self,
        key: str,
        host: Address,
        local: Address = ("0.0.0.0", 0),
        *,
        version: int = VERSION,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(key, version)
        self._host = host
        self._local = local
        self._client_key = bytearray(random(32))
        self._client_keys: deque[bytes] = deque(maxlen=KEPT_CLIENT_KEYS)
        self._poke_sequence = 0
        self._poke_due: float | None = None
        self._alone = True
        self.unanswered = 0
        """Pokes since somebody answered, or since it was told that nobody is there to do so."""
        self._sessions = 0

    def restart(self) -> None:
        """The machine restarts: the session is over, the next poke says so."""
        self._forget()
        self._data_sealer = None
        self.connected = False
        self._alone = True
        self._poke_due = None

    def search(self, now: float) -> None:
        """Nobody seems to listen there: poke often until somebody does."""
        self._alone = True
        self.unanswered = 0
        if self._poke_due is not None:
            self._poke_due = min(self._poke_due, now + self.search_period)

    def give_up(self, now: float, reason: str) -> list[WireEvent]:
        events = super().give_up(now, reason)
        if events:
            self.search(now)
        return events

    def tick(self, now: float) -> list[WireEvent]:
        if self._poke_due is None or now >= self._poke_due:
            self._poke(now)
        return super().tick(now)

    @property
    def deadline(self) -> float | None:
        """Never None: there is always a next poke, the first one at once."""
        poke = -1.0 if self._poke_due is None else self._poke_due
        packet = super().deadline
        return poke if packet is None else min(poke, packet)

    def _poke(self, now: float) -> None:
        self._poke_due = now + (self.search_period if self._alone else self.poke_period)
        self._poke_sequence += POKE_STEP
        self.unanswered += self._alone
        self._count_client_key()
        self._client_keys.append(bytes(self._client_key))
        connected: Address = self._host if self.connected else ("0.0.0.0", 0)
        places = b"".join(_place(address) for address in (self._local, self._host, connected))
        body = POKE + bytes(self._client_key) + places
        self._put_control(self.version, self._poke_sequence, body.ljust(POKE_SIZE, b"\0"))

    def _count_client_key(self) -> None:
        """Windows counts in byte 0 alone; then an old response would fit again 256 pokes later."""
        count = int.from_bytes(self._client_key[: BOOT.start], "little") + 1
        self._client_key[: BOOT.start] = (count & 0xFFFFFFFF).to_bytes(BOOT.start, "little")

    def _receive_poke_or_response(
        self, datagram: Datagram, now: float, source: Address | None
    ) -> list[WireEvent]:
        body = datagram.body
        if not body:
            # A debugger that comes, or that leaves: look for one until something is heard.
            self._hear(now, source)
            self._alone = True
            self._poke(now)
            return []
        client_key = body[CLIENT_KEY]
        if len(body) < RESPONSE_SIZE or body[:2] != RESPONSE or client_key not in self._client_keys:
            return self._drop(Drop.REPLAYED)
        # The answer to an older poke may still come; the host has gone on to this one.
        while self._client_keys.popleft() != client_key:
            pass
        self._start_session(body[:RESPONSE_SIZE])
        self._hear(now, source)
        self._alone = False
        self.unanswered = 0
        self._poke_due = now + self.poke_period
        # Of an IPv6 address, for which nothing is known, its last four bytes.
        self._put_body(bytes(8) + _packed(self._host[0])[:-5:-1])
        self._sessions += 1
        return [Connected(again=self._sessions > 1)]

    def _receive_body(self, body: bytes, now: float) -> list[WireEvent]:
        self._alone = False
        if body == BREAK_IN:
            return self._on_break_in()
        return super()._receive_body(body, now)

    def _start_ids(self) -> None:
        self._next_id = 0
        self._last_id = None

    def _accepts(self, frame: Frame, now: float) -> bool:
        # Only an equal id is a repetition: rizin toggles ids on KDNET as on a serial line.
        if frame.id == self._last_id:
            return False
        self._last_id = frame.id
        return True

    def _on_reset(self, packet_id: int, now: float) -> list[WireEvent]:
        self._last_id = None
        self._control(PacketType.RESET, self._next_id)
        if self._outstanding is None:
            return [Reset()]
        self._transmit(self._outstanding, now)
        return []


class _Foreseen(NamedTuple):
    """What leaves when the reply `reply_id` comes, if nothing else leaves before."""

    reply_id: int
    sequence: int
    packet: Frame
    sealed: list[bytes]


class _Offer(NamedTuple):
    """A session that was offered to whoever poked so, and what opens its first datagram."""

    poke: Datagram
    response: bytes
    sealer: Sealer


class KdnetHost(_Kdnet, HostEndpoint):
    """The debugger's end. `peer` is where its datagrams go.

    Args:
        key: the key text.
        random: source of the host key's bytes.
    """

    silence = 7.0
    """Seconds without a sign of life, two pokes of it, until a poke that may be a replay gets a
    chance."""

    _from_host = True

    def __init__(self, key: str, *, random: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(key, VERSION)
        self.peer: Address | None = None
        self._random = random
        self._foreseen: _Foreseen | None = None
        self._answered = b""
        self._newest = 0
        """Number of the last poke of the boot that we answered."""
        self._boots: deque[bytes] = deque(maxlen=KEPT_BOOTS)
        self._response = b""
        self._offered: _Offer | None = None
        self._confirmed = False
        self._sessions = 0

    def knock(self) -> None:
        """Ask a target whose address is known to look for its debugger at once."""
        self._put_control(self.version, 0, b"")

    def foresee(self, payload: bytes) -> bool:
        if self._last_id is None or self._queue:
            return False
        sequence, reply_id = self._sequence_out, self._following(self._last_id)
        packet_id = self._next_id
        if self._outstanding is not None:
            packet_id = self._following(packet_id)
        ack = Frame(PacketType.ACK, reply_id, control=True)
        packet = Frame(PacketType.MANIPULATE, packet_id, payload)
        numbered = enumerate((ack, packet), sequence + 1)
        sealed = [self._seal(number, frame.pack()) for number, frame in numbered]
        self._foreseen = _Foreseen(reply_id, sequence, packet, sealed)
        return True

    def withdraw(self) -> bool:
        there = self._foreseen is not None
        self._foreseen = None
        return there

    def _receive_frame(self, frame: Frame, now: float) -> list[WireEvent]:
        foreseen = self._foreseen
        if (
            foreseen is None
            or frame.control
            or (frame.id, frame.type) != (foreseen.reply_id, PacketType.MANIPULATE)
            or self._sequence_out != foreseen.sequence
            or not (self._outstanding is None or self._proves(frame, self._outstanding))
        ):
            return super()._receive_frame(frame, now)
        # What `_control`, `_accepts`, `_delivered` and `_transmit` would do one after the other.
        self._foreseen = None
        self._reset_done()
        self._last_id = frame.id
        self._next_id = foreseen.packet.id
        self._outstanding = Outgoing(PacketType.MANIPULATE, foreseen.packet.payload, None)
        self._note_sent(self._outstanding, now)
        self._sequence_out += len(foreseen.sealed)
        self._out += foreseen.sealed
        return [Packet(PacketType.MANIPULATE, frame.payload)]

    def _put_break_in(self) -> None:
        self._put_body(BREAK_IN)

    def _hear(self, now: float, source: Address | None) -> None:
        super()._hear(now, source)
        self.peer = source or self.peer

    def _receive_poke_or_response(
        self, datagram: Datagram, now: float, source: Address | None
    ) -> list[WireEvent]:
        body = datagram.body
        if len(body) < CONNECTED_PORT.stop or body[:2] != POKE:
            return []
        if self._confirmed and source and self.peer and source[0] != self.peer[0]:
            # Another machine must not take the session away.
            return []
        client_key, keep_alive = body[CLIENT_KEY], any(body[CONNECTED_PORT])
        if self._seems_old(datagram, keep_alive):
            return self._offer(datagram, now, source)
        if self._confirmed and keep_alive:
            # To answer it would rekey the session.
            self._newest = datagram.sequence
            self._hear(now, source)
            return []
        if client_key == self._answered:
            # The same poke once more: the same response, or both sides would hold other keys.
            self._put_control(datagram.version, datagram.sequence, self._response)
            return []
        if self._confirmed and now < (self.heard or 0.0) + UNDER_WAY:
            # Sent before the target had our response: it speaks as of this session.
            return []
        self._hear(now, source)
        response = self._respond(datagram)
        self._begin(datagram, response, now)
        return []

    def _seems_old(self, poke: Datagram, keep_alive: bool) -> bool:
        """Of a boot that is over, or overtaken, or the one this session began with."""
        boot = poke.body[CLIENT_KEY][BOOT]
        if boot != self._answered[BOOT]:
            return boot in self._boots
        begins_anew = self._confirmed and not keep_alive
        return poke.sequence < self._newest + begins_anew

    def _offer(self, poke: Datagram, now: float, source: Address | None) -> list[WireEvent]:
        """Answer what may be a replay, without giving up the session for it.

        A target whose client key and numbers are the same at every boot looks like a replay. It
        gets a chance once the session has fallen silent, and gets the session when it shows that
        it has the new key, which nobody can who only repeats what was said.
        """
        silent = self.heard is None or now >= self.heard + self.silence
        if not silent or (self._confirmed and any(poke.body[CONNECTED_PORT])):
            return self._drop(Drop.REPLAYED)
        self.peer = source or self.peer
        if self._offered is not None and self._offered.poke == poke:
            self._put_control(poke.version, poke.sequence, self._offered.response)
            return []
        response = self._respond(poke)
        key = derive_data_key(self._control_key, response)
        self._offered = _Offer(poke, response, Sealer(key, self._hmac_key))
        return []

    def _respond(self, poke: Datagram) -> bytes:
        response = RESPONSE + poke.body[CLIENT_KEY] + self._random(32)
        response = response.ljust(RESPONSE_SIZE, b"\0")
        self._put_control(poke.version, poke.sequence, response)
        return response

    def _open_otherwise(self, data: bytes, now: float) -> Datagram | None:
        offer = self._offered
        datagram = offer.sealer.open(data) if offer is not None else None
        if offer is None or datagram is None or datagram.from_host:
            return None
        self._begin(offer.poke, offer.response, now)
        return datagram

    def _begin(self, poke: Datagram, response: bytes, now: float) -> None:
        """Both sides hold the key of a new session, or will as soon as the response arrives."""
        client_key = poke.body[CLIENT_KEY]
        if self._answered and client_key[BOOT] != self._answered[BOOT]:
            self._boots.append(self._answered[BOOT])
        self._answered, self._newest, self._response = client_key, poke.sequence, response
        self._offered = None
        self.version = poke.version
        self._start_session(response)
        self._resets_unanswered = 0
        self._confirmed = False
        if self._break_in_due is not None:
            self._put_break_in()
        self.reset(now)

    def _receive_body(self, body: bytes, now: float) -> list[WireEvent]:
        events: list[WireEvent] = []
        if not self._confirmed:
            self._confirmed = True
            self._sessions += 1
            events.append(Connected(again=self._sessions > 1))
        return events + super()._receive_body(body, now)

    def _start_ids(self) -> None:
        self._foreseen = None
        self._next_id = FIRST_HOST_ID
        self._last_id = None

    def _accepts(self, frame: Frame, now: float) -> bool:
        last = self._last_id
        # Stubs made of a serial one toggle their ids here too: only the last is a repetition.
        toggles = frame.id & ~0x801 == 0x80800000
        if last is not None and (frame.id == last if toggles else frame.id <= last):
            return False
        self._last_id = frame.id
        self._reset_done()
        return True

    def _reset_id(self) -> int:
        return self._next_id

    def _reset_answered(self, packet_id: int) -> None:
        # The target names the packet it sends next. One that was delivered stays a repetition.
        if self._last_id is not None and packet_id < self._last_id:
            self._last_id = packet_id - 1


def _place(address: Address) -> bytes:
    """An address as pokes carry it: IPv6-mapped, port big-endian."""
    return _packed(address[0]) + address[1].to_bytes(2, "big")


def _packed(address: str) -> bytes:
    """The 16 bytes of an IPv6 address, or of an IPv4 address mapped into one."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return bytes(10) + b"\xff\xff" + socket.inet_aton(address)
