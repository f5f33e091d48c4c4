"""The packet layer every KD transport shares: 16-byte headers, ACK, RESEND, RESET, stream framing.

ReactOS `sdk/include/reactos/windbgkd.h` and `drivers/base/kdcom/kddll.c` describe the same layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple
from zlib import adler32

from kdsim.errors import ProtocolError

HEADER = Struct("<IHHII")
DATA_LEADER = 0x30303030
CONTROL_LEADER = 0x69696969
BREAK_IN = b"\x62"
TRAILER = b"\xaa"
MAX_PAYLOAD = 4000
"""PACKET_MAX_SIZE of a serial line."""


SUMMED = 256
"""Bytes whose sum is less than Adler-32's modulus."""


def checksum(payload: bytes) -> int:
    """The sum of the bytes, from the low half of Adler-32, which adds bytes four times faster."""
    total = 0
    for start in range(0, len(payload), SUMMED):
        total += adler32(payload[start : start + SUMMED], 0) & 0xFFFF
    return total & 0xFFFFFFFF


class PacketType(IntEnum):
    UNUSED = 0
    STATE_CHANGE32 = 1
    MANIPULATE = 2
    DEBUG_IO = 3
    ACK = 4
    RESEND = 5
    RESET = 6
    STATE_CHANGE64 = 7
    POLL_BREAK_IN = 8
    TRACE_IO = 9
    CONTROL_REQUEST = 10
    FILE_IO = 11


class Frame(NamedTuple):
    """One packet as it stands on the wire, its checksum already verified by whoever made it."""

    type: int
    id: int
    payload: bytes = b""
    control: bool = False

    def pack(self) -> bytes:
        """Header and payload, without the trailer a stream adds."""
        if self.control:
            return HEADER.pack(CONTROL_LEADER, self.type, 0, self.id, 0)
        payload = self.payload
        header = (DATA_LEADER, self.type, len(payload), self.id, checksum(payload))
        return HEADER.pack(*header) + payload

    @classmethod
    def unpack(cls, data: bytes) -> Frame:
        """A frame from one datagram.

        Raises:
            ProtocolError: not a packet, or its checksum is wrong.
        """
        if len(data) < HEADER.size:
            raise ProtocolError(f"packet of {len(data)} bytes, a header has {HEADER.size}", data)
        leader, kind, count, number, summed = HEADER.unpack_from(data)
        if leader == CONTROL_LEADER:
            return cls(kind, number, control=True)
        if leader != DATA_LEADER:
            raise ProtocolError(f"packet leader {leader:08x}", data)
        payload = data[HEADER.size : HEADER.size + count]
        if len(payload) != count:
            raise ProtocolError(f"packet names {count} payload bytes, {len(payload)} came", data)
        if checksum(payload) != summed:
            raise ProtocolError(f"packet checksum {summed:08x} does not match", data)
        return cls(kind, number, payload)


class BrokenPacket(NamedTuple):
    """A packet was begun on a stream and came damaged; the answer is RESEND."""

    reason: str


class LoneBreakIn(NamedTuple):
    """The byte 62 between two packets."""


StreamItem = Frame | BrokenPacket | LoneBreakIn


class StreamParser:
    """Cuts a byte stream (serial line, pipe, TCP) into packets.

    Bytes between packets are noise and skipped, but a lone 62 is a break-in.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def unfinished(self) -> bool:
        """Whether a packet was begun and its rest has not come yet."""
        return len(self._buffer) >= 4

    def abandon(self) -> None:
        """Forget the unfinished packet."""
        self._buffer.clear()

    def feed(self, data: bytes) -> Iterator[StreamItem]:
        self._buffer += data
        while True:
            yield from self._hunt()
            item = self._take()
            if item is None:
                return
            yield item

    def _hunt(self) -> Iterator[StreamItem]:
        """Drop bytes until the buffer begins with a leader or the first bytes of one."""
        buffer = self._buffer
        while buffer:
            first = buffer[0]
            if first in b"0i":
                run = 1
                while run < 4 and run < len(buffer) and buffer[run] == first:
                    run += 1
                if run == 4 or run == len(buffer):
                    return
                # The byte that broke the run starts over, as in KDCOM's receive loop.
                del buffer[:run]
                continue
            del buffer[0]
            if first == BREAK_IN[0]:
                yield LoneBreakIn()

    def _take(self) -> StreamItem | None:
        buffer = self._buffer
        if len(buffer) < HEADER.size:
            return None
        leader, _, count, _, _ = HEADER.unpack_from(buffer)
        if leader == CONTROL_LEADER:
            return Frame.unpack(self._cut(HEADER.size))
        if count > MAX_PAYLOAD:
            del buffer[:4]
            return BrokenPacket(f"{count} payload bytes, at most {MAX_PAYLOAD} are allowed")
        if len(buffer) < HEADER.size + count + 1:
            return None
        data = self._cut(HEADER.size + count + 1)
        if data[-1:] != TRAILER:
            return BrokenPacket(f"trailer {data[-1]:02x}")
        try:
            return Frame.unpack(data[:-1])
        except ProtocolError as error:
            return BrokenPacket(str(error))

    def _cut(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data
