"""Verbs that ask: about a release or a work directory, a picture, an opt-out case."""

from __future__ import annotations

import json
import signal as signals
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ._output import print_json, print_rows

AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.command(short_help="The whole story of one pair: why in, or why out?")
@click.argument("directory", type=click.Path(file_okay=False))
@click.option("--url", help="Any spelling of the image's URL.")
@click.option("--pair-id", type=int, help="The pair's id, as tables print it.")
@AS_JSON
def explain(directory: str, url: str | None, pair_id: int | None, as_json: bool) -> None:
    """Tell the whole story of one pair: every signal, the decision, and where it ended.

    DIRECTORY is a work directory or a release. Exits with 1 if the pair is not in it.

    \b
    fairshard explain work --url https://example.org/cat.jpg
    fairshard explain release --pair-id -4043011489998080786
    """
    from . import _story
    from . import explain as explains

    if (url is None) == (pair_id is None):
        raise click.UsageError("give --url or --pair-id")
    found = explains.explain(directory, url=url, pair_id=pair_id)
    if as_json:
        print_json(found)
    else:
        click.echo(_story.explain_text(found))
    raise SystemExit(0 if found["found"] else 1)


@click.command(short_help="Am I in a release? By URL, picture, creator, domain.")
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--url", help="Any spelling of an image's URL.")
@click.option("--image", type=click.Path(dir_okay=False), help="A picture: found by its bytes, or by its look.")
@click.option("--creator", help="A creator's name, as the sources spell it.")
@click.option("--domain", help="A domain; its subdomains are covered.")
@AS_JSON
def lookup(release: str, as_json: bool, **asked: str | None) -> None:
    """Am I in it? Looks into a release by URL, picture, creator or domain.

    Finds pairs that were left out too, and says why. Exits with 0 if there are any, in or left out, and with 1 if not.

    \b
    fairshard lookup release --image my_painting.png
    fairshard lookup release --domain example.org
    """
    from . import _story
    from . import lookup as lookups

    if sum(value is not None for value in asked.values()) != 1:
        raise click.UsageError("give one of --url, --image, --creator, --domain")
    found = lookups.lookup(release, **asked)
    if as_json:
        print_json(found)
    else:
        click.echo(_story.lookup_text(found))
    raise SystemExit(0 if found["found"] else 1)


@click.command(short_help="Recount and rehash a release; check today's opt-outs.")
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--registry", "registries", multiple=True, type=click.Path(), metavar="SCOPE=FILE",
              help="Also check against this opt-out list, such as domain=optouts.txt. May be repeated.")  # fmt: skip
@AS_JSON
def verify(release: str, registries: tuple[str, ...], as_json: bool) -> None:
    """Recount and rehash a release; check it against today's opt-outs. Exits with 1 if something is wrong.

    An opt-out list older than the release's policy allows is used, with a warning.

    \b
    fairshard verify release
    fairshard verify release --registry domain=optouts.txt --registry pdq=hashes.csv
    """
    from . import verify as verifies

    findings = verifies.check(release, registries)
    if as_json:
        print_json({"release": release, "findings": findings})
    else:
        for finding in findings:
            click.echo(verifies.line(finding))
        click.echo(f"{len(findings)} finding{'' if len(findings) == 1 else 's'}")
    raise SystemExit(1 if findings else 0)


@click.command(short_help="Make the next release, without what has opted out.")
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--registry", "registries", multiple=True, type=click.Path(), metavar="SCOPE=FILE",
              help="An opt-out list, such as domain=optouts.txt. May be repeated.")  # fmt: skip
@click.option("--sensitive-registry", "sensitive", multiple=True, type=click.Path(), metavar="SCOPE=FILE",
              help="The same, for a list whose keys may not be published.")  # fmt: skip
@click.option(
    "--out", required=True, type=click.Path(), help="Where to: a folder that does not exist yet, or is empty."
)
@AS_JSON
def takedown(release: str, registries: tuple[str, ...], sensitive: tuple[str, ...], out: str, as_json: bool) -> None:
    """Make the next release, without the pairs that today's opt-outs forbid. RELEASE stays as it is.

    Shards without such a pair keep their bytes. If no pair is forbidden, nothing is written. Needs the extra [report].

    \b
    fairshard takedown release --registry domain=optouts.txt --out release-2
    fairshard takedown release --registry creator=names.csv --sensitive-registry pdq=hashes.csv --out release-2
    """
    from . import takedown as takedowns

    if not registries and not sensitive:
        raise click.UsageError("give --registry or --sensitive-registry")
    found = takedowns.takedown(release, out, registries, sensitive)
    if as_json:
        print_json(found)
    else:
        click.echo(takedowns.text(found))


@click.command(short_help="A release on one HTML page, with pictures.")
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--out", type=click.Path(dir_okay=False), help="Where to.  [RELEASE/report.html]")
@AS_JSON
def report(release: str, out: str | None, as_json: bool) -> None:
    """Show a release on one HTML page that needs nothing but itself. Needs the extra [report].

    \b
    fairshard report release                   into release/report.html
    fairshard report release --out page.html   somewhere else
    """
    from . import report as reports

    path = reports.write(release, out)
    if as_json:
        print_json({"report": path})
    else:
        click.echo(path)


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
    """DuckDB does not look for Ctrl-C while it makes Arrow tables, so the system may end the process."""
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


COMMANDS = {command.name: command for command in (explain, lookup, verify, takedown, report, sql, hash_, signal)}
