"""Images into memory."""

from __future__ import annotations

import pytest

from kdsim.errors import FormatError, MemoryFault
from kdsim.symbols.pe import Import, PeImage
from kdsim.target.machine.loader import LoadedModule, map_image, resolve_import
from kdsim.target.machine.processor import Exit
from tests.target.machine.conftest import DATA, HLT, KERNEL, Guest
from tests.target.machine.pemaker import CODE, IMAGE_BASE, READ_ONLY, Maker
from tests.target.machine.pemaker import DATA as WRITABLE

BASE = 0xFFFF_F807_2000_0000
PAGES = 0x10


def kernel_exports() -> LoadedModule:
    maker = Maker("ntoskrnl.exe")
    maker.section(".text", bytes(0x100), CODE)
    maker.exports({"ExAllocatePool": 0x1010, "ExFreePool": 0x1020, "KeBugCheck": 0x1030}, base=5)
    return LoadedModule(KERNEL, PeImage.from_file(maker.build()).exports)


def hal_exports() -> LoadedModule:
    maker = Maker("hal.dll")
    maker.exports(
        {
            "HalAllocate": "ntoskrnl.ExAllocatePool",
            "HalFree": "ntoskrnl.#6",
            "HalGone": "ntoskrnl.Missing",
            "HalLost": "nowhere.Thing",
            "HalTwice": "hal.HalAllocate",
            "HalRound": "hal.HalRound",
        }
    )
    return LoadedModule(KERNEL + 0x10_0000, PeImage.from_file(maker.build()).exports)


MODULES = {"ntoskrnl.exe": kernel_exports(), "hal.dll": hal_exports()}


def make_driver() -> tuple[Maker, int]:
    """A driver whose code loads a pointer that needs relocation."""
    maker = Maker("driver.sys")
    # mov rax,[rip+data]; mov rbx,[rax]; hlt
    maker.section(".text", b"\x48\x8b\x05\xf9\x0f\0\0\x48\x8b\x18" + HLT, CODE)
    data = (IMAGE_BASE + 0x2008).to_bytes(8, "little") + (0x1234).to_bytes(8, "little")
    maker.section(".data", data, WRITABLE, virtual_size=0x1800)
    maker.section(".rdata", b"constant", READ_ONLY)
    addresses = maker.imports("NTOSKRNL.EXE", "ExFreePool", 7, "NoSuchThing")
    maker.relocations(0x2000)
    return maker, addresses


def mapped(guest: Guest, image: PeImage, base: int = BASE, fallback: int = 0) -> list[Import]:
    guest.space.map(base, 0x70_0000, PAGES * 0x1000)
    return map_image(guest.space, base, image, MODULES.get, fallback)


def test_a_mapped_driver_runs(guest: Guest):
    maker, addresses = make_driver()
    missing = mapped(guest, PeImage.from_file(maker.build()), fallback=KERNEL + 0x77)
    assert [(wanted.dll, wanted.name) for wanted in missing] == [("NTOSKRNL.EXE", "NoSuchThing")]
    bound = [guest.space.read_u64(BASE + addresses + 8 * index) for index in range(3)]
    assert bound == [KERNEL + 0x1020, KERNEL + 0x1030, KERNEL + 0x77]
    cpu = guest.start(HLT)
    cpu.rip = BASE + 0x1000
    assert cpu.run(count=10) is Exit.HALTED
    assert (cpu.rax, cpu.rbx) == (BASE + 0x2008, 0x1234)


def test_protections_come_from_the_sections(guest: Guest):
    maker, _ = make_driver()
    mapped(guest, PeImage.from_file(maker.build()))
    wanted = {
        0x0000: (False, False),
        0x1000: (False, True),
        0x2000: (True, False),
        0x3000: (True, False),
        0x4000: (False, False),
        0x5000: (True, False),
        0x6000: (False, False),
    }
    for rva, expected in wanted.items():
        walk = guest.space.translate(BASE + rva)
        assert (walk.writable, walk.executable) == expected, hex(rva)


def test_the_mapped_image_reads_like_the_file(guest: Guest):
    maker, _ = make_driver()
    image = PeImage.from_file(maker.build())
    mapped(guest, image)
    again = PeImage.from_memory(guest.space, BASE)
    assert again.sections == image.sections
    assert again.imports == image.imports
    assert again.image_base == BASE
    assert again.read(0x4000, 8) == b"constant"


def test_at_its_own_base_nothing_is_relocated(guest: Guest):
    maker, _ = make_driver()
    mapped(guest, PeImage.from_file(maker.build()), IMAGE_BASE)
    assert guest.space.read_u64(IMAGE_BASE + 0x2000) == IMAGE_BASE + 0x2008


@pytest.mark.parametrize(
    ("dll", "name", "ordinal", "address"),
    [
        pytest.param("ntoskrnl.exe", "ExAllocatePool", 0, KERNEL + 0x1010, id="name"),
        pytest.param("NtOsKrnl.exe", "ExFreePool", 0, KERNEL + 0x1020, id="case of the module"),
        pytest.param("ntoskrnl.exe", "exfreepool", 0, None, id="case of the name"),
        pytest.param("ntoskrnl.exe", "", 7, KERNEL + 0x1030, id="ordinal"),
        pytest.param("ntoskrnl.exe", "", 99, None, id="no such ordinal"),
        pytest.param("HAL.dll", "HalAllocate", 0, KERNEL + 0x1010, id="forwarded name"),
        pytest.param("hal.dll", "HalFree", 0, KERNEL + 0x1020, id="forwarded ordinal"),
        pytest.param("hal.dll", "HalTwice", 0, KERNEL + 0x1010, id="forwarded twice"),
        pytest.param("hal.dll", "HalGone", 0, None, id="forwarded to nothing"),
        pytest.param("hal.dll", "HalLost", 0, None, id="forwarded nowhere"),
        pytest.param("hal.dll", "HalRound", 0, None, id="forwarded in a circle"),
        pytest.param("ndis.sys", "NdisOpen", 0, None, id="no such module"),
    ],
)
def test_imports_resolve(dll, name, ordinal, address):
    assert resolve_import(MODULES.get, Import(dll, name, ordinal, 0)) == address


def test_other_relocations_are_refused(guest: Guest):
    maker = Maker("odd.sys")
    maker.section(".text", HLT, CODE)
    maker.relocations(0x1000, kind=3)
    with pytest.raises(FormatError, match="relocation type 3 at 0x1000"):
        mapped(guest, PeImage.from_file(maker.build()))


def test_small_section_alignment_is_refused(guest: Guest):
    maker = Maker("packed.sys", alignment=0x20)
    maker.section(".text", HLT, CODE)
    with pytest.raises(FormatError, match="aligned to 0x20"):
        mapped(guest, PeImage.from_file(maker.build()))


def test_pages_must_be_there(guest: Guest):
    maker, _ = make_driver()
    with pytest.raises(MemoryFault):
        map_image(guest.space, BASE, PeImage.from_file(maker.build()), MODULES.get)
    assert guest.space.read_u64(DATA) == 0
