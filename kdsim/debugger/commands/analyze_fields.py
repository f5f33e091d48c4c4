"""The fields of `!analyze -v`: each is a name and what was found for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kdsim.debugger.disassembly import unreadable
from kdsim.debugger.inspect import analysis, heaps, pool, processes, status
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.text import address as tick
from kdsim.errors import KdsimError, MemoryFault, SymbolError

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.debugger.stack import Frame

SYSTEM_LEVEL = 2
"""From this level on the version of the system is told too."""
WRITE_BITS = 0x3
"""A write, in the parameter that tells the kind of access: bit 0, or bit 1 of bug check 50."""


class Gatherer:
    """Finds the fields of one analysis."""

    def __init__(
        self,
        session: Session,
        nt: Nt,
        result: analysis.Analysis,
        frames: Sequence[Frame],
        level: int,
    ) -> None:
        self._session = session
        self._nt = nt
        self._result = result
        self._frames = frames
        self._level = level

    def details(self) -> Iterator[tuple[str, str]]:
        """The fields before the stack, in WinDbg's order."""
        data = self._result.data
        if data is not None:
            yield "BUGCHECK_CODE", f"{data.code:x}"
            for number, value in enumerate(data.parameters, 1):
                yield f"BUGCHECK_P{number}", f"{value:x}"
            yield from self._access(data)
        if self._result.faulting_ip:
            yield "FAULTING_IP", self._instruction(self._result.faulting_ip)
        if data is not None:
            yield from self._exception(data)
        yield "BUGCHECK_STR", analysis.bucket_of(data)
        if self._result.driver_name:
            yield "BUGCHECKING_DRIVER", self._result.driver_name
        process = processes.process_at(self._nt, self._session.current_process())
        yield "PROCESS_NAME", process.image
        trap = next((frame.trap_frame for frame in self._frames if frame.trap_frame), 0)
        if trap:
            yield "TRAP_FRAME", f"{trap:016x} -- (.trap 0x{trap:x})"
        yield from self._unloaded()
        if len(self._frames) > 1:
            inner, outer = self._frames[:2]
            yield "LAST_CONTROL_TRANSFER", f"from {outer.ip:016x} to {inner.ip:016x}"

    def _unloaded(self) -> Iterator[tuple[str, str]]:
        """The driver whose code was executed when it was gone: `leaky.sys+1000`."""
        address = self._result.faulting_ip
        gone = self._session.modules.unloaded_at(address)
        if gone is not None:
            name, start, _ = gone
            yield "IP_MODULE_UNLOADED", f"\n{name}+{address - start:x}\n{self._code(address)}"

    def verdict(self) -> Iterator[tuple[str, str]]:
        """The fields after the stack."""
        culprit = self._result.culprit
        if culprit is not None:
            if culprit.frame is not None:
                yield "FOLLOWUP_IP", self._instruction(culprit.address)
                code = self._session.memory.read_some(culprit.address, 4)
                if len(code) == 4:
                    yield "FAULT_INSTR_CODE", f"{int.from_bytes(code, 'little'):x}"
                yield "SYMBOL_STACK_INDEX", f"{culprit.frame:x}"
                yield "SYMBOL_NAME", culprit.symbol
            yield "FOLLOWUP_NAME", "MachineOwner"
            yield "MODULE_NAME", culprit.module
            yield "IMAGE_NAME", culprit.image
            yield "DEBUG_FLR_IMAGE_TIMESTAMP", f"{culprit.timestamp:x}"
        trap = next((frame.trap_frame for frame in self._frames if frame.trap_frame), 0)
        yield "STACK_COMMAND", f".trap 0x{trap:x} ; kb" if trap else ".thread ; .cxr ; kb"
        yield "FAILURE_BUCKET_ID", analysis.failure_bucket(self._result)
        yield "BUCKET_ID", analysis.failure_bucket(self._result)
        facts = self._session.facts
        if facts is None:
            return
        if self._level >= SYSTEM_LEVEL:
            yield "OS_VERSION", f"{facts.major}.0.{facts.version.minor}.1"
        yield "BUILDLAB_STR", facts.build_lab
        if self._level >= SYSTEM_LEVEL:
            yield "OSPLATFORM_TYPE", facts.machine
            yield "OSNAME", facts.windows

    def _access(self, data: analysis.BugCheckData) -> Iterator[tuple[str, str]]:
        meaning, parameters = data.meaning, data.parameters
        if meaning.fault_address is not None:
            address = parameters[meaning.fault_address]
            write = meaning.access is not None and parameters[meaning.access] & WRITE_BITS
            name = "WRITE_ADDRESS" if write else "READ_ADDRESS"
            yield name, f"{address:016x}{self._area(address)}"
        if meaning.irql is not None:
            yield "CURRENT_IRQL", f"{parameters[meaning.irql]:x}"

    def _area(self, address: int) -> str:
        """The kind of pool an address lies in."""
        try:
            page = pool.page_of(self._nt, address)
        except (MemoryFault, SymbolError):
            return ""
        if page is None:
            return ""
        return " Paged pool" if page.heap.index == heaps.PAGED else " Nonpaged pool"

    def _exception(self, data: analysis.BugCheckData) -> Iterator[tuple[str, str]]:
        meaning, parameters = data.meaning, data.parameters
        if meaning.exception_record is not None and parameters[meaning.exception_record]:
            record = parameters[meaning.exception_record]
            yield "EXCEPTION_RECORD", f"{record:016x} -- (.exr 0x{record:x})"
        if meaning.context is not None and parameters[meaning.context]:
            context = parameters[meaning.context]
            yield "CONTEXT", f"{context:016x} -- (.cxr 0x{context:x})"
        if meaning.exception is not None:
            code = parameters[meaning.exception] & 0xFFFFFFFF
            known = status.ntstatus(code)
            text = known.message if known else "<Unable to get error code text>"
            yield "EXCEPTION_CODE", f"(NTSTATUS) 0x{code:x} - {text}"

    def _instruction(self, address: int) -> str:
        """Symbol and instruction, as two lines."""
        try:
            symbol = self._session.symbols.format(address)
        except KdsimError:
            return f"{address:016x}"
        return f"\n{symbol}\n{self._code(address)}"

    def _code(self, address: int) -> str:
        try:
            line = self._session.disassembler.line(address)
        except MemoryFault:
            return str(unreadable(address))
        return f"{tick(address)} {line.mnemonic} {line.operands}".rstrip()
