"""An unreliable network between two endpoints, in memory and in simulated time."""

import heapq
import random
from itertools import count

from kdsim.wire.endpoint import Endpoint, Packet

HOST, TARGET = 0, 1


class Faults:
    """What happens to one piece on its way; all chances are per piece."""

    def __init__(self, seed=0, *, loss=0.0, repeat=0.0, delay=0.0, damage=0.0):
        self.random = random.Random(seed)
        self.loss, self.repeat, self.delay, self.damage = loss, repeat, delay, damage

    def deliveries(self, data: bytes):
        """(lateness, bytes) for each copy that arrives."""
        for _ in range(2 if self.random.random() < self.repeat else 1):
            if self.random.random() < self.loss:
                continue
            lateness = 0.001
            if self.random.random() < self.delay:
                lateness += self.random.uniform(0, 0.3)
            piece = bytearray(data)
            if self.random.random() < self.damage:
                # A checksum covers the payload only: a stream cannot notice a changed packet id.
                place = self.random.choice([0, 1, 2, 3, *range(16, len(piece))])
                piece[place] ^= 1 << self.random.randrange(8)
            yield lateness, bytes(piece)


class Noise:
    """What happens to the bytes of a stream; the chances are per byte."""

    def __init__(self, seed=0, *, loss=0.0, repeat=0.0, damage=0.0):
        self.random = random.Random(seed)
        self.loss, self.repeat, self.damage = loss, repeat, damage

    def pass_on(self, data: bytes) -> bytes:
        passed = bytearray()
        for byte in data:
            if self.random.random() < self.loss:
                continue
            if self.random.random() < self.damage:
                byte ^= 1 << self.random.randrange(8)
            passed += bytes([byte] * (2 if self.random.random() < self.repeat else 1))
        return bytes(passed)


class Network:
    """Runs both endpoints until nothing happens or a condition holds; keeps what each received."""

    def __init__(self, host: Endpoint, target: Endpoint, faults: Faults | None = None):
        self.ends = (host, target)
        self.faults = faults or Faults()
        self.now = 0.0
        self.events = ([], [])
        self.sent = ([], [])
        self.on_event = (lambda event: None, lambda event: None)
        self._arrivals = []
        self._order = count()

    def packets(self, side: int) -> list[bytes]:
        return [event.payload for event in self.events[side] if isinstance(event, Packet)]

    def run(self, until=lambda: False, limit=60.0) -> bool:
        """Whether `until` came true within `limit` simulated seconds."""
        end = self.now + limit
        while True:
            self._collect()
            if until():
                return True
            due = [e.deadline for e in self.ends if e.deadline is not None]
            due += [self._arrivals[0][0]] if self._arrivals else []
            if not due or min(due) > end:
                return False
            self.now = max(self.now, min(due))
            self._deliver()
            for side, endpoint in enumerate(self.ends):
                if endpoint.deadline is not None and endpoint.deadline <= self.now:
                    self._note(side, endpoint.tick(self.now))

    def _collect(self):
        for side, endpoint in enumerate(self.ends):
            for data in endpoint.outgoing():
                self.sent[side].append(data)
                for lateness, piece in self.faults.deliveries(data):
                    item = (self.now + lateness, next(self._order), 1 - side, piece)
                    heapq.heappush(self._arrivals, item)

    def _deliver(self):
        while self._arrivals and self._arrivals[0][0] <= self.now:
            _, _, side, data = heapq.heappop(self._arrivals)
            source = ("127.0.0.1", 1000 + side)
            self._note(side, self.ends[side].receive(data, self.now, source))
            self._collect()

    def _note(self, side, events):
        for event in events:
            self.events[side].append(event)
            self.on_event[side](event)
