"""The machine: `!cpuid`, `!cpuinfo`, `!sysinfo`, `!kuser`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.kernel import SHARED_USER_DATA
from kdsim.errors import ArgumentError, KdsimError, Unsupported

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session


@dataclass(frozen=True, slots=True)
class Processor:
    """What CPUID told the kernel about a processor."""

    number: int
    family: int
    model: int
    stepping: int
    vendor: str
    mhz: int
    update: int
    features: int

    @property
    def signature(self) -> str:
        return f"{self.family},{self.model},{self.stepping}"


@dataclass(frozen=True, slots=True)
class ProcessorList:
    """`!cpuid`, or with the further columns `!cpuinfo`."""

    processors: tuple[Processor, ...]
    detailed: bool

    def lines(self) -> Iterator[str]:
        if self.detailed:
            yield "CP  F/M/S  Manufacturer      MHz Update Signature Features"
        else:
            yield "CP  F/M/S  Manufacturer        MHz "
        for cpu in self.processors:
            head = f"{cpu.number:2}  {cpu.signature:5}  {cpu.vendor}"
            if self.detailed:
                yield f"{head:26} {cpu.mhz:5} {cpu.update:016x} {cpu.features:016x}"
            else:
                yield f"{head:26}{cpu.mhz:8} "


def processors(nt: Nt, number: int | None) -> tuple[Processor, ...]:
    """One processor, or all."""
    count = processes.processor_count(nt)
    if number is not None and number >= count:
        raise ArgumentError("Cannot get PRCB address")
    return tuple(_processor(nt, n) for n in (range(count) if number is None else (number,)))


def _processor(nt: Nt, number: int) -> Processor:
    prcb = processes.prcb(nt, number)
    raw: bytes = prcb.VendorString.bytes()
    return Processor(
        number=number,
        family=prcb.CpuType & 0xFF,
        model=prcb.CpuModel,
        stepping=prcb.CpuStepping,
        vendor=raw.split(b"\0", 1)[0].decode("latin-1"),
        mhz=prcb.MHz,
        update=prcb.UpdateSignature.QuadPart,
        features=prcb.FeatureBits,
    )


@command(
    "!cpuid",
    "!cpuinfo",
    summary="The processors: family, model, stepping, speed.",
    group="processors",
    params=(Param("processor", "processor", "none: all", optional=True),),
    needs=Caps.READ,
    see_also=("!sysinfo", "!prcb"),
)
def cpuid(session: Session, args: Arguments, name: str) -> ProcessorList:
    """Reads what KPRCB keeps of CPUID."""
    number = args.optional_expression()
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    return ProcessorList(processors(nt, number), name == "!cpuinfo")


@dataclass(frozen=True, slots=True)
class SystemInformation:
    """Names and values of one area, as text or as CSV."""

    title: str
    rows: tuple[tuple[str, str], ...]
    csv: bool
    headers: bool

    def lines(self) -> Iterator[str]:
        if not self.csv:
            yield f"[{self.title}]"
            yield from (f"{name} = {value}" for name, value in self.rows)
            return
        if self.headers:
            yield ",".join(name for name, _ in self.rows)
        yield ",".join(f'"{value}"' if "," in value else value for _, value in self.rows)


AREAS = {
    "cpuinfo": "name and speed of each processor",
    "cpumicrocode": "microcode versions",
    "cpuspeed": "speeds",
    "gbl": "the ACPI tables",
    "machineid": "maker, product and BIOS",
    "registers": "model-specific registers",
    "smbios": "the SMBIOS tables",
}
SMBIOS = {
    "debug": "raw bytes",
    "devices": "devices",
    "memory": "memory modules",
    "power": "power supplies",
    "processor": "processors",
    "system": "the system",
    "v": "everything",
}
MSRS = {
    0x10: "IA32_TIME_STAMP_COUNTER",
    0x1B: "IA32_APIC_BASE",
    0x277: "IA32_PAT",
    0xC0000080: "IA32_EFER",
    0xC0000081: "IA32_STAR",
    0xC0000082: "IA32_LSTAR",
    0xC0000084: "IA32_FMASK",
    0xC0000101: "IA32_GS_BASE",
    0xC0000102: "IA32_KERNEL_GS_BASE",
}


@command(
    "!sysinfo",
    summary="Processor and firmware information.",
    group="processors",
    params=(Param("area", "word", "what to show", words=tuple(AREAS.items())),),
    options=(
        Option("-csv", "comma-separated"),
        Option("-noheaders", "with -csv: no line of names"),
        *(Option(f"-{area}", f"smbios: {meaning}") for area, meaning in SMBIOS.items()),
    ),
    needs=Caps.READ,
    see_also=("!cpuid", "vertarget"),
)
def sysinfo(session: Session, args: Arguments, name: str) -> SystemInformation:
    """From the KPRCBs and registers; firmware tables only where the target keeps them."""
    area = args.word()
    if area not in AREAS:
        raise ArgumentError(f"!sysinfo knows {' '.join(AREAS)}")
    allowed = ("csv", "noheaders") if area != "registers" else ()
    given = args.switches(*allowed, *(SMBIOS if area == "smbios" else ()))
    args.at_end()
    if "noheaders" in given and "csv" not in given:
        raise ArgumentError("-noheaders goes with -csv")
    nt = Nt(session.symbols, session.memory)
    if area == "gbl":
        raise ArgumentError("the target keeps no ACPI tables")
    if area in ("machineid", "smbios"):
        raise ArgumentError(_no_smbios(nt))
    if area == "registers":
        if Caps.MSR not in session.backend.caps:
            raise Unsupported(session.backend.refusals[Caps.MSR])
        return SystemInformation("MSRs", tuple(_registers(session)), csv=False, headers=True)
    title, rows = _processor_area(nt, area)
    return SystemInformation(title, rows, csv="csv" in given, headers="noheaders" not in given)


def _no_smbios(nt: Nt) -> str:
    symbol = "WmipSMBiosTablePhysicalAddress"
    if not nt.has(symbol):
        return f"the target keeps no SMBIOS table (nt!{symbol} is not there)"
    return "kdsim does not decode SMBIOS tables"


def _processor_area(nt: Nt, area: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    cpu = processors(nt, 0)[0]
    if area == "cpuspeed":
        speed = str(cpu.mhz)
        identity = f"{cpu.vendor} {cpu.signature}"
        return "CPU Speed", (("CPUID", identity), ("MaxSpeed", speed), ("CurrentSpeed", speed))
    if area == "cpumicrocode":
        if cpu.vendor != "GenuineIntel":
            raise ArgumentError(f"microcode versions are known of GenuineIntel, not {cpu.vendor}")
        version = f"{cpu.update & 0xFFFFFFFF:08x}:{cpu.update >> 32:08x}"
        return "CPU Microcode", (
            ("Initial Microcode Version", version),
            ("Cached Microcode Version", version),
        )
    family = {"GenuineIntel": "Intel64", "AuthenticAMD": "AMD64"}.get(cpu.vendor, "x64")
    identifier = f"{family} Family {cpu.family} Model {cpu.model} Stepping {cpu.stepping}"
    signature = ",".join(f"{byte:x}" for byte in cpu.update.to_bytes(8, "little"))
    return "CPU Information", (
        ("~MHz", f"REG_DWORD {cpu.mhz}"),
        ("Identifier", f"REG_SZ {identifier}"),
        ("VendorIdentifier", f"REG_SZ {cpu.vendor}"),
        ("FeatureSet", f"REG_QWORD {cpu.features:x}"),
        ("Update Signature", f"REG_BINARY {signature}"),
    )


def _registers(session: Session) -> Iterator[tuple[str, str]]:
    for index, label in MSRS.items():
        session.check_interrupt()
        try:
            value = f"{session.backend.read_msr(index):016x}"
        except KdsimError as error:
            value = f"({error})"
        yield f"{index:08x} {label}", value


@dataclass(frozen=True, slots=True)
class SharedPage:
    """Facts of KUSER_SHARED_DATA."""

    address: int
    tick_multiplier: int
    ticks: int
    time_zone: int
    image_numbers: tuple[int, int]
    crypto_exponent: int
    system_root: str

    def lines(self) -> Iterator[str]:
        low, high = self.image_numbers
        uptime = _uptime(self.ticks * self.tick_multiplier >> 24)
        yield f"_KUSER_SHARED_DATA at {self.address:016x}"
        yield f"TickCount:    {self.tick_multiplier:x} * {self.ticks:016x} ({uptime})"
        yield f"TimeZone Id: {self.time_zone}"
        yield f"ImageNumber Range: [{low:x} .. {high:x}]"
        yield f"Crypto Exponent: {self.crypto_exponent}"
        yield f"SystemRoot: '{self.system_root}'"


@command(
    "!kuser",
    summary="The page that kernel and programs share.",
    group="processors",
    needs=Caps.READ,
    see_also=(".time", "vertarget"),
)
def kuser(session: Session, args: Arguments, name: str) -> SharedPage:
    """Reads KUSER_SHARED_DATA."""
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    view = nt.view("_KUSER_SHARED_DATA", SHARED_USER_DATA).snapshot()
    return SharedPage(
        SHARED_USER_DATA,
        view.TickCountMultiplier,
        view.TickCountQuad,
        view.TimeZoneId,
        (view.ImageNumberLow, view.ImageNumberHigh),
        view.CryptoExponent,
        view.NtSystemRoot.text(),
    )


def _uptime(milliseconds: int) -> str:
    """`0:20:30:56.093`: days, hours, minutes, seconds."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}:{hour:02}:{minute:02}:{second:02}.{rest:03}"
