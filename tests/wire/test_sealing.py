"""KDNET cryptography against real datagrams.

C1: WinDbg and a Windows 10 1511 boot debugger, Lekensteyn/kdnet `pcaps/windbg-uncut.pcapng.gz`
(key 8.8.8.8, version 4). C2: WinDbg and a Windows 8.1 kernel, killvxk/libKDNET `test_pkt.h`
(key 1.1.1.1, version 2).
"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.errors import UserError
from kdsim.wire.packets import Frame, PacketType
from kdsim.wire.sealing import (
    Channel,
    Datagram,
    Sealer,
    derive_data_key,
    derive_hmac_key,
    parse_key,
    random_key,
)

C1_KEY = parse_key("8.8.8.8")
C1_POKE = bytes.fromhex(
    "0101c19792dfac7aa1dfe007010018000b00240005000000070088f7570043a1260000000000000000000000ffff"
    "c0a80248c7a700000000000000000000ffffc0a80201c7a700000000000000000000ffff00000000000000000000"
) + bytes(252)
C1_RESPONSE = bytes.fromhex(
    "0102c19792dfac7aa1dfe007010018000b00240005000000070088f7570043a1260041b4fa1b2ddd14ee3eeb8db9"
    "87c0c7257ce62eef126ab74ef212136c100c540b"
) + bytes(256)
C1_DATA_KEY = "6bd91c57bd6a551ad30b509c05c0c95b32cc5e47a0866907eaf0b1583384f660"
C2_KEY = parse_key("1.1.1.1")
C2_RESPONSE = bytes.fromhex(
    "01020d4b1edab4e4cc54f76c47d10fd92ad8b54dc1cf2fd008900a95b694b3d4427f3f0cc8115b19c1a6407a8d3a8f"
    "64c43d40ddbda888af9aa5b907bd5cee00d332"
) + bytes(256)
C2_DATA_KEY = "6d41dd0561a9f887afd8e82b2527e19ff800011075ff2ee6904553abbec778f2"


def sealer(key: bytes, control_key: bytes) -> Sealer:
    return Sealer(key, derive_hmac_key(control_key))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("8.8.8.8", (8, 8, 8, 8), id="digits"),
        pytest.param("1.z.10.3w5e11264sgsf", (1, 35, 36, 2**64 - 1), id="limits"),
        pytest.param("1.Z.10.3W5E11264SGSF", (1, 35, 36, 2**64 - 1), id="capitals"),
    ],
)
def test_key_text(text, words):
    assert parse_key(text) == b"".join(word.to_bytes(8, "little") for word in words)


def test_hmac_key():
    assert derive_hmac_key(C1_KEY).hex() == "f7ffffffffffffff" * 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "needs four parts", id="empty"),
        pytest.param("1.2.3", "needs four parts", id="three"),
        pytest.param("1.2.3.4.5", "needs four parts", id="five"),
        pytest.param("1.2..4", "part 3 of the KDNET key is not 1 to 13", id="empty part"),
        pytest.param("1.2.3.-4", "part 4 of the KDNET key is not 1 to 13", id="sign"),
        pytest.param("1.2.3.٤", "is not 1 to 13", id="foreign digit"),
        pytest.param("1.2.3.12345678901234", "is not 1 to 13", id="long"),
        pytest.param("1.2.3.3w5e11264sgsg", "more than 64 bits", id="2^64"),
    ],
)
def test_bad_key_text(text, complaint):
    with pytest.raises(UserError, match=complaint):
        parse_key(text)


def test_random_key_is_a_key_of_its_bytes():
    assert parse_key(random_key(lambda size: bytes(range(1, size + 1)))) == bytes(range(1, 9)) * 4


def test_seal_poke():
    """C1 frame 1."""
    datagram = sealer(C1_KEY, C1_KEY).seal(4, Channel.CONTROL, 3, False, C1_POKE)
    assert len(datagram) == 374
    assert datagram.hex().startswith("4d4442470401ff98a9e80cf4f535b9b5f4af")
    assert datagram.hex().endswith("8b8f6c8c48af63ad0a4db64e9e4f18e2")
    assert (
        hashlib.sha256(datagram).hexdigest()
        == "d9c4b0ebc334bba11e43816cb5f0cc77b983c738863d3b7c5986c7bc55a92c1a"
    )


def test_seal_response():
    """C1 frame 2."""
    datagram = sealer(C1_KEY, C1_KEY).seal(4, Channel.CONTROL, 3, True, C1_RESPONSE)
    assert len(datagram) == 358
    assert datagram[-16:].hex() == "1496556d614cc01df246bf79e6332aad"


def test_data_key():
    assert derive_data_key(C1_KEY, C1_RESPONSE).hex() == C1_DATA_KEY
    assert derive_data_key(C2_KEY, C2_RESPONSE).hex() == C2_DATA_KEY


FIRST = (
    "4d44424704002fa399cffa8f888c766d5e595a843c6dee47e25b8c9e098bd63242f627753eddfb5900eab024ca9c9c"
    "435055f1c8e7d2"
)
ACK = (
    "4d444247040053856c8e1086002c3276a4841d89c8ddb68eb775bd0c46538bd0b7f597f3daf8a29c3f714570f104a0"
    "2535febdf9efa6"
)
GET_VERSION = (
    "4d44424704001118cc23b38f47b72fe168e192f9c6dce8c1b2eb99112b4cffd118599dd1ddf96631694ce58e213509"
    "eaed661ad4ae70bd20a2d20a0482095717437809f099c3b8b5ef734f7fa620162a7b8fc21e1ba74c1a0554da4f1896"
    "64ea33cf88ad2942"
)
BREAK_IN = "4d44424702003d905343a507a805cb06ff6976ef1f3c15d4c904a93fc1c283e6b364c84d3d09"


@pytest.mark.parametrize(
    ("control", "key", "raw", "opened"),
    [
        pytest.param(
            C1_KEY,
            C1_DATA_KEY,
            FIRST,
            Datagram(4, 0, 1, False, bytes.fromhex("00000000000000000102a8c0")),
            id="C1 frame 3, first datagram",
        ),
        pytest.param(
            C1_KEY,
            C1_DATA_KEY,
            ACK,
            Datagram(4, 0, 2, True, Frame(PacketType.ACK, 0, control=True).pack()),
            id="C1 frame 7, ACK",
        ),
        pytest.param(
            C2_KEY, C2_DATA_KEY, BREAK_IN, Datagram(2, 0, 2, True, b"b"), id="C2 break-in"
        ),
    ],
)
def test_real_datagrams(control, key, raw, opened):
    data = sealer(bytes.fromhex(key), control)
    assert data.open(bytes.fromhex(raw)) == opened
    sealed = data.seal(
        opened.version, opened.channel, opened.sequence, opened.from_host, opened.body
    )
    assert sealed.hex() == raw


def test_real_get_version_request():
    """C1 frame 10, garbage in the unused fields included."""
    opened = sealer(bytes.fromhex(C1_DATA_KEY), C1_KEY).open(bytes.fromhex(GET_VERSION))
    assert opened is not None
    assert (opened.sequence, opened.from_host, len(opened.body)) == (4, True, 72)
    frame = Frame.unpack(opened.body)
    assert (frame.type, frame.id, len(frame.payload)) == (PacketType.MANIPULATE, 0x80000000, 56)
    assert frame.pack() == opened.body


@given(
    key=st.binary(min_size=32, max_size=32),
    sequence=st.integers(0, 2**56 - 1),
    from_host=st.booleans(),
    body=st.binary(max_size=1500),
)
def test_open_undoes_seal(key, sequence, from_host, body):
    both = sealer(key, key)
    sealed = both.seal(5, Channel.DATA, sequence, from_host, body)
    assert both.open(sealed) == Datagram(5, Channel.DATA, sequence, from_host, body)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"MDBG\x04\x00" + tail))
def test_strangers_are_not_opened(data):
    assert sealer(C1_KEY, C1_KEY).open(data) is None


@given(st.data())
def test_one_changed_bit_is_noticed(data):
    sealed = bytearray(sealer(C1_KEY, C1_KEY).seal(4, Channel.DATA, 7, True, b"payload"))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert sealer(C1_KEY, C1_KEY).open(bytes(sealed)) is None
