"""Attaching, the banner, the prompt, the module list, errors, the log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdsim import __version__
from kdsim.debugger.backends.base import Caps, PrintEvent, PromptEvent, Reconnected
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import BREAKPOINT, DATA, KERNEL, LEAKY, FakeBackend, load_event

BANNER = """\
Connected to Windows 10 19041 x64 target at (Tue Nov 14 22:13:20.125 2023 (UTC + 0:00)), ptr64 TRUE
Kernel Debugger connection established.
Symbol search path is: srv*
Executable search path is: 
Windows 10 Kernel Version 19041 MP (2 procs) Free x64
Product: WinNt, suite: TerminalServer SingleUserTS
Edition build lab: 19041.1.amd64fre.vb_release.191206-1406
Machine Name:
Kernel base = 0xfffff807`11000000 PsLoadedModuleList = 0xfffff807`11003100
Debug session time: Tue Nov 14 22:12:22.500 2023 (UTC + 0:00)
System Uptime: 2 days 10:20:34.567
"""  # noqa: W291 - kd prints the blank

BREAK_IN = """\
Break instruction exception - code 80000003 (first chance)
*******************************************************************************
*                                                                             *
*   You are seeing this message because you pressed either                    *
*       CTRL+C (if you run console kernel debugger) or,                       *
*       CTRL+BREAK (if you run GUI kernel debugger),                          *
*   on your debugger machine's keyboard.                                      *
*                                                                             *
*                   THIS IS NOT A BUG OR A SYSTEM CRASH                       *
*                                                                             *
* If you did not intend to break into the debugger, press the "g" key, then   *
* press the "Enter" key now.  This message might immediately reappear.  If it *
* does, press "g" and "Enter" again.                                          *
*                                                                             *
*******************************************************************************
nt!DbgBreakPointWithStatus:
fffff807`11001000 cc              int     3
"""


def attach(kd: Kd, *events: object) -> str:
    kd.backend.events += events  # type: ignore[arg-type]
    kd.session.attach()
    return "".join(kd.printed)


def test_attach_prints_banner_and_the_stop(fresh: Kd) -> None:
    assert attach(fresh, fresh.backend.stop_event(BREAKPOINT)) == BANNER + BREAK_IN
    assert fresh.session.prompt == "0: kd> "


def test_break_in_is_asked_for(fresh: Kd) -> None:
    fresh.session.attach(break_in=True)
    assert fresh.backend.log == ["connect", "break in"]


def test_break_in_is_asked_for_again_after_a_module_notice(fresh: Kd) -> None:
    # The first one met the notice, where the target stood still already.
    fresh.backend.events.append(load_event())
    fresh.session.attach(break_in=True)
    assert [line for line in fresh.backend.log if line != "connect"] == [
        *("break in", "go", "break in")
    ]
    assert fresh.session.halted


def test_prints_appear_in_order_and_the_stop_begins_a_line(fresh: Kd) -> None:
    text = attach(
        fresh,
        PrintEvent("hello "),
        PrintEvent("world"),
        load_event(),
        fresh.backend.stop_event(BREAKPOINT),
    )
    assert text.startswith("hello world\nConnected to")
    assert "ModLoad: fffff807`20000000 fffff807`20006000   leaky.sys\nBreak instr" in text


def test_quiet_mode_omits_the_box(fresh: Kd) -> None:
    fresh.session.settings.quiet = True
    assert "THIS IS NOT A BUG" not in attach(fresh, fresh.backend.stop_event(BREAKPOINT))


def test_attach_reads_no_module_list(fresh: Kd) -> None:
    attach(fresh, fresh.backend.stop_event(BREAKPOINT))
    assert [m.name for m in fresh.space.modules] == ["nt"]
    assert [m.name for m in fresh.session.symbols.modules] == ["nt", "hal"]


def test_damaged_module_list_is_reported_and_kept(kd: Kd) -> None:
    kd.backend.virtual.poke(DATA + 0x800, (0x1234).to_bytes(8, "little"))
    kd.session.flush_memory()
    names = [m.name for m in kd.session.symbols.modules]
    assert "nt" in names
    assert "".join(kd.printed) == (
        "*** The module list cannot be read completely: Memory access error at 00000000`00001264\n"
    )


def test_modules_come_and_go_with_events(kd: Kd) -> None:
    kd.backend.events += [load_event(), load_event(unload=True), kd.backend.stop_event(BREAKPOINT)]
    text = kd.run("g")
    assert text.startswith("ModLoad: fffff807`20000000 fffff807`20006000   leaky.sys\n")
    assert kd.session.symbols.module_at(LEAKY) is None


@pytest.mark.parametrize(
    ("processors", "prompt"),
    [pytest.param(1, "kd> ", id="one"), pytest.param(2, "0: kd> ", id="two")],
)
def test_prompt(fresh: Kd, processors: int, prompt: str) -> None:
    fresh.backend.processors = processors
    attach(fresh, fresh.backend.stop_event(BREAKPOINT))
    assert fresh.session.prompt == prompt


def test_restart_forgets_and_connects_again(kd: Kd) -> None:
    kd.backend.events += [Reconnected("the target restarted"), kd.backend.stop_event(BREAKPOINT)]
    text = kd.run(".reboot")
    assert kd.backend.log[-1] == "reboot"
    assert text == (
        "Shutdown occurred at (Tue Nov 14 22:13:20.125 2023 (UTC + 0:00))"
        "...unloading all symbol tables.\n"
        "Waiting to reconnect... (the target restarted)\n" + BANNER + BREAK_IN
    )


def test_question_of_the_target_is_passed_on(kd: Kd) -> None:
    kd.session.ask = lambda prompt: f"yes to {prompt}"
    kd.backend.events += [PromptEvent("Break?", 80), kd.backend.stop_event(BREAKPOINT)]
    kd.run("g")
    assert "answer yes to Break?" in kd.backend.log


EVALUATED_1 = "Evaluate expression: 1 = 00000000`00000001\n"


class LocalFake(FakeBackend):
    """A machine that runs while we look at it."""


def local(backend: FakeBackend) -> Session:
    backend.caps = Caps.READ | Caps.WRITE | Caps.PHYSICAL
    backend.refusals = dict.fromkeys(
        (Caps.RUN, Caps.REGISTERS, Caps.BREAKPOINTS, Caps.MSR, Caps.IO), "the machine runs"
    )
    return Session(backend, Output(lambda _text: None))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("g", "No runnable debuggees error in 'g': the machine runs\n", id="g"),
        pytest.param("pa 5", "No runnable debuggees error in 'pa': the machine runs\n", id="pa"),
        pytest.param(
            "bp nt!Inner",
            "Operation not supported by current debuggee error in 'bp': the machine runs\n",
            id="bp",
        ),
        pytest.param(
            "r",
            "Operation not supported by current debuggee error in 'r': the machine runs\n",
            id="r",
        ),
        pytest.param("r $t0 = 5; r $t0", "$t0=0000000000000005\n", id="r-of-a-variable"),
        pytest.param("r? $t0 = 1 + 1; ? @$t0 = 2", EVALUATED_1, id="r-typed"),
        pytest.param(
            "kb",
            "Operation not supported by current debuggee error in 'kb': the machine runs\n",
            id="k",
        ),
        pytest.param(
            ".crash", "No runnable debuggees error in '.crash': the machine runs\n", id="crash"
        ),
        pytest.param("dd nt!PoolHitTag L1", "fffff807`11003000  12345678\n", id="dd"),
        pytest.param(
            "ed nt!PoolHitTag 5;dd nt!PoolHitTag L1", "fffff807`11003000  00000005\n", id="ed"
        ),
    ],
)
def test_local_session(fresh: Kd, line: str, text: str) -> None:
    local(fresh.backend)
    fresh.session.attach()
    assert fresh.session.prompt == "lkd> "
    assert "Break instruction" not in "".join(fresh.printed)
    assert fresh.run(line) == text


def test_local_session_sees_changes(fresh: Kd) -> None:
    local(fresh.backend)
    fresh.session.attach()
    fresh.run("dd nt!PoolHitTag L1")
    fresh.backend.virtual.poke(DATA, b"\x01\0\0\0")
    assert fresh.run("dd nt!PoolHitTag L1") == "fffff807`11003000  00000001\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("frobnicate", "Unknown command 'frobnicate'\n", id="unknown"),
        pytest.param(
            ".vertarge", "Unknown command '.vertarge' (did you mean vertarget?)\n", id="near"
        ),
        pytest.param("!pol", "No export pol found (did you mean !pool?)\n", id="bang"),
        pytest.param("!POL", "No export POL found (did you mean !pool?)\n", id="bang case"),
        pytest.param("dd 1 )", "            ^ Numeric expression missing from ')'\n", id="caret"),
        pytest.param("r foo", "         ^ Bad register error in 'r foo'\n", id="register"),
        pytest.param(
            "db 0 L20000000", "            ^ Range error in 'db 0 L20000000'\n", id="range"
        ),
        pytest.param("dd nope!x", "Couldn't resolve error at 'nope!x'\n", id="symbol"),
    ],
)
def test_errors_are_one_line_and_counted(kd: Kd, line: str, text: str) -> None:
    assert kd.run(line) == text
    assert kd.session.errors == 1
    assert kd.run("? 1") == "Evaluate expression: 1 = 00000000`00000001\n"


def test_log_file(kd: Kd, tmp_path: Path) -> None:
    log = tmp_path / "kd.log"
    assert kd.run(f".logopen {log}") == f"Opened log file '{log}'\n"
    kd.session.out.echo("0: kd> ? 2\n")
    kd.run("? 2")
    assert kd.run(".logfile") == f"Log '{log}' open\n"
    assert kd.run(".logclose") == f"Closing open log file {log}\n"
    assert kd.run(".logclose") == "No log file open\n"
    assert log.read_text() == (
        f"Opened log file '{log}'\n0: kd> ? 2\nEvaluate expression: 2 = 00000000`00000002\n"
        f"Log '{log}' open\nClosing open log file {log}\n"
    )


def test_log_file_that_cannot_be_opened(kd: Kd, tmp_path: Path) -> None:
    assert kd.run(f".logopen {tmp_path}/no/kd.log") == (
        f"log file could not be opened: No such file or directory '{tmp_path}/no/kd.log'\n"
    )


@pytest.mark.parametrize(
    ("line", "resumed"), [pytest.param("q", False, id="q"), pytest.param("qd", True, id="qd")]
)
def test_quit(kd: Kd, line: str, resumed: bool) -> None:
    kd.session.live_registers["rax"] = 7
    kd.backend.events.append(PrintEvent("running"))
    kd.run(line)
    assert kd.session.ended == line
    assert kd.backend.closed
    assert ("go" in kd.backend.log) is resumed
    assert kd.backend.contexts[0].get("rax") == 7


def test_json(kd: Kd) -> None:
    kd.session.settings.json = True
    assert kd.run("? 1") == (
        '{"command": "? 1", "text": ["Evaluate expression: 1 = 00000000`00000001"], '
        '"result": {"value": 1}}\n'
    )


def test_json_of_errors_and_of_the_attach(fresh: Kd) -> None:
    fresh.session.settings.json = True
    fresh.backend.events.append(fresh.backend.stop_event(BREAKPOINT))
    fresh.session.attach()
    assert json.loads("".join(fresh.printed)) == {"command": "", "output": BANNER + BREAK_IN}
    assert fresh.run("dd nope!x") == '{"error": "Couldn\'t resolve error at \'nope!x\'"}\n'


STATUS = {
    "vertarget": BANNER.partition("Executable search path is: \n")[2],
    ".time": BANNER.partition("003100\n")[2],
    ".effmach": "Effective machine: x64 (AMD64)\n",
    ".effmach x86": "Effective machine x86 is not supported by an x64 kernel target\n",
    ".lastevent": (
        "Last event: Break instruction exception - code 80000003 (first chance)\n"
        "  debugger time: Tue Nov 14 22:13:20.125 2023 (UTC + 0:00)\n"
    ),
    ".sleep 1": "",
    ".lines -d": "Line number information will not be loaded\n",
    "sqe": "Quiet mode is ON\n",
    "sq;sq": "Quiet mode is ON\nQuiet mode is OFF\n",
    ".echocpunum 0": "CPU number echo is off\n",
    ".prompt_allow +bogus": ("                     ^ Syntax error in '.prompt_allow +bogus'\n"),
    "n 8;? 10;n": ("base is 8\nEvaluate expression: 8 = 00000000`00000008\nbase is 8\n"),
    "?? 2+3": "int 0n5\n",
    '.echo "a; b"': "a; b\n",
    '.printf "%d %y\\n", 0n12, nt!Outer+4': "12 nt!Outer+0x4 (fffff807`11001024)\n",
    ".expr": "Current expression evaluator: MASM - Microsoft Assembler expressions\n",
    "ib 60": "fake offers no I/O ports in 'ib'\n",
    ".help nonsense": "Unknown command 'nonsense'\n",
    "sxr": "sx state reset to defaults\n",
    "sxe nonsense": "           ^ Invalid event code: Syntax error in 'sxe nonsense'\n",
    "* anything; at all": "",
    "$$ nothing; ? 1": "Evaluate expression: 1 = 00000000`00000001\n",
}


@pytest.mark.parametrize("line", STATUS)
def test_status_commands(kd: Kd, line: str) -> None:
    assert kd.run(line) == STATUS[line]


def test_version_names_debugger_and_target(kd: Kd) -> None:
    lines = kd.lines("version")
    assert lines[0] == "Windows 10 Kernel Version 19041 MP (2 procs) Free x64"
    assert lines[-2:] == [f"kdsim {__version__}", "Connected through fake"]


def test_cache_can_be_emptied_and_shows_itself(kd: Kd) -> None:
    kd.run("db nt!PoolHitTag")
    assert "Number of regions cached: 0" not in kd.run(".cache")
    assert "Number of regions cached: 0" in kd.run(".cache flushall")
    assert "directory base 1ad000" in kd.run(".cache forcedecodeuser")
    assert "directory base" not in kd.run(".cache noforcedecodeuser")


def test_help_lists_every_command_once(kd: Kd) -> None:
    text = kd.run(".hh")
    assert "Memory:" in text
    assert text.count("Fill memory") == 1
    by_kind = {kind: kd.run(kind) for kind in ("?", ".help", "!help")}
    assert ["Fill memory" in text for text in by_kind.values()] == [True, False, False]
    assert ["Restart the target." in text for text in by_kind.values()] == [False, True, False]
    assert ["Pool use by tag." in text for text in by_kind.values()] == [False, False, True]
    assert kd.lines(".hh gu") == [
        "gu",
        "    Go up: run until the current function returns to its caller.",
        "    see also: p pt g",
    ]


def test_event_filters(kd: Kd) -> None:
    kd.run('sxe -c "k" av; sxi c0001234; sxn -h bpe; sxe ld:leaky')
    lines = kd.lines("sx")
    assert "  ld:leaky - Load module - break" in lines
    assert '       Command: "k"' in lines
    assert "bpec - Break instruction exception continue - not handled" in lines
    assert "c0001234 - Unknown exception - ignore - not handled" in lines
    assert lines[-2:] == ["", "   * - Other exception - second-chance break - not handled"]


def test_kernel_of_the_session(kd: Kd) -> None:
    assert kd.session.version.kernel_base == KERNEL
    assert kd.session.facts is not None
    assert kd.session.facts.build_lab == "19041.1.amd64fre.vb_release.191206-1406"
