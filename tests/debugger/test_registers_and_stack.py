"""`r` and its kin, the k commands, variables, and the commands that choose a context."""

from __future__ import annotations

import struct

import pytest

from kdsim.debugger.paging import PageTables
from kdsim.debugger.registers import SLOTS, RegisterFile
from kdsim.errors import MemoryFault
from kdsim.symbols.procedures import Local
from kdsim.wire.context import Context, SpecialRegisters
from tests.debugger.conftest import Kd, qwords
from tests.debugger.debugger_fakes import DATA, KERNEL, PROCESS, STACK, THREAD, page_tables
from tests.debugger.debugger_symbols import U32

ALL = """\
rax=0000000000000000 rbx=0000000000000000 rcx=0000000000000001
rdx=0000000000000000 rsi=0000000000000000 rdi=0000000000000000
rip=fffff80711001000 rsp=ffffb00000010000 rbp=0000000000000000
 r8=0000000000000000  r9=0000000000000000 r10=0000000000000000
r11=0000000000000000 r12=0000000000000000 r13=0000000000000000
r14=0000000000000000 r15=0000000000000000
iopl=0         nv up ei pl zr na pe nc
cs=0010  ss=0018  ds=002b  es=002b  fs=0053  gs=002b             efl=00000246
nt!DbgBreakPointWithStatus:
fffff807`11001000 cc              int     3
"""


def test_all_registers(kd: Kd) -> None:
    assert kd.run("r") == ALL


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("r rcx", "rcx=0000000000000001\n", id="one"),
        pytest.param("recx", "ecx=00000001\n", id="glued"),
        pytest.param("r cl, rip", "cl=01 rip=fffff80711001000\n", id="two"),
        pytest.param("r rcx=5;r rcx", "rcx=0000000000000005\n", id="set"),
        pytest.param("rrcx=1234;r cl=ff;r rcx", "rcx=00000000000012ff\n", id="part"),
        pytest.param("r rcx=1234;r ch=ff;r rcx", "rcx=000000000000ff34\n", id="high part"),
        pytest.param("r zf=0;r efl", "efl=00000206\n", id="flag"),
        pytest.param("r zf", "zf=1\n", id="flag shown"),
        pytest.param("r $t1=rcx+1;r $t1", "$t1=0000000000000002\n", id="pseudo"),
        pytest.param("r $ip=nt!Outer;r rip", "rip=fffff80711001020\n", id="$ip"),
        pytest.param("r $thread", "$thread=ffffa00000001000\n", id="$thread"),
        pytest.param("r $tpid, $tid", "$tpid=0000000000000004 $tid=000000000000004c\n", id="ids"),
        pytest.param("r $ra", "$ra=fffff80711001086\n", id="$ra"),
        pytest.param("r xmm0=1;r xmm0:uq", "xmm0=0000000000000000 0000000000000001\n", id="xmm"),
        pytest.param("r cr3", "cr3=0000000000000000\n", id="cr3"),
        pytest.param("1r rip", "rip=fffff80711001020\n", id="other processor"),
        pytest.param("7r rip", "7 is not a valid processor number\n", id="no processor"),
        pytest.param("r @rcx", "rcx=0000000000000001\n", id="at sign"),
        pytest.param("r @rcx=5;r rcx", "rcx=0000000000000005\n", id="set with at sign"),
        pytest.param("r@$t1=@rcx+1;r@$t1", "$t1=0000000000000002\n", id="glued at sign"),
        pytest.param("r? @$t1 = 7;r $t1", "$t1=0000000000000007\n", id="typed with at sign"),
        pytest.param("r @", "         ^ Syntax error in 'r @'\n", id="only an at sign"),
        pytest.param("r bogus", "         ^ Bad register error in 'r bogus'\n", id="unknown"),
        pytest.param("r $bogus", "         ^ Bad register error in 'r $bogus'\n", id="no pseudo"),
        pytest.param("r.", "", id="registers of int 3"),
        pytest.param("rdmsr c0000080", "msr[c0000080] = 00000000`00000d01\n", id="rdmsr"),
        pytest.param(
            "wrmsr c0000080 5;rdmsr c0000080", "msr[c0000080] = 00000000`00000005\n", id="wrmsr"
        ),
        pytest.param("r xmm0=40000000`3f800000;r xmm0", "xmm0=0 0 2 1\n", id="xmm as floats"),
        pytest.param(
            "r st0=1.5;r st0",
            "st0= 1.500000000000000000000e+0000 (0:3fff:c000000000000000)\n",
            id="st0",
        ),
        pytest.param(
            "r st1=-3e-2;r st1",
            "st1=-2.999999999999999888978e-0002 (1:3ff9:f5c28f5c28f5c000)\n",
            id="negative st1",
        ),
        pytest.param(
            "r st2=0.0;r st2=5;r st2",
            "st2= 1.822599765941237301264e-4950 (0:0000:0000000000000005)\n",
            id="raw st2",
        ),
        pytest.param("? @$prcb - @$pcrb", "Evaluate expression: 0 = ", id="$prcb"),
        pytest.param("? @$ea", "Bad register error at '@$ea'\n", id="no $ea"),
        pytest.param("rM 800", "xmm0=00000000 00000000 00000000 00000000\n", id="xmm integers"),
        pytest.param(
            "r fpcw=27f;r fpsw=4020;rF",
            "fpcw=027F: rn 53 puozdi  fpsw=4020: top=0 cc=1000 --p-----  fptw=0000\n"
            "fopcode=0000  fpip=0000:00000000  fpdp=0000:00000000\n"
            "st0= 0.000000000000000000000e+0000  st1= 0.000000000000000000000e+0000\n",
            id="rF",
        ),
        pytest.param(
            "rm",
            "Register output mask is a:\n       2 - Integer state (64-bit)\n"
            "       8 - Segment registers\n",
            id="rm",
        ),
        pytest.param("rm 1002", "Ignored invalid bits 1000\n", id="rm bits"),
        pytest.param(
            "rM 8",
            "cs=0010  ss=0018  ds=002b  es=002b  fs=0053  gs=002b             efl=00000246\n"
            "nt!DbgBreakPointWithStatus:\nfffff807`11001000 cc              int     3\n",
            id="rM",
        ),
    ],
)
def test_registers(kd: Kd, line: str, text: str) -> None:
    """Long displays are compared as far as the row goes."""
    assert kd.run(line).startswith(text)


def test_empty_answer_keeps_a_register(kd: Kd) -> None:
    kd.session.ask = lambda _question: ""
    assert kd.lines("r rcx=;r rcx") == ["rcx=0000000000000001", "rcx=0000000000000001"]
    kd.session.ask = lambda _question: "77"
    assert kd.lines("r rcx=;r rcx") == ["rcx=0000000000000001", "rcx=0000000000000077"]


@pytest.mark.parametrize("name", sorted(SLOTS))
def test_every_register_keeps_what_is_written_to_it(name: str) -> None:
    registers = RegisterFile(Context, SpecialRegisters)
    bits = SLOTS[name].bits
    for value in (0, 1, (1 << bits) - 1):
        registers[name] = value
        assert registers[name] == value


ZEROS = " ".join(["00000000`00000000"] * 4)
STACKS = {
    "k": """\
 # Child-SP          RetAddr               Call Site
00 ffffb000`0000ffd0 fffff807`11001029     nt!Inner
01 ffffb000`0000ffd8 fffff807`1100108b     nt!Outer+0x9
02 ffffb000`00010008 fffff807`11f00000     nt!Loop+0xb
03 ffffb000`00010010 00000000`00000000     0xfffff807`11f00000
""",
    "k 1": """\
 # Child-SP          RetAddr               Call Site
00 ffffb000`0000ffd0 fffff807`11001029     nt!Inner
""",
    "kb 1": (
        f" # RetAddr               : {'Args to Child':71} : Call Site\n"
        f"00 fffff807`11001029     : {ZEROS} : nt!Inner\n"
    ),
    "kv 1": (
        f" # Child-SP          RetAddr               : {'Args to Child':71} : Call Site\n"
        f"00 ffffb000`0000ffd0 fffff807`11001029     : {ZEROS} : nt!Inner\n"
    ),
    "kc 3": " # Call Site\n00 nt!Inner\n01 nt!Outer\n02 nt!Loop\n",
    "kf 3": """\
 #   Memory  Child-SP          RetAddr               Call Site
00           ffffb000`0000ffd0 fffff807`11001029     nt!Inner
01         8 ffffb000`0000ffd8 fffff807`1100108b     nt!Outer+0x9
02        30 ffffb000`00010008 fffff807`11f00000     nt!Loop+0xb
""",
    "kp 2": """\
 # Child-SP          RetAddr               Call Site
00 ffffb000`0000ffd0 fffff807`11001029     nt!Inner
01 ffffb000`0000ffd8 fffff807`1100108b     nt!Outer(unsigned long Tag = 0)+0x9
""",
    "kP 2": """\
 # Child-SP          RetAddr               Call Site
00 ffffb000`0000ffd0 fffff807`11001029     nt!Inner
01 ffffb000`0000ffd8 fffff807`1100108b     nt!Outer(
\t\t\tunsigned long Tag = 0)+0x9
""",
    "kd 2": """\
ffffb000`0000ffd0  fffff807`11001029 nt!Outer+0x9
ffffb000`0000ffd8  00000000`00000000
""",
    "k = ffffb000`00010008 nt!Loop+b 1": """\
 # Child-SP          RetAddr               Call Site
00 ffffb000`00010008 fffff807`11f00000     nt!Loop+0xb
""",
    "k 0": "Range error in 'k 0'\n",
    ".kframes": "Default stack trace depth is 0n256 frames\n",
    ".kframes 2;kc": (
        "Default stack trace depth is 0n2 frames\n # Call Site\n00 nt!Inner\n01 nt!Outer\n"
    ),
    ".frame 1": "01 ffffb000`0000ffd8 fffff807`1100108b     nt!Outer+0x9\n",
    ".frame 9": "Cannot find frame 0x9, previous scope unchanged\n",
    "dv": "Unable to enumerate locals, no private symbols for this frame\n",
}


@pytest.mark.parametrize("line", STACKS)
def test_stack(kd: Kd, line: str) -> None:
    kd.run("g nt!Inner")
    assert kd.run(line) == STACKS[line]


def test_letters_of_k_go_together(kd: Kd) -> None:
    assert kd.lines("kbnL 1") == kd.lines("kb 1")
    assert kd.lines("kvf 1")[0].startswith(
        " #   Memory  Child-SP          RetAddr               : Args"
    )


def test_source_lines_when_switched_on(kd: Kd) -> None:
    from kdsim.symbols.lines import SourceLine

    kd.space.lines[KERNEL + 0x1040] = SourceLine(r"C:\kdsim\nt\ex.c", 12, 0x1040, 4)
    kd.run("g nt!Inner")
    assert kd.run(".lines") == "Line number information will be loaded\n"
    assert kd.lines("k 1")[1] == (
        r"00 ffffb000`0000ffd0 fffff807`11001029     nt!Inner [C:\kdsim\nt\ex.c @ 12] "
    )
    assert kd.lines("kL 1")[1] == "00 ffffb000`0000ffd0 fffff807`11001029     nt!Inner"


def test_unreadable_stack_ends_the_walk(kd: Kd) -> None:
    kd.run("r rsp=1000")
    assert kd.run("k") == (
        " # Child-SP          RetAddr               Call Site\n"
        "00 00000000`00001000 00000000`00000000     nt!DbgBreakPointWithStatus\n"
    )
    assert "????????`????????" in kd.run("kb")


def test_variables_of_a_frame(kd: Kd) -> None:
    kd.run("g nt!Outer+9")
    kd.run("ed @rsp+20 20636241")
    assert kd.run("dv") == (
        "            Tag = 0x20636241\n          Count = 5\n           Gone = <value unavailable>\n"
    )
    assert kd.run("dv /t /v T*") == "ffffb000`0000fff8 unsigned long Tag = 0x20636241\n"
    assert kd.run("dv /i /V") == (
        "prv param  ffffb000`0000fff8 @rsp+0x0020              Tag = 0x20636241\n"
        "prv local  @rax              @rax                   Count = 5\n"
        "prv local  <unavailable>     <unavailable>            Gone = <value unavailable>\n"
    )
    assert kd.run("? Tag") == "Evaluate expression: -87960930156552 = ffffb000`0000fff8\n"
    assert kd.run("dv zz*") == "No local variable matches 'zz*'\n"


def test_what_a_call_destroys_is_not_shown_as_a_value(kd: Kd) -> None:
    kd.run("g nt!Inner+9")
    assert kd.run("r rax") == "rax=0000000000000005\n"
    kd.run(".frame 1")
    assert "          Count = <value unavailable>\n" in kd.run("dv")
    assert kd.run("? Count") == "Couldn't resolve error at 'Count'\n"
    assert kd.run("?? Count") == "Count: <value unavailable>\n"


def test_variables_in_expressions(kd: Kd) -> None:
    kd.run("g nt!Outer+9;ed @rsp+20 20636241")
    assert kd.run("? Count") == "Evaluate expression: 5 = 00000000`00000005\n"
    assert kd.run("? $!Count + 1") == "Evaluate expression: 6 = 00000000`00000006\n"
    assert kd.run("? dwo($!Tag)") == "Evaluate expression: 543384129 = 00000000`20636241\n"
    assert kd.run("?? Tag") == "unsigned long 0x20636241\n"


def test_records_show_their_fields(kd: Kd) -> None:
    links = (
        "   +0x000 Flink            : 0xfffff807`11003800\n"
        "   +0x008 Blink            : 0xfffff807`11003a00\n"
    )
    head = f"0x{DATA + 0x100:x}"
    assert kd.run(f"?? *(nt!_LIST_ENTRY*){head}") == "struct _LIST_ENTRY\n" + links
    assert kd.run(f"?? (nt!_LIST_ENTRY*){head}") == (
        "struct _LIST_ENTRY * 0xfffff807`11003100\n" + links
    )
    assert kd.run("?? (nt!_LIST_ENTRY*)0") == "struct _LIST_ENTRY * 0x00000000`00000000\n"
    assert "Flink            : ??" in kd.run("?? (nt!_LIST_ENTRY*)8")


def test_volatile_registers_come_from_the_trap_frame(kd: Kd) -> None:
    """Inner was interrupted in the middle: what its variables' registers held is in the frame."""
    frame = STACK + 0x100
    kd.space.trap_handlers = frozenset({"DbgBreakPointWithStatus"})
    kd.space.variables["Inner"] = (Local("Hot", U32, False, "register", "eax"),)
    kd.poke(frame + 0x30, qwords(0x77))
    kd.poke(frame + 0x168, qwords(KERNEL + 0x1045, 0x10, 0x246, STACK + 0x300, 0x18))
    kd.run(f"r rsp={frame + 0x168:x}")
    kd.space.frame_pointers["DbgBreakPointWithStatus"] = frame
    kd.run(".frame 1")
    assert kd.run("dv") == "            Hot = 0x77\n"
    kd.poke(frame + 0x180, qwords(STACK + 0x308))
    kd.run(".frame 0; .frame 1")
    kd.space.frame_pointers["DbgBreakPointWithStatus"] = frame + 8
    assert kd.run("dv") == "            Hot = <value unavailable>\n"


def test_trap_frame_is_crossed_and_named(kd: Kd) -> None:
    frame = STACK + 0x100
    kd.space.trap_handlers = frozenset({"Outer"})
    kd.space.frames["Outer"] = 0
    kd.backend.virtual.poke(frame, qwords(KERNEL + 0x1045, 0x10, 0x246, STACK + 0x300, 0x18))
    kd.run(f"r rip=nt!Outer+4, rsp={frame:x}")
    lines = kd.lines("kv 2")
    assert lines[1].endswith(f"nt!Outer+0x4 (TrapFrame @ ffffb000`{frame & 0xFFFFFFFF:08x})")
    assert lines[2].startswith("01 ffffb000`00010300 ")
    assert lines[2].endswith(" : nt!Inner+0x5")


def test_trap_context(kd: Kd) -> None:
    frame = DATA + 0xD00
    names = {"rcx": 0x38, "rbp": 0x158, "rip": 0x168, "rsp": 0x180}
    values = {"rcx": 0x77, "rbp": 0x88, "rip": KERNEL + 0x1040, "rsp": STACK}
    for name, offset in names.items():
        kd.backend.virtual.poke(frame + offset, qwords(values[name]))
    kd.session.flush_memory()
    lines = kd.lines(f".trap {frame:x}")
    assert lines[:3] == [
        "NOTE: The trap frame does not contain all registers.",
        "Some register values may be zeroed or incorrect.",
        "rax=0000000000000000 rbx=0000000000000000 rcx=0000000000000077",
    ]
    assert lines[-2:] == ["nt!Inner:", "fffff807`11001040 4883ec18        sub     rsp,18h"]
    assert kd.run("r rcx") == "rcx=0000000000000077\n"
    assert kd.lines("k 1") == [
        "  *** Stack trace for last set context - .thread/.cxr resets it",
        " # Child-SP          RetAddr               Call Site",
        "00 ffffb000`00010000 fffff807`11001086     nt!Inner",
    ]
    assert kd.run(".trap") == "Resetting default scope\n"
    assert kd.run("r rcx") == "rcx=0000000000000001\n"


def test_context_record(kd: Kd) -> None:
    place = DATA + 0xD00
    assert kd.run(f".cxr /w {place:x}") == f"Context stored at fffff807`{place & 0xFFFFFFFF:08x}\n"
    kd.run(f"eq {place + 0x78:x} 1122")
    assert kd.lines(f".cxr {place:x}")[0].startswith("rax=0000000000001122")
    assert kd.run("r rax") == "rax=0000000000001122\n"
    assert kd.run("r rax=1") == (
        "         ^ Registers of another context cannot be changed: Syntax error in 'r rax=1'\n"
    )
    assert kd.run(".cxr") == "Resetting default scope\n"


def test_waiting_thread(kd: Kd) -> None:
    other, stack = THREAD + 0x1800, STACK - 0x400
    kd.backend.virtual.poke(other + 0x58, qwords(stack))
    kd.backend.virtual.poke(other + 0x60, struct.pack("<I", 1))
    kd.backend.virtual.poke(other + 0x184, b"\x05")
    kd.backend.virtual.poke(stack + 0x30, qwords(0x99, KERNEL + 0x1086))
    kd.backend.virtual.poke(stack + 0x40, qwords(KERNEL + 0x1029))
    kd.session.flush_memory()
    assert kd.run(f".thread {other:x}") == "Implicit thread is now ffffa000`00002800\n"
    assert kd.lines("k 2")[2:] == [
        "00 ffffb000`0000fc40 fffff807`11001029     nt!Loop+0x6",
        "01 ffffb000`0000fc48 00000000`00000000     nt!Outer+0x9",
    ]
    assert kd.run("r rbp") == "rbp=0000000000000099\n"
    assert kd.run("? @$thread") == "Evaluate expression: -105553116256256 = ffffa000`00002800\n"
    assert kd.run(".thread") == "Implicit thread is now ffffa000`00001000\n"


def test_exception_record_in_memory(kd: Kd) -> None:
    record = struct.pack("<IIQQI4x", 0xC0000005, 0, 0, KERNEL + 0x1020, 2) + qwords(8, 0x1000)
    kd.poke(DATA + 0xD00, record)
    assert kd.run(f".exr {DATA + 0xD00:x}") == (
        "ExceptionAddress: fffff807`11001020 (nt!Outer)\n"
        "   ExceptionCode: c0000005 (Access violation)\n"
        "  ExceptionFlags: 00000000\n"
        "NumberParameters: 2\n"
        "   Parameter[0]: 0000000000000008\n"
        "   Parameter[1]: 0000000000001000\n"
        "Attempt to execute non-executable address 0000000000001000\n"
    )


def test_memory_of_another_process(kd: Kd) -> None:
    page_tables(kd.backend, 0x1AD000, 0x7FF0_0000_0000, 0x55000)
    kd.backend.physical.map(0x55000, b"theirs!!")
    kd.backend.virtual.map(0x7FF0_0000_0000, b"ours!!!!")
    assert kd.run("da 7ff0`00000000 L8") == '00007ff0`00000000  "ours!!!!"\n'
    assert kd.run(f".process /p {PROCESS:x}") == (
        "Implicit process is now ffffa000`00002000\n.cache forcedecodeuser done\n"
    )
    assert kd.run("da 7ff0`00000000 L8") == '00007ff0`00000000  "theirs!!"\n'
    assert kd.run(".context") == "User-mode page directory base is 1ad000\n"
    kd.run('ea 7ff0`00000000 "changed"')
    assert kd.backend.physical.peek(0x55000, 8) == b"changed!"
    assert kd.run("da 7ff0`00001000") == "00007ff0`00001000  ????\n"
    assert kd.run("dd nt!PoolHitTag L1") == "fffff807`11003000  12345678\n"
    assert kd.run(".process") == "Implicit process is now ffffa000`00002000\n"
    assert kd.run("da 7ff0`00000000 L4") == '00007ff0`00000000  "ours"\n'


def test_process_with_no_page_tables_is_refused(kd: Kd) -> None:
    assert kd.run(".process /p ffffa000`00001800") == (
        "ffffa00000001800 is no process: its DirectoryTableBase is 0\n"
    )


@pytest.mark.parametrize(
    ("level", "flags", "size"),
    [
        pytest.param(1, 0xE7, 1 << 30, id="1 GB page"),
        pytest.param(2, 0xE7, 1 << 21, id="2 MB page"),
        pytest.param(3, 0x67, 1 << 12, id="4 KB page"),
    ],
)
def test_page_walk(level: int, flags: int, size: int) -> None:
    va, physical = 0xFFFFF807_55667788, {}
    for depth in range(level + 1):
        table = 0x1000 * (depth + 1)
        entry = 0x4000_0000 | flags if depth == level else table + 0x1000 | 0x67
        physical[table + 8 * (va >> (39 - 9 * depth) & 0x1FF)] = entry
    tables = PageTables(lambda pa, n: physical.get(pa, 0).to_bytes(n, "little"), 0x1002)
    found = tables.translate(va)
    assert (found.pa, found.page_size) == (0x4000_0000 + va % size, size)
    assert [e.level for e in found.entries] == ["PXE", "PPE", "PDE", "PTE"][: level + 1]
    with pytest.raises(MemoryFault, match="PXE not present"):
        tables.translate(0)
