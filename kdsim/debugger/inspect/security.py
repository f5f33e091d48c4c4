"""SIDs, access control lists, security descriptors and tokens.

The first three are read as [MS-DTYP] 2.4 lays them out, which is what every Windows keeps in
memory; a token is a `_TOKEN` of the kernel's types.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError
from kdsim.symbols.memory import Memory

SID_REVISION, MOST_SUBAUTHORITIES = 1, 15
SID_HEADER = struct.Struct("<BB6s")
ACL_HEADER = struct.Struct("<BBHHH")
ACE_HEADER = struct.Struct("<BBH")
DESCRIPTOR = struct.Struct("<BBHIIII")
DESCRIPTOR_ABSOLUTE = struct.Struct("<BBHI4Q")

# [MS-DTYP] 2.4.4.1: types 0 to 0x15; those with a SID behind the mask, and with object GUIDs.
ACE_TYPES = (
    *("ACCESS_ALLOWED_ACE_TYPE", "ACCESS_DENIED_ACE_TYPE", "SYSTEM_AUDIT_ACE_TYPE"),
    *("SYSTEM_ALARM_ACE_TYPE", "ACCESS_ALLOWED_COMPOUND_ACE_TYPE"),
    *("ACCESS_ALLOWED_OBJECT_ACE_TYPE", "ACCESS_DENIED_OBJECT_ACE_TYPE"),
    *("SYSTEM_AUDIT_OBJECT_ACE_TYPE", "SYSTEM_ALARM_OBJECT_ACE_TYPE"),
    *("ACCESS_ALLOWED_CALLBACK_ACE_TYPE", "ACCESS_DENIED_CALLBACK_ACE_TYPE"),
    *("ACCESS_ALLOWED_CALLBACK_OBJECT_ACE_TYPE", "ACCESS_DENIED_CALLBACK_OBJECT_ACE_TYPE"),
    *("SYSTEM_AUDIT_CALLBACK_ACE_TYPE", "SYSTEM_ALARM_CALLBACK_ACE_TYPE"),
    *("SYSTEM_AUDIT_CALLBACK_OBJECT_ACE_TYPE", "SYSTEM_ALARM_CALLBACK_OBJECT_ACE_TYPE"),
    *("SYSTEM_MANDATORY_LABEL_ACE_TYPE", "SYSTEM_RESOURCE_ATTRIBUTE_ACE_TYPE"),
    *("SYSTEM_SCOPED_POLICY_ID_ACE_TYPE", "SYSTEM_PROCESS_TRUST_LABEL_ACE_TYPE"),
    "SYSTEM_ACCESS_FILTER_ACE_TYPE",
)
_OBJECT_ACES = {5, 6, 7, 8, 11, 12, 15, 16}
_OBJECT_TYPE_PRESENT, _INHERITED_OBJECT_TYPE_PRESENT = 1, 2
ACE_FLAGS = {
    0x01: "OBJECT_INHERIT_ACE", 0x02: "CONTAINER_INHERIT_ACE", 0x04: "NO_PROPAGATE_INHERIT_ACE",
    0x08: "INHERIT_ONLY_ACE", 0x10: "INHERITED_ACE", 0x40: "SUCCESSFUL_ACCESS_ACE_FLAG",
    0x80: "FAILED_ACCESS_ACE_FLAG",
}  # fmt: skip
SE_SACL_PRESENT, SE_DACL_PRESENT, SE_SELF_RELATIVE = 0x0010, 0x0004, 0x8000
CONTROL_FLAGS = {
    0x0001: "SE_OWNER_DEFAULTED", 0x0002: "SE_GROUP_DEFAULTED", 0x0004: "SE_DACL_PRESENT",
    0x0008: "SE_DACL_DEFAULTED", 0x0010: "SE_SACL_PRESENT", 0x0020: "SE_SACL_DEFAULTED",
    0x0100: "SE_DACL_AUTO_INHERIT_REQ", 0x0200: "SE_SACL_AUTO_INHERIT_REQ",
    0x0400: "SE_DACL_AUTO_INHERITED", 0x0800: "SE_SACL_AUTO_INHERITED",
    0x1000: "SE_DACL_PROTECTED", 0x2000: "SE_SACL_PROTECTED", 0x4000: "SE_RM_CONTROL_VALID",
    0x8000: "SE_SELF_RELATIVE",
}  # fmt: skip

_GROUP, _ALIAS, _LABEL = "Well Known Group", "Alias", "Label"
_NT = "NT AUTHORITY"
# [MS-DTYP] 2.4.2.4; names as LookupAccountSid gives them on an English system.
WELL_KNOWN = {
    "S-1-0-0": (_GROUP, "localhost\\NULL SID"),
    "S-1-1-0": (_GROUP, "localhost\\Everyone"),
    "S-1-2-0": (_GROUP, "localhost\\LOCAL"),
    "S-1-2-1": (_GROUP, "localhost\\CONSOLE LOGON"),
    "S-1-3-0": (_GROUP, "localhost\\CREATOR OWNER"),
    "S-1-3-1": (_GROUP, "localhost\\CREATOR GROUP"),
    "S-1-3-4": (_GROUP, "localhost\\OWNER RIGHTS"),
    "S-1-5-2": (_GROUP, f"{_NT}\\NETWORK"),
    "S-1-5-3": (_GROUP, f"{_NT}\\BATCH"),
    "S-1-5-4": (_GROUP, f"{_NT}\\INTERACTIVE"),
    "S-1-5-6": (_GROUP, f"{_NT}\\SERVICE"),
    "S-1-5-7": (_GROUP, f"{_NT}\\ANONYMOUS LOGON"),
    "S-1-5-11": (_GROUP, f"{_NT}\\Authenticated Users"),
    "S-1-5-12": (_GROUP, f"{_NT}\\RESTRICTED"),
    "S-1-5-15": (_GROUP, f"{_NT}\\This Organization"),
    "S-1-5-18": (_GROUP, f"{_NT}\\SYSTEM"),
    "S-1-5-19": (_GROUP, f"{_NT}\\LOCAL SERVICE"),
    "S-1-5-20": (_GROUP, f"{_NT}\\NETWORK SERVICE"),
    "S-1-5-113": (_GROUP, f"{_NT}\\Local account"),
    "S-1-5-114": (_GROUP, f"{_NT}\\Local account and member of Administrators group"),
    "S-1-5-32-544": (_ALIAS, "BUILTIN\\Administrators"),
    "S-1-5-32-545": (_ALIAS, "BUILTIN\\Users"),
    "S-1-5-32-546": (_ALIAS, "BUILTIN\\Guests"),
    "S-1-5-32-547": (_ALIAS, "BUILTIN\\Power Users"),
    "S-1-5-32-551": (_ALIAS, "BUILTIN\\Backup Operators"),
    "S-1-5-90-0": (_GROUP, "Window Manager\\Window Manager Group"),
    "S-1-15-2-1": (_GROUP, "APPLICATION PACKAGE AUTHORITY\\ALL APPLICATION PACKAGES"),
    "S-1-16-0": (_LABEL, "Mandatory Label\\Untrusted Mandatory Level"),
    "S-1-16-4096": (_LABEL, "Mandatory Label\\Low Mandatory Level"),
    "S-1-16-8192": (_LABEL, "Mandatory Label\\Medium Mandatory Level"),
    "S-1-16-8448": (_LABEL, "Mandatory Label\\Medium Plus Mandatory Level"),
    "S-1-16-12288": (_LABEL, "Mandatory Label\\High Mandatory Level"),
    "S-1-16-16384": (_LABEL, "Mandatory Label\\System Mandatory Level"),
}


def sid(memory: Memory, va: int) -> str:
    """`S-1-5-18`. ArgumentError when no SID lies there."""
    revision, count, authority = SID_HEADER.unpack(memory.read(va, SID_HEADER.size))
    if revision != SID_REVISION or count > MOST_SUBAUTHORITIES:
        raise ArgumentError(f"no SID at {va:016x}: revision {revision:x}, {count} subauthorities")
    parts = struct.unpack(f"<{count}I", memory.read(va + SID_HEADER.size, 4 * count))
    return "-".join(["S", "1", str(int.from_bytes(authority, "big")), *map(str, parts)])


def friendly(text: str) -> str:
    """What follows a SID where names are wanted; a machine's accounts cannot be looked up here."""
    if text in WELL_KNOWN:
        kind, name = WELL_KNOWN[text]
        return f" ({kind}: {name})"
    return " (no name mapped)"


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry of an access control list; `sid` is empty for types without one."""

    type: int
    flags: int
    size: int
    mask: int
    sid: str

    @property
    def type_name(self) -> str:
        return ACE_TYPES[self.type] if self.type < len(ACE_TYPES) else "UNKNOWN_ACE_TYPE"


@dataclass(frozen=True, slots=True)
class Acl:
    """An access control list."""

    revision: int
    sbz1: int
    size: int
    count: int
    sbz2: int
    aces: tuple[Ace, ...]


def acl(memory: Memory, va: int) -> Acl:
    """ArgumentError when no list lies there."""
    revision, sbz1, size, count, sbz2 = ACL_HEADER.unpack(memory.read(va, ACL_HEADER.size))
    if not 2 <= revision <= 4 or size < ACL_HEADER.size:
        raise ArgumentError(f"no ACL at {va:016x}: revision {revision:x}, size {size:x}")
    raw = memory.read(va, size)
    aces = []
    at = ACL_HEADER.size
    for index in range(count):
        if at + ACE_HEADER.size > size:
            raise ArgumentError(f"Ace[{index}] of the ACL at {va:016x} lies behind its end")
        kind, flags, length = ACE_HEADER.unpack_from(raw, at)
        if length < ACE_HEADER.size + 4 or at + length > size:
            raise ArgumentError(f"Ace[{index}] of the ACL at {va:016x} has size {length:x}")
        mask = int.from_bytes(raw[at + 4 : at + 8], "little")
        aces.append(Ace(kind, flags, length, mask, sid(memory, va + at + _sid_at(raw, at, kind))))
        at += length
    return Acl(revision, sbz1, size, count, sbz2, tuple(aces))


def _sid_at(raw: bytes, at: int, kind: int) -> int:
    """Where an ACE's SID begins: behind the mask, or behind the GUIDs of an object ACE."""
    offset = ACE_HEADER.size + 4
    if kind not in _OBJECT_ACES:
        return offset
    present = int.from_bytes(raw[at + offset : at + offset + 4], "little")
    guids = bool(present & _OBJECT_TYPE_PRESENT) + bool(present & _INHERITED_OBJECT_TYPE_PRESENT)
    return offset + 4 + 16 * guids


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A security descriptor; None for a list that is not there."""

    revision: int
    sbz1: int
    control: int
    owner: str | None
    group: str | None
    dacl: Acl | None
    sacl: Acl | None


def descriptor(memory: Memory, va: int) -> Descriptor:
    """ArgumentError when no descriptor lies there."""
    head = memory.read(va, DESCRIPTOR.size)
    revision, sbz1, control, *places = DESCRIPTOR.unpack(head)
    if revision != 1:
        raise ArgumentError(f"no security descriptor at {va:016x}: revision {revision:x}")
    if control & SE_SELF_RELATIVE:
        places = [va + place if place else 0 for place in places]
    else:
        raw = memory.read(va, DESCRIPTOR_ABSOLUTE.size)
        places = list(DESCRIPTOR_ABSOLUTE.unpack(raw)[4:])
    owner, group, sacl, dacl = places
    return Descriptor(
        revision=revision,
        sbz1=sbz1,
        control=control,
        owner=sid(memory, owner) if owner else None,
        group=sid(memory, group) if group else None,
        dacl=acl(memory, dacl) if dacl and control & SE_DACL_PRESENT else None,
        sacl=acl(memory, sacl) if sacl and control & SE_SACL_PRESENT else None,
    )


GROUP_ATTRIBUTES = {
    0x01: "Mandatory", 0x02: "Default", 0x04: "Enabled", 0x08: "Owner", 0x10: "DenyOnly",
    0x20: "GroupIntegrity", 0x40: "GroupIntegrityEnabled", 0x20000000: "GroupResource",
    0xC0000000: "LogonId",
}  # fmt: skip

# winnt.h SE_*_PRIVILEGE: the number is the privilege's LUID.
PRIVILEGES = {
    2: "SeCreateTokenPrivilege", 3: "SeAssignPrimaryTokenPrivilege", 4: "SeLockMemoryPrivilege",
    5: "SeIncreaseQuotaPrivilege", 6: "SeMachineAccountPrivilege", 7: "SeTcbPrivilege",
    8: "SeSecurityPrivilege", 9: "SeTakeOwnershipPrivilege", 10: "SeLoadDriverPrivilege",
    11: "SeSystemProfilePrivilege", 12: "SeSystemtimePrivilege",
    13: "SeProfileSingleProcessPrivilege", 14: "SeIncreaseBasePriorityPrivilege",
    15: "SeCreatePagefilePrivilege", 16: "SeCreatePermanentPrivilege", 17: "SeBackupPrivilege",
    18: "SeRestorePrivilege", 19: "SeShutdownPrivilege", 20: "SeDebugPrivilege",
    21: "SeAuditPrivilege", 22: "SeSystemEnvironmentPrivilege", 23: "SeChangeNotifyPrivilege",
    24: "SeRemoteShutdownPrivilege", 25: "SeUndockPrivilege", 26: "SeSyncAgentPrivilege",
    27: "SeEnableDelegationPrivilege", 28: "SeManageVolumePrivilege",
    29: "SeImpersonatePrivilege", 30: "SeCreateGlobalPrivilege",
    31: "SeTrustedCredManAccessPrivilege", 32: "SeRelabelPrivilege",
    33: "SeIncreaseWorkingSetPrivilege", 34: "SeTimeZonePrivilege",
    35: "SeCreateSymbolicLinkPrivilege", 36: "SeDelegateSessionUserImpersonatePrivilege",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """An entry of TOKEN.UserAndGroups."""

    sid: str
    attributes: int


@dataclass(frozen=True, slots=True)
class Privilege:
    """A privilege that the token holds."""

    number: int
    enabled: bool
    default: bool

    @property
    def name(self) -> str:
        return PRIVILEGES.get(self.number, "Unknown Privilege")


def groups(nt: Nt, array: int, count: int) -> tuple[Group, ...]:
    """SID_AND_ATTRIBUTES entries."""
    size = nt.record("_SID_AND_ATTRIBUTES").size
    found = []
    for index in range(count):
        entry = nt.view("_SID_AND_ATTRIBUTES", array + index * size)
        found.append(Group(sid(nt.memory, entry.Sid), entry.Attributes))
    return tuple(found)


def privileges(present: int, enabled: int, default: int) -> tuple[Privilege, ...]:
    """The bits of SEP_TOKEN_PRIVILEGES, by number."""
    return tuple(
        Privilege(number, bool(enabled >> number & 1), bool(default >> number & 1))
        for number in range(64)
        if present >> number & 1
    )
