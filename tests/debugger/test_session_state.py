"""Settings that change what other commands do: each has its effect, and ends when it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdsim.debugger.backends.base import CONTINUE_HANDLED, CONTINUE_NOT_HANDLED, PrintEvent, Resume
from tests.debugger.conftest import Kd, qwords
from tests.debugger.debugger_fakes import BREAKPOINT, KERNEL, load_event
from tests.debugger.test_execution import INNER, LOOP_6, LOOP_B, OUTER, RET

AV = 0xC0000005
STOPPED = "Break instruction exception - code 80000003 (first chance)\n"

SESSIONS = {
    "nothing runs while execution is not allowed": [
        (".allow_exec_cmds", "Execution commands are allowed\n"),
        (".allow_exec_cmds 0", "Execution commands are not allowed\n"),
        *[
            (line, "Execution commands are not allowed; .allow_exec_cmds 1 allows them\n")
            for line in ("g", "p", "t", "gu", "gc", "tb", ".reboot", ".crash")
        ],
        (".allow_exec_cmds 1", "Execution commands are allowed\n"),
        ("t", RET),
    ],
    "a prompt command runs after every stop and after nothing else": [
        (".pcmd", "No per-prompt command\n"),
        (
            '.pcmd -s ".echo Execution is done."',
            "Per-prompt command is '.echo Execution is done.'\n",
        ),
        ("t", RET + "Execution is done.\n"),
        ("t 2", LOOP_6 + OUTER + "Execution is done.\n"),
        ("? 1", "Evaluate expression: 1 = 00000000`00000001\n"),
        (".pcmd -c", ""),
        (".pcmd", "No per-prompt command\n"),
    ],
    "a prompt command may run on": [
        (".pcmd -s t", "Per-prompt command is 't'\n"),
        (".pcmd -s \".if (@rip == nt!Loop+6) { t }\"", None),
        ("t 2", RET + LOOP_6 + OUTER),
    ],
    "push and pop": [
        ("n 8; .push /r; r $t0 = 7; n 16; .expr /s c++", None),
        (".pop", ""),
        ("n", "base is 8\n"),
        ("r $t0", "$t0=0000000000000007\n"),
        (".push /r; r $t0 = 5; .pop /r; r $t0", "$t0=0000000000000007\n"),
        (".pop", "Unable to pop state: nothing is pushed\n"),
        (".pop /q", ""),
        (".push /x", "       ^ Syntax error in '.push /x'\n"),
    ],
    "hidden kinds of output come back": [
        (".outmask", "Output mask is 3F7\n"),
        (".outmask- 2", "Output mask is 3F5\n"),
        ("nosuch", ""),
        (".outmask /l 8", "Output mask is 3FD, of the log file 3F5\n"),
        (".outmask /a", "Output mask is FFFFFFFF\n"),
        (".outmask /d", "Output mask is 3F7\n"),
        ("nosuch", "Unknown command 'nosuch'\n"),
    ],
    "the step filter": [
        ("g nt!Loop+6", LOOP_6),
        ('.step_filter "nt!Out*;nt!Else"', "Functions stepped over by t:\n  nt!Out*\n  nt!Else\n"),
        ("t", LOOP_B),
        (".step_filter /c", "No step filter\n"),
        ("g nt!Inner", INNER),
        (".step_filter nt!Inner", "Functions stepped over by t:\n  nt!Inner\n"),
        ("p", "nt!Outer+0x9:\nfffff807`11001029 4883c428        add     rsp,28h\n"),
    ],
    "branches that are taken": [
        ("tb", "fffff807`11001001 nt!DbgBreakPointWithStatus+0x1 ->\n" + LOOP_6),
        (
            "tb 2",
            "fffff807`11001086 nt!Loop+0x6 ->\n" + OUTER
            + "fffff807`11001024 nt!Outer+0x4 ->\n" + INNER,
        ),
        ("tb 0", ""),
    ],
    "commands behind a break address": [
        ('bp nt!Outer "g nt!Inner; .echo there; r rip"', ""),
        ("g", "there\nrip=fffff80711001040\n" + INNER),
        ("bc *", ""),
        # On the command line a semicolon ends the g.
        ("g nt!Loop+b; .echo then", LOOP_B + "then\n"),
    ],
    "a break address in a module that is not there waits for it": [
        ("g nt!nosuch", "Couldn't resolve error at 'nt!nosuch'\n"),
        ("g nosuch", "Couldn't resolve error at 'nosuch'\n"),
        (
            "g leaky!Worker",
            "Bp expression 'leaky!Worker' could not be resolved, adding deferred bp\n"
            "the toy program ended\n",
        ),
        ("bl", " 0 eu                      0001 (0001) (leaky!Worker)\n"),
    ],
    "a bare r toggles the registers": [
        ("p r 0; .prompt_allow", None),
        ("pr", RET),
        ("pc 2 x", "     ^ Extra character error in 'pc 2 x'\n"),
        ('pc "k"', '   ^ Extra character error in \'pc "k"\'\n'),
    ],
    "disassembly": [
        (".asm no_code_bytes", "Assembly options: no_code_bytes\n"),
        ("u nt!Inner L1", "nt!Inner:\nfffff807`11001040 sub     rsp,18h\n"),
        (".asm source_line", "Assembly options: no_code_bytes source_line\n"),
        ("u nt!Inner L1", "nt!Inner:\n      fffff807`11001040 sub     rsp,18h\n"),
        (".asm- NO_CODE_BYTES source_line", "Assembly options: <default>\n"),
        ("u nt!Inner L1", INNER),
        (".asm fast", "     ^ Syntax error in '.asm fast'\n"),
    ],
    "missing extensions": [
        ("!nosuch", "No export nosuch found\n"),
        ("so noextwarning", "Kernel debugging options: NOEXTWARNING\n"),
        ("!nosuch; ? 1", "Evaluate expression: 1 = 00000000`00000001\n"),
        ("nosuch", "Unknown command 'nosuch'\n"),
    ],
    "types": [
        (".typeopt", "Type options are 0x0:\n"),
        (".enable_long_status 1", ""),
        (".typeopt +1", None),
        (".typeopt -longst", None),
        (".typeopt", "Type options are 0x1:\n"
         "  0x1 uni    - 16-bit arrays and pointers as Unicode strings\n"),
        (".enable_unicode 2", "                ^ Syntax error in '.enable_unicode 2'\n"),
        (".typeopt uni", "         ^ Syntax error in '.typeopt uni'\n"),
    ],
    "the quit lock": [
        (".quit_lock", "No quit lock\n"),
        ('.quit_lock /s "my word"', ""),
        ("q", "q: the session is locked; .quit_lock /q <password> unlocks it\n"),
        ("qd", "qd: the session is locked; .quit_lock /q <password> unlocks it\n"),
        (".quit_lock", "Quit lock is set, password 'my word'\n"),
        (".quit_lock /q word", "The password 'word' does not match\n"),
        ('.quit_lock /q "my word"', ""),
        (".quit_lock", "No quit lock\n"),
        (".quit_lock /s", "             ^ Syntax error in '.quit_lock /s'\n"),
    ],
    "the shell": [
        (".shell echo one; echo two", "one\ntwo\n.shell: Process exited\n"),
        ('.shell -ci "? 5; ? 6" wc -l', "2\n.shell: Process exited\n"),
        (".shell -i - -e - cat; echo no >&2", ".shell: Process exited\n"),
        (".shell exit 3", ".shell: Process exited (3)\n"),
        (".shell -i /nosuch cat", "Unable to open '/nosuch': No such file or directory\n"),
        (".shell -x exit 3", ""),
        (".noshell", "Shell commands are prohibited\n"),
        (".push; .pop; .shell echo one", "Shell commands are prohibited (.noshell)\n"),
    ],
}  # fmt: skip


def aligned(expected: str) -> str:
    """Carets stand under the line behind the prompt, which is eight columns wide here."""
    return " " * len("0: kd> ") + expected if expected.lstrip().startswith("^") else expected


@pytest.mark.parametrize("name", SESSIONS)
def test_session(kd: Kd, name: str) -> None:
    for line, expected in SESSIONS[name]:
        printed = kd.run(line)
        assert expected is None or printed == aligned(expected), line


# -- sx ------------------------------------------------------------------------------------------


def raises(kd: Kd, code: int = AV, *, first_chance: bool = True) -> None:
    """The target will raise an exception once, and break in when it runs on."""
    stop = kd.backend.stop_event(code)
    kd.backend.events.append(
        type(stop)(stop.processor, 2, stop.thread, stop.pc, code, first_chance=first_chance)
    )


class Statuses:
    """With what statuses the target was continued; then it stops for good."""

    def __init__(self, kd: Kd) -> None:
        self.given: list[int] = []
        resume = kd.backend.resume

        def noted(how: Resume) -> None:
            self.given.append(how.status)
            if not kd.backend.events:
                kd.backend.events.append(kd.backend.stop_event(BREAKPOINT))
            resume(how)

        kd.backend.resume = noted  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("setting", "first_chance", "shown", "status"),
    [
        pytest.param('sxi -c ".echo hit" av', True, "hit\n", CONTINUE_NOT_HANDLED, id="ignored"),
        pytest.param(
            'sxn -c ".echo hit" av', True,
            "Access violation - code c0000005 (first chance)\nhit\n", CONTINUE_NOT_HANDLED,
            id="told",
        ),
        pytest.param(
            'sxi -c2 ".echo two" av', False, "two\n", CONTINUE_NOT_HANDLED, id="second chance"
        ),
        pytest.param('sxi -c2 ".echo two" av', True, "", CONTINUE_NOT_HANDLED, id="other chance"),
        pytest.param(
            'sxi -c ".echo hit" av; sxe -h av', True, "hit\n", CONTINUE_HANDLED, id="handled"
        ),
        pytest.param('sxi -c ".echo hit; gh" av', True, "hit\n", CONTINUE_HANDLED, id="gh"),
    ],
)  # fmt: skip
def test_filter_commands_run_whatever_else_is_done(
    kd: Kd, setting: str, first_chance: bool, shown: str, status: int
) -> None:
    assert kd.run(setting) == ""
    raises(kd, first_chance=first_chance)
    statuses = Statuses(kd)
    printed = kd.run("g")
    assert printed.startswith(shown + STOPPED)
    assert statuses.given[1] == status


@pytest.mark.parametrize(
    ("line", "row"),
    [
        pytest.param("sxd av", "  av - Access violation - second-chance break - not handled",
                     id="sxd"),
        pytest.param("sxe -h av", "  av - Access violation - break - handled", id="handling only"),
        pytest.param("sxi hc", "  hc - Invalid handle continue - not handled", id="hc"),
        pytest.param("sxe hc", "  hc - Invalid handle continue - handled", id="hc handled"),
        pytest.param("sxe -h ch", "  hc - Invalid handle continue - handled", id="-h of ch"),
        pytest.param('sx- -c "k" bpec', "bpec - Break instruction exception continue - handled",
                     id="sx- leaves it"),
        pytest.param("sxe -h ct", "  ct - Create thread - ignore", id="an event is not handled"),
        pytest.param("sxe ld:leaky", "  ld:leaky - Load module - break", id="colon"),
        pytest.param("sxe ld leaky", "  ld:leaky - Load module - break", id="blank"),
        pytest.param("sxn c0000094", " dz - Integer divide-by-zero - output - not handled",
                     id="number of a name"),
        pytest.param("sxi 0xc0ffee", "00c0ffee - Unknown exception - ignore - not handled",
                     id="number"),
        pytest.param("sxe *", "   * - Other exception - break - not handled", id="others"),
    ],
)  # fmt: skip
def test_filters(kd: Kd, line: str, row: str) -> None:
    assert kd.run(line) == ""
    assert row.strip() in [shown.strip() for shown in kd.lines("sx")]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("sxe", "   ^ Syntax error in 'sxe'", id="nothing"),
        pytest.param("sxe av:x", "      ^ Syntax error in 'sxe av:x'", id="no argument"),
        pytest.param("sxe -c k av", "       ^ Syntax error in 'sxe -c k av'", id="no quotes"),
        pytest.param("sxe nosuch", "    ^ Invalid event code: Syntax error in 'sxe nosuch'",
                     id="unknown"),
        pytest.param("sxe 100000000", "    ^ Overflow error in 'sxe 100000000'", id="too large"),
    ],
)  # fmt: skip
def test_filter_mistakes(kd: Kd, line: str, text: str) -> None:
    assert kd.run(line) == aligned(text) + "\n"


@pytest.mark.parametrize(
    ("argument", "stops"),
    [
        pytest.param("leaky", True, id="name"),
        pytest.param("LEAKY.SYS", True, id="name with extension"),
        pytest.param("l?aky", True, id="wildcard"),
        pytest.param("fffff80720000000", True, id="address"),
        pytest.param("leak", False, id="part of a name"),
        pytest.param("other", False, id="another"),
    ],
)
def test_module_filter(kd: Kd, argument: str, stops: bool) -> None:
    kd.run(f"sxe ld {argument}")
    kd.backend.events += [load_event("\\SystemRoot\\leaky.sys"), kd.backend.stop_event(BREAKPOINT)]
    assert (STOPPED not in kd.run("g")) is stops


def test_a_module_filter_runs_its_commands_and_goes_on(kd: Kd) -> None:
    kd.run('sxn -c ".echo loaded" ld')
    kd.backend.events += [load_event(), load_event(), kd.backend.stop_event(BREAKPOINT)]
    printed = kd.run("g")
    assert printed.count("ModLoad: ") == printed.count("leaky.sys\nloaded\n") == 2
    assert STOPPED in printed


def test_target_output_can_stop_and_be_hidden(kd: Kd) -> None:
    kd.run('.ofilter /! *heartbeat; sxe -c ".echo found" out:*leak?')
    kd.backend.events += [
        PrintEvent("a heartbeat\n"),
        PrintEvent("a leak\n"),
        PrintEvent("leaks\n"),
    ]
    printed = kd.run("g")
    assert printed.startswith("a leak\nleaks\n" + STOPPED + "found\n")
    assert "break in" in kd.backend.log


def test_time_stamps(kd: Kd) -> None:
    kd.run(".echotimestamps")
    kd.backend.events += [
        PrintEvent("hel"), PrintEvent("lo\n"), load_event(), kd.backend.stop_event(BREAKPOINT),
    ]  # fmt: skip
    stamp = "Tue Nov 14 22:13:20.125 2023 (UTC + 0:00): "
    printed = kd.run("g")
    assert printed.startswith(f"{stamp}hello\n{stamp}ModLoad: ")
    assert stamp + STOPPED in printed


def test_event_log_keeps_the_last_lines(kd: Kd) -> None:
    for _ in range(40):
        kd.backend.events += [load_event(), kd.backend.stop_event(BREAKPOINT)]
        kd.run("g")
    lines = kd.lines(".eventlog")
    assert lines[-4:] == [
        "Load module leaky.sys at fffff807`20000000",
        STOPPED.strip(),
        f"Last event: {STOPPED.strip()}",
        "  debugger time: Tue Nov 14 22:13:20.125 2023 (UTC + 0:00)",
    ]
    assert 900 < sum(len(line) + 1 for line in lines[:-2]) <= 1024


# -- the rest --------------------------------------------------------------------------------------


def test_pushed_context_does_not_outlive_its_stop(kd: Kd) -> None:
    kd.run("~1s; .thread ffffa00000001000")
    kd.run(".push")
    kd.run("p")
    kd.run(".pop")
    assert kd.session.scope.thread == 0


def test_log_hides_what_its_mask_says(kd: Kd, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    kd.run(f".logopen {log}")
    kd.run(".outmask- 2; nosuch")
    kd.run(".outmask /l 2; nosuch")
    kd.run(".logclose")
    assert "nosuch" not in log.read_text()


def test_log_names(kd: Kd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.getpid", lambda: 0x2BC)
    for line, name in (
        (".logopen /t a b.txt", "a b_02BC_2023-11-14_22-13-20-125.txt"),
        (".logopen", "Dbgeng.log"),
        (".logopen /d", "kd.log"),
        ('.logopen /u "c d.log"', "c d.log"),
    ):
        assert f"Opened log file '{name}'\n" in kd.run(line)
        assert (tmp_path / name).exists()
    kd.run("? 1")
    kd.run(".logclose")
    assert "Evaluate expression" in (tmp_path / "c d.log").read_text(encoding="utf-16")


def test_restart_attaches_anew(kd: Kd) -> None:
    kd.run("bp nt!Inner")
    printed = kd.run(".restart")
    assert printed.startswith("Connected to Windows 10 19041 x64 target")
    assert kd.backend.log[-1] == "restart"
    assert "nt!Inner" in kd.run("bl")


def test_read_and_symbol_failures_are_told(kd: Kd) -> None:
    assert kd.run("? nt!nosuch") == "Couldn't resolve error at 'nt!nosuch'\n"
    kd.run(".show_sym_failures /s; .show_read_failures /v")
    assert kd.run("? nt!nosuch").startswith("Symbol lookup failed for 'nt!nosuch'\n")
    assert kd.run("? poi(0)").startswith("Memory access error at 00000000`00000000\n")
    kd.run(".show_sym_failures /S")
    assert kd.run("? nt!nosuch") == "Couldn't resolve error at 'nt!nosuch'\n"


def test_terminal_control_goes_past_the_output(kd: Kd) -> None:
    sent: list[str] = []
    assert kd.run(".cls; .beep; .wtitle x") == ""
    kd.session.out.control = sent.append
    assert kd.run(".cls; .beep; .wtitle my\x1b title") == ""
    assert sent == ["\x1b[2J\x1b[H", "\a", "\x1b]2;my title\a"]


@pytest.mark.parametrize(
    ("walk", "ends"),
    [
        pytest.param("tt", INNER, id="tt"),
        pytest.param("pt", INNER, id="pt"),
        pytest.param("ta nt!Loop+b", INNER, id="ta"),
        pytest.param("pa nt!Loop+b", INNER, id="pa"),
        pytest.param("tb 9", INNER, id="tb"),
        pytest.param("wt nt!Loop+b", INNER, id="wt"),
    ],
)
def test_a_breakpoint_ends_a_longer_walk(kd: Kd, walk: str, ends: str) -> None:
    kd.run("g nt!Outer; bp nt!Inner")
    printed = kd.run(walk)
    assert printed.endswith(f"Breakpoint 0 hit\n{ends}")
    kd.run('bs 0 "gc"; g =nt!Outer nt!Outer+4')
    assert not kd.run(walk).endswith(ends)


def test_secondary_data(kd: Kd) -> None:
    assert kd.run(".enumtag") == "No secondary data: the target has not bug checked\n"
    kd.poke(KERNEL + 0x3200, qwords(0xE2, 0, 0, 0, 0))
    assert kd.run(".enumtag") == "No secondary data: no bug check callback is registered\n"
