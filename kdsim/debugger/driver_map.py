"""Driver replacement (`.kdfiles`): the map, and the answers to a target that asks for its files.

Before it loads a driver, a kernel asks its debugger whether it has a newer one. The map says which
file of the debugger's machine stands in for which name on the target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from os import SEEK_END
from pathlib import Path
from typing import Protocol, runtime_checkable

from kdsim.errors import FormatError
from kdsim.wire.manipulate import Status
from kdsim.wire.messages import FileApi, FileIo

READ_LIMIT = 0x1000
"""Bytes of one read at most, whatever the target asks for; it asks again for the rest."""

_DRIVE = re.compile(r"(?:\\\?\?)?\\?[a-z]:\\")
_SYSTEM_ROOT = "systemroot"
_WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class Association:
    """One entry of the map: a name on the target, and the file to load in its place."""

    old: str
    new: str

    def matches(self, path: str) -> bool:
        """Whether a path the target asks for ends like this name, with or without `.sys`."""
        wanted, asked = _parts(self.old), _parts(path)
        if not wanted or len(wanted) > len(asked):
            return False
        tail = asked[-len(wanted) :]
        name = tail[-1]
        return tail[:-1] == wanted[:-1] and wanted[-1] in (name, name.rpartition(".")[0])


def _parts(path: str) -> list[str]:
    r"""`\??\C:\Windows\a.sys`, `\SystemRoot\a.sys` and `windows\a.sys` are the same."""
    text = _DRIVE.sub("", path.lower().replace("/", "\\"), count=1)
    parts = [part for part in text.split("\\") if part]
    return [_WINDOWS if part == _SYSTEM_ROOT and not i else part for i, part in enumerate(parts)]


def parse_map(text: str) -> list[Association]:
    """The associations of a map file: the word `map`, the old name, the new file, one a line.

    Raises:
        FormatError: anything else stands there.
    """
    lines = iter(text.splitlines())
    found = []
    for line in lines:
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        old, new = next(lines, "").strip(), next(lines, "").strip()
        if word.lower() != "map" or not old or not new or "#" in (old[0], new[0]):
            raise FormatError(f"'{word}' is not followed by an old and a new driver")
        found.append(Association(old, new))
    return found


def write_map(associations: list[Association]) -> str:
    return "".join(f"map\n{item.old}\n{item.new}\n\n" for item in associations)


@runtime_checkable
class FileServing(Protocol):
    """What a backend offers besides `Backend` when its target can ask for files."""

    def serve_files(self, answer: Callable[[FileIo], FileIo]) -> None: ...


@dataclass(slots=True)
class DriverMap:
    """The map of one session, and the files a target has open.

    Attributes:
        source: the file it was loaded from.
        report: told about each file that is handed out.
    """

    report: Callable[[str], None]
    source: str = ""
    associations: list[Association] = field(default_factory=list)
    _open: dict[int, Path] = field(default_factory=dict)

    def load(self, path: Path) -> None:
        """Replace the map by a file's; FormatError or OSError leaves it as it was."""
        self.associations = parse_map(path.read_text(encoding="utf-8-sig", errors="replace"))
        self.source = str(path)

    def add(self, old: str, new: str) -> None:
        """The last association of a name counts."""
        self.associations = [a for a in self.associations if a.old.lower() != old.lower()]
        self.associations.append(Association(old, new))

    def clear(self) -> None:
        self.associations, self.source = [], ""

    def answer(self, request: FileIo) -> FileIo:
        """The reply to one request of the target."""
        if request.api == FileApi.CREATE:
            return self._create(request)
        path = self._open.get(request.transfer.handle)
        if path is None:
            return request.reply(Status.INVALID_HANDLE)
        if request.api == FileApi.READ:
            return _read(request, path)
        if request.api == FileApi.CLOSE:
            del self._open[request.transfer.handle]
            return request.reply(Status.SUCCESS)
        return request.reply(Status.ACCESS_DENIED)

    def _create(self, request: FileIo) -> FileIo:
        found = next((a for a in self.associations if a.matches(request.path)), None)
        if found is None:
            return request.reply(Status.NO_SUCH_FILE)
        try:
            with Path(found.new).open("rb") as stream:
                size = stream.seek(0, SEEK_END)
        except OSError as error:
            self.report(f"KD: Unable to open '{found.new}' ({request.path}): {error.strerror}")
            return request.reply(Status.NO_SUCH_FILE)
        handle = max(self._open, default=0) + 1
        self._open[handle] = Path(found.new)
        self.report(f"KD: Accessing '{found.new}' ({request.path})")
        self.report(f"  File size {-(-size // 1024)}K.")
        return request.created(handle, size)


def _read(request: FileIo, path: Path) -> FileIo:
    try:
        with path.open("rb") as stream:
            stream.seek(request.transfer.offset)
            data = stream.read(min(request.transfer.length, READ_LIMIT))
    except (OSError, OverflowError):
        return request.reply(Status.UNSUCCESSFUL)
    if not data and request.transfer.length:
        return request.reply(Status.END_OF_FILE)
    return request.read(data)
