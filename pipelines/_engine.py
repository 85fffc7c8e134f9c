"""The SQL engine behind the stages: a Protocol, and DuckDB, the embedded default.

A stage writes its logic once, in DuckDB's dialect, as named steps that refer to earlier ones. Steps are not
run when declared: they become common table expressions of the query that finally reads them. Engines know
tables, never stages.
"""

from __future__ import annotations

import functools
import glob
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from ..schemas.errors import SqlError
from ._duckdb import SQL_TYPES, interruptible, register_udfs
from ._files import file_system

T = TypeVar("T")


class Engine(Protocol):
    """What a stage may ask of an engine."""

    def scan(self, name: str, files: Sequence[str], schema: pa.Schema) -> None:
        """Name a relation over Parquet files of one schema; no files give an empty relation."""
        ...

    def register(self, name: str, table: pa.Table) -> None:
        """Name a small relation held in memory."""
        ...

    def step(self, name: str, sql: str, *, keep: bool = False, **params: Any) -> None:
        """Name a query over earlier relations; ``keep`` computes it now, for steps that are read often."""
        ...

    def rows(self, sql: str, **params: Any) -> pa.Table:
        """The result of a query, in memory. For small results."""
        ...

    def batches(self, sql: str, **params: Any) -> Iterator[pa.RecordBatch]:
        """The result of a query, streamed."""
        ...

    def write(
        self, sql: str, folder: str, schema: pa.Schema, *, partition_by: str | None = None, **params: Any
    ) -> None:
        """Write the result of a query as Parquet files below a folder, cast to the schema.

        Raises:
            SqlError: the engine refused, with the query.
        """
        ...

    def clear(self) -> None:
        """Forget all relations and steps, and free what was kept."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Steps:
    """Named steps and the query that a set of them compiles to. Engine-independent."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, dict[str, Any]]] = {}

    def add(self, name: str, sql: str, params: dict[str, Any]) -> None:
        self._steps.pop(name, None)
        self._steps[name] = (sql, params)

    def forget(self, name: str) -> None:
        """A relation of that name exists now; later steps read it."""
        self._steps.pop(name, None)

    def compile(self, sql: str, params: dict[str, Any], outer: str = "SELECT * FROM result") -> tuple[str, dict]:
        """One statement that computes ``sql`` from relations, and the parameters of all its steps."""
        needed = self._needed(sql)
        parts = [(name, *self._steps[name]) for name in self._steps if name in needed]
        bound: dict[str, Any] = {}
        for name, _, own in [*parts, ("result", sql, params)]:
            for key, value in own.items():
                if bound.setdefault(key, value) != value:
                    raise SqlError(name, f"parameter ${key} has two values in one query", "one name, one value")
        expressions = [f"{name} AS (\n{text.strip()}\n)" for name, text, _ in parts]
        expressions.append(f"result AS (\n{sql.strip()}\n)")
        return f"WITH {', '.join(expressions)}\n{outer}", bound

    def _needed(self, sql: str) -> set[str]:
        needed: set[str] = set()
        todo = [sql]
        while todo:
            for name in relations(todo.pop()):
                if name in self._steps and name not in needed:
                    needed.add(name)
                    todo.append(self._steps[name][0])
        return needed


@functools.lru_cache(maxsize=1024)  # steps that are not kept become part of many queries
def relations(sql: str) -> frozenset[str]:
    """Names of the relations a DuckDB query reads."""
    return frozenset(table.name for table in sqlglot.parse_one(sql, read="duckdb").find_all(exp.Table))


def cast_to(schema: pa.Schema, relation: str = "result") -> str:
    """SELECT that gives a relation the columns, types and order of a schema."""
    columns = ", ".join(f"CAST({field.name} AS {SQL_TYPES[field.type]}) AS {field.name}" for field in schema)
    return f"SELECT {columns} FROM {relation}"


class DuckDBEngine:
    """DuckDB in this process."""

    def __init__(self, threads: int, memory_limit_gb: float | None, spill_dir: str):
        settings: dict[str, Any] = {"threads": threads, "temp_directory": spill_dir}
        if memory_limit_gb:
            settings["memory_limit"] = f"{memory_limit_gb}GB"
        self._connection = duckdb.connect(config=settings)
        self._connection.execute("SET enable_progress_bar = false")
        self._steps = Steps()
        self._kinds: dict[str, str] = {}  # how to drop each relation
        self._remote: dict[str, Any] = {}  # file systems by protocol
        register_udfs(self._connection)

    def scan(self, name: str, files: Sequence[str], schema: pa.Schema) -> None:
        self._steps.forget(name)
        self._drop(name)
        if not files:
            self._register(name, schema.empty_table())
            return
        self._look_into(files)
        # A path is looked for as it stands first; the name of an object is always taken for a pattern.
        listed = ", ".join(_literal(glob.escape(file) if "://" in file else file) for file in files)
        self._run(f"CREATE TEMP VIEW {name} AS {cast_to(schema, f'read_parquet([{listed}])')}", {})
        self._kinds[name] = "VIEW"

    def register(self, name: str, table: pa.Table) -> None:
        self._steps.forget(name)
        self._drop(name)
        self._register(name, table)

    def step(self, name: str, sql: str, *, keep: bool = False, **params: Any) -> None:
        if not keep:
            self._steps.add(name, sql, params)
            return
        query, bound = self._steps.compile(sql, params)
        self._drop(name)
        self._run(f"CREATE TEMP TABLE {name} AS {query}", bound)
        self._kinds[name] = "TABLE"
        self._steps.forget(name)

    def rows(self, sql: str, **params: Any) -> pa.Table:
        query, bound = self._steps.compile(sql, params)
        return self._call(query, lambda: self._relation(query, bound).to_arrow_table())

    def batches(self, sql: str, **params: Any) -> Iterator[pa.RecordBatch]:
        query, bound = self._steps.compile(sql, params)
        reader = self._call(query, lambda: self._relation(query, bound).to_arrow_reader(65_536))
        while (batch := self._call(query, lambda: next(reader, None))) is not None:
            yield batch

    def write(
        self, sql: str, folder: str, schema: pa.Schema, *, partition_by: str | None = None, **params: Any
    ) -> None:
        query, bound = self._steps.compile(sql, params, cast_to(schema))
        if "://" in folder:
            self._file_system(folder)
        else:
            os.makedirs(folder, exist_ok=True)
        options = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
        if partition_by:
            options += f", PARTITION_BY ({partition_by}), OVERWRITE_OR_IGNORE true"
            target = folder
        else:
            target = f"{folder}/part-0.parquet"
        self._run(f"COPY ({query}) TO {_literal(target)} ({options})", bound)

    def clear(self) -> None:
        self._steps = Steps()
        for name in list(self._kinds):
            self._drop(name)

    def close(self) -> None:
        self._connection.close()

    def _register(self, name: str, table: pa.Table) -> None:
        self._connection.register(name, table)
        self._kinds[name] = "registered"

    def _look_into(self, files: Sequence[str]) -> None:
        """List the folders of remote files: DuckDB asks again and again whether a file is there, and how large."""
        if "://" not in files[0]:
            return
        fs = self._file_system(files[0])
        fs.dircache.clear()
        for folder in sorted({posixpath.dirname(fs._strip_protocol(file)) for file in files}):
            fs.ls(folder)

    def _file_system(self, path: str) -> Any:
        """The file system of a URL, known to DuckDB. This one alone remembers what it has listed."""
        protocol = path.partition("://")[0]
        if protocol not in self._remote:
            shared, _ = file_system(path)
            fs = type(shared)(*shared.storage_args, **shared.storage_options, skip_instance_cache=True)
            fs.dircache.use_listings_cache = True
            self._connection.register_filesystem(fs)
            self._remote[protocol] = fs
        return self._remote[protocol]

    def _drop(self, name: str) -> None:
        """Registered tables, views and temporary tables share one name space, but not one DROP."""
        kind = self._kinds.pop(name, None)
        if kind == "registered":
            self._connection.unregister(name)
        elif kind:
            self._connection.execute(f"DROP {kind} {name}")

    def _relation(self, query: str, params: Mapping[str, Any]) -> duckdb.DuckDBPyRelation:
        return self._connection.sql(query, params=_used(query, params))

    def _run(self, query: str, params: Mapping[str, Any]) -> None:
        self._call(query, lambda: self._connection.execute(query, _used(query, params)))

    def _call(self, query: str, call: Callable[[], T]) -> T:
        with _explained(query):
            return interruptible(self._connection, call)


def _used(query: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parameters that a query names: DuckDB refuses others."""
    return {key: value for key, value in params.items() if re.search(rf"\${key}\b", query)} or None


@contextmanager
def _explained(query: str) -> Iterator[None]:
    try:
        yield
    except duckdb.IOException as error:  # a full disk, a file that is gone: the query is not to blame
        found = " ".join(str(error).split())[:400]
        raise SqlError("duckdb", found, hint="What was committed stays; run again to go on") from error
    except duckdb.Error as error:
        raise SqlError("duckdb", f"{error}\nin the query\n{query}") from error


def _literal(text: str) -> str:
    return exp.Literal.string(text).sql(dialect="duckdb")
