"""Images into memory: sections, relocations, imports, page protections."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from kdsim.errors import FormatError
from kdsim.symbols.pe import Exports, Import, PeImage
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.machine.ram import PAGE_SIZE

_RELOCATION_DIR64 = 10
_SECTION_EXECUTE, _SECTION_WRITE = 0x2000_0000, 0x8000_0000
_SECTION_ALIGNMENT = PAGE_SIZE
_IMAGE_BASE_FIELD = 0x30
"""ImageBase within the PE32+ optional header, counted from the PE signature: 0x18 + 0x18."""
_MOST_FORWARDS = 8


class LoadedModule(NamedTuple):
    """A module that imports may name: where it lies and what it exports."""

    base: int
    exports: Exports


ExportsOf = Callable[[str], LoadedModule | None]


def map_image(
    space: AddressSpace, base: int, image: PeImage, exports_of: ExportsOf, fallback: int = 0
) -> list[Import]:
    """Put `image` at `base`, ready to run; returns the imports nobody exports.

    The pages must be present and zero; they end with the sections' protections, so the caller
    flushes the TLBs of processors that already run.

    Args:
        space: where to.
        base: a page boundary.
        image: in file or mapped layout.
        exports_of: the loaded module of a DLL name in lower case, or None.
        fallback: address to bind a missing import to.

    Raises:
        MemoryFault: a page is missing.
        FormatError: the image needs something that is not supported here.
    """
    _copy(space, base, image)
    _relocate(space, base, image)
    missing = _bind(space, base, image, exports_of, fallback)
    _protect(space, base, image)
    return missing


def resolve_import(exports_of: ExportsOf, wanted: Import) -> int | None:
    """Address of an import, through forwarders; None when nobody exports it."""
    dll, name, ordinal = wanted.dll, wanted.name, wanted.ordinal
    for _ in range(_MOST_FORWARDS):
        module = exports_of(dll.lower())
        if module is None:
            return None
        table = module.exports
        export = table.by_name.get(name) if name else table.by_ordinal.get(ordinal)
        if export is None:
            return None
        if not export.forwarder:
            return module.base + export.rva
        dll, _, name = export.forwarder.rpartition(".")
        dll = dll if "." in dll else _file_name(dll, exports_of)
        if name.startswith("#"):
            name, ordinal = "", int(name[1:])
    return None


def _file_name(module: str, exports_of: ExportsOf) -> str:
    """A forwarder names its module without extension; the kernel's is .exe."""
    suffixes = (".dll", ".exe", ".sys")
    candidates = (module + suffix for suffix in suffixes)
    return next((name for name in candidates if exports_of(name.lower())), module + ".dll")


def _copy(space: AddressSpace, base: int, image: PeImage) -> None:
    if image.section_alignment % _SECTION_ALIGNMENT:
        raise FormatError(
            f"{image.name}: its sections are aligned to {image.section_alignment:#x}, "
            "which leaves no pages to protect"
        )
    space.write(base, image.read(0, image.size_of_headers))
    for section in image.sections:
        space.write(base + section.rva, image.read(section.rva, section.size))


def _relocate(space: AddressSpace, base: int, image: PeImage) -> None:
    delta = base - image.image_base
    if not delta:
        return
    for rva, kind in image.relocations:
        if kind != _RELOCATION_DIR64:
            raise FormatError(f"{image.name}: relocation type {kind} at {rva:#x} is not supported")
        value = int.from_bytes(image.read(rva, 8), "little") + delta
        space.write_u64(base + rva, value & (1 << 64) - 1)
    # As Windows' loaders do: the mapped header tells where the image is.
    (header,) = struct.unpack("<I", image.read(0x3C, 4))
    space.write_u64(base + header + _IMAGE_BASE_FIELD, base)


def _bind(
    space: AddressSpace, base: int, image: PeImage, exports_of: ExportsOf, fallback: int
) -> list[Import]:
    missing = []
    for wanted in image.imports:
        address = resolve_import(exports_of, wanted)
        if address is None:
            missing.append(wanted)
            address = fallback
        space.write_u64(base + wanted.iat_rva, address)
    return missing


def _protect(space: AddressSpace, base: int, image: PeImage) -> None:
    space.protect(base, _pages(image.size_of_headers), writable=False, executable=False)
    for section in image.sections:
        space.protect(
            base + section.rva,
            _pages(section.size),
            writable=bool(section.characteristics & _SECTION_WRITE),
            executable=bool(section.characteristics & _SECTION_EXECUTE),
        )


def _pages(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE
