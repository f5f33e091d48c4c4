"""Windows times as kd prints them. A time is 100 ns units since 1601-01-01 UTC."""

from __future__ import annotations

import time

UNIX_EPOCH = 116_444_736_000_000_000
TICKS = 10_000_000


def from_unix(seconds: float) -> int:
    return UNIX_EPOCH + int(seconds * 1000) * (TICKS // 1000)


def session_time(filetime: int, hours: int | None = None) -> str:
    """`Sat Nov 22 20:44:41.123 2025 (UTC + 1:00)`, in the local zone or `hours` from Greenwich."""
    unix, rest = divmod(filetime - UNIX_EPOCH, TICKS)
    if hours is None:
        local = time.localtime(unix)
        zone = utc_offset(local)
    else:
        local = time.gmtime(unix + hours * 3600)
        zone = f"UTC {'-' if hours < 0 else '+'} {abs(hours)}:00"
    date = time.strftime("%a %b ", local) + f"{local.tm_mday:2}"
    clock = time.strftime("%H:%M:%S", local) + f".{rest // 10_000:03}"
    return f"{date} {clock} {local.tm_year} ({zone})"


def utc_offset(local: time.struct_time) -> str:
    """`UTC + 1:00`."""
    sign = "-" if local.tm_gmtoff < 0 else "+"
    hours, minutes = divmod(abs(local.tm_gmtoff) // 60, 60)
    return f"UTC {sign} {hours}:{minutes:02}"


def image_time(stamp: int) -> str:
    """`Sat Nov 22 20:44:41 2025` for a 32-bit time stamp."""
    local = time.localtime(stamp)
    return (
        time.strftime("%a %b ", local) + f"{local.tm_mday:2}" + time.strftime(" %H:%M:%S %Y", local)
    )


def uptime(interval: int) -> str:
    """`0 days 2:53:56.007`."""
    seconds, rest = divmod(interval, TICKS)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days} days {hour}:{minute:02}:{second:02}.{rest // 10_000:03}"
