"""The interactive prompt as a user meets it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shell.screen import Screen, environment

Open = Callable[..., Screen]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Open]:
    opened: list[Screen] = []

    def make(*arguments: str, shell: str = "", **changes: str | int) -> Screen:
        size = {name: changes.pop(name) for name in ("columns", "rows") if name in changes}
        screen = Screen(
            *arguments, environment=environment(tmp_path, **changes), shell=shell, **size
        )
        opened.append(screen)
        screen.wait_for(lambda: screen.at_prompt, "a prompt")
        return screen

    yield make
    for screen in opened:
        screen.close()


def test_a_first_look(terminal: Open) -> None:
    screen = terminal()
    assert screen.lines[0].startswith("Connected to Windows 10 19041 x64 target at")
    assert screen.lines[-1] == "0: kd>"
    screen.type("? 1+2")
    assert screen.lines[-2] == "Evaluate expression: 3 = 00000000`00000003"
    screen.type('.printf "no newline"')
    assert screen.lines[-2:] == ["no newline", "0: kd>"]
    screen.press("q\r")
    assert screen.end() == 0


def test_keys(terminal: Open) -> None:
    screen = terminal()
    screen.press("!poolu\t")
    screen.wait_for(lambda: screen.last == "0: kd> !poolused", "a completed command")
    screen.press("\x03")
    screen.wait_for(lambda: screen.last == "0: kd>", "an empty line after Ctrl+C")
    screen.press("x nt!PsActivePr\t")
    screen.wait_for(lambda: screen.last == "0: kd> x nt!PsActiveProcessHead", "a symbol")
    screen.press("\x15dt nt!_EPROCES\t")
    screen.wait_for(lambda: screen.last == "0: kd> dt nt!_EPROCESS", "a type")
    screen.press("\x15u KiStartSystemT\t")
    screen.wait_for(lambda: screen.last == "0: kd> u KiStartSystemThread", "a bare symbol")
    screen.press("\x15lm m tid\t")
    screen.wait_for(lambda: screen.last == "0: kd> lm m tidy", "a module")
    screen.press("\x15r @eflag\t\x15")
    screen.type(".echo again")
    screen.type("")
    assert screen.lines[-4:] == ["again", "0: kd>", "again", "0: kd>"]
    screen.press("\x1b[A")
    screen.wait_for(lambda: screen.last == "0: kd> .echo again", "the line before")
    screen.press("\x15\x04")
    assert screen.end() == 0


def test_escape(terminal: Open) -> None:
    screen = terminal()
    screen.press("dt nt!_EPROCESS Act\t")
    screen.until("ActiveProcessLinks")
    screen.press("\x1b")
    screen.wait_for(lambda: "ActiveThreads" not in "\n".join(screen.lines), "no menu")
    assert screen.last == "0: kd> dt nt!_EPROCESS Active"
    screen.press("\x1b")
    screen.wait_for(lambda: screen.last == "0: kd>", "an empty line")


def test_history_outlives_the_session(terminal: Open) -> None:
    first = terminal()
    first.type(".echo remember me")
    first.press("\x04")
    first.end()
    second = terminal()
    second.press("\x1b[A")
    second.wait_for(lambda: second.last == "0: kd> .echo remember me", "the old line")


def test_control_c_breaks_into_the_machine(terminal: Open) -> None:
    screen = terminal()
    screen.press("g\r")
    screen.until("ModLoad: ")
    screen.press("typed too early")
    screen.press("\x03")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    text = "\n".join(screen.lines)
    assert 'press the "g" key' in text
    assert "nt!DbgBreakPointWithStatus:\n" in text
    assert "^C" not in text
    assert screen.lines[-1].endswith(": kd>")
    screen.press("q\r")
    assert screen.end() == 0


def test_control_c_ends_a_listing(terminal: Open) -> None:
    screen = terminal()
    screen.press(".while (1) { x nt!* }\r")
    screen.until("nt!Ex")
    screen.press("\x03")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    assert "^C" in screen.lines[-2]
    screen.type("? 5")
    assert screen.lines[-2].startswith("Evaluate expression: 5")


def test_control_z_goes_to_the_shell(terminal: Open) -> None:
    screen = terminal(shell="set -m; kdsim; echo in between; fg")
    screen.press(".echo he\x1a")
    screen.until("in between")
    screen.wait_for(lambda: screen.last == "0: kd> .echo he", "the line as it was")
    screen.press("re\r")
    screen.wait_for(lambda: screen.lines[-2:] == ["here", "0: kd>"], "an answer")
    screen.press("q\r")
    assert screen.end() == 0


def test_a_pasted_script(terminal: Open) -> None:
    screen = terminal()
    screen.press("\x1b[200~.echo one\n.echo two\n\x1b[201~")
    screen.press("\r")
    screen.until("two")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    assert screen.lines[-3:] == ["one", "two", screen.lines[-1]]


def test_colours(terminal: Open) -> None:
    screen = terminal()
    screen.type("x nt!PsActiveProcessHead")
    assert screen.colours_of("nt!PsActiveProcessHead") != {"default"}


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colours(terminal: Open, changes: dict[str, str]) -> None:
    screen = terminal(**changes)
    screen.press("x nt!PsActiveProcessHead\r")
    screen.until("struct _LIST_ENTRY")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    assert screen.colours_of("struct _LIST_ENTRY") == {"default"}


def test_narrow(terminal: Open) -> None:
    screen = terminal(columns=30)
    screen.type("? 1+2")
    assert "Evaluate expression: 3 = 00000" in screen.lines
    screen.press(".echo " + "long " * 20 + "\r")
    screen.until("long long long long long long")


def test_target_text_cannot_steer_the_terminal(terminal: Open) -> None:
    screen = terminal()
    screen.type("eb nt!PoolHitTag 1b 5b 33 00")
    screen.type('.printf "[%ma]\\n", nt!PoolHitTag')
    assert screen.lines[-2] == "[.[3]"


def test_the_machine_dies(terminal: Open) -> None:
    from tests.end_to_end.processes import children

    screen = terminal()
    (machine,) = children(screen.pid)
    os.kill(machine, 9)
    screen.press("db nt L1\r")
    screen.until("the lab machine has ended: killed by signal 9")
    assert screen.end() == 3


def test_memory_is_entered_interactively(terminal: Open) -> None:
    screen = terminal()
    screen.press("eb nt!PoolHitTag\r")
    screen.wait_for(lambda: screen.last == "Input>", "the first byte")
    screen.press("41\r")
    screen.wait_for(lambda: screen.last == "Input>", "the second byte")
    screen.press("\r")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    screen.type("db nt!PoolHitTag L1")
    assert "  41  " in screen.lines[-2]


@pytest.mark.parametrize(
    ("shell", "changes"),
    [
        pytest.param("kdsim", {"TERM": "dumb"}, id="dumb"),
        pytest.param("kdsim | (trap '' INT; cat)", {}, id="output-elsewhere"),
    ],
)
def test_lines_that_the_terminal_edits(terminal: Open, shell: str, changes: dict[str, str]) -> None:
    screen = terminal(shell=shell, **changes)
    screen.press(".exho\x7f\x7f\x7fcho 한글\r")
    screen.wait_for(lambda: screen.lines[-3:] == ["0: kd> .echo 한글", "한글", "0: kd>"], "a line")
    screen.press("\r")
    screen.wait_for(lambda: screen.lines[-2:] == ["한글", "0: kd>"] and screen.last, "it again")
    screen.press(".while (1) { .echo on and on }\r")
    screen.until("on and on")
    screen.press("\x03")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    prompts = screen.raw.count(b"kd> ")
    screen.press(".echo never\x03")
    screen.wait_for(lambda: screen.raw.count(b"kd> ") > prompts, "another prompt")
    screen.press("\x04")
    assert screen.end() == 0
    assert b"\x1b" not in screen.raw
    assert "never" not in screen.lines


def test_a_menu_and_the_bottom_lines(terminal: Open) -> None:
    screen = terminal(columns=80, rows=24)
    screen.wait_for(lambda: len(screen.bottom) == 2, "the bottom lines")
    hint, status = screen.bottom
    assert hint.startswith(" Tab completes")
    assert status == " net:loopback | 19041 x64 | cpu 0/2 | IRQL 0 | System 4 | broken in"
    screen.press("dt nt!_EPROCESS Act\t")
    screen.until("ActiveThreadsHighWatermark")
    menu = [" ".join(line.split()) for line in screen.lines[-3:]]
    assert menu == [
        "ActiveProcessLinks +0x448 _LIST_ENTRY",
        "ActiveThreads +0x5f0 Uint4B",
        "ActiveThreadsHighWatermark +0x858 Uint4B",
    ]
    assert screen.bottom[0].startswith(" dt [options] <type> [fields] [address]")
    screen.press("\t\t")
    screen.wait_for(lambda: screen.last.endswith("ActiveThreads"), "the second word")


def test_the_bottom_line_follows_the_user(terminal: Open) -> None:
    screen = terminal()
    screen.type("~1s")
    screen.wait_for(lambda: "cpu 1/2" in "".join(screen.bottom), "the other processor")


def test_a_running_target_says_so(terminal: Open) -> None:
    screen = terminal()
    screen.press("g\r")
    screen.wait_for(lambda: "net:loopback runs - Ctrl+C breaks in" in screen.last, "that it runs")
    screen.press("\x03")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    assert not any("Ctrl+C breaks in" in line for line in screen.lines)


def test_progress_of_long_work(terminal: Open) -> None:
    """It comes, Ctrl+C ends the work, and the line is gone."""
    screen = terminal()
    screen.press(".while (1) { c nt L?10000 nt }\r")
    screen.wait_for(lambda: screen.last == "Working - Ctrl+C stops", "progress")
    screen.press("\x03")
    screen.wait_for(lambda: screen.at_prompt, "a prompt")
    assert "Working" not in "\n".join(screen.lines)
    assert screen.lines[-2] == "^C"


def test_narrow_and_low(terminal: Open) -> None:
    screen = terminal(columns=24, rows=8)
    screen.wait_for(lambda: len(screen.bottom) == 1, "one line at the bottom")
    assert screen.bottom == [" System 4 | broken in"]
    screen.type("? 1")
    assert "000`00000001" in "".join(screen.lines)


def test_korean(terminal: Open, tmp_path: Path) -> None:
    script = tmp_path / "사냥.kd"
    script.write_text(".echo 메모리 누수\n", encoding="utf-8")
    screen = terminal()
    screen.type(".echo 한글")
    assert screen.lines[-2] == "한글"
    screen.press(f"$$><{tmp_path}/사\t")
    screen.wait_for(lambda: "사냥.kd" in screen.lines[-1], "a file name")
    screen.type("")
    assert screen.lines[-2] == "메모리 누수"
    screen.type('ezu nt!PoolHitTag "한글"')
    screen.type("du nt!PoolHitTag")
    assert '"한글"' in screen.lines[-2]
    screen.press("\x1b[A\x1b[A\x1b[A\x1b[A")
    screen.wait_for(lambda: screen.lines[-1].endswith(".echo 한글"), "the first line again")
    screen.press("\x7f국\r")
    screen.wait_for(lambda: screen.lines[-2] == "한국", "an edited line")


@pytest.mark.parametrize("changes", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}])
def test_terminals_of_other_encodings(terminal: Open, changes: dict[str, str]) -> None:
    screen = terminal(**changes)
    screen.type('.printf "%c%c\\n", d55c, 41')
    assert screen.lines[-2].endswith("A")


def test_styles(terminal: Open) -> None:
    screen = terminal(KDSIM_STYLE="none")
    screen.type("x nt!PsActiveProcessHead")
    assert screen.colours_of("nt!PsActiveProcessHead") == {"default"}
    screen.type(".style colour-blind")
    screen.type("x nt!PoolHitTag")
    assert screen.colours_of("nt!PoolHitTag") != {"default"}
    screen.type(".style rainbow")
    assert screen.lines[-2].startswith("no style 'rainbow': dark, light, colour-blind,")
    screen.type(".style")
    assert screen.lines[-2] == "Style is colour-blind"


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"KDSIM_STYLE": "none"}])
def test_no_colour_while_a_line_is_typed(terminal: Open, changes: dict[str, str]) -> None:
    """What history suggests, and what a menu says of its words, is marked in another way."""
    screen = terminal(**changes)
    screen.type(".echo dt nt!_EPROCESS")
    screen.press(".ec")
    screen.wait_for(lambda: screen.last == "0: kd> .echo dt nt!_EPROCESS", "a suggestion")
    screen.press("\x15dt nt!_EPROCESS Act\t")
    screen.until("ActiveThreadsHighWatermark")
    assert b"\x1b[0;3mho dt nt!_EPROCESS" in screen.raw
    assert b";5;" not in screen.raw


def test_a_style_that_is_none(terminal: Open) -> None:
    """One line, and the debugger starts all the same."""
    screen = terminal(KDSIM_STYLE="rainbow")
    assert screen.lines[0].startswith("kdsim: KDSIM_STYLE: no style 'rainbow'")
