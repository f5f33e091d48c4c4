"""The words of each kind of thing: the second of completion's two steps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.debugger.commands import tokens
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.context import KEPT, POINTERS
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.language.typed import Typed
from kdsim.debugger.pseudo import pseudo_names
from kdsim.debugger.shell.known import Known
from kdsim.debugger.shell.members import Members
from kdsim.debugger.shell.places import CONTROL, Kind, Place
from kdsim.errors import KdsimError
from kdsim.symbols.types import Field, Pointer, Type

if TYPE_CHECKING:
    from kdsim.debugger.commands.engine import Engine
    from kdsim.symbols.views import View

MASM_OPERATORS: dict[str, tuple[tuple[str, str], ...]] = {
    "UNARY": (
        ("poi", "the pointer at an address"),
        ("by", "the byte at an address"),
        ("wo", "the word at an address"),
        ("dwo", "the double-word at an address"),
        ("qwo", "the quad-word at an address"),
        ("low", "the low 16 bits"),
        ("hi", "the high 16 bits"),
        ("not", "1 when the operand is 0"),
    ),
    "AND": (("and", "bitwise and"),),
    "OR": (("or", "bitwise or"),),
    "XOR": (("xor", "bitwise exclusive or"),),
    "PRODUCT": (("mod", "remainder"),),
    "FUNCTION": (
        ("$iment(", "entry point of the image at an address"),
        ("$scmp(", 'compares strings: $scmp("a", "b")'),
        ("$sicmp(", "compares strings whatever their case"),
        ("$spat(", 'matches wildcards: $spat("text", "pattern")'),
        ("$vvalid(", "1 when a range is valid: $vvalid(address, length)"),
    ),
    "SWITCH": (
        ("@@(", "the other expression language"),
        ("@@c++(", "a C++ expression"),
        ("@@masm(", "a MASM expression"),
    ),
}
"""Words of the terminals of `masm.lark` that are spelt with letters."""

MACROS = (
    ("#CONTAINING_RECORD(", "address, type, field"),
    ("#FIELD_OFFSET(", "type, field"),
    ("#RTL_CONTAINS_FIELD(", "pointer, size, field"),
    ("#RTL_FIELD_SIZE(", "type, field"),
    ("#RTL_NUMBER_OF(", "array"),
    ("#RTL_SIZEOF_THROUGH_FIELD(", "type, field"),
    ("sizeof(", "type or expression"),
)

_MARKS = ".!"
"""Plain commands are offered first, then those with a dot, then the extensions."""

PROCESS_LIMIT = 256
PATIENCE = 0.3
"""Seconds that a list read from the target may take; what came by then is offered."""


@dataclass(frozen=True, slots=True)
class Word:
    """One completion.

    Attributes:
        text: what is inserted.
        meta: what it is, shown beside it.
        shown: what the menu shows instead of the text.
    """

    text: str
    meta: str = ""
    shown: str = ""


class Words:
    """One per session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session = engine.session
        self.known = Known(engine.session)
        self._members = Members(self.known, self._pseudo_type)
        self._stop: object = None
        self._processes: list[Word] = []
        self._threads: list[Word] = []
        self._sources: dict[Kind, Callable[[Place], Iterable[Word]]] = {
            "command": _commands,
            "control": _control,
            "alias": self._aliases,
            "symbol": self._symbols,
            "type": lambda place: map(Word, self.known.type_names(place.word)),
            "module": self._modules,
            "register": self._registers,
            "operator": _operators,
            "macro": lambda place: _beginning(place.word, MACROS) if place.word else (),
            "member": self._member,
            "field": self._field,
            "file": lambda place: _files(place.word),
            "option": _options,
            "flags": _flags,
            "event": self._events,
            "breakpoint": self._breakpoints,
            "processor": self._processors,
            "process": lambda place: self._listed(place, "process"),
            "thread": lambda place: self._listed(place, "thread"),
        }

    def of(self, place: Place) -> Iterator[Word]:
        """Words that fit, in the order of the place's kinds; an unreadable target offers none."""
        for kind in place.kinds:
            try:
                yield from self._sources[kind](place)
            except (KdsimError, OSError):
                # The command itself will say what is wrong.
                continue

    # ---- names ------------------------------------------------------------------------------

    def _symbols(self, place: Place) -> Iterator[Word]:
        typed = place.word
        if not typed or (typed[0] in "@$" and not typed.startswith("$!")):
            return
        if "!" not in typed:
            folded = typed.lower()
            for local in self.known.locals():
                if local.name.lower().startswith(folded):
                    yield Word(local.name, local.type.name)
        yield from map(Word, self.known.symbol_names(typed))

    def _modules(self, place: Place) -> Iterator[Word]:
        alone = place.kinds == ("module",)
        if "!" not in place.word and place.word[:1] not in ("@", "$"):
            for module in self.known.modules:
                if module.name.lower().startswith(place.word.lower()):
                    yield Word(module.name if alone else f"{module.name}!", module.image_name)

    def _registers(self, place: Place) -> Iterator[Word]:
        """`@rax` and `@$proc` in expressions, `rax` and `$t0` where only a register can stand."""
        typed = place.word
        alone = place.kinds == ("register",)
        if typed[:1] not in ("@", "$") and not alone:
            return
        mark = "@" if typed.startswith("@") else ""
        breakpoints = [f"$bp{item.id}" for item in self._session.breakpoints]
        fixed = [f"$.u{digit}" for digit in range(10)] if typed.startswith("$.") and alone else []
        pseudo = sorted({*pseudo_names(), *KEPT, *breakpoints, *fixed}, key=_numbered)
        names = self._session.register_names() if not typed.startswith("$") else []
        for name in (*pseudo, *names):
            if f"{mark}{name}".startswith(typed.lower()):
                yield Word(f"{mark}{name}")

    def _aliases(self, place: Place) -> Iterator[Word]:
        for name, value in sorted(self._engine.aliases.user.items()):
            if name.startswith(place.word):
                yield Word(name, f"alias: {value}")

    def _pseudo_type(self, name: str) -> Type | None:
        record = POINTERS.get(name)
        if record is not None:
            found = self.known.type(f"nt!{record}")
            return Pointer(found) if found is not None else None
        value = self._engine.context.pseudo(name) if name in KEPT else None
        return value.type if isinstance(value, Typed) else None

    def _member(self, place: Place) -> Iterator[Word]:
        for field in self._members.of_expression(place.base, place.word):
            yield Word(field.name, _layout(field))

    def _field(self, place: Place) -> Iterator[Word]:
        for path, field in self._members.of_type(place.base, place.word):
            yield Word(path, _layout(field))

    # ---- what the session has ---------------------------------------------------------------

    def _events(self, place: Place) -> Iterator[Word]:
        """Codes of `sxe` and its like; `ld:` and `ud:` take a module."""
        event, colon, typed = place.word.partition(":")
        if colon:
            for module in self._modules(replace(place, kinds=("module",), word=typed)):
                yield replace(module, text=f"{event}:{module.text}")
        else:
            filters = ((item.name, item.meaning) for item in self._session.filters)
            yield from _beginning(typed or event, filters)

    def _breakpoints(self, place: Place) -> Iterator[Word]:
        for item in self._session.breakpoints:
            if str(item.id).startswith(place.word):
                yield Word(str(item.id), item.expression)
        if len(self._session.breakpoints) and "*".startswith(place.word):
            yield Word("*", "all breakpoints")

    def _processors(self, place: Place) -> Iterator[Word]:
        for number in range(self._session.processors):
            if f"{number:x}".startswith(place.word):
                yield Word(f"{number:x}", "processor")

    def _listed(self, place: Place, kind: str) -> Iterator[Word]:
        """Processes, or the current process's threads: read once for each stop."""
        here = (self._session.event, self._session.scope.process)
        if self._stop != here:
            self._stop, self._processes, self._threads = here, [], []
        rows = self._processes if kind == "process" else self._threads
        if not rows and self._session.lost is None:
            rows += self._read_processes() if kind == "process" else self._read_threads()
        typed = place.word.lower()
        yield from (
            r for r in rows if typed in (r.text[: len(typed)], r.shown[: len(typed)].lower())
        )

    def _read_processes(self) -> Iterator[Word]:
        nt = Nt(self._session.symbols, self._session.memory)
        head = nt.address("PsActiveProcessHead")
        views = nt.list_entries(head, "_EPROCESS", "ActiveProcessLinks")
        for view in _in_time(views):
            image = processes.image_name(view)
            meta = f"pid {int(view.UniqueProcessId):x}"
            yield Word(f"{view.address:x}", meta, f"{image} {view.address:x}")

    def _read_threads(self) -> Iterator[Word]:
        nt = Nt(self._session.symbols, self._session.memory)
        for view in _in_time(processes.threads(nt, self._session.current_process())):
            cid = view.Cid
            meta = f"Cid {int(cid.UniqueProcess):04x}.{int(cid.UniqueThread):04x}"
            yield Word(f"{view.address:x}", meta)


def _in_time(views: Iterator[View]) -> Iterator[View]:
    end = time.monotonic() + PATIENCE
    for number, view in enumerate(views):
        yield view
        if number >= PROCESS_LIMIT or time.monotonic() > end:
            return


# ---- what the declarations say --------------------------------------------------------------


def _commands(place: Place) -> Iterator[Word]:
    if place.accepts and "TEXT" not in place.accepts:
        return
    typed = place.word.lower()
    for name in sorted(REGISTRY.names(), key=lambda name: (_MARKS.find(name[0]), name.lower())):
        declared = REGISTRY.get(name) if name.lower().startswith(typed) else None
        if declared is not None:
            yield Word(name, declared.summary)


def _control(place: Place) -> Iterator[Word]:
    for terminal in sorted(CONTROL):
        if terminal in place.accepts:
            for spelling in CONTROL[terminal]:
                if place.word and spelling.startswith(place.word):
                    token = tokens.find(spelling)
                    yield Word(spelling, token.summary if token is not None else "")


def _operators(place: Place) -> Iterator[Word]:
    if place.word:
        for terminal, rows in MASM_OPERATORS.items():
            if terminal in place.accepts:
                yield from _beginning(place.word, rows)


def _beginning(typed: str, rows: Iterable[tuple[str, str]]) -> Iterator[Word]:
    for text, meta in rows:
        if text.lower().startswith(typed.lower()):
            yield Word(text, meta)


def _options(place: Place) -> Iterator[Word]:
    """Switches: `/f` and `-f` are the same to kd, so the one that is typed is offered."""
    if place.match is None:
        return
    mark = place.word[:1]
    for option in place.match.command.options:
        # `-r[n]`: a number may follow.
        text = mark + option.switch[1:].partition("[")[0]
        if option.switch[0] in "-/" and text.startswith(place.word):
            yield Word(text, option.summary)


def _flags(place: Place) -> Iterator[Word]:
    """Bits of a number, or words, as the declaration of the argument explains them."""
    if place.param is not None:
        yield from _beginning(place.word, place.param.choices())


# ---- files ----------------------------------------------------------------------------------


def _files(typed: str) -> Iterator[Word]:
    """Names in a folder; of a symbol path, those behind its last `;` or `*`."""
    before = typed[: max(typed.rfind(mark) for mark in ";*") + 1]
    folder, name = os.path.split(typed[len(before) :])
    lead = typed[: len(typed) - len(name)]
    with os.scandir(Path(folder).expanduser()) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        hidden = entry.name.startswith(".") and not name.startswith(".")
        if entry.name.startswith(name) and not hidden:
            ending = "/" if entry.is_dir() else ""
            yield Word(f"{lead}{entry.name}{ending}", shown=f"{entry.name}{ending}")


def _layout(field: Field) -> str:
    return f"+0x{field.offset:03x} {field.type.name}"


def _numbered(name: str) -> tuple[str, int]:
    """`$t2` in front of `$t10`."""
    letters = name.rstrip("0123456789")
    return letters, int(name[len(letters) :] or 0)
