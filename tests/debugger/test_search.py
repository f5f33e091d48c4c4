"""`s`: exact text against the toy target, which only reads."""

from __future__ import annotations

import pytest

from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import KERNEL, page_tables

SEARCHES = [
    (
        "s poolhittag L10 41 62",
        "fffff807`11003004  41 62 63 20 00 ff 00 00-00 00 00 00 00 00 00 00  Abc ............\n",
    ),
    ("s -[1]b poolhittag L10 41 62", "0xfffff80711003004\n"),
    ('s -[1]a nt L4000 "vb_"', "0xfffff80711003411\n"),
    ('s -[1]u nt L4000 "code"', "0xfffff80711003506\n"),
    ("s -[1]d poolhittag L4 20636241", "0xfffff80711003004\n"),
    ("s -[1]d poolhittag+1 L4 20636241", ""),
    ("s-[1]w poolhittag L8 ff00", "0xfffff80711003008\n"),
    ("s -[1]q poolhittag L1 20636241`12345678", "0xfffff80711003000\n"),
    ("s poolhittag L4 41 62", ""),
    ("s -[l8]sa poolhittag L500", 'fffff807`11003400  "19041.1.amd64fre.vb_release.191206-1406"\n'),
    ("s -[l8]su poolhittag L600", 'fffff807`11003500  "Unicode text"\n'),
    ("s -[1]v nt L4000 poolhittag", "0xfffff80711003000\n"),
    (
        "s -d poolhittag L4 20636241",
        ("fffff807`11003004  20636241 0000ff00 00000000 00000000  Abc ............\n"),
    ),
]


@pytest.mark.parametrize(("line", "text"), SEARCHES, ids=[line for line, _ in SEARCHES])
def test_search(kd: Kd, line: str, text: str) -> None:
    assert kd.run(line) == text


def test_search_saves_hits_and_searches_them_again(kd: Kd) -> None:
    kd.run("eb poolhittag+20 41 62 7")
    assert len(kd.lines("s -[s]b poolhittag L100 41 62")) == 2
    assert kd.run("s -[r1]b 0 L1 41 62 7") == "0xfffff80711003020\n"


def test_search_crosses_unreadable_pages(kd: Kd) -> None:
    kd.backend.virtual.map(KERNEL + 0x7000, b"Abc ")
    assert kd.lines('s -[1]a nt+3000 L5000 "Abc "') == ["0xfffff80711003004", "0xfffff80711007000"]


def test_search_finds_strings_across_its_own_pieces(kd: Kd) -> None:
    kd.backend.virtual.map(KERNEL + 0x8000, size=0x20000)
    kd.poke(KERNEL + 0x17FFA, b"hello world")
    assert kd.run("s -sa nt+8000 L20000") == 'fffff807`11017ffa  "hello world"\n'


def test_search_skips_what_the_page_tables_do_not_map(
    kd: Kd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 MB with two pages in them; the fake answers reads without looking at page tables."""
    kd.backend.specials[0].set("cr3", 0x1AD000)
    start, reads = 0xFFFFF900_00000000, 0
    page_tables(kd.backend, 0x1AD000, start + 0x8765000, 0x55000)
    kd.backend.virtual.map(start, b"Abc ")
    kd.backend.virtual.map(start + 0x8765000, b"Abc ")
    read = kd.backend.read_virtual

    def counted(va: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(va, size)

    monkeypatch.setattr(kd.backend, "read_virtual", counted)
    assert kd.lines(f's -[1]a {start:x} L?10000000 "Abc "') == [
        "0xfffff90000000000",
        "0xfffff90008765000",
    ]
    assert reads < 40


def test_search_says_when_not_all_hits_are_saved(kd: Kd) -> None:
    kd.run("f poolhittag+20 L4 51")
    assert kd.lines("s -[1sn2]b poolhittag+20 L4 51")[-2:] == [
        "0xfffff80711003023",
        "Overflow error",
    ]
    assert kd.lines("s -[1r]b 0 L1 51") == ["0xfffff80711003020", "0xfffff80711003021"]


@pytest.mark.parametrize(
    ("line", "places"),
    [
        pytest.param("s 0012ff40 L20 'H' 'e' 'l' 'l' 'o'", [0x12FF44], id="characters"),
        pytest.param("s 0012ff40 L20 48 65 6c 6c 6f", [0x12FF44], id="bytes"),
        pytest.param('s -a 0012ff40 L20 "Hello"', [0x12FF44], id="text"),
        pytest.param("s -d 0012ff40 L20 'VUTS'", [0x12FF50], id="a double word"),
        pytest.param('s -a 0012ff40 L40 "QQQ"', [0x12FF60, 0x12FF61, 0x12FF62], id="overlapping"),
        pytest.param('s -a 0012ff40 L24 "QQQQQ"', [], id="not wholly in the range"),
    ],
)
def test_the_examples_of_the_documentation(kd: Kd, line: str, places: list[int]) -> None:
    kd.backend.virtual.map(0x12F000, size=0x1000)
    for place, data in ((0x44, b"Hello"), (0x50, b"STUV"), (0x5A, b"STUV"), (0x60, b"QQQQQ")):
        kd.poke(0x12FF00 + place, data)
    assert [row[:17] for row in kd.lines(line)] == [f"00000000`{at:08x}" for at in places]


def test_search_of_writable_memory(kd: Kd) -> None:
    """Two pages with the same bytes; the page tables map the second one only."""
    kd.backend.specials[0].set("cr3", 0x1AD000)
    start = 0xFFFFF900_00000000
    page_tables(kd.backend, 0x1AD000, start + 0x1000, 0x55000)
    kd.backend.virtual.map(start, b"Abc ")
    kd.backend.virtual.map(start + 0x1000, b"Abc ")
    assert kd.lines(f's -[w1]a {start:x} L2000 "Abc "') == ["0xfffff90000001000"]
