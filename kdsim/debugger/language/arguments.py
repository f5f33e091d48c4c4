"""The cursor with which a command pulls its arguments out of the text after its name.

Arguments are separated by blanks or a comma. Every method skips them, takes what it came for and
leaves the cursor behind it; what is malformed raises a CommandSyntaxError at its column. A command
ends with `at_end()`, which refuses what nobody took.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kdsim.debugger.language.evaluate import Evaluator
from kdsim.debugger.language.numbers import MASK, unescape, without_quoting
from kdsim.debugger.language.problems import (
    EXTRA,
    OVERFLOW,
    RANGE,
    SYNTAX,
    MissingExpression,
)
from kdsim.errors import CommandSyntaxError

if TYPE_CHECKING:
    from kdsim.debugger.language.context import Context
    from kdsim.debugger.language.typed import Typed

RANGE_LIMIT = 256 << 20
"""Bytes a range may have unless it is written `L?n`."""

_SEPARATORS = " \t\r\n,"
LONGEST_SLIP = 2
_LONE_SWITCH = re.compile(r"[-/](\w+)(?=\s|$)")
_WORD = re.compile(r"[^\s,]+")
# `L10`, but not the `l` of `leaky!Worker`.
_LENGTH = re.compile(r"[lL](?!\w+!)\s*(?:(?P<mark>[?-])|(?=[\w@$.(`'!]))")
# In C++ `&` takes an address and `#` begins a macro.
_SEGMENT = {"masm": re.compile(r"[%&#]"), "c++": re.compile(r"%")}


@dataclass(frozen=True, slots=True)
class Range:
    """A piece of memory as the user wrote it.

    Attributes:
        address: its first byte; None when nothing was written: go on after the last one.
        count: objects.
        object_size: bytes of one object.
        size: bytes.
        form: "none"; "address" alone, so `count` is the command's default; "count" (`L10`);
            "end" (a second address, the last byte that belongs to it).
    """

    address: int | None
    count: int
    object_size: int
    size: int
    form: Literal["none", "address", "count", "end"]

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return (self.address or 0) + self.size


class Arguments:
    """See the module docstring.

    Attributes:
        text: the whole command, which messages quote.
        position: the cursor, a column of `text`.
    """

    def __init__(self, text: str, context: Context, start: int = 0) -> None:
        """`start`: column of `text` where the arguments begin, behind the command's name."""
        self.text = text
        self.context = context
        self.position = start
        self.start = start
        self._evaluator = Evaluator(context)

    # ---- looking ----------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Nothing is left."""
        self._skip()
        return self.position >= len(self.text)

    def peek(self) -> str:
        """What is left, without taking it."""
        self._skip()
        return self.text[self.position :]

    def at_end(self) -> None:
        """Refuse left-overs."""
        if not self.done:
            raise self.error(EXTRA)

    def error(self, message: str = SYNTAX, column: int | None = None) -> CommandSyntaxError:
        """An error at the cursor, or at `column`."""
        return CommandSyntaxError(message, self.text, self.position if column is None else column)

    def _skip(self) -> None:
        text, position = self.text, self.position
        while position < len(text) and text[position] in _SEPARATORS:
            position += 1
        self.position = position

    # ---- words ------------------------------------------------------------------------------

    def rest(self) -> str:
        """Everything that is left, without blanks around it."""
        left = self.text[self.position :].strip()
        self.position = len(self.text)
        return left

    def raw(self) -> str:
        """Everything that is left, as it is but for one blank that follows the command's name."""
        left = self.text[self.position :]
        self.position = len(self.text)
        return left[1:] if left[:1].isspace() else left

    def word(self) -> str | None:
        """The characters up to the next blank or comma; a quoted string counts as one word."""
        self._skip()
        if self.text.startswith('"', self.position):
            return self.string()
        return self._match(_WORD)

    def pattern(self) -> str | None:
        """A word with wildcards; `@!"..."` and quotes protect blanks."""
        self._skip()
        if self.text.startswith('@!"', self.position):
            self.position += 2
            return self.string()
        return self.word()

    def take(self, *choices: str) -> str | None:
        """The first of `choices` that stands next (case does not matter), taken; or None."""
        self._skip()
        for choice in choices:
            piece = self.text[self.position : self.position + len(choice)]
            if piece.lower() == choice.lower():
                self.position += len(choice)
                return choice
        return None

    def string(self, *, escapes: bool = False) -> str | None:
        r"""A string in double quotes, which a missing closing quote ends at the end of the text.

        Args:
            escapes: read `\n`, `\"` and their like. Without, a backslash is a backslash, but
                `\"` still does not end the string.
        """
        self._skip()
        if not self.text.startswith('"', self.position):
            return None
        found = re.compile(r'"((?:\\.|[^"\\])*)("|\\?$)', re.DOTALL).match(self.text, self.position)
        if found is None:
            raise self.error()
        self.position = found.end()
        return unescape(found[1]) if escapes else found[1]

    def commands(self) -> str:
        r"""Commands as extensions take them: a quoted string that ends the line, or all of it.

        The quotes within have a backslash, of which they are freed; `\n` is left to the command
        that prints it.
        """
        if not self.peek().startswith('"'):
            return self.rest()
        text = self.string() or ""
        self.at_end()
        return without_quoting(text)

    def flags(self, letters: str) -> str:
        """Letters glued to the command's name: `bn` of `kbn`."""
        start = self.position
        while self.position < len(self.text) and self.text[self.position] in letters:
            self.position += 1
        return self.text[start : self.position]

    def switches(self, *names: str) -> dict[str, str]:
        """WinDbg's `/f`, `-v`, `/ma`, `/c 5`, and single letters put together (`/fv`).

        Args:
            names: the switches of the command; "c:" takes a value, the word that follows it.

        Returns:
            Those that were given, with their value or an empty string.
        """
        valued = {name[:-1] for name in names if name.endswith(":")}
        known = sorted({name.rstrip(":") for name in names}, key=len, reverse=True)
        given: dict[str, str] = {}
        while True:
            self._skip()
            mark = self.text[self.position : self.position + 1]
            following = self.text[self.position + 1 : self.position + 2]
            # `-8` and `- 8` begin an expression.
            if mark not in ("/", "-") or (mark == "-" and not following.isalpha()):
                return given
            self.position += 1
            self._switch_group(known, valued, given)

    def lone_switches(self, *names: str) -> dict[str, str]:
        """Switches in front of a file name, which may begin with a slash itself.

        So each is a word of its own: `/ka` is a switch, `/ka.dmp` a file. Where no switch has that
        name, one or two letters are a slip and not a file.
        """
        given: dict[str, str] = {}
        by_name = {name.rstrip(":"): name for name in names}
        while (word := _LONE_SWITCH.match(self.peek())) is not None and word[1] in by_name:
            self.position += word.end()
            given[word[1]] = self.word() or "" if by_name[word[1]].endswith(":") else ""
        if word is not None and len(word[1]) <= LONGEST_SLIP:
            raise self.error()
        return given

    def _switch_group(self, known: list[str], valued: set[str], given: dict[str, str]) -> None:
        first = True
        while first or self.text[self.position : self.position + 1].isalnum():
            name = next((n for n in known if self.text.startswith(n, self.position)), None)
            if name is None:
                raise self.error()
            first = False
            self.position += len(name)
            given[name] = ""
            if name in valued:
                given[name] = self.word() or ""
                return

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.position)
        if found is None or not found[0]:
            return None
        self.position = found.end()
        return found[0]

    # ---- numbers ----------------------------------------------------------------------------

    def expression(self) -> int:
        """The longest expression of the default language that stands here."""
        self._skip()
        if self.position >= len(self.text):
            raise MissingExpression(self.text, len(self.text))
        value, self.position = self._evaluator.prefix(self.text, self.position)
        return value

    def optional_expression(self, default: int | None = None) -> int | None:
        """An expression, or `default` when nothing is left."""
        return default if self.done else self.expression()

    def masm(self) -> int:
        """A MASM expression, whatever the default language is."""
        self._skip()
        value, self.position = self._evaluator.masm_prefix(self.text, self.position)
        return value

    def cpp(self) -> Typed:
        """A C++ expression, whatever the default language is."""
        self._skip()
        value, self.position = self._evaluator.cpp_prefix(self.text, self.position)
        return value

    def whole_cpp(self) -> Typed:
        """The C++ expression that all the rest is; its commas are operators."""
        self._skip()
        column, text = self.position, self.rest()
        if not text:
            raise MissingExpression(self.text, len(self.text))
        try:
            return self._evaluator.cpp(text)
        except CommandSyntaxError as error:
            if error.text == text:
                error.text, error.column = self.text, error.column + column
            raise

    def address(self) -> int:
        """An expression that may be segmented: `%flat`, `seg:off`, `&seg:off` (virtual 8086).

        In 64-bit mode the bases of code, data and stack segments are zero.
        """
        self._skip()
        mark = self._match(_SEGMENT[self.context.evaluator]) or ""
        if mark == "#":
            raise self.error("16-bit addresses are not supported by a 64-bit target: Operand error")
        value = self.expression()
        if self.position < len(self.text) and self.text[self.position] == ":":
            self.position += 1
            offset = self.expression()
            value = (value << 4) + offset if mark == "&" else offset
        return value & MASK

    def optional_address(self, default: int | None = None) -> int | None:
        """An address, or `default` when nothing is left."""
        return default if self.done else self.address()

    def range(
        self, object_size: int = 1, default_count: int = 1, limit: int = RANGE_LIMIT
    ) -> Range:
        """`A`, `A B` (B belongs to it), `A Ln`, `A L?n`, `A L-n`, or nothing.

        Args:
            object_size: bytes of what `n` counts.
            default_count: objects when the user names no end.
            limit: bytes; `L?n` lifts it.
        """
        size = object_size * default_count
        if self.done:
            return Range(None, default_count, object_size, size, "none")
        address = self.address()
        if self.done:
            return Range(address, default_count, object_size, size, "address")
        column = self.position
        length = _LENGTH.match(self.text, self.position)
        if length:
            self.position = length.end()
            count = self.expression()
            if count * object_size > limit and length["mark"] != "?":
                raise self.error(RANGE, column)
            if length["mark"] == "-":
                address = (address - count * object_size) & MASK
            return Range(address, count, object_size, count * object_size, "count")
        if not self._may_be_expression():
            return Range(address, default_count, object_size, size, "address")
        last = self.address()
        size = last - address + 1
        if not 0 < size <= limit:
            raise self.error(RANGE, column)
        return Range(address, -(-size // object_size), object_size, size, "end")

    def _may_be_expression(self) -> bool:
        """A quote begins a string, an equals sign an assignment: neither is a second address."""
        return self.text[self.position] not in '"=;{}'

    def values(self, size: int) -> list[bytes]:
        """Numbers up to the end, each as `size` bytes; a quoted string gives its characters.

        A number that does not fit is an Overflow error; a negative one is stored as it is.
        """
        values: list[bytes] = []
        while not self.done:
            column = self.position
            text = self.string()
            if text is not None:
                values += [ord(char).to_bytes(size, "little") for char in text]
                continue
            value = self.expression()
            bits = 8 * size
            if value >> bits and value < MASK + 1 - (1 << bits - 1):
                raise self.error(OVERFLOW, column)
            values.append((value & (1 << bits) - 1).to_bytes(size, "little"))
        return values
