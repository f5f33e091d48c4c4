"""Colours of the prompt and of the output; each style is legible on the ground it names."""

from __future__ import annotations

from pygments.style import Style
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String, Token


class KdDarkStyle(Style):
    """For dark terminals."""

    name = "kd-dark"
    styles = {  # noqa: RUF012 - pygments declares it as a plain class attribute
        Token: "",
        Comment: "#8a8a8a italic",
        Keyword: "#d787ff",
        Name.Function: "#5fd7ff",
        Name.Function.Magic: "#5fd7ff",
        Name.Builtin: "#5fd7ff",
        Name.Class: "#87d787",
        Name.Label: "#ffd787",
        Name.Variable: "#ffaf87",
        Name.Variable.Magic: "#ffaf87",
        Number: "#afafff",
        Operator.Word: "#d787ff",
        String: "#ffd787",
        Generic.Error: "#ff8787",
        Generic.Prompt: "bold",
        Generic.Strong: "bold",
    }


class KdLightStyle(Style):
    """For light terminals."""

    name = "kd-light"
    styles = {  # noqa: RUF012 - as above
        Token: "",
        Comment: "#6c6c6c italic",
        Keyword: "#8700af",
        Name.Function: "#005f87",
        Name.Function.Magic: "#005f87",
        Name.Builtin: "#005f87",
        Name.Class: "#006000",
        Name.Label: "#875f00",
        Name.Variable: "#af3a00",
        Name.Variable.Magic: "#af3a00",
        Number: "#3a3aaf",
        Operator.Word: "#8700af",
        String: "#875f00",
        Generic.Error: "#af0000",
        Generic.Prompt: "bold",
        Generic.Strong: "bold",
    }


STYLES: dict[str, type[Style]] = {style.name: style for style in (KdDarkStyle, KdLightStyle)}
