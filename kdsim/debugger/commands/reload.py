"""`.reload`: the module list, and the symbols of its modules, once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.modules import ModuleList, Selection, module_list, unloaded_drivers
from kdsim.debugger.commands.processreport import process_context
from kdsim.debugger.commands.registry import HELP_SWITCH, Option, Param, command
from kdsim.debugger.inspect import environment
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.modules import module_name
from kdsim.debugger.settings import SYMOPT_DEFERRED_LOADS
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, MemoryFault, SymbolError
from kdsim.symbols.wildcard import has_wildcard, matches

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.module import Module

SWITCHES = ("d", "f", "i", "l", "n", "o", "s", "user", "unl", "u", "v", "w")
DOTS = 64
"""In one line; each stands for a module."""
STATUS_UNSUCCESSFUL = 0xC0000001


@command(
    ".reload",
    summary="Read the module list again.",
    group="symbols",
    params=(Param("module", "module", "only these; name=address,size,timestamp", optional=True),),
    options=(
        Option("/f", "load symbols now"),
        Option("/i", "accept symbols of another build"),
        Option("/u", "unload the module and its symbols"),
        Option("/unl", "take the module from the list of unloaded ones"),
        Option("/l", "list the modules instead"),
        Option("/n", "kernel symbols only"),
        Option("/user", "user symbols only"),
        Option("/d", "the modules in the debugger's list"),
        Option("/s", "the modules in the system's list"),
        Option("/o", "ask servers again"),
        Option("/v", "verbose"),
        Option("/w", "no wildcards in the name"),
        HELP_SWITCH,
    ),
    needs=Caps.READ,
    see_also=("lm", "ld", ".sympath"),
)
def reload(session: Session, args: Arguments, name: str) -> ModuleList | None:
    """Without a module: the target's whole list. Symbols stay deferred unless /f."""
    given = args.switches(*SWITCHES)
    wanted = args.rest().strip('"')
    if "l" in given:
        return module_list(session, Selection())
    if "o" in given:
        session.symbols.path.retry()
    work = _Reload(session, given)
    if wanted and "u" in given:
        work.unload(wanted)
    elif wanted and "unl" in given:
        work.from_unloaded(wanted)
    elif "=" in wanted:
        work.place(args, wanted)
    elif wanted:
        work.some(wanted)
    elif "d" in given:
        work.current()
    else:
        work.all()
    return None


class _Reload:
    """One `.reload`."""

    def __init__(self, session: Session, given: dict[str, str]) -> None:
        self._session = session
        self._given = given
        options = session.settings.symbol_options
        self._at_once = not {"f", "i"}.isdisjoint(given) or not options & SYMOPT_DEFERRED_LOADS

    def all(self) -> None:
        """The system's list, as `.reload` alone does it."""
        session, out, given = self._session, self._session.out, self._given
        if "user" not in given:
            if session.facts is not None and not session.dump:
                out.line(session.facts.connected_line(times.from_unix(session.clock())))
            out.line("Loading Kernel Symbols")
            session.modules.reload()
            self._dots(session.symbols.modules)
        wanted: Sequence[Module] = session.symbols.modules
        process, peb = self._looked_at()
        with process_context(session, process):
            if "n" not in given:
                out.line("Loading User Symbols")
                user = self._user(peb)
                wanted = user if "user" in given else wanted
            if "user" not in given:
                out.line("Loading unloaded module list")
                if gone := unloaded_drivers(session):
                    out.line("." * len(gone))
            self._load(wanted)

    def _looked_at(self) -> tuple[int, int]:
        """The process that is looked at and its PEB; 0 where nothing tells."""
        try:
            process = self._session.current_process()
            return process, int(self._session.nt_view("_EPROCESS", process).Peb)
        except (MemoryFault, SymbolError):
            return 0, 0

    def _user(self, peb: int) -> list[Module]:
        """What the process has loaded, by the loader's list in its PEB."""
        session = self._session
        nt = Nt(session.symbols, session.memory)
        found: list[Module] = []
        session.modules.forget_user()
        try:
            images = environment.modules(nt, peb) if peb else ()
            found.extend(
                session.modules.add_user(i.path, i.base, i.size, i.timestamp) for i in images
            )
        except MemoryFault:
            place = tick(nt.view("_PEB", peb).at("Ldr"))
            session.out.line(f"PEB is paged out (Peb.Ldr = {place})")
        else:
            session.out.write("" if found else "\n")
        self._dots(found)
        return found

    def current(self) -> None:
        """`/d`: the modules the debugger knows."""
        self._session.out.line("Reloading current modules")
        self._dots(self._session.symbols.modules)
        self._renew(self._session.symbols.modules)

    def some(self, wanted: str) -> None:
        """The modules of a name or pattern."""
        self._renew(self._matching(wanted))

    def unload(self, wanted: str) -> None:
        """`/u`: they leave the list; a `.reload` brings them back."""
        for module in self._matching(wanted):
            self._session.symbols.remove(module.base)
            self._session.out.line(f"Unloaded {module.image_name}")

    def from_unloaded(self, wanted: str) -> None:
        """`/unl`: a driver that is gone, at the place where it was."""
        gone = next(
            (d for d in unloaded_drivers(self._session) if self._fits(wanted, d.name)), None
        )
        if gone is None:
            raise ArgumentError(f'"{wanted}" was not found in the unloaded module list')
        module = self._add(gone.name, gone.start, gone.end - gone.start, 0)
        self._load([module])

    def place(self, args: Arguments, wanted: str) -> None:
        """`name=address,size,timestamp`: what a header that is paged out does not tell."""
        name, _, numbers = wanted.partition("=")
        fields = numbers.split(",")
        if not name.strip() or not 1 <= len(fields) <= 3 or not all(f.strip() for f in fields):
            raise ArgumentError(".reload takes module=address,size,timestamp, without blanks")
        base, size, stamp = (
            *(type(args)(field, args.context).expression() for field in fields),
            *(0,) * (3 - len(fields)),
        )
        module = self._add(name.strip(), base, size, stamp)
        if not module.size:
            self._session.symbols.remove(module.base)
            raise ArgumentError(f"Unable to add module at {tick(base)}: {module.problem}")
        self._load([module])

    # -- parts -----------------------------------------------------------------------------------

    def _fits(self, wanted: str, image_name: str) -> bool:
        """By the module's name or the image's, `tidy` or `tidy.sys`."""
        if "w" in self._given or not has_wildcard(wanted):
            return wanted.lower() in (image_name.lower(), module_name(image_name).lower())
        return matches(wanted, image_name) or matches(wanted, module_name(image_name))

    def _matching(self, wanted: str) -> list[Module]:
        session = self._session
        found = self._known(wanted)
        if not found and "u" not in self._given:
            # One that `/u` took away is still on the target's list.
            session.modules.list_target()
            found = self._known(wanted)
        if not found and (module := session.symbols.module_named(wanted)):
            found = [module]
        if not found:
            raise ArgumentError(f'"{wanted}" was not found in the image list')
        return found

    def _known(self, wanted: str) -> list[Module]:
        return [
            module
            for module in self._session.symbols.modules
            if self._fits(wanted, module.name) or self._fits(wanted, module.image_name)
        ]

    def _add(self, image_name: str, base: int, size: int, stamp: int) -> Module:
        space = self._session.symbols
        known = space.module_named(module_name(image_name))
        if known is not None and known.image_name.lower() == image_name.lower():
            space.remove(known.base)
        return space.add(
            module_name(image_name), base, size, image_name=image_name, timestamp=stamp
        )

    def _renew(self, modules: Sequence[Module]) -> None:
        for module in modules:
            self._session.symbols.defer(module)
        self._load(modules)

    def _load(self, modules: Sequence[Module]) -> None:
        if not self._at_once:
            return
        space = self._session.symbols
        before = space.any_build
        space.any_build = before or "i" in self._given
        try:
            with self._session.progress("Loading symbols", len(modules)) as progress:
                for number, module in enumerate(list(modules)):
                    progress.advance(min(number, 1), module.name)
                    space.load(module)
        finally:
            space.any_build = before

    def _dots(self, modules: Sequence[Module]) -> None:
        """A dot for each module, and a word for each whose header cannot be read."""
        out = self._session.out
        for count, module in enumerate(modules, 1):
            self._session.check_interrupt()
            out.write(".")
            try:
                self._session.memory.read(module.base, 2)
            except MemoryFault:
                out.line(
                    f"Unable to read image header for {module.image_name} at "
                    f"{tick(module.base)} - NTSTATUS 0x{STATUS_UNSUCCESSFUL:X}"
                )
            if "v" in self._given:
                self._describe(module)
            elif count % DOTS == 0:
                out.line()
        out.fresh_line()

    def _describe(self, module: Module) -> None:
        """`/v`: what the debugger was told of a module."""
        out = self._session.out
        out.fresh_line()
        out.line(f"AddImage: {module.image_path}")
        out.line(f" DllBase  = {module.base:016x}")
        out.line(f" Size     = {module.size:08x}")
        out.line(f" Checksum = {module.checksum:08x}")
        out.line(f" TimeDateStamp = {module.timestamp:08x}")
