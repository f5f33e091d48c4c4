"""Where the loader puts things: kernel address-space layout randomisation from the seed.

As on Windows since 1703, each region of kernel address space gets a 512 GiB PML4 slot of its own,
drawn at boot. Every draw depends on the seed and on its own label only, so a new region does not
move the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

PAGE = 0x1000
SLOT = 1 << 39
"""Bytes one PML4 entry covers."""
KERNEL_SLOTS = range(256, 512)
SHARED_DATA = 0xFFFF_F780_0000_0000
"""KUSER_SHARED_DATA, fixed on every Windows."""
IMAGES_START = 0xFFFF_F800_0000_0000
IMAGES_SLOT = 496
RESERVED_SLOTS = (495, IMAGES_SLOT, 511)
"""Shared data, images, and the top of the address space (the HAL's)."""

_LARGE_PAGE = 2 << 20
_IMAGE_AREA = 1 << 30
"""Room for each of: nt and hal, boot drivers, drivers loaded later."""


class Region(NamedTuple):
    base: int
    size: int


class Layout(NamedTuple):
    """The loader's choices. `regions` is keyed by field name of `_KDSIM_LOADER_BLOCK`."""

    self_map: int
    """PML4 slot through which the page tables see themselves."""
    kernel: int
    boot_drivers: int
    structures: int
    """Where the loader's own data goes: processor blocks, stacks, loader entries."""
    regions: Mapping[str, Region]
    entropy: tuple[int, ...]

    @property
    def pte_base(self) -> int:
        return canonical(self.self_map * SLOT)

    @property
    def slots(self) -> list[int]:
        """PML4 slots that get their page-directory-pointer table at boot."""
        bases = [region.base for region in self.regions.values()]
        return sorted({slot_of(base) for base in (*bases, self.structures)} | set(RESERVED_SLOTS))


def canonical(offset: int) -> int:
    """The kernel-half address of a 48-bit offset."""
    return offset | 0xFFFF_0000_0000_0000


def slot_of(va: int) -> int:
    return va >> 39 & 0x1FF


def choose(seed: int, ram: int, pfn_entry: int) -> Layout:
    """Draw a layout for `ram` bytes of memory and PFN entries of `pfn_entry` bytes."""
    free = [slot for slot in KERNEL_SLOTS if slot not in RESERVED_SLOTS]

    def take(label: str) -> int:
        return free.pop(draw(seed, label, len(free)))

    self_map = take("self map")
    sizes = {
        "PfnDatabase": _round(ram // PAGE * pfn_entry),
        "NonPagedPool": _round(ram),
        "PagedPool": _round(ram),
        "SystemPtes": _IMAGE_AREA,
        "KernelStacks": _IMAGE_AREA,
    }
    regions = {
        name: Region(canonical(take(name) * SLOT) + (draw(seed, name + " start", 256) << 30), size)
        for name, size in sizes.items()
    }
    structures = canonical(take("structures") * SLOT) + (draw(seed, "structures start", 256) << 30)
    # Three areas in a row, each with a drawn start: nt, boot drivers, later drivers.
    half = _IMAGE_AREA // 2
    areas = [
        IMAGES_START
        + draw(seed, "images", 24) * _IMAGE_AREA
        + index * _IMAGE_AREA
        + _LARGE_PAGE * (1 + draw(seed, f"image area {index}", half // _LARGE_PAGE))
        for index in range(3)
    ]
    regions["DriverImages"] = Region(areas[2], half)
    return Layout(
        self_map=self_map,
        kernel=areas[0],
        boot_drivers=areas[1],
        structures=structures,
        regions=regions,
        entropy=tuple(draw(seed, f"entropy {index}", 1 << 64) for index in range(8)),
    )


def draw(seed: int, label: str, below: int) -> int:
    """A number in range(below), fixed by seed and label on every platform."""
    digest = hashlib.sha256(f"{seed}/{label}".encode()).digest()
    return int.from_bytes(digest[:16], "little") % below


def _round(size: int) -> int:
    return -(-size // _LARGE_PAGE) * _LARGE_PAGE
