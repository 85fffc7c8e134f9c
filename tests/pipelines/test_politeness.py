"""Turns, pauses and the end of asking, of one host."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines._politeness import Host, Manners, retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("0", 0.0), (" 7 ", 7.0), ("9" * 50, 999999999.0), ("soon", None), ("-5", None), ("", None)],
)
def test_retry_after_in_seconds(value, seconds):
    assert retry_after_s(value) == seconds


def test_retry_after_as_a_date():
    assert 3500 < (retry_after_s(formatdate(time.time() + 3600, usegmt=True)) or 0) <= 3600
    assert retry_after_s("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    for odd in (
        "99 Jan 2001 00:00:00 GMT",
        "01 Jan 99999999999999999999 00:00:00 GMT",
        "01 Jan 2030 00:00:00 +99999999999999",
    ):
        assert retry_after_s(f"Mon, {odd}") is None


@given(st.text("0123456789 ,:+-MonJaGTZ", max_size=60) | st.text(max_size=40))
def test_no_retry_after_raises(value):
    assert (retry_after_s(value) or 0) >= 0


def test_turns_are_limited():
    async def take_three():
        host = Host(Manners(per_host=2))
        taken = [await host.enter_at_once() for _ in range(3)]
        host.leave()
        return [*taken, await host.enter_at_once()]

    assert asyncio.run(take_three()) == [True, True, False, True]


def test_requests_start_apart():
    async def ask():
        host = Host(Manners(min_delay_s=60))
        await host.enter()
        host.asked()
        host.leave()
        return await host.enter_at_once()

    assert asyncio.run(ask()) is False


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_host_pauses_for_all_requests(status):
    async def ask():
        host = Host(Manners())
        host.answered(status, 20, 1)
        return await host.enter_at_once(), host.down

    assert asyncio.run(ask()) == (False, "")


def test_a_host_that_wants_a_long_pause_is_given_up():
    host = Host(Manners(max_delay_s=30))
    host.answered(429, 3600, 1)
    assert host.down == "answered 429 and asked for a pause of 3600 s"


def test_a_host_that_wants_pause_after_pause_is_given_up():
    host = Host(Manners(max_wait_s=50))
    for pause_s in (20, 40, 60):
        host.answered(503, min(pause_s, 30), 1)
    assert host.down == ""  # the same 30 s, told thrice
    host = Host(Manners(max_wait_s=25))
    host.answered(503, 30, 1)
    assert host.down == "wants waits of more than 25 s in all"


def test_a_silent_host_is_given_up_and_an_answer_counts_anew():
    host = Host(Manners(max_failures=2))
    host.failed("connect", "")
    host.answered(200, None, 1)
    host.failed("timeout", "")
    host.failed("refused_address", "")
    assert host.down == ""
    host.failed("dns", "no such name")
    assert host.down == "no answer in 2 attempts, the last: dns: no such name"


def test_a_crawl_delay_counts_from_the_answer_and_requests_go_one_by_one():
    async def ask():
        host = Host(Manners(per_host=4))
        host.slow_down(0.01)
        assert await host.enter_at_once()
        host.asked()
        await asyncio.sleep(0.02)
        waits = [host.wait_s]
        host.answered(200, None, 1)
        host.ended()
        waits.append(host.wait_s)
        await host.enter()
        return [*waits, host.wait_s]

    first, second, third = asyncio.run(ask())
    assert first == 0.01 and 0 < second <= 0.01 and third <= 0


def test_a_crawl_delay_goes_on_from_when_the_host_was_asked_elsewhere():
    host, now = Host(Manners()), datetime.now(UTC)
    host.slow_down(50, now - timedelta(seconds=20))
    assert 29 < host.wait_s <= 30
    host.slow_down(10, now - timedelta(days=1))
    assert 29 < host.wait_s <= 30


@pytest.mark.parametrize(("min_delay_s", "code"), [(0, "crawl_delay"), (90, "")])
def test_a_crawl_delay_beyond_the_bound_leaves_the_host(min_delay_s, code):
    host = Host(Manners(max_delay_s=60, min_delay_s=min_delay_s))
    host.slow_down(80)
    assert host.code == code


def test_a_pause_lasts_into_later_runs_and_no_longer_than_a_day():
    host, now = Host(Manners()), datetime.now(UTC)
    host.answered(503, 10**9, 1)
    assert host.code == "pause" and host.until is not None
    assert timedelta(hours=23) < host.until - now < timedelta(hours=25)
    again, over = Host(Manners()), Host(Manners())
    again.pause_until(host.until)
    over.pause_until(now - timedelta(seconds=1))
    assert (again.code, over.code) == ("pause", "")


def test_backoff_doubles_up_to_the_longest_pause():
    manners = Manners(backoff_s=0.5, max_delay_s=3)
    assert [manners.backoff(attempt) for attempt in (1, 2, 3, 4, 5000)] == [0.5, 1, 2, 3, 3]
