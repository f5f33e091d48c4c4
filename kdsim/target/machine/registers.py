"""One processor's registers as attributes, over the engine's context blob.

The blob is fetched from the engine at the first access after it ran and put back, when something
was written, before it runs again. Between the two an access costs no call.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kdsim.errors import FormatError, UserError
from kdsim.target.machine import layout
from kdsim.target.machine.engine import Engine

FLAG_TF, FLAG_IF, FLAG_DF = 1 << 8, 1 << 9, 1 << 10
FLAG_NT, FLAG_RF, FLAG_VM = 1 << 14, 1 << 16, 1 << 17

_PAT_RESET = 0x0007_0406_0007_0406
CODE_RING0, DATA_RING0, _DATA_RING3 = 0x00AF_9B00, 0x00CF_9300, 0x00CF_F300
"""Attributes of flat segments: the high dword of their descriptors."""
_ATTRIBUTE_LONG = 1 << 21

_MSRS = {
    0x174: "sysenter_cs",
    0x175: "sysenter_esp",
    0x176: "sysenter_eip",
    0x1A0: "misc_enable",
    0x277: "pat",
    0xC000_0080: "efer",
    0xC000_0081: "star",
    0xC000_0082: "lstar",
    0xC000_0083: "cstar",
    0xC000_0084: "sfmask",
    0xC000_0100: "fs_base",
    0xC000_0101: "gs_base",
    0xC000_0102: "kernel_gs_base",
    0xC000_0103: "tsc_aux",
}

_FIELDS = tuple(layout.architectural_fields())
_STATE = struct.Struct("<Q" + "".join(f"{size}s" for _, _, size in _FIELDS) + "B")
STATE_SIZE = _STATE.size

_FXSAVE = struct.Struct("<HHBxHQQII")
"""FXSAVE64's first 32 bytes: FCW FSW FTW FOP RIP RDP MXCSR MXCSR_MASK."""


class _Quad:
    """A 64-bit register at a byte offset of the blob."""

    def __init__(self, offset: int) -> None:
        self._index = offset >> 3

    def __get__(self, registers: Registers, owner: type | None = None) -> int:
        if not registers._loaded:
            registers._load()
        return registers._quads[self._index]

    def __set__(self, registers: Registers, value: int) -> None:
        if not registers._loaded:
            registers._load()
        registers._quads[self._index] = value
        registers._dirty = True


class _Word:
    """A register in a 32-bit cell: selectors, limits."""

    def __init__(self, offset: int) -> None:
        self._index = offset >> 2

    def __get__(self, registers: Registers, owner: type | None = None) -> int:
        if not registers._loaded:
            registers._load()
        return registers._words[self._index]

    def __set__(self, registers: Registers, value: int) -> None:
        if not registers._loaded:
            registers._load()
        registers._words[self._index] = value
        registers._dirty = True


class Segment(NamedTuple):
    """A segment register with its hidden part.

    `attributes` is the high dword of the descriptor, as the engine keeps it.
    """

    selector: int
    base: int = 0
    limit: int = 0xFFFF_FFFF
    attributes: int = 0


def _general(name: str) -> _Quad:
    return _Quad(layout.GENERAL.index(name) * 8)


class Registers:
    """See the module docstring. Writing CR0, CR3, CR4 or EFER goes through `set_control`."""

    rax, rcx, rdx, rbx = map(_general, ("rax", "rcx", "rdx", "rbx"))
    rsp, rbp, rsi, rdi = map(_general, ("rsp", "rbp", "rsi", "rdi"))
    r8, r9, r10, r11 = map(_general, ("r8", "r9", "r10", "r11"))
    r12, r13, r14, r15 = map(_general, ("r12", "r13", "r14", "r15"))
    rip = _Quad(layout.RIP)
    cr0, cr2, cr3, cr4 = map(_Quad, (layout.CR0, layout.CR2, layout.CR3, layout.CR4))
    efer = _Quad(layout.EFER)
    dr0, dr1, dr2, dr3 = (_Quad(layout.DEBUG[name]) for name in ("dr0", "dr1", "dr2", "dr3"))
    dr6, dr7 = (_Quad(layout.DEBUG[name]) for name in ("dr6", "dr7"))
    star, lstar = _Quad(layout.MSRS["star"]), _Quad(layout.MSRS["lstar"])
    cstar, sfmask = _Quad(layout.MSRS["cstar"]), _Quad(layout.MSRS["sfmask"])
    kernel_gs_base = _Quad(layout.MSRS["kernel_gs_base"])
    tsc_aux, pat = _Quad(layout.MSRS["tsc_aux"]), _Quad(layout.MSRS["pat"])
    misc_enable = _Quad(layout.MSRS["misc_enable"])
    sysenter_esp = _Quad(layout.MSRS["sysenter_esp"])
    sysenter_eip = _Quad(layout.MSRS["sysenter_eip"])
    sysenter_cs = _Word(layout.SYSENTER_CS)
    es, cs, ss = (_Word(layout.SEGMENTS[name]) for name in ("es", "cs", "ss"))
    ds, fs, gs = (_Word(layout.SEGMENTS[name]) for name in ("ds", "fs", "gs"))
    tr, ldtr = _Word(layout.TABLES["tr"]), _Word(layout.TABLES["ldtr"])
    fs_base = _Quad(layout.SEGMENTS["fs"] + layout.BASE)
    gs_base = _Quad(layout.SEGMENTS["gs"] + layout.BASE)
    tr_base = _Quad(layout.TABLES["tr"] + layout.BASE)
    gdt_base = _Quad(layout.TABLES["gdt"] + layout.BASE)
    idt_base = _Quad(layout.TABLES["idt"] + layout.BASE)
    gdt_limit = _Word(layout.TABLES["gdt"] + layout.LIMIT)
    idt_limit = _Word(layout.TABLES["idt"] + layout.LIMIT)
    _hflags = _Word(layout.HFLAGS)
    _error_code = _Word(layout.ERROR_CODE)
    _is_software = _Word(layout.IS_SOFTWARE)
    _in_flight = _Word(layout.IN_FLIGHT)
    _flag_parts = _Quad(layout.FLAGS_PARTS)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._octets, self._quads, self._words = engine.octets, engine.quads, engine.words
        self._save, self._restore = engine.save, engine.restore
        self._loaded = False
        self._dirty = False

    def _load(self) -> None:
        self._save()
        self._loaded = True

    def _put_back(self) -> None:
        """Give the engine what was written, and forget the copy: the engine runs next."""
        if self._dirty:
            self._restore()
            self._dirty = False
        self._loaded = False

    # -- registers that are more than a cell ------------------------------------------------

    @property
    def rflags(self) -> int:
        if not self._loaded:
            self._load()
        return self.engine.read_flags()

    @rflags.setter
    def rflags(self, value: int) -> None:
        if not self._loaded:
            self._load()
        self.engine.write_flags(value)
        self._dirty = True

    @property
    def cr8(self) -> int:
        if not self._loaded:
            self._load()
        return self._octets[layout.CR8]

    @cr8.setter
    def cr8(self, value: int) -> None:
        if not self._loaded:
            self._load()
        self._octets[layout.CR8] = value & 0xF
        self._dirty = True

    @property
    def mxcsr(self) -> int:
        if not self._loaded:
            self._load()
        return self._words[layout.MXCSR >> 2]

    @mxcsr.setter
    def mxcsr(self, value: int) -> None:
        if not self._loaded:
            self._load()
        (control,) = struct.unpack_from("<H", self._octets, layout.FP_CONTROL)
        self.engine.write_floating_control(value, control)
        self._dirty = True

    @property
    def cpl(self) -> int:
        return self._hflags & layout.HFLAGS_CPL

    @property
    def interruptible(self) -> bool:
        """IF is set and the last instruction was neither STI nor MOV SS."""
        return bool(self._flag_parts & FLAG_IF) and not self._hflags & layout.HFLAGS_INHIBIT

    def read_msr(self, number: int) -> int | None:
        """A model-specific register; None when there is no such register."""
        name = _MSRS.get(number)
        return None if name is None else int(getattr(self, name))

    def write_msr(self, number: int, value: int) -> bool:
        """Write a model-specific register; False when there is no such register."""
        name = _MSRS.get(number)
        if name is None:
            return False
        if name == "efer":
            self.set_control(efer=value)
        else:
            setattr(self, name, value)
        return True

    def segment(self, name: str) -> Segment:
        """Segment register `name` ("cs", "tr", ...) with its hidden part."""
        if not self._loaded:
            self._load()
        offset = (layout.SEGMENTS | layout.TABLES)[name]
        word = offset >> 2
        return Segment(
            self._words[word],
            self._quads[offset + layout.BASE >> 3],
            self._words[word + (layout.LIMIT >> 2)],
            self._words[word + (layout.ATTRIBUTES >> 2)],
        )

    def set_segment(self, name: str, segment: Segment) -> None:
        """Load a segment register's visible and hidden part; SS sets the privilege level."""
        if not self._loaded:
            self._load()
        offset = (layout.SEGMENTS | layout.TABLES)[name]
        word = offset >> 2
        self._words[word] = segment.selector
        self._quads[offset + layout.BASE >> 3] = segment.base
        self._words[word + (layout.LIMIT >> 2)] = segment.limit
        self._words[word + (layout.ATTRIBUTES >> 2)] = segment.attributes
        if name == "ss":
            self._hflags = self._hflags & ~layout.HFLAGS_CPL | segment.attributes >> 13 & 3
        elif name == "cs" and not segment.attributes & _ATTRIBUTE_LONG:
            raise UserError(f"selector {segment.selector:#x} is not 64-bit code; nothing else runs")
        self._dirty = True

    def set_control(
        self,
        *,
        cr0: int | None = None,
        cr3: int | None = None,
        cr4: int | None = None,
        efer: int | None = None,
    ) -> None:
        """Write control registers as `mov crN` and `wrmsr` do: modes change, the TLB goes."""
        self._put_back()
        for name, value in (("cr3", cr3), ("cr4", cr4)):
            if value is not None:
                self.engine.write_control(name, value)
        if efer is not None:
            self.engine.write_msr(0xC000_0080, efer)
        if cr0 is not None:
            self.engine.write_control("cr0", cr0)

    # -- the whole of it ---------------------------------------------------------------------

    def set_long_mode(self, *, cr3: int, cr4: int, efer: int, cr0: int) -> None:
        """Ring 0, 64-bit, flat segments with Windows' selectors, interrupts off."""
        self.set_control(cr3=cr3, cr4=cr4, efer=efer, cr0=cr0)
        self.set_segment("cs", Segment(0x10, attributes=CODE_RING0))
        self.set_segment("ss", Segment(0x18, attributes=DATA_RING0))
        for name in ("ds", "es", "fs", "gs"):
            self.set_segment(name, Segment(0x2B, attributes=_DATA_RING3))
        self._words[layout.HFLAGS2 >> 2] |= layout.HFLAGS2_CR8
        self.rflags = 0x2
        self.pat = _PAT_RESET
        self.dr6, self.dr7 = 0xFFFF_0FF0, 0x400
        self.engine.write_floating_control(0x1F80, 0x27F)
        self._octets[layout.FP_EMPTY : layout.FP_EMPTY + 8] = b"\1" * 8

    def state(self) -> bytes:
        """Everything architectural, `STATE_SIZE` bytes; see `layout.architectural_fields`."""
        flags = self.rflags
        octets = self._octets
        parts = [bytes(octets[offset : offset + size]) for _, offset, size in _FIELDS]
        return _STATE.pack(flags, *parts, bool(self._hflags & layout.HFLAGS_INHIBIT))

    def load_state(self, state: bytes) -> None:
        """Become what `state` of another processor was."""
        if len(state) != STATE_SIZE:
            raise FormatError(f"a processor state has {STATE_SIZE} bytes, not {len(state)}")
        flags, *parts, inhibit = _STATE.unpack(state)
        fields = {name: part for (name, _, _), part in zip(_FIELDS, parts, strict=True)}
        control = {
            name: int.from_bytes(fields[name], "little") for name in ("cr0", "cr3", "cr4", "efer")
        }
        self.set_long_mode(**control)
        for (_, offset, size), part in zip(_FIELDS, parts, strict=True):
            self._octets[offset : offset + size] = part
        self.set_segment("ss", self.segment("ss"))
        self.rflags = flags
        fpcw = int.from_bytes(fields["fp_control"], "little")
        self.engine.write_floating_control(int.from_bytes(fields["mxcsr"], "little"), fpcw)
        self._hflags = self._hflags & ~layout.HFLAGS_INHIBIT | inhibit * layout.HFLAGS_INHIBIT

    def names(self) -> Iterator[str]:
        """Every register that reads as an int by its name."""
        yield from ("rflags", "cr8")
        for name, value in vars(Registers).items():
            if isinstance(value, _Quad | _Word) and not name.startswith("_"):
                yield name

    # -- floating point ----------------------------------------------------------------------

    def fxsave(self) -> bytes:
        """The 512 bytes of FXSAVE64, which are CONTEXT.FltSave."""
        if not self._loaded:
            self._load()
        octets = self._octets
        top = octets[layout.FP_TOP] & 7
        (control, status) = struct.unpack_from(
            "<H", octets, layout.FP_CONTROL
        ) + struct.unpack_from("<H", octets, layout.FP_STATUS)
        (opcode,) = struct.unpack_from("<H", octets, layout.FP_OPCODE)
        valid = sum(1 << i for i in range(8) if not octets[layout.FP_EMPTY + i])
        parts = [
            _FXSAVE.pack(
                control,
                status & ~0x3800 | top << 11,
                valid,
                opcode,
                self._quads[layout.FP_IP >> 3],
                self._quads[layout.FP_DP >> 3],
                self.mxcsr,
                0xFFFF,
            )
        ]
        for i in range(8):
            start = layout.FP_REGISTERS + (top + i & 7) * 16
            parts.append(bytes(octets[start : start + 10]).ljust(16, b"\0"))
        for i in range(16):
            start = layout.XMM + i * layout.XMM_STRIDE
            parts.append(bytes(octets[start : start + 16]))
        return b"".join(parts).ljust(512, b"\0")

    def fxrstor(self, area: bytes) -> None:
        """Load what `fxsave` gave."""
        if not self._loaded:
            self._load()
        octets = self._octets
        control, status, valid, opcode, ip, dp, mxcsr, _mask = _FXSAVE.unpack_from(area)
        top = status >> 11 & 7
        self._words[layout.FP_TOP >> 2] = top
        struct.pack_into("<H", octets, layout.FP_STATUS, status & ~0x3800)
        struct.pack_into("<H", octets, layout.FP_OPCODE, opcode)
        self._quads[layout.FP_IP >> 3], self._quads[layout.FP_DP >> 3] = ip, dp
        for i in range(8):
            octets[layout.FP_EMPTY + i] = not valid >> i & 1
            start = layout.FP_REGISTERS + (top + i & 7) * 16
            octets[start : start + 10] = area[32 + i * 16 : 42 + i * 16]
        for i in range(16):
            start = layout.XMM + i * layout.XMM_STRIDE
            octets[start : start + 16] = area[160 + i * 16 : 176 + i * 16]
        self.engine.write_floating_control(mxcsr, control)
        self._dirty = True
