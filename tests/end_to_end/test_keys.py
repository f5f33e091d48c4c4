"""Where a KDNET key may be seen: nowhere but where its owner put it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

KEY = "z9secret1.2.3.z9secret4"
PATIENCE = 60


def started(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "kdsim", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ps has its own copy")
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("kd", "-k", f"net:port=0,key={KEY}"), id="kd"),
        pytest.param(("target", "--port", "9", "--key", KEY), id="target"),
        pytest.param(("target", "--port", "9", f"--key={KEY}"), id="target, one word"),
    ],
)
def test_the_process_list_forgets_a_key(arguments):
    process = started(*arguments)
    try:
        end = time.monotonic() + PATIENCE
        shown = Path(f"/proc/{process.pid}/cmdline")
        while "secret" in (text := shown.read_text()) or "key" not in text:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        text = process.communicate()[0]
    assert "secret" not in text


@pytest.mark.parametrize(
    "transport",
    [
        pytest.param(f"net:port=0,key={KEY}", id="good"),
        pytest.param(f"net:port=0,key={KEY}.5", id="too many parts"),
        pytest.param(f"net:port=0,key={KEY}_", id="wrong characters"),
        pytest.param(f"net:port=0,key={KEY},key={KEY}", id="twice"),
        pytest.param(f"net:port=x,key={KEY}", id="port"),
        pytest.param(f"net:port=0,KEY={KEY},other=1", id="option"),
        pytest.param(f"nit:port=0,key={KEY}", id="kind"),
    ],
)
def test_no_message_and_no_log_repeats_a_key(tmp_path, transport):
    log = tmp_path / "kd.log"
    process = started("kd", "-k", transport, "-logo", str(log), "--timeout", "0.1")
    assert "secret" not in process.communicate(timeout=PATIENCE)[0]
    assert not log.exists() or "secret" not in log.read_text()
    assert process.returncode in (2, 3)


@pytest.mark.parametrize("way", ["variable", "file"])
def test_a_key_from_elsewhere(tmp_path, way):
    (tmp_path / "key").write_text(f"{KEY}\n")
    arguments = ("--key-file", str(tmp_path / "key")) if way == "file" else ()
    environment = {"KDSIM_KEY": KEY if way == "variable" else ""}
    process = started("kd", "-k", "net:port=0", "--timeout", "0.1", *arguments, **environment)
    assert "no target answered" in process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 3
