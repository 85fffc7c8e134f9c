"""How one host is treated: few requests at once, pauses when it asks for them, and an end to asking."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

OVERLOADED = frozenset({429, 503})
_NO_ANSWER = frozenset({"connect", "dns", "timeout", "tls"})


@dataclass(frozen=True)
class Manners:
    """What every host may expect, and how much of our time it may take.

    Attributes:
        per_host: requests at once to one host.
        min_delay_s: least time between the starts of two requests to one host.
        backoff_s: pause after the first overload or broken connection; doubled with each attempt.
        max_pause_s: longest single pause; a host that asks for a longer one is not asked again.
        max_paused_s: longest sum of the pauses of one host; after that it is not asked again.
        max_failures: attempts in a row without any answer, after which a host is not asked again.
    """

    per_host: int = 2
    min_delay_s: float = 0.0
    backoff_s: float = 0.5
    max_pause_s: float = 30.0
    max_paused_s: float = 300.0
    max_failures: int = 10

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after the given attempt (from 1). No jitter: a rerun behaves alike."""
        return min(self.backoff_s * 2.0 ** min(attempt - 1, 30), self.max_pause_s)


class Host:
    """The turns of one host, shared by all requests to it.

    A host that is overloaded pauses for all its requests, not only for the one that was told so. A host that
    gives no answer, or wants more pauses than ``Manners`` allow, is given up: ``down`` then says why, and its
    other URLs are not asked for. So a dead host costs ten attempts, not ten thousand.

    Attributes:
        down: why the host is not asked any more; empty while it is.
    """

    __slots__ = ("_failures", "_manners", "_next_start", "_paused_s", "_turns", "down")

    def __init__(self, manners: Manners):
        self._manners = manners
        self._turns = asyncio.Semaphore(manners.per_host)
        self._next_start = 0.0
        self._failures = 0
        self._paused_s = 0.0
        self.down = ""

    async def enter(self) -> None:
        """Wait for a turn, and until the host may be asked again."""
        await self._turns.acquire()
        try:
            while (wait_s := self._wait_s()) > 0:
                await asyncio.sleep(wait_s)
        except BaseException:
            self._turns.release()
            raise

    async def enter_at_once(self) -> bool:
        """Take a turn if there is one now."""
        if self._turns.locked() or self._wait_s() > 0:
            return False
        return await self._turns.acquire()

    def leave(self) -> None:
        """Give the turn back."""
        self._turns.release()

    def asked(self) -> None:
        """Take note that a request begins."""
        if self._manners.min_delay_s:
            self._next_start = max(self._next_start, time.monotonic() + self._manners.min_delay_s)

    def answered(self, status: int, retry_after_s: float | None, attempt: int) -> None:
        """Take note of a response."""
        self._failures = 0
        if status in OVERLOADED:
            self._pause(self._manners.backoff(attempt) if retry_after_s is None else retry_after_s, status)

    def failed(self, error: str, detail: str) -> None:
        """Take note of an attempt without a response."""
        if error not in _NO_ANSWER:
            return
        self._failures += 1
        if self._failures >= self._manners.max_failures:
            self.down = f"no answer in {self._failures} attempts, the last: {error}: {detail}"

    def _wait_s(self) -> float:
        return 0.0 if self.down else self._next_start - time.monotonic()

    def _pause(self, pause_s: float, status: int) -> None:
        now = time.monotonic()
        if pause_s > self._manners.max_pause_s:
            self.down = f"answered {status} and asked for a pause of {pause_s:.0f} s"
            return
        # Two requests at once may be told the same: only what they add to the pause counts.
        self._paused_s += max(0.0, now + pause_s - max(self._next_start, now))
        self._next_start = max(self._next_start, now + pause_s)
        if self._paused_s > self._manners.max_paused_s:
            self.down = f"answered {status} again after pauses of {self._paused_s:.0f} s in all"


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for; None where there is none or it cannot be read.

    Source: RFC 9110, section 10.2.3 (seconds, or a date).
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())
