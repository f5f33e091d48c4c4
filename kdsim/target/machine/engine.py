"""The CPU engine's C interface, called through prebuilt ctypes functions.

The engine is the Unicorn library of the `unicorn` wheel. Its Python package is not imported: it
costs 40 ms and 3 us a register, the same library through ctypes 6 ms and 0.3 us. Short calls keep
the interpreter lock (`PyDLL`); only `start` releases it, so that other threads run meanwhile.

`quads`, `words` and `octets` view the context blob: a copy of the processor's state that `save`
fetches from the engine and `restore` puts back. `layout` names the fields in it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kdsim.errors import TargetError
from kdsim.target.machine import layout
from kdsim.target.machine.timer import StopTimer

VERSION = (2, 1, 4)

# unicorn/unicorn.h and unicorn/x86.h of that version.
_ARCH_X86, _MODE_64, _CPU_SKYLAKE_CLIENT = 4, 8, 21
_ANYWHERE = (1, 0)
_PROT_ALL = 7
_PHYSICAL_END = 1 << 52
_HOOK_INTERRUPT, _HOOK_INSTRUCTION, _HOOK_CODE = 1 << 0, 1 << 1, 1 << 2
_HOOK_UNMAPPED = 0x70
_HOOK_MEM_READ, _HOOK_MEM_WRITE = 1 << 10, 1 << 11
_HOOK_INVALID_INSTRUCTION = 1 << 14


def _control(number: int, arguments: int) -> int:
    return number | arguments << 26 | 1 << 30


_CTL_USE_EXITS = _control(4, 1)
_CTL_CPU_MODEL = _control(7, 1)
_CTL_REMOVE_CODE = _control(9, 2)
_CTL_FLUSH_CODE = _control(10, 0)
_CTL_FLUSH_TLB = _control(11, 0)

INSTRUCTION_SYSCALL, INSTRUCTION_RDTSC, INSTRUCTION_RDTSCP = 699, 608, 609

# Registers whose write has side effects in the engine (flags derived, TLB flushed).
_REGISTERS = {"cr0": 50, "cr3": 53, "cr4": 54, "mxcsr": 249, "fpcw": 246}
_REGISTER_MSR, _REGISTER_RFLAGS = 248, 253

_CALLBACK_INTERRUPT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
_CALLBACK_PLAIN = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
_CALLBACK_CODE = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
)
_CALLBACK_ACCESS = ctypes.CFUNCTYPE(
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_void_p,
)


class _Msr(ctypes.Structure):
    _fields_ = (("number", ctypes.c_uint32), ("value", ctypes.c_uint64))


class _Table(ctypes.Structure):
    _fields_ = (
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


def _library_path() -> Path:
    spec = importlib.util.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise TargetError("the CPU engine is missing: the Python package unicorn is not installed")
    name = {"darwin": "libunicorn.2.dylib", "win32": "unicorn.dll"}.get(
        sys.platform, "libunicorn.so.2"
    )
    return Path(spec.submodule_search_locations[0]) / "lib" / name


def _load() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    path = _library_path()
    try:
        slow, fast = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
    except OSError as error:
        raise TargetError(f"the CPU engine cannot be loaded: {error}") from error
    combined = fast.uc_version(None, None) & 0xFFFFFFFF
    found = (combined >> 24, combined >> 16 & 0xFF, combined >> 8 & 0xFF)
    if found != VERSION:
        wanted, got = (".".join(map(str, version)) for version in (VERSION, found))
        raise TargetError(f"the CPU engine is unicorn {got}; this machine needs {wanted}")
    slow.uc_emu_start.argtypes = (ctypes.c_void_p, *[ctypes.c_uint64] * 3, ctypes.c_size_t)
    fast.uc_strerror.restype = ctypes.c_char_p
    fast.uc_context_size.restype = ctypes.c_size_t
    return slow, fast


_slow, _fast = _load()


def _check(status: int, what: str) -> None:
    if status:
        text = _fast.uc_strerror(status).decode()
        raise TargetError(f"the CPU engine failed to {what}: {text}")


def _close(handle: ctypes.c_void_p, context: ctypes.c_void_p, timer: StopTimer) -> None:
    timer.close()
    _fast.uc_context_free(context)
    _fast.uc_close(handle)


class Engine:
    """One emulated processor over the RAM at `ram_pointer`."""

    def __init__(self, ram_pointer: int, ram_size: int) -> None:
        self._ram_size = ram_size
        self._handle = ctypes.c_void_p()
        _check(_fast.uc_open(_ARCH_X86, _MODE_64, ctypes.byref(self._handle)), "open")
        _check(_fast.uc_ctl(self._handle, _CTL_CPU_MODEL, _CPU_SKYLAKE_CLIENT), "set its model")
        # With exits enabled and none set, nothing but a hook, a count or `hlt` ends a run; an
        # `until` address would invalidate code around it.
        _check(_fast.uc_ctl(self._handle, _CTL_USE_EXITS, 1), "enable exits")
        status = _fast.uc_mem_map_ptr(
            self._handle,
            ctypes.c_uint64(0),
            ctypes.c_uint64(ram_size),
            _PROT_ALL,
            ctypes.c_void_p(ram_pointer),
        )
        _check(status, "map RAM")
        self._context = ctypes.c_void_p()
        _check(_fast.uc_context_alloc(self._handle, ctypes.byref(self._context)), "allocate")
        self.stop = partial(_fast.uc_emu_stop, self._handle)
        self._timer = StopTimer(self.stop)
        self._finalizer = weakref.finalize(self, _close, self._handle, self._context, self._timer)
        self.hooks: dict[int, object] = {}
        self._failure: BaseException | None = None
        self._counting = False
        self._view_context()
        self.save = partial(_fast.uc_context_save, self._handle, self._context)
        self.restore = partial(_fast.uc_context_restore, self._handle, self._context)
        self.save()

    def _view_context(self) -> None:
        size = _fast.uc_context_size(self._handle)
        if size != layout.HEADER_SIZE + layout.STATE_SIZE:
            raise TargetError(f"the CPU engine's state has {size} bytes: not the expected layout")
        assert self._context.value is not None
        address = self._context.value + layout.HEADER_SIZE
        raw = (ctypes.c_ubyte * layout.STATE_SIZE).from_address(address)
        self.octets = memoryview(raw).cast("B")
        self.quads = self.octets.cast("Q")
        self.words = self.octets.cast("I")
        assert self._handle.value is not None
        self._counter = ctypes.c_uint64.from_address(self._handle.value + layout.ENGINE_COUNTER)
        self._limit = ctypes.c_uint64.from_address(self._handle.value + layout.ENGINE_LIMIT)
        for offset, value in layout.ENGINE_KNOWN.items():
            if ctypes.c_uint32.from_address(self._handle.value + offset).value != value:
                raise TargetError("the CPU engine's own structure has not the expected layout")
        self._whole_blocks = ctypes.c_bool.from_address(
            self._handle.value + layout.ENGINE_WHOLE_BLOCKS
        )
        self._whole_blocks.value = True
        self._flags = ctypes.c_uint64(0)
        self._flags_pointer = ctypes.byref(self._flags)

    def close(self) -> None:
        self._finalizer()

    # -- running ---------------------------------------------------------------------------

    def start(self, rip: int, timeout: int, count: int) -> int:
        """Run for `timeout` microseconds or `count` instructions; the engine's status."""
        if bool(count) != self._counting:
            # Code translated without the counter would run uncounted; the engine itself only
            # flushes on the way back. A count ends a run behind any instruction; the timer, at any
            # moment, must do so only between two blocks.
            self._counting = bool(count)
            self._whole_blocks.value = not count
            self.flush_code()
        if timeout:
            self._timer.begin(timeout / 1e6)
        status: int = _slow.uc_emu_start(self._handle, rip, 0, 0, count)
        if timeout:
            self._timer.end()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return status

    @property
    def executed(self) -> int:
        """Instructions of this counted run; in a callback, the current one included."""
        return min(self._counter.value, self._limit.value)

    @property
    def used_up(self) -> bool:
        """Whether the count ended the run: the next instruction was counted and not begun."""
        return self._counter.value > self._limit.value

    def cut(self) -> None:
        """From a callback of a counted run: end it behind the current instruction."""
        self._limit.value = self._counter.value

    def timed_out(self) -> bool:
        """Whether the timeout ended the run."""
        return self._timer.expired

    def error_text(self, status: int) -> str:
        text: bytes = _fast.uc_strerror(status)
        return text.decode()

    # -- registers with side effects -------------------------------------------------------

    def read_flags(self) -> int:
        """RFLAGS of the context blob; the engine keeps its parts apart."""
        _fast.uc_context_reg_read(self._context, _REGISTER_RFLAGS, self._flags_pointer)
        return self._flags.value

    def write_flags(self, value: int) -> None:
        self._flags.value = value
        _fast.uc_context_reg_write(self._context, _REGISTER_RFLAGS, self._flags_pointer)

    def write_floating_control(self, mxcsr: int, fpcw: int) -> None:
        """MXCSR and the x87 control word of the blob, with the rounding state they imply."""
        for name, value in (("mxcsr", mxcsr), ("fpcw", fpcw)):
            number, cell = _REGISTERS[name], ctypes.c_uint64(value)
            _check(
                _fast.uc_context_reg_write(self._context, number, ctypes.byref(cell)),
                f"write {name}",
            )

    def write_control(self, name: str, value: int) -> None:
        """Write cr0, cr3 or cr4 of the processor itself, as an instruction would."""
        cell = ctypes.c_uint64(value)
        _check(
            _fast.uc_reg_write(self._handle, _REGISTERS[name], ctypes.byref(cell)), f"write {name}"
        )

    def write_register(self, number: int, value: int) -> None:
        """Write a register by the engine's number (the self-test's way)."""
        cell = (ctypes.c_uint64 * 2)(value, 0)
        _check(
            _fast.uc_reg_write(self._handle, number, ctypes.byref(cell)),
            f"write register {number}",
        )

    def write_table(self, number: int, selector: int, base: int, limit: int) -> None:
        """Write GDTR, IDTR, LDTR or TR by the engine's number (the self-test's way)."""
        cell = _Table(selector, base, limit, 0)
        _check(
            _fast.uc_reg_write(self._handle, number, ctypes.byref(cell)),
            f"write register {number}",
        )

    def write_msr(self, number: int, value: int) -> None:
        cell = _Msr(number, value)
        _check(
            _fast.uc_reg_write(self._handle, _REGISTER_MSR, ctypes.byref(cell)),
            f"write MSR {number:#x}",
        )

    # -- caches ----------------------------------------------------------------------------

    def flush_tlb(self) -> None:
        _fast.uc_ctl(self._handle, _CTL_FLUSH_TLB)

    def flush_code(self) -> None:
        _fast.uc_ctl(self._handle, _CTL_FLUSH_CODE)

    def forget_code(self, va: int, size: int) -> None:
        """Drop what was translated from these virtual addresses."""
        first, end = ctypes.c_uint64(va), ctypes.c_uint64(va + size)
        _fast.uc_ctl(self._handle, _CTL_REMOVE_CODE, first, end)

    # -- hooks -----------------------------------------------------------------------------

    def hook_interrupts(self, callback: Callable[[int], None]) -> int:
        def interrupted(_engine: object, vector: int, _data: object) -> None:
            # `_guard`, written out: this is the way of every service.
            try:
                callback(vector)
            except BaseException as error:
                self._fail(error)

        return self._hook(_HOOK_INTERRUPT, _CALLBACK_INTERRUPT(interrupted))

    def hook_invalid(self, callback: Callable[[], None]) -> int:
        def invalid(_engine: object, _data: object) -> bool:
            self._guard(callback)
            return self._failure is None

        return self._hook(_HOOK_INVALID_INSTRUCTION, _CALLBACK_PLAIN(invalid))

    def hook_instruction(self, instruction: int, callback: Callable[[], None]) -> int:
        """Call back instead of executing `instruction`."""

        def replaced(_engine: object, _data: object) -> bool:
            self._guard(callback)
            return True

        return self._hook(
            _HOOK_INSTRUCTION, _CALLBACK_PLAIN(replaced), _ANYWHERE, ctypes.c_int(instruction)
        )

    def hook_unmapped(self, callback: Callable[[int, int], None]) -> int:
        """Call back with (address, size) when an access leaves RAM; the run then ends.

        Bounded: a memory hook that covers RAM makes every store there take the slow way, 38 ns
        instead of 3.
        """

        def unmapped(_e: object, _kind: int, address: int, size: int, *_rest: object) -> bool:
            self._guard(callback, address, size)
            return False

        bounds = (self._ram_size, _PHYSICAL_END - 1)
        return self._hook(_HOOK_UNMAPPED, _CALLBACK_ACCESS(unmapped), bounds)

    def hook_code(self, va: int, callback: Callable[[int], None]) -> int:
        """Call back before the instruction at `va` executes."""

        def reached(_engine: object, address: int, _size: int, _data: object) -> None:
            self._guard(callback, address)

        return self._hook(_HOOK_CODE, _CALLBACK_CODE(reached), (va, va))

    def hook_access(
        self, first: int, last: int, write_only: bool, callback: Callable[[int, int], None]
    ) -> int:
        """Call back with (physical address, size) before an access to `first`..`last`."""

        def accessed(_e: object, _kind: int, address: int, size: int, *_rest: object) -> bool:
            self._guard(callback, address, size)
            return True

        kinds = _HOOK_MEM_WRITE if write_only else _HOOK_MEM_WRITE | _HOOK_MEM_READ
        return self._hook(kinds, _CALLBACK_ACCESS(accessed), (first, last))

    def unhook(self, hook: int) -> None:
        _check(_fast.uc_hook_del(self._handle, ctypes.c_size_t(hook)), "remove a hook")
        del self.hooks[hook]

    def _hook(
        self, kind: int, callback: Any, bounds: tuple[int, int] = _ANYWHERE, *extra: ctypes.c_int
    ) -> int:
        hook = ctypes.c_size_t()
        first, last = map(ctypes.c_uint64, bounds)
        status = _fast.uc_hook_add(
            self._handle, ctypes.byref(hook), kind, callback, None, first, last, *extra
        )
        _check(status, "add a hook")
        self.hooks[hook.value] = callback
        return hook.value

    def _guard(self, callback: Callable[..., None], *arguments: int) -> None:
        try:
            callback(*arguments)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """C frames lie between a callback and `start`: what was raised, Ctrl+C too, waits there."""
        if self._failure is None:
            self._failure = error
        self.stop()
