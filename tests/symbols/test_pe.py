"""PE images from both layouts, and damaged ones."""

from __future__ import annotations

import functools
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsim.errors import FormatError, MemoryFault
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.pe import CodeView, Export, Import, PeImage, RuntimeFunction

from .pdbmaker import GUID_TEXT
from .pemaker import driver

BASE = 0xFFFF_F800_1234_0000


@pytest.fixture(params=["file", "memory"])
def image(request):
    maker = driver()
    if request.param == "file":
        return PeImage.from_file(maker.file(), "sample.sys")
    return PeImage.from_memory(BytesMemory(BASE, maker.mapped()), BASE, "sample.sys")


def test_headers(image):
    assert (image.machine, image.timestamp, image.characteristics) == (0x8664, 0x6543_2100, 0x22)
    assert (image.size_of_image, image.entry_rva) == (driver().next_rva, 0x1000)
    assert (image.image_base, image.checksum, image.subsystem) == (0x1_4000_0000, 0xABCD, 1)
    assert [section.name for section in image.sections][:2] == [".text", ".data"]
    assert len(image.directories) == 16


def test_exports(image):
    exports = image.exports
    assert exports.name == "sample.sys"
    assert exports.by_name == {
        "Data": Export("Data", 5, 0x2010),
        "Forward": Export("Forward", 6, exports.by_name["Forward"].rva, "nt.Other"),
        "Helper": Export("Helper", 7, 0x1040),
        "Outer": Export("Outer", 8, 0x1000),
    }
    assert exports.by_ordinal[9] == Export("", 9, 0x1FF0)


def test_imports(image):
    first = image.imports[0].iat_rva
    assert image.imports == (
        Import("ntoskrnl.exe", "DbgPrint", 0, first),
        Import("ntoskrnl.exe", "", 17, first + 8),
        Import("ntoskrnl.exe", "ExAllocatePool2", 0, first + 16),
    )


def test_relocations_without_padding(image):
    assert image.relocations == ((0x2010, 10), (0x2018, 10), (0x2020, 10))


def test_codeview(image):
    assert image.codeview == CodeView(GUID_TEXT, 3, "C:\\kdsim\\sample.pdb")
    assert image.codeview.key == GUID_TEXT + "3"


def test_version(image):
    version = image.version
    assert version is not None
    assert version.file_version == (10, 0, 19041, 3570)
    assert version.strings == {"CompanyName": "kdsim", "FileDescription": "a test"}
    assert version.language == "040904B0"


@pytest.mark.parametrize(
    ("rva", "expected"),
    [
        (0xFFF, None),
        (0x1000, RuntimeFunction(0x1000, 0x1040, 0x3000)),
        (0x103F, RuntimeFunction(0x1000, 0x1040, 0x3000)),
        (0x1040, RuntimeFunction(0x1040, 0x1080, 0x3000)),
        (0x1080, None),
    ],
)
def test_function_table(image, rva, expected):
    assert image.functions.find(rva) == expected
    assert len(list(image.functions)) == 2


def test_reads_across_sections_are_zero_in_between(image):
    assert image.read(0x12FF, 3) == b"\xcc\0\0"
    assert image.read(0x1FFF, 3) == b"\0\0\1"
    assert image.read(0, 2) == b"MZ"


@pytest.mark.parametrize(("rva", "size"), [(-1, 4), (0, 1 << 30), (1 << 31, 1), (4, -1)])
def test_reads_outside_the_image(image, rva, size):
    with pytest.raises(FormatError, match="outside the image"):
        image.read(rva, size)


def test_memory_is_read_where_needed_only():
    maker = driver()
    reads: list[tuple[int, int]] = []

    class Watched(BytesMemory):
        def read(self, va: int, size: int) -> bytes:
            reads.append((va - BASE, size))
            return super().read(va, size)

    image = PeImage.from_memory(Watched(BASE, maker.mapped()), BASE)
    assert all(rva < 0x1000 for rva, _ in reads)
    reads.clear()
    assert image.codeview is not None
    assert sum(size for _, size in reads) < 200


def test_faults_of_memory_stay_faults():
    headers = driver().mapped()[:0x1000]
    image = PeImage.from_memory(BytesMemory(BASE, headers), BASE)
    with pytest.raises(MemoryFault):
        image.exports  # noqa: B018


def question(image: PeImage) -> None:
    asks = ("exports", "imports", "relocations", "codeview", "version", "debug_entries")
    for name in asks:
        with suppress(FormatError):
            getattr(image, name)
    with suppress(FormatError):
        image.functions.find(0x1050)


@functools.cache
def whole() -> bytes:
    return driver().file()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1 << 20),
            st.sampled_from([0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x1000]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_damage_is_a_format_error(changes):
    data = bytearray(whole())
    for place, value in changes:
        start = place % (len(data) - 4)
        data[start : start + 4] = value.to_bytes(4, "little")
    with suppress(FormatError):
        question(PeImage.from_file(bytes(data)))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0, 1, 0x7FFF, 0xFFFF, 0x8000_0000, 0xFFFF_FFFF]))
def test_damaged_headers(place, value):
    data = bytearray(whole())
    data[place : place + 4] = value.to_bytes(4, "little")
    with suppress(FormatError):
        question(PeImage.from_file(bytes(data)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"ZM" + bytes(200), "no MZ"),
        (b"MZ" + bytes(200), "PE header is at 0x0"),
        (whole()[:0x1100], "truncated"),
        (whole()[:0x90], "truncated"),
    ],
    ids=["empty", "no magic", "no header", "cut in a section", "cut in the headers"],
)
def test_what_is_refused(data, reason):
    with pytest.raises(FormatError, match=reason):
        PeImage.from_file(data)
