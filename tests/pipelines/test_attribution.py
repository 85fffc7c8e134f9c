"""attribution: who is in a release, and that every share of money is right to the smallest unit."""

from __future__ import annotations

import csv
from decimal import Decimal
from fractions import Fraction

import duckdb
import pyarrow.parquet as pq
import pytest
import small_world
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.pipelines import attribution
from fairshard.pipelines.cli import main
from fairshard.schemas.errors import FairshardError, InputError


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return str(small_world.emitted(tmp_path_factory.mktemp("world")))


def paid(release: str, pool: str, minimum: str = "0", decimals: int = 2) -> list[tuple]:
    found = attribution.table(release, attribution.shared_sum(pool, minimum, decimals)).to_pylist()
    return [(row["kind"], row["payee"], row["payees"], row["rows"], row["amount"]) for row in found]


def test_creators_are_paid_and_hosts_where_no_creator_is_stated(release):
    """Five pairs: two of one creator, three of hosts that name nobody."""
    lines = paid(release, "1.00")
    assert lines == [
        ("creator", "Ada *Example*", 1, 2, Decimal("0.40")),
        ("host", "a.example", 1, 1, Decimal("0.20")),
        ("host", "b.example", 1, 1, Decimal("0.20")),
        ("host", "img.b.example", 1, 1, Decimal("0.20")),
    ]


def test_what_is_below_the_minimum_is_pooled_and_what_is_left_over_goes_to_the_largest_remainders(release):
    assert paid(release, "1", "0.21") == [
        ("creator", "Ada *Example*", 1, 2, Decimal("0.40")),
        ("pooled", None, 3, 3, Decimal("0.60")),
    ]
    assert [line[-1] for line in paid(release, "0.03")] == [Decimal("0.01"), Decimal("0.01"), Decimal("0.01"), 0]
    assert paid(release, "0.01", "5") == [("pooled", None, 4, 5, Decimal("0.01"))]


@settings(max_examples=40)
@given(
    rows=st.lists(st.integers(1, 10**9), min_size=1, max_size=12),
    units=st.integers(1, 10**18),
    minimum=st.integers(0, 10**18),
)
def test_shares_sum_to_the_sum_and_none_is_off_by_a_unit(rows, units, minimum):
    """The query over made payees: exact sums, each within a unit of its exact share, nobody paid below the minimum."""
    payees = ", ".join(f"('creator', 'p{number}', 'p{number}', {count}, 1)" for number, count in enumerate(rows))
    made = f"SELECT * FROM (VALUES {payees}) AS t(kind, name, payee, rows, bytes)"
    sql = attribution._SHARED.replace(attribution._PAYEE, made).replace("{unit}", "1")
    found = duckdb.sql(sql, params={"units": units, "minimum": minimum}).fetchall()
    assert sum(line[6] for line in found) == units
    assert sum(line[3] for line in found) == sum(rows)
    for kind, _, payees_of_line, count, _, _, amount in found:
        exact = Fraction(count * units, sum(rows))
        assert abs(int(amount) - exact) < 1
        assert kind == "pooled" or (exact >= minimum and payees_of_line == 1)
    below = sum(Fraction(count * units, sum(rows)) < minimum for count in rows)
    assert [line[2] for line in found if line[0] == "pooled"] == ([below] if below else [])


@pytest.mark.parametrize(
    ("pool", "minimum", "decimals"),
    [("0", "0", 2), ("-1", "0", 2), ("1.005", "0", 2), ("ten", "0", 2), ("nan", "0", 2), ("inf", "0", 2),
     ("1", "-0.01", 2), ("1", "x", 2), ("1.5", "0", 0), ("1e17", "0", 2)],
)  # fmt: skip
def test_amounts_that_cannot_be_paid_are_refused(pool, minimum, decimals):
    with pytest.raises(InputError):
        attribution.shared_sum(pool, minimum, decimals)


def run(*arguments: str):
    return CliRunner().invoke(main, ["attribution", *arguments])


def test_the_verb_prints_and_writes_the_same(release, tmp_path):
    pool = (release, "--pool", "100", "--minimum", "30")
    printed = list(csv.DictReader(run(*pool).stdout.splitlines()))
    assert [(row["payee"], row["amount"]) for row in printed] == [("Ada *Example*", "40.00"), ("", "60.00")]
    for name in ("out.csv", "out.parquet"):
        assert run(*pool, "--out", str(tmp_path / name)).exit_code == 0
    written = pq.read_table(tmp_path / "out.parquet")
    assert written["amount"].to_pylist() == [Decimal("40.00"), Decimal("60.00")]
    assert list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8"))) == printed
    plain = list(csv.DictReader(run(release).stdout.splitlines()))
    assert [plain[0][name] for name in ("creator", "host", "rows", "share")] == [
        "Ada *Example*",
        "a.example",
        "2",
        "0.4",
    ]


def test_bad_input_writes_nothing(release, tmp_path):
    found = run(release, "--pool", "5", "--out", str(tmp_path / "out.txt"))
    assert found.exit_code == 2 and "a name that ends in .csv or .parquet" in found.stderr
    found = run(str(tmp_path), "--pool", "5", "--out", str(tmp_path / "out.csv"))
    assert found.exit_code == 2 and "expected a finished release" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_release_without_pairs_has_nobody_to_pay(tmp_path):
    empty = str(small_world.emitted(tmp_path, leave_out=tuple(small_world.RELEASED)))
    with pytest.raises(FairshardError, match="nobody to share with"):
        attribution.table(empty, attribution.shared_sum("1", "0", 2))
