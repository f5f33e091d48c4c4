"""`kdsim wire`: a capture as a readable transcript."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import suppress

from kdsim.errors import ProtocolError
from kdsim.wire.capture import TCP, UDP, Address, Segment
from kdsim.wire.explain import explain, hex_lines
from kdsim.wire.kdnet import CLIENT_KEY, POKE, RESPONSE
from kdsim.wire.packets import (
    BREAK_IN,
    HEADER,
    BrokenPacket,
    Frame,
    PacketType,
    StreamParser,
)
from kdsim.wire.sealing import (
    HEADER_SIZE,
    MAGIC,
    RESPONSE_SIZE,
    Channel,
    Datagram,
    Sealer,
    derive_data_key,
    derive_hmac_key,
    parse_key,
)

KEPT_KEYS = 4
"""Data keys tried on a datagram: it may belong to the session before the last handshake."""

_PLACES = (("target", 0x22), ("host", 0x34), ("connected", 0x46))
_INDENT = " " * 20


class Counts:
    """What a transcript ends with."""

    def __init__(self) -> None:
        self.datagrams = 0
        self.unopened = 0

    def line(self) -> str:
        opened = self.datagrams - self.unopened
        return f"{self.datagrams} datagrams, {opened} opened, {self.unopened} not"


class Listing:
    """Turns segments into lines.

    Args:
        key: KDNET key text; None shows sealed datagrams as such.
        data: also show the data of messages, as bytes.
        fields: show every field, one a line; without, only what each packet is.
    """

    def __init__(self, key: str | None, *, fields: bool = True, data: bool = False) -> None:
        self._show_fields = fields
        self._show_data = data
        self._control_key = parse_key(key) if key else None
        self._control: Sealer | None = None
        if self._control_key is not None:
            self._hmac_key = derive_hmac_key(self._control_key)
            self._control = Sealer(self._control_key, self._hmac_key)
        self._data: list[Sealer] = []
        self._parsers: dict[tuple[Address, Address], StreamParser] = {}
        self._target_end: Address | None = None
        self._began: float | None = None
        self.counts = Counts()

    def lines(self, segments: Iterable[Segment]) -> Iterator[str]:
        """Of KDNET datagrams and KDCOM streams; other traffic is left out."""
        for segment in segments:
            if segment.protocol == UDP and segment.payload.startswith(MAGIC):
                yield from self._datagram(segment)
            elif segment.protocol == TCP:
                yield from self._stream(segment)

    # -- KDNET -----------------------------------------------------------------------------------

    def _datagram(self, segment: Segment) -> Iterator[str]:
        self.counts.datagrams += 1
        raw = segment.payload
        opened = self._open(raw)
        if opened is None:
            self.counts.unopened += 1
            channel = "control" if raw[5:6] == bytes((Channel.CONTROL,)) else "data"
            why = "sealed" if self._control is None else "not authentic with this key"
            ends = f"{segment.source[0]}:{segment.source[1]} > {segment.destination[0]}"
            yield self._head(segment, ends, f"{channel} {len(raw)} bytes, {why}")
            return
        way = "host > target" if opened.from_host else "target > host"
        prefix = f"v{opened.version} seq {opened.sequence}"
        if opened.channel == Channel.CONTROL:
            yield from self._handshake(segment, way, prefix, opened)
        else:
            yield from self._body(segment, way, prefix, opened)

    def _open(self, raw: bytes) -> Datagram | None:
        if self._control is None or len(raw) < HEADER_SIZE:
            return None
        if raw[5] == Channel.CONTROL:
            return self._control.open(raw)
        return next((found for key in self._data if (found := key.open(raw))), None)

    def _handshake(
        self, segment: Segment, way: str, prefix: str, opened: Datagram
    ) -> Iterator[str]:
        body = opened.body
        if body[:2] == POKE:
            yield self._head(segment, way, f"{prefix} poke")
            yield from self._fields([("client key", body[CLIENT_KEY].hex()), *_places(body)])
        elif body[:2] == RESPONSE:
            yield self._head(segment, way, f"{prefix} response")
            yield from self._fields(
                [("client key", body[CLIENT_KEY].hex()), ("host key", body[0x22:0x42].hex())]
            )
            assert self._control_key is not None
            key = derive_data_key(self._control_key, body[:RESPONSE_SIZE])
            self._data = [Sealer(key, self._hmac_key), *self._data[: KEPT_KEYS - 1]]
        else:
            what = "knock (poke at once)" if not body else "unknown control message"
            yield self._head(segment, way, f"{prefix} {what}")
            yield from self._bytes(body)

    def _body(self, segment: Segment, way: str, prefix: str, opened: Datagram) -> Iterator[str]:
        body = opened.body
        if body == BREAK_IN:
            yield self._head(segment, way, f"{prefix} break-in")
        elif len(body) < HEADER.size:
            yield self._head(segment, way, f"{prefix} first datagram of a session")
            yield from self._fields([("host", ".".join(map(str, reversed(body[8:12]))))])
        else:
            try:
                frame = Frame.unpack(body)
            except ProtocolError as error:
                yield self._head(segment, way, f"{prefix} damaged packet: {error}")
                yield from self._bytes(body)
            else:
                yield from self._packet(segment, way, f"{prefix} ", frame, opened.from_host)

    # -- KDCOM -----------------------------------------------------------------------------------

    def _stream(self, segment: Segment) -> Iterator[str]:
        ends = (segment.source, segment.destination)
        parser = self._parsers.setdefault(ends, StreamParser())
        for item in parser.feed(segment.payload):
            from_host = self._comes_from_host(segment, item)
            way = "host > target" if from_host else "target > host"
            if isinstance(item, Frame):
                yield from self._packet(segment, way, "", item, from_host)
            elif isinstance(item, BrokenPacket):
                yield self._head(segment, way, f"damaged packet: {item.reason}")
            else:
                yield self._head(segment, way, "break-in")

    def _comes_from_host(self, segment: Segment, item: object) -> bool:
        """Lines that we record have the target at port 1; elsewhere a state change tells."""
        if self._target_end is None:
            self._target_end = min(segment.source, segment.destination, key=lambda end: end[1])
        if isinstance(item, Frame) and item.type == PacketType.STATE_CHANGE64:
            self._target_end = segment.source
        return segment.source != self._target_end

    # -- text ------------------------------------------------------------------------------------

    def _packet(
        self, segment: Segment, way: str, prefix: str, frame: Frame, from_host: bool
    ) -> Iterator[str]:
        told = explain(frame, from_host=from_host)
        yield self._head(segment, way, f"{prefix}{told.name} id {frame.id:08x}")
        yield from self._fields(told.fields)
        if told.data:
            yield from self._fields([("data", f"{len(told.data)} bytes")])
            yield from self._bytes(told.data)

    def _head(self, segment: Segment, way: str, text: str) -> str:
        if self._began is None:
            self._began = segment.time
        return f"{segment.time - self._began:12.6f}  {way:14}  {text}"

    def _fields(self, fields: Iterable[tuple[str, str]]) -> Iterator[str]:
        if self._show_fields:
            for name, value in fields:
                yield f"{_INDENT}{name:14} {value}"

    def _bytes(self, data: bytes) -> Iterator[str]:
        if self._show_data:
            for line in hex_lines(data):
                yield f"{_INDENT}{line}"


def _places(poke: bytes) -> Iterator[tuple[str, str]]:
    """The three addresses in a poke, IPv4 or IPv6."""
    for name, start in _PLACES:
        raw, port = poke[start : start + 16], poke[start + 16 : start + 18]
        with suppress(ValueError):
            address = ipaddress.IPv6Address(raw)
            yield name, f"{address.ipv4_mapped or address} port {int.from_bytes(port, 'big')}"
