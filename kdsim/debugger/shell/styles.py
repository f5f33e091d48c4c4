"""Colours of the prompt and of the output; each style is legible on the ground it names.

Other programs know them as `kd-dark`, `kd-light` and so on; the user chooses one with `.style` or
the environment variable `KDSIM_STYLE`.
"""

from __future__ import annotations

from pygments.style import Style
from pygments.token import (
    Comment,
    Generic,
    Keyword,
    Name,
    Number,
    Operator,
    String,
    Token,
    _TokenType,
)


def _styles(
    *, quiet: str, keyword: str, command: str, symbol: str, text: str, register: str, number: str,
    wrong: str,
) -> dict[_TokenType, str]:  # fmt: skip
    """The colour of everything, from eight."""
    return {
        Token: "",
        Comment: f"{quiet} italic",
        Keyword: keyword,
        Name.Attribute: keyword,
        Operator.Word: keyword,
        Name.Function: command,
        Name.Function.Magic: command,
        Name.Builtin: command,
        Name.Class: symbol,
        Name.Label: text,
        String: text,
        Name.Variable: register,
        Name.Variable.Magic: register,
        Number: number,
        Generic.Error: wrong,
        Generic.Prompt: "bold",
        Generic.Strong: "bold",
    }


class KdDarkStyle(Style):
    """For dark terminals."""

    name = "kd-dark"
    background_color = "#000000"
    styles = _styles(
        quiet="#8a8a8a", keyword="#d787ff", command="#5fd7ff", symbol="#87d787",
        text="#ffd787", register="#ffaf87", number="#afafff", wrong="#ff8787",
    )  # fmt: skip


class KdLightStyle(Style):
    """For light terminals."""

    name = "kd-light"
    background_color = "#ffffff"
    styles = _styles(
        quiet="#6c6c6c", keyword="#8700af", command="#005f87", symbol="#006000",
        text="#875f00", register="#af3a00", number="#3a3aaf", wrong="#af0000",
    )  # fmt: skip


class KdColourBlindStyle(Style):
    """For dark terminals, in the colours of Okabe and Ito, which every kind of eye tells apart."""

    name = "kd-colour-blind"
    background_color = "#000000"
    styles = _styles(
        quiet="#999999", keyword="#cc79a7", command="#56b4e9", symbol="#009e73",
        text="#f0e442", register="#e69f00", number="#cccccc", wrong="#d55e00 bold",
    )  # fmt: skip


class KdColourBlindLightStyle(Style):
    """The same for light terminals, the light ones among the colours darkened."""

    name = "kd-colour-blind-light"
    background_color = "#ffffff"
    styles = _styles(
        quiet="#6c6c6c", keyword="#9c4a78", command="#0072b2", symbol="#00664a",
        text="#766800", register="#946600", number="#444444", wrong="#b34f00 bold",
    )  # fmt: skip


STYLES: dict[str, type[Style] | None] = {
    "dark": KdDarkStyle,
    "light": KdLightStyle,
    "colour-blind": KdColourBlindStyle,
    "colour-blind-light": KdColourBlindLightStyle,
    "none": None,
}
"""By the names a user chooses by."""
