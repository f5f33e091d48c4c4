"""Who broke the machine: the reasoning behind `!analyze`.

Reads: nt!KiBugCheckData, nt!KiBugCheckDriver, the stack of the processor that stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kdsim.debugger.inspect import bugchecks, modules
from kdsim.debugger.inspect.bugchecks_model import BugCheck
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import MemoryFault, SymbolError

# Modules that report other people's mistakes.
SYSTEM_MODULES = frozenset({"nt", "hal"})
VERIFIER_VIOLATION = 0xC4
LEAK_AT_UNLOAD = 0x62


class StackFrame(Protocol):
    """What the analysis needs of a frame."""

    @property
    def ip(self) -> int: ...

    @property
    def lookup_ip(self) -> int: ...

    @property
    def interrupted(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class BugCheckData:
    """nt!KiBugCheckData: the code and its four parameters."""

    code: int
    parameters: tuple[int, ...]

    @property
    def meaning(self) -> BugCheck:
        return bugchecks.describe(self.code)

    @property
    def bucket(self) -> str:
        """`0xD1`, for Driver Verifier `0xc4_62`."""
        if self.code == VERIFIER_VIOLATION:
            return f"0x{self.code:x}_{self.parameters[0]:x}"
        return f"0x{self.code:X}"


@dataclass(frozen=True, slots=True)
class Culprit:
    """The module to look at, and the place in it when the stack names one.

    Attributes:
        frame: index of the frame that named it; None when the kernel named the driver itself.
        symbol: `leaky!Worker+0x12`; empty without a frame.
    """

    module: str
    image: str
    timestamp: int
    frame: int | None
    address: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything `!analyze` concludes."""

    data: BugCheckData | None
    driver_name: str
    culprit: Culprit | None
    faulting_ip: int


def bugcheck_driver(nt: Nt) -> str:
    """The driver the kernel itself blames (nt!KiBugCheckDriver), empty for none."""
    try:
        string = nt.pointer("KiBugCheckDriver")
        return nt.unicode(nt.view("_UNICODE_STRING", string)) if string else ""
    except (MemoryFault, SymbolError):
        return ""


def analyse(
    nt: Nt,
    data: BugCheckData | None,
    frames: Sequence[StackFrame],
    unloaded: Callable[[int], str] = lambda _: "",
) -> Analysis:
    """Blame the driver the kernel names, the one whose code is gone, or the first frame's.

    Args:
        nt: the kernel.
        data: what it says of a bug check.
        frames: the stack; frames of system modules are not to blame.
        unloaded: file name of the unloaded driver that was at an address, or "".
    """
    faulting_ip = _faulting_ip(data, frames)
    driver = bugcheck_driver(nt) if data is not None else ""
    named = driver or unloaded(faulting_ip)
    culprit = _named_culprit(nt, named) if named else _stack_culprit(nt, frames)
    return Analysis(data, driver, culprit, faulting_ip)


def _faulting_ip(data: BugCheckData | None, frames: Sequence[StackFrame]) -> int:
    """Where it happened: the code's own parameter, else the instruction a trap interrupted."""
    index = data.meaning.faulting_ip if data is not None else None
    if data is not None and index is not None and data.parameters[index]:
        return data.parameters[index]
    first = frames[0].ip if frames and data is None else 0
    return next((frame.ip for frame in frames if frame.interrupted), first)


def _named_culprit(nt: Nt, driver: str) -> Culprit:
    """A driver known by its file name: loaded, or gone already."""
    for entry in modules.loaded(nt):
        if entry.base_name.lower() == driver.lower():
            module = nt.symbols.module_at(entry.base)
            name = module.name if module else driver.rpartition(".")[0]
            return Culprit(name, entry.base_name, entry.timestamp, None, entry.base, "")
    return Culprit(driver.rpartition(".")[0] or driver, driver, 0, None, 0, "")


def _stack_culprit(nt: Nt, frames: Sequence[StackFrame]) -> Culprit | None:
    """The frame nearest to the failure that belongs to no system module.

    What ran in a trap's handlers is not to blame, so the search starts below the last trap.
    """
    start = max((i for i, frame in enumerate(frames) if frame.interrupted), default=0)
    for index in range(start, len(frames)):
        module = nt.symbols.module_at(frames[index].lookup_ip)
        if module is not None and module.name.lower() not in SYSTEM_MODULES:
            return _culprit_at(nt, frames[index].ip, index)
    if start and frames:
        return _culprit_at(nt, frames[start].ip, start)
    return None


def _culprit_at(nt: Nt, address: int, index: int) -> Culprit | None:
    module = nt.symbols.module_at(address)
    if module is None:
        return None
    return Culprit(
        module.name,
        module.image_name,
        module.timestamp,
        index,
        address,
        nt.symbols.format(address),
    )


def bucket_of(data: BugCheckData | None) -> str:
    """BUGCHECK_STR: what kind of failure it is."""
    return data.bucket if data is not None else "0x0"


def failure_bucket(analysis: Analysis) -> str:
    """The bucket two equal failures share."""
    data, culprit = analysis.data, analysis.culprit
    bucket = bucket_of(data)
    if culprit is None:
        return f"{bucket}_nt!unknown_function"
    if (
        data is not None
        and data.code == VERIFIER_VIOLATION
        and data.parameters[0] == LEAK_AT_UNLOAD
    ):
        return f"{bucket}_LEAKED_POOL_IMAGE_{culprit.image}"
    if culprit.symbol:
        return f"{bucket}_{culprit.symbol.partition('+')[0]}"
    return f"{bucket}_IMAGE_{culprit.image}"
