"""Writes `docs/commands.md` from the declarations: `python -m kdsim.debugger.commands.docs`.

With `--check` it writes nothing and fails when the file is not what it would write.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands import absent, tokens
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.registry import Command

PAGE = Path("docs/commands.md")
LANGUAGE, ABSENT = "Control flow, scripts, aliases", "Commands of kd that are not here"

_INTRODUCTION = (
    "# Commands",
    "",
    "Written by `python -m kdsim.debugger.commands.docs` from the declarations; do not edit.",
    "The same text is at the prompt: `?`, `.help` and `!help` list the commands, `.hh NAME` tells",
    "about one. Under `--json` every record a command returns is printed as one JSON object.",
    "",
    "Live: a target that is debugged over KDNET or KDCOM. Local: `kdsim kd -kl`. Dump: `-z`.",
    "",
)

_SESSIONS = (
    ("Live", ~Caps.NONE),
    ("local", Caps.READ | Caps.WRITE | Caps.PHYSICAL),
    ("dump", Caps.READ | Caps.PHYSICAL | Caps.REGISTERS),
)


def text() -> str:
    """The whole page."""
    return "\n".join([*_INTRODUCTION, *_contents(), *_tokens(), *_commands(), *_absent()]) + "\n"


def _contents() -> Iterator[str]:
    """All names, each group a link away."""
    yield f"- [{LANGUAGE}]({_anchor(LANGUAGE)})"
    for group, members in REGISTRY.by_group():
        names = " ".join(name for declared in members for name in declared.names)
        yield f"- [{group}]({_anchor(group)}): {_code(names)}"
    yield f"- [{ABSENT}]({_anchor(ABSENT)})"
    yield ""


def _anchor(title: str) -> str:
    """The link that a heading gets on GitHub."""
    kept = (char for char in title.lower() if char.isalnum() or char == " ")
    return f"#{''.join(kept).replace(' ', '-')}"


def _tokens() -> Iterator[str]:
    yield f"## {LANGUAGE}"
    yield ""
    for token in tokens.TOKENS:
        yield f"### {_code(' '.join(token.names))}"
        yield ""
        yield from ("```", *token.usage, "```", "")
        yield _plain(" ".join((token.summary, *token.notes)))
        yield ""


def _commands() -> Iterator[str]:
    for group, members in REGISTRY.by_group():
        yield f"## {group}"
        yield ""
        for declared in members:
            yield from _entry(declared)


def _entry(declared: Command) -> Iterator[str]:
    yield f"### {_code(' '.join(declared.names))}"
    yield ""
    if declared.usage() != declared.name:
        yield _code(declared.usage())
        yield ""
    yield f"{_plain(declared.summary)} {_where(declared)}"
    yield ""
    if declared.notes:
        yield _plain(" ".join(declared.notes.split()))
        yield ""
    rows = declared.rows()
    if rows:
        yield "| | |"
        yield "|---|---|"
        for name, meaning in rows:
            # What may stand for an argument is set off from the argument itself.
            margin = "&emsp;" if name.startswith(" ") else ""
            yield f"| {margin}{_cell(_code(name.strip()))} | {_cell(_plain(meaning))} |"
        yield ""
    if declared.examples:
        yield f"Examples: {', '.join(map(_code, declared.examples))}"
        yield ""
    if declared.see_also:
        yield f"See also: {', '.join(map(_code, declared.see_also))}"
        yield ""


def _where(declared: Command) -> str:
    """The kinds of session that can do it; the backends declare the same."""
    return f"{', '.join(kind for kind, caps in _SESSIONS if declared.needs in caps)}."


def _absent() -> Iterator[str]:
    """Names that only say why they are not here, by reason."""
    yield f"## {ABSENT}"
    yield ""
    yield "Typed, each of them says what it is and why it is not here."
    yield ""
    items = list(absent.table().values())
    for item in items:
        if item.replaced_by:
            yield f"- {_code(item.name)}: use {_code(item.replaced_by)}"
    others = [item for item in items if not item.replaced_by and not item.module]
    for why, members in groupby(others, key=lambda item: item.why):
        yield from ("", f"**{_plain(why)}**", "")
        for item in members:
            yield f"- {_code(item.name)} {_plain(item.what)}"
    yield from ("", "**kdsim loads no extension modules of Windows.**", "")
    extensions = [item for item in items if item.module]
    for module, members in groupby(extensions, key=lambda item: item.module):
        rows = list(members)
        about = rows[0].what.rpartition(" for ")[2]
        short = ", ".join(_code(item.name.partition(".")[2]) for item in rows)
        yield f"- {_code(f'!{module}.*')} ({about}): {short}"


def _code(words: str) -> str:
    fence = "``" if "`" in words else "`"
    return f"{fence}{words}{fence}"


def _plain(words: str) -> str:
    """Running text in which Markdown sees nothing of its own."""
    for mark in "\\`*_<>$":
        words = words.replace(mark, f"\\{mark}")
    return words


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m kdsim.debugger.commands.docs")
    parser.add_argument("path", nargs="?", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    options = parser.parse_args()
    wanted = text()
    if options.check:
        good = options.path.exists() and options.path.read_text(encoding="utf-8") == wanted
        if not good:
            raise SystemExit(f"{options.path} is stale: run python -m kdsim.debugger.commands.docs")
        return 0
    options.path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
