"""Memory commands: exact text against the toy target."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.debugger.commands.memory_cells import FORMATS, cells_text, read_cells, rows
from kdsim.debugger.memory import CachedMemory
from kdsim.errors import MemoryFault
from kdsim.symbols.symbols import Symbol
from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import DATA, KERNEL

END = "fffff807`11004ff8"
QUAD = "????????`????????"

DISPLAY = [
    (
        "db nt!PoolHitTag L20",
        """\
fffff807`11003000  78 56 34 12 41 62 63 20-00 ff 00 00 00 00 00 00  xV4.Abc ........
fffff807`11003010  00 00 00 00 00 00 00 00-00 00 00 00 00 00 00 00  ................
""",
    ),
    (
        "db poolhittag L5",
        "fffff807`11003000  78 56 34 12 41                                   xV4.A\n",
    ),
    ("db poolhittag poolhittag+1", "fffff807`11003000  78 56" + " " * 44 + "xV\n"),
    ("dw poolhittag L3", "fffff807`11003000  5678 1234 6241\n"),
    (
        "dW poolhittag L8",
        "fffff807`11003000  5678 1234 6241 2063 ff00 0000 0000 0000  xV4.Abc ........\n",
    ),
    (
        "dd nt!PoolHitTag L5",
        "fffff807`11003000  12345678 20636241 0000ff00 00000000\nfffff807`11003010  00000000\n",
    ),
    ("dd poolhittag+8 L-2", "fffff807`11003000  12345678 20636241\n"),
    ("dd /c 1 poolhittag L2", "fffff807`11003000  12345678\nfffff807`11003004  20636241\n"),
    (
        "dc poolhittag L4",
        "fffff807`11003000  12345678 20636241 0000ff00 00000000  xV4.Abc ........\n",
    ),
    ("dq poolhittag L2", "fffff807`11003000  20636241`12345678 00000000`0000ff00\n"),
    ("dp poolhittag L1", "fffff807`11003000  20636241`12345678\n"),
    ("df poolhittag L1", "fffff807`11003000     5.6904566e-28\n"),
    ("dD poolhittag L1", "fffff807`11003000       1.1565682031e-152\n"),
    ("da poolhittag+4", 'fffff807`11003004  "Abc "\n'),
    (
        "da nt!NtBuildLabEx",
        ('fffff807`11003400  "19041.1.amd64fre.vb_release.1912"\nfffff807`11003420  "06-1406"\n'),
    ),
    ("da 1000", "00000000`00001000  ????\n"),
    ("du poolhittag+500", 'fffff807`11003500  "Unicode text"\n'),
    ("dS nt!PsLoadedModuleList+758", 'fffff807`11003900  "ntoskrnl.exe"\n'),
    (
        "dyb poolhittag L5",
        """\
                   76543210 76543210 76543210 76543210
                   -------- -------- -------- --------
fffff807`11003000  01111000 01010110 00110100 00010010  78 56 34 12
fffff807`11003004  01000001  41
""",
    ),
    (
        "dyd poolhittag L1",
        """\
                    3          2          1          0
                   10987654 32109876 54321098 76543210
                   -------- -------- -------- --------
fffff807`11003000  00010010 00110100 01010110 01111000  12345678
""",
    ),
    (
        "dps @rsp L2",
        (
            "ffffb000`00010000  fffff807`11001086 nt!Loop+0x6\n"
            "ffffb000`00010008  fffff807`11f00000\n"
        ),
    ),
    ("dds poolhittag L1", "fffff807`11003000  12345678\n"),
    (
        "dpp nt!PsLoadedModuleList L1",
        ("fffff807`11003100  fffff807`11003800 fffff807`11003a00 nt!NtBuildLabEx+0x600\n"),
    ),
    ("dpp poolhittag L1", f"fffff807`11003000  20636241`12345678 {QUAD}\n"),
    ("dpa nt!PsLoadedModuleList+760 L1", 'fffff807`11003860  fffff807`11003900 "n"\n'),
    ("dpu nt!PsLoadedModuleList+760 L1", 'fffff807`11003860  fffff807`11003900 "ntoskrnl.exe"\n'),
    (
        "dl nt!PsLoadedModuleList",
        """\
fffff807`11003100  fffff807`11003800 fffff807`11003a00
fffff807`11003800  fffff807`11003a00 fffff807`11003100
fffff807`11003a00  fffff807`11003100 fffff807`11003800
""",
    ),
    (
        "dlb nt!PsLoadedModuleList 2 1",
        "fffff807`11003100  fffff807`11003800\nfffff807`11003a00  fffff807`11003100\n",
    ),
    (f"dd {END} L4", f"{END}  00000000 00000000 ???????? ????????\n"),
    (f"dq {END} L2", f"{END}  00000000`00000000 {QUAD}\n"),
    (
        f"db {END} L10",
        f"{END}  00 00 00 00 00 00 00 00-?? ?? ?? ?? ?? ?? ?? ??  ........????????\n",
    ),
    ("dl 1000", "Memory access error at 00000000`00001000\n"),
]


@pytest.mark.parametrize(("line", "text"), DISPLAY, ids=[line for line, _ in DISPLAY])
def test_display(kd: Kd, line: str, text: str) -> None:
    assert kd.run(line) == text


def test_display_goes_on_where_it_ended(kd: Kd) -> None:
    kd.run("dd nt!PoolHitTag L1")
    assert kd.run("dd").startswith("fffff807`11003004  20636241")
    kd.run("da nt!PoolHitTag+4")
    assert kd.run("d").startswith('fffff807`11003009  "."')
    assert len(kd.lines("db nt")) == 8


def test_display_begins_at_the_instruction_pointer(kd: Kd) -> None:
    assert kd.lines("dd")[0] == "fffff807`11001000  0000c3cc 00000000 00000000 00000000"


def test_display_sets_the_value_register(kd: Kd) -> None:
    kd.run("dd poolhittag L2")
    assert kd.run("? @$p") == "Evaluate expression: 543384129 = 00000000`20636241\n"


@pytest.mark.parametrize(
    ("line", "after"),
    [
        pytest.param("eb poolhittag 1 2 3", b"\x01\x02\x03\x12", id="eb"),
        pytest.param("ew poolhittag 1234", b"\x34\x12\x34\x12", id="ew"),
        pytest.param("ed poolhittag ' cbA'", b"Abc ", id="pool tag"),
        pytest.param("eq poolhittag ffffffff`ffffffff", b"\xff" * 8, id="eq"),
        pytest.param("ep poolhittag nt", b"\0\0\0\x11\x07\xf8\xff\xff", id="ep"),
        pytest.param("eb poolhittag 'h' 'i'", b"hi\x34\x12", id="characters"),
        pytest.param('eb poolhittag "hi"', b"hi\x34\x12", id="text"),
        pytest.param("ef poolhittag 1.5", b"\0\0\xc0\x3f", id="ef"),
        pytest.param("eD poolhittag 2", b"\0\0\0\0\0\0\0@", id="eD"),
        pytest.param('ea poolhittag "hi"', b"hi\x34\x12", id="ea"),
        pytest.param('eza poolhittag "hi"', b"hi\0\x12", id="eza"),
        pytest.param('eu poolhittag "h"', b"h\0\x34\x12", id="eu"),
        pytest.param('ezu poolhittag "h"', b"h\0\0\0", id="ezu"),
        pytest.param("m poolhittag+4 L4 poolhittag", b"Abc Abc ", id="m"),
        pytest.param("m poolhittag L6 poolhittag+2", b"xVxV4\x12Ab", id="m overlapping"),
    ],
)
def test_enter(kd: Kd, line: str, after: bytes) -> None:
    assert kd.run(line) == ""
    assert kd.backend.virtual.peek(DATA, len(after)) == after


def test_enter_asks_when_no_value_is_given(kd: Kd) -> None:
    answers = iter(["11", " ", "33 44", ""])
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return next(answers)

    kd.session.ask = ask
    assert kd.lines("eb poolhittag") == [
        "fffff807`11003000 78",
        "fffff807`11003001 56",
        "fffff807`11003002 34",
        "fffff807`11003004 41",
    ]
    assert kd.backend.virtual.peek(DATA, 5) == b"\x11\x56\x33\x44A"
    assert questions == ["Input> "] * 4


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("eb poolhittag 100", " ^ Overflow error", id="too big"),
        pytest.param("eb 1000 1", "Memory access error at 00000000`00001000", id="unmapped"),
        pytest.param("ea poolhittag hi", "^ Syntax error", id="no quotes"),
        pytest.param("m poolhittag L4 10", "Memory access error at 00000000`00000010", id="m"),
        pytest.param("f poolhittag L4", "^ Syntax error", id="no pattern"),
    ],
)
def test_enter_refuses(kd: Kd, line: str, text: str) -> None:
    before = kd.backend.virtual.peek(DATA, 16)
    assert text in kd.run(line)
    assert kd.backend.virtual.peek(DATA, 16) == before


def test_long_listing_is_shown_as_it_is_read(kd: Kd) -> None:
    """Ctrl+C after some five thousand lines leaves them on the screen; nothing holds them all."""
    kd.backend.virtual.map(KERNEL + 0x8000, size=0x20000)
    lines_left = 5000

    def tired() -> None:
        nonlocal lines_left
        lines_left -= 1
        if not lines_left:
            raise KeyboardInterrupt

    kd.session.check_interrupt = tired  # type: ignore[method-assign]
    shown = kd.lines("db nt+8000 L?ffffffff")
    assert shown[-1] == "^C"
    assert shown[-2] == (
        "fffff807`1101b850  00 00 00 00 00 00 00 00-00 00 00 00 00 00 00 00  ................"
    )
    assert len(shown) == 0x1386 + 1


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        pytest.param("dd nt+8000 L8000", 0x2000, id="dd"),
        pytest.param("dps nt+8000 L4000", 0x4000, id="dps"),
        pytest.param("s -q nt+8000 L4000 0", 0x4000, id="s"),
        pytest.param("c nt+8000 L5000 nt+10000", 0x5000, id="c"),
    ],
)
def test_long_listings_are_complete(kd: Kd, line: str, lines: int) -> None:
    kd.backend.virtual.map(KERNEL + 0x8000, size=0x20000)
    kd.backend.virtual.map(KERNEL + 0x10000, b"\x01" * 0x5000)
    if not line.startswith("c"):
        kd.poke(KERNEL + 0x10000, bytes(0x5000))
    shown = kd.lines(line)
    assert len(shown) == len(set(shown)) == lines
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("f nt+8000 L?7fffffffffffffff 5", "error at fffff807`11009000", id="f"),
        pytest.param("c nt L?ffffffffffff nt", "error at fffff807`11005000", id="c"),
        pytest.param("m nt L?ffffffffffff nt", "error at fffff807`11005000", id="m"),
        pytest.param("kd -1", "Range error in 'kd -1'", id="kd"),
        pytest.param(".sleep -1", "Overflow error in '.sleep -1'", id="sleep"),
        pytest.param(".writemem x nt L?ffffffffffff", "error at fffff807`11005000", id="writemem"),
        pytest.param(".logopen a\0b", "log file could not be opened: embedded null", id="logopen"),
        pytest.param(".readmem a\0b nt L5", "Unable to open file 'a\0b': embedded", id="readmem"),
    ],
)
def test_what_is_asked_for_may_be_absurd(kd: Kd, line: str, text: str) -> None:
    kd.backend.virtual.map(KERNEL + 0x8000, size=0x1000)
    assert text in kd.run(line)


def test_fill(kd: Kd) -> None:
    assert kd.run("f poolhittag L5 1 2") == "Filled 0x5 bytes\n"
    assert kd.backend.virtual.peek(DATA, 6) == b"\x01\x02\x01\x02\x01b"


def test_compare(kd: Kd) -> None:
    assert kd.run("c poolhittag L4 poolhittag") == ""
    assert kd.run("c poolhittag L2 poolhittag+1") == (
        "fffff807`11003000  78 - fffff807`11003001  56\n"
        "fffff807`11003001  56 - fffff807`11003002  34\n"
    )


def test_physical_memory(kd: Kd) -> None:
    kd.backend.physical.map(0x1AD000, b"\x67\x10\x2d\0")
    assert kd.run("!dd 1ad000 L2") == "#  1ad000 002d1067 00000000\n"
    assert kd.run("dd /p 1ad000 L1") == "00000000`001ad000  002d1067\n"
    assert kd.run("!dd") == "#  1ad008 " + " ".join(["00000000"] * 4) + "\n" + "".join(
        f"#{at:8x} {' '.join(['00000000'] * 4)}\n" for at in range(0x1AD018, 0x1AD088, 0x10)
    )
    assert kd.lines("!db 5000 L2")[:2] == [
        "physical memory read at 5000 failed",
        "If you know the caching attributes used for the memory,",
    ]
    assert kd.run("!eb [uc] 1ad002 'h' 'i'") == ""
    kd.run("!dd 1ad000 L1")
    assert kd.run("!dd L 2") == "#  1ad004 00000000 00000000\n"
    assert kd.run("!dc -m [c] 1ad000 L1") == "#  1ad000 69681067" + " " * 28 + "g.hi\n"
    kd.run("ed /p 1ad000 5")
    assert kd.run("!dd 1ad000 L1") == "#  1ad000 00000005\n"
    assert kd.run("fp 1ad000 L2 ab") == "Filled 0x2 bytes\n"
    assert kd.run("!dq 1ad000 L1") == "#  1ad000 00000000`0000abab\n"


def test_files(kd: Kd, tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    assert kd.run(f".writemem {path} poolhittag L8") == "Writing 8 bytes.\n"
    assert path.read_bytes() == b"\x78\x56\x34\x12Abc "
    path.write_bytes(b"new!")
    assert kd.run(f".readmem {path} poolhittag L4") == "Reading 4 bytes.\n"
    assert kd.backend.virtual.peek(DATA, 8) == b"new!Abc "
    assert kd.run(f".readmem {tmp_path}/none poolhittag L4") == (
        f"Unable to open file '{tmp_path}/none': No such file or directory\n"
    )


DISASSEMBLY = [
    (
        "u nt!Outer nt!Outer+9",
        """\
nt!Outer:
fffff807`11001020 4883ec28        sub     rsp,28h
fffff807`11001024 e817000000      call    nt!Inner (fffff807`11001040)
fffff807`11001029 4883c428        add     rsp,28h
""",
    ),
    (
        "u nt!Inner+9 L2",
        """\
nt!Inner+0x9:
fffff807`11001049 8905b11f0000    mov     dword ptr [nt!PoolHitTag (fffff807`11003000)],eax
fffff807`1100104f 4883c418        add     rsp,18h
""",
    ),
    (
        "ub nt!Inner+9 L2",
        """\
nt!Inner:
fffff807`11001040 4883ec18        sub     rsp,18h
fffff807`11001044 b805000000      mov     eax,5
""",
    ),
    (
        "u 1000",
        """\
00000000`00001000 ??              ???
         ^ Memory access error in 'u 1000'
""",
    ),
    (
        "uf nt!Outer",
        """\
nt!Outer:
fffff807`11001020 4883ec28        sub     rsp,28h
fffff807`11001024 e817000000      call    nt!Inner (fffff807`11001040)
fffff807`11001029 4883c428        add     rsp,28h
fffff807`1100102d c3              ret
""",
    ),
    (
        "uf /c nt!Outer+9",
        """\
nt!Outer (fffff807`11001020)
  nt!Outer+0x4 (fffff807`11001024):
    call to nt!Inner (fffff807`11001040)
""",
    ),
    ("#", ""),
    (
        "# call nt!Loop; #",
        """\
nt!Loop+0x1:
fffff807`11001081 e87affffff      call    nt!DbgBreakPointWithStatus (fffff807`11001000)
nt!Loop+0x6:
fffff807`11001086 e895ffffff      call    nt!Outer (fffff807`11001020)
""",
    ),
    (
        "# call nt!Loop",
        """\
nt!Loop+0x1:
fffff807`11001081 e87affffff      call    nt!DbgBreakPointWithStatus (fffff807`11001000)
""",
    ),
]


@pytest.mark.parametrize(("line", "text"), DISASSEMBLY, ids=[line for line, _ in DISASSEMBLY])
def test_disassembly(kd: Kd, line: str, text: str) -> None:
    assert kd.run(line) == text


ENCODINGS = [
    ("90", "nop"),
    ("cd2d", "int     2Dh"),
    ("c3", "ret"),
    ("488b4108", "mov     rax,qword ptr [rcx+8]"),
    ("65488b042588010000", "mov     rax,qword ptr gs:[188h]"),
    ("b8050000c0", "mov     eax,0C0000005h"),
    ("0f1f440000", "nop     dword ptr [rax+rax]"),
    ("0f104424f0", "movups  xmm0,xmmword ptr [rsp-10h]"),
    ("f348ab", "rep stos qword ptr [rdi]"),
    ("f3a4", "rep movs byte ptr [rdi],byte ptr [rsi]"),
    ("48a5", "movs    qword ptr [rdi],qword ptr [rsi]"),
    ("480fc70f", "cmpxchg16b xmmword ptr [rdi]"),
    ("f00fb10f", "lock cmpxchg dword ptr [rdi],ecx"),
    ("ebfe", "jmp     nt!PoolHitTag (fffff807`11003000)"),
    ("7505", "jne     nt!PoolHitTag+0x7 (fffff807`11003007)"),
    ("ff15fa0f0000", "call    qword ptr [nt!NtBuildLabEx+0xc00 (fffff807`11004000)]"),
    ("488d0df9ffffff", "lea     rcx,[nt!PoolHitTag (fffff807`11003000)]"),
    ("e9fbff0f00", "jmp     hal+0x3000 (fffff807`11103000)"),
    ("e9fbfffeff", "jmp     fffff807`10ff3000"),
    ("06", "???"),
]


@pytest.mark.parametrize(("code", "text"), ENCODINGS, ids=[text for _, text in ENCODINGS])
def test_instruction_text(kd: Kd, code: str, text: str) -> None:
    kd.poke(DATA, bytes.fromhex(code))
    shown = kd.lines("u nt!PoolHitTag L1")[1]
    assert shown[18 + max(16, len(code) + 1) :] == text


def test_long_instruction_keeps_one_blank(kd: Kd) -> None:
    kd.poke(DATA, bytes.fromhex("48b8123456789abcdef0"))
    assert kd.lines("u nt!PoolHitTag L1")[1] == (
        "fffff807`11003000 48b8123456789abcdef0 mov     rax,0F0DEBC9A78563412h"
    )


def test_flow_of_a_function_in_blocks(kd: Kd) -> None:
    # jne +2; inc eax; ret
    kd.poke(KERNEL + 0x1020, bytes.fromhex("7502ffc0c3"))
    assert (
        kd.run("uf nt!Outer")
        == """\
nt!Outer:
fffff807`11001020 7502            jne     nt!Outer+0x4 (fffff807`11001024)

nt!Outer+0x2:
fffff807`11001022 ffc0            inc     eax

nt!Outer+0x4:
fffff807`11001024 c3              ret
"""
    )
    assert kd.lines("uf /i nt!Outer")[0] == "3 instructions scanned"


EFFECTS = {
    "488b0501000000": "ds:002b:fffff807`11003008={nt!Inner (fffff807`11001040)}",
    "ff1502000000": "ds:002b:fffff807`11003008={nt!Inner (fffff807`11001040)}",
    "8b0502000000": "ds:002b:fffff807`11003008=11001040",
    "488b0502000000": "ds:002b:fffff807`11003009=00fffff8`07110010",
    "488b042500100000": "ds:002b:00000000`00001000=????????????????",
    "8b042500100000": "ds:002b:00000000`00001000=????????",
}


@pytest.mark.parametrize("code", EFFECTS)
def test_memory_operand_where_the_target_stands(kd: Kd, code: str) -> None:
    kd.poke(DATA, bytes.fromhex(code).ljust(8) + (KERNEL + 0x1040).to_bytes(8, "little"))
    kd.run("r rip=nt!PoolHitTag")
    shown = kd.lines("r")[-1]
    assert shown.endswith(EFFECTS[code])
    place = EFFECTS[code].split(":")[2].split("=")[0]
    assert kd.run("? @$ea").endswith(f" = {place}\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("__imp_ExFreePool", "nt!_imp_ExFreePool", id="import"),
        pytest.param("??_C@_1DM@EOIDMIEH@?$AA?2?$AA@", "nt!`string'", id="string"),
    ],
)
def test_decorated_names_are_shown_as_kd_shows_them(kd: Kd, name: str, shown: str) -> None:
    kd.space.known["nt"].append(Symbol(name, 0x3020, 8, "public"))
    kd.poke(DATA, bytes.fromhex("ff151a000000"))
    assert kd.lines("u nt!PoolHitTag L1")[1].endswith(f"[{shown} (fffff807`11003020)]")
    if "imp" in name:
        assert kd.run(f"? {shown}") == kd.run(f"? nt!{name}")


# -- the cache -----------------------------------------------------------------------------------


def test_cache_reads_lines_once_and_ahead() -> None:
    asked: list[tuple[int, int]] = []

    def fetch(address: int, size: int) -> bytes:
        asked.append((address, size))
        return bytes(size)

    memory = CachedMemory(fetch, lambda _va, data: len(data))
    for address in range(0x1000, 0x6000, 0x10):
        memory.read(address, 16)
    assert asked == [
        (0x1000, 0x400),
        (0x1400, 0x800),
        (0x1C00, 0x1000),
        (0x2C00, 0x2000),
        (0x4C00, 0x4000),
    ]
    memory.write(0x1000, b"x")
    memory.read(0x1000, 1)
    assert asked[-1] == (0x1000, 0x400)
    memory.read(0x3000, 0x1001)
    assert asked[-1] == (0x3000, 0x1400)


@given(
    start=st.integers(0, 0x3000),
    size=st.integers(0, 0x3000),
    holes=st.sets(st.integers(0, 5)),
)
def test_cached_reads_give_the_readable_prefix(start: int, size: int, holes: set[int]) -> None:
    image = bytes(range(256)) * (0x6000 // 256)

    def fetch(address: int, count: int) -> bytes:
        end = address
        while end < min(address + count, len(image)) and end // 0x1000 not in holes:
            end += 1
        return image[address:end]

    memory = CachedMemory(fetch, lambda _va, data: len(data))
    expected = fetch(start, size) if size else b""
    for _ in range(2):
        assert memory.read_some(start, size) == expected
    if len(expected) < size:
        with pytest.raises(MemoryFault) as fault:
            memory.read(start, size)
        assert fault.value.address == start + len(expected)


@given(
    count=st.integers(1, 600),
    offset=st.integers(0, 0x1800),
    kind=st.sampled_from(["db", "dw", "dd", "dq"]),
)
def test_cells_are_the_bytes_in_order(count: int, offset: int, kind: str) -> None:
    image = bytes((7 * i) & 0xFF for i in range(0x4000))
    memory = CachedMemory(lambda a, n: image[a : a + n], lambda _va, data: len(data))
    layout = FORMATS[kind]
    cells = list(read_cells(memory, offset, count, layout.size))
    assert (
        b"".join(c for c in cells if c is not None) == image[offset : offset + count * layout.size]
    )
    shown = [
        cells_text(row, layout, layout.columns)
        for row in rows(memory, offset, count, layout, layout.columns)
    ]
    assert len(shown) == -(-count // layout.columns)
