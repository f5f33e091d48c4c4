"""How a command is declared, found and refused.

A command is a function with a declaration::

    @command("db", "dd", summary="Display memory.", group="memory",
             params=(Param("range", "range"),), needs=Caps.READ)
    def display(session: Session, args: Arguments, name: str) -> Dump | None: ...

It pulls its arguments from `args`, and returns a record or None. A record is a frozen dataclass
with a `lines()` method; its fields are what `--json` prints. Text that must appear while the
command still works goes to `session.out`.

The declaration feeds lookup, refusal, help, completion and `docs/commands.md`. Command files are
imported when one of their names is first typed: `catalogue.py` says which file holds which name.
Names of kd that are not declared are answered from `absent.toml`.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from kdsim.debugger.backends.base import Caps
from kdsim.errors import UnknownCommand, Unsupported, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

ParamKind = Literal[
    "expression",
    "range",
    "symbol",
    "module",
    "type",
    "process",
    "thread",
    "register",
    "event",
    "breakpoint",
    "processor",
    "file",
    "program",
    "string",
    "values",
    "flags",
    "word",
    "field",
    "pattern",
    "commands",
    "command",
    "text",
]


GROUPS = (
    "language", "session", "execution", "breakpoints", "registers", "stack", "memory", "symbols",
    "types", "processes", "processors", "memory manager", "pool", "lists", "locks", "objects",
    "security", "I/O", "system", "crash analysis",
)  # fmt: skip
"""Kinds of commands, in the order in which they are listed."""


@dataclass(frozen=True, slots=True)
class Param:
    """One argument.

    Attributes:
        name: what it is called.
        kind: what may stand there, for completion.
        summary: what it means.
        bits: of flags, each bit and what it adds.
        words: that may stand there, each with what it means.
    """

    name: str
    kind: ParamKind
    summary: str = ""
    optional: bool = False
    bits: tuple[tuple[int, str], ...] = ()
    words: tuple[tuple[str, str], ...] = ()

    def choices(self) -> tuple[tuple[str, str], ...]:
        """What may be typed there, as far as it can be listed."""
        return (*((f"{bit:x}", meaning) for bit, meaning in self.bits), *self.words)

    def usage(self) -> str:
        return f"[{self.name}]" if self.optional else f"<{self.name}>"

    def rows(self) -> Iterator[tuple[str, str]]:
        """Name and meaning, then the choices, for a table."""
        choices = self.choices()
        if self.summary or choices:
            yield self.name, self.summary
        for choice, meaning in choices:
            yield f"  {choice}", meaning


@dataclass(frozen=True, slots=True)
class Option:
    """A switch.

    Attributes:
        switch: as it is typed: `/t`, `-c`.
        summary: what it does.
        value: what follows it, if something does.
    """

    switch: str
    summary: str
    value: str = ""

    @property
    def usage(self) -> str:
        gap = "" if self.switch.endswith(":") else " "
        return f"{self.switch}{gap}{self.value}".rstrip()


HELP_SWITCH, HELP_LETTER = Option("-?", "this page"), Option("-h", "this page")
"""Every extension knows the first; what else prints its page instead of working declares it."""


class Record(Protocol):
    """What a command computes."""

    def lines(self) -> Iterable[str]: ...


Function = Callable[["Session", "Arguments", str], Record | None]


@dataclass(frozen=True, slots=True)
class Command:
    """A declaration.

    Attributes:
        options: the switches it takes.
        examples: lines to type, for the help page.
        suffix: letters that may follow the name and stay part of it (`kbn`, `lmv`), as a regex.
        glued: what may follow the name without a space (`recx`), as a regex.
        processor_prefix: accepts a processor number in front (`2k`, `3r`).
    """

    names: tuple[str, ...]
    summary: str
    group: str
    function: Function
    params: tuple[Param, ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()
    needs: Caps = Caps.NONE
    see_also: tuple[str, ...] = ()
    suffix: str = ""
    glued: str = ""
    processor_prefix: bool = False
    notes: str = ""

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def takes_commands(self) -> bool:
        """A string among its arguments may be a command line."""
        values = any(option.value == '"<commands>"' for option in self.options)
        return values or any(param.kind == "commands" for param in self.params)

    def reaches_out(self, arguments: str) -> bool:
        """Whether it touches the debugger's own computer, or keeps commands for later."""
        if any(param.kind in ("file", "program") for param in self.params):
            return True
        return self.takes_commands and '"' in arguments

    def usage(self) -> str:
        options = ("[options]",) if self.options else ()
        return " ".join((self.name, *options, *(param.usage() for param in self.params)))

    def rows(self) -> list[tuple[str, str]]:
        """Switches, arguments and what may stand for them, each with its meaning."""
        rows = [(option.usage, option.summary) for option in self.options]
        return rows + [row for param in self.params for row in param.rows()]

    def wants_help(self, arguments: str) -> bool:
        """Whether they are a switch that asks for the help page, and nothing else."""
        asked = arguments.strip().replace("/", "-", 1)
        if asked in ("?", "-?") and self.name.startswith("!"):
            return True
        return any(o.switch == asked for o in (HELP_SWITCH, HELP_LETTER) if o in self.options)


@dataclass(frozen=True, slots=True)
class HelpPage:
    """What the declaration of one command says."""

    names: tuple[str, ...]
    usage: str
    summary: str
    group: str
    notes: str
    arguments: tuple[tuple[str, str], ...]
    examples: tuple[str, ...]
    see_also: tuple[str, ...]

    @classmethod
    def of(cls, declared: Command) -> HelpPage:
        return cls(
            declared.names, declared.usage(), declared.summary, declared.group, declared.notes,
            tuple(declared.rows()), declared.examples, declared.see_also,
        )  # fmt: skip

    def lines(self) -> Iterator[str]:
        yield self.usage
        yield f"    {self.summary}"
        yield from (f"    {line}" for line in self.notes.splitlines())
        width = max((len(name) for name, _ in self.arguments), default=0)
        yield from (f"      {name:{width}}  {text}".rstrip() for name, text in self.arguments)
        yield from (f"    example: {line}" for line in self.examples)
        if self.names[1:]:
            yield f"    also: {' '.join(self.names[1:])}"
        if self.see_also:
            yield f"    see also: {' '.join(self.see_also)}"


_declared: dict[str, Command] = {}

F = TypeVar("F", bound=Function)


def command(
    *names: str,
    summary: str,
    group: str,
    params: tuple[Param, ...] = (),
    options: tuple[Option, ...] = (),
    examples: tuple[str, ...] = (),
    needs: Caps = Caps.NONE,
    see_also: tuple[str, ...] = (),
    suffix: str = "",
    glued: str = "",
    processor_prefix: bool = False,
    notes: str = "",
) -> Callable[[F], F]:
    """Declare the decorated function as a command; see the module docstring and `Command`."""

    def declare(function: F) -> F:
        declaration = Command(
            names=names,
            summary=summary,
            group=group,
            function=function,
            params=params,
            options=options,
            examples=examples,
            needs=needs,
            see_also=see_also,
            suffix=suffix,
            glued=glued,
            processor_prefix=processor_prefix,
            notes=notes,
        )
        for name in names:
            _declared[name] = declaration
        return function

    return declare


@dataclass(frozen=True, slots=True)
class Match:
    """A command line taken apart: the command, its name as declared, the text after it."""

    command: Command
    name: str
    rest: str
    processor: int | None = None


_PROCESSOR_PREFIX = re.compile(r"(\d+)(?=[a-z])", re.IGNORECASE)
_DOT = re.compile(r"\.[A-Za-z_]\w*[+-]?")
_BANG = re.compile(r"!(?:[A-Za-z]\w*\.)?[A-Za-z_]\w*")
_LETTERS = re.compile(r"[A-Za-z_]+")
_MARKS = re.compile(r"[^\w\s]+")

# Extension modules whose commands are found by their full name too (`!kdexts.pool`).
EXTENSIONS = ("kdexts", "kext", "exts", "ext", "ntsdexts", "kdsim")


class AbsentCommand(UserError):
    """A command of kd that kdsim does not have; the text says what it is and why not."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.record = record

    def __str__(self) -> str:
        return "\n".join(self.record.lines())


class Registry:
    """Finds declarations by what the user typed."""

    def __init__(self, index: dict[str, tuple[str, ...]]) -> None:
        """`index`: command file (a module of this package) -> the names it declares."""
        self._home = {name: module for module, names in index.items() for name in names}
        self._folded = {name.lower(): name for name in reversed(self._home)}

    def names(self) -> list[str]:
        return sorted(self._home)

    def commands(self) -> Iterator[Command]:
        """Every declaration once, by name. Imports all command files."""
        return iter({id(c): c for c in map(self.get, self.names()) if c}.values())

    def by_group(self) -> Iterator[tuple[str, list[Command]]]:
        """The commands of each group under its title: plain ones, those with a dot, extensions."""

        def place(found: Command) -> tuple[int, int, str]:
            return GROUPS.index(found.group), ".!".find(found.name[0]), found.name.lower()

        found = sorted(self.commands(), key=place)
        for group, members in itertools.groupby(found, key=lambda c: c.group):
            yield group[0].upper() + group[1:], list(members)

    def get(self, name: str) -> Command | None:
        """The command of exactly this name or, failing that, of this name in another case."""
        name = self._spelling(name)
        module = self._home.get(name)
        if module is None:
            return None
        if name not in _declared:
            importlib.import_module(f"{__package__}.{module}")
        return _declared[name]

    def _spelling(self, name: str) -> str:
        """The name as declared, if need be in another case."""
        return name if name in self._home else self._folded.get(name.lower(), name)

    def find(self, text: str) -> Match:
        """Take one command's text apart.

        Raises:
            AbsentCommand: kd has that command and kdsim has not.
            UnknownCommand: nobody has; it holds near names.
        """
        match = self.match(text)
        if match is None:
            raise self.unknown(re.split(r"[\s;,]", text.lstrip(), maxsplit=1)[0])
        return match

    def match(self, text: str) -> Match | None:
        """The same; None for a name that is not declared."""
        text = text.lstrip()
        if text.startswith("!"):
            return self._whole(_BANG, _without_extension(text))
        if text.startswith("."):
            return self._whole(_DOT, text)
        return self._plain(text)

    def unknown(self, typed: str) -> UserError:
        """What to raise about a name that is not declared."""
        from kdsim.debugger.commands import absent

        known = absent.find(typed)
        return AbsentCommand(known) if known else UnknownCommand(typed, self.near(typed))

    def near(self, name: str) -> list[str]:
        """Names that look like this one; those of its kind (`!`, `.` or plain) come first."""
        bare = name.lstrip("!.").lower()
        by_bare: dict[str, list[str]] = {}
        for known in self._home:
            by_bare.setdefault(known.lstrip("!.").lower(), []).append(known)
        if len(bare) < 3:
            return [known for known in by_bare.get(bare, []) if known != name][:3]
        import difflib

        close = difflib.get_close_matches(bare, by_bare, n=3, cutoff=0.7)
        found = [known for word in close for known in by_bare[word]]
        return sorted(found, key=lambda known: _kind(known) != _kind(name))[:3]

    def _whole(self, pattern: re.Pattern[str], text: str) -> Match | None:
        found = pattern.match(text)
        if found is None:
            return None
        name = found[0]
        declared = self.get(name)
        if declared is None and name[-1] in "+-":
            name = name[:-1]
            declared = self.get(name)
        if declared is None:
            return None
        return Match(declared, self._spelling(name), text[len(name) :])

    def _plain(self, text: str) -> Match | None:
        prefix = _PROCESSOR_PREFIX.match(text)
        if prefix:
            match = self._plain(text[prefix.end() :])
            if match is None or not match.command.processor_prefix:
                return None
            return dataclasses.replace(match, processor=int(prefix[1]))
        letters = _LETTERS.match(text)
        if letters:
            return self._lettered(text, letters[0])
        marks = _MARKS.match(text)
        for end in range(len(marks[0]) if marks else 0, 0, -1):
            declared = self.get(text[:end])
            if declared:
                return Match(declared, text[:end], text[end:])
        return None

    def _lettered(self, text: str, letters: str) -> Match | None:
        # `sx-` is a name of its own.
        signed = text[: len(letters) + 1]
        declared = self.get(signed) if signed.endswith("-") else None
        if declared is not None:
            return Match(declared, self._spelling(signed), text[len(signed) :])
        for end in range(len(letters), 0, -1):
            declared = self.get(letters[:end])
            if declared is None:
                continue
            name, tail = self._spelling(letters[:end]), letters[end:]
            if not tail:
                return Match(declared, name, text[end:])
            if declared.suffix and re.fullmatch(declared.suffix, tail):
                return Match(declared, name + tail, text[len(letters) :])
            if declared.glued and re.match(declared.glued, text[end:], re.IGNORECASE):
                return Match(declared, name, text[end:])
        return None


def _kind(name: str) -> str:
    return name[:1] if name[:1] in "!." else ""


def _without_extension(text: str) -> str:
    module, dot, rest = text[1:].partition(".")
    return f"!{rest}" if dot and module.lower() in EXTENSIONS else text


def refuse(declaration: Command, name: str, caps: Caps, refusals: dict[Caps, str]) -> None:
    """Raise Unsupported, with the backend's reason, when it lacks what the command needs."""
    require(declaration.needs, name, caps, refusals)


def require(needs: Caps, name: str, caps: Caps, refusals: dict[Caps, str]) -> None:
    """The same for one use of a command that does not always need it."""
    missing = [flag for flag in Caps if flag in needs and flag not in caps]
    if not missing:
        return
    reason = next((refusals[flag] for flag in missing if flag in refusals), "")
    if Caps.RUN in missing:
        text = f"No runnable debuggees error in '{name}'"
    else:
        text = f"Operation not supported by current debuggee error in '{name}'"
    raise Unsupported(f"{text}: {reason}" if reason else text)


def render(result: Record | None) -> list[str]:
    """The text of what a command returned."""
    return [] if result is None else list(result.lines())


def to_json(value: object) -> Any:
    """A record as plain dicts, lists, strings and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not field.name.startswith("_")
        }
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return to_json(value._asdict())
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Iterable):
        return [to_json(item) for item in value]
    return str(value)
