"""`bp bu bm ba bl bc bd be br bs bsc .bpcmds .apply_dbp`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.breakpoints import Breakpoint
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.language.problems import RANGE, UNRESOLVED
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, CommandSyntaxError, SymbolError, UserError
from kdsim.symbols.wildcard import matches
from kdsim.wire.context import CONTEXT_SIZE, Context

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.space import Located

_ID = re.compile(r"\d+|\[[^\]]*\]")
_ACCESS = re.compile(r"([erwi])\s*([1248])?", re.IGNORECASE)
_TEXT = re.compile(r'[^\s"]+')
_ID_RANGE = re.compile(r"(\d+)(?:-(\d+))?$")

WHERE = Param("address", "symbol", "where", optional=True)
PASSES = Param("passes", "expression", "stop at the n-th time", optional=True)
COMMANDS = Param('"commands"', "commands", "to run when it is hit", optional=True)
IDS = Param("ids", "breakpoint", "for instance 0 2, 1-4, *")
OPTIONS = (
    Option("/1", "clear it when it is hit"),
    Option("/p", "only in this process", "<EPROCESS>"),
    Option("/t", "only in this thread", "<ETHREAD>"),
    Option("/c", "only when the stack has fewer frames", "<depth>"),
    Option("/C", "only when the stack has more frames", "<depth>"),
    Option("/w", "only when a C++ expression is true", '"<condition>"'),
)
_SEE = ("bl", "bc", "bd", "be", "g")


@dataclass(frozen=True, slots=True)
class Options:
    """What may stand in front of the address."""

    one_shot: bool
    process: int
    thread: int
    max_depth: int
    min_depth: int
    condition: str


def _options(session: Session, args: Arguments) -> tuple[Options, dict[str, str]]:
    given = args.switches("1", "p:", "t:", "c:", "C:", "w:", "a", "d", "(")
    if "c" in given and "C" in given:
        raise args.error("/c and /C exclude each other: Syntax error")

    def number(letter: str) -> int:
        return session.evaluate(given[letter]) if letter in given else 0

    options = Options(
        "1" in given, number("p"), number("t"), number("c"), number("C"), given.get("w", "")
    )
    return options, given


def _glued_id(session: Session, args: Arguments) -> int:
    """The id glued to the name (`bp3`, `bp[expr]`), or the first free one."""
    found = _ID.match(args.text, args.position)
    if found is None:
        return session.breakpoints.free_id()
    args.position = found.end()
    text = found[0]
    return session.evaluate(text[1:-1]) if text.startswith("[") else int(text)


def _where(session: Session, args: Arguments) -> tuple[str, int | None]:
    """The address expression as text and, when it can be resolved, as a number."""
    if args.done or args.peek().startswith('"'):
        pc = session.instruction_pointer
        return session.disassembler.symbol(pc) or tick(pc), pc
    start = args.position
    try:
        value = args.expression()
        return args.text[start : args.position].strip(), value
    except CommandSyntaxError as error:
        if UNRESOLVED not in error.message:
            raise
    found = _TEXT.match(args.text, start)
    assert found is not None
    args.position = found.end()
    return found[0], None


def _passes_and_command(args: Arguments) -> tuple[int, str]:
    passes = 1
    if not args.done and not args.peek().startswith('"'):
        column = args.position
        passes = args.expression()
        if not 0 < passes < 1 << 32:
            raise args.error(RANGE, column)
    text = args.string(escapes=True) or ""
    args.at_end()
    return passes, text


@dataclass(frozen=True, slots=True)
class BreakpointSet:
    """A breakpoint that was set; most often there is nothing to say."""

    id: int
    kind: str
    address: int | None
    expression: str
    redefined: bool
    deferred: bool

    def lines(self) -> Iterator[str]:
        if self.redefined:
            yield f"breakpoint {self.id} redefined"
        if self.deferred:
            yield f"Bp expression '{self.expression}' could not be resolved, adding deferred bp"


@dataclass(frozen=True, slots=True)
class BreakpointsSet:
    """What `bm` set."""

    breakpoints: tuple[BreakpointSet, ...]

    def lines(self) -> Iterator[str]:
        for item in self.breakpoints:
            yield from item.lines()
            if not item.redefined and item.address is not None:
                yield f"{item.id:3}: {tick(item.address)} {item.expression}"


def _enter(session: Session, new: Breakpoint) -> BreakpointSet:
    """Add a breakpoint, or redefine the one at the same place."""
    breakpoints = session.breakpoints
    if new.address is not None:
        if not new.hardware and not session.memory.read_some(new.address, 1):
            raise UserError(
                f"Unable to set breakpoint at {tick(new.address)}: the memory cannot be read"
            )
        same = breakpoints.same_place(new)
        if same is not None:
            new.id = same.id
    known = breakpoints.get(new.id) is not None
    breakpoints.add(new)
    return BreakpointSet(new.id, new.kind, new.address, new.expression, known, new.deferred)


@command(
    "bp",
    "bu",
    summary="Set a breakpoint; bu keeps the symbol and waits for its module.",
    group="breakpoints",
    params=(WHERE, PASSES, COMMANDS),
    options=OPTIONS,
    needs=Caps.BREAKPOINTS,
    see_also=(*_SEE, "ba", "bm"),
    examples=("bp nt!KeBugCheckEx", 'bp /1 leaky!Worker "k; g"'),
)
def set_breakpoint(session: Session, args: Arguments, name: str) -> BreakpointSet:
    number = _glued_id(session, args)
    options, _ = _options(session, args)
    expression, address = _where(session, args)
    passes, text = _passes_and_command(args)
    kind = "bu" if address is None else name
    return _enter(session, _make(number, kind, expression, address, passes, text, options))


def _make(
    number: int,
    kind: str,
    expression: str,
    address: int | None,
    passes: int,
    text: str,
    options: Options,
) -> Breakpoint:
    return Breakpoint(
        id=number,
        kind=kind,
        expression=expression,
        address=address,
        passes=passes,
        remaining=passes,
        command=text,
        one_shot=options.one_shot,
        process=options.process,
        thread=options.thread,
        max_depth=options.max_depth,
        min_depth=options.min_depth,
        condition=options.condition,
    )


@command(
    "bm",
    summary="Set a breakpoint on every function that matches a pattern.",
    group="breakpoints",
    params=(Param("pattern", "symbol", "mod!name with wildcards"), PASSES, COMMANDS),
    options=(
        Option("/a", "data symbols too"),
        Option("/d", "keep addresses instead of symbols"),
        Option("/(", "accepted: the symbols of C functions have no parameter lists"),
        *OPTIONS,
    ),
    needs=Caps.BREAKPOINTS,
    see_also=(*_SEE, "bp", "x"),
)
def set_matching(session: Session, args: Arguments, name: str) -> BreakpointsSet:
    options, given = _options(session, args)
    pattern = args.pattern()
    if pattern is None:
        raise args.error()
    passes, text = _passes_and_command(args)
    kind = "bp" if "d" in given else "bu"
    found = [
        located
        for located in session.symbols.match(pattern)
        if located.symbol.kind == "function" or "a" in given
    ]
    if not found:
        raise SymbolError(f"No matching code symbols found for '{pattern}'; no breakpoints set")

    def enter(located: Located) -> BreakpointSet:
        number, expression = session.breakpoints.free_id(), f'@!"{located.name}"'
        new = _make(number, kind, expression, located.va, passes, text, options)
        return _enter(session, new)

    # Should one be too many, those before it are shown nevertheless.
    return in_pieces(session, map(enter, found), BreakpointsSet)


@command(
    "ba",
    summary="Break when memory is accessed: the processor watches up to four places.",
    group="breakpoints",
    params=(
        Param(
            "access size",
            "word",
            "what to watch for, and 1, 2, 4 or 8 bytes",
            words=(("e", "execution (size 1)"), ("r", "reads and writes"), ("w", "writes")),
        ),
        WHERE,
        PASSES,
        COMMANDS,
    ),
    options=OPTIONS,
    needs=Caps.BREAKPOINTS,
    see_also=(*_SEE, "bp"),
    examples=("ba w4 nt!PoolHitTag",),
)
def set_access(session: Session, args: Arguments, name: str) -> BreakpointSet:
    number = _glued_id(session, args)
    args.peek()
    found = _ACCESS.match(args.text, args.position)
    if found is None:
        raise args.error()
    args.position = found.end()
    access = found[1].lower()
    size = int(found[2]) if found[2] else args.expression()
    if size not in (1, 2, 4, 8) or (access == "e" and size != 1):
        raise args.error("Data breakpoint must be 1, 2, 4 or 8 bytes (e: 1): Syntax error")
    options, _ = _options(session, args)
    expression, address = _where(session, args)
    passes, text = _passes_and_command(args)
    if address is not None and address % size:
        raise ArgumentError("Data breakpoint must be aligned")
    new = _make(number, "ba", expression, address, passes, text, options)
    new.access, new.size = access, size
    return _enter(session, new)


@dataclass(frozen=True, slots=True)
class BreakpointRow:
    """One line of bl."""

    id: int
    enabled: bool
    address: int | None
    access: str
    remaining: int
    passes: int
    symbol: str
    command: str
    process: int = 0
    thread: int = 0
    source: str = ""
    condition: str = ""
    max_depth: int = 0
    min_depth: int = 0

    def lines(self) -> Iterator[str]:
        state = ("e" if self.enabled else "d") + ("u" if self.address is None else " ")
        place = " " * 17 if self.address is None else tick(self.address)
        source = f" [{self.source}]" if self.source else ""
        command_text = f' "{self.command}"' if self.command else ""
        yield (
            f"{self.id:2} {state}{place}{source} {self.access:3} {self.remaining:04x} "
            f"({self.passes:04x}) {self.symbol}{command_text}"
        )
        if self.process:
            yield f"     Match process data {tick(self.process)}"
        if self.thread:
            yield f"     Match thread data {tick(self.thread)}"
        if self.max_depth:
            yield f"     Match call depth less than 0x{self.max_depth:x}"
        if self.min_depth:
            yield f"     Match call depth greater than 0x{self.min_depth:x}"
        if self.condition:
            yield f"     Condition: {self.condition}"


@dataclass(frozen=True, slots=True)
class BreakpointList:
    rows: tuple[BreakpointRow, ...]

    def lines(self) -> Iterator[str]:
        for row in self.rows:
            yield from row.lines()


@command(
    "bl",
    summary="List breakpoints.",
    group="breakpoints",
    params=(Param("ids", "breakpoint", "which", optional=True),),
    options=(Option("/L", "addresses only, no source lines"),),
    needs=Caps.BREAKPOINTS,
    see_also=("bp", "bc", ".bpcmds"),
)
def list_breakpoints(session: Session, args: Arguments, name: str) -> BreakpointList:
    addresses_only = "L" in args.switches("L")
    chosen = list(session.breakpoints) if args.done else _chosen(session, args)
    with_lines = session.settings.load_lines and not addresses_only
    return BreakpointList(tuple(_row(session, item, with_lines) for item in chosen))


def _row(session: Session, item: Breakpoint, with_lines: bool) -> BreakpointRow:
    source = ""
    if item.address is None:
        symbol = f"({item.expression})"
    else:
        symbol = session.disassembler.symbol(item.address) or ""
        line = session.symbols.line(item.address) if with_lines else None
        source = f"{line.file} @ {line.line}" if line else ""
    return BreakpointRow(
        item.id,
        item.enabled,
        item.address,
        f"{item.access} {item.size}" if item.hardware else "",
        item.remaining,
        item.passes,
        symbol,
        item.command,
        item.process,
        item.thread,
        source,
        item.condition,
        item.max_depth,
        item.min_depth,
    )


def _chosen(session: Session, args: Arguments) -> list[Breakpoint]:
    """Breakpoints by ids, ranges of ids, `*`, `[expression]` or "symbol pattern"."""
    found: dict[int, Breakpoint] = {}
    while not args.done:
        column = args.position
        quoted = args.string()
        word = quoted if quoted is not None else args.word() or ""
        matching = _matching(session, word, is_symbol=quoted is not None)
        if matching is None:
            raise args.error("Syntax error", column)
        found |= {item.id: item for item in matching}
    return [found[number] for number in sorted(found)]


def _matching(session: Session, word: str, *, is_symbol: bool) -> list[Breakpoint] | None:
    if is_symbol:
        return [
            item
            for item in session.breakpoints
            if item.address is not None
            and matches(word, session.disassembler.symbol(item.address) or "")
        ]
    if word == "*":
        return list(session.breakpoints)
    if word.startswith("[") and word.endswith("]"):
        numbers = [session.evaluate(word[1:-1])]
    else:
        span = _ID_RANGE.match(word)
        if span is None:
            return None
        numbers = list(range(int(span[1]), int(span[2] or span[1]) + 1))
    found = [item for item in map(session.breakpoints.get, numbers) if item is not None]
    if not found:
        raise UserError(f"Breakpoint {word} does not exist")
    return found


@command(
    "bc",
    "bd",
    "be",
    summary="Clear (bc), disable (bd) or enable (be) breakpoints.",
    group="breakpoints",
    params=(IDS,),
    needs=Caps.BREAKPOINTS,
    see_also=("bl", "bp"),
)
def change(session: Session, args: Arguments, name: str) -> None:
    if args.done:
        raise args.error()
    for item in _chosen(session, args):
        if name == "bc":
            session.breakpoints.remove(item.id)
        else:
            item.enabled = name == "be"


@command(
    "br",
    summary="Renumber breakpoints.",
    group="breakpoints",
    params=(Param("old new ...", "breakpoint", "pairs of ids"),),
    needs=Caps.BREAKPOINTS,
    see_also=("bl",),
)
def renumber(session: Session, args: Arguments, name: str) -> None:
    words = []
    while not args.done:
        word = args.word() or ""
        if not word.isdecimal():
            raise args.error()
        words.append(int(word))
    if not words or len(words) % 2:
        raise args.error()
    session.breakpoints.renumber(zip(words[::2], words[1::2], strict=True))


@command(
    "bs",
    "bsc",
    summary="Replace the command of a breakpoint; bsc gives it a condition.",
    group="breakpoints",
    params=(Param("id", "breakpoint"), COMMANDS),
    needs=Caps.BREAKPOINTS,
    see_also=("bp", "bl"),
)
def set_command(session: Session, args: Arguments, name: str) -> None:
    word = args.word() or ""
    found = _matching(session, word, is_symbol=False)
    if not found or len(found) != 1:
        raise args.error(column=args.start)
    condition = ""
    if name == "bsc":
        start = args.position
        args.expression()
        condition = args.text[start : args.position].strip()
    text = args.string(escapes=True) or ""
    args.at_end()
    found[0].command = f"j {condition} '{text}'; 'gc'" if condition else text


@dataclass(frozen=True, slots=True)
class BreakpointCommands:
    """By number of the breakpoint, what would set it again."""

    commands: dict[int, str]

    def lines(self) -> Iterable[str]:
        return self.commands.values()


@command(
    ".bpcmds",
    summary="Show the commands that would set the present breakpoints again.",
    group="breakpoints",
    needs=Caps.BREAKPOINTS,
    see_also=("bl",),
)
def show_commands(session: Session, args: Arguments, name: str) -> BreakpointCommands:
    args.at_end()
    return BreakpointCommands({item.id: _command_line(item) for item in session.breakpoints})


@command(
    ".apply_dbp",
    summary="Put the data breakpoints (ba) into a register context.",
    group="breakpoints",
    options=(Option("/m", "into a CONTEXT in memory", "<address>"),),
    needs=Caps.BREAKPOINTS | Caps.REGISTERS,
    see_also=("ba", ".cxr"),
    notes="Without a switch, into the registers of the current processor.",
)
def apply_data_breakpoints(session: Session, args: Arguments, name: str) -> None:
    wanted = session.breakpoints.debug_registers()
    if args.take("/m"):
        address = args.address()
        args.at_end()
        context = Context(session.memory.read(address, CONTEXT_SIZE))
        for register, value in wanted.items():
            context.set(register, value)
        session.memory.write(address, context.raw)
        return
    args.at_end()
    if not session.scope.is_default:
        raise UserError("Registers of another context cannot be changed: use .apply_dbp /m")
    for register, value in wanted.items():
        session.live_registers[register] = value


def _command_line(item: Breakpoint) -> str:
    """What would set a breakpoint again; a blank follows an address, but no symbol."""
    symbolic = item.kind == "bu" or item.address is None
    where = item.expression if symbolic else _number(item.address or 0)
    parts = [f"{item.kind}{item.id}"]
    if item.hardware:
        parts.append(f"{item.access}{item.size}")
    parts += ["/1"] if item.one_shot else []
    numbers = (
        ("p", item.process),
        ("t", item.thread),
        ("c", item.max_depth),
        ("C", item.min_depth),
    )
    parts += [f"/{letter} {_number(value)}" for letter, value in numbers if value]
    parts += [f'/w "{item.condition}"'] if item.condition else []
    parts.append(where)
    parts += [_number(item.passes)] if item.passes > 1 else []
    parts += [f'"{item.command}"'] if item.command else []
    bare = not item.command and item.passes == 1 and not symbolic
    return " ".join(parts) + (" ;" if bare else ";")


def _number(value: int) -> str:
    return f"0x{tick(value)}" if value >> 32 else f"0x{value:x}"
