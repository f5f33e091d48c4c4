"""Packet headers and the stream parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.errors import ProtocolError
from kdsim.wire.packets import (
    MAX_PAYLOAD,
    TRAILER,
    BrokenPacket,
    Frame,
    LoneBreakIn,
    PacketType,
    StreamParser,
)

IDS = st.integers(0, 2**32 - 1)
DATA = st.builds(Frame, st.integers(0, 0xFFFF), IDS, st.binary(max_size=300), st.just(False))
CONTROL = st.builds(lambda kind, number: Frame(kind, number, b"", True), st.integers(0, 99), IDS)


def on_stream(frame: Frame) -> bytes:
    return frame.pack() + (b"" if frame.control else TRAILER)


def test_header_layout():
    frame = Frame(PacketType.STATE_CHANGE64, 0x80800800, b"\x01\x02\xff")
    assert frame.pack() == bytes.fromhex("30303030 0700 0300 00088080 02010000 0102ff")
    reset = Frame(PacketType.RESET, 0, control=True)
    assert reset.pack() == bytes.fromhex("69696969 0600 0000 00000000 00000000")


@given(DATA | CONTROL)
def test_round_trip(frame):
    assert Frame.unpack(frame.pack()) == frame


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"0000" + tail))
def test_any_datagram_gives_a_frame_or_protocol_error(data):
    try:
        frame = Frame.unpack(data)
    except ProtocolError:
        return
    assert Frame.unpack(frame.pack()) == frame


@given(st.lists(DATA | CONTROL, max_size=5), st.data())
def test_stream_in_any_pieces(frames, data):
    stream = b"".join(map(on_stream, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser, found = StreamParser(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[start:end])
    assert found == frames


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_stream_is_survived(pieces):
    parser = StreamParser()
    for piece in pieces:
        list(parser.feed(piece))
    parser.abandon()
    frame = Frame(PacketType.MANIPULATE, 1, b"sound")
    assert list(parser.feed(on_stream(frame))) == [frame]


@given(st.binary(max_size=60).map(lambda noise: noise.translate(None, b"0ib")))
def test_noise_before_a_packet_is_skipped(noise):
    frame = Frame(PacketType.MANIPULATE, 1, b"sound")
    assert list(StreamParser().feed(noise + on_stream(frame))) == [frame]


FRAME = Frame(PacketType.MANIPULATE, 1, b"sound")


@pytest.mark.parametrize(
    ("before", "items"),
    [
        pytest.param(b"b", [LoneBreakIn()], id="break-in"),
        pytest.param(b"000b", [LoneBreakIn()], id="break-in after an unfinished leader"),
        pytest.param(b"000ii", [], id="another leader byte starts over"),
        pytest.param(b"0x", [], id="anything else resets"),
    ],
)
def test_hunting(before, items):
    assert list(StreamParser().feed(before + on_stream(FRAME))) == [*items, FRAME]


def damaged(position: int, value: int) -> bytes:
    data = bytearray(on_stream(FRAME))
    data[position] = value
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(damaged(17, 0), id="payload"),
        pytest.param(damaged(12, 0), id="checksum"),
        pytest.param(damaged(-1, 0xAB), id="trailer"),
        pytest.param(damaged(7, 0xFF), id="count above 4000"),
    ],
)
def test_damaged_packets_are_reported_once(data):
    items = list(StreamParser().feed(data))
    assert [type(item) for item in items] == [BrokenPacket]


def test_largest_payload_is_taken():
    frame = Frame(PacketType.MANIPULATE, 1, bytes(MAX_PAYLOAD))
    assert list(StreamParser().feed(on_stream(frame))) == [frame]
