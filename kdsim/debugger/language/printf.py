"""`.printf`: C's conversions, and kd's own for strings and symbols in the target."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.context import Context
from kdsim.debugger.language.numbers import MASK, signed
from kdsim.debugger.language.problems import SYNTAX
from kdsim.debugger.language.strings import counted, zero_terminated
from kdsim.errors import CommandSyntaxError

_SPECIFIER = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\d*|\*)(?:\.(?P<precision>\d*|\*))?"
    r"(?:%|(?P<kind>msa|msu|ma|mu|ly|y|p|N|(?P<size>I64|I32|I|ll|l|hh|h)?[diuxXocfegEGaA]))"
)
_SIZES = {"I64": 8, "I": 8, "ll": 8, "h": 2, "hh": 1}
# The tags and entities of the Debugger Markup Language. A quoted attribute may hold a `>`.
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&amp;": "&"}
_ENTITY = re.compile("|".join(_ENTITIES))
_TAG = re.compile(r"""<(?:"[^"]*"|'[^']*'|[^>"'])*>""")
_WIDEST = 0x4000
"""Columns; a mistyped width must not fill the memory."""
_COLOURS = ("od", "oD", "oe", "on", "op", "oP", "os", "ov", "ow")


def printf(arguments: Arguments) -> str:
    """The text of `.printf [/D] [/oX] "format" [, argument ...]`.

    A text console shows no markup, so `/D` leaves the text between the tags; nor has it a colour
    for each of WinDbg's kinds of message, which the options `/oX` choose from.
    """
    given = arguments.switches("D", *_COLOURS)
    template = arguments.string(escapes=True)
    if template is None:
        raise arguments.error()
    column = arguments.position
    values: list[int] = []
    while not arguments.done:
        values.append(arguments.expression())
    try:
        return format_text(arguments.context, template, values, markup="D" in given)
    except ValueError:
        raise CommandSyntaxError(SYNTAX, arguments.text, column) from None


def format_text(context: Context, template: str, values: list[int], *, markup: bool = False) -> str:
    """`template` with its conversions filled in, and freed of markup.

    Raises:
        ValueError: an unknown conversion, or one without a value.
    """
    remaining = iter(values)
    pieces: list[str] = []
    position = 0
    while (percent := template.find("%", position)) >= 0:
        found = _SPECIFIER.match(template, percent)
        if found is None:
            raise ValueError(template[percent:])
        text = _convert(context, found, remaining)
        pieces += (template[position:percent], _escaped(text) if markup else text)
        position = found.end()
    text = "".join(pieces) + template[position:]
    return _plain(text) if markup else text


def _plain(text: str) -> str:
    """What a text console shows of the Debugger Markup Language."""
    return _ENTITY.sub(lambda found: _ENTITIES[found[0]], _TAG.sub("", text))


def _escaped(text: str) -> str:
    """A value inside markup, which is no markup itself."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Flags, width and precision of a conversion."""

    flags: str
    width: int
    precision: int | None

    @property
    def template(self) -> str:
        """As Python's `%` wants it, without the letter."""
        digits = "" if self.precision is None else f".{self.precision}"
        return f"%{self.flags}{self.width or ''}{digits}"

    def pad(self, text: str) -> str:
        """Of a text: at most as long as the precision, at least as long as the width."""
        if self.precision is not None:
            text = text[: self.precision]
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)


def _layout(found: re.Match[str], values: Iterator[int]) -> _Layout:
    """A `*` takes its number from the arguments; a negative width aligns to the left."""
    flags, width, precision = found["flags"], found["width"], found["precision"]
    columns = signed(_next(values), 4) if width == "*" else int(width or 0)
    if columns < 0:
        flags, columns = f"-{flags}", -columns
    digits: int | None = None
    if precision is not None:
        digits = signed(_next(values), 4) if precision == "*" else int(precision or 0)
        # A negative one counts as none.
        digits = min(digits, _WIDEST) if digits >= 0 else None
    return _Layout(flags, min(columns, _WIDEST), digits)


def _next(values: Iterator[int]) -> int:
    value = next(values, None)
    if value is None:
        raise ValueError("too few arguments")
    return value & MASK


def _convert(context: Context, found: re.Match[str], values: Iterator[int]) -> str:
    kind = found["kind"]
    if kind is None:
        return "%"
    layout = _layout(found, values)
    value = _next(values)
    match kind:
        case "ma" | "mu":
            text = zero_terminated(context.memory, value, wide=kind == "mu")
        case "msa" | "msu":
            text = counted(context, value, wide=kind == "msu")
        case "p" | "N":
            text = f"{value:0{context.pointer_size * 2}x}"
        case "y" | "ly":
            text = describe(context, value, line=kind == "ly")
        case _:
            return _number(layout, found["size"] or "", kind[-1], value)
    return layout.pad(text)


def describe(context: Context, va: int, *, line: bool = False) -> str:
    """``nt!Foo+0x12 (fffff800`12345678)``, with `line` also the source line."""
    text = f"{context.describe(va)} ({va >> 32:08x}`{va & 0xFFFF_FFFF:08x})"
    place = context.describe_line(va) if line else ""
    return f"{text} [{place}]" if place else text


def _number(layout: _Layout, size: str, letter: str, value: int) -> str:
    if letter == "c":
        return layout.pad(chr(value & 0xFF))
    if letter in "aA":
        text = _float(size, value).hex()
        return layout.pad(text.upper() if letter == "A" else text)
    if letter in "fegEG":
        return (layout.template + letter) % _float(size, value)
    length = _SIZES.get(size, 4)
    if letter in "di":
        return (layout.template + "d") % signed(value, length)
    value &= (1 << length * 8) - 1
    if letter == "o" and "#" in layout.flags:
        # Python would write 0o17.
        return (layout.template.replace("#", "") + "s") % f"0{value:o}"
    return (layout.template + ("d" if letter == "u" else letter)) % value


def _float(size: str, value: int) -> float:
    """The argument's bits as a float, or with `l` as a double."""
    if size == "l":
        number: float = struct.unpack("<d", value.to_bytes(8, "little"))[0]
    else:
        number = struct.unpack("<f", (value & 0xFFFF_FFFF).to_bytes(4, "little"))[0]
    return number
