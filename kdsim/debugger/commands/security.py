"""Who may do what: `!token !sid !acl !sd`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.threadreport import Number, Text
from kdsim.debugger.inspect import objects, processes, security
from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

FRIENDLY = 1


@dataclass(frozen=True, slots=True)
class TokenReport:
    """A token."""

    note: str
    address: int
    session: Number
    groups: tuple[security.Group, ...] | Unreadable
    restricted: tuple[security.Group, ...] | Unreadable
    primary_group: Text
    privileges: tuple[security.Privilege, ...] | Unreadable
    authentication: Text
    impersonation_level: Text
    type: Text
    source: Text
    flags: Number
    in_use: Number
    id: Text
    parent: Text
    modified: Text
    restricted_count: Number
    restricted_sids: Number
    names: bool

    def lines(self) -> Iterator[str]:
        if self.note:
            yield self.note
        yield f"_TOKEN {self.address:016x}"
        yield f"TS Session ID: {self.session:#x}" if self.session else "TS Session ID: 0"
        if isinstance(self.groups, Unreadable):
            yield f"User and groups: {self.groups}"
        else:
            user, *groups = self.groups
            yield f"User: {user.sid}{self._name(user.sid)}"
            yield "Groups:"
            yield from self._groups(tuple(groups))
        yield f"Primary Group: {self.primary_group}{self._name(self.primary_group)}"
        yield "Privs:"
        if isinstance(self.privileges, Unreadable):
            yield f" {self.privileges}"
        else:
            yield from self._privileges()
        yield f"Authentication ID:         {self.authentication}"
        yield f"Impersonation Level:       {self.impersonation_level}"
        yield f"TokenType:                 {self.type}"
        use = " ( Token in use )" if self.in_use else ""
        yield f"Source: {self.source:18} TokenFlags: {self.flags:#x}{use}"
        yield f"Token ID: {self.id:16} ParentToken ID: {self.parent}"
        yield f"Modified ID:               {self.modified}"
        yield (
            f"RestrictedSidCount: {self.restricted_count:<6} RestrictedSids:"
            f" {self.restricted_sids:016x}"
        )
        if self.restricted and not isinstance(self.restricted, Unreadable):
            yield "Restricted SIDs:"
            yield from self._groups(self.restricted)

    def _name(self, sid: Text) -> str:
        return security.friendly(sid) if self.names and isinstance(sid, str) else ""

    def _groups(self, groups: tuple[security.Group, ...]) -> Iterator[str]:
        for number, group in enumerate(groups):
            yield f" {number:02} {group.sid}{self._name(group.sid)}"
            words = [
                name
                for bits, name in security.GROUP_ATTRIBUTES.items()
                if group.attributes & bits == bits
            ]
            yield f"    Attributes - {' '.join(words)}"

    def _privileges(self) -> Iterator[str]:
        assert not isinstance(self.privileges, Unreadable)
        for privilege in self.privileges:
            words = " Enabled" * privilege.enabled + " Default" * privilege.default
            yield (
                f" {privilege.number:02} 0x{privilege.number:09x} {privilege.name:33}"
                f" Attributes -{words}"
            )


@command(
    "!token",
    summary="An access token: user, groups, privileges.",
    group="security",
    params=(
        Param("token", "expression", "TOKEN; 0 or nothing: the active thread's", optional=True),
    ),
    options=(Option("-n", "with names for the SIDs"),),
    needs=Caps.READ,
    see_also=("!process", "!sid", "!sd"),
)
def show_token(session: Session, args: Arguments, name: str) -> TokenReport:
    """Reads the TOKEN."""
    switches = args.switches("n")
    address = args.optional_expression(0)
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    note = ""
    if not address:
        note, address = _active_token(session, nt)
    if _kind(nt, address) not in ("Token", ""):
        raise ArgumentError(f"{address:016x} is a {_kind(nt, address)} object, not a Token")
    return _token(nt, nt.view("_TOKEN", address), note, names="n" in switches)


def _kind(nt: Nt, address: int) -> str:
    """The object's type; empty when the kernel's own tables cannot tell."""
    info = attempt(lambda: objects.object_at(nt, address).type_name)
    return "" if isinstance(info, Unreadable) else info


def _active_token(session: Session, nt: Nt) -> tuple[str, int]:
    """What the thread impersonates, or its process' token; and which of the two it is."""
    thread = nt.view("_ETHREAD", session.current_thread())
    if thread.ActiveImpersonationInfo:
        token = int(thread.ClientSecurity.ImpersonationToken) & ~processes.CLIENT_SECURITY_MASK
        return "Thread is impersonating. Using impersonation token...", token
    process = nt.view("_EPROCESS", session.scope.process or int(thread.Tcb.Process))
    token = processes.fast_reference(process.Token)
    if not token:
        raise ArgumentError(f"process {process.address:016x} has no token")
    return "Thread is not impersonating. Using process token...", token


def _token(nt: Nt, token: View, note: str, *, names: bool) -> TokenReport:
    try:
        token = token.snapshot()
    except MemoryFault as error:
        raise ArgumentError(f"{token.address:016x} is no token: {error}") from error
    held = token.Privileges
    level = nt.enum_name("_SECURITY_IMPERSONATION_LEVEL", token.ImpersonationLevel)
    kind = nt.enum_name("_TOKEN_TYPE", token.TokenType)
    restricted = token.RestrictedSidCount
    return TokenReport(
        note=note,
        address=token.address,
        session=token.SessionId,
        groups=attempt(lambda: security.groups(nt, token.UserAndGroups, token.UserAndGroupCount)),
        restricted=attempt(lambda: security.groups(nt, token.RestrictedSids, restricted)),
        primary_group=attempt(lambda: security.sid(nt.memory, token.PrimaryGroup)),
        privileges=security.privileges(held.Present, held.Enabled, held.EnabledByDefault),
        authentication=_luid(token.AuthenticationId),
        impersonation_level=level.removeprefix("Security"),
        type=kind.removeprefix("Token"),
        source=token.TokenSource.SourceName.text(),
        flags=token.TokenFlags,
        in_use=token.TokenInUse,
        id=f"{token.TokenId.LowPart:x}",
        parent=f"{token.ParentTokenId.LowPart:x}",
        modified=_luid(token.ModifiedId, comma=", "),
        restricted_count=restricted,
        restricted_sids=token.RestrictedSids,
        names=names,
    )


def _luid(luid: View, comma: str = ",") -> str:
    return f"({luid.HighPart:x}{comma}{luid.LowPart:x})"


@dataclass(frozen=True, slots=True)
class SidReport:
    """A SID."""

    sid: str
    names: bool

    def lines(self) -> Iterator[str]:
        yield f"SID is: {_sid(self.sid, self.names)}"


def _sid(text: str, names: bool) -> str:
    return text + (security.friendly(text) if names else "")


def _acl_lines(acl: security.Acl, prefix: str, names: bool) -> Iterator[str]:
    yield f"{prefix}"
    yield f"{prefix} ->AclRevision: {acl.revision:#x}"
    yield f"{prefix} ->Sbz1       : {acl.sbz1:#x}"
    yield f"{prefix} ->AclSize    : {acl.size:#x}"
    yield f"{prefix} ->AceCount   : {acl.count:#x}"
    yield f"{prefix} ->Sbz2       : {acl.sbz2:#x}"
    for number, ace in enumerate(acl.aces):
        at = f"{prefix} ->Ace[{number}]:"
        yield f"{at} ->AceType: {ace.type_name}"
        yield f"{at} ->AceFlags: {ace.flags:#x}"
        for bit, word in security.ACE_FLAGS.items():
            if ace.flags & bit:
                yield f"{at}             {word}"
        yield f"{at} ->AceSize: {ace.size:#x}"
        yield f"{at} ->Mask : 0x{ace.mask:08x}"
        yield f"{at} ->SID: {_sid(ace.sid, names)}"
        yield ""


@dataclass(frozen=True, slots=True)
class AclReport:
    """An access control list."""

    acl: security.Acl
    names: bool

    def lines(self) -> Iterator[str]:
        yield from _acl_lines(self.acl, "ACL is:", self.names)


@dataclass(frozen=True, slots=True)
class DescriptorReport:
    """A security descriptor."""

    descriptor: security.Descriptor
    names: bool

    def lines(self) -> Iterator[str]:
        found = self.descriptor
        yield f"->Revision: {found.revision:#x}"
        yield f"->Sbz1    : {found.sbz1:#x}"
        yield f"->Control : {found.control:#x}"
        for bit, word in security.CONTROL_FLAGS.items():
            if found.control & bit:
                yield f"            {word}"
        for label, sid in (("Owner", found.owner), ("Group", found.group)):
            yield f"->{label}   : {_sid(sid, self.names) if sid else ' is NULL'}"
        for label, acl in (("Dacl", found.dacl), ("Sacl", found.sacl)):
            if acl is None:
                yield f"->{label}    :  is NULL"
            else:
                yield from _acl_lines(acl, f"->{label}    :", self.names)


_ADDRESS_AND_NAMES = (
    Param("address", "expression"),
    Param("flags", "flags", "how to show it", optional=True, bits=((1, "with names"),)),
)


def _address_and_flags(args: Arguments, name: str) -> tuple[int, bool]:
    if args.done:
        raise ArgumentError(f"{name} needs an address")
    address = args.expression()
    flags = args.optional_expression(0) or 0
    args.at_end()
    return address, bool(flags & FRIENDLY)


@command(
    "!sid",
    summary="A security identifier.",
    group="security",
    params=_ADDRESS_AND_NAMES,
    needs=Caps.READ,
    see_also=("!acl", "!sd", "!token"),
)
def show_sid(session: Session, args: Arguments, name: str) -> SidReport:
    """Reads a SID."""
    address, names = _address_and_flags(args, name)
    return SidReport(security.sid(session.memory, address), names)


@command(
    "!acl",
    summary="An access control list.",
    group="security",
    params=_ADDRESS_AND_NAMES,
    needs=Caps.READ,
    see_also=("!sid", "!sd"),
)
def show_acl(session: Session, args: Arguments, name: str) -> AclReport:
    """Reads an ACL."""
    address, names = _address_and_flags(args, name)
    return AclReport(security.acl(session.memory, address), names)


@command(
    "!sd",
    summary="A security descriptor.",
    group="security",
    params=_ADDRESS_AND_NAMES,
    needs=Caps.READ,
    see_also=("!acl", "!sid", "!object"),
    notes="The low four bits of OBJECT_HEADER.SecurityDescriptor are a count: clear them first.",
)
def show_descriptor(session: Session, args: Arguments, name: str) -> DescriptorReport:
    """Reads a SECURITY_DESCRIPTOR, self-relative or absolute."""
    address, names = _address_and_flags(args, name)
    return DescriptorReport(security.descriptor(session.memory, address), names)
