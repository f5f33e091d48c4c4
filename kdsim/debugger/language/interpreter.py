"""Runs lines, blocks and scripts."""

from __future__ import annotations

import enum
import operator
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kdsim.debugger.language import parse
from kdsim.debugger.language import syntax_lines as syntax
from kdsim.debugger.language.aliases import Aliases
from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.evaluate import Evaluator
from kdsim.debugger.language.problems import SYNTAX
from kdsim.errors import CommandSyntaxError, KdsimError, SimBug, TargetGone, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.context import Context

MAX_LENGTH = 4096
"""Characters of a command line, as in WinDbg."""

MAX_DEPTH = 50
"""Blocks and scripts inside one another; far below Python's own limit on recursion."""

_SCRIPT_WORD = re.compile(r'"([^"]*)"|([^\s"]+)')
_QUOTED = re.compile(r"\s*'([^']*)'?\s*")


class Host(Protocol):
    """Whoever executes ordinary commands and owns the output."""

    @property
    def context(self) -> Context: ...

    @property
    def prompt(self) -> str:
        """The prompt with its blank, which scripts that echo put before a line."""

    def dispatch(self, text: str) -> None:
        """Execute one ordinary command, name and arguments, and print its result.

        A command that resumes the target returns at the next stop. To give up all that follows on
        the line, raise an exception that is no KdsimError; it passes through the interpreter.
        """

    def on_processor(self, number: int) -> AbstractContextManager[None]:
        """Looks at another processor's registers meanwhile."""

    def write(self, text: str) -> None: ...

    def capture(self) -> AbstractContextManager[list[str]]:
        """Collects what is written meanwhile instead of printing it."""

    def report(self, error: KdsimError) -> None:
        """Print an error that ends no more than a `.catch` block or a script's line."""

    def require_user(self, name: str) -> None:
        """Raise when a target, not the user, gives this command, which is not for a target."""

    def check_interrupt(self) -> None:
        """Called at every turn of a loop; raises KeyboardInterrupt when the user pressed Ctrl+C."""


class Flow(enum.Enum):
    """How a run of commands ended."""

    NEXT = "next"
    BREAK = "break"
    CONTINUE = "continue"
    LEAVE = "leave"


Piece = syntax.Text | syntax.Command | syntax.AliasCommand


class Interpreter:
    """The first error ends a line and is raised, except inside `.catch` and in plain scripts.

    Nothing is parsed twice: a block's text is looked up whenever the block is entered, and as long
    as its aliases leave it as it is, `parse.line` has its program already.
    """

    def __init__(self, host: Host, aliases: Aliases | None = None) -> None:
        self.host = host
        self.aliases = Aliases() if aliases is None else aliases
        self._evaluate = Evaluator(host.context).evaluate
        # Blocks that are being run, the outermost first; the current line is one of them. What
        # follows it stands in the block before it, letter for letter; None is for a block that
        # does not, because of aliases or because it is a script.
        self._blocks: list[syntax.Text | None] = []
        self._line = 0

    @property
    def _depth(self) -> int:
        return len(self._blocks)

    def run(self, line: str, *, keep_going: bool = False) -> None:
        """Execute a line as the user typed it; `keep_going`: an error ends its own command only."""
        if len(line) > MAX_LENGTH:
            raise UserError(f"Command line of {len(line)} characters; at most {MAX_LENGTH} fit")
        text = self.aliases.expand(line)
        outer, self._line = self._line, self._depth
        try:
            block = syntax.Text(line) if text == line else None
            self._program(text, block, keep_going=keep_going)
        finally:
            # Ctrl+C may strike anywhere, also where a block has just been entered or left.
            del self._blocks[self._line :]
            self._line = outer

    def run_lines(self, text: str, *, echo: bool = False) -> None:
        """Execute the lines of a file one by one; an error ends its own line only."""
        for line in text.splitlines():
            self.host.check_interrupt()
            if echo:
                self.host.write(f"{self.host.prompt}{line}\n")
            try:
                self.run(line)
            except (SimBug, TargetGone):
                raise
            except KdsimError as error:
                self.host.report(error)

    # ---- programs ---------------------------------------------------------------------------

    def _enter(self, block: syntax.Text) -> Flow:
        """Run a block's body; aliases are replaced as they are now."""
        text = self.aliases.expand(block.text)
        return self._program(text, block if text == block.text else None)

    def _program(self, text: str, block: syntax.Text | None, *, keep_going: bool = False) -> Flow:
        blocks = self._blocks
        if len(blocks) >= MAX_DEPTH:
            raise UserError(f"Blocks and scripts are nested more than {MAX_DEPTH} deep")
        blocks.append(block)
        try:
            return self._statements(self._parsed(text), keep_going=keep_going)
        finally:
            blocks.pop()

    def _parsed(self, text: str) -> tuple[syntax.Statement, ...]:
        try:
            return parse.line(text).statements
        except CommandSyntaxError as error:
            self._point(error, syntax.Text(text))
            raise

    def _statements(self, statements: tuple[syntax.Statement, ...], *, keep_going: bool) -> Flow:
        index = 0
        while index < len(statements):
            statement = statements[index]
            index += 1
            try:
                if isinstance(statement, syntax.Repeat):
                    index = 0 if self._again(statement) else index
                    continue
                flow = self._statement(statement)
            except (SimBug, TargetGone):
                raise
            except KdsimError as error:
                if not keep_going:
                    raise
                self.host.report(error)
                continue
            if flow is not Flow.NEXT:
                return flow
        return Flow.NEXT

    def _point(self, error: CommandSyntaxError, piece: Piece) -> None:
        """Let an error that quotes a piece of the line quote the line, so that its caret fits."""
        around = self._blocks[self._line :]
        blocks = [block for block in around if block is not None]
        if len(blocks) == len(around) and error.text == piece.text:
            start = sum(block.column for block in blocks)
            end = start + len(blocks[-1].text)
            error.move(blocks[0].text, start + piece.column, end)

    def _statement(self, statement: syntax.Statement) -> Flow:
        match statement:
            case syntax.Command():
                try:
                    self.host.dispatch(statement.text)
                except CommandSyntaxError as error:
                    self._point(error, statement)
                    raise
            case syntax.If():
                return self._if(statement)
            case syntax.While():
                return self._while(statement)
            case syntax.For():
                return self._for(statement)
            case syntax.ForEach():
                return self._foreach(statement)
            case syntax.Block():
                return self._catch(statement) if statement.catches else self._enter(statement.body)
            case syntax.Jump():
                return self._jump(statement)
            case syntax.Leave():
                return Flow(statement.word)
            case syntax.AliasCommand():
                self.host.require_user(statement.text.split(maxsplit=1)[0])
                self._alias(statement)
            case syntax.Script():
                self.host.require_user(statement.form)
                self._script(statement)
        return Flow.NEXT

    def _again(self, statement: syntax.Repeat) -> bool:
        """Whether a `z` repeats what stands to its left."""
        self.host.check_interrupt()
        if statement.processor is None:
            return self._true(statement.condition)
        with self.host.on_processor(statement.processor):
            return self._true(statement.condition)

    def _true(self, condition: syntax.Text) -> bool:
        try:
            return self._evaluate(condition.text) != 0
        except CommandSyntaxError as error:
            self._point(error, condition)
            raise

    # ---- control flow -----------------------------------------------------------------------

    def _if(self, statement: syntax.If) -> Flow:
        for condition, body in statement.branches:
            if self._true(condition):
                return self._enter(body)
        return Flow.NEXT if statement.otherwise is None else self._enter(statement.otherwise)

    def _turn(self, body: syntax.Text) -> Flow:
        """Run a loop's body once; anything but NEXT ends the loop."""
        self.host.check_interrupt()
        flow = self._enter(body)
        return Flow.NEXT if flow is Flow.CONTINUE else flow

    def _while(self, statement: syntax.While) -> Flow:
        flow = self._turn(statement.body) if statement.body_first else Flow.NEXT
        while flow is Flow.NEXT and self._true(statement.condition):
            flow = self._turn(statement.body)
        return _after_loop(flow)

    def _for(self, statement: syntax.For) -> Flow:
        self._enter(statement.start)
        flow, endless = Flow.NEXT, not statement.condition.text.strip()
        while endless or self._true(statement.condition):
            flow = self._turn(statement.body)
            if flow is not Flow.NEXT:
                break
            for step in statement.steps:
                self._enter(step)
        return _after_loop(flow)

    def _foreach(self, statement: syntax.ForEach) -> Flow:
        if statement.kind == "commands":
            source = self._output(statement.source)
        elif statement.kind == "file":
            source = _read_file(statement.source.text)
        else:
            source = statement.source.text
        first, each = self._evaluate(statement.skip_first), self._evaluate(statement.skip_each)
        with self.aliases.scoped(statement.variable) as give:
            for token in source.split()[first :: each + 1]:
                give(token)
                flow = self._turn(statement.body)
                if flow is not Flow.NEXT:
                    return _after_loop(flow)
        return Flow.NEXT

    def _catch(self, statement: syntax.Block) -> Flow:
        try:
            flow = self._enter(statement.body)
        except (SimBug, TargetGone):
            raise
        except KdsimError as error:
            self.host.report(error)
            return Flow.NEXT
        return Flow.NEXT if flow is Flow.LEAVE else flow

    def _jump(self, statement: syntax.Jump) -> Flow:
        first = statement.first
        arguments = Arguments(first.text, self.host.context)
        try:
            holds = arguments.expression()
        except CommandSyntaxError as error:
            self._point(error, first)
            raise
        if holds:
            column = arguments.position
            chosen = syntax.Text(first.text[column:], first.column + column)
        elif statement.second is not None:
            chosen = statement.second
        else:
            return Flow.NEXT
        quoted = _QUOTED.fullmatch(chosen.text)
        if quoted:
            chosen = syntax.Text(quoted[1], chosen.column + quoted.start(1))
        return self._enter(chosen)

    # ---- aliases and scripts ----------------------------------------------------------------

    def _output(self, commands: syntax.Text) -> str:
        with self.host.capture() as pieces:
            self._enter(commands)
        return "".join(pieces)

    def _alias(self, statement: syntax.AliasCommand) -> None:
        def run(commands: str) -> str:
            column = statement.column + statement.text.rindex(commands)
            return self._output(syntax.Text(commands, column))

        try:
            shown = self.aliases.command(statement.text, self.host.context, run)
        except CommandSyntaxError as error:
            self._point(error, statement)
            raise
        if shown is not None:
            self.host.write("\n".join(shown.lines()) + "\n")

    def _script(self, statement: syntax.Script) -> None:
        words = [quoted or plain for quoted, plain in _SCRIPT_WORD.findall(statement.text)]
        takes_arguments = statement.form == "$$>a<"
        name = words[0] if takes_arguments and words else statement.text.strip('"')
        if not name:
            column = statement.column + len(statement.form)
            raise CommandSyntaxError(SYNTAX, str(statement), column)
        self.run_script(name, words[1:] if takes_arguments else (), form=statement.form)

    def run_script(self, name: str, arguments: Sequence[str] = (), *, form: str = "$$>a<") -> None:
        """Execute a script file as one of the `$<` forms does."""
        text = _read_file(name)
        if form in ("$<", "$$<"):
            self.run_lines(text, echo=True)
            return
        block = _one_line(text)
        if form != "$$>a<":
            self.host.write(f"{self.host.prompt}{block}\n")
        text = self.aliases.expand(self.aliases.expand_arguments(block, arguments))
        self._program(text, None)


def _one_line(text: str) -> str:
    """A file as one line: its line ends are semicolons, but where there is one already.

    So the head of a `.for` may be written on three lines, as the manual's own examples do.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    ends = (" " if line.rstrip().endswith(";") else ";" for line in lines)
    return "".join(map(operator.add, lines, ends)).rstrip("; ")


def _after_loop(flow: Flow) -> Flow:
    """How a loop ended, to those around it: a `.leave` goes on to its `.catch`."""
    return flow if flow is Flow.LEAVE else Flow.NEXT


def _read_file(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8-sig", errors="replace")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"Command file execution failed, '{name}': {reason}") from error
