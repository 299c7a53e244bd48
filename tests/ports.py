"""Ports that stay free for a server while it is started, killed and started again."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections, so
# that a server which is down keeps its ports.
RANGE = range(20_000, 32_000)
BLOCK = 12  # one more than Milvus opens


def reserve() -> tuple[socket.socket, list[int]]:
    """Finds free ports in a row, and a bound socket that keeps others who ask here off them."""
    blocks = list(RANGE[::BLOCK])
    for first in random.sample(blocks, len(blocks)):
        wanted = range(first + 1, first + BLOCK)
        with contextlib.suppress(OSError):
            guard = bind(first)
            if all(map(_free, wanted)):
                return guard, list(wanted)
            guard.close()
    raise OSError(f"no {BLOCK} free ports in a row between {RANGE.start} and {RANGE.stop}")


def bind(port: int, *, reuse: bool = False) -> socket.socket:
    """Binds a port; `reuse` takes one on which the connections of a dead server linger."""
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        bound.bind(("", port))
    except OSError:
        bound.close()
        raise
    return bound


def _free(port: int) -> bool:
    try:
        bind(port).close()
    except OSError:
        return False
    return True
