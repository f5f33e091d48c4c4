"""The arguments of `dt`: options anywhere, a name, fields, an address, a list field."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdsim.debugger.inspect.typetree import NAME_WIDTH, Style, Wanted
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments

DISPLAY_LETTERS = "bcdehiopstv"
ALL_LEVELS = 64
"""`-b` and a bare `-r`: deeper than any record is nested."""

# A type's name may have blanks inside parentheses, and blanks and commas between angle brackets.
_ITEM = re.compile(r"\((?P<quoted>[^()]*)\)(?=[\s,]|$)|[^\s,<]+(?:<.*>[^\s,]*)?")
_NUMBER = re.compile(r"[0-9a-f`]+h?|0[xnty]\w+", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_<*?(.~][\w.*?#+<>:!~$,()\[\] -]*")
_SUM = re.compile(r"[+-](?:0[xnty])?[0-9a-f`]+$", re.IGNORECASE)
_FIELD = re.compile(r"[A-Za-z_<.*?][\w.*?#+<>-]*(?:\[[^\]]*\][\w.*?#+<>-]*)*")
_SUBSCRIPT = re.compile(r"\[([^\]]*)\]")


@dataclass(slots=True)
class TypeRequest:
    """What the user asked of `dt`.

    Attributes:
        name: of a type or variable; empty when only an address was given.
        is_prefix: `-y` stood in front of the name.
        width: of the names' column.
        letters: the display options given.
        depth: of `-r`; 0 for a bare one, None without.
        arrays: of `-a`: elements to show, 0 for all, None without.
        size: of `-s`.
    """

    name: str = ""
    is_prefix: bool = False
    address: int | None = None
    fields: tuple[Wanted, ...] = ()
    width: int = NAME_WIDTH
    list_field: str = ""
    letters: set[str] = field(default_factory=set)
    depth: int | None = None
    arrays: int | None = None
    size: int | None = None

    def has(self, letter: str) -> bool:
        return letter in self.letters

    @property
    def verbose(self) -> bool:
        return self.has("v") or self.has("d")

    @property
    def style(self) -> Style:
        depth = self.depth or 0
        if self.has("b"):
            return Style(ALL_LEVELS, 1, self.arrays, elements=True, verbose=self.verbose)
        if self.depth == 0:
            return Style(ALL_LEVELS, 1, self.arrays, verbose=self.verbose)
        return Style(depth, depth, self.arrays, verbose=self.verbose)


def read_request(args: Arguments) -> TypeRequest:
    """Take all arguments of a `dt`."""
    return _Reader(args).read()


class _Reader:
    """`-a`, `-n` and `-y` belong to the name or field that follows them."""

    def __init__(self, args: Arguments) -> None:
        self._args = args
        self._request = TypeRequest()
        self._search = ""
        self._arrays: int | None = None

    def read(self) -> TypeRequest:
        request = self._request
        while not self._args.done:
            if self._args.peek().startswith("-"):
                self._option()
            elif not request.name and self._is_name():
                request.name, request.is_prefix = self._item(), "y" in self._search
                request.arrays, self._arrays, self._search = self._arrays, None, ""
            elif request.name and self._is_field():
                self._field()
            elif request.address is None:
                request.address = self._args.address()
            else:
                self._args.at_end()
        if self._arrays is not None and request.arrays is None:
            request.arrays = self._arrays
        return request

    def _option(self) -> None:
        """`-r2`, `-ca10`, `-yoi`: letters put together, two of them with a number."""
        args = self._args
        word = args.word() or ""
        text = word[1:]
        if not text:
            raise args.error()
        while text:
            letter, text = text[0], text[1:]
            if letter in "ar":
                digits = text[: len(text) - len(text.lstrip("0123456789"))]
                text = text[len(digits) :]
                self._number(letter, digits)
            elif letter in "ny":
                self._search += letter
            elif letter == "l":
                self._request.list_field = args.word() or ""
            elif letter in DISPLAY_LETTERS or letter == "?":
                self._request.letters.add("h" if letter == "?" else letter)
                if letter == "s":
                    self._request.size = type(args)(args.word() or "", args.context).expression()
            else:
                raise args.error(column=args.position - len(text) - 1)

    def _number(self, letter: str, digits: str) -> None:
        if letter == "a":
            self._arrays = int(digits or 0)
            return
        if digits and not 1 <= int(digits) <= 9:
            raise ArgumentError("dt -r takes a depth between 1 and 9")
        self._request.depth = int(digits or 0)

    def _peek(self) -> str:
        found = _ITEM.match(self._args.peek())
        return found[0] if found else ""

    def _item(self) -> str:
        found = _ITEM.match(self._args.peek())
        if found is None:
            raise self._args.error()
        self._args.position += found.end()
        return found["quoted"] or found[0]

    def _is_name(self) -> bool:
        word = self._peek()
        if "n" in self._search:
            return True
        if word.startswith("(") and self._request.address is None:
            # `(unsigned long)` is a name, `(@rax+8)` an expression.
            return re.fullmatch(r"\([A-Za-z_][\w ]*[*]*\)", word) is not None
        is_sum = _SUM.search(word) is not None
        return bool(_NAME.match(word)) and not _is_number(word) and not is_sum and "(" not in word

    def _is_field(self) -> bool:
        if self._search:
            return True
        # A register needs its `@`: `Rip` is a field of a context.
        word = self._peek()
        return _FIELD.fullmatch(word) is not None and not _is_number(word.rstrip(".*"))

    def _field(self) -> None:
        word = self._item()
        if not all(subscript.isdecimal() for subscript in _SUBSCRIPT.findall(word)):
            raise ArgumentError(f"{word}: a subscript has to be a decimal number")
        wanted = Wanted(tuple(word.split(".")), "y" in self._search, self._arrays)
        request = self._request
        longest = max(len(word), request.width if request.fields else 0)
        request.fields, request.width = (*request.fields, wanted), longest
        self._arrays, self._search = None, ""


def _is_number(word: str) -> bool:
    return _NUMBER.fullmatch(word) is not None
