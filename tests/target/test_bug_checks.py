"""Bug checks under kd, from the machine's fault to `!analyze`."""

from pathlib import Path

from kdsim.target.lab import Task, Verifier
from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.system import System
from tests.target.booted import small_lab
from tests.target.debugging import debug, listen

UNLOADED = (
    "sxe ud:leaky.sys; g; r $t0 = leaky; sxr",
    "g nt!MiDecommitSystemPages; gu",
    "r rip = @$t0 + 1234; g; !analyze -v; ? @$t0; q",
)


def _session(folder: Path, *commands: str) -> str:
    """What kd prints; nobody verifies leaky.sys, so that it gets away."""
    connection = listen(folder / "kd")
    tasks = (Task(1.0, "leaky.sys", start=True), Task(2.0, "leaky.sys", start=False))
    lab = small_lab(verifier=Verifier(), tasks=tasks)
    system = System.power_on(lab, connection, print, clock=Clock(ClockMode.VIRTUAL))
    try:
        return debug(system, folder / "kd", "-c", "; ".join(commands))
    finally:
        connection.close()
        system.close()


def test_code_of_an_unloaded_driver(tmp_path):
    text = _session(tmp_path, *UNLOADED)
    base = int(text.rpartition(" = ")[2].replace("`", ""), 16)
    high, low = divmod(base + 0x1234, 1 << 32)
    place = f"{high:08x}`{low:08x}"
    fault = f"0x{base + 0x1234:016X}"
    assert (
        "*** Fatal System Error: 0x000000ce\n"
        f"                       ({fault},0x0000000000000010,{fault},0x0000000000000002)\n"
        "\n"
        "Driver at fault: leaky.sys.\n"
    ) in text
    assert "Probably caused by : leaky.sys\n" in text
    assert "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS (ce)\n" in text
    assert f"FAULTING_IP:  \n<Unloaded_leaky.sys>+0x1234\n{place} ??              ???\n" in text
    assert f"IP_MODULE_UNLOADED:  \nleaky.sys+1234\n{place} ??              ???\n" in text
    assert ": <Unloaded_leaky.sys>+0x1234\n" in text
    assert "FAILURE_BUCKET_ID:  0xCE_IMAGE_leaky.sys\n" in text
