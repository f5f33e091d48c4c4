"""What a wire carried and what it dropped: counts, and news of the first drop of each kind."""

from __future__ import annotations

from collections import Counter
from enum import Enum


class Drop(Enum):
    """Why a datagram, or a packet of a stream, was dropped."""

    MALFORMED = "too short, too long or cut off"
    FOREIGN = "sealed with another key, forged or damaged"
    REFLECTED = "one of our own kind"
    REPLAYED = "not newer than what came before"
    STRAY = "of no session that goes on: of an earlier one, forged or damaged"
    DAMAGED = "a packet with a wrong checksum or frame"


class Tally:
    """Of one end of a wire.

    Attributes:
        received: datagrams, or packets of a stream, that came.
        sent: the same, that went.
        repeated: packets that came although we had them.
        dropped: what changed nothing, by what was wrong with it.
    """

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.repeated = 0
        self.dropped: Counter[Drop] = Counter()
        self._told: set[Drop] = set()
        self._news: list[Drop] = []

    def drop(self, why: Drop) -> None:
        self.dropped[why] += 1
        # Strays come whenever one end starts again before the other knows of it.
        if why not in self._told and why is not Drop.STRAY:
            self._told.add(why)
            self._news.append(why)

    def news(self) -> list[Drop]:
        """Kinds that were dropped for the first time in this session, handed out once."""
        news, self._news = self._news, []
        return news

    def new_session(self) -> None:
        """From now on every kind is news again."""
        self._told.clear()
