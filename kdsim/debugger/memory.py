"""Target memory as the debugger sees it: cached line by line while the target is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kdsim.debugger.backends.base import Backend, MemorySearch
from kdsim.debugger.paging import PAGE_SIZE, USER_END, PageTables
from kdsim.errors import KdsimError, MemoryFault

LINE_SIZE = 0x400
"""Unit of the cache: the largest part of a page that one datagram of KDNET (1360 bytes) brings."""

READ_AHEAD = 16
"""Most lines fetched at once because reads move upwards."""

MOST_FETCHED = 0x400
"""Lines of one request; how far the range still goes may be a slip of the pen."""

MOST_LINES = 1000
"""Lines kept: 1000 KB, as much as kd caches. What was read first goes first."""

Fetch = Callable[[int, int], bytes]
Store = Callable[[int, bytes], int]


class LineCache:
    """Lines of one address space, by their address."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._lines: dict[int, bytes] = {}
        self._fetched_to = -1
        self._ahead = 1
        self.most_lines = MOST_LINES
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._lines)

    def clear(self) -> None:
        self._lines.clear()

    def forget(self, address: int, size: int) -> None:
        """Drop the lines that hold a range."""
        for line in range(address - address % LINE_SIZE, address + size, LINE_SIZE):
            self._lines.pop(line, None)

    def forget_doubtful(self) -> None:
        """Drop what ended in an error, and all of user mode."""
        doubtful = [
            at for at, data in self._lines.items() if len(data) < LINE_SIZE or at < USER_END
        ]
        for line in doubtful:
            del self._lines[line]

    def read(self, address: int, size: int) -> bytes:
        """The readable prefix of the range."""
        if not self.most_lines:
            return self._fetch(address, size)
        offset = address % LINE_SIZE
        line = address - offset
        if offset + size <= LINE_SIZE:
            return self._line(line, 1)[offset : offset + size]
        pieces = []
        left = offset + size
        while left > 0:
            data = self._line(line, -(-left // LINE_SIZE))
            pieces.append(data[:left])
            if len(data) < LINE_SIZE:
                break
            line += LINE_SIZE
            left -= LINE_SIZE
        return b"".join(pieces)[offset:]

    def _line(self, line: int, wanted: int) -> bytes:
        data = self._lines.get(line)
        if data is not None:
            self.hits += 1
            return data
        self.misses += 1
        # Reads that move upwards fetch twice as much each time.
        self._ahead = min(2 * self._ahead, READ_AHEAD) if line == self._fetched_to else 1
        most = max(min(wanted, MOST_FETCHED, self.most_lines // 2), self._ahead)
        count = 1
        while count < most and line + count * LINE_SIZE not in self._lines:
            count += 1
        self._fetched_to = line + count * LINE_SIZE
        got = self._fetch(line, min(self._fetched_to, 1 << 64) - line)
        for start in range(0, max(len(got), 1), LINE_SIZE):
            self._lines[line + start] = got[start : start + LINE_SIZE]
        data = self._lines[line]
        while len(self._lines) > self.most_lines:
            del self._lines[next(iter(self._lines))]
        return data


class CachedMemory:
    """Reads and writes through a cache; the integer and string helpers sit on top."""

    def __init__(self, fetch: Fetch, store: Store) -> None:
        self.cache = LineCache(fetch)
        self._store = store
        self.held = False
        """`.cache hold`: only the user empties the cache."""
        self.on_write: Callable[[], None] = self.flush
        self.on_fault: Callable[[MemoryFault], None] | None = None

    def flush(self) -> None:
        """What is cached may be stale."""
        if not self.held:
            self.cache.clear()

    def read_some(self, address: int, size: int) -> bytes:
        """The readable prefix of the range, possibly empty."""
        return self.cache.read(address & (1 << 64) - 1, size)

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes, or MemoryFault with the first address that failed."""
        data = self.read_some(address, size)
        if len(data) < size:
            fault = MemoryFault(address + len(data), size - len(data))
            if self.on_fault is not None:
                self.on_fault(fault)
            raise fault
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write all of `data`, or MemoryFault with the first address that failed."""
        try:
            written = self._store(address, data)
        finally:
            self.cache.forget(address, len(data))
            self.on_write()
        if written < len(data):
            raise MemoryFault(address + written, len(data) - written)

    def integer(self, address: int, size: int) -> int:
        return int.from_bytes(self.read(address, size), "little")

    def u8(self, address: int) -> int:
        return self.integer(address, 1)

    def u32(self, address: int) -> int:
        return self.integer(address, 4)

    def u64(self, address: int) -> int:
        return self.integer(address, 8)

    def cstring(self, address: int, limit: int = 0x1000) -> str:
        """8-bit text up to its NUL, an unreadable byte, or `limit` bytes."""
        data = self.read_some(address, 1)
        if not data:
            raise MemoryFault(address)
        while b"\0" not in data and len(data) < limit:
            more = self.read_some(address + len(data), min(64, limit - len(data)))
            if not more:
                break
            data += more
        return data.split(b"\0", 1)[0].decode("latin-1")

    def wstring(self, address: int, limit: int = 0x2000) -> str:
        """UTF-16 text up to its NUL, an unreadable byte, or `limit` bytes."""
        if not self.read_some(address, 2):
            raise MemoryFault(address, 2)
        data = bytearray()
        while len(data) < limit:
            more = self.read_some(address + len(data), min(128, limit - len(data)))
            units = [more[i : i + 2] for i in range(0, len(more) - 1, 2)]
            if b"\0\0" in units:
                data += b"".join(units[: units.index(b"\0\0")])
                break
            data += b"".join(units)
            if not units:
                break
        return data.decode("utf-16-le", errors="replace")


class VirtualMemory(CachedMemory):
    """The address space the user looks at.

    User addresses go through the page tables of `process_cr3` once `.process /p` has set it;
    everything else is read as the stopped processor sees it.
    """

    def __init__(self, backend: Backend, physical: CachedMemory) -> None:
        super().__init__(self._fetch_bytes, self._store_bytes)
        self._backend = backend
        self._physical = physical
        self.process_cr3: int | None = None
        self.live_cr3: Callable[[], int] | None = None
        """The page tables of the stopped processor; only `skip_hole` walks them."""
        self.decode_all = False
        """`.cache forcedecodeptes`: walk the page tables for kernel addresses too."""
        self.decode_transition = True
        """`.cache decodeptes`: pages in transition are still where their entries say."""

    def select_process(self, cr3: int | None, *, decode_all: bool = False) -> None:
        if (cr3, decode_all) != (self.process_cr3, self.decode_all):
            self.process_cr3, self.decode_all = cr3, decode_all
            self.cache.clear()

    def tables(self, va: int) -> PageTables | None:
        """The page tables to walk for an address, or None to ask the target."""
        if self.process_cr3 is None or not (va < USER_END or self.decode_all):
            return None
        transition = self.decode_transition
        return PageTables(self._physical.read, self.process_cr3, transition=transition)

    def skip_hole(self, va: int, end: int) -> int:
        """Where to look for readable memory behind an address that was not readable."""
        following = (va | PAGE_SIZE - 1) + 1
        try:
            tables = self.tables(va)
            if tables is None and self.live_cr3 is not None:
                tables = PageTables(self._physical.read, self.live_cr3())
            return following if tables is None else tables.next_mapped(following, end)
        except KdsimError:
            return following

    def rule_out(self, va: int, size: int, pattern: bytes) -> int:
        """The place up to which `pattern` begins nowhere; `va` when only reading can tell."""
        if isinstance(self._backend, MemorySearch) and self.tables(va) is None:
            return self._backend.search_virtual(va, size, pattern)
        return va

    def writable(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The writable pieces of a range, as the page tables have it."""
        return self.page_tables().writable(start, end)

    def page_tables(self) -> PageTables:
        """Of the chosen process, or of the stopped processor."""
        cr3 = self.process_cr3
        if cr3 is None:
            cr3 = self.live_cr3() if self.live_cr3 is not None else 0
        return PageTables(self._physical.read, cr3)

    def _fetch_bytes(self, va: int, size: int) -> bytes:
        tables = self.tables(va)
        if tables is None:
            return self._backend.read_virtual(va, size)
        data = b""
        while len(data) < size:
            try:
                pa = tables.translate(va + len(data)).pa
            except MemoryFault:
                break
            wanted = min(size - len(data), PAGE_SIZE - pa % PAGE_SIZE)
            part = self._physical.read_some(pa, wanted)
            data += part
            if len(part) < wanted:
                break
        return data

    def _store_bytes(self, va: int, data: bytes) -> int:
        tables = self.tables(va)
        if tables is None:
            return self._backend.write_virtual(va, data)
        done = 0
        while done < len(data):
            try:
                pa = tables.translate(va + done).pa
            except MemoryFault:
                break
            part = data[done : done + PAGE_SIZE - pa % PAGE_SIZE]
            written = self._backend.write_physical(pa, part)
            done += written
            if written < len(part):
                break
        return done
