"""Verbs that look after a work directory."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from ._output import AS_JSON, print_json, print_table

WORK_DIR = click.argument("work_dir", type=click.Path())


@click.command(short_help="How far a job has come; what is left.")
@WORK_DIR
@AS_JSON
def status(work_dir: str, as_json: bool) -> None:
    """How far the job of a work directory has come, whether a run is going on, and when it may end.

    Reads only, so it may be asked beside a run.

    \b
    fairshard status work
    fairshard status work --json | jq .state
    """
    from . import status as states

    found = states.status(work_dir)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['work_dir']}: {_state(found)}")
    print_table(
        [("stage", False), ("", False), *((name, True) for name in ("partitions", "rows in", "rows out", "rows/s"))],
        [[one["stage"], one["state"], *map(_number, _figures(one))] for one in found["stages"]],
    )
    if found["now"]:
        click.echo(_doing(found["now"]))
    if found["next"]:
        click.echo(f"to go on, with what is committed: {found['next']}")


@click.command(short_help="What of a work directory can be deleted.")
@WORK_DIR
@click.option("--delete", is_flag=True, help="Delete it. Without, it is only listed.")
@AS_JSON
def gc(work_dir: str, delete: bool, as_json: bool) -> None:
    """List what killed runs have left in a work directory and nobody needs any more; with --delete, delete it.

    What is committed is never touched: a rerun still makes no request. Refused while a run is going on.

    \b
    fairshard gc work              what, how much, and why
    fairshard gc work --delete
    """
    from . import gc as collected

    found = collected.gc(work_dir, delete)
    if as_json:
        print_json(found)
        return
    for why in dict.fromkeys(one.why for one in found["files"]):
        click.echo(f"{why}:")
        for one in found["files"]:
            if one.why == why:
                click.echo(f"  {one.bytes:>15,}  {one.path}")
    total = f"{len(found['files']):,} files, {found['bytes']:,} bytes"
    click.echo(
        f"deleted: {total}" if delete else f"can be deleted: {total}" + "; --delete does it" * bool(found["files"])
    )


COMMANDS = {command.name: command for command in (status, gc)}

_WORDS = {
    "done": "the last run ended well",
    "failed": "the last run ended with exit code {code}: {error}",
    "killed": "the last run was killed{where}; it was last heard at {heard}",
    "begun": "nobody is at work; partitions were made one by one",
    "unknown": "whether a run is going on cannot be known: this file system tells no times",
}


def _state(found: dict[str, Any]) -> str:
    run = found["run"] or {}
    if found["state"] == "running":
        since = f", since {run['began_at'][:19]}Z" if run and run["ended_at"] is None else ""
        return f"a run is going on ({found['holder']}{since})"
    where = f" in {run['stage']}" if run.get("stage") else ""
    heard = f"{run.get('heard_at', '')[:19]}Z"
    text = _WORDS[found["state"]].format(code=run.get("exit_code"), error=run.get("error"), where=where, heard=heard)
    return text + (f"; the last one said something at {heard}" if found["state"] == "unknown" and run else "")


def _figures(one: dict[str, Any]) -> list[Any]:
    return [one["partitions"] or None, one["rows_in"], one["rows_out"], one["rows_per_s"]]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _doing(now: dict[str, Any]) -> str:
    text = f"{now['what']}: {now['done']:,} of {now['of']:,}"
    if now["per_s"]:
        text += f", {now['per_s']:,} a second"
    if now["ends_at"]:
        text += f", about {timedelta(seconds=now['left_s'])} left, until {now['ends_at'][:19]}Z"
    return f"{text}; {now['note']}" if now["note"] else text
