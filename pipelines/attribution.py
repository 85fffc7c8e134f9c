"""attribution: who is in a release, and how a sum of money is shared out among them.

Everybody who can be named is a payee: the creator where the source states one, else the host. Shares are by inclusion,
so by released pairs. Shares below a minimum, which cost more to pay than they are worth, are pooled in one line; the
lines sum to the sum exactly, because what rounding down leaves goes, one smallest unit each, to the largest remainders.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import pyarrow as pa

from ..schemas.errors import InputError, ReleaseError
from ._catalog import Catalog, open_release
from ._manifest import load
from ._release import Release

# A creator who is spelled in several ways is one: by case and white space, as registries compare names.
_PAYEE = """
SELECT CASE WHEN creator IS NULL THEN 'host' ELSE 'creator' END AS kind, coalesce(name_key(creator), host) AS name,
       min(coalesce(creator, host)) AS payee, count(*) AS rows, sum(bytes) AS bytes
FROM outcome WHERE outcome = 'released'
GROUP BY ALL
"""

# Whole numbers alone: rows times the smallest units of money. A share below the minimum is pooled.
_SHARED = """
WITH payee AS (FROM ({payee})),
     line AS (
         SELECT CASE WHEN pooled THEN 'pooled' ELSE kind END AS kind,
                CASE WHEN pooled THEN '' ELSE name END AS name,
                min(CASE WHEN pooled THEN NULL ELSE payee END) AS payee,
                count(*) AS payees, sum(rows)::HUGEINT AS rows, sum(bytes)::BIGINT AS bytes
         FROM (SELECT *, rows::HUGEINT * $units < $minimum::HUGEINT * sum(rows) OVER () AS pooled FROM payee)
         GROUP BY ALL
     ),
     quota AS (
         SELECT *, sum(rows) OVER () AS total, rows * $units::HUGEINT // total AS down,
                rows * $units::HUGEINT % total AS remainder
         FROM line
     ),
     placed AS (
         SELECT *, row_number() OVER (ORDER BY remainder DESC, rows DESC, kind, name) AS place,
                $units - sum(down) OVER () AS left_over
         FROM quota
     )
SELECT kind, payee, payees, rows::BIGINT AS rows, bytes, rows / total AS share,
       (down + CASE WHEN place <= left_over THEN 1 ELSE 0 END)::DECIMAL(19, 0) * {unit} AS amount
FROM placed
ORDER BY kind = 'pooled', amount DESC, rows DESC, kind, name
""".replace("{payee}", _PAYEE)

_MAX_UNITS = 10**18


@dataclass(frozen=True)
class Sum:
    """Money to be shared out, in its smallest units, so that no share is rounded twice.

    Attributes:
        units: of the whole.
        minimum: units below which a share is pooled.
        decimals: digits of a unit behind the point.
    """

    units: int
    minimum: int
    decimals: int


def shared_sum(amount: str, minimum: str, decimals: int) -> Sum:
    """A sum from what was typed.

    Raises:
        InputError: not a positive amount, or finer than its smallest unit.
    """
    units, least = _units("--pool", amount, decimals), _units("--minimum", minimum, decimals)
    if not 0 < units <= _MAX_UNITS:
        raise InputError("--pool", f"is {amount}", "more than 0, and at most 10^18 smallest units")
    if least < 0:
        raise InputError("--minimum", f"is {minimum}", "0 or more")
    return Sum(units, min(least, _MAX_UNITS), decimals)


def _units(option: str, text: str, decimals: int) -> int:
    try:
        value = Decimal(text).scaleb(decimals)
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or value != value.to_integral_value():
        raise InputError(option, f"is '{text}'", f"an amount with at most {decimals} digits behind the point")
    return int(value)


def table(folder: str, money: Sum | None) -> pa.Table:
    """Who is in a release, the largest first.

    Args:
        folder: of the release.
        money: what is shared out; None: nothing.

    Returns:
        Without money creator, host, licence, rows, bytes and shares of both. With it kind (``creator``, ``host`` or
        ``pooled``), payee (null for the pooled), payees, rows, bytes, share of all rows, and amount: decimal, whose sum
        is the sum.

    Raises:
        ReleaseError: the folder is no release, or there is money and nobody to share it with.
    """
    catalog, sql, params = _query(folder, money)
    return catalog.rows(sql, **params)


def write(folder: str, money: Sum | None, path: str) -> None:
    """Write the same into a .csv or .parquet file.

    Raises:
        ReleaseError: as above.
        InputError: the path ends in neither.
    """
    catalog, sql, params = _query(folder, money)
    catalog.write(sql, path, **params)


def _query(folder: str, money: Sum | None) -> tuple[Catalog, str, dict[str, int]]:
    load(Release(folder))
    catalog = open_release(folder)
    if money is None:
        return catalog, "FROM attribution", {}
    if not catalog.rows("FROM outcome WHERE outcome = 'released' LIMIT 1").num_rows:
        raise ReleaseError(folder, "released no pair, so there is nobody to share with")
    unit = f"CAST('{Decimal(1).scaleb(-money.decimals):f}' AS DECIMAL(13, {money.decimals}))"
    return catalog, _SHARED.replace("{unit}", unit), {"units": money.units, "minimum": money.minimum}
