"""What verbs print on standard output: JSON for machines, tables for people."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import click
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
STDOUT = Console(highlight=False, soft_wrap=True)
_SHOWN = 100
_CELL_BYTES = 32


def print_json(document: Any) -> None:
    """One JSON document, of plain values, dataclasses and what a query gives."""
    click.echo(json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False))


def print_rows(rows: pa.Table) -> None:
    """The result of a query: on a terminal a table of the first ``_SHOWN`` rows, elsewhere all of them as CSV."""
    if not STDOUT.is_terminal:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.column_names)
        writer.writerows([_csv_cell(value) for value in row] for row in _tuples(rows))
        return
    numbers = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in rows.schema.types]
    columns = list(zip(rows.column_names, numbers, strict=True))
    print_table(columns, [[_cell(value) for value in row] for row in _tuples(rows.slice(0, _SHOWN))])
    if rows.num_rows > _SHOWN:
        click.echo(f"{rows.num_rows - _SHOWN:,} more rows; --json, a pipe or a file gets all", err=True)


def print_funnel(run: dict[str, Any]) -> None:
    """Rows, time and memory of each stage of a run."""
    rows = [
        [
            stage["stage"],
            f"{stage['rows_in']:,}",
            f"{stage['rows_out']:,}",
            f"{stage['seconds']:.1f}",
            f"{stage['peak_mb']:.0f}",
            "" if stage["made_now"] else "(was done)",
        ]
        for stage in run["stages"]
    ]
    names = ("rows in", "rows out", "seconds", "peak MB")
    print_table([("stage", False), *((name, True) for name in names), ("", False)], rows)


def print_table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, each with its name and whether it holds numbers."""
    table = Table(box=None, pad_edge=False)
    for name, number in columns:
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    STDOUT.print(table)


def _tuples(rows: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Rows by position: two columns may have one name."""
    for batch in rows.to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _csv_cell(value: Any) -> Any:
    """Numbers and text as they are, null as nothing, what has parts as JSON."""
    if isinstance(value, (bool, list, dict)):
        return json.dumps(_plain(value), ensure_ascii=False)
    return value.hex() if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= _CELL_BYTES else f"{value[:_CELL_BYTES].hex()}... ({len(value):,} bytes)"
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """Values as JSON has them: it knows no infinite number, decimal, time or bytes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
