"""The symbol space: modules, statuses, names, types and frames across modules."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from kdsim.errors import SymbolError
from kdsim.symbols.frame import FrameRegisters
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.pe import PeImage
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.store import SymbolPath

from .pdbmaker import GUID_TEXT
from .pemaker import driver
from .sample import sample

BASE = 0xFFFF_F800_0001_0000
OTHER = 0xFFFF_F800_0010_0000


class Machine(BytesMemory):
    """Mapped images at their bases, nothing in between."""

    def __init__(self) -> None:
        super().__init__(BASE, bytearray(0x20_0000))

    def load(self, base: int, **options: object) -> None:
        self.write(base, driver(**options).mapped())  # type: ignore[arg-type]


@pytest.fixture
def memory():
    machine = Machine()
    machine.load(BASE)
    return machine


@pytest.fixture
def folder(tmp_path) -> Path:
    maker, strings = sample()
    maker.write(tmp_path / "sample.pdb", strings)
    return tmp_path


@pytest.fixture
def space(memory, folder):
    path = SymbolPath.parse(str(folder), shipped=folder / "none")
    made = SymbolSpace(path, memory)
    made.add("sample", BASE, 0, image_name="sample.sys")
    return made


def test_headers_fill_in_what_is_not_told(space):
    module = space.modules[0]
    assert (module.size, module.timestamp) == (driver().next_rva, driver().timestamp)
    assert module.status == "deferred"


def test_timestamp_is_filled_in_when_only_the_size_is_told(space, memory):
    memory.load(OTHER)
    module = space.add("other", OTHER, 0x9000, image_name="sample.sys")
    assert (module.size, module.timestamp) == (0x9000, driver().timestamp)


def status_of(space, folder):
    space.load_all()
    return space.modules[0].status_text.replace(str(folder), "DIR")


def test_private_symbols(space, folder):
    assert space.modules[0].status_text == "(deferred)             "
    assert status_of(space, folder) == "(private pdb symbols)  DIR/sample.pdb"


def test_public_symbols(space, folder):
    maker, strings = sample(stripped=True)
    maker.write(folder / "sample.pdb", strings)
    assert status_of(space, folder) == "(pdb symbols)          DIR/sample.pdb"


def test_export_symbols(space, folder):
    (folder / "sample.pdb").unlink()
    assert status_of(space, folder) == "(export symbols)       sample.sys"
    assert space.resolve("sample!Outer") == BASE + 0x1000
    assert space.format(BASE + 0x1050) == "sample!Helper+0x10"
    assert [place.name for place in space.match("sample!*e*r")] == ["sample!Outer", "sample!Helper"]
    with pytest.raises(SymbolError, match=r"no type sample!_THING \(sample\.pdb .* was not found"):
        space.type("sample!_THING")


def test_no_symbols(memory, folder):
    space = SymbolSpace(SymbolPath.parse("", shipped=folder / "none"), memory)
    space.add("blank", OTHER, 0x5000, image_name="blank.sys")
    assert status_of(space, folder) == "(no symbols)           "
    assert space.format(OTHER + 0x123) == "blank+0x123"
    assert space.format(OTHER) == "blank"
    assert space.nearest(OTHER) is None
    with pytest.raises(SymbolError, match=r"no symbol X in blank \(blank: .*no MZ"):
        space.resolve("blank!X")


@pytest.fixture
def image_server(tmp_path):
    """A symbol server on loopback that has the sample's image."""
    image = PeImage.from_file(driver().file())
    key = f"{image.timestamp:08X}{image.size_of_image:x}"
    place = tmp_path / "store" / "sample.sys" / key / "sample.sys"
    place.parent.mkdir(parents=True)
    place.write_bytes(driver().file())
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "store"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"srv*{tmp_path / 'cache'}*http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_headers_alone_lead_to_the_images_file(folder, image_server):
    """Small dumps hold the first page of an image; the rest of it comes from a symbol server."""
    memory = BytesMemory(BASE, bytearray(driver().mapped()[:0x400]))
    file = PeImage.from_file(driver().file())
    space = SymbolSpace(
        SymbolPath.parse(f"{folder};{image_server}", shipped=folder / "none"), memory
    )
    known = {"image_name": "sample.sys", "timestamp": file.timestamp}
    module = space.add("sample", BASE, file.size_of_image, **known)
    space.load(module)
    assert module.status == "private pdb"
    assert module.image.functions.find(file.functions[0].begin) == file.functions[0]


def test_mismatch_is_kept_as_the_reason(space, folder):
    maker, strings = sample()
    maker.age = 7
    maker.write(folder / "sample.pdb", strings)
    assert status_of(space, folder) == "(export symbols)       sample.sys"
    assert f"mismatched pdb {GUID_TEXT}7" in space.modules[0].problem


def test_damage_found_late_falls_back_to_exports(space, folder):
    maker, strings = sample()
    maker.modules[0].symbols[0] = 9
    maker.write(folder / "sample.pdb", strings)
    assert space.resolve("sample!Outer") == BASE + 0x1000
    assert space.modules[0].status == "export"
    assert "older than CodeView C13" in space.modules[0].problem


NAMES = [
    ("sample!Outer", 0x1000),
    ("SAMPLE!OUTER", 0x1000),
    ("helper", 0x1040),
    ("sample.sys!AsmEntry", 0x1200),
    ("PoolHitTag", 0x2010),
    ("sample", 0),
]


@pytest.mark.parametrize(("name", "rva"), NAMES, ids=[row[0] for row in NAMES])
def test_resolve(space, name, rva):
    assert space.resolve(name) == BASE + rva


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sample!None", "no symbol None in sample"),
        ("none!Outer", "no module none"),
        ("None", "no symbol None in any module"),
        ("Limit", "no symbol Limit in any module"),
    ],
)
def test_what_does_not_resolve(space, name, reason):
    with pytest.raises(SymbolError, match=reason):
        space.resolve(name)


def test_kernel_is_asked_first(space, memory):
    memory.load(OTHER)
    space.add("nt", OTHER, 0, image_name="ntoskrnl.exe")
    assert space.resolve("Outer") == OTHER + 0x1000
    assert [place.name for place in space.lookup("outer")] == ["nt!Outer", "sample!Outer"]
    assert space.module_named("ntkrnlmp") is space.module_named("nt")


def test_formats(space):
    assert space.format(BASE + 0x1045) == "sample!helper+0x5"
    assert space.format(BASE + 0x1000) == "sample!Outer"
    assert space.format(5) == "0x5"
    space.unnamed = "somewhere near {}".format
    assert space.format(5) == "somewhere near 5"
    found = space.nearest(BASE + 0x1045)
    assert found is not None
    assert (found[0].name, found[0].va, found[1]) == ("sample!helper", BASE + 0x1040, 5)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("sample!*ou*", ["sample!Outer"]),
        ("s*!h*", ["sample!helper", "sample!hidden"]),
        ("x!*", []),
        ("pool*", ["sample!PoolHitTag"]),
    ],
)
def test_match(space, pattern, names):
    assert [place.name for place in space.match(pattern)] == names


TYPES = [
    ("sample!_THING", "_THING", 72),
    ("struct _THING", "_THING", 72),
    ("THING", "_THING", 72),
    ("_THING*", "Ptr64 _THING", 8),
    ("sample!_THING[3]", "[3] _THING", 216),
    ("unsigned long", "Uint4B", 4),
    ("Uint8B **", "Ptr64 Ptr64 Uint8B", 8),
]


@pytest.mark.parametrize(("text", "name", "size"), TYPES, ids=[row[0] for row in TYPES])
def test_types(space, text, name, size):
    found = space.type(text)
    assert (found.name, found.size) == (name, size)


def test_type_names(space):
    assert list(space.type_names("sample", "_t*")) == ["_THING"]
    assert set(space.type_names("*")) == {"_THING", "_COLOR"}


def test_views(space, memory):
    view = space.view("sample!_THING", BASE + 0x2000)
    assert view.Id == 0x0706_0504_0302_0100
    with pytest.raises(SymbolError, match="_COLOR is no structure"):
        space.view("_COLOR", BASE)


def test_lines_and_locals(space):
    line = space.line(BASE + 0x1012)
    assert line is not None
    assert (line.file, line.line) == ("C:\\kdsim\\main.c", 11)
    assert space.line(5) is None
    assert space.line_address("sample", "main.c", 20) == BASE + 0x1040
    with pytest.raises(SymbolError, match="no code for main"):
        space.line_address("", "main.c", 99)
    assert "count" in [local.name for local in space.locals(BASE + 0x1000)]
    assert space.locals(5) == ()


def test_modules_come_and_go(space, memory):
    memory.load(OTHER)
    module = space.add("", OTHER, 0, image_name="my-driver.sys")
    assert module.name == "my_driver"
    assert space.module_at(OTHER + module.size - 1) is module
    assert space.module_at(OTHER + module.size) is None
    assert space.module_at(OTHER - 1) is None
    second = space.add("sample", OTHER, 0, image_name="sample.sys")
    assert module.unloaded
    assert second.name == f"sample_{OTHER:x}"
    space.remove(OTHER)
    assert [each.name for each in space.modules] == ["sample"]
    space.clear()
    assert (space.modules, space.module_named("sample")) == ([], None)


def test_deferring_loads_again(space):
    module = space.modules[0]
    space.load(module)
    assert module.pdb is not None
    space.defer(module)
    assert (module.pdb, module.status) == (None, "deferred")
    assert space.resolve("sample!Outer") == BASE + 0x1000


def test_failed_load_is_not_repeated_unless_forced(space, folder):
    (folder / "sample.pdb").rename(folder / "away")
    module = space.modules[0]
    space.load(module)
    (folder / "away").rename(folder / "sample.pdb")
    space.load(module)
    assert module.status == "export"
    space.load(module, force=True)
    assert module.status == "private pdb"


def test_unwinding_through_a_module_and_outside(space, memory):
    """The image's function table names unwind data that are zeros: version 0 is refused."""
    regs = FrameRegisters(BASE + 0x1010, [0] * 16)
    regs.rsp = BASE + 0x2000
    with pytest.raises(SymbolError, match="cannot unwind: unwind data at 0x3000 has version"):
        space.unwind(regs)
    regs.rip = 0x1234
    found = space.unwind(regs)
    assert (found.regs.rip, found.regs.rsp) == (0x0706_0504_0302_0100, BASE + 0x2008)


def test_image_comes_from_a_store_when_it_is_there(space, folder):
    assert space.modules[0].image.read(0x1000, 1) == b"\xcc"
    changed = bytearray(driver().file())
    changed[0x1000] = 0x90
    (folder / "sample.sys").write_bytes(changed)
    again = space.add("again", BASE, 0, image_name="sample.sys")
    assert again.image.read(0x1000, 1) == b"\x90"


def test_image_that_is_nowhere(folder):
    space = SymbolSpace(SymbolPath.parse("", shipped=folder / "none"), BytesMemory(0, b""))
    module = space.add("gone", BASE, 0x1000, image_name="gone.sys", timestamp=5)
    with pytest.raises(SymbolError, match=r"gone\.sys \(00000005" + "1000"):
        module.image  # noqa: B018
