"""Mapping images against the modules that are loaded, with a word about imports nobody exports."""

from __future__ import annotations

from collections.abc import Callable

from kdsim.symbols.pe import PeImage
from kdsim.target.machine.loader import ExportsOf, LoadedModule, map_image
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.ntos.kernel import Kernel

MISSING_IMPORT = "KdsimMissingImport"
"""The kernel routine that calls to missing imports end in: it bug checks."""


def modules_on_list(kernel: Kernel, space: AddressSpace, head: int) -> ExportsOf:
    """Exports of the modules on a loader list in guest memory, by file name."""
    bases = {module.name.lower(): module.base for module in kernel.modules(head)}
    found: dict[str, LoadedModule] = {}

    def exports_of(name: str) -> LoadedModule | None:
        if name not in found and name in bases:
            image = PeImage.from_memory(space, bases[name], name)
            found[name] = LoadedModule(bases[name], image.exports)
        return found.get(name)

    return exports_of


def map_bound(
    space: AddressSpace,
    base: int,
    image: PeImage,
    exports_of: ExportsOf,
    kernel: Kernel,
    console: Callable[[str], None],
) -> None:
    """`map_image`; what is missing is named on the console and bound to a routine that says so."""
    fallback = kernel.address(MISSING_IMPORT)
    for wanted in map_image(space, base, image, exports_of, fallback):
        name = wanted.name or f"#{wanted.ordinal}"
        console(f"{image.name}: nobody exports {wanted.dll}!{name}; calling it will bug check")
