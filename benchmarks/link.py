"""A simulated network on loopback, with latency and a bandwidth per direction.

It delays the bytes of connections, not calls, so that the flow-control windows of HTTP/2 have the
same effect as on a real network.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

CHUNK_BYTES = 256 * 1024
QUEUE_S = 0.05
"""The largest queue of a link, in seconds at its bandwidth, like the buffer of a router."""

UNLIMITED = float("inf")


@dataclass(frozen=True)
class Network:
    """The round-trip time in seconds, and the bytes per second in each direction."""

    round_trip_s: float
    bytes_per_s: float = UNLIMITED


class Link:
    """A port on loopback that forwards to a server over a simulated network."""

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
        """Forwards bytes until one side closes its connection."""
        in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(in_flight, writer))
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                now = asyncio.get_running_loop().time()
                took = len(chunk) / self._network.bytes_per_s
                self._free_at = max(now, self._free_at) + took
                in_flight.put_nowait((self._free_at + self._network.round_trip_s / 2, chunk))
                await asyncio.sleep(self._free_at - now - QUEUE_S)
        in_flight.put_nowait((0.0, b""))
        await delivering

    async def _deliver(
        self, in_flight: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, chunk = await in_flight.get()
                if not chunk:
                    break
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                writer.write(chunk)
                await writer.drain()
        writer.close()
