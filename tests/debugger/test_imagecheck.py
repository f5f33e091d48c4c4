"""`!chkimg`: an image against its file, with relocations, import table and the parts left out."""

from __future__ import annotations

import pytest

from kdsim.debugger.inspect.imagecheck import Choice, ImageCheck
from kdsim.resources import resource_path
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.pe import PeImage

BASE = 0xFFFFF800_12340000
IAT, REL_DIR64 = 12, 10


@pytest.fixture(scope="module")
def image() -> PeImage:
    (path,) = resource_path("targets", "images", "leaky.sys").rglob("leaky.sys")
    return PeImage.from_file(path.read_bytes())


def loaded(image: PeImage) -> bytearray:
    """The image as a loader leaves it: relocated, its imports bound."""
    data = bytearray(image.read(0, image.size_of_image))
    for rva, kind in image.relocations:
        assert kind == REL_DIR64
        value = int.from_bytes(data[rva : rva + 8], "little") + BASE - image.image_base
        data[rva : rva + 8] = value.to_bytes(8, "little")
    table = image.directories[IAT]
    data[table.rva : table.rva + table.size] = b"\xaa" * table.size
    return data


def differences(image: PeImage, data: bytearray, choice: Choice | None = None):
    check = ImageCheck(BytesMemory(BASE, bytes(data)), BASE, image, choice or Choice())
    return [d for section in check.sections() for d in check.differences(section)]


def text(image: PeImage) -> int:
    return next(s.rva for s in image.sections if s.name == ".text")


def test_a_loaded_image_is_its_file(image):
    assert differences(image, loaded(image)) == []
    assert differences(image, loaded(image), Choice(every=True)) == []


def test_without_relocation_pointers_differ(image):
    """The file as it is, against an image that was moved."""
    found = differences(image, loaded(image), Choice(every=True, relocate=False))
    assert {d.section for d in found} <= {".rdata", ".data"}
    assert found


def test_neighbouring_bytes_are_one_difference(image):
    data, at = loaded(image), text(image)
    expected = bytes(data[at + 4 : at + 7])
    data[at + 4 : at + 7] = bytes(byte ^ 0xFF for byte in expected)
    data[at + 9] ^= 0xFF
    first, second = differences(image, data)
    assert (first.address, first.expected, first.section) == (BASE + at + 4, expected, ".text")
    assert (first.last, second.address) == (BASE + at + 6, BASE + at + 9)


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        pytest.param(Choice(), 0, id="writable-is-left-out"),
        pytest.param(Choice(every=True), 1, id="every-section"),
        pytest.param(Choice(named="dat"), 1, id="by-part-of-its-name"),
        pytest.param(Choice(named="text"), 0, id="another-section"),
    ],
)
def test_which_sections_are_compared(image, choice: Choice, found: int):
    data = loaded(image)
    section = next(s for s in image.sections if s.name == ".data")
    data[section.rva] ^= 0xFF
    assert len(differences(image, data, choice)) == found


@pytest.mark.parametrize(("span", "found"), [((4, 4), 1), ((5, 9), 0), ((0, 3), 0), ((0, 4), 1)])
def test_a_range_holds_its_end(image, span: tuple[int, int], found: int):
    data, at = loaded(image), text(image)
    data[at + 4] ^= 0xFF
    start, end = (BASE + at + offset for offset in span)
    assert len(differences(image, data, Choice(start=start, end=end))) == found


@pytest.mark.parametrize(("locks", "found"), [(False, 0), (True, 1)])
def test_a_nop_in_the_place_of_a_lock(image, locks: bool, found: int):
    data = loaded(image)
    code = bytes(data[text(image) :])
    place = text(image) + code.index(0xF0)
    data[place] = 0x90
    assert len(differences(image, data, Choice(locks=locks))) == found


def test_what_cannot_be_read_is_not_compared(image):
    data = loaded(image)[: text(image) + 0x1000]
    check = ImageCheck(BytesMemory(BASE, bytes(data)), BASE, image, Choice(every=True))
    assert [d for s in check.sections() for d in check.differences(s)] == []
    assert 0 < check.compared <= len(data)
