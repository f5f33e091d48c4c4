"""WinDbg's requests to a Windows 10 boot debugger, in order and with all that it did not clear.

Numbers of the capture pcaps/windbg-uncut.pcapng.gz in github.com/Lekensteyn/kdnet (key 8.8.8.8),
one request a line, all but the frame number in hexadecimal: frame, API, level, processor, status
and padding of the header, then the ten 32-bit words of its union. The addresses of reads are told
as a place and an offset, since they name that machine's memory. Frame 58 stands for the 32 that
differ from it in the breakpoint's handle alone. Frames 197 and 199 repeat frame 194.
"""

import struct
from typing import NamedTuple

TABLE = """
 10 3146 ffff ffff 103 25 253fc6f0 7f01 d2c7f5e8 0 d2c7f668 25 253a9390 7ff7 0 0
 14 3130 25 0 4e 0 list 0 10 7ff7 1a6 0 d2c7ebd0 25 13000211 7ffe
 18 3130 0 0 1 0 entry 0 88 0 d2b5f200 25 d2c7e8f9 25 4 0
 22 3130 25 0 d2b80400 25 name 0 3a 25 a891f9b3 7ffe cf641260 25 d2b23d10 25
 26 3130 25 0 80000000 0 image 0 40 0 4 0 d2c7e560 25 9e1818c6 7ffe
 30 3130 25 0 80000000 0 image e8 80 0 4 0 d2c7e560 25 9e1818c6 7ffe
 34 3130 0 0 cf640000 25 image 168 80 0 80 0 cf640cc0 25 110 0
 38 3130 0 0 cf640000 25 image 1e8 80 0 80 0 cf640cc0 25 cf7a30b2 25
 42 3130 0 0 0 0 image 268 f0 0 0 0 fffffeff 0 19 0
 46 3130 0 0 0 0 image 130810 80 25 9dff6b71 7ffe 9e2d8920 7ffe 9e41a920 7ffe
 50 3130 0 0 0 0 image 128780 80 25 9dff6b71 7ffe 9e2d8920 7ffe 9e41a920 7ffe
 54 3130 0 0 0 0 image 128c48 80 25 9dff6b71 7ffe 9e2d8920 7ffe 9e41a920 7ffe
 58 3135 25 0 103 ffffffff 1 7ffe 0 0 9e0be098 7ffe 3f320008 1760 d2b3c4e0 25
186 3130 69 6e d2b5f200 25 shared 3d8 330 25 60 0 b 0 9dffe846 7ffe
190 315f 0 0 103 0 0 4d0 0 0 0 0 0 0 0 0
194 3132 0 0 103 0 0 4d0 0 0 0 0 0 0 0 0
206 3137 7ffe 0 103 25 2 0 e0 0 340 0 548 25 d2c7f118 25
210 3130 0 0 1 0 gdt 10 80 0 d2b5f200 25 d2c7ef39 25 9dfff3c9 7ffe
214 3133 25 0 103 7ffe 77b0bec 16ac 0 0 8 0 9dfb3cdb 7ffe 0 0
218 3138 0 0 103 0 2 0 e0 0 0 0 0 0 0 0
222 315f 0 0 103 0 0 4d0 0 0 0 0 2 25 0 0
226 3132 0 0 103 0 0 4d0 0 0 0 0 2 25 0 0
230 3137 0 0 103 25 2 0 e0 0 d2c7e560 25 1 0 10 0
234 313c 25 0 10002 0 10002 0 400 0 1 0 0 0 9dfbb2c0 7ffe
380 315f 0 0 103 0 0 4d0 0 0 0 0 0 0 0 0
384 3132 0 0 103 0 0 4d0 0 0 0 0 0 0 0 0
388 3137 25 0 103 0 2 0 e0 0 a4b3a86c 7ffe d2b5fa00 25 9dfd644a 7ffe
392 3130 0 0 1 0 gdt 10 8 0 d2b5f200 25 d2c7eec9 25 9dfff3c9 7ffe
396 3130 25 0 d2b80400 25 image 60040 3e 25 a891f9b3 7ffe cf641260 25 d2b23d50 25
400 3130 7ffe 0 0 0 image 0 2 0 0 0 0 0 8e0c43ec 7ffe
404 3130 0 0 cf640000 25 image 2 3e 0 0 0 cf640cc0 25 50 0
408 3130 0 0 0 0 image e8 f8 25 9dff6b71 7ffe 9e2d8920 7ffe 9e41a8a0 7ffe
412 3130 0 0 cf640000 25 image 1e0 80 0 0 0 cf640cc0 25 190 0
416 3130 0 0 cf640000 25 image 260 f8 0 0 0 cf640c00 25 cf7a30d0 25
420 3130 0 0 0 0 image 130810 80 25 9dff6b71 7ffe 9e2d8920 7ffe 9e41a960 7ffe
424 3130 0 0 0 0 image 128780 80 25 9dff6b71 7ffe 9e2d8920 7ffe 9e41a960 7ffe
428 3130 0 0 0 0 image 128c48 80 25 9dff6b71 7ffe 9e2d8920 7ffe 9e41a960 7ffe
432 3130 0 0 0 0 image 170938 80 0 0 0 0 0 0 0
436 3130 0 0 0 0 image 16e490 80 0 0 0 0 0 0 0
440 3130 0 0 0 0 image 16f6e4 80 0 0 0 0 0 0 0
444 3130 0 0 0 0 image 16edb4 80 0 0 0 0 0 0 0
448 3130 0 0 0 0 image 16f24c 80 0 0 0 0 0 0 0
452 3130 0 0 0 0 image 16f498 80 0 0 0 0 0 0 0
456 3130 0 0 0 0 image 16f36c 80 0 0 0 0 0 0 0
460 3130 0 0 0 0 image 16f3fc 80 0 0 0 0 0 0 0
464 3130 0 0 0 0 image 12b1c4 80 0 0 0 0 0 0 0
468 3130 7ffe 0 d2b5e1f0 25 image 6008e 80 25 d2b384b8 25 0 25 cf7a309c 25
472 3130 0 0 10 0 stack 28 80 7ffe 9e33f550 7ffe 2 0 ec 0
476 3130 0 0 10 0 stack 20 8 7ffe 9e33f550 7ffe 2 0 ec 0
480 3130 0 0 10 0 stack 18 8 7ffe 9e33f550 7ffe 2 0 ec 0
484 3130 0 0 10 0 stack 10 8 7ffe 9e33f550 7ffe 2 0 ec 0
488 3130 0 0 d2b7f900 25 stack 0 10 0 9dff69f0 7ffe 0 0 8 0
492 3130 0 0 0 0 image 16d23c 80 0 0 0 0 0 0 0
496 3130 0 0 0 0 image 16c918 80 0 0 0 0 0 0 0
500 3130 0 0 0 0 image 16c480 80 0 0 0 0 0 0 0
504 3130 0 0 0 0 image 16c6cc 80 0 0 0 0 0 0 0
508 3130 0 0 0 0 image 16c7ec 80 0 0 0 0 0 0 0
512 3130 0 0 0 0 image 16c75c 80 0 0 0 0 0 0 0
942 3133 0 0 103 25 58c 0 cf7a0000 25 1c1 0 9dfb3cdb 7ffe d2b89710 25
946 3138 0 0 103 7ffe 2 0 e0 0 9e16f1b1 7ffe 1 0 d2b5e1f0 25
950 313c 25 0 10001 0 10001 0 400 0 1 0 0 0 9dfbb2c0 7ffe
954 3136 25 0 10002 0 10002 7ffe ffffffff 0 d2c7f480 25 9dfd669d 7ffe 80000000 0
"""


class Request(NamedTuple):
    frame: int
    api: int
    header: bytes
    """16 bytes."""
    place: str
    """Of what is read, empty for other requests."""
    union: bytes
    """40 bytes; of a read the first 8 are the offset from its place."""

    def packed(self, places, processor=None):
        """All 56 bytes, for a machine with these places; `processor` where it means one."""
        header = bytearray(self.header)
        if processor is not None:
            struct.pack_into("<H", header, 6, processor)
        if not self.place:
            return bytes(header) + self.union
        (offset,) = struct.unpack_from("<Q", self.union)
        start, size = places[self.place]
        return bytes(header) + struct.pack("<Q", start + offset % size) + self.union[8:]


def requests():
    for line in TABLE.strip().splitlines():
        frame, *words = line.split()
        api, level, processor, status, padding = (int(word, 16) for word in words[:5])
        place = words[5] if words[5].isalpha() and len(words[5]) > 2 else ""
        union = [int(word, 16) for word in words[6 if place else 5 :]]
        header = struct.pack("<IHHII", api, level, processor, status, padding)
        rest = struct.pack(f"<{len(union) - 1}I", *union[1:])
        for first in range(1, 33) if frame == "58" else union[:1]:
            start = struct.pack("<Q" if place else "<I", first)
            yield Request(int(frame), api, header, place, start + rest)
