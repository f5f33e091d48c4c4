"""The two connections on one unreliable line, in simulated time.

Both block, so each lives in a thread of its own; but only one of them runs at a time, and nothing
depends on the host's clock: a seed says everything that happens.
"""

import heapq
import random
import threading
from collections import deque
from contextlib import contextmanager, suppress
from itertools import count

from kdsim.wire.host_connection import HostConnection
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.links import Data, LinkUp
from kdsim.wire.target_connection import TargetConnection
from tests.wire.network import HOST, TARGET, Faults

KEY = "1.2.3.4"
ADDRESS = ("10.0.0.1", 50000)
NEVER = float("inf")
LIMIT = 3000.0


class Over(Exception):
    """The line was taken down while somebody waited at it."""


class Stalls:
    """What keeps one end, or both, from the processor now and then; `late` the debugger at first.

    Args:
        chance: that it happens at one look at the link.
        lengths: seconds, at most.
    """

    def __init__(self, seed, chance, lengths, sides=(HOST, TARGET), late=0.0):
        self._random = random.Random(seed)
        self._chance, self._lengths, self._sides = chance, lengths, sides
        self.late = late

    def length(self, side):
        if side not in self._sides or self._random.random() >= self._chance:
            return 0.0
        return self._random.choice(self._lengths) * self._random.random()


NO_STALLS = Stalls(0, 0.0, ())


class Line:
    """A debugger's connection `host` and a target's.

    Attributes:
        now: simulated seconds.
        lost: told the side and the bytes of each piece that is sent; whether it never arrives.
    """

    def __init__(self, kind, faults=None, stalls=NO_STALLS):
        self.now, self.faults = 0.0, faults or Faults()
        self.stalls = stalls
        self.lost = lambda side, data: False
        self._stream = kind != "net"
        self._arrivals, self._order = [], count()
        self.over = False
        self.host_end, self.target_end = _End(self, HOST), _End(self, TARGET)
        self._ends = (self.host_end, self.target_end)
        if kind == "net":
            ends = KdnetHost(KEY, random=bytes), KdnetTarget(KEY, ADDRESS, random=bytes)
        else:
            ends = KdcomHost(), KdcomTarget()
            for end in self._ends:
                end.inbox.append(LinkUp())
        self.host = HostConnection(ends[0], self.host_end, self._clock)
        self.target = TargetConnection(ends[1], self.target_end, self._clock)

    def _clock(self):
        return self.now

    @contextmanager
    def served_by(self, serve):
        """Have `serve` run in the target's thread."""
        self._start(serve)
        try:
            if self.stalls.late:
                self.host_end.stall(self.stalls.late)
            yield
        finally:
            self._stop()

    def _start(self, serve):
        def run():
            self.target_end.turn.acquire()
            with suppress(Over):
                serve()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def _stop(self):
        self.over = True
        self.target_end.turn.release()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def send(self, side, data):
        if self.lost(side, data):
            return
        for lateness, piece in self.faults.deliveries(data):
            item = (self.now + lateness, next(self._order), 1 - side, piece)
            heapq.heappush(self._arrivals, item)

    def sleep(self, end):
        """Let time pass until something wakes `end`; others run meanwhile."""
        if self.now > LIMIT and end is self.host_end:
            raise AssertionError("it takes for ever")
        awake = self._next()
        if awake is not end:
            awake.turn.release()
            end.turn.acquire()
        if self.over:
            raise Over

    def _next(self):
        """The end that runs next, at the time it does."""
        while True:
            waiting = min(self._ends, key=lambda end: end.wakes)
            if not self._arrivals or waiting.wakes <= self._arrivals[0][0]:
                assert waiting.wakes < NEVER, "both wait for ever"
                self.now = max(self.now, waiting.wakes)
                return waiting
            # What arrives at the same moment is there in one piece.
            self.now = self._arrivals[0][0]
            while self._arrivals and self._arrivals[0][0] <= self.now:
                _, _, side, data = heapq.heappop(self._arrivals)
                end = self._ends[side]
                last = end.inbox[-1] if self._stream and end.inbox else None
                if isinstance(last, Data):
                    data = end.inbox.pop().data + data
                end.inbox.append(Data(data, ADDRESS))
                if end.wakes > self.now:
                    end.wakes = max(self.now, end.stalled)


class _End:
    """A `Link`."""

    reconnects = False

    def __init__(self, line, side):
        self.description = "the line"
        self.inbox = deque()
        self.wakes = 0.0 if side == TARGET else NEVER
        self.stalled = 0.0
        self.turn = threading.Semaphore(0)
        self._line, self._side = line, side

    def stall(self, length):
        """Do nothing for so long, whatever comes."""
        if length and not self._line.over:
            self.stalled = self.wakes = self._line.now + length
            self._line.sleep(self)
            self.wakes = NEVER

    def wait(self, timeout):
        if timeout == 0:
            return bool(self.inbox)
        self._perhaps_stall()
        if not self.inbox:
            self.wakes = NEVER if timeout is None else self._line.now + timeout
            self._line.sleep(self)
        self.wakes = NEVER
        self._perhaps_stall()
        return bool(self.inbox)

    def _perhaps_stall(self):
        self.stall(self._line.stalls.length(self._side))

    def watch(self, fd):
        raise AssertionError

    def receive(self):
        self._perhaps_stall()
        return [self.inbox.popleft()] if self.inbox else []

    def send(self, pieces, to=None):
        for data in pieces:
            self._line.send(self._side, data)

    def close(self):
        return
