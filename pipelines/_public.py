"""What of the tables goes out with a release: ``pairs/`` and ``tables/``.

A pair that was dropped and that a sensitive rule covers is counted, and nothing else about it leaves the work
directory, in any table: neither the key of such a rule nor a URL that it removed may be recovered. Somebody who
holds the whole source list can still tell by elimination that a row was withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.release import OUTCOME, PUBLIC_TABLES, public
from ._engine import Engine
from ._files import arrow_filesystem
from ._release import FileFact, Release, rechunked
from ._work import Work

_ROWS_A_FILE = 250_000

# A rule that cannot be found is taken for a sensitive one.
SENSITIVE_SIGNAL = """
SELECT signal.pair_id, signal.rule_id
FROM signal LEFT JOIN rule ON signal.rule_id = rule.rule_id
WHERE signal.rule_id IS NOT NULL AND coalesce(rule.sensitive, true)
"""

WITHHELD = """
SELECT DISTINCT dropped.pair_id
FROM dropped JOIN sensitive_signal ON dropped.pair_id = sensitive_signal.pair_id
"""

SHOWN = """
SELECT pair.*, CASE WHEN sample.pair_id IS NULL THEN 'dropped' ELSE 'released' END AS outcome,
       dropped.stage, dropped.reason, dropped.evidence,
       sample.shard_id, sample.key, sample.bytes, sample.weight, false AS withheld
FROM pair
LEFT JOIN dropped ON pair.pair_id = dropped.pair_id
LEFT JOIN sample ON pair.pair_id = sample.pair_id
LEFT JOIN withheld ON pair.pair_id = withheld.pair_id
WHERE withheld.pair_id IS NULL
ORDER BY pair.pair_id
"""

# All that is said of the withheld: how many, from which source, why.
COUNTED = """
SELECT pair.source, 'dropped' AS outcome, dropped.stage, dropped.reason, true AS withheld
FROM withheld
JOIN pair ON withheld.pair_id = pair.pair_id
JOIN dropped ON withheld.pair_id = dropped.pair_id
"""
_COUNTED_ROWS = "SELECT * FROM counted ORDER BY source, stage, reason"

TABLE_ROWS = {
    "rejected": "SELECT * FROM rejected ORDER BY source, source_row",
    "rule": "SELECT * FROM rule WHERE NOT sensitive ORDER BY rule_id",
    "signal": """
SELECT signal.* FROM signal
LEFT JOIN withheld ON signal.pair_id = withheld.pair_id
LEFT JOIN (SELECT DISTINCT rule_id FROM sensitive_signal) AS hidden ON signal.rule_id = hidden.rule_id
WHERE withheld.pair_id IS NULL AND hidden.rule_id IS NULL
ORDER BY signal.pair_id, kind, scope, source, signal.rule_id NULLS FIRST, hop NULLS FIRST, verdict, value NULLS FIRST
""",
    "image": """
SELECT image.* FROM image LEFT JOIN withheld ON image.pair_id = withheld.pair_id
WHERE withheld.pair_id IS NULL ORDER BY image.pair_id
""",
    "score": """
SELECT score.* FROM score LEFT JOIN withheld ON score.pair_id = withheld.pair_id
WHERE withheld.pair_id IS NULL ORDER BY score.pair_id, kind
""",
    # Its group and its keeper would name a withheld pair as well.
    "duplicate": """
SELECT duplicate.* FROM duplicate
LEFT JOIN withheld ON duplicate.pair_id = withheld.pair_id
LEFT JOIN withheld AS hidden_group ON duplicate.group_id = hidden_group.pair_id
LEFT JOIN withheld AS hidden_keeper ON duplicate.keeper_id = hidden_keeper.pair_id
WHERE withheld.pair_id IS NULL AND hidden_group.pair_id IS NULL AND hidden_keeper.pair_id IS NULL
ORDER BY duplicate.pair_id
""",
    "shard": "SELECT * FROM shard ORDER BY shard_id",
}


def write_tables(work: Work, release: Release) -> dict[str, FileFact]:
    """Write ``pairs/`` and ``tables/``. The engine knows all tables, those of ``emit`` too."""
    engine = work.engine
    engine.step("sensitive_signal", SENSITIVE_SIGNAL, keep=True)
    engine.step("withheld", WITHHELD, keep=True)
    engine.step("counted", COUNTED)
    return publish(engine, work.scratch, release)


def publish(
    engine: Engine, scratch: Callable[[str], str], release: Release, tables: Iterable[str] = PUBLIC_TABLES
) -> dict[str, FileFact]:
    """Write ``pairs/`` and some of ``tables/`` from relations of the engine.

    Needs ``pair``, ``dropped``, ``sample``, ``withheld``, ``counted``, ``sensitive_signal`` and the tables themselves.
    """

    def rows(name: str, sql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        return _streamed(engine, scratch(f"emit-{name}"), sql, schema)

    counted = (padded(batch) for batch in engine.rows(_COUNTED_ROWS).to_batches())
    facts = _write_parts(release, "pairs/", OUTCOME, chain(rows("shown", SHOWN, OUTCOME), counted))
    for table in tables:
        schema = public(table)
        facts |= _write_parts(release, f"tables/{table}-", schema, rows(table, TABLE_ROWS[table], schema))
    return facts


def ordered(work: Work, name: str, sql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The sorted result of a query, streamed through scratch: memory stays bounded, on Spark too."""
    return _streamed(work.engine, work.scratch(f"emit-{name}"), sql, schema)


def _streamed(engine: Engine, folder: str, sql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    engine.write(sql, folder, schema)
    for name in Release(folder).files():
        if name.endswith(".parquet"):
            fs, path = arrow_filesystem(f"{folder}/{name}")
            with fs.open_input_file(path) as file:
                for batch in pq.ParquetFile(file).iter_batches():
                    yield batch.select(schema.names).cast(schema)


def padded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of ``COUNTED`` as ``OUTCOME``, null in every other column."""
    names = batch.schema.names
    columns = [
        batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(batch.num_rows, field.type)
        for field in OUTCOME
    ]
    return pa.RecordBatch.from_arrays(columns, schema=OUTCOME)


def _write_parts(
    release: Release, prefix: str, schema: pa.Schema, rows: Iterator[pa.RecordBatch]
) -> dict[str, FileFact]:
    """Numbered Parquet files of bounded size; one of no rows if there are none, so that a glob finds it."""
    facts = {}
    for number, batch in enumerate(rechunked(rows, _ROWS_A_FILE)):
        name = f"{prefix}{number:05d}.parquet"
        facts[name] = release.write_parquet(name, schema, [batch])
    return facts or {f"{prefix}00000.parquet": release.write_parquet(f"{prefix}00000.parquet", schema, [])}
