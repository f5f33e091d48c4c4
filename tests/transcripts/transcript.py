"""Transcript files: what a session with the real program looks like, to the letter.

A `.kdt` file begins with comment lines, which say what to run::

    # lab seed 1                      the machine and its seed
    # kd -d                           options of `kdsim kd`
    # file hunt.kd                    a script file in the current folder; its lines follow ...
    #   .symfix                       ... indented
    # with the banner                 the file holds what is printed before the first prompt too

Behind them stands the session: every line with a prompt is a command (behind `Input>` an answer),
all else is output. The commands are read off these lines, given to `kdsim kd` through a pipe, and
what it prints must be the same text. Two things are replaced literally: the folder of this checkout
by `<kdsim>`, and the debugger's own time of day by `<now>`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from kdsim.resources import resource_path

CHECKOUT = str(resource_path("targets").parent)
PROMPT = re.compile(r"^(?:\d+: kd|kd|lkd|Input)> (.*)$")
_NOW = re.compile(
    r"(?<=target at \()[^()]+\([^()]+\)(?=\), ptr64)"
    r"|(?<=debugger time: ).+|(?<=debuggee\) time: ).+|(?<=occurred at \().+(?=\))"
    r"|^\w{3} \w{3} [ \d]\d [\d:.]+ \d{4} \(UTC [+-] \d+:\d\d\)(?=: )",
    re.MULTILINE,
)
_SCRIPT = re.compile(r"(\$\$?>?<)(\S+)$")
SECONDS = 60.0


@dataclass(slots=True)
class Transcript:
    """One file."""

    path: Path
    header: list[str] = field(default_factory=list)
    body: str = ""
    options: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    banner: bool = False

    @classmethod
    def read(cls, path: Path) -> Transcript:
        lines = path.read_text(encoding="utf-8").splitlines()
        size = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        found = cls(path, lines[:size], "".join(f"{line}\n" for line in lines[size:]))
        for line in found.header:
            found._take(line)
        return found

    def _take(self, line: str) -> None:
        words = line[1:].split()
        if line.startswith("#   ") and self.files:
            list(self.files.values())[-1].append(line[4:])
        elif words[:2] == ["lab", "seed"]:
            self.options += ["--seed", words[2]]
        elif words[:1] == ["kd"]:
            self.options += words[1:]
        elif words[:1] == ["file"]:
            self.files[words[1]] = []
        elif words == ["with", "the", "banner"]:
            self.banner = True

    def commands(self) -> list[str]:
        """What was typed: the prompt lines without those that a script echoed."""
        typed: list[str] = []
        echoed: list[str] = []
        for line in self.body.splitlines():
            found = PROMPT.match(line)
            if found is None:
                continue
            if echoed and found[1] == echoed[0]:
                echoed.pop(0)
                continue
            typed.append(found[1])
            script = _SCRIPT.search(found[1])
            if script is not None:
                lines = self.files.get(script[2], [])
                echoed = [";".join(lines)] if ">" in script[1] else list(lines)
        return typed

    def run(self, folder: Path) -> str:
        """Run the real program; what it printed, with the two replacements."""
        for name, lines in self.files.items():
            (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "kdsim", "kd", *self.options],
            input="".join(f"{line}\n" for line in self.commands()),
            cwd=folder,
            env=_environment(folder),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        assert done.stderr == ""
        text = _NOW.sub("<now>", done.stdout.replace(CHECKOUT, "<kdsim>"))
        if self.banner:
            return text
        first = next(i for i, line in enumerate(text.splitlines()) if PROMPT.match(line))
        return "".join(text.splitlines(keepends=True)[first:])

    def write(self, text: str) -> None:
        header = "".join(f"{line}\n" for line in self.header)
        self.path.write_text(header + text, encoding="utf-8")


def _environment(folder: Path) -> dict[str, str]:
    import os

    return dict(
        os.environ,
        TZ="UTC",
        PYTHONPATH=CHECKOUT,
        XDG_RUNTIME_DIR=str(folder),
        XDG_CACHE_HOME=str(folder),
    )
