"""Build the guest's modules from C and assembly into ``images/``.

Every module becomes a PE image and a PDB, laid out as a symbol store, with ``manifest.json`` beside
them. One pinned toolchain and path-free debug information make the result the same bytes on every
machine, so a test can prove that the committed images come from the committed sources.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import headers

TARGETS = Path(__file__).resolve().parent
IMAGES = TARGETS / "images"
TOOLCHAIN = "ziglang==0.17.1"
VERSION = (10, 0, 19041, 3570)
SOURCE_ROOT = "C:\\kdsim"

COMPILE = [
    *("-target", "x86_64-windows-msvc", "-std=c17", "-O1", "-c"),
    *("-ffreestanding", "-nostdinc", "-fno-builtin", "-fno-sanitize=all", "-fno-stack-protector"),
    "-mno-stack-arg-probe",
    # Stacks have a frame per source function ...
    *("-fno-omit-frame-pointer", "-fno-inline", "-fno-optimize-sibling-calls"),
    # ... and every function has unwind data and CodeView records that name no build folder.
    *("-fasynchronous-unwind-tables", "-g", "-gcodeview", "-gno-codeview-command-line"),
    f"-fdebug-compilation-dir={SOURCE_ROOT}",
    *("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-multichar"),
]
LINK = [
    *("/nologo", "/machine:x64", "/subsystem:native", "/nodefaultlib", "/debug", "/Brepro"),
    *("/release", "/opt:noref", "/opt:noicf", "/incremental:no", f"/pdbsourcepath:{SOURCE_ROOT}"),
]


@dataclass(frozen=True)
class Module:
    """One image: where its sources are and how it is linked."""

    file: str
    pdb: str
    entry: str
    description: str
    original: str
    options: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    version: tuple[int, int, int, int] = VERSION
    sources: tuple[Path, ...] = field(default=())

    @property
    def stem(self) -> str:
        return self.file.partition(".")[0]


def modules() -> list[Module]:
    """The kernel first: everything else imports from it."""
    found = [
        Module(
            file="ntoskrnl.exe",
            pdb="ntkrnlmp.pdb",
            entry="KiSystemStartup",
            description="NT Kernel & System",
            original="ntkrnlmp.exe",
            options=("/implib:ntoskrnl.lib", "/base:0x140000000"),
            sources=sources_of("nt"),
        ),
        Module(
            file="hal.dll",
            pdb="hal.pdb",
            entry="HalInitSystem",
            description="Hardware Abstraction Layer DLL",
            original="hal.dll",
            options=("/dll", "/implib:hal.lib", "/def:hal.def", "/base:0x1c0000000"),
            imports=("ntoskrnl.lib",),
            sources=sources_of("hal"),
        ),
    ]
    folders = sorted(p for p in (TARGETS / "drivers").iterdir() if any(p.glob("*.c")))
    return found + [driver(folder.name) for folder in folders]


def driver(name: str) -> Module:
    return Module(
        file=f"{name}.sys",
        pdb=f"{name}.pdb",
        entry="DriverEntry",
        description=f"kdsim lab driver {name}",
        original=f"{name}.sys",
        options=("/driver", "/base:0x1c0000000"),
        imports=("ntoskrnl.lib",),
        version=(1, 0, 0, 0),
        sources=sources_of(f"drivers/{name}"),
    )


def sources_of(folder: str) -> tuple[Path, ...]:
    files = (p for p in (TARGETS / folder).rglob("*") if p.suffix in (".c", ".S"))
    return tuple(sorted(p.relative_to(TARGETS) for p in files))


def source_hash() -> str:
    """One hash over everything that decides the images' bytes."""
    digest = hashlib.sha256(TOOLCHAIN.encode())
    for path in source_files():
        name = path.relative_to(TARGETS).as_posix()
        digest.update(f"\0{name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_files() -> Iterator[Path]:
    yield TARGETS / "build.py"
    yield TARGETS / "headers.py"
    for folder in ("drivers", "hal", "include", "nt"):
        files = (p for p in (TARGETS / folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
        yield from sorted(files)


def find_zig() -> Path | None:
    """The pinned compiler, when it is installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    zig = Path(spec.origin).parent / "zig"
    return zig if zig.exists() else zig.with_suffix(".exe")


class BuildError(Exception):
    """A tool of the toolchain refused its input."""


class Builder:
    """Compiles and links all modules inside one scratch folder."""

    def __init__(self, zig: Path, scratch: Path) -> None:
        self._zig = zig
        self._scratch = scratch

    def build(self, output: Path) -> None:
        """Replace ``output`` with freshly built images."""
        found = modules()
        (self._scratch / "nttypes_check.h").write_text(headers.check_text())
        jobs = [(module, source) for module in found for source in module.sources]
        with ThreadPoolExecutor() as pool:
            failures = [text for text in pool.map(lambda job: self._compile(*job), jobs) if text]
            if failures:
                raise BuildError("\n".join(failures))
            list(pool.map(self._resource, found))
        entries = {}
        shutil.copy(TARGETS / "hal" / "hal.def", self._scratch)
        for module in found:
            self._link(module)
            entries[module.file] = self._store(module)
        if output.exists():
            shutil.rmtree(output)
        shutil.copytree(self._scratch / "store", output)
        manifest = {"toolchain": TOOLCHAIN, "sources": source_hash(), "images": entries}
        (output / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")

    def _run(self, tool: str, *arguments: str, cwd: Path) -> None:
        command = [str(self._zig), tool, *arguments]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{arguments[-1]}: {tool} failed\n{done.stdout}{done.stderr}")

    def _object(self, source: Path) -> str:
        return "_".join(source.parts) + ".obj"

    def _compile(self, module: Module, source: Path) -> str:
        """Compile one file and return the compiler's complaints."""
        target = self._scratch / self._object(source)
        flags = ["-Iinclude", "-Int", f"-I{self._scratch}"]
        if source.suffix == ".c":  # or CodeView names the compiler's temporary file
            flags += ["-Xclang", f"-object-file-name={target.name}"]
        if source.name == "types.c":  # the one file that carries every type into the PDB
            flags.append("-fno-eliminate-unused-debug-types")
        try:
            self._run("cc", *COMPILE, *flags, source.as_posix(), "-o", str(target), cwd=TARGETS)
        except BuildError as error:
            return str(error)
        return ""

    def _resource(self, module: Module) -> None:
        script = self._scratch / f"{module.file}.rc"
        script.write_text(version_script(module))
        self._run("rc", script.name, f"{module.file}.res", cwd=self._scratch)

    def _link(self, module: Module) -> None:
        objects = [self._object(source) for source in module.sources]
        self._run(
            "lld-link",
            *LINK,
            *module.options,
            f"/entry:{module.entry}",
            f"/out:{module.file}",
            f"/pdb:{module.pdb}",
            f"/pdbaltpath:{module.pdb}",
            *objects,
            f"{module.file}.res",
            *module.imports,
            cwd=self._scratch,
        )

    def _store(self, module: Module) -> dict[str, str]:
        """Copy image and PDB to their symbol-store places."""
        image = (self._scratch / module.file).read_bytes()
        pdb = (self._scratch / module.pdb).read_bytes()
        places = {
            "image": f"{module.file}/{image_key(image)}/{module.file}",
            "pdb": f"{module.pdb}/{pdb_key(image)}/{module.pdb}",
        }
        for data, place in ((image, places["image"]), (pdb, places["pdb"])):
            path = self._scratch / "store" / place
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
        return places | {
            "sha256": hashlib.sha256(image).hexdigest(),
            "pdb_sha256": hashlib.sha256(pdb).hexdigest(),
        }


def image_key(image: bytes) -> str:
    """TimeDateStamp and SizeOfImage, as symbol stores spell them."""
    (pe,) = struct.unpack_from("<I", image, 0x3C)
    (stamp,) = struct.unpack_from("<I", image, pe + 8)
    (size,) = struct.unpack_from("<I", image, pe + 24 + 56)
    return f"{stamp:08X}{size:X}"


def pdb_key(image: bytes) -> str:
    """GUID and age of the image's CodeView record."""
    at = image.index(b"RSDS") + 4
    data1, data2, data3 = struct.unpack_from("<IHH", image, at)
    (age,) = struct.unpack_from("<I", image, at + 16)
    return f"{data1:08X}{data2:04X}{data3:04X}{image[at + 8 : at + 16].hex().upper()}{age:X}"


def version_script(module: Module) -> str:
    numbers = ",".join(map(str, module.version))
    text = ".".join(map(str, module.version))
    kind = "0x1" if module.file.endswith(".exe") else "0x3"
    strings = {
        "CompanyName": "kdsim",
        "FileDescription": module.description,
        "FileVersion": text,
        "InternalName": module.original,
        "OriginalFilename": module.original,
        "ProductName": "kdsim",
        "ProductVersion": text,
    }
    values = "\n".join(f'      VALUE "{key}", "{value}"' for key, value in strings.items())
    return f"""\
1 VERSIONINFO
FILEVERSION {numbers}
PRODUCTVERSION {numbers}
FILEOS 0x40004
FILETYPE {kind}
BEGIN
  BLOCK "StringFileInfo"
  BEGIN
    BLOCK "040904b0"
    BEGIN
{values}
    END
  END
  BLOCK "VarFileInfo"
  BEGIN
    VALUE "Translation", 0x0409, 1200
  END
END
"""


def build(output: Path = IMAGES) -> None:
    """Build everything into ``output``."""
    zig = find_zig()
    if zig is None:
        raise BuildError(f"the compiler is not installed: pip install {TOOLCHAIN}")
    headers.HEADER.write_text(headers.header_text())
    with tempfile.TemporaryDirectory(prefix="kdsim-build-") as scratch:
        Builder(zig, Path(scratch)).build(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=IMAGES)
    try:
        build(parser.parse_args().output)
    except BuildError as error:
        sys.exit(f"build: {error}")
