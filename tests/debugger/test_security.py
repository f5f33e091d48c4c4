"""SIDs, access control lists and security descriptors as bytes, and what is read from them."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.debugger.inspect import security
from kdsim.debugger.inspect.fields import Unreadable, attempt, known
from kdsim.errors import ArgumentError, KdsimError, MemoryFault
from kdsim.symbols.memory import BytesMemory

BASE = 0x1000
SYSTEM = bytes.fromhex("01 01 000000000005 12000000")
ADMINISTRATORS = bytes.fromhex("01 02 000000000005 20000000 20020000")


def sid_bytes(authority: int, *parts: int) -> bytes:
    return struct.pack(f"<BB6s{len(parts)}I", 1, len(parts), authority.to_bytes(6, "big"), *parts)


def ace(kind: int, mask: int, sid: bytes, flags: int = 0, middle: bytes = b"") -> bytes:
    body = mask.to_bytes(4, "little") + middle + sid
    return struct.pack("<BBH", kind, flags, 4 + len(body)) + body


def acl_bytes(*aces: bytes, size: int | None = None, count: int | None = None) -> bytes:
    body = b"".join(aces)
    return (
        struct.pack(
            "<BBHHH",
            2,
            0,
            8 + len(body) if size is None else size,
            len(aces) if count is None else count,
            0,
        )
        + body
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(SYSTEM, "S-1-5-18", id="one subauthority"),
        pytest.param(ADMINISTRATORS, "S-1-5-32-544", id="two"),
        pytest.param(sid_bytes(1), "S-1-1", id="none"),
        pytest.param(sid_bytes(16, 0xFFFFFFFF), "S-1-16-4294967295", id="unsigned"),
        pytest.param(sid_bytes(0x010203040506, 7), "S-1-1108152157446-7", id="wide authority"),
    ],
)
def test_sids(raw: bytes, text: str) -> None:
    assert security.sid(BytesMemory(BASE, raw), BASE) == text


@given(st.integers(0, (1 << 48) - 1), st.lists(st.integers(0, (1 << 32) - 1), max_size=15))
def test_any_sid_reads_back(authority: int, parts: list[int]) -> None:
    raw = sid_bytes(authority, *parts)
    assert security.sid(BytesMemory(BASE, raw), BASE) == "-".join(
        ["S", "1", str(authority), *map(str, parts)]
    )


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_unexpected(raw: bytes) -> None:
    memory = BytesMemory(BASE, raw)
    for read in (security.sid, security.acl, security.descriptor):
        with suppress(KdsimError):
            read(memory, BASE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("S-1-5-18", " (Well Known Group: NT AUTHORITY\\SYSTEM)"),
        ("S-1-5-32-544", " (Alias: BUILTIN\\Administrators)"),
        ("S-1-16-8192", " (Label: Mandatory Label\\Medium Mandatory Level)"),
        ("S-1-5-21-1-2-3-1001", " (no name mapped)"),
    ],
)
def test_names(text: str, shown: str) -> None:
    assert security.friendly(text) == shown


GUID = bytes(16)


@pytest.mark.parametrize(
    ("entry", "name", "mask", "sid"),
    [
        pytest.param(
            ace(0, 0x1F0003, SYSTEM), "ACCESS_ALLOWED_ACE_TYPE", 0x1F0003, "S-1-5-18", id="allowed"
        ),
        pytest.param(
            ace(1, 1, ADMINISTRATORS), "ACCESS_DENIED_ACE_TYPE", 1, "S-1-5-32-544", id="denied"
        ),
        pytest.param(
            ace(0x11, 1, sid_bytes(16, 8192)),
            "SYSTEM_MANDATORY_LABEL_ACE_TYPE",
            1,
            "S-1-16-8192",
            id="label",
        ),
        pytest.param(
            ace(5, 16, SYSTEM, middle=b"\3\0\0\0" + 2 * GUID),
            "ACCESS_ALLOWED_OBJECT_ACE_TYPE",
            16,
            "S-1-5-18",
            id="object with both types",
        ),
        pytest.param(
            ace(5, 16, SYSTEM, middle=b"\0\0\0\0"),
            "ACCESS_ALLOWED_OBJECT_ACE_TYPE",
            16,
            "S-1-5-18",
            id="object with neither type",
        ),
        pytest.param(ace(99, 0, SYSTEM), "UNKNOWN_ACE_TYPE", 0, "S-1-5-18", id="unknown type"),
    ],
)
def test_entries(entry: bytes, name: str, mask: int, sid: str) -> None:
    found = security.acl(BytesMemory(BASE, acl_bytes(entry)), BASE)
    assert [(a.type_name, a.mask, a.sid) for a in found.aces] == [(name, mask, sid)]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param(
            b"\7" + acl_bytes()[1:], "no ACL at 0000000000001000: revision 7", id="revision"
        ),
        pytest.param(acl_bytes(size=4), "revision 2, size 4", id="size"),
        pytest.param(acl_bytes(count=1), r"Ace\[0\] of the ACL .* lies behind its end", id="count"),
        pytest.param(
            acl_bytes(struct.pack("<BBHI", 0, 0, 2, 0)), r"Ace\[0\] .* has size 2", id="ace size"
        ),
    ],
)
def test_damaged_lists_are_named(raw: bytes, problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        security.acl(BytesMemory(BASE, raw), BASE)


def test_a_self_relative_descriptor() -> None:
    dacl = acl_bytes(ace(0, 3, SYSTEM))
    owner, group = 20 + len(dacl), 20 + len(dacl) + len(SYSTEM)
    head = struct.pack("<BBHIIII", 1, 0, 0x8004, owner, group, 0, 20)
    memory = BytesMemory(BASE, head + dacl + SYSTEM + ADMINISTRATORS)
    found = security.descriptor(memory, BASE)
    assert (found.owner, found.group, found.sacl) == ("S-1-5-18", "S-1-5-32-544", None)
    assert found.dacl is not None
    assert found.dacl.aces[0].mask == 3


def test_an_absolute_descriptor_has_pointers() -> None:
    dacl = acl_bytes(ace(0, 3, SYSTEM))
    head = struct.pack("<BBHI4Q", 1, 0, 4, 0, BASE + 40, 0, 0, BASE + 40 + len(SYSTEM))
    found = security.descriptor(BytesMemory(BASE, head + SYSTEM + dacl), BASE)
    assert (found.owner, found.group) == ("S-1-5-18", None)
    assert found.dacl is not None


def test_a_list_that_is_not_present_is_not_read() -> None:
    head = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 20, 20)
    found = security.descriptor(BytesMemory(BASE, head), BASE)
    assert (found.dacl, found.sacl) == (None, None)


# -- fields that cannot be read ----------------------------------------------------------------


def _fault() -> int:
    raise MemoryFault(0x1234, 8)


def test_an_unreadable_field_says_why_in_any_format() -> None:
    value = attempt(_fault)
    assert isinstance(value, Unreadable)
    assert f"{value:016x}" == f"{value:<14}" == "<Memory access error at 00000000`00001234>"
    assert known(value, 7) == 7
    assert known(attempt(lambda: 3), 7) == 3
