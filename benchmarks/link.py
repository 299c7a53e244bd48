"""A network between a client and a server on loopback: latency, and a bandwidth for each way.

It works on the bytes of connections, not on calls: so the flow-control windows of HTTP/2 are felt
as they are on a real network.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

CHUNK_BYTES = 256 * 1024
QUEUE_S = 0.05
"""What a link may have queued up, in time at its bandwidth: as a router's buffer."""

UNLIMITED = float("inf")


@dataclass(frozen=True)
class Network:
    """Seconds for the way there and back, and bytes a second each way."""

    round_trip_s: float
    bytes_per_s: float = UNLIMITED


class Link:
    """A port on loopback behind which a server is far away."""

    def __init__(self, network: Network, server_port: int) -> None:
        self._network, self._server_port = network, server_port
        self._ways = _Way(network), _Way(network)

    async def listen(self) -> int:
        """Opens the port and returns its number."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", limit=CHUNK_BYTES)
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(
                "127.0.0.1", self._server_port, limit=CHUNK_BYTES
            )
            await asyncio.gather(
                self._ways[0].carry(reader, back), self._ways[1].carry(there, writer)
            )


class _Way:
    """One direction of a link; all connections share its bandwidth."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries bytes until one side closes its connection."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(under_way, writer))
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                now = asyncio.get_running_loop().time()
                took = len(chunk) / self._network.bytes_per_s
                self._free_at = max(now, self._free_at) + took
                under_way.put_nowait((self._free_at + self._network.round_trip_s / 2, chunk))
                await asyncio.sleep(self._free_at - now - QUEUE_S)
        under_way.put_nowait((0.0, b""))
        await delivering

    async def _deliver(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, chunk = await under_way.get()
                if not chunk:
                    break
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                writer.write(chunk)
                await writer.drain()
        writer.close()
