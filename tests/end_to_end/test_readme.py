"""What the README shows is what one sees."""

import re
from pathlib import Path

from tests.end_to_end.processes import Computer

README = Path(__file__).parents[2] / "README.md"
COMMAND = re.compile(r"\d: kd> (.*)")


def session(heading: str) -> list[str]:
    """The lines of the block under a heading."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    return section.split("\n```\n")[1].splitlines()


def words(line: str) -> str:
    """The README's columns are narrower."""
    return " ".join(line.split())


def test_the_leak_hunt(computer: Computer, tmp_path: Path) -> None:
    """`...` stands for lines left out, and within a line for columns."""
    shown = session("A leak hunt")
    script = tmp_path / "hunt.kd"
    script.write_text("\n".join(m[1] for m in map(COMMAND.fullmatch, shown) if m) + "\n")
    printed = map(words, computer.kd("-cf", str(script)).stdout.splitlines())
    for line in shown:
        if line != "...":
            pattern = ".*".join(map(re.escape, words(line).split("...")))
            assert any(re.fullmatch(pattern, other) for other in printed), line
