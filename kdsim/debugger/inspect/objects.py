"""Object manager: headers, names, types, directories.

Reads: nt!ObTypeIndexTable, nt!ObHeaderCookie, nt!ObpInfoMaskToOffset, nt!ObpRootDirectoryObject.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.nt import LIST_LIMIT, Nt
from kdsim.errors import ArgumentError, MemoryFault
from kdsim.symbols.views import View

CREATOR_INFO, NAME_INFO = 0x1, 0x2
# OBJECT_HEADER.InfoMask: bit and the name of the optional header before the object.
INFO_HEADERS = {
    CREATOR_INFO: "CreatorInfo",
    NAME_INFO: "NameInfo",
    0x4: "HandleInfo",
    0x8: "QuotaInfo",
    0x10: "ProcessInfo",
    0x20: "AuditInfo",
    0x40: "ExtendedInfo",
    0x80: "PaddingInfo",
}


TYPE_LIMIT = 256


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as `!object` shows it.

    Attributes:
        address: of the body; `header` of the OBJECT_HEADER before it.
        directory: the directory that holds its name, 0 for none.
        type_address: its OBJECT_TYPE.
    """

    address: int
    header: int
    type_address: int
    type_name: str
    handles: int
    pointers: int
    directory: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One name in a directory and the bucket it lies in."""

    bucket: int
    entry: ObjectInfo


def header_of(nt: Nt, body: int) -> View:
    layout = nt.record("_OBJECT_HEADER")
    return View(nt.memory, layout, body - layout.offset("Body"))


def object_at(nt: Nt, body: int) -> ObjectInfo:
    """MemoryFault or ArgumentError when there is no object at `body`."""
    header = header_of(nt, body)
    type_address = _type_of(nt, header)
    directory, name = _name_of(nt, header)
    return ObjectInfo(
        address=body,
        header=header.address,
        type_address=type_address,
        type_name=nt.unicode(nt.view("_OBJECT_TYPE", type_address).Name),
        handles=header.HandleCount,
        pointers=header.PointerCount,
        directory=directory,
        name=name,
    )


def _type_of(nt: Nt, header: View) -> int:
    """OBJECT_TYPE of a header: its index is XORed with the header's address and a cookie."""
    cookie = nt.read_integer(nt.address("ObHeaderCookie"), 1)
    index = header.TypeIndex ^ (header.address >> 8 & 0xFF) ^ cookie
    found = nt.read_integer(nt.address("ObTypeIndexTable") + 8 * index, 8)
    # Entries 0 and 1 are reserved: no type, and the mark of a freed header.
    if index < 2 or not found:
        body = header.address + nt.record("_OBJECT_HEADER").offset("Body")
        raise ArgumentError(f"{body:x}: Not a valid object (ObjectType invalid)")
    return found


def _info_header(nt: Nt, header: View, bit: int) -> int:
    """Address of an optional header, 0 when the object has none."""
    mask = header.InfoMask
    if not mask & bit:
        return 0
    below = mask & (bit | bit - 1)
    offset = nt.read_integer(nt.address("ObpInfoMaskToOffset") + below, 1)
    return int(header.address) - offset


def _name_of(nt: Nt, header: View) -> tuple[int, str]:
    info = _info_header(nt, header, NAME_INFO)
    if not info:
        return 0, ""
    view = nt.view("_OBJECT_HEADER_NAME_INFO", info)
    return view.Directory, nt.unicode(view.Name)


def optional_headers(nt: Nt, header_address: int) -> list[tuple[str, int]]:
    """Name and address of each optional header of an object."""
    header = nt.view("_OBJECT_HEADER", header_address)
    places = ((name, _info_header(nt, header, bit)) for bit, name in INFO_HEADERS.items())
    return [(name, place) for name, place in places if place]


def types(nt: Nt) -> Iterator[View]:
    """The OBJECT_TYPEs in nt!ObTypeIndexTable; entries 0 and 1 are reserved."""
    table = nt.address("ObTypeIndexTable")
    for index in range(2, TYPE_LIMIT):
        found = nt.read_integer(table + 8 * index, 8)
        if not found:
            return
        yield nt.view("_OBJECT_TYPE", found)


def instances(nt: Nt, kind: View) -> Iterator[ObjectInfo]:
    """All objects of a type, which a kernel with FLG_MAINTAIN_OBJECT_TYPELIST lists."""
    creator = nt.record("_OBJECT_HEADER_CREATOR_INFO")
    body = nt.record("_OBJECT_HEADER").offset("Body")
    for link in nt.list_addresses(kind.at("TypeList")):
        yield object_at(nt, link - creator.offset("TypeList") + creator.size + body)


def directory_entries(nt: Nt, directory: int) -> Iterator[DirectoryEntry]:
    """Every name of an OBJECT_DIRECTORY, bucket by bucket."""
    buckets = nt.view("_OBJECT_DIRECTORY", directory).HashBuckets
    for bucket in range(len(buckets)):
        link = buckets[bucket]
        for _ in range(LIST_LIMIT):
            if not link:
                break
            entry = nt.view("_OBJECT_DIRECTORY_ENTRY", link)
            yield DirectoryEntry(bucket, object_at(nt, entry.Object))
            link = entry.ChainLink
        else:
            raise MemoryFault(link, 8, "a directory bucket does not end")


def root_directory(nt: Nt) -> int:
    return nt.pointer("ObpRootDirectoryObject")


def lookup(nt: Nt, path: str) -> ObjectInfo | None:
    r"""The object at a path such as `\Driver\leaky`; case does not count."""
    current = object_at(nt, root_directory(nt))
    for part in filter(None, path.split("\\")):
        if current.type_name != "Directory":
            return None
        wanted = part.lower()
        found = next(
            (
                e.entry
                for e in directory_entries(nt, current.address)
                if e.entry.name.lower() == wanted
            ),
            None,
        )
        if found is None:
            return None
        current = found
    return current


def full_name(nt: Nt, info: ObjectInfo) -> str:
    r"""The path from the root, `\\` joined; just the name when the directory is unknown."""
    parts = [info.name]
    directory, root = info.directory, root_directory(nt)
    while directory and directory != root:
        parent = object_at(nt, directory)
        parts.append(parent.name)
        directory = parent.directory
    return "\\" + "\\".join(reversed(parts)) if info.directory else info.name
