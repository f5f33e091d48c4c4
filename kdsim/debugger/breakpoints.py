"""The user's breakpoints, and planting them while the target runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdsim.debugger import text
from kdsim.errors import (
    ArgumentError,
    KdsimError,
    SymbolError,
    TargetError,
    TargetGone,
    UserError,
)

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

SOFTWARE_LIMIT = 32
"""Slots of nt!KdpBreakpointTable."""

HARDWARE_LIMIT = 4

_ACCESS_BITS = {"e": 0, "w": 1, "i": 2, "r": 3}
_LENGTH_BITS = {1: 0, 2: 1, 4: 3, 8: 2}

INT3 = b"\xcc"

DR7_QUIET = 0x400
"""Dr7 with nothing enabled: the bit that always reads as one."""


@dataclass(slots=True)
class Breakpoint:
    """One of the user's breakpoints.

    Attributes:
        kind: "bp", "bu", "bm" or "ba".
        expression: the text the address came from; resolved again when a module loads.
        address: None while deferred.
        access, size: of `ba`.
        passes, remaining: stop at the n-th pass; how many are left.
        process, thread: EPROCESS and ETHREAD it is restricted to, 0 for any.
        max_depth, min_depth: stack depth it is restricted to, 0 for any.
    """

    id: int
    kind: str
    expression: str
    address: int | None = None
    access: str = "e"
    size: int = 1
    enabled: bool = True
    passes: int = 1
    remaining: int = 1
    command: str = ""
    one_shot: bool = False
    process: int = 0
    thread: int = 0
    max_depth: int = 0
    min_depth: int = 0
    condition: str = ""

    @property
    def hardware(self) -> bool:
        return self.kind == "ba"

    @property
    def restrictions(self) -> tuple[int | str, ...]:
        """What two breakpoints at one place may differ in."""
        return self.process, self.thread, self.max_depth, self.min_depth, self.condition

    @property
    def deferred(self) -> bool:
        return self.address is None

    @property
    def symbolic(self) -> bool:
        """The expression names a symbol."""
        return self.kind == "bu" or "!" in self.expression

    def dr7_bits(self, slot: int) -> int:
        """Global enable, access and length for one debug register."""
        control = _ACCESS_BITS[self.access] | _LENGTH_BITS[self.size] << 2
        return 2 << slot * 2 | control << 16 + slot * 4


@dataclass(slots=True)
class Planted:
    """What is in the target right now."""

    handles: dict[int, int] = field(default_factory=dict)
    """Software breakpoints: address -> the backend's handle."""
    hardware: dict[int, Breakpoint] = field(default_factory=dict)
    """Debug register -> breakpoint."""


class Breakpoints:
    """By id; plus the temporary ones of `g`, `p` and their family."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._by_id: dict[int, Breakpoint] = {}
        self.temporary: set[int] = set()
        self.temporary_hardware: list[Breakpoint] = []
        self.planted = Planted()

    def __iter__(self) -> Iterator[Breakpoint]:
        return iter(sorted(self._by_id.values(), key=lambda b: b.id))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, number: int) -> Breakpoint | None:
        return self._by_id.get(number)

    def free_id(self) -> int:
        return next(n for n in range(len(self._by_id) + 1) if n not in self._by_id)

    def add(self, breakpoint_: Breakpoint) -> Breakpoint:
        """Enter a new one, or replace the one that has its id."""
        self._check_limits(breakpoint_)
        self._by_id[breakpoint_.id] = breakpoint_
        return breakpoint_

    def remove(self, number: int) -> None:
        self._by_id.pop(number, None)

    def renumber(self, pairs: Iterable[tuple[int, int]]) -> None:
        """`br`: move breakpoints to ids that are free."""
        for old, new in pairs:
            if old not in self._by_id:
                raise UserError(f"Breakpoint {old} does not exist")
            if new in self._by_id:
                raise UserError(f"Breakpoint {new} already exists")
            moved = self._by_id.pop(old)
            moved.id = new
            self._by_id[new] = moved

    def at(self, address: int) -> list[Breakpoint]:
        """Enabled software breakpoints at an address, by id."""
        return [b for b in self if b.enabled and not b.hardware and b.address == address]

    def executes_at(self, address: int) -> bool:
        """Whether a debug register waits for the instruction at an address."""
        planted = self.planted.hardware.values()
        return any(b.access == "e" and b.address == address for b in planted)

    def same_place(self, new: Breakpoint) -> Breakpoint | None:
        """The breakpoint a new `bp` at this address would redefine."""
        return next(
            (
                b
                for b in self
                if b.address is not None
                and (b.address, b.hardware, b.access, b.size)
                == (new.address, new.hardware, new.access, new.size)
                and b.restrictions == new.restrictions
            ),
            None,
        )

    def resolve_deferred(self) -> None:
        """Try the expressions again; a module has come."""
        for item in self:
            if item.deferred:
                try:
                    item.address = self._session.evaluate(item.expression)
                except (SymbolError, UserError):
                    continue

    def module_unloaded(self, base: int, size: int) -> None:
        """`bp` breakpoints of the module go away, `bu` and `bm` ones wait for it to come back."""
        for item in list(self):
            if item.address is None or not base <= item.address < base + size:
                continue
            if item.kind == "bu":
                item.address = None
            else:
                self.remove(item.id)

    def clear_temporary(self) -> None:
        """The break addresses of a `g` are good for one stop."""
        self.temporary.clear()
        self.temporary_hardware.clear()

    def plant(self, skip: int | None = None) -> None:
        """Put what is enabled into the target, which holds none of it now; leave `skip` out."""
        wanted = {b.address for b in self if b.enabled and not b.hardware and b.address is not None}
        wanted |= self.temporary
        wanted -= {skip}
        backend = self._session.backend
        for address in sorted(wanted):
            try:
                self.planted.handles[address] = backend.set_breakpoint(address)
            except KdsimError as error:
                self._report(address, error)
        self._assign_hardware()

    def unplant(self) -> None:
        """Take the software breakpoints out again, so that memory shows what is really there.

        A target drops those near the place of a stop by itself, and shows it in the bytes it
        reports; it would refuse the handle.
        """
        handles, self.planted.handles = self.planted.handles, {}
        for address, handle in handles.items():
            if self._dropped(address):
                continue
            try:
                self._session.backend.clear_breakpoint(handle)
            except TargetGone:
                raise
            except TargetError:
                continue

    def _dropped(self, address: int) -> bool:
        event, code = self._session.stopped_by, self._session.code_at_stop
        offset = address - event.pc if event is not None else -1
        return 0 <= offset < len(code) and code[offset : offset + 1] != INT3

    def target_lost(self) -> None:
        """The target is new: nothing is planted any more, and its modules lie elsewhere.

        What was set by name waits for its module; an address alone is all that can be kept.
        """
        self.planted = Planted()
        self.clear_temporary()
        for item in self:
            if item.symbolic:
                item.address = None

    def dr7(self) -> int:
        """What Dr7 has to be while the target runs."""
        bits = DR7_QUIET
        for slot, item in self.planted.hardware.items():
            bits |= item.dr7_bits(slot)
        return bits

    def hardware_hits(self, dr6: int) -> list[Breakpoint]:
        """The `ba` breakpoints whose debug register caused a stop."""
        return [item for slot, item in self.planted.hardware.items() if dr6 >> slot & 1]

    def debug_registers(self) -> dict[str, int]:
        """Dr0 to Dr3 and Dr7 as the `ba` breakpoints want them."""
        found, bits = {}, DR7_QUIET
        for slot, item in enumerate(self._active_hardware()[:HARDWARE_LIMIT]):
            found[f"dr{slot}"] = item.address or 0
            bits |= item.dr7_bits(slot)
        return found | {"dr7": bits}

    def _active_hardware(self) -> list[Breakpoint]:
        return [b for b in self if b.hardware and b.enabled and b.address is not None]

    def _assign_hardware(self) -> None:
        active = self._active_hardware() + self.temporary_hardware
        assigned = dict(enumerate(active[:HARDWARE_LIMIT]))
        if {s: b.address for s, b in assigned.items()} != {
            s: b.address for s, b in self.planted.hardware.items()
        }:
            for processor in range(self._session.processors):
                registers = self._session.register_file(processor)
                for slot, item in assigned.items():
                    registers[f"dr{slot}"] = item.address or 0
        self.planted.hardware = assigned

    def _report(self, address: int, error: KdsimError) -> None:
        names = ", ".join(str(b.id) for b in self.at(address)) or "(temporary)"
        self._session.out.fresh_line()
        self._session.out.line(
            f"Unable to insert breakpoint {names} at {text.address(address)}: {error}"
        )

    def _check_limits(self, new: Breakpoint) -> None:
        others = [b for b in self if b.id != new.id and b.hardware == new.hardware]
        if new.hardware and len(others) >= HARDWARE_LIMIT:
            raise ArgumentError("Too many data breakpoints: the processor has 4 debug registers")
        if not new.hardware and len(others) >= SOFTWARE_LIMIT:
            raise ArgumentError(f"Too many breakpoints: the target holds {SOFTWARE_LIMIT}")
