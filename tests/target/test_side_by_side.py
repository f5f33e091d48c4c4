"""Two debuggers, one stopped target: where ntoseye and our kd both know a fact, it is the same.

ntoseye holds the target over KDCOM and is asked through its Python SDK. Our kd looks at the same
machine locally, through its own symbols and its own way to memory. Four processors.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.labs import lasting_lab
from tests.target import ntoseye_client
from tests.target.process import TargetProcess

ntoseye = pytest.importorskip("ntoseye")

pytestmark = [pytest.mark.ntoseye, pytest.mark.timeout(120)]

HEX = r"([0-9a-fA-F`]+)"
PLACES = ("nt!PsLoadedModuleList", "nt!KeBugCheckEx", "nt!KiProcessorBlock")


def number(text: str) -> int:
    return int(text.replace("`", ""), 16)


class Pair:
    """Both debuggers at the same machine."""

    def __init__(self, other, environment: dict[str, str]) -> None:
        self.other = other
        self._environment = environment

    def kd(self, *commands: str) -> str:
        """What our kd prints."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "kdsim", "kd", "-kl", "--machine", "lab"),
                *("-c", ";".join((*commands, "q"))),
            ],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def find(self, pattern: str, *commands: str) -> list[tuple[str, ...]]:
        found = re.findall(pattern, self.kd(*commands), re.MULTILINE)
        assert found
        return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    ntoseye_client.home(folder)
    path = folder / "kd"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        way = ("--wait", "--seed", "1", "--cpus", "4", "--com", f"unix:{path}")
        with TargetProcess(folder, lasting_lab(folder), *way) as target:
            target.banner()
            with ntoseye.attach("kd", connect=str(path), memory_source="kd") as other:
                yield Pair(other, dict(os.environ))


def test_modules(pair):
    mine = pair.find(rf"^{HEX} {HEX}   (\w+) +\(", "lm")
    theirs = [(m.base, m.base + m.size, m.short_name) for m in pair.other.modules]
    assert [(number(start), number(end), name) for start, end, name in mine] == theirs


def test_processes(pair):
    pattern = (
        rf"^PROCESS {HEX}\n +SessionId: \S+  Cid: {HEX}    Peb: \S+  ParentCid: {HEX}\n"
        rf" +DirBase: {HEX} .*\n +Image: (\S+)"
    )
    mine = [(*map(number, values), name) for *values, name in pair.find(pattern, "!process 0 0")]
    theirs = [(p.eprocess, p.pid, p.ppid, p.dtb, p.name) for p in pair.other.processes]
    assert sorted(mine) == sorted(theirs)
    assert len(mine) == 13


def test_threads(pair):
    mine = pair.find(rf"THREAD {HEX}  Cid {HEX}\.{HEX}  Teb: {HEX}", "!process 0 4")
    theirs = [
        (thread.ethread, thread.pid, thread.tid)
        for process in pair.other.processes
        for thread in (thread.info for thread in process.threads)
    ]
    assert sorted(tuple(map(number, row[:3])) for row in mine) == sorted(theirs)


def test_pool_bytes_by_tag(pair):
    pattern = r"^ (.{4}) +(\d+) +(\d+) +(\d+) +(\d+)\t"
    mine = {tag: tuple(map(int, rest)) for tag, *rest in pair.find(pattern, "!poolused 2")}
    theirs = {
        row.tag_name: (
            row.nonpaged_allocs - row.nonpaged_frees,
            row.nonpaged_bytes,
            row.paged_allocs - row.paged_frees,
            row.paged_bytes,
        )
        for row in pair.other.inspect.pool_usage().rows
    }
    assert mine == {tag: row for tag, row in theirs.items() if any(row)}


def test_a_pool_page(pair):
    process = max(pair.other.processes, key=lambda p: p.pid)
    pattern = rf"^[ *]{HEX} size: +{HEX} previous size: +{HEX}  \((\w+)\) [ *](.{{4}})"
    mine = {
        (number(start), number(size), tag)
        for start, size, _, state, tag in pair.find(pattern, f"!pool {process.eprocess:x}")
        if state == "Allocated"
    }
    theirs = {
        (block.header, block.size, block.tag_name)
        for block in pair.other.inspect.pool(process.eprocess).blocks
        if block.allocated
    }
    # A block that crosses an end of the page is ours to show; they keep to what lies within.
    page = process.eprocess & -0x1000
    within = {(at, size, tag) for at, size, tag in mine if page <= at <= page + 0x1000 - size}
    assert within == theirs
    assert theirs


def test_all_blocks_of_a_tag(pair):
    text = pair.kd("!poolfind Proc", "!poolfind Proc 1")
    mine = re.findall(rf"^ {HEX} size: +{HEX} previous .* Proc", text, re.MULTILINE)
    blocks = {(number(start) + 0x10, number(size)) for start, size in mine}
    theirs = pair.other.inspect.pool_find("Proc").matches
    # They look at one page at a time, and pass blocks that lie on two.
    assert {(at, size) for at, size in blocks if at % 0x1000 + size - 0x10 <= 0x1000} == {
        (match.address, match.size) for match in theirs
    }
    assert len(blocks) > len(theirs) > 10


@pytest.mark.parametrize("place", PLACES)
def test_page_table_entries_and_frames(pair, place):
    walk = pair.other.memory.pte(place)
    levels = [level for level in (walk.pxe, walk.ppe, walk.pde, walk.pte) if level is not None]
    text = pair.kd(f"!pte {place}")
    entries = [number(value) for value in re.findall(rf"P[XPDT]E at {HEX}", text)]
    values = [number(value) for value in re.findall(rf"contains {HEX}", text)]
    frames = [number(value) for value in re.findall(rf"pfn {HEX}", text)]
    assert values == [level.value for level in levels]
    assert entries == [level.address for level in levels]
    assert frames == [level.attributes.pfn for level in levels]
    physical = pair.other.memory.translate(place)
    assert f"translates to physical address {physical:x}." in pair.kd(f"!vtop 0 {place}")


def test_drivers_and_their_objects(pair):
    mine = pair.find(rf"^ +\d\d  {HEX} +Driver +(\w+)$", r"!object \Driver")
    theirs = pair.other.inspect.object(r"\Driver").entries
    assert sorted((name, number(at)) for at, name in mine) == [
        (entry.name, entry.object) for entry in theirs
    ]
    assert {d.name.rpartition("\\")[2]: d.object for d in pair.other.drivers} == {
        name: number(at) for at, name in mine
    }


def test_the_interrupt_table(pair):
    mine = pair.find(rf"^{HEX}:\t{HEX} (nt!\w+)(?:\tStack.*)?$", "!idt -a")
    theirs = re.findall(r"^([0-9a-f]{2}) .* (nt!\w+)$", pair.other.command("!idt"), re.MULTILINE)
    # Behind an interrupt object's vector we name its routine, they the entry.
    assert {(vector, name) for vector, _, name in mine} < set(theirs)
    assert len(mine) > 200


@pytest.mark.parametrize("cpu", range(4))
def test_processor_control_regions(pair, cpu):
    ((pcr,),) = [pair.find(rf"^KPCR for Processor \d at {HEX}:", f"!pcr {cpu}")[:1]]
    prcb = pair.other.memory.read_u64(f"nt!KiProcessorBlock+{8 * cpu:#x}")
    assert number(pcr) + 0x180 == prcb


def test_the_same_bytes(pair):
    mine = pair.find(rf"^{HEX}  ((?:{HEX} ?)+)$", "dq nt!PsLoadedModuleList L100")
    words = [number(word) for _, row, _ in mine for word in row.split()]
    start = number(mine[0][0])
    assert b"".join(word.to_bytes(8, "little") for word in words) == pair.other.memory.read(
        start, 0x800
    )
