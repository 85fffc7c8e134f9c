"""The table reference, written from the contracts: ``python -m fairshard.pipelines.docs docs/tables.md``.

Columns, types and words come from ``schemas/tables.py`` and ``schemas/release.py``; who reads and writes a table comes
from the stages' READS and WRITES. Change it there and run ``make docs``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ..schemas.release import OUTCOME, PUBLIC_TABLES, SIDECAR, TOMBSTONE, public
from ..schemas.tables import AUDIT, TABLES, Table
from ._work import STAGES

HEAD = """\
# Tables

Written by `make docs` from `schemas/tables.py` and `schemas/release.py`. Do not edit.

Every table of a work directory is a folder of Parquet files, and a view of the same name in `catalog.duckdb`. Times are
UTC. A column that may be null is marked so; nulls anywhere else are refused when a stage commits.
"""

RELEASE = """\
## Tables of a release

A release holds `pairs/*.parquet` (`outcome` below), a sidecar for each shard, and the tables listed here, without columns
that mean nothing outside the work directory. Its catalog shows `pair`, `dropped` and `sample` as slices of `outcome`. Both
catalogs also have `outcome` and three views that count: `reason`, `funnel` and `attribution`.

{tables}
"""


def reference() -> str:
    """The whole page, in Markdown."""
    users = {stage: importlib.import_module(f"{__package__}.{stage}") for stage in STAGES}
    parts = [HEAD]
    for table in TABLES.values():
        writers = [stage for stage, module in users.items() if table.name in module.WRITES]
        readers = [stage for stage, module in users.items() if table.name in module.READS]
        parts.append("\n".join(_table(table, writers, readers)))
    parts.append(RELEASE.format(tables="\n".join(_released(name) for name in PUBLIC_TABLES)))
    for name, doc, schema in (
        ("outcome", "Every pair and what became of it.", OUTCOME),
        ("sidecar", "The samples of one shard, as img2dataset would describe them: `shards/NNNNN.parquet`.", SIDECAR),
        (
            "tombstones",
            "What takedowns removed: `tombstones.parquet`, for holders of a copy. Not in a first release.",
            TOMBSTONE,
        ),
    ):
        parts.append("\n".join([f"### {name}", "", doc, "", *_columns(schema)]) + "\n")
    parts.append(
        "\n".join(["## audit", "", AUDIT.doc, "Written by `fairshard audit`.", "", *_columns(AUDIT.schema)]) + "\n"
    )
    return "\n".join(parts)


def _table(table: Table, writers: list[str], readers: list[str]) -> Iterator[str]:
    yield from (f"## {table.name}", "", table.doc, "")
    yield f"Key: {', '.join(f'`{name}`' for name in table.key)}. Written by {', '.join(writers)}."
    yield from (f"Read by {', '.join(readers) or 'no stage'}.", "", *_columns(table.schema), "")


def _columns(schema: pa.Schema) -> Iterator[str]:
    yield from ("| column | type | null | |", "|---|---|---|---|")
    for field in schema:
        doc = (field.metadata or {}).get(b"doc", b"").decode().replace("|", "\\|")
        yield f"| `{field.name}` | {field.type} | {'yes' if field.nullable else ''} | {doc} |"


def _released(name: str) -> str:
    kept = set(public(name).names)
    hidden = [f"`{column}`" for column in TABLES[name].schema.names if column not in kept]
    return f"- `{name}`" + (f" (without {', '.join(hidden)})" if hidden else "")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
