"""The leak hunt, word for word, however it is given to the debugger."""

from __future__ import annotations

import re

import pytest

from tests.end_to_end.processes import Computer

HUNT = """\
.symfix
.reload
lm
!poolused 2
ed nt!poolhittag ' cbA'
g
kb
ed nt!poolhittag 0
!verifier 0x3
g
!analyze -v
q
"""


def from_commands(computer: Computer) -> str:
    done = computer.kd("-c", HUNT.strip().replace("\n", "; "))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def from_command_file(computer: Computer) -> str:
    script = computer.folder / "hunt.kd"
    script.write_text(HUNT, encoding="utf-8")
    done = computer.kd("-cf", str(script))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def from_script(computer: Computer) -> str:
    script = computer.folder / "hunt.kd"
    script.write_text(HUNT, encoding="utf-8")
    done = computer.kd("-c", f"$$><{script}")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def from_pipe(computer: Computer) -> str:
    done = computer.kd(typed=HUNT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {}


@pytest.mark.parametrize("way", [from_commands, from_command_file, from_script, from_pipe])
def test_the_leak_is_found(computer: Computer, way, texts: dict[str, str]) -> None:
    text = way(computer)
    _check_stop_in_allocator(text)
    _check_verifier(text)
    _check_analysis(text)
    texts[way.__name__] = _answers(text)
    assert len(set(texts.values())) == 1, "every way gets the same answers"


def _answers(text: str) -> str:
    """Without the banner, the typed lines, and `.reload`'s line with the time of day."""
    lines = text[text.index("Break instruction") :].splitlines()
    quiet = [line for line in lines if "kd> " not in line and not line.startswith("Connected to")]
    return "\n".join(line for line in quiet if line)


def _check_stop_in_allocator(text: str) -> None:
    stop = text.index("Break instruction exception - code 80000003 (first chance)\nnt!Ex")
    stack = re.findall(r"^[0-9a-f]{2} .* : (\w+)!(\w+)", text[stop:], re.MULTILINE)
    modules = [module for module, _ in stack]
    assert modules[0] == "nt"
    assert modules.count("leaky") >= 3
    assert modules == ["nt"] * modules.index("leaky") + ["leaky"] * modules.count("leaky") + [
        "nt"
    ] * (len(modules) - modules.index("leaky") - modules.count("leaky"))
    assert stack[-1] == ("nt", "KiStartSystemThread")


def _check_verifier(text: str) -> None:
    part = text[text.index("Driver Verification List") :]
    assert re.search(r"MODULE: 0x[0-9a-f]{16} leaky\.sys \(Loaded\)", part)
    rows = re.findall(
        r"^ +0x[0-9a-f]{16}  0x[0-9a-f]{8}  .{4}  0x[0-9a-f]{16}  leaky!\w+\+0x[0-9a-f]+$",
        part,
        re.MULTILINE,
    )
    counts = re.search(r"Current Pool Allocations: \( 0x(\w+) / 0x(\w+) \)", part)
    assert counts is not None
    assert len(rows) == int(counts[1], 16) + int(counts[2], 16) > 0


def _check_analysis(text: str) -> None:
    assert text.count("*** Fatal System Error: 0x000000c4") == 1
    banner = text.index("A fatal system error has occurred.")
    assert "Probably caused by : leaky.sys" in text[banner:]
    analysis = text[text.index("DRIVER_VERIFIER_DETECTED_VIOLATION (c4)") :]
    assert "Arg1: 0000000000000062, A driver has forgotten to free its pool" in analysis
    for line in ("IMAGE_NAME:  leaky.sys", "MODULE_NAME:  leaky", "PROCESS_NAME:  System"):
        assert f"\n{line}\n" in analysis
    assert ": nt!KeBugCheckEx+0x" in analysis
