"""What the debugger learns about the kernel when it attaches, and the banner made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import text, times
from kdsim.debugger.backends.base import CrashRecord
from kdsim.errors import MemoryFault, SymbolError

if TYPE_CHECKING:
    from kdsim.debugger.backends.base import TargetVersion
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

SHARED_USER_DATA = 0xFFFF_F780_0000_0000
"""KI_USER_SHARED_DATA of x64: fixed by the architecture's kernel interface."""

KDBG_TAG = 0x4742_444B

VERSION_MP = 1
VERSION_PTR64 = 4

FIRST_WINDOWS_10 = 10240
"""Its build number; Windows 11 calls itself 10.0, too."""

_PRODUCTS = {1: "WinNt", 2: "LanManNt", 3: "ServerNt"}

# wdm.h, VER_SUITE_*.
_SUITES = (
    (0x0001, "SmallBusiness"),
    (0x0002, "Enterprise"),
    (0x0004, "BackOffice"),
    (0x0008, "CommunicationServer"),
    (0x0010, "TerminalServer"),
    (0x0020, "SmallBusinessRestricted"),
    (0x0040, "EmbeddedNT"),
    (0x0080, "DataCenter"),
    (0x0100, "SingleUserTS"),
    (0x0200, "Personal"),
    (0x0400, "Blade"),
    (0x0800, "EmbeddedRestricted"),
    (0x2000, "StorageServer"),
    (0x4000, "ComputeServer"),
    (0x8000, "WHServer"),
)

MACHINES = {0x8664: "x64", 0x014C: "x86", 0xAA64: "ARM 64-bit (AArch64)"}


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """Fixed while the target is up."""

    version: TargetVersion
    processors: int
    major: int
    product: str
    suites: tuple[str, ...]
    build_lab: str

    @property
    def windows(self) -> str:
        """`Windows 10`."""
        return f"Windows {self.major}" if self.major else "Windows"

    @property
    def machine(self) -> str:
        return MACHINES.get(self.version.machine, f"machine {self.version.machine:#x}")

    def connected_line(self, filetime: int) -> str:
        pointers = "TRUE" if self.version.flags & VERSION_PTR64 else "FALSE"
        return (
            f"Connected to {self.windows} {self.version.minor} {self.machine} target at "
            f"({times.session_time(filetime)}), ptr64 {pointers}"
        )

    def lines(self) -> list[str]:
        """The version lines that do not change with time."""
        kind = "MP" if self.version.flags & VERSION_MP else "UP"
        checked = "Checked" if self.version.major & 0xFF == 0x0C else "Free"
        lines = [
            f"{self.windows} Kernel Version {self.version.minor} {kind} "
            f"({self.processors} procs) {checked} {self.machine}"
        ]
        if self.product:
            suites = " ".join(self.suites)
            lines.append(f"Product: {self.product}, suite:{' ' + suites if suites else ''}")
        if self.build_lab:
            lines.append(f"Edition build lab: {self.build_lab}")
        lines.append("Machine Name:")
        base, modules = (
            text.address(self.version.kernel_base),
            text.address(self.version.module_list),
        )
        lines.append(f"Kernel base = 0x{base} PsLoadedModuleList = 0x{modules}")
        return lines


def read_facts(session: Session, version: TargetVersion, processors: int) -> KernelFacts:
    """Facts that cannot be read (no symbols, missing page) stay empty."""
    major, product = 0, ""
    suites: tuple[str, ...] = ()
    try:
        shared = session.nt_view("_KUSER_SHARED_DATA", SHARED_USER_DATA)
        major = shared.NtMajorVersion
        product = _product(shared.NtProductType)
        suites = _suites(shared.SuiteMask)
    except (MemoryFault, SymbolError):
        if isinstance(session.backend, CrashRecord):
            facts = session.backend.crash_facts()
            product, suites = _product(facts.product), _suites(facts.suite)
            major = 10 if version.minor >= FIRST_WINDOWS_10 else 0
    return KernelFacts(version, processors, major, product, suites, _build_lab(session))


def _product(number: int) -> str:
    return _PRODUCTS.get(number, f"product {number}")


def _suites(mask: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _SUITES if mask & bit)


def processor_count(session: Session) -> int:
    """As the kernel counts them, for a session that no stop tells; 1 when it cannot be read."""
    try:
        return session.memory.u8(session.resolve_nt("nt!KeNumberProcessors")) or 1
    except (MemoryFault, SymbolError):
        return 1


def _build_lab(session: Session) -> str:
    for name in ("nt!NtBuildLabEx", "nt!NtBuildLab"):
        try:
            return session.memory.cstring(session.resolve_nt(name), 256)
        except (MemoryFault, SymbolError):
            continue
    return ""


@dataclass(frozen=True, slots=True)
class Clock:
    """The target's time and uptime, or why they cannot be had.

    Attributes:
        hours: the zone to show it in; None: the debugger's own.
    """

    system_time: int = 0
    uptime: int = 0
    hours: int | None = None
    problem: str = ""

    def lines(self) -> list[str]:
        if self.problem:
            return [f"Debug session time: not available ({self.problem})"]
        return [
            f"Debug session time: {times.session_time(self.system_time, self.hours)}",
            f"System Uptime: {times.uptime(self.uptime)}",
        ]


def read_clock(session: Session, hours: int | None = None) -> Clock:
    """From the user data that the kernel shares with everybody."""
    try:
        shared = session.nt_view("_KUSER_SHARED_DATA", SHARED_USER_DATA)
        now, up = system_time(shared.SystemTime), system_time(shared.InterruptTime)
    except (MemoryFault, SymbolError) as error:
        if not isinstance(session.backend, CrashRecord):
            return Clock(problem=str(error))
        facts = session.backend.crash_facts()
        now, up = facts.system_time, facts.uptime
    return Clock(now, up, hours)


def system_time(view: View) -> int:
    return int(view.High1Time) << 32 | int(view.LowPart)


def debugger_data(session: Session) -> View | None:
    """The KDDEBUGGER_DATA64 block, found as the version reply says; None when there is none."""
    head = session.version.data_list
    if not head:
        return None
    try:
        block = session.nt_view("_KDDEBUGGER_DATA64", session.memory.u64(head))
        good = block.Header.OwnerTag == KDBG_TAG and block.KernBase == session.version.kernel_base
    except (MemoryFault, SymbolError):
        return None
    return block if good else None
