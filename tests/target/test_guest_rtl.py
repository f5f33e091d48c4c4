"""nt's run-time library and locks, called on a booted machine."""

import struct

import pytest

from kdsim.symbols.views import View, list_entries
from tests.target.booted import Debugged
from tests.target.guestcalls import bug_check, call, go_on

BUFFER_SIZE = 64
NON_PAGED_NX = 0x200
TEST_TAG = int.from_bytes(b"Test", "little")


class Guest:
    """A stopped machine and a block of its pool to work in."""

    def __init__(self) -> None:
        self.debugged = Debugged()
        self.debugged.run_to_stop()
        self.kernel = self.debugged.kernel
        self.memory = self.kernel.memory
        self.block = self.call("ExAllocatePoolWithTag", NON_PAGED_NX, 0x800, TEST_TAG)
        self._free = self.block

    def call(self, name: str, *arguments: int) -> int:
        result = call(self.debugged, name, *arguments)
        assert result is not None, bug_check(self.debugged)
        return result

    def put(self, data: bytes) -> int:
        """Address of a copy of `data`."""
        address, self._free = self._free, self._free + len(data) + 15 & ~15
        assert self._free <= self.block + 0x800
        self.memory.write(address, data)
        return address

    def unicode(self, text: str, room: int = 0) -> int:
        raw = text.encode("utf-16-le")
        size = max(room, len(raw))
        return self.put(struct.pack("<HHIQ", len(raw), size, 0, self.put(raw.ljust(size, b"\0"))))

    def ansi(self, text: str) -> int:
        return self.put(struct.pack("<HHIQ", len(text), len(text), 0, self.put(text.encode())))

    def text(self, string: int) -> str:
        return self.kernel.unicode(self.kernel.view("_UNICODE_STRING", string))

    def clear(self) -> None:
        self._free = self.block


@pytest.fixture(scope="module")
def machine():
    guest = Guest()
    yield guest
    guest.debugged.system.close()


@pytest.fixture
def guest(machine: Guest) -> Guest:
    machine.clear()
    return machine


NEGATIVE = -5 & 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("template", "argument", "text"),
    [
        ("%d", 0, "0"),
        ("%d", NEGATIVE, "-5"),
        ("%i", 0x7FFF_FFFF, "2147483647"),
        ("%d", 0x8000_0000, "-2147483648"),
        ("%u", 0xFFFF_FFFF, "4294967295"),
        ("%+d", 5, "+5"),
        ("% d", 5, " 5"),
        ("%5d|", NEGATIVE, "   -5|"),
        ("%-5d|", NEGATIVE, "-5   |"),
        ("%05d|", NEGATIVE, "-0005|"),
        ("%.3d", 7, "007"),
        ("%6.3d|", 7, "   007|"),
        ("%.0d|", 0, "|"),
        ("%x", 0xDEADBEEF, "deadbeef"),
        ("%X", 0xDEADBEEF, "DEADBEEF"),
        ("%#x", 0x1F, "0x1f"),
        ("%#x", 0, "0"),
        ("%08lx", 0xC4, "000000c4"),
        ("%o", 8, "10"),
        ("%hx", 0x12345, "2345"),
        ("%hd", 0xFFFF, "-1"),
        ("%I64x", 0xFFFF_F800_1234_5678, "fffff80012345678"),
        ("%lld", 1 << 63, "-9223372036854775808"),
        ("%Ix", 0x1_0000_0000, "100000000"),
        ("%p", 0xFFFF_F800_0000_0ABC, "FFFFF80000000ABC"),
        ("%c", ord("k"), "k"),
        ("%3c|", ord("k"), "  k|"),
        ("100%% of %d", 3, "100% of 3"),
        ("%s", 0, "(null)"),
    ],
)
def test_formatting_numbers(guest: Guest, template: str, argument: int, text: str) -> None:
    assert formatted(guest, template, argument) == (len(text), text)


def formatted(guest: Guest, template: str, argument: int, size: int = BUFFER_SIZE):
    """What _snprintf returns and leaves, up to the terminator."""
    buffer = guest.put(b"#" * size)
    length = guest.call("_snprintf", buffer, size, guest.put(template.encode() + b"\0"), argument)
    left = guest.memory.read(buffer, size).partition(b"\0")[0].decode()
    return (length if length < 1 << 31 else (length & 0xFFFF_FFFF) - (1 << 32)), left


@pytest.mark.parametrize(
    ("template", "text"),
    [("%s|", "leaky|"), ("%7s|", "  leaky|"), ("%-7s|", "leaky  |"), ("%.3s|", "lea|")],
)
@pytest.mark.parametrize("kind", ["%s", "%ws", "%S", "%Z", "%wZ"])
def test_formatting_strings(guest: Guest, template: str, text: str, kind: str) -> None:
    argument = {
        "%s": lambda: guest.put(b"leaky\0"),
        "%ws": lambda: guest.put("leaky\0".encode("utf-16-le")),
        "%S": lambda: guest.put("leaky\0".encode("utf-16-le")),
        "%Z": lambda: guest.ansi("leaky"),
        "%wZ": lambda: guest.unicode("leaky"),
    }[kind]()
    assert formatted(guest, template.replace("s", kind[1:]), argument) == (len(text), text)


def test_formatting_cuts_what_does_not_fit(guest: Guest) -> None:
    assert formatted(guest, "%d", 12345, 4) == (-1, "1234")
    assert formatted(guest, "%d", 12345, 5) == (5, "12345")
    assert formatted(guest, "%d", 1234, 5) == (4, "1234")


@pytest.mark.parametrize(
    ("first", "second", "no_case", "expected"),
    [
        ("leaky", "leaky", False, 0),
        ("leaky", "LEAKY", True, 0),
        ("leaky", "LEAKY", False, 1),
        ("a", "b", False, -1),
        ("ab", "a", False, 1),
        ("", "", True, 0),
        ("über", "ÜBER", True, 0),
    ],
)
def test_unicode_comparison(guest: Guest, first, second, no_case, expected: int) -> None:
    strings = guest.unicode(first), guest.unicode(second)
    result = guest.call("RtlCompareUnicodeString", *strings, no_case) & 0xFFFF_FFFF
    assert (result > 0) - (result >> 31) * 2 == expected
    assert guest.call("RtlEqualUnicodeString", *strings, no_case) & 0xFF == (expected == 0)


def test_unicode_copy_and_append(guest: Guest) -> None:
    target = guest.unicode("", room=16)
    guest.call("RtlCopyUnicodeString", target, guest.unicode("abc"))
    assert guest.text(target) == "abc"
    assert guest.call("RtlAppendUnicodeStringToString", target, guest.unicode("defgh")) == 0
    assert guest.text(target) == "abcdefgh"
    too_small = guest.call("RtlAppendUnicodeStringToString", target, guest.unicode("i"))
    assert too_small & 0xFFFF_FFFF == 0xC000_0023
    guest.call("RtlCopyUnicodeString", target, guest.unicode("0123456789"))
    assert guest.text(target) == "01234567"


@pytest.mark.parametrize("shift", [-9, -8, -1, 0, 1, 8, 9])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 31, 64])
def test_memmove(guest: Guest, shift: int, size: int) -> None:
    data = bytearray(range(128))
    base = guest.put(bytes(data))
    guest.call("memmove", base + 32 + shift, base + 32, size)
    data[32 + shift : 32 + shift + size] = data[32 : 32 + size]
    assert guest.memory.read(base, len(data)) == bytes(data)


def test_memset(guest: Guest) -> None:
    base = guest.put(bytes(32))
    guest.call("memset", base + 3, 0x1A5, 21)
    assert guest.memory.read(base, 32) == bytes(3) + b"\xa5" * 21 + bytes(8)


def test_bitmap(guest: Guest) -> None:
    words = guest.put(bytes(8))
    bitmap = guest.put(struct.pack("<QQ", 64, words))
    for first, count in ((0, 3), (10, 2), (62, 2)):
        guest.call("RtlSetBits", bitmap, first, count)
    assert guest.call("RtlNumberOfSetBits", bitmap) == 7
    assert guest.call("RtlFindClearBitsAndSet", bitmap, 7, 0) == 3
    assert guest.call("RtlFindClearBits", bitmap, 51, 0) & 0xFFFF_FFFF == 0xFFFF_FFFF
    assert guest.call("RtlFindClearBits", bitmap, 50, 0) == 12
    guest.call("RtlClearBits", bitmap, 3, 7)
    assert int.from_bytes(guest.memory.read(words, 8), "little") == 3 << 62 | 3 << 10 | 7


def test_resource(guest: Guest) -> None:
    resource = guest.put(bytes(0x68))
    view = guest.kernel.view("_ERESOURCE", resource)
    assert guest.call("ExInitializeResourceLite", resource) == 0
    head = guest.kernel.address("ExpSystemResourcesList")
    listed = list_entries(guest.memory, head, view.record, "SystemResourcesList")
    assert resource in [entry.address for entry in listed]
    for count in (1, 2):
        assert guest.call("ExAcquireResourceExclusiveLite", resource, 1) & 0xFF
        assert view.OwnerEntry.OwnerCount == count
    assert view.OwnerEntry.OwnerThread == guest.call("KeGetCurrentThread")
    assert guest.call("ExAcquireResourceSharedLite", resource, 0) & 0xFF
    for _ in range(3):
        assert view.Flag & 0x80
        guest.call("ExReleaseResourceLite", resource)
    assert (view.Flag & 0x80, view.ActiveEntries, view.OwnerEntry.OwnerThread) == (0, 0, 0)
    for count in (1, 2):
        assert guest.call("ExAcquireResourceSharedLite", resource, 0) & 0xFF
        assert (view.ActiveEntries, view.OwnerEntry.OwnerCount) == (1, count)
    assert guest.call("ExAcquireResourceExclusiveLite", resource, 0) & 0xFF == 0
    for _ in range(2):
        guest.call("ExReleaseResourceLite", resource)
    assert guest.call("ExDeleteResourceLite", resource) == 0


def test_fast_mutex(guest: Guest) -> None:
    mutex = guest.put(bytes(0x38))
    view = guest.kernel.view("_FAST_MUTEX", mutex)
    guest.call("ExInitializeFastMutex", mutex)
    guest.call("ExAcquireFastMutex", mutex)
    assert (view.Count, view.Owner) == (0, guest.call("KeGetCurrentThread"))
    assert guest.call("KeGetCurrentIrql") & 0xFF == 1
    assert guest.call("ExTryToAcquireFastMutex", mutex) & 0xFF == 0
    guest.call("ExReleaseFastMutex", mutex)
    assert (view.Count, view.Owner) == (1, 0)
    assert guest.call("KeGetCurrentIrql") & 0xFF == 0


def test_lookaside_list(guest: Guest) -> None:
    """Four freed entries are kept; the fifth goes back to the pool."""
    entries = guest.put(bytes(0x80))
    view = guest.kernel.view("_GENERAL_LOOKASIDE", entries)
    # The routine's further arguments lie on the stack, where calls here leave zeros or rubbish;
    # the list is made by hand.
    for name, value in (("Depth", 4), ("Type", NON_PAGED_NX), ("Tag", TEST_TAG), ("Size", 48)):
        view.set(name, value)
    view.set("Allocate", guest.kernel.address("ExAllocatePoolWithTag"))
    view.set("Free", guest.kernel.address("ExFreePool"))
    blocks = [guest.call("ExAllocateFromNPagedLookasideList", entries) for _ in range(5)]
    assert len(set(blocks)) == 5
    for block in blocks:
        guest.call("ExFreeToNPagedLookasideList", entries, block)
    assert (view.TotalAllocates, view.AllocateMisses) == (5, 5)
    assert (view.TotalFrees, view.FreeMisses) == (5, 1)
    again = [guest.call("ExAllocateFromNPagedLookasideList", entries) for _ in range(4)]
    assert again == blocks[3::-1]
    for block in again:
        guest.call("ExFreePoolWithTag", block, TEST_TAG)


def test_handles(guest: Guest) -> None:
    """A process opened by pointer: the handle leads back, and closing drops both counts."""
    process = guest.kernel.read("PsInitialSystemProcess")
    header = guest.kernel.containing("_OBJECT_HEADER", "Body", process)
    before = header.PointerCount, header.HandleCount
    place = guest.put(bytes(8))
    assert guest.call("ObpCreateHandle", process, 0, 0x1FFFFF, place) == 0
    handle = int.from_bytes(guest.memory.read(place, 8), "little")
    assert handle >> 31 == (1 << 33) - 1
    assert (header.PointerCount, header.HandleCount) == (before[0] + 1, before[1] + 1)
    table = guest.kernel.view("_HANDLE_TABLE", guest.kernel.read("ObpKernelHandleTable"))
    entry = View(
        guest.memory,
        guest.kernel.record("_HANDLE_TABLE_ENTRY"),
        (table.TableCode & ~3) + (handle & 0x7FFF_FFFF) * 4,
    )
    assert entry.ObjectPointerBits << 4 | 0xFFFF << 48 == header.address
    assert entry.GrantedAccessBits == 0x1FFFFF
    assert guest.call("ZwClose", handle) == 0
    assert (header.PointerCount, header.HandleCount) == before
    assert guest.call("ZwClose", handle) & 0xFFFF_FFFF == 0xC000_0008


def test_stack_traces_of_verified_allocations() -> None:
    """The verifier's log names leaky's routines, from the allocation out to the thread's start."""
    debugged = Debugged()
    debugged.run_to_stop()
    kernel = debugged.kernel
    while not kernel.read("KiBugCheckData"):
        go_on(debugged)
    leaky = next(image for image in kernel.modules() if image.name == "leaky.sys")
    record = kernel.record("_VF_POOL_TRACE")
    last = kernel.read("VfPoolTracesIndex", 4)
    start = kernel.address("KiStartSystemThread")
    for index in range(1, last + 1):
        trace = View(kernel.memory, record, kernel.read("VfPoolTraces") + index * record.size)
        frames = [trace.StackTrace[i] for i in range(13)]
        frames = frames[: frames.index(0)]
        inside = [frame for frame in frames if leaky.base < frame < leaky.base + leaky.size]
        assert len(inside) >= 2
        assert start < frames[-1] < start + 0x100
    debugged.system.close()
