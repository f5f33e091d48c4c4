"""KDNET's cryptography: key text, derived keys, and sealed datagrams.

A datagram is a 6-byte header, AES-256-CBC ciphertext and a 16-byte tag. The tag is the start of an
HMAC-SHA256 over header and plaintext and doubles as the IV. Lekensteyn/kdnet describes the format;
its capture of WinDbg gives the test vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import string
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from kdsim.errors import UserError

MAGIC = b"MDBG"
VERSIONS = (2, 4, 5)
"""The target's choice, which the debugger copies into all it sends. Traffic of 2 (Windows 8.1) and
of 4 (Windows 10 1511) differs in nothing but this byte. 5 is what newer ones are said to send; no
capture of it is public, and the debuggers whose source is (ntoseye, rizin) copy any number."""
VERSION = 4
HEADER_SIZE = 6
TAG_SIZE = 16
BLOCK = 16
FROM_HOST = 0x80
MOST_BYTES = HEADER_SIZE + 4032 + TAG_SIZE
"""Of a datagram: around the largest packet any transport carries, in whole AES blocks."""
RESPONSE_SIZE = 322
"""Bytes of the host's response that go into the data key, padding excluded."""

_DIGITS = string.digits + string.ascii_lowercase


class Channel(IntEnum):
    DATA = 0
    CONTROL = 1


class Datagram(NamedTuple):
    """An opened datagram."""

    version: int
    channel: int
    sequence: int
    from_host: bool
    body: bytes


def parse_key(text: str) -> bytes:
    """The 32-byte control key of a key text such as `1.2.3.4` (four base-36 numbers).

    Raises:
        UserError: not a key; the text does not repeat it.
    """
    parts = text.strip().lower().split(".")
    if len(parts) != 4:
        raise UserError(f"a KDNET key needs four parts, as in 1.2.3.4; this one has {len(parts)}")
    return b"".join(
        _parse_part(part, number).to_bytes(8, "little") for number, part in enumerate(parts, 1)
    )


def _parse_part(part: str, number: int) -> int:
    if not 1 <= len(part) <= 13 or any(digit not in _DIGITS for digit in part):
        raise UserError(f"part {number} of the KDNET key is not 1 to 13 of the characters 0-9 a-z")
    value = int(part, 36)
    if value >= 1 << 64:
        raise UserError(f"part {number} of the KDNET key is more than 64 bits")
    return value


def random_key(random: Callable[[int], bytes] = os.urandom) -> str:
    """A key text with 256 random bits."""
    return ".".join(_base36(int.from_bytes(random(8), "little")) for _ in range(4))


def _base36(value: int) -> str:
    digits = ""
    while True:
        value, digit = divmod(value, 36)
        digits = _DIGITS[digit] + digits
        if not value:
            return digits


def derive_hmac_key(control_key: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in control_key)


def derive_data_key(control_key: bytes, response: bytes) -> bytes:
    return hashlib.sha256(control_key + response[:RESPONSE_SIZE]).digest()


_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def well_formed(data: bytes) -> bool:
    """Whether this can be a datagram, whoever sealed it."""
    size = len(data) - HEADER_SIZE - TAG_SIZE
    return size >= BLOCK and not size % BLOCK and len(data) <= MOST_BYTES and data[:4] == MAGIC


class Sealer:
    """Seals and opens datagrams of one key; the HMAC key is the session's, whatever the channel.

    Each direction keeps one CBC context for ever, because to make one costs more than to encrypt a
    datagram. A context chains the last ciphertext block into the next plaintext block. To decrypt
    with another IV, the IV goes in first; to encrypt with one, what the context will add is taken
    out by xor and the IV put in.
    """

    def __init__(self, key: bytes, hmac_key: bytes) -> None:
        # Imported here because it costs 20 ms, which KDCOM, dumps and -kl sessions need not pay.
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(BLOCK)))
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update
        self._encrypted = bytes(BLOCK)
        # HMAC as RFC 2104 defines it, the two padded keys hashed once.
        padded = hmac_key.ljust(hashlib.sha256().block_size, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    def seal(
        self, version: int, channel: int, sequence: int, from_host: bool, body: bytes
    ) -> bytes:
        header = MAGIC + bytes((version, channel))
        padding = -(8 + len(body)) % BLOCK
        word = sequence << 8 | (FROM_HOST if from_host else 0) | padding
        plaintext = word.to_bytes(8, "big") + body + bytes(padding)
        tag = self._tag(header + plaintext)
        first = _number(plaintext[:BLOCK]) ^ _number(self._encrypted) ^ _number(tag)
        ciphertext = self._encrypt(first.to_bytes(BLOCK, "big") + plaintext[BLOCK:])
        self._encrypted = ciphertext[-BLOCK:]
        return header + ciphertext + tag

    def open(self, data: bytes) -> Datagram | None:
        """The datagram, or None when it is not one or was sealed with another key."""
        if not well_formed(data):
            return None
        tag = data[-TAG_SIZE:]
        plaintext = self._decrypt(tag + data[HEADER_SIZE:-TAG_SIZE])[BLOCK:]
        if not hmac.compare_digest(self._tag(data[:HEADER_SIZE] + plaintext), tag):
            return None
        word = _number(plaintext[:8])
        end = max(8, len(plaintext) - (word & 0xF))
        return Datagram(data[4], data[5], word >> 8, bool(word & FROM_HOST), plaintext[8:end])

    def _tag(self, data: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()[:TAG_SIZE]


_number = partial(int.from_bytes, byteorder="big")
