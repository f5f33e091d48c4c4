"""The target's module list, read when somebody needs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import ModuleEvent, ModuleList
from kdsim.debugger.paging import USER_END
from kdsim.debugger.progress import Progress
from kdsim.errors import FormatError, MemoryFault, SymbolError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kdsim.debugger.backends.base import ListedModule
    from kdsim.debugger.session import Session
    from kdsim.symbols.space import Module, SymbolSpace

Gone = tuple[str, int, int]
"""Name, start and end of a driver that was unloaded."""

KERNEL = "nt"
SYMOPT_LOAD_ANYTHING = 0x40
LIST_LIMIT = 4096
"""A module list longer than this is damaged."""


class Modules:
    """Keeps the session's symbol space in step with the target."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._space: SymbolSpace | None = None
        self._listed = False
        self._awaited = ""
        self._notices: list[str] = []
        self._gone: tuple[Gone, ...] | None = None
        self._leaving: int | None = None
        self.unloaded: Callable[[], Iterable[Gone]] = tuple
        """Drivers that are gone, newest first; the commands package knows how to tell."""

    def prepare(self) -> None:
        """Import what symbols need; costs nothing later."""
        _ = self.kernel_space

    @property
    def kernel_space(self) -> SymbolSpace:
        """The symbol space as it is: the kernel, and whatever else is known by now."""
        if self._space is None:
            from kdsim.symbols.space import SymbolSpace
            from kdsim.symbols.store import SymbolPath

            path = SymbolPath.parse(self._session.symbol_path)
            path.waiting = self._waiting
            self._space = SymbolSpace(path, self._session.memory)
            self._space.unnamed = self.name_outside
            self._space.on_load(self._loaded)
            self.use_image_path(self._session.image_path)
        return self._space

    def _waiting(self, file: str, received: int) -> None:
        """A symbol server takes its time."""
        if self._awaited != file:
            session, self._awaited = self._session, file
            out, check = session.out, session.check_interrupt
            self._download = Progress(f"Downloading {file}", 0, out.status, check)
        self._download.advance(0, f"{received / 1e6:.1f} MB")

    def apply_options(self) -> None:
        """Let the symbol options take effect on what is loaded from now on."""
        settings, space = self._session.settings, self.kernel_space
        for path in (space.path, space.image_path):
            if path is not None:
                path.log = self._session.out.line if settings.symbol_noise else _silent
        space.any_build = bool(settings.symbol_options & SYMOPT_LOAD_ANYTHING)

    def _loaded(self, module: Module) -> None:
        """Note what kd says when a module's symbols are not what they should be."""
        if self._session.settings.symbol_noise:
            self.kernel_space.path.log(_noise(module))
        self._notices += _complaints(module)

    def notices(self) -> list[str]:
        """What loading symbols had to say since this was asked last."""
        said, self._notices = self._notices, []
        return said

    def use_image_path(self, text: str) -> None:
        """`-i` and `.exepath`."""
        from kdsim.symbols.store import SymbolPath

        self._session.image_path = text
        self.kernel_space.image_path = SymbolPath.parse(text) if text else None
        self.apply_options()

    @property
    def space(self) -> SymbolSpace:
        """The symbol space with all loaded modules."""
        if not self._listed and self._session.facts is not None:
            self.add_kernel()
            self.list_target()
        return self.kernel_space

    def space_for(self, va: int) -> SymbolSpace:
        """The symbol space for questions about one address: no listing for a module we know."""
        return self.kernel_space if self.kernel_space.module_at(va) else self.space

    def name_outside(self, va: int) -> str:
        """`<Unloaded_leaky.sys>+0x1234` where a driver was."""
        gone = self.unloaded_at(va)
        if gone is None:
            return f"0x{va:x}"
        name, start, _ = gone
        return f"<Unloaded_{name}>+0x{va - start:x}"

    def unloaded_at(self, va: int) -> Gone | None:
        """The driver that was at an address and is gone."""
        if va < USER_END:
            return None
        if self._gone is None:
            self._gone = ()  # Reading the table may ask for names, too.
            self._gone = tuple(self.unloaded())
        return next((gone for gone in self._gone if gone[1] <= va < gone[2]), None)

    def forget_unloaded(self) -> None:
        """The target's table may have changed."""
        self._gone = None

    def add_kernel(self) -> None:
        """The kernel alone: its base comes from the version reply, the rest from its headers."""
        base = self._session.version.kernel_base
        for module in self._told()[:1]:
            self._add_told(module)
        if base and self.kernel_space.module_at(base) is None:
            self._add(KERNEL, base, 0, "ntoskrnl.exe", "ntoskrnl.exe")

    def _told(self) -> Sequence[ListedModule]:
        """What the backend lists itself."""
        backend = self._session.backend
        return backend.listed_modules() if isinstance(backend, ModuleList) else ()

    def _add_told(self, module: ListedModule) -> None:
        path, base, size, timestamp, checksum = module
        image = _file_name(path)
        name = KERNEL if base == self._session.version.kernel_base else module_name(image)
        if self.kernel_space.module_at(base) is None:
            self._add(name, base, size, image, path, timestamp=timestamp, checksum=checksum)

    def kernel_problems(self) -> list[str]:
        """Why the kernel has no usable symbols; empty when it has."""
        kernel = self.kernel_space.module_named(KERNEL)
        if kernel is None:
            return ["*** ERROR: the target reports no kernel; symbols are not available"]
        try:
            self.kernel_space.load(kernel)
            self.kernel_space.type("nt!_KLDR_DATA_TABLE_ENTRY")
        except (SymbolError, FormatError, MemoryFault) as error:
            self._notices.clear()
            return [f"*** ERROR: Symbol file could not be found for {kernel.image_name}: {error}"]
        return []

    def list_target(self) -> None:
        """Walk PsLoadedModuleList. An entry that cannot be read ends the walk."""
        self._listed = True
        if told := self._told():
            for module in told:
                self._add_told(module)
            return
        session = self._session
        head = session.version.module_list
        try:
            link = session.memory.u64(head)
            for _ in range(LIST_LIMIT):
                if link in (head, 0):
                    break
                link = self._add_entry(link)
        except (MemoryFault, SymbolError) as error:
            session.out.fresh_line()
            session.out.line(f"*** The module list cannot be read completely: {error}")
        except (KeyboardInterrupt, TargetError):
            # Half a list would pass for the whole.
            self._listed = False
            raise

    def note(self, event: ModuleEvent) -> None:
        """A module came, or goes: that one stays until the target runs on."""
        if event.unload:
            if event.base == (1 << 64) - 1:
                self.clear()
            else:
                self._leaving = event.base
            return
        if self.kernel_space.module_at(event.base) is None:
            image = _file_name(event.path)
            name = KERNEL if event.base == self._session.version.kernel_base else module_name(image)
            self._add(name, event.base, event.size, image, event.path, checksum=event.checksum)

    def let_go(self) -> None:
        """The target runs on: what it unloads is gone."""
        if self._leaving is not None:
            self.kernel_space.remove(self._leaving)
            self._leaving = None

    def reload(self) -> None:
        """Read the target's list again. Symbols that were loaded are loaded again when needed.

        What Ctrl+C leaves undone is done when the modules are asked for next.
        """
        self.clear()
        try:
            self.add_kernel()
            self.list_target()
        except KeyboardInterrupt:
            self.add_kernel()
            raise

    def forget_user(self) -> None:
        """Take out the modules of a process, which no other process has in the same places."""
        for module in [module for module in self.space.modules if module.base < USER_END]:
            self.kernel_space.remove(module.base)

    def add_user(self, path: str, base: int, size: int, timestamp: int) -> Module:
        """A module of the process that is looked at."""
        image = _file_name(path)
        return self._add(module_name(image), base, size, image, path, timestamp=timestamp)

    def clear(self) -> None:
        """Forget everything; the kernel has to be added again."""
        if self._space is not None:
            self._space.clear()
        self._listed = False

    def _add_entry(self, link: int) -> int:
        """Add the module of one list entry; answers with the next link."""
        session = self._session
        entry = session.nt_view("_KLDR_DATA_TABLE_ENTRY", link)
        base = int(entry.DllBase)
        image = self._text(entry.BaseDllName)
        path = self._text(entry.FullDllName) or image
        known = self.kernel_space.module_at(base)
        if known is not None:
            known.image_name, known.image_path = image, path
        else:
            name = KERNEL if base == session.version.kernel_base else module_name(image)
            self._add(
                name,
                base,
                int(entry.SizeOfImage),
                image,
                path,
                timestamp=int(entry.TimeDateStamp),
                checksum=int(entry.CheckSum),
            )
        return int(entry.InLoadOrderLinks.Flink)

    def _text(self, string: object) -> str:
        length, buffer = int(string.Length), int(string.Buffer)  # type: ignore[attr-defined]
        return self._session.memory.read(buffer, length).decode("utf-16-le", "replace")

    def _add(
        self,
        name: str,
        base: int,
        size: int,
        image_name: str,
        image_path: str,
        *,
        timestamp: int = 0,
        checksum: int = 0,
    ) -> Module:
        return self.kernel_space.add(
            name,
            base,
            size,
            image_name=image_name,
            image_path=image_path,
            timestamp=timestamp,
            checksum=checksum,
        )


def _silent(_line: str) -> None:
    """The log of a quiet symbol path."""


def _complaints(module: Module) -> list[str]:
    """What kd says of a module without the right symbols."""
    if module.status == "none":
        head = "*** ERROR: Module load completed but symbols could not be loaded for"
        return [f"{head} {module.image_name}"]
    if module.status == "export":
        head = "*** ERROR: Symbol file could not be found.  Defaulted to export symbols for"
        return [f"{head} {module.image_name} -"]
    if module.match == "M":
        return [f"*** WARNING: Mismatched symbols are used for {module.image_name}"]
    what = {"T": "timestamp", "C": "checksum"}.get(module.letters)
    return [f"*** WARNING: Unable to verify {what} for {module.image_name}"] if what else []


def _noise(module: Module) -> str:
    """`DBGHELP: tidy - private symbols & lines`."""
    kind = {
        "private pdb": "private symbols & lines",
        "pdb": "public symbols",
        "export": "export symbols",
    }.get(module.status, "no symbols loaded")
    where = f"\n        {module.pdb_path}" if module.pdb_path else ""
    return f"DBGHELP: {module.name} - {kind}{where}"


def module_name(image: str) -> str:
    """`leaky` for `leaky.sys`; characters that a symbol name cannot have become underscores."""
    stem = image.rsplit(".", 1)[0]
    return re.sub(r"[^\w$]", "_", stem)


def _file_name(path: str) -> str:
    return path.replace("/", "\\").rsplit("\\", 1)[-1]
