"""Verbs for questions of one's own: SQL, the fingerprints of pictures, opt-out cases."""

from __future__ import annotations

import json
import signal as signals
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ._output import AS_JSON, print_json, print_rows


@click.command(short_help="Ask a work directory or a release in SQL.")
@click.argument("directory", type=click.Path(file_okay=False))
@click.argument("query", required=False)
@AS_JSON
def sql(directory: str, query: str | None, as_json: bool) -> None:
    """DuckDB over the catalog of a work directory or a release, with fairshard's functions.

    Without QUERY it is read from standard input. A terminal gets the first 100 rows as a table, a pipe or a file all
    of them as CSV. See docs/sql.md for recipes.

    \b
    fairshard sql work "SELECT reason, count(*) FROM dropped GROUP BY ALL ORDER BY 2 DESC"
    fairshard sql work < query.sql > rows.csv
    """
    from . import _catalog

    with _ended_by_ctrl_c():
        table = _catalog.sql(directory, sys.stdin.read() if query is None else query)
    if as_json:
        print_json(table.to_pylist())
    else:
        print_rows(table)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """A query may wait for a pipe or a disk, where DuckDB hears nothing; it keeps nothing, so the system may end it."""
    usual = signals.getsignal(signals.SIGINT)
    if usual is signals.default_int_handler:
        signals.signal(signals.SIGINT, signals.SIG_DFL)
    try:
        yield
    finally:
        signals.signal(signals.SIGINT, usual)


@click.command(name="hash", short_help="The fingerprints of pictures, as JSON lines.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
def hash_(files: tuple[str, ...]) -> None:
    """Print the fingerprints that the pipeline stores, one JSON line an image.

    Reads on all cores and prints in the order of the files. Exits with 1 if one of them is not a picture.

    \b
    fairshard hash photo.jpg
    fairshard hash pictures/*.png | jq .pdq
    """
    from . import hash as hashes

    failed = False
    for line in hashes.lines(files):
        failed |= line["error"] is not None
        click.echo(json.dumps(line))
    raise SystemExit(1 if failed else 0)


@click.command(short_help="Judge opt-out cases, as JSON lines.")
@click.option("--cases", required=True, type=click.Path(dir_okay=False), help="JSON lines, one case each.")
def signal(cases: str) -> None:
    """Judge opt-out cases: verdict, tags and evidence of each, as JSON lines.

    Exits with 1 if a case has a 'want' or 'want_tags' that is not what came out.

    \b
    fairshard signal --cases tests/vectors/robots_txt.jsonl
    """
    from . import signal_cases

    wrong = False
    for result, mismatch in signal_cases.run(cases):
        click.echo(json.dumps(result, ensure_ascii=False))
        if mismatch:
            wrong = True
            click.echo(f"{result['id']}: {mismatch}", err=True)
    raise SystemExit(1 if wrong else 0)


COMMANDS = {command.name: command for command in (sql, hash_, signal)}
