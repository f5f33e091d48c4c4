"""What must not go wrong while the target is set going: Ctrl+C, restarts, other processors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdsim.debugger.backends.base import (
    CONTINUE,
    CONTINUE_NOT_HANDLED,
    CommandEvent,
    Reconnected,
    Resume,
)
from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import BREAKPOINT, KERNEL, THREAD, FakeBackend

INNER = "nt!Inner:\nfffff807`11001040 4883ec18        sub     rsp,18h\n"


def press_control_c_at(kd: Kd, monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Ctrl+C arrives within the n-th call of a method of the backend."""
    method, calls = getattr(kd.backend, name), 0

    def pressed(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            assert kd.session.running, "the shell would raise KeyboardInterrupt here"
            kd.session.interrupt()
        return method(*args)

    monkeypatch.setattr(kd.backend, name, pressed)


@pytest.mark.parametrize("call", range(1, 6))
@pytest.mark.parametrize("name", ["set_breakpoint", "clear_breakpoint", "resume", "wait"])
def test_control_c_leaves_no_breakpoint_behind(
    kd: Kd, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    """A breakpoint that goes on by itself is planted and taken out all the time."""
    code = kd.backend.virtual.peek(KERNEL + 0x1000, 0x100)
    kd.run('bp nt!Inner "gc";bp nt!Outer "gc"')
    press_control_c_at(kd, monkeypatch, name, call)
    # A break-in that meets another stop is lost.
    monkeypatch.setattr(kd.backend, "break_in", lambda: None)
    printed = kd.run("g =nt!Loop+6")
    assert "program ended" not in printed
    assert kd.session.halted
    assert kd.backend.virtual.peek(KERNEL + 0x1000, 0x100) == code
    assert kd.backend.planted == {}


def test_control_c_ends_many_steps(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> None:
    kd.poke(KERNEL + 0x1090, bytes.fromhex("ebfe"))
    press_control_c_at(kd, monkeypatch, "resume", 3)
    monkeypatch.setattr(kd.backend, "break_in", lambda: None)
    assert kd.run("t= nt!Loop+10 100000").count("jmp") == 3
    press_control_c_at(kd, monkeypatch, "resume", 3)
    assert kd.run("pt").count("jmp") == 1


def test_control_c_in_a_command_string_ends_it(kd: Kd) -> None:
    kd.run('bp nt!Inner ".while (1) {db nt!Inner}"')

    def late(*_: object) -> None:
        raise KeyboardInterrupt

    kd.session.check_interrupt = late  # type: ignore[method-assign]
    assert kd.run("g") == "^C\n" + INNER
    assert kd.session.halted
    assert not kd.session.running


def test_step_commands_run_once_before_the_last_place_is_shown(kd: Kd) -> None:
    assert kd.run('t 3 "r rip"') == (
        "nt!DbgBreakPointWithStatus+0x1:\nfffff807`11001001 c3              ret\n"
        "nt!Loop+0x6:\nfffff807`11001086 e895ffffff      call    nt!Outer (fffff807`11001020)\n"
        "rip=fffff80711001020\n"
        "nt!Outer:\nfffff807`11001020 4883ec28        sub     rsp,28h\n"
    )


def test_step_commands_belong_to_steps(kd: Kd) -> None:
    kd.run("bp nt!Inner")
    assert "here" not in kd.run('p 9 ".echo here"')


def test_passes_are_not_counted_while_stepping(kd: Kd) -> None:
    kd.run("bp nt!Inner 2;p;p")
    assert kd.run("p").startswith("nt!Loop+0xb:")
    assert "0002 (0002)" in kd.run("bl")
    kd.run("g nt!Loop+c")
    assert kd.run("g") == "the toy program ended\n"


def test_a_breakpoint_where_g_was_to_stop(kd: Kd) -> None:
    kd.run("bp nt!Inner")
    assert kd.run("g nt!Inner") == "Breakpoint 0 hit\n" + INNER


@pytest.mark.parametrize(
    ("option", "stops"),
    [
        pytest.param("/c 5", True, id="less than c"),
        pytest.param("/c 4", False, id="not c itself"),
        pytest.param("/C 3", True, id="more than C"),
        pytest.param("/C 4", False, id="not C itself"),
    ],
)
def test_stack_depth(kd: Kd, option: str, *, stops: bool) -> None:
    """At nt!Inner the stack holds Inner, Outer, Loop and what called it."""
    kd.run(f"bp {option} nt!Inner")
    assert kd.run("g").startswith("Breakpoint 0 hit") == stops


def test_compiled_in_break_of_another_processor_is_passed(kd: Kd) -> None:
    kd.backend.contexts[1].set("rsp", 0)
    kd.run("~1s")
    kd.backend.on_resume = lambda: setattr(kd.backend, "current", 0)
    assert kd.run("g nt!Loop+b").startswith("nt!Loop+0xb:")


def test_the_exception_to_continue_is_that_of_the_stop(
    kd: Kd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of a processor that `~Ns` chose is none: `g` after it is no `gn`."""
    statuses: list[int] = []
    resume = kd.backend.resume

    def spy(how: Resume) -> None:
        statuses.append(how.status)
        resume(how)

    monkeypatch.setattr(kd.backend, "resume", spy)
    kd.run("~1s")
    assert kd.run("? @$exr_code") == "Evaluate expression: 2147483651 = 00000000`80000003\n"
    assert "   ExceptionCode: 80000003 (Break" in kd.run(".exr -1")
    kd.backend.contexts[1].set("rsp", 0)
    kd.backend.on_resume = lambda: setattr(kd.backend, "current", 0)
    kd.run("g nt!Loop+b")
    assert set(statuses) == {CONTINUE}


def test_switching_keeps_what_was_changed(kd: Kd) -> None:
    kd.run("r rbx=1234;~1s;r rbx=5678;~0s")
    assert kd.run("r rbx") == "rbx=0000000000001234\n"
    assert kd.run("1r rbx") == "rbx=0000000000005678\n"


def restart(kd: Kd) -> None:
    kd.backend.events += [Reconnected("the target restarted"), kd.backend.stop_event(BREAKPOINT)]


def test_breakpoints_of_a_restarted_target(kd: Kd) -> None:
    kd.run("bu leaky!Worker;bp nt!Inner;ba w4 nt!PoolHitTag;bp fffff807`11001024")
    kd.session.breakpoints.get(0).address = KERNEL  # type: ignore[union-attr]
    restart(kd)
    kd.run("g")
    assert kd.run("bl") == (
        " 0 eu                      0001 (0001) (leaky!Worker)\n"
        " 1 e fffff807`11001040     0001 (0001) nt!Inner\n"
        " 2 e fffff807`11003000 w 4 0001 (0001) nt!PoolHitTag\n"
        " 3 e fffff807`11001024     0001 (0001) nt!Outer+0x4\n"
    )


def test_a_target_that_asks_nothing_more_is_left_alone(
    backend: FakeBackend, kd: Kd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~1s` to a processor that does not answer ends with Ctrl+C."""

    def silent(_timeout: float | None) -> None:
        kd.session.interrupt()

    monkeypatch.setattr(backend, "switch_processor", lambda _number: None)
    monkeypatch.setattr(backend, "wait", silent)
    assert kd.run("~1s") == "^C\n"
    assert kd.session.processor == 0


def test_resume_carries_the_debug_register(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Resume] = []
    go_on = kd.backend.resume

    def resume(how: Resume) -> None:
        seen.append(how)
        go_on(how)

    monkeypatch.setattr(kd.backend, "resume", resume)
    kd.run("ba w4 nt!PoolHitTag;g")
    assert seen[-1].dr7 == 0xD0402


def test_code_written_at_the_stop_is_what_runs(kd: Kd) -> None:
    """The stop told what lies there; that is not true for ever."""
    assert kd.run("eb . c3;t").startswith("nt!Loop+0x6:")


def test_a_hit_that_goes_on_costs_one_request(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> None:
    kd.poke(KERNEL + 0x1080, bytes.fromhex("e89bffffff" + "e9f6ffffff"))
    asked: list[str] = []
    for name in ("read_virtual", "read_context", "set_breakpoint"):
        method = getattr(kd.backend, name)

        def counted(*args: int, name: str = name, method: Callable[..., object] = method) -> object:
            asked.append(name)
            return method(*args)

        monkeypatch.setattr(kd.backend, name, counted)
    kd.run("bp nt!Outer \"r $t0=@$t0+1; j (@$t0 < 3) 'gc'; ''\"")
    kd.run("g =nt!Loop")
    first = asked.index("set_breakpoint")
    assert asked[first : first + 3] == ["set_breakpoint"] * 3


LOOP_B = "nt!Loop+0xb:\nfffff807`1100108b 90              nop\n"
ON = [
    pytest.param("gc", id="gc"),
    pytest.param("j (@rax == 7) ''; 'gc'", id="condition"),
    pytest.param(".if (0) {} .else {gc}", id="if"),
]


@pytest.mark.parametrize("command", ON)
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("p", LOOP_B, id="p"),
        pytest.param("gu", LOOP_B, id="gu"),
        pytest.param("pc", "nt!Loop+0xc:", id="pc"),
        pytest.param("g nt!Loop+b", LOOP_B, id="g"),
    ],
)
def test_gc_goes_on_as_the_breakpoint_was_reached(
    kd: Kd, line: str, shown: str, command: str
) -> None:
    kd.run("g nt!Outer" if line == "gu" else "g nt!Loop+6")
    kd.run(f'bp nt!Inner "{command}";bp nt!Inner+4 "gc"')
    assert kd.run(line).startswith(shown)


def test_gc_in_the_middle_of_a_count(kd: Kd) -> None:
    kd.run('g nt!Loop+6;bp nt!Inner "gc"')
    assert kd.run("p 3").count("nt!Loop") == 3


def test_g_in_a_command_string_goes_freely(kd: Kd) -> None:
    kd.run('g nt!Loop+6;bp nt!Inner "g"')
    assert kd.run("p") == "the toy program ended\n"


def test_break_addresses_outlive_a_breakpoint_that_goes_on(kd: Kd) -> None:
    kd.run('bp nt!Inner ".echo hit;g"')
    assert kd.run("g nt!Loop+b") == "hit\n" + LOOP_B
    kd.run('bs 0 "g nt!Inner+4"')
    assert kd.run("g nt!Loop+c nt!Inner").startswith("nt!Loop+0xc:")
    assert kd.run("g nt!Loop+c").startswith("nt!Inner+0x4:")
    kd.run("bc *")
    assert kd.run("g") == "the toy program ended\n"


def test_only_breakpoints_that_are_due_run_their_commands(kd: Kd) -> None:
    kd.run('bp /t 1234 nt!Inner ".echo other thread"')
    kd.run('bp /t @$thread nt!Inner ".echo this thread"')
    assert kd.run("g") == "this thread\n" + INNER


def test_a_status_is_for_one_stop(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> None:
    """gN, and then gc from a breakpoint, which is no exception."""
    statuses: list[int] = []
    go_on = kd.backend.resume

    def resume(how: Resume) -> None:
        statuses.append(how.status)
        go_on(how)

    monkeypatch.setattr(kd.backend, "resume", resume)
    kd.run('bp nt!Inner "gc";gN')
    assert statuses[0] == CONTINUE_NOT_HANDLED
    assert set(statuses[1:]) == {CONTINUE}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("q;.echo never", id="on a line"),
        pytest.param('bp nt!Inner "q;.echo never";g;.echo never', id="in a command string"),
        pytest.param('bp nt!Inner ".if (1) {q}";g;.echo never', id="in a block"),
        pytest.param(".catch {qq};.echo never", id="in a catch"),
        pytest.param(".foreach (x {.echo 1 2}) {q}", id="in a loop"),
    ],
)
def test_nothing_runs_after_q(kd: Kd, line: str) -> None:
    assert kd.run(line) == ""
    assert kd.session.ended
    assert kd.backend.closed


@pytest.mark.parametrize(
    ("command", "printed", "log"),
    [
        pytest.param("? 1+1", "Evaluate expression: 2 = 00000000`00000002\n", ["go"], id="goes on"),
        pytest.param(".echo one;g;.echo two", "one\n", ["go"], id="goes on by itself"),
        pytest.param("t", "", ["trace"], id="steps"),
        pytest.param("nosuch", "Unknown command 'nosuch'\n", ["go"], id="mistake"),
        *(
            pytest.param(f"{line}; .echo no", f"'{name}' is refused to a target", ["go"], id=name)
            for name, line in {
                ".shell": ".shell touch x",
                ".writemem": ".writemem x nt L1",
                ".logopen": ".logopen x",
                ".sympath": ".sympath srv*https://example.invalid",
                "t": 't ".shell touch x"',
                "bp": 'bp nt!Inner ".shell touch x"',
                "aS": "aS k .shell touch x",
                "as": "as k .shell touch x",
                "$<": "$<x",
            }.items()
        ),
        pytest.param(".block { .catch { .shell x } }", "'.shell' is refused", ["go"], id="inside"),
    ],
)
def test_the_target_asks_for_a_command(kd: Kd, command: str, printed: str, log: list[str]) -> None:
    kd.run("bp nt!Inner")
    pc = kd.session.live_ip
    kd.backend.events.append(CommandEvent(0, 2, THREAD, pc, "leaky", command))
    kd.backend.log.clear()
    text = kd.run("g")
    assert text.startswith(f"Target command '{command}'\n{printed}")
    assert [word for word in kd.backend.log if word in ("go", "trace")] == ["go", *log]
    assert kd.session.halted
