"""Driver images from the debugger's side, in place of the disk's: what `.kdfiles` is for.

MmLoadSystemImage asks a debugger for each driver that it loads. Any failure means the disk's copy.
"""

from __future__ import annotations

from kdsim.wire.manipulate import HEADER_SIZE
from kdsim.wire.messages import FILE_IO_SIZE, FileApi, FileIo, FileTransfer
from kdsim.wire.target_connection import TargetConnection

FOLDER = "\\SystemRoot\\System32\\drivers\\"
"""DRIVERS_FOLDER of targets/nt/io/driver.c: where all drivers that are loaded come from."""
MOST_BYTES = 64 << 20
"""Larger files are no drivers."""
_FIRST_FAILURE = 0x8000_0000


class DebuggerFiles:
    """Asks the debugger for files by way of `connection`."""

    def __init__(self, connection: TargetConnection) -> None:
        self._connection = connection

    def driver(self, name: str) -> bytes | None:
        """The file that the debugger has for the driver of that file name; None for none."""
        if not self._connection.present:
            return None
        path = FOLDER + name
        opened = self._ask(FileIo.create(path))
        if opened is None:
            return None
        handle, size = opened.creation.handle, opened.creation.length
        data = self._read(handle, size) if size <= MOST_BYTES else None
        self._ask(FileIo.request(FileApi.CLOSE, FileTransfer(handle)))
        if data is not None:
            self._connection.print(f"MmLoadSystemImage: Pulled {path} from kd\n".encode())
        return data

    def _read(self, handle: int, size: int) -> bytes | None:
        room = self._connection.data_limit + HEADER_SIZE - FILE_IO_SIZE
        data = bytearray()
        while len(data) < size:
            wanted = FileTransfer(handle, len(data), min(size - len(data), room))
            part = self._ask(FileIo.request(FileApi.READ, wanted))
            if part is None or not part.data:
                return None
            data += part.data[: wanted.length]
        return bytes(data)

    def _ask(self, request: FileIo) -> FileIo | None:
        """The debugger's answer, if it is a good one."""
        answer = self._connection.file(request)
        if answer is None or answer.api != request.api or answer.status >= _FIRST_FAILURE:
            return None
        return answer
