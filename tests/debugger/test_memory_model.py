"""Commands that change memory, against a plain run of bytes that they are done to as well."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.debugger.conftest import fill_memory, make
from tests.debugger.debugger_fakes import BREAKPOINT, FakeBackend

BASE = 0xFFFFF900_00000000
SIZE = 0x1100
"""More than a page."""

places = st.integers(0, SIZE - 1)
sizes = st.integers(1, 0x40) | st.integers(0xF00, SIZE)
patterns = st.binary(min_size=1, max_size=5)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, int, bytes]:
    """A command, and what it does: bytes to put at a place; b"" with a source for a move."""
    place, pattern = draw(places), draw(patterns)
    size = min(draw(sizes), SIZE - place)
    written = " ".join(f"{byte:02x}" for byte in pattern)
    match draw(st.sampled_from("fmew")):
        case "f":
            data = (pattern * SIZE)[:size]
            return f"f {BASE + place:x} L{size:x} {written}", place, data
        case "e":
            pattern = pattern[: SIZE - place]
            written = " ".join(f"{byte:02x}" for byte in pattern)
            return f"eb {BASE + place:x} {written}", place, pattern
        case "w":
            place = min(place, SIZE - 2)
            return f"ew {BASE + place:x} 0{pattern[0]:x}", place, bytes((pattern[0], 0))
    source = draw(st.integers(0, SIZE - size))
    return f"m {BASE + source:x} L{size:x} {BASE + place:x}", place, source.to_bytes(2) + b"move"


@settings(deadline=None, max_examples=60)
@given(st.lists(changes(), min_size=1, max_size=6))
def test_changes(steps: list[tuple[str, int, bytes]]) -> None:
    backend = FakeBackend()
    fill_memory(backend)
    kd = make(backend)
    backend.virtual.map(BASE, bytes(range(256)), size=SIZE)
    model = bytearray(bytes(range(256)).ljust(SIZE, b"\0"))
    backend.events.append(backend.stop_event(BREAKPOINT))
    kd.session.attach()
    for line, place, data in steps:
        if data.endswith(b"move"):
            size = int(line.split()[2][1:], 16)
            source = int.from_bytes(data[:2])
            data = bytes(model[source : source + size])
        kd.run(line)
        model[place : place + len(data)] = data
        assert kd.session.errors == 0, line
        assert backend.virtual.peek(BASE, SIZE) == model, line
    assert kd.run(f"c {BASE:x} L{SIZE:x} {BASE:x}") == ""
