"""How one host is treated: few requests at once, the waits that it asks for, and an end to asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

OVERLOADED = frozenset({429, 503})
NO_ANSWER = frozenset({"connect", "dns", "timeout", "tls"})

CRAWL_DELAY, PAUSE, WAIT, NETWORK = "crawl_delay", "pause", "wait", "network"
HOST_DOWN = "host_down"
LEFT = frozenset({CRAWL_DELAY, PAUSE, WAIT, NETWORK})
"""Why a URL is left for a later run: its host wants more time than a run has, or nobody answers."""

# A pause of centuries is a mistake; one of a day is kept by later runs, too.
_LONGEST_PAUSE = timedelta(days=1)


@dataclass(frozen=True)
class Manners:
    """What every host may expect, and how much of our time it may take.

    Attributes:
        per_host: requests at once to one host.
        min_delay_s: least time between two requests to one host, which then go one by one; its Crawl-delay if longer.
        backoff_s: pause after the first overload or broken connection; doubled with each attempt.
        max_delay_s: longest single wait, be it for a Crawl-delay or a Retry-After; who asks for a longer one is left.
        max_wait_s: longest sum of the waits for one host, after which it is left.
        max_failures: attempts in a row without any answer, after which a host is not asked again.
        max_bytes_per_s: of all bodies together, as they are read; None: no bound.
    """

    per_host: int = 2
    min_delay_s: float = 0.0
    backoff_s: float = 0.5
    max_delay_s: float = 60.0
    max_wait_s: float = 3600.0
    max_failures: int = 10
    max_bytes_per_s: float | None = None

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after the given attempt (from 1). No jitter: a rerun behaves alike."""
        return min(self.backoff_s * 2.0 ** min(attempt - 1, 30), self.max_delay_s)


class Host:
    """The turns of one host, shared by all requests to it.

    A host that is overloaded pauses for all its requests, not only for the one that was told so. A host that gives
    no answer is given up, and one that asks for longer waits than ``Manners`` allow is left for a later run: its
    other URLs are not asked for. So a dead host costs ten attempts, not ten thousand.

    Attributes:
        down: why the host is not asked any more, in words; empty while it is.
        code: the same as a code: ``host_down``, or one of ``LEFT``.
        delay_s: least time between an answer and the next request; where there is any, requests go one by one.
        down_at: since when it is not, by ``time.monotonic``.
        until: when the pause that it asked for is over, where ``code`` is ``pause``.
    """

    __slots__ = (
        "_failures",
        "_in_flight",
        "_manners",
        "_next_start",
        "_turns",
        "_waited_s",
        "code",
        "delay_s",
        "down",
        "down_at",
        "until",
    )

    def __init__(self, manners: Manners):
        self._manners = manners
        self._turns = asyncio.Semaphore(manners.per_host)
        self._next_start = 0.0
        self._failures = self._in_flight = 0
        self._waited_s = 0.0
        self.delay_s = manners.min_delay_s
        self.down = self.code = ""
        self.down_at = 0.0
        self.until: datetime | None = None

    @property
    def wait_s(self) -> float:
        """Least seconds until it may be asked again; not positive if it may be now, or not at all."""
        if self.down:
            return 0.0
        wait_s = self._next_start - time.monotonic()
        return max(wait_s, self.delay_s) if self._in_flight else wait_s  # the delay counts from the answer

    async def enter(self) -> None:
        """Wait for a turn, and until the host may be asked again."""
        await self._turns.acquire()
        try:
            while (wait_s := self.wait_s) > 0:
                await asyncio.sleep(wait_s)
        except BaseException:
            self._turns.release()
            raise

    async def enter_at_once(self) -> bool:
        """Take a turn if there is one now."""
        if self._turns.locked() or self.wait_s > 0:
            return False
        return await self._turns.acquire()

    def leave(self) -> None:
        """Give the turn back."""
        self._turns.release()

    def slow_down(self, delay_s: float, asked_at: datetime | None = None) -> None:
        """Take note of a Crawl-delay, and of when the host was last asked, if that was elsewhere."""
        self.delay_s = max(self.delay_s, delay_s)
        if delay_s > max(self._manners.max_delay_s, self._manners.min_delay_s):
            self._give_up(CRAWL_DELAY, f"robots.txt asks for {delay_s:g} s between requests")
        elif asked_at is not None:
            passed_s = max(0.0, (datetime.now(UTC) - asked_at).total_seconds())
            self._next_start = max(self._next_start, time.monotonic() + self.delay_s - passed_s)

    def pause_until(self, until: datetime) -> None:
        """Take note of a pause that an earlier run was asked for; one that is over is none."""
        if until > datetime.now(UTC):
            self.until = until
            self._give_up(PAUSE, "asked an earlier run for a longer pause")

    def asked(self) -> None:
        """Take note that a request begins."""
        if self.delay_s:
            self._put_off(self.delay_s)
            self._in_flight += 1

    def ended(self) -> None:
        """Take note that a request has ended, however it did."""
        self._in_flight = max(0, self._in_flight - 1)

    def answered(self, status: int, retry_after_s: float | None, attempt: int) -> None:
        """Take note of a response."""
        self._failures = 0
        if self.delay_s:  # from the answer: by the server's clock requests may come closer than they left
            self._put_off(self.delay_s)
        if status not in OVERLOADED:
            return
        pause_s = self._manners.backoff(attempt) if retry_after_s is None else retry_after_s
        if pause_s <= self._manners.max_delay_s:
            self._put_off(pause_s)
            return
        self.until = datetime.now(UTC) + min(timedelta(seconds=pause_s), _LONGEST_PAUSE)
        self._give_up(PAUSE, f"answered {status} and asked for a pause of {pause_s:.0f} s")

    def failed(self, error: str, detail: str) -> None:
        """Take note of an attempt without a response."""
        if error not in NO_ANSWER:
            return
        self._failures += 1
        if self._failures >= self._manners.max_failures:
            self._give_up(HOST_DOWN, f"no answer in {self._failures} attempts, the last: {error}: {detail}")

    def revive(self) -> None:
        """Forget that it gave no answer: nobody could."""
        self._failures = 0
        if self.code == HOST_DOWN:
            self.code = self.down = ""

    def _put_off(self, wait_s: float) -> None:
        now = time.monotonic()
        # Two requests at once may be told the same: only what they add to the wait counts.
        self._waited_s += max(0.0, now + wait_s - max(self._next_start, now))
        self._next_start = max(self._next_start, now + wait_s)
        if self._waited_s > self._manners.max_wait_s:
            self._give_up(WAIT, f"wants waits of more than {self._manners.max_wait_s:g} s in all")

    def _give_up(self, code: str, why: str) -> None:
        if not self.down:
            self.code, self.down, self.down_at = code, why, time.monotonic()


class Hosts:
    """The hosts that somebody asks, by name. Clients that share them are polite together."""

    def __init__(self, manners: Manners):
        self._manners = manners
        self._hosts: dict[str, Host] = {}

    def __getitem__(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(self._manners)
        return host

    def left(self, code: str) -> Iterator[tuple[str, Host]]:
        """Those that are left for a later run for one of the reasons in ``LEFT``."""
        return ((name, host) for name, host in sorted(self._hosts.items()) if host.code == code)


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
        at_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # a year of twenty digits, an offset that leads out of all years
        return None
    return max(0.0, at_s - time.time())
