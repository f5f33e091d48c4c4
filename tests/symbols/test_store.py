"""Symbol paths and stores: syntax, layout, matching, copies and servers."""

from __future__ import annotations

import http.server
import shutil
import threading
from pathlib import Path

import pytest

from kdsim.errors import SymbolError
from kdsim.symbols.download import Downloader
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.pe import CodeView
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.store import DEFAULT_SERVER, SymbolPath, default_cache, file_name

from .pdbmaker import GUID_TEXT
from .pemaker import driver
from .sample import sample

CODE = CodeView(GUID_TEXT, 3, "C:\\build\\sample.pdb")
KEY = f"{GUID_TEXT}3"


@pytest.fixture
def pdb(tmp_path) -> Path:
    maker, strings = sample()
    return maker.write(tmp_path / "built.pdb", strings)


@pytest.fixture
def parse(tmp_path):
    """A path whose shipped store and default cache are empty folders of the test."""

    def make(text: str, shipped: Path = tmp_path / "shipped", **more) -> SymbolPath:
        return SymbolPath.parse(
            text,
            cache=tmp_path / "default",
            shipped=shipped,
            downloads=more.get("downloads", Downloader(patience=2)),
        )

    return make


def put(source: Path, *parts: object) -> Path:
    target = Path(*map(str, parts))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


SYNTAX = [
    ("srv*", f"cache*{{d}};SRV*{DEFAULT_SERVER}", [["{d}", DEFAULT_SERVER]]),
    ("SRV*/a*/b", "SRV*/a*/b", [["/a", "/b"]]),
    ("srv*/a**https://s/x", "srv*/a**https://s/x", [["/a", "{d}", "https://s/x"]]),
    ("srv*https://s/x", "srv*https://s/x", [["{d}", "https://s/x"]]),
    ("symsrv*symsrv.dll*/a*/b", "symsrv*symsrv.dll*/a*/b", [["/a", "/b"]]),
    ("cache*/c;/x;srv*/b", "cache*/c;/x;srv*/b", [["/c", "/x"], ["/c", "/b"]]),
    ("/x;cache*;srv*/b", "/x;cache*;srv*/b", [["/x"], ["{d}", "/b"]]),
    (" /x ; ;/y", "/x;/y", [["/x"], ["/y"]]),
    ("", "", []),
]


@pytest.mark.parametrize(("text", "expanded", "chains"), SYNTAX, ids=[row[0] for row in SYNTAX])
def test_syntax(parse, tmp_path, text, expanded, chains):
    path = parse(text)
    default = str(tmp_path / "default")
    assert str(path) == text
    assert path.expanded == expanded.replace("{d}", default)
    shown = [[str(place) for place in chain] for chain in path.chains]
    assert shown == [[place.replace("{d}", default) for place in chain] for chain in chains]


def test_symfix():
    assert str(SymbolPath.fixed()) == "srv*"
    assert SymbolPath.fixed().expanded == f"cache*;SRV*{DEFAULT_SERVER}"
    assert SymbolPath.fixed("/c").expanded == f"cache*/c;SRV*{DEFAULT_SERVER}"


def test_default_cache_follows_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/kdsim/symbols")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("C:\\a\\b.pdb", "b.pdb"),
        ("/x/y.pdb", "y.pdb"),
        ("n.pdb", "n.pdb"),
        ("..\\..", ""),
        ("a/..", ""),
        ("a\0b", ""),
    ],
)
def test_file_name_never_leads_out_of_its_folder(path, name):
    assert file_name(path) == name


LAYOUTS = [
    pytest.param(["sample.pdb", KEY], False, id="plain"),
    pytest.param(["sample.pdb", KEY.lower()], False, id="lower-case key"),
    pytest.param(["SAMPLE.PDB", KEY], False, id="upper-case name"),
    pytest.param(["sa", "sample.pdb", KEY], True, id="two tiers"),
]


@pytest.mark.parametrize(("parts", "two_tiers"), LAYOUTS)
def test_store_layouts(parse, pdb, tmp_path, parts, two_tiers):
    store = tmp_path / "store"
    wanted = put(pdb, store, *parts, "Sample.pdb" if two_tiers else "sample.pdb")
    if two_tiers:
        (store / "index2.txt").touch()
    assert parse(f"srv*{store}").find_pdb("", CODE) == wanted


FOLDERS = [["symbols", "pdb"], ["pdb"], []]


@pytest.mark.parametrize("parts", FOLDERS, ids=["symbols/pdb", "pdb", "flat"])
def test_plain_folders(parse, pdb, tmp_path, parts):
    wanted = put(pdb, tmp_path / "dir", *parts, "sample.pdb")
    assert parse(str(tmp_path / "dir")).find_pdb("sample.pdb", CODE) == wanted


def test_shipped_store_comes_first(parse, pdb, tmp_path):
    shipped = put(pdb, tmp_path / "shipped", "sample.pdb", KEY, "sample.pdb")
    put(pdb, tmp_path / "dir", "sample.pdb")
    assert parse(str(tmp_path / "dir")).find_pdb("sample.pdb", CODE) == shipped


def test_hit_is_copied_to_all_nearer_stores(parse, pdb, tmp_path):
    put(pdb, tmp_path / "far", "sample.pdb", KEY, "sample.pdb")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "index2.txt").touch()
    text = f"cache*{tmp_path}/first;srv*{tmp_path}/near*{tmp_path}/far"
    first = tmp_path / "first" / "sample.pdb" / KEY / "sample.pdb"
    assert parse(text).find_pdb("", CODE) == first
    near = tmp_path / "near" / "sa" / "sample.pdb" / KEY / "sample.pdb"
    assert first.read_bytes() == near.read_bytes() == pdb.read_bytes()
    shutil.rmtree(tmp_path / "far")
    assert parse(text).find_pdb("", CODE) == first


def test_mismatch_is_refused_with_the_reason(parse, pdb, tmp_path):
    put(pdb, tmp_path / "dir", "sample.pdb")
    other = CodeView(GUID_TEXT, 4, "sample.pdb")
    with pytest.raises(SymbolError, match=f"mismatched pdb {KEY}") as caught:
        parse(str(tmp_path / "dir")).find_pdb("", other)
    assert "\n" not in str(caught.value)


def test_damaged_file_is_passed_over(parse, pdb, tmp_path):
    bad = tmp_path / "bad" / "sample.pdb"
    bad.parent.mkdir()
    bad.write_bytes(b"not a pdb")
    good = put(pdb, tmp_path / "good", "sample.pdb")
    assert parse(f"{bad.parent};{good.parent}").find_pdb("", CODE) == good


def test_compressed_file_is_refused_with_the_reason(parse, pdb, tmp_path):
    put(pdb, tmp_path / "store", "sample.pdb", KEY, "sample.pd_")
    with pytest.raises(SymbolError, match=r"only compressed as sample\.pd_: expand it first"):
        parse(f"srv*{tmp_path}/store").find_pdb("", CODE)


@pytest.mark.parametrize("prefix", ["", "PATH:"])
def test_pointer_file(parse, pdb, tmp_path, prefix):
    pointer = tmp_path / "store" / "sample.pdb" / KEY / "file.ptr"
    pointer.parent.mkdir(parents=True)
    pointer.write_text(f"{prefix}{pdb}")
    assert parse(f"srv*{tmp_path}/store").find_pdb("", CODE) == pdb
    pointer.write_text("MSG: withdrawn")
    with pytest.raises(SymbolError, match="withdrawn"):
        parse(f"srv*{tmp_path}/store").find_pdb("", CODE)


def test_everything_tried_is_told(parse, tmp_path):
    path = parse(f"{tmp_path}/a;srv*{tmp_path}/b")
    lines: list[str] = []
    path.log = lines.append
    with pytest.raises(SymbolError) as caught:
        path.find_pdb("", CODE)
    text = str(caught.value)
    assert text.startswith(f"sample.pdb ({KEY}) was not found: ")
    assert all(str(tmp_path / part) in text for part in ("shipped", "a", "b"))
    assert len(lines) == 3


def test_images_by_timestamp_and_size(parse, tmp_path):
    maker = driver()
    file = tmp_path / "dir" / "sample.sys"
    file.parent.mkdir()
    file.write_bytes(maker.file())
    path = parse(str(file.parent))
    assert path.find_image("sample.sys", maker.timestamp, maker.next_rva) == file
    with pytest.raises(SymbolError, match="mismatched image"):
        path.find_image("sample.sys", maker.timestamp + 1, maker.next_rva)


# -- servers -------------------------------------------------------------------------------------


@pytest.fixture
def server(pdb):
    """A symbol server on loopback; `asked` holds the paths it was asked for."""
    asked: list[str] = []
    data = pdb.read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = self.path == f"/symbols/sample.pdb/{KEY}/sample.pdb"
            body = data if found else b"<html>no</html>"
            lie = self.path.startswith("/lies/")
            self.send_response(200 if found or lie else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Tests stay quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", asked
        running.shutdown()
        thread.join()


def test_download_lands_in_the_nearest_store(parse, server, pdb, tmp_path):
    url, asked = server
    found = parse(f"srv*{tmp_path}/cache*{url}/symbols").find_pdb("", CODE)
    assert found == tmp_path / "cache" / "sample.pdb" / KEY / "sample.pdb"
    assert found.read_bytes() == pdb.read_bytes()
    assert parse(f"srv*{tmp_path}/cache*{url}/symbols").find_pdb("", CODE) == found
    assert len(asked) == 1
    assert [path.name for path in found.parent.iterdir()] == ["sample.pdb"]


def test_missing_file_is_asked_for_once(parse, server, tmp_path):
    url, asked = server
    path = parse(f"srv*{tmp_path}/cache*{url}/empty")
    for _ in range(2):
        with pytest.raises(SymbolError, match="HTTP 404"):
            path.find_pdb("", CODE)
    assert len(asked) == 1
    path.retry()
    with pytest.raises(SymbolError):
        path.find_pdb("", CODE)
    assert len(asked) == 2


def test_wrong_answer_is_thrown_away(parse, server, tmp_path):
    url, _ = server
    with pytest.raises(SymbolError, match="the server's file is unusable"):
        parse(f"srv*{tmp_path}/cache*{url}/lies").find_pdb("", CODE)
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []


def test_refused_connection_silences_the_server(parse, tmp_path):
    path = parse(f"srv*{tmp_path}/cache*http://127.0.0.1:1/symbols")
    with pytest.raises(SymbolError, match="refused"):
        path.find_pdb("", CODE)
    with pytest.raises(SymbolError, match="not asked again for a while"):
        path.find_pdb("", CodeView(GUID_TEXT, 9, "other.pdb"))


def test_silent_server_is_given_up(parse, tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as deaf:
        url = f"http://127.0.0.1:{deaf.server_address[1]}"
        path = parse(f"srv*{tmp_path}/c*{url}", downloads=Downloader(patience=0.2))
        with pytest.raises(SymbolError, match=r"no answer within 0\.2 seconds|timed out"):
            path.find_pdb("", CODE)


def test_images_can_be_looked_for_without_the_network(parse, server, tmp_path):
    url, asked = server
    with pytest.raises(SymbolError):
        parse(f"srv*{tmp_path}/c*{url}").find_image("a.sys", 1, 2, network=False)
    assert asked == []


def test_pdbs_can_be_looked_for_without_the_network(parse, server, tmp_path):
    url, asked = server
    with pytest.raises(SymbolError):
        parse(f"srv*{tmp_path}/cache*{url}/symbols").find_pdb("", CODE, network=False)
    assert asked == []


def test_whoever_waits_hears_of_it(parse, tmp_path):
    heard: list[tuple[str, int]] = []
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as deaf:
        url = f"http://127.0.0.1:{deaf.server_address[1]}"
        path = parse(f"srv*{tmp_path}/c*{url}", downloads=Downloader(patience=0.2))
        path.waiting = lambda file, received: heard.append((file, received))
        with pytest.raises(SymbolError):
            path.find_pdb("", CODE)
    assert set(heard) == {("sample.pdb", 0)}


def test_a_new_path_tells_those_who_listened_to_the_old(parse):
    space = SymbolSpace(parse("a"), BytesMemory(0, b""))
    space.path.log = space.path.waiting = print
    space.path = parse("b")
    assert (space.path.log, space.path.waiting) == (print, print)
