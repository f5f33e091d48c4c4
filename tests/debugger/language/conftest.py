"""Fixtures: the debuggee and the host of `language_fakes`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kdsim.debugger.language.interpreter import Interpreter
from tests.debugger.language.language_fakes import FakeContext, FakeHost


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


@pytest.fixture
def host(context: FakeContext) -> FakeHost:
    return FakeHost(context)


@pytest.fixture
def interpreter(host: FakeHost) -> Interpreter:
    return Interpreter(host)


@pytest.fixture(autouse=True, scope="session")
def _tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Parser tables of the tests go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
