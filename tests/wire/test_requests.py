"""Reading in pieces that the target chooses."""

import pytest

from kdsim.wire.manipulate import Api, MemoryArguments, Status
from kdsim.wire.requests import Requests

MEMORY = bytes(range(251)) * 70
PAGE = 0x1000
END = len(MEMORY)


class Clipping:
    """Answers with at most `limit` bytes; past `end` there is nothing."""

    def __init__(self, limit, end=END, says=Status.SUCCESS):
        self.limit, self.end, self.says = limit, end, says
        self.asked = []

    def __call__(self, message):
        address, size, _ = message.arguments(MemoryArguments)
        self.asked.append((address, size))
        data = MEMORY[address : min(address + min(size, self.limit), self.end)]
        status = Status.SUCCESS if len(data) == min(size, self.limit) else self.says
        return message.reply(status, MemoryArguments(address, size, len(data)), data)


@pytest.mark.parametrize("limit", [128, 1360, 4000])
def test_what_a_target_sends_at_a_time_is_asked_for_from_then_on(limit):
    target = Clipping(limit)
    requests = Requests(target, 2048, 2048)
    assert requests.read(Api.READ_VIRTUAL, 3, 9000) == MEMORY[3:9003]
    usual = min(limit, 2048)
    assert {size for _, size in target.asked[1:-1]} == {usual}
    target.asked.clear()
    assert requests.read(Api.READ_VIRTUAL, 5, usual) == MEMORY[5 : 5 + usual]
    assert len(target.asked) == 1


@pytest.mark.parametrize("says", [Status.SUCCESS, Status.UNSUCCESSFUL])
def test_a_read_that_ends_at_a_page_says_nothing_of_the_size(says):
    target = Clipping(4000, end=2 * PAGE, says=says)
    requests = Requests(target, 2048, 2048)
    assert requests.read(Api.READ_VIRTUAL, 2 * PAGE - 5, 100) == MEMORY[2 * PAGE - 5 : 2 * PAGE]
    assert requests.read(Api.READ_VIRTUAL, 0, 2048) == MEMORY[:2048]
    assert target.asked[-1] == (0, 2048)
