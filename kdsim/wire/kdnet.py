"""KDNET: KD over encrypted UDP. The debugger listens, the target connects and pokes.

Two counters run side by side: the sequence of the sealed datagram (one more for every datagram,
also for a repeated packet) and the packet id (two more for every data packet; it does not toggle).
"""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum

from kdsim.errors import ProtocolError
from kdsim.wire.endpoint import BreakIn, Connected, Endpoint, HostEndpoint, Reset, WireEvent
from kdsim.wire.packets import BREAK_IN, HEADER, Frame, PacketType
from kdsim.wire.sealing import (
    RESPONSE_SIZE,
    Channel,
    Datagram,
    Sealer,
    derive_data_key,
    derive_hmac_key,
    parse_key,
)

Address = tuple[str, int]

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
UNDER_WAY = 1.0
"""Seconds a poke may take that was sent before a session began."""
FIRST_HOST_ID = 0x80000000
PAYLOAD_LIMIT = 1416
"""What fits one Ethernet frame: 1472 bytes of UDP, less the seal, whole AES blocks, two headers."""


class Drop(Enum):
    """Why a datagram was dropped."""

    FOREIGN = "sealed with another key, forged or damaged"
    REFLECTED = "one of our own kind"
    REPLAYED = "not newer than what came before"
    EARLY = "without a session"


class _Kdnet(Endpoint):
    """Sealing and counting, the same at both ends."""

    retry = 0.5
    payload_limit = PAYLOAD_LIMIT
    connected = False
    _from_host: bool

    def __init__(self, key: str, version: int) -> None:
        super().__init__()
        self.version = version
        self.dropped: Counter[Drop] = Counter()
        """Datagrams that changed nothing, by what was wrong with them."""
        self._control_key = parse_key(key)
        self._hmac_key = derive_hmac_key(self._control_key)
        self._control_sealer = Sealer(self._control_key, self._hmac_key)
        self._data_sealer: Sealer | None = None
        self._sequence_out = 0
        self._sequence_in = 0
        self._foreseen: dict[tuple[int, bytes], bytes] = {}
        self._start_ids()

    def receive(self, data: bytes, now: float, source: Address | None = None) -> list[WireEvent]:
        """Take one datagram. What was not sealed with the right key is silently dropped."""
        control = data[5:6] == bytes((Channel.CONTROL,))
        sealer = self._control_sealer if control else self._data_sealer
        if sealer is None:
            return self._drop(Drop.EARLY)
        datagram = sealer.open(data)
        if datagram is None:
            return self._drop(Drop.FOREIGN)
        if datagram.from_host == self._from_host:
            return self._drop(Drop.REFLECTED)
        if control:
            self.heard = now
            return self._receive_poke_or_response(datagram, now, source)
        if datagram.sequence <= self._sequence_in:
            return self._drop(Drop.REPLAYED)
        self._sequence_in = datagram.sequence
        self.heard = now
        return self._receive_body(datagram.body, now)

    def _drop(self, why: Drop) -> list[WireEvent]:
        self.dropped[why] += 1
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
        self._foreseen = {}
        self._forget()
        self._start_ids()
        self.connected = True

    def _put(self, frame: Frame) -> None:
        self._put_body(frame.pack())

    def _put_body(self, body: bytes) -> None:
        if self._data_sealer is None:
            return
        self._sequence_out += 1
        number = self._sequence_out
        self._out.append(self._foreseen.pop((number, body), None) or self._seal(number, body))

    def _seal(self, sequence: int, body: bytes) -> bytes:
        assert self._data_sealer is not None
        return self._data_sealer.seal(self.version, Channel.DATA, sequence, self._from_host, body)

    def _put_control(self, sequence: int, body: bytes) -> None:
        self._out.append(
            self._control_sealer.seal(
                self.version, Channel.CONTROL, sequence, self._from_host, body
            )
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
        version: int = 4,
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
        self._sessions = 0

    def restart(self) -> None:
        """The machine restarts: the session is over, the next poke says so."""
        self._forget()
        self._data_sealer = None
        self.connected = False
        self._poke_due = None

    def search(self, now: float) -> None:
        """Nobody seems to listen there: poke often until somebody does."""
        self._alone = True
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
        self._count_client_key()
        self._client_keys.append(bytes(self._client_key))
        connected: Address = self._host if self.connected else ("0.0.0.0", 0)
        places = b"".join(_place(address) for address in (self._local, self._host, connected))
        body = POKE + bytes(self._client_key) + places
        self._put_control(self._poke_sequence, body.ljust(POKE_SIZE, b"\0"))

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
        self._alone = False
        self._poke_due = now + self.poke_period
        # Of an IPv6 address, for which nothing is known, its last four bytes.
        self._put_body(bytes(8) + _packed(self._host[0])[:-5:-1])
        self._sessions += 1
        return [Connected(again=self._sessions > 1)]

    def _receive_body(self, body: bytes, now: float) -> list[WireEvent]:
        self._alone = False
        if body == BREAK_IN:
            return [BreakIn()]
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


class KdnetHost(_Kdnet, HostEndpoint):
    """The debugger's end. `peer` is where its datagrams go.

    Args:
        key: the key text.
        random: source of the host key's bytes.
    """

    _from_host = True

    def __init__(self, key: str, *, random: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(key, version=4)
        self.peer: Address | None = None
        self._random = random
        self._answered = b""
        self._answered_sequence = 0
        self._boots: deque[bytes] = deque(maxlen=KEPT_BOOTS)
        self._response = b""
        self._confirmed_at: float | None = None
        """When the target showed that it has our response."""
        self._sessions = 0
        self._break_in_waits = False

    def knock(self) -> None:
        """Ask a target whose address is known to look for its debugger at once."""
        self._put_control(0, b"")

    def foresee(self, kind: PacketType, payload: bytes) -> None:
        if self._outstanding is None or self._last_id is None:
            return
        # The target's next packet is acknowledged, then ours is sent.
        ack = Frame(PacketType.ACK, self._following(self._last_id), control=True)
        packet = Frame(kind, self._following(self._next_id), payload)
        numbered = enumerate((ack.pack(), packet.pack()), self._sequence_out + 1)
        self._foreseen = {each: self._seal(*each) for each in numbered}

    def break_in(self, now: float) -> None:
        if self.connected:
            self._put_body(BREAK_IN)
        else:
            self._break_in_waits = True

    def _receive_poke_or_response(
        self, datagram: Datagram, now: float, source: Address | None
    ) -> list[WireEvent]:
        body = datagram.body
        if len(body) < CONNECTED_PORT.stop or body[:2] != POKE:
            return []
        client_key = body[CLIENT_KEY]
        boot = client_key[BOOT]
        if boot in self._boots or (
            boot == self._answered[BOOT] and datagram.sequence < self._answered_sequence
        ):
            # Of a boot that is over, or overtaken by the poke we answered.
            return self._drop(Drop.REPLAYED)
        if client_key == self._answered:
            # The same poke once more: the same response, or both sides would hold other keys.
            self._put_control(datagram.sequence, self._response)
            return []
        if self._confirmed_at is not None and now < self._confirmed_at + UNDER_WAY:
            # Sent before the target had our response.
            return []
        if self._confirmed_at is not None:
            # A poke that names a connected port is a keep-alive; answering it would rekey the
            # session. One from elsewhere must not take the session away.
            from_elsewhere = (
                source is not None and self.peer is not None and (source[0] != self.peer[0])
            )
            if any(body[CONNECTED_PORT]) or from_elsewhere:
                return []
        self.peer = source
        self.version = datagram.version
        if self._answered and boot != self._answered[BOOT]:
            self._boots.append(self._answered[BOOT])
        self._answered, self._answered_sequence = client_key, datagram.sequence
        self._response = (RESPONSE + self._answered + self._random(32)).ljust(RESPONSE_SIZE, b"\0")
        self._put_control(datagram.sequence, self._response)
        self._start_session(self._response)
        self._resets_unanswered = 0
        self._confirmed_at = None
        if self._break_in_waits:
            self._break_in_waits = False
            self._put_body(BREAK_IN)
        self.reset(now)
        return []

    def _receive_body(self, body: bytes, now: float) -> list[WireEvent]:
        events: list[WireEvent] = []
        if self._confirmed_at is None:
            self._confirmed_at = now
            self._sessions += 1
            events.append(Connected(again=self._sessions > 1))
        return events + super()._receive_body(body, now)

    def _start_ids(self) -> None:
        self._next_id = FIRST_HOST_ID
        self._last_id = None

    def _accepts(self, frame: Frame, now: float) -> bool:
        if self._last_id is not None and frame.id <= self._last_id:
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
