"""Symbol paths and symbol stores, in symsrv's syntax and layout.

A path is a list of chains separated by `;`. A chain is a folder, or stores from near to far: a file
found in one is copied to all nearer ones. `cache*` puts a store in front of every chain to its
right. The store that comes with kdsim is searched before everything else.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.errors import FormatError, SymbolError
from kdsim.resources import resource_path
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.pe import CodeView, PeImage

if TYPE_CHECKING:
    from kdsim.symbols.download import Downloader

DEFAULT_SERVER = "https://msdl.microsoft.com/download/symbols"
_TWO_TIER = "index2.txt"
_POINTER = "file.ptr"
_HEADERS = 0x1000

Problem = Callable[[Path], str]
"""Says why a file is not the one wanted; empty when it is."""


MISMATCHED = "mismatched"


class _NotThere(Exception):
    """A store does not have a usable file; the text says why."""


class MismatchError(SymbolError):
    """Files of the right name were found, and all of them belong to other builds."""


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A store in a folder: `<file>/<key>/<file>`, below `<fi>` when there is an `index2.txt`."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def find(self, name: str, key: str) -> Path:
        """The file itself, or the one its `file.ptr` names.

        Raises:
            _NotThere: no such entry, or only one that cannot be used.
        """
        tiers = (name[:2], name) if self._two_tier else (name,)
        folder = self.root
        for part in (*tiers, key):
            found = _child(folder, part)
            if found is None:
                raise _NotThere("not found")
            folder = found
        file = _child(folder, name)
        if file is not None:
            return file
        pointer = _child(folder, _POINTER)
        if pointer is not None:
            return _pointed(pointer)
        if _child(folder, name[:-1] + "_") is not None:
            raise _NotThere(f"only compressed as {name[:-1]}_: expand it first")
        raise _NotThere("not found")

    @property
    def _two_tier(self) -> bool:
        return (self.root / _TWO_TIER).is_file()

    def place(self, name: str, key: str) -> Path:
        """Where a file belongs."""
        tiers = (name[:2], name) if self._two_tier else (name,)
        return self.root.joinpath(*tiers, key, name)


@dataclass(frozen=True, slots=True)
class Server:
    """A store behind HTTP."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Folder:
    """A plain folder: files lie in it, in `<ext>` or in `symbols/<ext>`, without keys."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def candidates(self, name: str) -> Iterator[Path]:
        extension = name.rpartition(".")[2]
        for parts in (("symbols", extension), (extension,), ()):
            folder: Path | None = self.root
            for part in parts:
                folder = _child(folder, part) if folder else None
            file = _child(folder, name) if folder else None
            if file is not None and file.is_file():
                yield file


Place = LocalStore | Server | Folder
Chain = tuple[Place, ...]


class SymbolPath:
    """Where to look for PDBs and images. `str()` gives the path as it was typed."""

    def __init__(
        self,
        text: str,
        chains: Iterable[Chain],
        expanded: str,
        shipped: Path | None,
        downloads: Downloader | None,
    ) -> None:
        self.text = text
        self.chains = tuple(chains)
        self.expanded = expanded
        self.log: Callable[[str], None] = lambda line: None
        """Told each place that was looked at, for `!sym noisy`."""
        self.waiting: Callable[[str, int], None] = lambda file, received: None
        """Told now and then, while a server is waited for, what came of a file."""
        self._downloads = downloads
        self._shipped = LocalStore(shipped) if shipped else None

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        cache: str | Path | None = None,
        shipped: Path | None = None,
        downloads: Downloader | None = None,
    ) -> SymbolPath:
        """Read a symbol path.

        Args:
            text: elements as in `_NT_SYMBOL_PATH`.
            cache: the default downstream store, for `srv*` and `cache*` that name none.
            shipped: the store searched first; kdsim's own when not given.
            downloads: fetches from servers; when not given, one for the whole process.
        """
        default = Path(cache) if cache else default_cache()
        expanded = ";".join(_expand(element, cache) for element in _split(text))
        chains = list(_chains(_split(expanded), default))
        if shipped is None:
            shipped = resource_path("targets", "images")
        return cls(text, chains, expanded, shipped, downloads)

    @classmethod
    def fixed(cls, cache: str = "") -> SymbolPath:
        """What `.symfix [cache]` sets."""
        return cls.parse("srv*", cache=cache or None)

    def __str__(self) -> str:
        return self.text

    def retry(self) -> None:
        """Ask servers again that failed before."""
        if any(isinstance(place, Server) for chain in self.chains for place in chain):
            self._downloader().forget()

    def find_pdb(
        self, name: str, code: CodeView, *, any_build: bool = False, network: bool = True
    ) -> Path:
        """The PDB that belongs to an image.

        Args:
            name: file name; a path's last part counts. Empty: the name in `code`.
            code: the image's link to its PDB.
            any_build: take one of another build too (`.reload /i`).
            network: whether servers may be asked.

        Raises:
            SymbolError: not found; the text lists what was tried.
        """
        wanted = code.key
        file = file_name(name or code.pdb_name)

        def problem(path: Path) -> str:
            try:
                pdb = Pdb.open(path)
            except FormatError as error:
                return f"unusable: {error}"
            same = any_build or (pdb.guid, pdb.age) == (code.guid, code.age)
            return "" if same else f"{MISMATCHED} pdb {pdb.key}"

        return self._find(file, wanted, problem, network=network)

    def find_image(self, name: str, timestamp: int, size: int, *, network: bool = True) -> Path:
        """An image by the timestamp and size in its headers; without `network` on this machine.

        Raises:
            SymbolError: not found; the text lists what was tried.
        """

        def problem(path: Path) -> str:
            try:
                with path.open("rb") as file:
                    image = PeImage.headers_only(file.read(_HEADERS), path.name)
            except (FormatError, OSError) as error:
                return f"unusable: {error}"
            same = (image.timestamp, image.size_of_image) == (timestamp, size)
            found = f"{image.timestamp:08X}{image.size_of_image:x}"
            return "" if same else f"{MISMATCHED} image {found}"

        key = f"{timestamp:08X}{size:x}"
        return self._find(file_name(name), key, problem, network=network)

    # -- searching -------------------------------------------------------------------------------

    def _find(self, name: str, key: str, problem: Problem, *, network: bool = True) -> Path:
        if not name:
            raise SymbolError("an image names no file to look for")
        tried: list[str] = []
        chains = ((self._shipped,), *self.chains) if self._shipped else self.chains
        for chain in chains:
            for index, place in enumerate(chain):
                if isinstance(place, Server) and not network:
                    continue
                nearer = [p for p in chain[:index] if isinstance(p, LocalStore)]
                try:
                    path = self._from(place, name, key, problem, nearer)
                except _NotThere as error:
                    tried.append(f"{place} - {error}")
                    self.log(f"SYMSRV:  {place}/{name}/{key} - {error}")
                    continue
                self.log(f"DBGHELP: {path} - OK")
                return path
        kind = MismatchError if any(MISMATCHED in reason for reason in tried) else SymbolError
        raise kind(f"{name} ({key}) was not found: {'; '.join(tried)}")

    def _from(
        self,
        place: Place,
        name: str,
        key: str,
        problem: Problem,
        nearer: list[LocalStore],
    ) -> Path:
        if isinstance(place, Server):
            return self._download(place, name, key, problem, nearer)
        if isinstance(place, LocalStore):
            path = place.find(name, key)
            if reason := problem(path):
                raise _NotThere(reason)
        else:
            path = _first_fitting(place.candidates(name), problem)
        for store in reversed(nearer):
            path = _copy(path, store.place(name, key))
        return path

    def _downloader(self) -> Downloader:
        """Imported late: the HTTP client alone would take longer to import than the PDB reader."""
        if self._downloads is None:
            from kdsim.symbols.download import DOWNLOADS

            self._downloads = DOWNLOADS
        return self._downloads

    def _download(
        self, server: Server, name: str, key: str, problem: Problem, nearer: list[LocalStore]
    ) -> Path:
        if not nearer:
            raise _NotThere("no folder to download to")
        target = nearer[-1].place(name, key)
        from kdsim.symbols.download import DownloadError

        try:
            fresh = self._downloader().fetch(
                server.url, name, key, target.parent, partial(self.waiting, name)
            )
        except DownloadError as error:
            raise _NotThere(str(error)) from error
        if reason := problem(fresh):
            fresh.unlink()
            raise _NotThere(f"the server's file is {reason}")
        fresh.replace(target)
        for store in reversed(nearer[:-1]):
            target = _copy(target, store.place(name, key))
        return target


def default_cache() -> Path:
    """The default downstream store."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kdsim" / "symbols"


def file_name(path: str) -> str:
    """The last part of a path of any system. Never a way out of the folder it is looked up in."""
    name = re.split(r"[\\/]", path)[-1]
    return "" if name in (".", "..") or "\0" in name else name


# -- parsing -------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    return [element for part in text.split(";") if (element := part.strip())]


def _expand(element: str, cache: str | Path | None) -> str:
    """`srv*` alone means the default cache and the default server."""
    if element.lower() in ("srv*", "srv", "symsrv*symsrv.dll*", "symsrv*symsrv.dll"):
        return f"cache*{cache or ''};SRV*{DEFAULT_SERVER}"
    return element


def _chains(elements: Iterable[str], default: Path) -> Iterator[Chain]:
    caches: list[LocalStore] = []
    for element in elements:
        kind, *tokens = element.split("*")
        if kind.lower() == "cache":
            caches.append(LocalStore(Path(tokens[0]) if tokens and tokens[0] else default))
            continue
        if kind.lower() == "symsrv":
            tokens = tokens[1:]
        elif kind.lower() != "srv":
            yield (*caches, Folder(_path(element)))
            continue
        stores = [_store(token, default) for token in tokens]
        if not caches and stores and isinstance(stores[0], Server):
            stores.insert(0, LocalStore(default))
        yield (*caches, *stores)


def _store(token: str, default: Path) -> LocalStore | Server:
    if not token:
        return LocalStore(default)
    if token.lower().startswith(("http://", "https://")):
        return Server(token)
    return LocalStore(_path(token))


def _path(text: str) -> Path:
    path = Path(text.strip('"'))
    try:
        return path.expanduser()
    except RuntimeError:  # `~name` of nobody
        return path


# -- files ---------------------------------------------------------------------------------------


def _child(folder: Path, name: str) -> Path | None:
    """An entry of a folder, whatever the case of its name."""
    exact = folder / name
    if exact.exists():
        return exact
    folded = name.casefold()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.casefold() == folded:
                    return Path(entry.path)
    except OSError:
        return None
    return None


def _pointed(pointer: Path) -> Path:
    """The file a `file.ptr` stands for."""
    with pointer.open("rb") as file:
        text = file.read(4096).decode("utf-8", "replace").strip("\0\r\n ")
    if text.startswith("MSG:"):
        raise _NotThere(text.removeprefix("MSG:").strip())
    target = Path(text.removeprefix("PATH:"))
    if not target.is_file():
        raise _NotThere(f"{_POINTER} names {target}, which is not there")
    return target


def _first_fitting(candidates: Iterable[Path], problem: Problem) -> Path:
    reasons: list[str] = []
    for path in candidates:
        reason = problem(path)
        if not reason:
            return path
        reasons.append(reason)
    raise _NotThere(", ".join(reasons) or "not found")


def _copy(source: Path, target: Path) -> Path:
    """Copy into a nearer store; where that fails the file is used from where it is."""
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".copy-", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        return source
    return target
