"""Verbs that work on a job, given its config."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..schemas import config as configs
from ..schemas import typed_yaml
from ..schemas.config import Job
from ._fetch_progress import in_words
from ._output import AS_JSON, STDOUT, print_funnel, print_json
from ._work import STAGES

if TYPE_CHECKING:
    from ._run_folder import TrainResult

CONFIG = click.argument("config", type=click.Path(dir_okay=False))
SET = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", callback=lambda ctx, param, given: _changes(given),
                   help="Instead of the config's value, such as fetch.proxy=http://proxy:3128. May be repeated.")  # fmt: skip


@click.command()
@click.option("--dir", "folder", default="demo", show_default=True, type=click.Path(file_okay=False),
              help="Where to: work, release, run, diffusion and audit are made in it.")  # fmt: skip
@click.option("--no-train", is_flag=True, help="Stop at the release. Without it, needs the extra [train].")
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
        print_json(found)
        return
    print_funnel(found["run"])
    for line in demos.next_steps(Path(folder), found, _program()):
        click.echo(line)


@click.command(short_help="Check a job; show its stages. Writes nothing.")
@CONFIG
@click.option("--policy", metavar="POLICY",
              help="Judge what an earlier run has recorded by this policy: a preset, or a file.")  # fmt: skip
@SET
@AS_JSON
def plan(config: str, policy: str | None, changes: dict[str, Any], as_json: bool) -> None:
    """Check config, policy, sources and registries; show the stages. Writes and requests nothing.

    \b
    fairshard plan job.yaml
    fairshard plan job.yaml --policy licensed-only    what would another policy keep?
    """
    from . import plan as plans

    found = plans.run(configs.load(config, changes), policy)
    if as_json:
        print_json(found)
    else:
        plans.show(found, STDOUT)


@click.command()
@CONFIG
@click.option("--until", type=click.Choice(STAGES), help="Stop after this stage.")
@click.option("--only", type=click.Choice(STAGES), help="Run this stage alone.")
@click.option("--partition", "partitions", multiple=True, metavar="NAME",
              help="With --only fetch: fetch this partition alone, such as 0003. May be repeated.")  # fmt: skip
@click.option("--retry", metavar="CLASSES",
              help="Ask again for what failed so: timeout, dns, connect, tls, truncated, bad_response, host_down, "
                   "refused_port, redirect, 4xx, 5xx, or a status such as 404; several with commas.")  # fmt: skip
@click.option("--refresh", is_flag=True,
              help="Ask everybody again: host files, and pictures if they have changed.")  # fmt: skip
@click.option("--engine", type=click.Choice(["duckdb", "spark"]), help="Where SQL runs.  [config: engine]")
@click.option("--compute", type=click.Choice(["local", "dask", "spark"]),
              help="Where pixels are worked on.  [config: compute]")  # fmt: skip
@click.option("--metrics", metavar="FILE", type=click.Path(dir_okay=False),
              help="Figures of the run for Prometheus.  [config: metrics_file; metrics.prom in the work directory]")  # fmt: skip
@SET
@AS_JSON
def run(
    config: str,
    until: str | None,
    only: str | None,
    partitions: tuple[str, ...],
    retry: str | None,
    refresh: bool,
    engine: str | None,
    compute: str | None,
    changes: dict[str, Any],
    metrics: str | None,
    as_json: bool,
) -> None:
    """Run a job from its lists to its release. Run it again to resume; what is done is not done again.

    Exits with 4 if hosts wanted to be asked more slowly than there was time for, or the network stopped: a later run
    asks for what is left.

    \b
    fairshard run job.yaml
    fairshard run job.yaml --until consult     registries and robots.txt only, no image requested
    fairshard run job.yaml --engine spark      the same rows, on Spark
    fairshard run job.yaml --only fetch --partition 0003     one of several that go side by side
    fairshard run job.yaml --retry timeout,5xx       what failed so, again; never what opted out
    fairshard run job.yaml --refresh                 has anybody opted out, has a picture changed or gone?
    fairshard run job.yaml --set work_dir=june/work --set release_dir=june/release
    """
    from . import _again, _own_process, _run

    if until and only:
        raise click.UsageError("--until and --only exclude each other")
    if partitions and only != "fetch":
        raise click.UsageError("--partition goes with --only fetch")
    stages = _run.stages(until, only)
    if (retry is not None or refresh) and (partitions or "fetch" not in stages):
        raise click.UsageError("--retry and --refresh go with a run of all partitions of fetch")
    classes = _again.classes(retry) if retry is not None else ()
    metrics_file = metrics and str(Path(metrics).resolve())
    job = _with(configs.load(config, changes), engine=engine, compute=compute, metrics_file=metrics_file)
    _own_process.settle()
    found = _run.run(job, stages, partitions, retry=classes, refresh=refresh)
    left = {stage["stage"]: stage["left"] for stage in found["stages"] if "left" in stage and stage["stage"] in stages}
    if as_json:
        print_json(found)
    else:
        print_funnel(found)
        click.echo(f"work: {job.work_dir}\nrelease: {job.release_dir}")
        if any(stage["rows_out"] < stage["rows_in"] for stage in found["stages"]):
            why = shlex.join([_program(), "sql", job.work_dir, "SELECT * FROM reason ORDER BY rows DESC"])
            click.echo(f"why rows are out: {why}")
        for stage, counts in left.items():
            click.echo(f"left for a later run of {stage}: {in_words(counts)}")
    raise SystemExit(4 if left else 0)


@click.command(short_help="Get a job's registries anew from where they are kept.")
@CONFIG
@SET
@AS_JSON
def pull(config: str, changes: dict[str, Any], as_json: bool) -> None:
    """Get anew, from where 'pull_from' says, every registry that has it.

    A new file takes the place of the last only once it has been read, and not if it has lost half of its entries.
    Exits with 3 if one could not be pulled: its last file stays.

    \b
    fairshard pull job.yaml
    """
    from . import pull as pulls

    found = pulls.pull(configs.load(config, changes))
    if as_json:
        print_json([dataclasses.asdict(pulled) for pulled in found])
    for pulled in found:
        if not as_json:
            click.echo(pulls.line(pulled))
        if pulled.error:
            click.echo(f"fairshard: {pulled.error}", err=True)
    raise SystemExit(3 if any(pulled.error for pulled in found) else 0)


@click.command(short_help="A job's latest release against today's opt-outs; the next one.")
@CONFIG
@SET
@AS_JSON
def recheck(config: str, changes: dict[str, Any], as_json: bool) -> None:
    """Check a job's latest release whole; make the next one without what the job's registries forbid today.

    The next release of 'release' is called release-2, then release-3, and lies beside it. If no pair is forbidden, nothing
    is written. Exits with 3 if a registry is missing or too old. Needs the extra [report].

    \b
    fairshard recheck job.yaml
    """
    from . import recheck as rechecks
    from . import takedown as takedowns

    folder, taken = rechecks.recheck(configs.load(config, changes))
    if as_json:
        print_json({"checked": folder, **dataclasses.asdict(taken)})
    else:
        click.echo(f"checked: {folder}\n{takedowns.text(taken)}")


@click.command(short_help="Train a model on exactly what a job released.")
@CONFIG
@click.option("--trainer", type=click.Choice(["clip", "diffusion"]), default="clip", show_default=True,
              help="diffusion: text to image, told by the text tower of the CLIP run in run_dir.")  # fmt: skip
@SET
@AS_JSON
def train(config: str, trainer: str, changes: dict[str, Any], as_json: bool) -> None:
    """Train a model on the release of a job, exactly as published. Needs the extra [train].

    A CLIP model, its losses and its retrieval go into run_dir of the config; a diffusion model, its losses and samples
    into diffusion_dir. Run it again to resume.

    \b
    fairshard train job.yaml
    fairshard train job.yaml --trainer diffusion     afterwards: a model that generates
    """
    job = configs.load(config, changes)
    if trainer == "diffusion":
        from . import train_diffusion

        found = train_diffusion.run(job.release_dir, job.run_dir, job.diffusion_dir, job.config.diffusion)
    else:
        from . import train as trains

        found = trains.run(job.release_dir, job.run_dir, job.config.train)
    if as_json:
        print_json(found)
    else:
        _print_run(found)


COMMANDS = {command.name: command for command in (demo, plan, pull, run, recheck, train)}


def _program() -> str:
    """How this program was called, for commands to be pasted: ``make`` calls it by its path."""
    called = sys.argv[0]
    return called if Path(called).name == "fairshard" and not shutil.which("fairshard") else "fairshard"


def _print_run(found: TrainResult) -> None:
    from ._run_folder import losses

    click.echo(f"model: {found.checkpoint}{' (was done)' if found.already_done else ''}")
    for direction, scores in found.record.get("retrieval", {}).items():
        click.echo(f"{direction}: {json.dumps(scores)}")
    click.echo(losses(found.record))


def _changes(given: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"'{text}' is not of the form KEY=VALUE")
        found[key] = typed_yaml.parse(f"value: {value}", f"--set {key}")["value"]
    return found


def _with(job: Job, **overrides: str | None) -> Job:
    given = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(job, config=dataclasses.replace(job.config, **given))
