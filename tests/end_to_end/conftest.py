from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.processes import Computer


@pytest.fixture
def computer(tmp_path: Path) -> Iterator[Computer]:
    found = Computer(tmp_path)
    yield found
    found.clean_up()
