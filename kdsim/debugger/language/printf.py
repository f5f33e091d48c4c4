"""`.printf`: C's conversions, and kd's own for strings and symbols in the target."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.context import Context
from kdsim.debugger.language.numbers import MASK, signed
from kdsim.debugger.language.problems import SYNTAX
from kdsim.debugger.language.strings import counted, zero_terminated
from kdsim.errors import CommandSyntaxError

_SPECIFIER = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?"
    r"(?:%|(?P<kind>msa|msu|ma|mu|ly|y|p|N|(?P<size>I64|I32|ll|l|h)?[diuxXocfegEG]))"
)
_SIZES = {"I64": 8, "ll": 8, "h": 2}
_COLOURS = ("od", "oD", "oe", "on", "op", "oP", "os", "ov", "ow")


def printf(arguments: Arguments) -> str:
    """The text of `.printf [/D] [/oX] "format" [, argument ...]`."""
    arguments.switches("D", *_COLOURS)
    template = arguments.string(escapes=True)
    if template is None:
        raise arguments.error()
    column = arguments.position
    values: list[int] = []
    while not arguments.done:
        values.append(arguments.expression())
    try:
        return format_text(arguments.context, template, values)
    except ValueError:
        raise CommandSyntaxError(SYNTAX, arguments.text, column) from None


def format_text(context: Context, template: str, values: list[int]) -> str:
    """`template` with its conversions filled in.

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
        pieces += (template[position:percent], _convert(context, found, remaining))
        position = found.end()
    return "".join(pieces) + template[position:]


def _convert(context: Context, found: re.Match[str], values: Iterator[int]) -> str:
    kind = found["kind"]
    if kind is None:
        return "%"
    value = next(values, None)
    if value is None:
        raise ValueError("too few arguments")
    value &= MASK
    match kind:
        case "ma" | "mu":
            text = zero_terminated(context.memory, value, wide=kind == "mu")
        case "msa" | "msu":
            text = counted(context, value, wide=kind == "msu")
        case "p" | "N":
            return f"{value:0{context.pointer_size * 2}x}"
        case "y" | "ly":
            text = describe(context, value, line=kind == "ly")
        case _:
            return _number(found, kind[-1], value)
    return _padded(found, text)


def describe(context: Context, va: int, *, line: bool = False) -> str:
    """``nt!Foo+0x12 (fffff800`12345678)``, with `line` also the source line."""
    text = f"{context.describe(va)} ({va >> 32:08x}`{va & 0xFFFF_FFFF:08x})"
    place = context.describe_line(va) if line else ""
    return f"{text} [{place}]" if place else text


def _number(found: re.Match[str], letter: str, value: int) -> str:
    size = _SIZES.get(found["size"] or "", 4)
    if letter == "c":
        return _padded(found, chr(value & 0xFF))
    template = "%" + found["flags"] + found["width"]
    if found["precision"] is not None:
        template += "." + found["precision"]
    if letter in "fegEG":
        return (template + letter) % _float(found["size"], value)
    if letter in "di":
        return (template + "d") % signed(value, size)
    value &= (1 << size * 8) - 1
    if letter == "o" and "#" in found["flags"]:
        # Python would write 0o17.
        return (template.replace("#", "") + "s") % f"0{value:o}"
    return (template + ("d" if letter == "u" else letter)) % value


def _float(size: str | None, value: int) -> float:
    """The argument's bits as a float, or with `l` as a double."""
    if size == "l":
        number: float = struct.unpack("<d", value.to_bytes(8, "little"))[0]
    else:
        number = struct.unpack("<f", (value & 0xFFFF_FFFF).to_bytes(4, "little"))[0]
    return number


def _padded(found: re.Match[str], text: str) -> str:
    if found["precision"]:
        text = text[: int(found["precision"])]
    width = int(found["width"] or 0)
    return text.ljust(width) if "-" in found["flags"] else text.rjust(width)
