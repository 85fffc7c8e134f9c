"""The catalog: a DuckDB view for every table of a work directory or a release, and a few that count.

``catalog.duckdb`` holds the views and the functions that need no Python. Paths are relative, so that the directory can
be moved; DuckDB resolves them from the folder it is started in, or by its ``file_search_path``::

    cd RELEASE && duckdb -readonly catalog.duckdb

From anywhere, and with all functions: ``fairshard sql DIR``, or ``open_catalog``, which makes
the same views over absolute paths.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..schemas.errors import InputError, ReleaseError, SqlError
from ..schemas.release import OUTCOME, PUBLIC_TABLES, public
from ..schemas.tables import PAIR, TABLES
from ._duckdb import SQL_TYPES, create_macros, interruptible, register_udfs
from ._engine import cast_to
from ._files import require_reachable
from ._release import CATALOG, MANIFEST, Release
from ._store import Store
from ._work import STAGES

_ROWS_AT_ONCE = 8192

_WORK_OUTCOME = """
SELECT pair.*, CASE WHEN sample.pair_id IS NOT NULL THEN 'released' WHEN dropped.pair_id IS NOT NULL THEN 'dropped'
                    ELSE 'alive' END AS outcome,
       dropped.stage, dropped.reason, dropped.evidence,
       sample.shard_id, sample.key, sample.bytes, sample.weight, false AS withheld
FROM pair LEFT JOIN dropped USING (pair_id) LEFT JOIN sample USING (pair_id)
"""

_RELEASE_SLICES = {
    "pair": f"SELECT {', '.join(PAIR.schema.names)} FROM outcome WHERE NOT withheld",
    "dropped": "SELECT pair_id, stage, reason, evidence FROM outcome WHERE outcome = 'dropped'",
    "sample": "SELECT pair_id, shard_id, key, bytes, weight FROM outcome WHERE outcome = 'released'",
}

# A takedown comes after all stages, and is no step of a release that had none.
_STAGE_ROWS = ", ".join(f"({number}, '{stage}')" for number, stage in enumerate((*STAGES[:-1], "takedown")))

# DuckDB's own default is a file that no version before this one opens.
_STORAGE = "v1.0.0"

# Views that only count, the same over both kinds of directory; each with what it is.
_COUNTS = {
    "reason": (
        "Rows that were lost, by stage and reason",
        """
SELECT 'ingest' AS stage, reason, count(*) AS rows FROM rejected GROUP BY reason
UNION ALL
SELECT stage, reason, count(*) AS rows FROM dropped GROUP BY stage, reason
""",
    ),
    "funnel": (
        "Rows of the sources that are left after each stage",
        f"""
WITH stage_row(position, stage) AS (VALUES {_STAGE_ROWS}),
     lost AS (SELECT stage, sum(rows)::BIGINT AS lost FROM reason GROUP BY stage),
     total AS (SELECT (SELECT count(*) FROM rejected) + (SELECT count(*) FROM outcome) AS rows)
SELECT position, stage, coalesce(lost, 0) AS removed,
       total.rows - (sum(coalesce(lost, 0)) OVER (ORDER BY position))::BIGINT AS rows_left
FROM stage_row LEFT JOIN lost USING (stage) CROSS JOIN total
WHERE stage <> 'takedown' OR lost.lost IS NOT NULL
ORDER BY position
""",
    ),
    "attribution": (
        "Who is in the release: rows, bytes and share by creator, host and licence",
        """
SELECT creator, host, licence, count(*) AS rows, sum(bytes)::BIGINT AS bytes,
       count(*) / (sum(count(*)) OVER ()) AS share, sum(bytes) / (sum(sum(bytes)) OVER ()) AS share_of_bytes
FROM outcome WHERE outcome = 'released'
GROUP BY creator, host, licence
ORDER BY rows DESC, creator, host, licence
""",
    ),
}


@dataclass(frozen=True)
class View:
    """One view of a catalog: what it is, its query, and what its columns are."""

    name: str
    doc: str
    sql: str
    columns: pa.Schema | None = None


@dataclass(frozen=True)
class Catalog:
    """An open catalog.

    Attributes:
        root: the directory.
        is_release: whether it is a release and not a work directory.
        connection: DuckDB, in memory, with the views and every UDF.
    """

    root: str
    is_release: bool
    connection: duckdb.DuckDBPyConnection

    def rows(self, sql: str, **params: object) -> pa.Table:
        """The result of a query; an empty table if it has none, as ``CREATE`` has.

        Raises:
            SqlError: DuckDB refused it.
        """

        def rows() -> pa.Table:
            result = self.connection.sql(sql, params=params or None)
            return pa.table({}) if result is None else result.to_arrow_table()

        try:
            return interruptible(self.connection, rows)
        except duckdb.Error as error:
            raise SqlError(self.root, f"{error}\nin the query\n{sql}") from error

    def dicts(self, sql: str, **params: object) -> list[dict]:
        """The same as a list of rows."""
        return self.rows(sql, **params).to_pylist()

    def streamed(self, sql: str) -> Iterator[dict]:
        """The rows of a query, however many. Nothing else may be asked before the last of them is taken.

        Raises:
            SqlError: DuckDB refused it.
        """
        for batch in self.batches(sql, _ROWS_AT_ONCE):
            yield from batch.to_pylist()

    def batches(self, sql: str, rows: int) -> Iterator[pa.RecordBatch]:
        """The same in pieces of about so many rows.

        Raises:
            SqlError: DuckDB refused it.
        """
        try:
            yield from self.connection.sql(sql).to_arrow_reader(rows)
        except (duckdb.Error, pa.ArrowException) as error:
            raise SqlError(self.root, f"{error}\nin the query\n{sql}") from error

    def keep(self, name: str, sql: str, **params: object) -> None:
        """Compute a query now, and name its result."""
        self.rows(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}", **params)

    def write(self, sql: str, path: str, **params: object) -> None:
        """Write the result of a query into a file that is there whole or not at all, however many rows it has.

        Raises:
            InputError: its name ends neither in .csv nor in .parquet.
            SqlError: DuckDB refused the query.
        """
        kind = Path(path).suffix
        if kind not in (".csv", ".parquet"):
            raise InputError(path, f"ends in '{kind}'", "a name that ends in .csv or .parquet")
        part = f"{path}.{uuid.uuid4().hex[:8]}.part"

        def written() -> None:
            result = self.connection.sql(sql, params=params or None)
            result.write_csv(part, header=True) if kind == ".csv" else result.write_parquet(part)

        try:
            interruptible(self.connection, written)
            os.replace(part, path)
        except duckdb.Error as error:
            raise SqlError(self.root, f"{error}\nin the query\n{sql}") from error
        finally:
            Path(part).unlink(missing_ok=True)


def open_catalog(folder: str) -> Catalog:
    """The views of a work directory or a release, as its files are now.

    Raises:
        ReleaseError: it is neither, or an unfinished release, or cannot be reached.
    """
    require_reachable(folder)
    release = Release(folder)
    if release.exists(MANIFEST):
        return open_release(folder)
    if Store(folder).marks():
        return _opened(folder, False, work_views(Store(folder), _prefix(folder)))
    if release.exists("shards") or release.exists("pairs"):
        raise ReleaseError(folder, f"has no {MANIFEST}: the release is unfinished", hint="Run the job again")
    raise ReleaseError(folder, "is neither a work directory nor a release", f"one with _done/ or {MANIFEST}")


def open_release(folder: str) -> Catalog:
    """The views of a release, whether or not it has its manifest yet."""
    return _opened(folder, True, release_views(_prefix(folder)))


def compared(before: str, after: str) -> Catalog:
    """The views of a release, and ``earlier``: the ``outcome`` of another one."""
    catalog = open_release(after)
    outcome = next(view for view in release_views(_prefix(before)) if view.name == "outcome")
    _create(catalog.connection, Release(before), [replace(outcome, name="earlier")])
    return catalog


def sql(folder: str, query: str) -> pa.Table:
    """The result of a query over a work directory or a release, with the UDFs registered.

    Raises:
        ReleaseError: the folder is neither.
        InputError: the query is empty.
        SqlError: DuckDB refused the query.
    """
    catalog = open_catalog(folder)
    if _is_empty(query):
        raise InputError("sql", "the query is empty", "one statement, such as SELECT * FROM funnel")
    return catalog.rows(query)


def _is_empty(query: str) -> bool:
    """Whether there is nothing to run: white space, comments."""
    try:
        return not duckdb.extract_statements(query)
    except duckdb.Error:
        return False  # no SQL: running it says where it is wrong


def write_catalog(directory: Store | Release) -> None:
    """Write ``catalog.duckdb`` into a work directory or a release (which need not have its manifest yet)."""
    release = Release(directory.root)
    prefix = _prefix(release.root) if "://" in release.root else ""
    views = work_views(directory, prefix) if isinstance(directory, Store) else release_views(prefix)
    with tempfile.TemporaryDirectory() as scratch:
        # DuckDB wants to see the files when a view is made. Its search path is a list with commas, which the
        # folder's own name may hold, hence the link.
        here, file = os.path.join(scratch, "here"), os.path.join(scratch, CATALOG)
        if not prefix:
            os.symlink(os.path.abspath(release.root), here)
        connection = duckdb.connect(file, config={"file_search_path": here, "storage_compatibility_version": _STORAGE})
        _create(connection, release, views)
        connection.close()
        release.put(CATALOG, Path(file).read_bytes())


def work_views(store: Store, prefix: str = "") -> list[View]:
    """Views over the committed files of a work directory."""
    tables, marks = [], store.marks()
    for table in TABLES.values():
        files = [name for mark in marks for name in mark.files.get(table.name, [])]
        listed = ", ".join(_literal(prefix + name if prefix else _sought(name)) for name in files)
        query = cast_to(table.schema, f"read_parquet([{listed}])") if files else _nothing(table.schema)
        tables.append(View(table.name, table.doc, query, table.schema))
    return [*tables, View("outcome", "Every pair and what became of it", _WORK_OUTCOME, OUTCOME), *_counts()]


def release_views(prefix: str = "") -> list[View]:
    """Views over the files of a release."""
    # Globs even where there is one file, as ``_sought`` makes of it.
    pairs = cast_to(OUTCOME, f"read_parquet({_literal(prefix + 'pairs/*.parquet')})")
    views = [View("outcome", "Every pair and what became of it", pairs, OUTCOME)]
    views += [View(name, TABLES[name].doc, query, TABLES[name].schema) for name, query in _RELEASE_SLICES.items()]
    for name in PUBLIC_TABLES:
        files = _literal(f"{prefix}tables/{name}-*.parquet")
        views.append(View(name, TABLES[name].doc, cast_to(public(name), f"read_parquet({files})"), public(name)))
    return [*views, *_counts()]


def _counts() -> list[View]:
    return [View(name, doc, query) for name, (doc, query) in _COUNTS.items()]


def _opened(folder: str, is_release: bool, views: list[View]) -> Catalog:
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET TimeZone = 'UTC'")
    register_udfs(connection)
    _create(connection, Release(folder), views)
    return Catalog(folder, is_release, connection)


def _create(connection: duckdb.DuckDBPyConnection, directory: Release, views: list[View]) -> None:
    if "://" in directory.root:
        connection.register_filesystem(directory.fs)
    try:
        connection.begin()  # one transaction: hundreds of small ones would each be written to disk
        create_macros(connection)
        for view in views:
            connection.execute(f"CREATE VIEW {view.name} AS {view.sql}")
            connection.execute(";".join(_comments(view)))
        connection.commit()
    except duckdb.Error as error:
        raise ReleaseError(directory.root, f"its files cannot be read ({error})", "the tables of fairshard") from error


def _comments(view: View) -> Iterator[str]:
    yield f"COMMENT ON VIEW {view.name} IS {_literal(view.doc)}"
    for column in view.columns or ():
        doc = (column.metadata or {}).get(b"doc", b"").decode()
        yield f"COMMENT ON COLUMN {view.name}.{column.name} IS {_literal(doc)}"


def _nothing(schema: pa.Schema) -> str:
    columns = ", ".join(f"CAST(NULL AS {SQL_TYPES[field.type]}) AS {field.name}" for field in schema)
    return f"SELECT {columns} WHERE false"


def _prefix(folder: str) -> str:
    """What to put before relative paths, with the characters that DuckDB reads as a glob made plain."""
    if "://" in folder:
        return folder.rstrip("/") + "/"
    return re.sub(r"([\[*?])", r"[\1]", os.path.abspath(folder)) + "/"


def _sought(name: str) -> str:
    """A pattern for one file: DuckDB looks for a plain name in its working directory before it looks elsewhere."""
    return f"[{name[0]}]{name[1:]}"


def _literal(text: str) -> str:
    return exp.Literal.string(text).sql(dialect="duckdb")
