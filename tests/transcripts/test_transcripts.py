"""Every transcript file, run again and compared to the letter.

`pytest tests/transcripts --update-transcripts` writes what the program prints now into the files;
read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcripts.transcript import Transcript

FILES = sorted(Path(__file__).parent.glob("*.kdt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    transcript = Transcript.read(path)
    text = transcript.run(tmp_path)
    if pytestconfig.getoption("--update-transcripts"):
        transcript.write(text)
    else:
        assert text.splitlines() == transcript.body.splitlines()


def test_there_are_transcripts() -> None:
    assert FILES
