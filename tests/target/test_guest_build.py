"""The committed guest images: made from these sources, laid out like the real kernel."""

import hashlib
import importlib
import importlib.util
import json
from pathlib import Path

import pytest

from kdsim.resources import resource_path
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.pe import PeImage
from kdsim.symbols.types import BitField, Record

TARGETS = resource_path("targets")
IMAGES = TARGETS / "images"
MANIFEST = json.loads((IMAGES / "manifest.json").read_text())
TABLE = json.loads((TARGETS / "include" / "layouts-19041.3570.json").read_text())

# Names a debugger or an independent client reads; kd-clients' list plus what kd's commands use.
DEBUGGER_GLOBALS = [
    "KdDebuggerDataBlock",
    "KdVersionBlock",
    "KdpDebuggerDataListHead",
    "KdDebuggerEnabled",
    "KdDebuggerNotPresent",
    "KdPrintCircularBuffer",
    "KdPrintWritePointer",
    "KdPrintRolloverCount",
    "Kd_DEFAULT_Mask",
    "Kd_WIN2000_Mask",
    "KdComponentTable",
    "KdpBreakpointTable",
    "KdpBreakInRequested",
    "PsLoadedModuleList",
    "PsActiveProcessHead",
    "PsInitialSystemProcess",
    "PsIdleProcess",
    "PspCidTable",
    "KiProcessorBlock",
    "KeNumberProcessors",
    "KeActiveProcessors",
    "KiInitialProcess",
    "KiInitialThread",
    "KiBugCheckData",
    "KiBugCheckDriver",
    "NtBuildLab",
    "NtBuildNumber",
    "NtGlobalFlag",
    "CmNtCSDVersion",
    "MmPfnDatabase",
    "MmPteBase",
    "MiState",
    "MiSystemPartition",
    "MmPhysicalMemoryBlock",
    "MmUnloadedDrivers",
    "MmLastUnloadedDriver",
    "MmSystemRangeStart",
    "MmHighestUserAddress",
    "MmUserProbeAddress",
    "MmVerifierData",
    "PoolHitTag",
    "PoolTrackTable",
    "PoolTrackTableSize",
    "PoolBigPageTable",
    "PoolBigPageTableSize",
    "ExPoolState",
    "ExPoolTagTables",
    "ObpRootDirectoryObject",
    "ObTypeIndexTable",
    "ObHeaderCookie",
    "ObpInfoMaskToOffset",
]

EXPORTS = [
    "ExAllocatePoolWithTag",
    "ExAllocatePool2",
    "ExFreePoolWithTag",
    "ExFreePool",
    "DbgPrint",
    "DbgPrintEx",
    "KeBugCheckEx",
    "DbgBreakPoint",
    "DbgBreakPointWithStatus",
    "PsCreateSystemThread",
    "PsTerminateSystemThread",
    "KeDelayExecutionThread",
    "KeSetTimerEx",
    "KeInsertQueueDpc",
    "KeAcquireSpinLockRaiseToDpc",
    "KfRaiseIrql",
    "KeLowerIrql",
    "KeSetEvent",
    "KeWaitForSingleObject",
    "KeWaitForMultipleObjects",
    "IoCreateDevice",
    "IoDeleteDevice",
    "RtlInitUnicodeString",
    "memset",
    "memcpy",
]


@pytest.fixture(scope="module")
def builder():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TARGETS)
        yield importlib.import_module("build")


@pytest.fixture(scope="module")
def kernel_image() -> PeImage:
    return PeImage.from_file((IMAGES / MANIFEST["images"]["ntoskrnl.exe"]["image"]).read_bytes())


@pytest.fixture(scope="module")
def kernel_pdb() -> Pdb:
    return Pdb.open(IMAGES / MANIFEST["images"]["ntoskrnl.exe"]["pdb"])


def test_images_come_from_these_sources(builder) -> None:
    assert MANIFEST["sources"] == builder.source_hash(), "run `make guests`"


def test_header_comes_from_the_table(builder) -> None:
    headers = importlib.import_module("headers")
    assert headers.HEADER.read_text() == headers.header_text()


def test_every_file_is_in_the_manifest() -> None:
    listed = {entry[kind] for entry in MANIFEST["images"].values() for kind in ("image", "pdb")}
    present = {p.relative_to(IMAGES).as_posix() for p in IMAGES.rglob("*") if p.is_file()}
    assert present == listed | {"manifest.json"}


@pytest.mark.parametrize("name", sorted(MANIFEST["images"]))
def test_image_matches_manifest(name: str) -> None:
    entry = MANIFEST["images"][name]
    data = (IMAGES / entry["image"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    pdb_data = (IMAGES / entry["pdb"]).read_bytes()
    assert hashlib.sha256(pdb_data).hexdigest() == entry["pdb_sha256"]


@pytest.mark.parametrize("name", sorted(MANIFEST["images"]))
def test_image_is_complete(name: str) -> None:
    """Symbol-store keys, version resource, unwind data and relocations, as a real module has."""
    entry = MANIFEST["images"][name]
    image = PeImage.from_file((IMAGES / entry["image"]).read_bytes())
    key = f"{image.timestamp:08X}{image.size_of_image:X}"
    assert entry["image"] == f"{name}/{key}/{name}"
    code = image.codeview
    assert code is not None
    assert entry["pdb"] == f"{code.pdb_name}/{code.key}/{code.pdb_name}"
    assert Pdb.open(IMAGES / entry["pdb"]).guid == code.guid
    assert image.version is not None
    assert image.machine == 0x8664
    assert image.subsystem == 1  # native
    assert image.checksum
    assert image.functions.find(image.entry_rva) is not None


def test_kernel_identity(kernel_image: PeImage) -> None:
    version = kernel_image.version
    assert version is not None
    assert version.strings["FileVersion"] == "10.0.19041.3570"
    assert version.strings["OriginalFilename"] == "ntkrnlmp.exe"
    assert kernel_image.codeview is not None
    assert kernel_image.codeview.pdb_name == "ntkrnlmp.pdb"
    assert kernel_image.characteristics == 0x22  # an executable, not a DLL


def test_kernel_exports(kernel_image: PeImage) -> None:
    assert [name for name in EXPORTS if name not in kernel_image.exports.by_name] == []


def test_hal_only_forwards() -> None:
    entry = MANIFEST["images"]["hal.dll"]
    exports = PeImage.from_file((IMAGES / entry["image"]).read_bytes()).exports.by_name
    assert exports["KeStallExecutionProcessor"].forwarder == "ntoskrnl.KeStallExecutionProcessor"


@pytest.mark.parametrize("name", DEBUGGER_GLOBALS)
def test_kernel_global_is_named(kernel_pdb: Pdb, name: str) -> None:
    assert [symbol.name for symbol in kernel_pdb.symbols(name)][:1] == [name]


def place(record: Record, path: str) -> tuple[int, object]:
    """Offset and type of a dotted field."""
    offset = 0
    *outer, last = path.split(".")
    for step in outer:
        inner = next(field for field in record.fields if field.name == step)
        offset += inner.offset
        assert isinstance(inner.type, Record)
        record = inner.type
    field = next(field for field in record.fields if field.name == last)
    return offset + field.offset, field.type


@pytest.mark.parametrize("name", sorted(TABLE["types"]))
def test_layout_is_the_real_kernels(kernel_pdb: Pdb, name: str) -> None:
    """Every field of every type: the table's offset and bits are what our PDB says."""
    record = kernel_pdb.type(name)
    assert isinstance(record, Record)
    assert record.size == TABLE["types"][name]["size"]
    for offset, _type, field, *bits in TABLE["types"][name]["fields"]:
        found, found_type = place(record, field)
        if bits:
            assert isinstance(found_type, BitField), field
            assert found * 8 + found_type.position == offset * 8 + bits[0][0], field
            assert found_type.length == bits[0][1], field
        else:
            assert found == offset, field


if importlib.util.find_spec("ziglang"):  # the compiler is an extra; the hash test above needs none

    def test_rebuild_gives_the_same_bytes(builder, tmp_path: Path) -> None:
        builder.build(tmp_path / "images")
        built = json.loads((tmp_path / "images" / "manifest.json").read_text())
        assert built == MANIFEST
