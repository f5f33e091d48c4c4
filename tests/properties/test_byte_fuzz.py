"""Bytes from elsewhere, damaged at random: a value or a kdsim error, in bounded time and memory.

Every input follows from its number; `patience` says how many there are. A number that once failed
stays in SEEDS.
"""

from __future__ import annotations

import gzip
import io
import random
import resource
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from kdsim.dump.header import HEADER_SIZE, DumpType
from kdsim.dump.pages import CrashDump, write_bitmap, write_full
from kdsim.dump.triage import SmallDump
from kdsim.errors import KdsimError, SimBug
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.pe import PeImage
from kdsim.wire.capture import UDP, CaptureWriter, Segment, read_capture
from kdsim.wire.kdcom import KdcomHost, KdcomTarget
from kdsim.wire.kdnet import KdnetHost, KdnetTarget
from kdsim.wire.listing import Listing
from kdsim.wire.local import FrameReader
from kdsim.wire.manipulate import ARGUMENTS, Manipulate
from kdsim.wire.messages import (
    ControlRequest,
    FileIo,
    StateChange,
    StringAnswer,
    TraceIo,
    unpack_debug_io,
)
from kdsim.wire.packets import TRAILER, Frame, PacketType
from kdsim.wire.sealing import Sealer, derive_data_key, derive_hmac_key, parse_key
from tests.dump.test_dump_files import HEADER, memory, run_list_dump
from tests.dump.test_small_dumps import PRCB, STACK, small_dump
from tests.properties.patience import FUZZ_SECONDS, FUZZ_SEED, in_time
from tests.symbols.pemaker import driver
from tests.symbols.sample import sample
from tests.symbols.test_pdb_damage import QUESTIONS
from tests.symbols.test_pe import question

KEY = "1.2.3.4"
PLACE = ("127.0.0.1", 50000)
MEGABYTES = 256
"""What the process may grow by, all inputs together."""
NUMBERS = (0, 1, 4, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SEEDS: dict[str, tuple[int, ...]] = {}


class Damage:
    """Makes the input of one number."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def spoil(self, data: bytes) -> bytes:
        """Change bytes and numbers, cut, repeat; now and then it is noise altogether."""
        chance = self.random
        if chance.random() < 0.02:
            return chance.randbytes(chance.randrange(200))
        spoilt = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 5, 20))):
            place = chance.randrange(len(spoilt) or 1)
            match chance.randrange(6):
                case 0 if spoilt:
                    spoilt[place] ^= 1 << chance.randrange(8)
                case 1:
                    spoilt[place : place + 1] = chance.randbytes(1)
                case 2 | 3:
                    size = chance.choice((2, 4, 4, 8))
                    number = chance.choice(NUMBERS) & (1 << 8 * size) - 1
                    place = place // size * size
                    spoilt[place : place + size] = number.to_bytes(size, "little")
                case 4 if chance.random() < 0.2:
                    del spoilt[place:]
                case 5 if chance.random() < 0.2:
                    spoilt[place:place] = spoilt[place : place + 64]
        return bytes(spoilt)

    def payload(self) -> bytes:
        chance = self.random
        heads = (0x3030, 0x3031, 0x3032, 0x3230, 0x3231, 0x3330, 0x3430, 0x3431, 0x4300)
        head = chance.choice((*heads, *range(0x3130, 0x3161))).to_bytes(4, "little")
        return self.spoil(head + bytes(chance.choice((8, 12, 52, 60, 236, 300))))

    def frame(self) -> Frame:
        chance = self.random
        control = chance.random() < 0.3
        number = chance.choice((0, 2, 0x80000000, 0x80800000, 0x80800001, 0x80800800))
        kind = chance.choice((*PacketType, 99))
        return Frame(kind, number, b"" if control else self.payload(), control=control)


def streams(damage: Damage, _: Path) -> None:
    """The packet layer and both ends of a stream."""
    end = damage.random.choice((KdcomTarget, KdcomHost))()
    end.link_up(0.0)
    for step in range(20):
        data = damage.frame().pack() + TRAILER
        if damage.random.random() < 0.5:
            data = damage.spoil(data)
        end.receive(data, step / 4)
        end.send(PacketType.MANIPULATE, b"x", step / 4, 3)
        end.tick(step / 4)
        end.outgoing()


def sessions(damage: Damage, _: Path) -> None:
    """KDNET's ends under a peer that has the key and says anything."""
    control_key = parse_key(KEY)
    hmac_key = derive_hmac_key(control_key)
    control = Sealer(control_key, hmac_key)
    from_host = damage.random.random() < 0.5
    host, target = KdnetHost(KEY), KdnetTarget(KEY, PLACE)
    target.tick(0.0)
    (poke,) = target.outgoing()
    host.receive(poke, 0.0, PLACE)
    response = host.outgoing()[0]
    target.receive(response, 0.0)
    body = control.open(response).body
    data = Sealer(derive_data_key(control_key, body), hmac_key)
    end = target if from_host else host
    sequence = 0
    for step in range(20):
        sequence += damage.random.choice((0, 1, 1, 1, 1000, 1 << 40))
        if damage.random.random() < 0.2:
            said = damage.spoil(body if from_host else control.open(poke).body)
            sealed = control.seal(damage.random.randrange(256), 1, sequence, from_host, said)
        else:
            said = damage.frame().pack()
            if damage.random.random() < 0.3:
                said = damage.spoil(said)
            sealed = data.seal(4, damage.random.choice((0, 0, 0, 7)), sequence, from_host, said)
        end.receive(sealed, step / 4, PLACE)
        end.send(PacketType.MANIPULATE, b"x", step / 4, 3)
        end.tick(step / 4)
        end.outgoing()


CODECS = (
    StateChange.unpack,
    unpack_debug_io,
    StringAnswer.unpack,
    FileIo.unpack,
    TraceIo.unpack,
    ControlRequest.unpack,
    Manipulate.unpack,
)


def codecs(damage: Damage, _: Path) -> None:
    payload = damage.payload()
    for unpack in CODECS:
        with suppress(KdsimError):
            value = unpack(payload)
            value.pack()
    with suppress(KdsimError):
        message = Manipulate.unpack(payload)
        for form in set(ARGUMENTS.values()):
            message.arguments(form)
    reader = FrameReader()
    for _ in range(3):
        reader.feed(damage.spoil(len(payload).to_bytes(4, "little") + payload))


def a_capture() -> bytes:
    host, target = KdnetHost(KEY), KdnetTarget(KEY, PLACE)
    stream = io.BytesIO()
    writer = CaptureWriter(stream)
    target.tick(0.0)
    for step in range(6):
        for end, other, places in ((target, host, 1), (host, target, -1)):
            for data in end.outgoing():
                ends = ((PLACE, ("127.0.0.1", 9)), (("127.0.0.1", 9), PLACE))[places < 0]
                writer.write(Segment(float(step), UDP, *ends, data))
                other.receive(data, 0.0, PLACE)
        target.send(PacketType.MANIPULATE, bytes(56), 0.0)
    return stream.getvalue()


def captures(damage: Damage, _: Path) -> None:
    """The whole of `kdsim wire`."""
    data = damage.spoil(CAPTURE)
    if damage.random.random() < 0.2:
        data = damage.spoil(gzip.compress(data, 1))
    for _ in Listing(KEY, fields=True, data=True).lines(read_capture(data)):
        pass


def dumps(damage: Damage, folder: Path) -> None:
    data = DUMPS[damage.random.randrange(len(DUMPS))]
    path = folder / "damaged.dmp"
    # The fields lie within the header; damage in a page of memory would be a waste of time.
    path.write_bytes(damage.spoil(data[: HEADER_SIZE + 64]) + data[HEADER_SIZE + 64 :])
    with closing(CrashDump(path)) as dump:
        assert dump.pages >= 0
        for address in (0, 0x1000, 0x7000, 1 << 40):
            with suppress(KdsimError):
                dump.read_physical(address, 0x1800)


def small_dumps(damage: Damage, folder: Path) -> None:
    path = folder / "damaged.dmp"
    data = damage.spoil(SMALL[HEADER_SIZE:])
    path.write_bytes(damage.spoil(SMALL[:HEADER_SIZE]) + data)
    dump = SmallDump(path)
    for address in (0, 0x1001, STACK, PRCB, 1 << 63):
        assert len(dump.read_virtual(address, 0x1000)) <= 0x1000


def images(damage: Damage, _: Path) -> None:
    question(PeImage.from_file(damage.spoil(IMAGE), "damaged.sys"))


def pdbs(damage: Damage, folder: Path) -> None:
    path = folder / "damaged.pdb"
    path.write_bytes(damage.spoil(PDB))
    pdb = Pdb.open(path)
    for ask in QUESTIONS:
        with suppress(KdsimError):
            ask(pdb)


def _dump(bitmap: bool) -> bytes:
    stream = io.BytesIO()
    for _ in (
        write_bitmap(stream, HEADER, [7, 1, 2], memory)
        if bitmap
        else write_full(stream, HEADER, memory)
    ):
        pass
    return stream.getvalue()


CAPTURE = a_capture()
DUMPS = (_dump(False), _dump(True), run_list_dump(DumpType.COMPLETE_RUNS, [(9, 1), (2, 3)]))
SMALL = small_dump()
IMAGE = driver().file()
PDB = (lambda made: made[0].build(made[1]))(sample())
READERS = {
    reader.__name__: reader
    for reader in (streams, sessions, codecs, captures, dumps, small_dumps, images, pdbs)
}


def check(name: str, seed: int, folder: Path) -> None:
    with in_time(f"{name} {seed}"):
        try:
            READERS[name](Damage(seed), folder)
        except SimBug:
            raise
        except KdsimError:
            return


@pytest.mark.fuzz
@pytest.mark.timeout(FUZZ_SECONDS + 60)
@pytest.mark.parametrize("name", READERS)
def test_damaged_bytes(name: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in SEEDS.get(name, ()):
        check(name, seed, tmp_path)
    seed, end = FUZZ_SEED, time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < end:
        try:
            check(name, seed, tmp_path)
        except BaseException as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
        seed += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEGABYTES
