"""How long a wait looks before it sleeps."""

import pytest

from kdsim.wire import eagerness
from kdsim.wire.eagerness import LONGEST_REST, LOOKING, SHORTEST_REST, Eagerness

COMES, NEVER, LATE = "comes", "never", "late"


class Line:
    """A link in simulated time on which the answer comes, does not, or comes while we are kept
    from the processor."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.answer = COMES
        self.slept = 0
        monkeypatch.setattr(eagerness, "perf_counter", lambda: self.now)
        monkeypatch.setattr(eagerness.os, "sched_yield", self.others)

    def others(self):
        self.now += 10 * LOOKING if self.answer is LATE else LOOKING / 10

    def wait(self, timeout):
        if timeout:
            self.slept += 1
            return self.answer is COMES
        looked, self.now = self.now > 0, self.now + LOOKING / 100
        return looked and self.answer is not NEVER


@pytest.fixture
def line(monkeypatch):
    return Line(monkeypatch)


def sleeps(line, eager, waits):
    before = line.slept
    for _ in range(waits):
        eager.wait(line, 1.0)
    return line.slept - before


def test_an_answer_that_comes_soon_is_not_slept_for(line):
    assert sleeps(line, Eagerness(), 100) == 0


@pytest.mark.parametrize("why", [NEVER, LATE])
def test_after_a_look_in_vain_the_next_waits_sleep(line, why):
    eager = Eagerness()
    line.answer = why
    assert sleeps(line, eager, 1) == 1
    line.answer = COMES
    assert sleeps(line, eager, SHORTEST_REST) == SHORTEST_REST
    assert sleeps(line, eager, 100) == 0


def test_each_time_twice_as_many_to_a_limit(line):
    eager, rests = Eagerness(), []
    for _ in range(10):
        line.answer = NEVER
        sleeps(line, eager, 1)
        line.answer = COMES
        rest = 0
        while sleeps(line, eager, 1):
            rest += 1
        rests.append(rest)
    assert rests == sorted(rests)
    assert rests[1] > rests[0] == SHORTEST_REST
    assert rests[-1] <= LONGEST_REST
    assert rests[-1] > LONGEST_REST / 2


def test_waiting_for_ever_looks_once(line):
    line.answer = NEVER
    eager = Eagerness()
    eager.wait(line, None)
    assert line.now < 2 * LOOKING
