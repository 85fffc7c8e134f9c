"""The command line. Each verb is a few lines: what it does lives in the module of the same name.

Exit codes: 0 done; 1 a check found something; 2 bad usage, config or input; 3 refused (fail closed).
``--json`` prints one JSON document on stdout; logs and progress go to stderr.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..schemas import config as configs
from ..schemas.config import Job
from ..schemas.errors import FairshardError
from ._work import STAGES

if TYPE_CHECKING:
    from ._audit_row import Row
    from .train import TrainResult

CONFIG = click.argument("config", type=click.Path(dir_okay=False))
RELEASE = click.option("--release", required=True, type=click.Path(file_okay=False), help="The release.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_STDOUT = Console(highlight=False, soft_wrap=True)
_SHOWN = 100
_CELL_BYTES = 32


class _Cli(click.Group):
    """A group that turns the project's errors into one line and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FairshardError as error:
            click.echo(f"fairshard: {error}", err=True)
            raise SystemExit(error.exit_code) from error
        except BrokenPipeError:
            raise  # the reader of a pipe had enough: click ends quietly
        except OSError as error:
            click.echo(f"fairshard: {error}. What was committed stays; run again to go on", err=True)
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            click.echo("fairshard: interrupted. What was committed stays; run again to go on", err=True)
            raise SystemExit(130) from error


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fairshard")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what is wrong.")
def main(verbose: bool, quiet: bool) -> None:
    """Image-text datasets that honour opt-outs.

    \b
    fairshard demo                    the whole flow on a bundled sample web, offline
    fairshard plan job.yaml           check a job, write nothing
    fairshard run job.yaml            from lists to a release; run again to resume
    fairshard explain work --url U    why is this picture in, or out?
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("fairshard").setLevel(level)


@main.command()
@click.option("--dir", "folder", default="demo", show_default=True, type=click.Path(file_okay=False))
@click.option("--no-train", is_flag=True, help="Stop at the release.")
@AS_JSON
def demo(folder: str, no_train: bool, as_json: bool) -> None:
    """Run the whole flow on the bundled sample web, offline.

    \b
    fairshard demo                    into ./demo
    fairshard demo --dir /tmp/demo    somewhere else; run again: nothing is done twice
    """
    from . import demo as demos

    found = demos.run(Path(folder), train=not no_train)
    if as_json:
        _print_json(found)
        return
    _print_funnel(found["run"])
    for line in demos.next_steps(Path(folder), found):
        click.echo(line)


@main.command()
@CONFIG
@click.option("--policy", help="Judge by this policy instead: a preset, or a file.")
@AS_JSON
def plan(config: str, policy: str | None, as_json: bool) -> None:
    """Check config, policy, sources and registries; show the stages. Writes and requests nothing.

    \b
    fairshard plan job.yaml
    fairshard plan job.yaml --policy licensed-only    what would another policy keep?
    """
    from . import plan as plans

    found = plans.run(configs.load(config), policy)
    if as_json:
        _print_json(found)
    else:
        plans.show(found, _STDOUT)


@main.command()
@CONFIG
@click.option("--until", type=click.Choice(STAGES), help="Stop after this stage.")
@click.option("--only", type=click.Choice(STAGES), help="Run this stage alone.")
@click.option("--partition", "partitions", multiple=True, metavar="NAME",
              help="With --only fetch: fetch this partition alone, such as 0003. May be repeated.")  # fmt: skip
@click.option("--engine", type=click.Choice(["duckdb", "spark"]), help="Where SQL runs.  [config: engine]")
@click.option("--compute", type=click.Choice(["local", "dask", "spark"]), help="Where pixels are worked on.")
@AS_JSON
def run(
    config: str,
    until: str | None,
    only: str | None,
    partitions: tuple[str, ...],
    engine: str | None,
    compute: str | None,
    as_json: bool,
) -> None:
    """Run a job from its lists to its release. Run it again to resume; what is done is not done again.

    \b
    fairshard run job.yaml
    fairshard run job.yaml --until consult     registries and robots.txt only, no image requested
    fairshard run job.yaml --engine spark      the same rows, on Spark
    fairshard run job.yaml --only fetch --partition 0003     one of several that go side by side
    """
    from . import _run

    if until and only:
        raise click.UsageError("--until and --only exclude each other")
    if partitions and only != "fetch":
        raise click.UsageError("--partition goes with --only fetch")
    job = _with(configs.load(config), engine=engine, compute=compute)
    found = _run.run(job, _run.stages(until, only), partitions)
    if as_json:
        _print_json(found)
    else:
        _print_funnel(found)
        click.echo(f"work: {job.work_dir}\nrelease: {job.release_dir}")


@main.command()
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


@main.command(name="hash")
@click.argument("files", nargs=-1, required=True, type=click.Path())
def hash_(files: tuple[str, ...]) -> None:
    """Print the fingerprints that the pipeline stores, one JSON line an image.

    Exits with 1 if one of the files is not a picture.

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


@main.command()
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
        _print_json(found)
    else:
        click.echo(_story.explain_text(found))
    raise SystemExit(0 if found["found"] else 1)


@main.command()
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--url", help="Any spelling of an image's URL.")
@click.option("--image", type=click.Path(dir_okay=False), help="A picture: found by its bytes, or by its look.")
@click.option("--creator", help="A creator's name, as the sources spell it.")
@click.option("--domain", help="A domain; its subdomains are covered.")
@AS_JSON
def lookup(release: str, as_json: bool, **asked: str | None) -> None:
    """Am I in it? Looks into a release by URL, picture, creator or domain.

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
        _print_json(found)
    else:
        click.echo(_story.lookup_text(found))


@main.command()
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--registry", "registries", multiple=True, type=click.Path(), metavar="SCOPE=FILE",
              help="Also check against this opt-out list, such as domain=optouts.txt. May be repeated.")  # fmt: skip
@AS_JSON
def verify(release: str, registries: tuple[str, ...], as_json: bool) -> None:
    """Recount and rehash a release; check it against today's opt-outs. Exits with 1 if something is wrong.

    \b
    fairshard verify release
    fairshard verify release --registry domain=optouts.txt --registry pdq=hashes.csv
    """
    from . import verify as verifies

    findings = verifies.verify(release, verifies.rules(registries))
    if as_json:
        _print_json({"release": release, "findings": findings})
    else:
        for finding in findings:
            click.echo(verifies.line(finding))
        click.echo(f"{len(findings)} finding{'' if len(findings) == 1 else 's'}")
    raise SystemExit(1 if findings else 0)


@main.command()
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--registry", "registries", multiple=True, type=click.Path(), metavar="SCOPE=FILE",
              help="An opt-out list, such as domain=optouts.txt. May be repeated.")  # fmt: skip
@click.option("--sensitive-registry", "sensitive", multiple=True, type=click.Path(), metavar="SCOPE=FILE",
              help="The same, for a list whose keys may not be published.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(), help="Where to: a folder that does not exist yet.")
@AS_JSON
def takedown(release: str, registries: tuple[str, ...], sensitive: tuple[str, ...], out: str, as_json: bool) -> None:
    """Make the next release, without the pairs that today's opt-outs forbid. RELEASE stays as it is.

    Shards without such a pair keep their bytes. If no pair is forbidden, nothing is written.

    \b
    fairshard takedown release --registry domain=optouts.txt --out release-2
    fairshard takedown release --registry creator=names.csv --sensitive-registry pdq=hashes.csv --out release-2
    """
    from . import takedown as takedowns

    if not registries and not sensitive:
        raise click.UsageError("give --registry or --sensitive-registry")
    found = takedowns.takedown(release, out, registries, sensitive)
    if as_json:
        _print_json(found)
    else:
        click.echo(takedowns.text(found))


@main.command()
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--out", type=click.Path(dir_okay=False), help="Where to.  [RELEASE/report.html]")
@AS_JSON
def report(release: str, out: str | None, as_json: bool) -> None:
    """Show a release on one HTML page that needs nothing but itself.

    \b
    fairshard report release                   into release/report.html
    fairshard report release --out page.html   somewhere else
    """
    from . import report as reports

    path = reports.write(release, out)
    if as_json:
        _print_json({"report": path})
    else:
        click.echo(path)


@main.command()
@click.argument("directory", type=click.Path(file_okay=False))
@click.argument("query", required=False)
@AS_JSON
def sql(directory: str, query: str | None, as_json: bool) -> None:
    """DuckDB over the catalog of a work directory or a release, with fairshard's functions.

    Without QUERY it is read from standard input. See docs/sql.md for recipes.

    \b
    fairshard sql work "SELECT reason, count(*) FROM dropped GROUP BY ALL ORDER BY 2 DESC"
    """
    from . import _catalog

    table = _catalog.sql(directory, sys.stdin.read() if query is None else query)
    if as_json:
        _print_json(table.to_pylist())
    else:
        _print_rows(table)


@main.command()
@CONFIG
@AS_JSON
def train(config: str, as_json: bool) -> None:
    """Train a CLIP model on the release of a job, exactly as published.

    \b
    fairshard train job.yaml
    """
    from . import train as trains

    job = configs.load(config)
    found = trains.run(job.release_dir, job.run_dir, job.config.train)
    if as_json:
        _print_json(found)
    else:
        _print_run(found)


class _AuditCli(click.Group):
    """A group whose first word, if it names no command of its own, is the config of the audit itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["config", *args]
        return super().parse_args(ctx, args)


@main.group(cls=_AuditCli, subcommand_metavar="CONFIG | images FOLDER | text FILE")
def audit() -> None:
    """What a model kept, what has opted out since, and whether outputs repeat a release.

    Exits with 1 if there is a finding. Options of each form: fairshard audit config --help, and so on.

    \b
    fairshard audit job.yaml                               the run of a job; limits are in its config
    fairshard audit images generated --release release     copies among pictures from any model
    fairshard audit text captions.txt --release release    captions repeated in any text, line by line
    """


@audit.command(name="config")
@CONFIG
@AS_JSON
def audit_config(config: str, as_json: bool) -> None:
    """Memorisation, leakage and later opt-outs of the run of a job, by the registries as they are today.

    Exits with 1 if a measure is over its limit. Needs the extra [train].

    \b
    fairshard audit job.yaml
    """
    from . import audit as audits

    found = audits.run(configs.load(config))
    if as_json:
        _print_json({"out_dir": str(found.out_dir), "rows": found.rows})
    else:
        for text in audits.summary(found):
            click.echo(text)
        click.echo(f"audit: {found.out_dir}")
    raise SystemExit(1 if found.findings else 0)


@audit.command(name="images")
@click.argument("folder", type=click.Path())
@RELEASE
@AS_JSON
def audit_images(folder: str, release: str, as_json: bool) -> None:
    """The nearest released picture of each picture below FOLDER, however flipped or turned.

    Exits with 1 if one is within the radius of the release's policy.

    \b
    fairshard audit images generated --release release
    """
    from . import audit as audits

    _print_audit(audits.images(folder, release), as_json)


@audit.command(name="text")
@click.argument("file", type=click.Path())
@RELEASE
@AS_JSON
def audit_text(file: str, release: str, as_json: bool) -> None:
    """The released caption that each line of FILE repeats: whole, or eight words of it in a row.

    Exits with 1 if one does.

    \b
    fairshard audit text captions.txt --release release
    """
    from . import audit as audits

    _print_audit(audits.text(file, release), as_json)


def _print_audit(rows: list[Row], as_json: bool) -> None:
    from . import audit as audits

    found = sum(row["finding"] for row in rows)
    if as_json:
        _print_json(rows)
    else:
        for row in rows:
            click.echo(audits.line(row))
        click.echo(f"{found} of {len(rows)} with a finding, {sum(row['value'] is None for row in rows)} not compared")
    raise SystemExit(1 if found else 0)


def _with(job: Job, **overrides: str | None) -> Job:
    given = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(job, config=dataclasses.replace(job.config, **given))


def _print_json(document: Any) -> None:
    click.echo(json.dumps(_plain(document), indent=1, ensure_ascii=False, default=_jsonable))


def _jsonable(value: Any) -> Any:
    """Sums come as decimals, times as datetimes, hashes as bytes: JSON knows none of them."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.hex() if isinstance(value, bytes) else str(value)


def _plain(document: Any) -> Any:
    return dataclasses.asdict(document) if dataclasses.is_dataclass(document) else document  # type: ignore[arg-type]


def _print_rows(rows: pa.Table) -> None:
    """Rows for people, at most ``_SHOWN``; ``--json`` gives all."""
    table = Table(box=None, pad_edge=False)
    for field in rows.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(field.name, justify="right" if number else "left", overflow="fold")
    for row in rows.slice(0, _SHOWN).to_pylist():
        table.add_row(*(Text("" if value is None else _cell(value)) for value in row.values()))
    _STDOUT.print(table)
    if rows.num_rows > _SHOWN:
        click.echo(f"{rows.num_rows - _SHOWN:,} more rows; --json prints all", err=True)


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= _CELL_BYTES else f"{value[:_CELL_BYTES].hex()}... ({len(value):,} bytes)"
    return str(value)


def _print_run(found: TrainResult) -> None:
    click.echo(f"model: {found.checkpoint}{' (was done)' if found.already_done else ''}")
    for direction, scores in found.record["retrieval"].items():
        click.echo(f"{direction}: {json.dumps(scores)}")


def _print_funnel(found: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for name, side in (
        ("stage", "left"),
        ("in", "right"),
        ("out", "right"),
        ("seconds", "right"),
        ("peak MB", "right"),
    ):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for stage in found["stages"]:
        numbers = [
            f"{stage['rows_in']:,}",
            f"{stage['rows_out']:,}",
            f"{stage['seconds']:.1f}",
            f"{stage['peak_mb']:.0f}",
        ]
        made = "" if stage["made_now"] else "(was done)"
        table.add_row(stage["stage"], *numbers, made)
    _STDOUT.print(table)
