"""Saved machines: RAM, processors, clock and debug port in a file, and their digest.

File: magic, version, length of the header; the header (JSON); one state record per processor; the
debug port's memory, zlib-packed behind its packed length; the pages that are not zero, in
zlib-packed groups of (count, page numbers, pages); an empty group; a BLAKE2b hash of everything
before it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kdsim.errors import FormatError
from kdsim.target.machine.clock import Clock
from kdsim.target.machine.engine import VERSION as ENGINE_VERSION
from kdsim.target.machine.ram import PAGE_SIZE, PhysicalMemory
from kdsim.target.machine.registers import STATE_SIZE

if TYPE_CHECKING:
    from kdsim.target.machine.machine import Machine
    from kdsim.target.machine.processor import Processor

VERSION = 3

_MAGIC = b"KDSIM\x1aVM"
_PREFIX = struct.Struct("<8sII")
_GROUP = struct.Struct("<II")
_GROUP_PAGES = 1024
_SIZE = struct.Struct("<I")
_HASH_SIZE = 32


class SavedMachine(NamedTuple):
    """A read file: RAM is filled, the rest waits for a machine to be put into."""

    ram: PhysicalMemory
    clock: Clock
    turn: int
    left: int
    processors: list[dict[str, Any]]
    states: list[bytes]
    port_memory: bytes


def _header(machine: Machine) -> bytes:
    fields = {
        "engine": ENGINE_VERSION,
        "ram": machine.ram.size,
        "clock": machine.clock.mode.value,
        "now": machine.clock.now_ns(),
        "turn": machine.turn,
        "left": machine.left,
        "processors": [_flags(cpu) for cpu in machine.processors],
    }
    return json.dumps(fields, sort_keys=True).encode()


def _flags(cpu: Processor) -> dict[str, Any]:
    return {
        "started": cpu.started,
        "halted": cpu.halted,
        "pending": sorted(cpu.pending),
        "due": cpu.clock_due,
        "passing": cpu.watch.passing,
        "trap": cpu.trap,
    }


def digest(machine: Machine) -> str:
    """See `Machine.digest`."""
    hasher = hashlib.blake2b(_header(machine), digest_size=_HASH_SIZE)
    for cpu in machine.processors:
        hasher.update(cpu.state())
    hasher.update(_SIZE.pack(len(machine.port_memory)) + machine.port_memory)
    for number, page in machine.ram.used_pages():
        hasher.update(number.to_bytes(8, "little"))
        hasher.update(page)
    return hasher.hexdigest()


def save(machine: Machine, path: Path) -> None:
    """Write `machine` to `path`; an existing file is replaced when the new one is complete."""
    partial = path.with_name(path.name + ".partial")
    hasher = hashlib.blake2b(digest_size=_HASH_SIZE)
    with partial.open("wb") as file:
        for part in _parts(machine):
            hasher.update(part)
            file.write(part)
        file.write(hasher.digest())
    partial.replace(path)


def _parts(machine: Machine) -> Iterator[bytes]:
    header = _header(machine)
    yield _PREFIX.pack(_MAGIC, VERSION, len(header)) + header
    for cpu in machine.processors:
        yield cpu.state()
    packed = zlib.compress(machine.port_memory, 1)
    yield _SIZE.pack(len(packed)) + packed
    pages = machine.ram.used_pages()
    while group := list(islice(pages, _GROUP_PAGES)):
        numbers = struct.pack(f"<{len(group)}I", *(number for number, _ in group))
        packed = zlib.compress(numbers + b"".join(page for _, page in group), 1)
        yield _GROUP.pack(len(group), len(packed)) + packed
    yield _GROUP.pack(0, 0)


def load(path: Path) -> SavedMachine:
    """Read a saved machine; FormatError when it is damaged or of another version."""
    data = path.read_bytes()
    body, found = data[:-_HASH_SIZE], data[-_HASH_SIZE:]
    if len(body) < _PREFIX.size or not body.startswith(_MAGIC):
        raise FormatError(f"{path} is not a saved machine")
    _, version, header_size = _PREFIX.unpack_from(body)
    if version != VERSION:
        raise FormatError(f"{path} has format version {version}; this is for version {VERSION}")
    if hashlib.blake2b(body, digest_size=_HASH_SIZE).digest() != found:
        raise FormatError(f"{path} is damaged: its hash does not match")
    position = _PREFIX.size + header_size
    header = json.loads(body[_PREFIX.size : position])
    if tuple(header["engine"]) != ENGINE_VERSION:
        raise FormatError(f"{path} was saved with another CPU engine: {header['engine']}")
    ram = PhysicalMemory(header["ram"])
    states = []
    for _ in header["processors"]:
        states.append(body[position : position + STATE_SIZE])
        position += STATE_SIZE
    (size,) = _SIZE.unpack_from(body, position)
    position += _SIZE.size + size
    port_memory = zlib.decompress(body[position - size : position])
    _fill(ram, body, position)
    clock, turn, left = Clock(header["clock"], header["now"]), header["turn"], header["left"]
    return SavedMachine(ram, clock, turn, left, header["processors"], states, port_memory)


def _fill(ram: PhysicalMemory, body: bytes, position: int) -> None:
    while True:
        count, size = _GROUP.unpack_from(body, position)
        position += _GROUP.size
        if not count:
            return
        group = zlib.decompress(body[position : position + size])
        position += size
        start = count * 4
        for number in struct.unpack_from(f"<{count}I", group):
            ram.write(number * PAGE_SIZE, group[start : start + PAGE_SIZE])
            start += PAGE_SIZE


def apply(image: SavedMachine, machine: Machine) -> None:
    """Put what `load` read into a machine over `image.ram`."""
    machine.turn, machine.left = image.turn, image.left
    machine.port_memory = image.port_memory
    for cpu, flags, state in zip(machine.processors, image.processors, image.states, strict=True):
        cpu.load_state(state)
        cpu.started, cpu.halted = flags["started"], flags["halted"]
        cpu.pending = set(flags["pending"])
        cpu.clock_due = flags["due"]
        cpu.watch.passing = flags["passing"]
        cpu.trap = flags["trap"]
