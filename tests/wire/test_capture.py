"""Capture files: written, read back, foreign and damaged ones."""

import gzip
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.errors import FormatError
from kdsim.wire.capture import TCP, UDP, CaptureWriter, Segment, read_capture

V4 = st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535))
V6 = st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 65535))
TIMES = st.integers(0, 2**50).map(lambda microseconds: round(microseconds / 1e6, 6) % 2**32)


def segments(addresses):
    return st.builds(
        Segment, TIMES, st.sampled_from([UDP, TCP]), addresses, addresses, st.binary(min_size=1)
    )


def written(items):
    stream = io.BytesIO()
    writer = CaptureWriter(stream)
    for item in items:
        writer.write(item)
    return stream.getvalue()


@given(st.lists(st.one_of(segments(V4), segments(V6)), max_size=5))
def test_what_is_written_is_read(items):
    found = list(read_capture(written(items)))
    assert [item[1:] for item in found] == [item[1:] for item in items]
    assert [item.time for item in found] == pytest.approx([item.time for item in items], abs=1e-5)


def test_ipv4_header_is_valid():
    """Its checksum comes out as zero, and its length covers the datagram."""
    item = Segment(1.5, UDP, ("192.168.2.1", 50000), ("10.0.0.7", 51111), b"MDBG")
    packet = written([item])[24 + 16 :]
    total = sum(struct.unpack(">10H", packet[:20]))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert struct.unpack(">H", packet[2:4]) == (len(packet),)


def test_stream_has_running_sequence_numbers():
    ends = (("127.0.0.1", 1), ("127.0.0.1", 2))
    items = [Segment(0, TCP, *ends, b"abc"), Segment(0, TCP, *ends[::-1], b"de")]
    raw = written([*items, items[0]])
    packets = []
    position = 24
    while position < len(raw):
        size = struct.unpack_from("<I", raw, position + 8)[0]
        packets.append(raw[position + 16 : position + 16 + size])
        position += 16 + size
    numbers = [struct.unpack_from(">II", packet, 24) for packet in packets]
    assert numbers == [(1, 1), (1, 4), (4, 3)]


def test_a_long_piece_becomes_several_packets():
    ends = (("127.0.0.1", 1), ("127.0.0.1", 2))
    data = bytes(range(256)) * 1000
    found = list(read_capture(written([Segment(0, TCP, *ends, data)])))
    assert len(found) > 1
    assert b"".join(item.payload for item in found) == data


UDP_PACKET = written([Segment(0, UDP, ("1.2.3.4", 5), ("6.7.8.9", 10), b"hello")])[40:]


def pcap(link, packet, order="<", magic=0xA1B2C3D4):
    head = struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    return head + struct.pack(f"{order}IIII", 1, 500, len(packet), len(packet)) + packet


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def pcapng(order="<", options=b"", interface=0):
    section = block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    description = block(order, 1, struct.pack(f"{order}HHI", 101, 0, 0) + options)
    size = len(UDP_PACKET)
    caught = struct.pack(f"{order}IIIII", interface, 0, 2_000_000, size, size) + UDP_PACKET
    other = block(order, 4, b"name resolution")
    return section + description + other + block(order, 6, caught)


@pytest.mark.parametrize(
    ("raw", "time"),
    [
        pytest.param(pcap(101, UDP_PACKET), 1.0005, id="raw"),
        pytest.param(pcap(228, UDP_PACKET, ">"), 1.0005, id="big-endian"),
        pytest.param(pcap(101, UDP_PACKET, magic=0xA1B23C4D), 1.0000005, id="nanoseconds"),
        pytest.param(pcap(1, bytes(12) + b"\x08\0" + UDP_PACKET), 1.0005, id="Ethernet"),
        pytest.param(
            pcap(1, bytes(12) + b"\x81\0\0\5\x08\0" + UDP_PACKET), 1.0005, id="Ethernet with VLAN"
        ),
        pytest.param(pcap(1, bytes(14) + UDP_PACKET + bytes(9)), 1.0005, id="padded frame"),
        pytest.param(pcap(113, bytes(16) + UDP_PACKET), 1.0005, id="Linux cooked"),
        pytest.param(pcap(276, bytes(20) + UDP_PACKET), 1.0005, id="Linux cooked 2"),
        pytest.param(pcap(0, b"\2\0\0\0" + UDP_PACKET), 1.0005, id="BSD loopback"),
        pytest.param(pcapng(), 2.0, id="pcapng"),
        pytest.param(pcapng(">"), 2.0, id="pcapng big-endian"),
        pytest.param(
            pcapng(options=struct.pack("<HHB3x", 9, 1, 9)), 0.002, id="pcapng in nanoseconds"
        ),
        pytest.param(
            pcapng(options=struct.pack("<HHB3x", 9, 1, 0x80 | 20)),
            2_000_000 / 2**20,
            id="pcapng in binary units",
        ),
        pytest.param(gzip.compress(pcapng()), 2.0, id="compressed"),
    ],
)
def test_foreign_captures(raw, time):
    [found] = read_capture(raw)
    assert found.payload == b"hello"
    assert found.source == ("1.2.3.4", 5)
    assert found.destination == ("6.7.8.9", 10)
    assert found.time == pytest.approx(time)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x60" + bytes(20), id="short IPv6"),
        pytest.param(UDP_PACKET[:24], id="cut"),
        pytest.param(UDP_PACKET[:9] + b"\x01" + UDP_PACKET[10:], id="ICMP"),
    ],
)
def test_other_traffic_is_skipped(packet):
    assert list(read_capture(pcap(101, packet))) == []
    assert list(read_capture(pcap(105, packet))) == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(b"", "no capture", id="empty"),
        pytest.param(b"MZ" * 50, "no capture", id="something else"),
        pytest.param(pcap(101, UDP_PACKET)[:-1], "within a packet", id="cut packet"),
        pytest.param(pcap(101, UDP_PACKET)[:30], "packet's header", id="cut header"),
        pytest.param(pcapng()[:-5], "damaged block", id="cut block"),
        pytest.param(pcapng()[:34], "within a block", id="cut block header"),
        pytest.param(pcapng(interface=3), "interface 3", id="unknown interface"),
        pytest.param(b"\x1f\x8bxx", "compressed", id="damaged gzip"),
    ],
)
def test_damage(raw, message):
    with pytest.raises(FormatError, match=message):
        list(read_capture(raw))


@given(st.binary(max_size=200), st.sampled_from([pcap(101, UDP_PACKET), pcapng()]))
def test_noise_gives_a_value_or_a_format_error(noise, start):
    for raw in (noise, start[:24] + noise, start[:40] + noise, start[:60] + noise):
        try:
            list(read_capture(raw))
        except FormatError:
            continue
