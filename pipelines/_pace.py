"""A bound on bytes a second, over all connections of one client."""

from __future__ import annotations

import asyncio


class Pace:
    """Has whoever reads wait until what was read fits the bound.

    What is not read stays with the system's sockets, and TCP tells the servers to wait.
    """

    def __init__(self, bytes_per_s: float):
        self._bytes_per_s = bytes_per_s
        self._paid_at = 0.0  # by the loop's clock: when all that was read so far may have been read

    async def spend(self, count: int, deadline: asyncio.Timeout) -> None:
        """Take note of bytes that were read; wait as long as they take. The wait does not count against a deadline."""
        now = asyncio.get_running_loop().time()
        self._paid_at = max(self._paid_at, now) + count / self._bytes_per_s
        wait_s = self._paid_at - now
        when = deadline.when()
        if when is not None:
            deadline.reschedule(when + wait_s)
        await asyncio.sleep(wait_s)
