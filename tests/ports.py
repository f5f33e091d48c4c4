"""Ports that nobody uses and that nobody is given by chance."""

import random
import socket

WITHIN = (20000, 32768)
"""Below the ports that systems give out by themselves: a test names a port some time before anybody
opens it, and a socket that did not ask for it must not get it meanwhile."""


def free_udp_port() -> int:
    return _free(socket.SOCK_DGRAM)


def free_tcp_port() -> int:
    return _free(socket.SOCK_STREAM)


def _free(kind: int) -> int:
    while True:
        port = random.randrange(*WITHIN)
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
