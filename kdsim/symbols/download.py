"""Files from a symbol server, over HTTP.

A server that does not answer is not asked again for a while, nor for a file it does not have, so a
missing network costs one short wait, not one per module.
"""

from __future__ import annotations

import http.client
import os
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

AGENT = "Microsoft-Symbol-Server/10.0.0.0"  # servers redirect or refuse clients of other names
PATIENCE = 5.0
"""Seconds without any progress after which a server counts as silent."""
SILENCE = 300.0
"""Seconds for which a silent server is left alone."""
MAX_FILE = 1 << 31
_CHUNK = 1 << 18
_POLL = 0.05


class DownloadError(Exception):
    """Why a server did not give a file; the text is for `SymbolError`'s list of what was tried."""


class Downloader:
    """Fetches files and remembers failures. One serves all symbol paths of a process."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._silent: dict[str, tuple[float, str]] = {}
        self._missing: dict[str, str] = {}

    def forget(self) -> None:
        """Ask every server again, as after `.reload` or a changed path."""
        self._silent.clear()
        self._missing.clear()

    def fetch(
        self,
        server: str,
        name: str,
        key: str,
        folder: Path,
        waiting: Callable[[int], None] = lambda received: None,
    ) -> Path:
        """A file of a server's store, as a temporary file in `folder`.

        `waiting` is told, many times a second, how many bytes have come.

        Raises:
            DownloadError: it could not be had; what the server said.
        """
        host = urllib.parse.urlsplit(server).netloc
        until, reason = self._silent.get(host, (0.0, ""))
        if time.monotonic() < until:
            raise DownloadError(f"{reason} (not asked again for a while)")
        url = "/".join((server.rstrip("/"), *(urllib.parse.quote(p) for p in (name, key, name))))
        if url in self._missing:
            raise DownloadError(self._missing[url])
        transfer = _Transfer(url, folder, self._patience)
        try:
            return transfer.run(waiting)
        except _Refused as error:
            self._missing[url] = str(error)
            raise
        except DownloadError as error:
            self._silent[host] = (time.monotonic() + SILENCE, str(error))
            raise


class _Refused(DownloadError):
    """The server answered, and the answer was no."""


class _Transfer:
    """One download, in a thread of its own: name look-ups cannot be given a time limit."""

    def __init__(self, url: str, folder: Path, patience: float) -> None:
        self._url = url
        self._folder = folder
        self._patience = patience
        self._progress = 0
        self._abandoned = False
        self._done = threading.Event()
        self._result: Path | None = None
        self._error: DownloadError | None = None

    def run(self, waiting: Callable[[int], None]) -> Path:
        threading.Thread(target=self._work, name="symbol download", daemon=True).start()
        seen, since = self._progress, time.monotonic()
        try:
            while not self._done.wait(_POLL):
                waiting(self._progress)
                if self._progress != seen:
                    seen, since = self._progress, time.monotonic()
                elif time.monotonic() - since > self._patience:
                    raise DownloadError(f"no answer within {self._patience:g} seconds")
        finally:
            self._abandoned = True
        if self._result is None:
            raise self._error or DownloadError("the download ended without a file")
        return self._result

    def _work(self) -> None:
        try:
            self._result = self._receive()
        except urllib.error.HTTPError as error:
            self._error = _Refused(f"HTTP {error.code}")
            error.close()
        except urllib.error.URLError as error:
            self._error = DownloadError(str(error.reason))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._error = DownloadError(str(error) or type(error).__name__)
        except DownloadError as error:
            self._error = error
        finally:
            self._done.set()

    def _receive(self) -> Path:
        request = urllib.request.Request(self._url, headers={"User-Agent": AGENT})
        with urllib.request.urlopen(request, timeout=self._patience) as answer:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".download-", dir=self._folder)
            path = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    while (piece := answer.read(_CHUNK)) and not self._abandoned:
                        file.write(piece)
                        self._progress += len(piece)
                        if self._progress > MAX_FILE:
                            raise _Refused(f"larger than {MAX_FILE} bytes")
                if self._abandoned:
                    raise DownloadError("abandoned")
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return path


DOWNLOADS = Downloader()
"""What symbol paths use that are not given their own."""
