"""Every transcript file, run again and compared to the letter.

`pytest tests/transcripts --update-transcripts` writes what the program prints now into the files;
read the difference before you commit it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.registry import AbsentCommand
from kdsim.debugger.language import parse
from kdsim.debugger.language import syntax_lines as syntax
from kdsim.errors import CommandSyntaxError, UnknownCommand
from tests.transcripts.transcript import Transcript

SCRIPTS = ("$<", "$><", "$$><", "$$>a<")
FILES = sorted(Path(__file__).parent.glob("*.kdt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    transcript = Transcript.read(path)
    text = transcript.run(tmp_path)
    if pytestconfig.getoption("--update-transcripts"):
        transcript.write(text)
    else:
        assert text.splitlines() == transcript.body.splitlines()


def test_every_command_is_shown() -> None:
    """Whatever is declared is typed in some transcript; the script forms belong to the language."""
    shown = set()
    for path in FILES:
        for line in Transcript.read(path).commands():
            shown |= _commands(line)
    declared = {declaration.name for declaration in REGISTRY.commands()} | set(SCRIPTS)
    assert declared - shown == set()


def _commands(line: str) -> set[str]:
    """First names of the declarations of a line's commands."""
    try:
        statements = parse.line(line).statements
    except CommandSyntaxError:
        return set()
    names = set()
    for statement in statements:
        if isinstance(statement, syntax.Script):
            names.add(statement.form)
        elif isinstance(statement, syntax.Command):
            with suppress(UnknownCommand, AbsentCommand):
                names.add(REGISTRY.find(statement.text).command.name)
    return names
