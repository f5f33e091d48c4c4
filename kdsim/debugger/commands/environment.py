"""The user half's blocks: `!peb !teb !gle`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.processreport import process_context
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.threadreport import Number, Text
from kdsim.debugger.inspect import environment, processes, status
from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, MemoryFault, SymbolError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

LABEL = 26


def _yes(value: object) -> Text:
    if isinstance(value, Unreadable):
        return value
    return "Yes" if value else "No"


@dataclass(frozen=True, slots=True)
class PebReport:
    """A process environment block."""

    address: int
    flags: dict[str, Text]
    image_base: Number
    global_flag: Number
    global_flag2: Number
    ldr: Number
    lists: dict[str, Text]
    initialized: Text
    modules: tuple[environment.LoadedImage, ...] | Unreadable
    subsystem_data: Number
    heap: Number
    parameters: Number
    texts: dict[str, Text]
    environment_address: Number
    environment: tuple[str, ...] | Unreadable

    def lines(self) -> Iterator[str]:
        yield f"PEB at {self.address:016x}"
        for label, value in self.flags.items():
            yield f"    {label + ':':{LABEL - 1}} {value}"
        yield f"    {'ImageBaseAddress:':{LABEL - 1}} {self.image_base:016x}"
        yield f"    {'NtGlobalFlag:':{LABEL - 1}} {self.global_flag:x}"
        yield f"    {'NtGlobalFlag2:':{LABEL - 1}} {self.global_flag2:x}"
        yield f"    {'Ldr':{LABEL - 1}} {self.ldr:016x}"
        yield f"    {'Ldr.Initialized:':{LABEL - 1}} {self.initialized}"
        for label, text in self.lists.items():
            yield f"    {label:36} {text}"
        yield from self._modules()
        yield f"    SubSystemData:     {self.subsystem_data:016x}"
        yield f"    ProcessHeap:       {self.heap:016x}"
        yield f"    ProcessParameters: {self.parameters:016x}"
        for label, text in self.texts.items():
            yield f"    {label + ':':13} '{text}'"
        yield f"    Environment:  {self.environment_address:016x}"
        if isinstance(self.environment, Unreadable):
            yield f"        {self.environment}"
        else:
            yield from (f"        {line}" for line in self.environment)

    def _modules(self) -> Iterator[str]:
        if isinstance(self.modules, Unreadable):
            yield f"    Modules: {self.modules}"
            return
        yield f"{'Base':>20} TimeStamp                     Module"
        for module in self.modules:
            stamp = times.image_time(module.timestamp)
            yield f"{module.base:>20x} {module.timestamp:08x} {stamp} {module.path}"


@command(
    "!peb",
    summary="The process environment block: modules, parameters, environment.",
    group="processes",
    params=(Param("peb", "expression", "nothing: of the process in context", optional=True),),
    needs=Caps.READ,
    see_also=("!teb", "!process", ".process"),
)
def show_peb(session: Session, args: Arguments, name: str) -> PebReport:
    """Reads the PEB, its Ldr and its ProcessParameters."""
    given = args.optional_expression()
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    process = session.current_process()
    address = int(nt.view("_EPROCESS", process).Peb) if given is None else given
    if not address:
        image = processes.image_name(nt.view("_EPROCESS", process))
        raise ArgumentError(f"PEB NULL: {image} has no user half (process {process:016x})")
    with _user_half(session, process, given):
        peb = _snapshot(nt, "_PEB", address)
        return _peb(nt, peb, _number(peb, "Ldr"), _number(peb, "ProcessParameters"))


def _user_half(session: Session, process: int, given: int | None) -> AbstractContextManager[None]:
    """User memory of `process`; for a given address, of the process the user has chosen."""
    if given is not None and session.memory.process_cr3 is not None:
        return nullcontext()
    return process_context(session, process)


def _snapshot(nt: Nt, record: str, address: int) -> View:
    """The block in one piece. ArgumentError when there is nothing."""
    view = nt.view(record, address)
    try:
        return view.snapshot()
    except MemoryFault as error:
        word = record.strip("_")
        raise ArgumentError(
            f"error InitTypeRead( nt!{record} at {address:x}): {error}; "
            f"is this the right process for that {word}?"
        ) from error


def _number(view: View, path: str) -> Number:
    return attempt(lambda: int(view[path]))


def _peb(nt: Nt, peb: View, ldr: Number, parameters: Number) -> PebReport:
    lists: dict[str, Text] = {}
    modules: tuple[environment.LoadedImage, ...] | Unreadable = ()
    initialized: Text = "No"
    if isinstance(ldr, Unreadable):
        modules = ldr
    elif ldr:
        data = nt.view("_PEB_LDR_DATA", ldr)
        initialized = _yes(_number(data, "Initialized"))
        for order in ("InInitializationOrder", "InLoadOrder", "InMemoryOrder"):
            field = f"{order}ModuleList"
            lists[f"Ldr.{field}:"] = _ends(data, field)
        modules = attempt(lambda: tuple(environment.modules(nt, peb.address)))
    start = attempt(lambda: _environment_address(nt, parameters))
    return PebReport(
        address=peb.address,
        flags={
            field: _yes(_number(peb, field))
            for field in ("InheritedAddressSpace", "ReadImageFileExecOptions", "BeingDebugged")
        },
        image_base=_number(peb, "ImageBaseAddress"),
        global_flag=_number(peb, "NtGlobalFlag"),
        global_flag2=_number(peb, "NtGlobalFlag2"),
        ldr=ldr,
        initialized=initialized,
        lists=lists,
        modules=modules,
        subsystem_data=_number(peb, "SubSystemData"),
        heap=_number(peb, "ProcessHeap"),
        parameters=parameters,
        texts=_parameter_texts(nt, parameters),
        environment_address=start,
        environment=start
        if isinstance(start, Unreadable)
        else attempt(lambda: tuple(environment.environment(nt, start)) if start else ()),
    )


def _ends(data: View, field: str) -> Text:
    return attempt(lambda: f"{data[field].Flink:016x} . {data[field].Blink:016x}")


def _environment_address(nt: Nt, parameters: Number) -> int:
    if isinstance(parameters, Unreadable) or not parameters:
        return 0
    return int(nt.view("_RTL_USER_PROCESS_PARAMETERS", parameters).Environment)


def _parameter_texts(nt: Nt, parameters: Number) -> dict[str, Text]:
    fields = {
        "CurrentDirectory": "CurrentDirectory.DosPath",
        "WindowTitle": "WindowTitle",
        "ImageFile": "ImagePathName",
        "CommandLine": "CommandLine",
        "DllPath": "DllPath",
    }
    if isinstance(parameters, Unreadable) or not parameters:
        return {}
    view = nt.view("_RTL_USER_PROCESS_PARAMETERS", parameters)
    return {label: _text(nt, view, path) for label, path in fields.items()}


def _text(nt: Nt, view: View, path: str) -> Text:
    try:
        return environment.text(nt, view[path])
    except (MemoryFault, SymbolError) as error:
        return Unreadable(str(error))


@dataclass(frozen=True, slots=True)
class TebReport:
    """A thread environment block: labels and values in their order."""

    address: int
    values: dict[str, Text]

    def lines(self) -> Iterator[str]:
        yield f"TEB at {self.address:016x}"
        for label, value in self.values.items():
            yield f"    {label + ':':22}{value}"


@command(
    "!teb",
    summary="The thread environment block: stack, ids, last error.",
    group="processes",
    params=(Param("teb", "expression", "nothing: of the thread in context", optional=True),),
    needs=Caps.READ,
    see_also=("!peb", "!gle", "!thread"),
)
def show_teb(session: Session, args: Arguments, name: str) -> TebReport:
    """Reads the TEB."""
    given = args.optional_expression()
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    thread = nt.view("_KTHREAD", session.current_thread())
    address = int(thread.Teb) if given is None else given
    if not address:
        raise ArgumentError(f"thread {thread.address:016x} has no TEB: it has no user half")
    with _user_half(session, int(thread.Process), given):
        return TebReport(address, _teb_values(_snapshot(nt, "_TEB", address)))


def _teb_values(teb: View) -> dict[str, Text]:
    def pointer(path: str) -> Text:
        return attempt(lambda: f"{teb[path]:016x}")

    def number(path: str) -> Text:
        return attempt(lambda: f"{teb[path]:x}")

    return {
        "ExceptionList": pointer("NtTib.ExceptionList"),
        "StackBase": pointer("NtTib.StackBase"),
        "StackLimit": pointer("NtTib.StackLimit"),
        "SubSystemTib": pointer("NtTib.SubSystemTib"),
        "FiberData": pointer("NtTib.FiberData"),
        "ArbitraryUserPointer": pointer("NtTib.ArbitraryUserPointer"),
        "Self": pointer("NtTib.Self"),
        "EnvironmentPointer": pointer("EnvironmentPointer"),
        "ClientId": attempt(
            lambda: f"{teb.ClientId.UniqueProcess:016x} . {teb.ClientId.UniqueThread:016x}"
        ),
        "RpcHandle": pointer("ActiveRpcHandle"),
        "Tls Storage": pointer("ThreadLocalStoragePointer"),
        "PEB Address": pointer("ProcessEnvironmentBlock"),
        "LastErrorValue": number("LastErrorValue"),
        "LastStatusValue": number("LastStatusValue"),
        "Count Owned Locks": number("CountOfOwnedCriticalSections"),
        "HardErrorMode": number("HardErrorMode"),
    }


@dataclass(frozen=True, slots=True)
class LastErrors:
    """A thread's last error and last status."""

    thread: int
    error: int
    status: int
    named: bool

    def lines(self) -> Iterator[str]:
        if self.named:
            yield f"Last error for thread {self.thread:x}:"
        signed_error = self.error if self.error < 1 << 31 else self.error - (1 << 32)
        yield (
            f"LastErrorValue: (Win32) {_number_text(self.error)} ({signed_error})"
            f" - {_message(status.win32(self.error))}"
        )
        meaning = _message(status.ntstatus(self.status))
        yield f"LastStatusValue: (NTSTATUS) {_number_text(self.status)} - {meaning}"


def _number_text(value: int) -> str:
    return f"{value:#x}" if value > 9 else str(value)


def _message(found: status.StatusCode | None) -> str:
    return found.message if found else "<Unable to get error code text>"


@dataclass(frozen=True, slots=True)
class AllErrors:
    """The last errors of every user thread."""

    threads: tuple[LastErrors | str, ...]

    def lines(self) -> Iterator[str]:
        for found in self.threads:
            if isinstance(found, str):
                yield found
            else:
                yield from found.lines()
            yield ""


@command(
    "!gle",
    summary="The last error of the thread in context.",
    group="processes",
    options=(Option("-all", "of every thread with a user half"),),
    needs=Caps.READ,
    see_also=("!teb", "!error"),
)
def show_last_error(session: Session, args: Arguments, name: str) -> LastErrors | AllErrors:
    """Reads TEB.LastErrorValue and LastStatusValue."""
    switches = args.switches("all")
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    if "all" in switches:
        return AllErrors(tuple(_all_errors(session, nt)))
    thread = nt.view("_ETHREAD", session.current_thread())
    if not thread.Tcb.Teb:
        raise ArgumentError(f"thread {thread.address:016x} has no TEB: it has no user half")
    with process_context(session, int(thread.Tcb.Process)):
        try:
            return _last_errors(nt, thread, named=False)
        except MemoryFault as error:
            raise ArgumentError(f"Unable to read the TEB: {error}") from error


def _last_errors(nt: Nt, thread: View, *, named: bool) -> LastErrors:
    teb = nt.view("_TEB", int(thread.Tcb.Teb))
    tid = int(thread.Cid.UniqueThread)
    return LastErrors(tid, int(teb.LastErrorValue), int(teb.LastStatusValue), named)


def _all_errors(session: Session, nt: Nt) -> Iterator[LastErrors | str]:
    for process in processes.processes(nt):
        with process_context(session, process.address):
            for thread in processes.threads(nt, process.address):
                session.check_interrupt()
                if not thread.Tcb.Teb:
                    continue
                try:
                    yield _last_errors(nt, thread, named=True)
                except MemoryFault as error:
                    tid = int(thread.Cid.UniqueThread)
                    yield f"Last error for thread {tid:x}: <{error}>"
