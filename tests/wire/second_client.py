"""A KD client that shares no code with kdsim and behaves as other clients do.

It was written from the protocol's description alone, with the habits that real clients differ in:
ids that toggle on KDNET, an ACK for everything that comes, garbage in every field that has no
meaning, Continue instead of Continue2, requests before the first state change, RESEND to KDNET's
first datagram. It is slow and simple: one packet is sent, then whatever comes is looked at.
"""

import functools
import hashlib
import hmac
import os
import select
import socket
import struct
import termios
import time
import tty
from collections import deque
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

DATA, CONTROL = b"0000", b"iiii"
MANIPULATE, DEBUG_IO, ACK, RESEND, RESET, STATE_CHANGE, FILE_IO = 2, 3, 4, 5, 6, 7, 11
READ, GET_CONTEXT, SET_CONTEXT, RESTORE_BREAKPOINT = 0x3130, 0x3132, 0x3133, 0x3135
WRITE_BREAKPOINT, CONTINUE, READ_CONTROL, CONTINUE2 = 0x3134, 0x3136, 0x3137, 0x313C
GET_VERSION, SWITCH = 0x3146, 0x3150
VERSION_REQUEST = struct.pack("<IHHII", GET_VERSION, 0, 0xFFFF, 0x103, 0) + bytes(40)
TRAP = 0x100
PATIENCE = 60.0
AGAIN = 0.5


class Habits(NamedTuple):
    """In what a client differs from WinDbg."""

    toggles: bool = False
    """Packet ids toggle bit 0 on KDNET as on a serial line (rizin)."""
    acks_all: bool = False
    """Everything is acknowledged, ACKs and RESETs included (rizin)."""
    confuses: bool = False
    """On a stream an ACK is taken for a repetition when it has the id of the last data packet, SYNC
    says nothing, and what a session begins with is the answer to RESET (rizin)."""
    garbage: int = 0
    """What stands in unused fields."""
    resends: bool = True
    """KDNET's first datagram is answered with RESEND (WinDbg)."""
    early: bool = False
    """Asks for the version before the target said anything."""


class Packet(NamedTuple):
    leader: bytes
    type: int
    id: int
    payload: bytes


class Stopped(NamedTuple):
    state: int
    processor: int
    processors: int
    pc: int
    code: int


class Reply(NamedTuple):
    status: int
    union: bytes
    data: bytes


def pack(leader, kind, number, payload=b""):
    total = sum(payload) if leader == DATA else 0
    return leader + struct.pack("<HHII", kind, len(payload), number, total) + payload


class NetLine:
    """KDNET: listens, answers the first poke it sees and every one that names no host port."""

    trailer = b""
    first_id = 0x80000000

    def __init__(self, port, key, habits):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        words = [int(part, 36) for part in key.split(".")]
        self.control_key = struct.pack("<4Q", *words)
        self.hmac_key = bytes(255 - byte for byte in self.control_key)
        self.data_key = self.peer = None
        self.answered = set()
        self.sequence = 0
        self.version = None
        self.habits = habits
        self.first_datagrams = []
        self.target_sequences = []
        self.handshakes = 0

    def _seal(self, channel, word, body):
        body += bytes(word & 15)
        header = b"MDBG" + bytes((self.version, channel))
        plain = word.to_bytes(8, "big") + body
        tag = hmac.new(self.hmac_key, header + plain, hashlib.sha256).digest()[:16]
        key = self.control_key if channel else self.data_key
        cipher = Cipher(algorithms.AES(key), modes.CBC(tag)).encryptor()
        self.socket.sendto(header + cipher.update(plain) + cipher.finalize() + tag, self.peer)

    def _open(self, datagram):
        key = self.control_key if datagram[5] else self.data_key
        if key is None:
            return None
        cipher = Cipher(algorithms.AES(key), modes.CBC(datagram[-16:])).decryptor()
        plain = cipher.update(datagram[6:-16]) + cipher.finalize()
        tag = hmac.new(self.hmac_key, datagram[:6] + plain, hashlib.sha256).digest()[:16]
        if tag != datagram[-16:]:
            return None
        word = int.from_bytes(plain[:8], "big")
        assert not word & 0x80, "a target does not claim to be the host"
        return word >> 8, plain[8 : len(plain) - (word & 15)]

    def put(self, body):
        if self.data_key is not None:
            self.sequence += 1
            self._seal(0, self.sequence << 8 | 0x80 | -(8 + len(body)) % 16, body)

    def get(self, timeout):
        """The next packet body; None after a while or for what is no packet."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return None
        datagram, source = self.socket.recvfrom(65536)
        assert datagram[:4] == b"MDBG"
        assert len(datagram) <= 1472
        opened = self._open(datagram)
        if opened is None:
            return None
        sequence, body = opened
        self.version = datagram[4]
        if datagram[5]:
            self._poked(sequence, body, source)
            return None
        self.target_sequences.append(sequence)
        if len(body) < 16:
            self.first_datagrams.append(body)
            if self.habits.resends:
                self.put(pack(CONTROL, RESEND, 0))
            return None
        return body

    def _poked(self, sequence, body, source):
        assert body[:2] == b"\x01\x01"
        assert len(body) == 344
        if (self.answered and any(body[0x56:0x58])) or body[2:34] in self.answered:
            return
        self.answered.add(body[2:34])
        self.peer = source
        response = (b"\x01\x02" + body[2:34] + os.urandom(32)).ljust(322, b"\0")
        self._seal(1, sequence << 8 | 0x86, response)
        self.data_key = hashlib.sha256(self.control_key + response).digest()
        self.sequence = 0
        self.handshakes += 1

    @property
    def up(self):
        return bool(self.handshakes)

    def close(self):
        self.socket.close()


class ComLine:
    """KDCOM over anything that is read and written as a stream."""

    trailer = b"\xaa"
    first_id = 0x80800000
    up = True
    handshakes = 1
    first_datagrams = ()

    def __init__(self, read, write, fd, close):
        self._read, self._write, self._fd, self.close = read, write, fd, close
        self._bytes = b""

    @classmethod
    def unix(cls, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        return cls(sock.recv, sock.sendall, sock.fileno(), sock.close)

    @classmethod
    def tcp(cls, port):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock.recv, sock.sendall, sock.fileno(), sock.close)

    @classmethod
    def serial(cls, path):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        termios.tcflush(fd, termios.TCIFLUSH)
        read, write = functools.partial(os.read, fd), functools.partial(os.write, fd)
        return cls(read, write, fd, functools.partial(os.close, fd))

    def put(self, body):
        data = body[:4] == DATA
        self._write(body + (self.trailer if data else b""))

    def get(self, timeout):
        body = self._cut()
        if body is None and select.select([self._fd], [], [], timeout)[0]:
            came = self._read(65536)
            assert came, "the target closed the line"
            self._bytes += came
            body = self._cut()
        return body

    def _cut(self):
        if len(self._bytes) < 16:
            return None
        assert self._bytes[:4] in (DATA, CONTROL)
        data = self._bytes[:4] == DATA
        size = 16 + (struct.unpack_from("<H", self._bytes, 6)[0] + 1 if data else 0)
        if len(self._bytes) < size:
            return None
        body, self._bytes = self._bytes[:size], self._bytes[size:]
        assert not data or body[-1:] == self.trailer
        return body[:-1] if data else body


class SecondClient:
    """See the module docstring."""

    def __init__(self, line, habits):
        self.line, self.habits = line, habits
        toggling = habits.toggles or isinstance(line, ComLine)
        self.toggling = toggling
        self.confuses = habits.confuses and isinstance(line, ComLine)
        self.answered = False
        """A RESET was."""
        self.next_id = 0x80800000 if toggling else line.first_id
        self.last_id = None
        self.in_step = False
        """The target began its ids anew for us."""
        self.acks = set()
        self.stops = deque()
        self.replies = deque()
        self.prints = []
        self.repeated = 0
        """Data packets that came twice."""

    # -- packets -----------------------------------------------------------------------------

    def _look(self, timeout):
        """Take one packet in."""
        handshakes = self.line.handshakes
        body = self.line.get(timeout)
        if self.line.handshakes != handshakes:
            self.last_id = None
            self.next_id = 0x80800000 if self.toggling else self.line.first_id
        if body is None:
            return
        leader, kind, size, number, checksum = struct.unpack("<4sHHII", body[:16])
        payload = body[16:]
        if leader == CONTROL:
            if kind == ACK and not (self.confuses and number == self.last_id):
                self.acks.add(number & ~0x800)
            if kind == RESET:
                self.last_id, self.answered = self.line.first_id, True
            if self.habits.acks_all:
                self.line.put(pack(CONTROL, ACK, number))
            return
        assert leader == DATA
        assert (len(payload), sum(payload)) == (size, checksum)
        self.line.put(pack(CONTROL, ACK, number))
        if number == self.last_id and (self.confuses or not number & 0x800):
            self.repeated += 1
            return
        if number & 0x800 and isinstance(self.line, ComLine) and not self.confuses:
            # The target restarted its ids and expects ours to do so.
            self.next_id = 0x80800000
            self.in_step = True
            number ^= 0x800
        self.last_id = number
        self._take(kind, payload)

    def _take(self, kind, payload):
        if kind == STATE_CHANGE:
            state, _, processor, processors, _, pc = struct.unpack_from("<IHHI4xQQ", payload)
            (code,) = struct.unpack_from("<I", payload, 0x20)
            self.stops.append(Stopped(state, processor, processors, pc, code))
        elif kind == MANIPULATE:
            self.replies.append(payload)
        elif kind == DEBUG_IO:
            self.prints.append(payload[16:])
        elif kind == FILE_IO:
            self._send(FILE_IO, payload[:4] + struct.pack("<I", 0xC000000F) + payload[8:64])

    def _send(self, kind, payload):
        """Send a data packet until its ACK has come."""
        end = time.monotonic() + PATIENCE
        self.acks.clear()
        while time.monotonic() < end:
            number = self.next_id
            self.line.put(pack(DATA, kind, number, payload))
            again = time.monotonic() + AGAIN
            while time.monotonic() < again:
                self._look(again - time.monotonic())
                if number in self.acks:
                    self._advance()
                    return
                if self.next_id != number:
                    break
        raise AssertionError("no acknowledgement")

    @property
    def resends(self):
        """RESENDs sent: each may have made the target repeat a packet."""
        return len(self.line.first_datagrams) if self.habits.resends else 0

    # -- requests ----------------------------------------------------------------------------

    def _packed(self, api, union, data, processor):
        junk = self.habits.garbage
        number = junk & 0xFFFF if processor is None else processor
        header = struct.pack("<IHHII", api, junk & 0xFFFF, number, junk, junk)
        filler = bytes((junk & 0xFF,)) * 40
        return header + union + filler[len(union) :] + data

    def post(self, api, union=b"", data=b"", processor=None):
        self._send(MANIPULATE, self._packed(api, union, data, processor))

    def ask(self, api, union=b"", data=b"", processor=None):
        payload = self.exchange(self._packed(api, union, data, processor))
        (status,) = struct.unpack_from("<I", payload, 8)
        return Reply(status, payload[16:56], payload[56:])

    def exchange(self, request):
        """The reply to a request, both as they are on the wire."""
        self.replies.clear()
        self._send(MANIPULATE, request)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self._look(AGAIN)
            while self.replies:
                payload = self.replies.popleft()
                if payload[:4] == request[:4]:
                    return payload
        raise AssertionError(f"no reply to {request[:4].hex()}")

    def break_in(self):
        """Break in, and again every half second, as clients do."""
        end = time.monotonic() + PATIENCE
        while not self.stops:
            assert time.monotonic() < end, "no stop"
            if self.line.up:
                self.line.put(b"b")
            again = time.monotonic() + AGAIN
            while time.monotonic() < again and not self.stops:
                self._look(again - time.monotonic())
        return self.stops.popleft()

    def stop(self):
        """The next state change."""
        end = time.monotonic() + PATIENCE
        while not self.stops:
            assert time.monotonic() < end, "no stop"
            self._look(AGAIN)
        return self.stops.popleft()

    def reset(self):
        """RESET; a stopped target tells its state once more."""
        self.stops.clear()
        self.last_id = None
        toggling = isinstance(self.line, ComLine)
        if toggling:
            self.next_id = 0x80800000
        self.line.put(pack(CONTROL, RESET, 0 if toggling else self.next_id))
        return self.stop()

    def attach(self):
        """Until the target stands still."""
        if self.habits.early:
            self._ask_early()
        stop = self.synchronize() if self.confuses else self.break_in()
        if self.confuses:
            self.next_id = self.line.first_id
        elif isinstance(self.line, ComLine) and not self.in_step:
            # The line has no ends: the target may still count with whoever was here before us.
            stop = self.reset()
        elif self.habits.early and isinstance(self.line, NetLine):
            # Not acknowledged yet, perhaps; on a serial line the ids have started over.
            self._send(MANIPULATE, VERSION_REQUEST)
        for handle in range(1, 33):
            self.ask(RESTORE_BREAKPOINT, struct.pack("<I", handle))
        return stop

    def synchronize(self):
        """Break-in and RESET; the answer must come first, and then one state change."""
        self.answered = False
        self.line.put(b"b")
        self.line.put(pack(CONTROL, RESET, 0))
        end = time.monotonic() + PATIENCE
        while not self.answered and time.monotonic() < end:
            self._look(AGAIN)
            assert self.answered or not self.stops, "the state change came first"
        return self.stop()

    def _ask_early(self):
        """Ask a running target; whether it listens before its next stop is its own affair."""
        end = time.monotonic() + PATIENCE
        while not self.line.up:
            assert time.monotonic() < end, "no poke"
            self._look(AGAIN)
        self.line.put(pack(DATA, MANIPULATE, self.next_id, VERSION_REQUEST))

    def _advance(self):
        self.next_id = self.next_id ^ 1 if self.toggling else self.next_id + 2

    def read(self, address, size):
        reply = self.ask(READ, struct.pack("<QI", address, size))
        (actual,) = struct.unpack_from("<I", reply.union, 12)
        assert actual == len(reply.data)
        return reply.data

    def go(self, flags=0):
        """Continue, one byte on when the target stands at an `int 3` of its own."""
        context = bytearray(self.ask(GET_CONTEXT, processor=self.processor).data)
        (rip,) = struct.unpack_from("<Q", context, 0xF8)
        if self.read(rip, 1) == b"\xcc":
            struct.pack_into("<Q", context, 0xF8, rip + 1)
        struct.pack_into("<I", context, 0x44, struct.unpack_from("<I", context, 0x44)[0] | flags)
        assert self.ask(SET_CONTEXT, data=bytes(context), processor=self.processor).status == 0
        self.stops.clear()
        self.post(CONTINUE, struct.pack("<I", 0x10002))

    def step(self):
        """One instruction by the trap flag in the context: Continue has none of its own."""
        self.go(TRAP)
        return self.stop()

    processor = 0
    """The one whose context is meant."""
