"""What was typed, kept in a file that all sessions of a user share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

KEPT = 5000
"""Entries that survive the beginning of a session."""


def history_path() -> Path:
    """`$XDG_STATE_HOME/kdsim/history`, by default under `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "kdsim" / "history"


def open_history() -> History:
    path = history_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        return SharedHistory(path)
    except OSError:
        # A read-only home costs the history, not the session.
        return InMemoryHistory()


class SharedHistory(FileHistory):
    """Lines of other sessions appear with the next prompt."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._seen = 0
        self._shorten()

    def look_again(self) -> None:
        """Read the file once more if another session has written to it."""
        if self._size() != self._seen:
            self._loaded = False

    def load_history_strings(self) -> Iterable[str]:
        """The newest first, each text once."""
        self._seen = self._size()
        return dict.fromkeys(super().load_history_strings())

    def store_string(self, string: str) -> None:
        """A full disk costs this line of the history, not the command."""
        foreign = self._size() != self._seen
        try:
            super().store_string(string)
        except OSError:
            return
        if not foreign:
            self._seen = self._size()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _shorten(self) -> None:
        """Keep the newest entries of a file that has grown long."""
        texts = list(super().load_history_strings())
        if len(texts) > 2 * KEPT:
            shorter = self._path.with_suffix(f".{os.getpid()}")
            shorter.touch(mode=0o600)
            whole = FileHistory(str(shorter))
            for text in reversed(texts[:KEPT]):
                whole.store_string(text)
            shorter.replace(self._path)
