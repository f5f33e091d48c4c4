"""Captures: what went over a wire, as files that Wireshark opens (pcap) or wrote (pcap, pcapng).

Written are raw IP packets. A KDCOM line is written as a TCP connection, so that Wireshark follows
the stream. Formats: draft-ietf-opsawg-pcap and -pcapng.
"""

from __future__ import annotations

import gzip
import ipaddress
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from kdsim.errors import FormatError

Address = tuple[str, int]

UDP = 17
TCP = 6

_GZIP = b"\x1f\x8b"
_MAGIC = 0xA1B2C3D4
_MAGIC_NANOSECONDS = 0xA1B23C4D
_NG_SECTION = 0x0A0D0D0A
_NG_BYTE_ORDER = 0x1A2B3C4D
_NG_INTERFACE, _NG_SIMPLE, _NG_ENHANCED = 1, 3, 6
_NG_OPTION_RESOLUTION = 9

_SNAP_LENGTH = 0x40000
_TCP_ACK_PUSH = 0x18
_TCP_WINDOW = 0xFFFF
_MOST_PAYLOAD = 0xF000
"""An IP packet has 65535 bytes at most."""

# LINKTYPE_ values, and how many bytes stand before the IP packet.
_RAW = 101
_LINKS = {0: 4, 1: 14, 12: 0, 14: 0, 108: 4, 113: 16, 276: 20, 101: 0, 228: 0, 229: 0}
_ETHERNET = 1
_VLAN = b"\x81\x00"


class Segment(NamedTuple):
    """The payload of one UDP datagram or TCP segment; `time` in seconds."""

    time: float
    protocol: int
    source: Address
    destination: Address
    payload: bytes


class CaptureWriter:
    """Writes segments to a stream as pcap, each at once, so that a crash loses none."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sequences: dict[tuple[Address, Address], int] = {}
        stream.write(struct.pack("<IHHIIII", _MAGIC, 2, 4, 0, 0, _SNAP_LENGTH, _RAW))
        stream.flush()

    def write(self, segment: Segment) -> None:
        """Write a segment; a long piece of a stream becomes several packets."""
        payload = segment.payload
        for start in range(0, max(len(payload), 1), _MOST_PAYLOAD):
            self._write(segment._replace(payload=payload[start : start + _MOST_PAYLOAD]))

    def _write(self, segment: Segment) -> None:
        source = ipaddress.ip_address(segment.source[0])
        destination = ipaddress.ip_address(segment.destination[0])
        transport = _udp if segment.protocol == UDP else self._tcp
        head = transport(segment)
        length = len(head) + len(segment.payload)
        if source.version == 6:
            packet = struct.pack(">IHBB", 6 << 28, length, segment.protocol, 64)
            packet += source.packed + destination.packed
        else:
            packet = _ipv4_header(length, segment.protocol, source.packed, destination.packed)
        packet += head + segment.payload
        seconds, rest = divmod(round(segment.time * 1_000_000), 1_000_000)
        record = struct.pack("<IIII", seconds, rest, len(packet), len(packet))
        self._stream.write(record + packet)
        self._stream.flush()

    def _tcp(self, segment: Segment) -> bytes:
        way, back = (segment.source, segment.destination), (segment.destination, segment.source)
        sequence = self._sequences.get(way, 1)
        self._sequences[way] = (sequence + len(segment.payload)) & 0xFFFF_FFFF
        return struct.pack(
            ">HHIIBBHHH",
            segment.source[1],
            segment.destination[1],
            sequence,
            self._sequences.get(back, 1),
            5 << 4,
            _TCP_ACK_PUSH,
            _TCP_WINDOW,
            0,
            0,
        )


def _udp(segment: Segment) -> bytes:
    length = 8 + len(segment.payload)
    return struct.pack(">HHHH", segment.source[1], segment.destination[1], length, 0)


def _ipv4_header(length: int, protocol: int, source: bytes, destination: bytes) -> bytes:
    def header(checksum: int) -> bytes:
        fields = (0x45, 0, 20 + length, 0, 0, 64, protocol, checksum)
        return struct.pack(">BBHHHBBH", *fields) + source + destination

    total = sum(struct.unpack(">10H", header(0)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header(total ^ 0xFFFF)


# -------------------------------------------------------------------------------------- reading


def read_capture(data: bytes) -> Iterator[Segment]:
    """The UDP and TCP payloads of a capture, in file order; other packets are skipped.

    Raises:
        FormatError: neither pcap nor pcapng, or it ends within a packet.
    """
    if data.startswith(_GZIP):
        data = _unzipped(data)
    magic = int.from_bytes(data[:4], "little")
    if magic == _NG_SECTION:
        packets = _pcapng(data)
    elif len(data) >= 24 and _byte_order(data) is not None:
        packets = _pcap(data)
    else:
        raise FormatError("no capture: it begins neither as pcap nor as pcapng")
    for time, link, packet in packets:
        segment = _segment(time, link, packet)
        if segment is not None and segment.payload:
            yield segment


def _unzipped(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"the compressed capture is damaged: {error}") from error


def _byte_order(data: bytes) -> str | None:
    for order in "<>":
        if struct.unpack_from(f"{order}I", data)[0] in (_MAGIC, _MAGIC_NANOSECONDS):
            return order
    return None


_Packet = tuple[float, int, bytes]


def _pcap(data: bytes) -> Iterator[_Packet]:
    order = _byte_order(data)
    magic, *_, link = struct.unpack_from(f"{order}IHHIIII", data)
    unit = 1e-9 if magic == _MAGIC_NANOSECONDS else 1e-6
    position = 24
    while position < len(data):
        if position + 16 > len(data):
            raise FormatError("the capture ends within a packet's header")
        seconds, rest, size, _ = struct.unpack_from(f"{order}IIII", data, position)
        position += 16
        if position + size > len(data):
            raise FormatError("the capture ends within a packet")
        yield seconds + rest * unit, link & 0xFFFF, data[position : position + size]
        position += size


def _pcapng(data: bytes) -> Iterator[_Packet]:
    order, position = "<", 0
    interfaces: list[tuple[int, float]] = []
    while position < len(data):
        if position + 12 > len(data):
            raise FormatError("the capture ends within a block")
        kind = struct.unpack_from("<I", data, position)[0]
        if kind == _NG_SECTION:
            order = "<" if data[position + 8 : position + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(f"{order}II", data, position)
        if size < 12 or size % 4 or position + size > len(data):
            raise FormatError("the capture holds a damaged block")
        body = data[position + 8 : position + size - 4]
        position += size
        if kind == _NG_INTERFACE and len(body) >= 8:
            interfaces.append(
                (struct.unpack_from(f"{order}H", body)[0], _resolution(order, body[8:]))
            )
        elif kind == _NG_ENHANCED and len(body) >= 20:
            number, high, low, caught, _ = struct.unpack_from(f"{order}IIIII", body)
            if number >= len(interfaces):
                raise FormatError(f"the capture does not describe its interface {number}")
            link, unit = interfaces[number]
            yield (high << 32 | low) * unit, link, body[20 : 20 + caught]
        elif kind == _NG_SIMPLE and len(body) >= 4 and interfaces:
            yield 0.0, interfaces[0][0], body[4:]


def _resolution(order: str, options: bytes) -> float:
    """Seconds of one time unit: the if_tsresol option, or microseconds."""
    position = 0
    while position + 4 <= len(options):
        code, size = struct.unpack_from(f"{order}HH", options, position)
        if code == _NG_OPTION_RESOLUTION and size and position + 4 < len(options):
            value = options[position + 4]
            return 2.0 ** -(value & 0x7F) if value & 0x80 else 10.0**-value
        position += 4 + size + -size % 4
    return 1e-6


def _segment(time: float, link: int, packet: bytes) -> Segment | None:
    if link not in _LINKS:
        return None
    start = _LINKS[link]
    while link == _ETHERNET and packet[start - 2 : start] == _VLAN:
        start += 4
    packet = packet[start:]
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        head, protocol = (packet[0] & 0xF) * 4, packet[9]
        length = int.from_bytes(packet[2:4], "big")
        source, destination = packet[12:16], packet[16:20]
    elif version == 6 and len(packet) >= 40:
        head, protocol = 40, packet[6]
        length = 40 + int.from_bytes(packet[4:6], "big")
        source, destination = packet[8:24], packet[24:40]
    else:
        return None
    # A short Ethernet frame is padded behind the IP packet.
    body = packet[head : max(length, head)]
    header = 8 if protocol == UDP else (body[12] >> 4) * 4 if len(body) >= 20 else 0
    if protocol not in (UDP, TCP) or len(body) < max(header, 8):
        return None
    ports = struct.unpack_from(">HH", body)
    addresses = (str(ipaddress.ip_address(raw)) for raw in (source, destination))
    ends = zip(addresses, ports, strict=True)
    return Segment(time, protocol, next(ends), next(ends), body[header:])
