"""The command line: its verbs by name, and how they end. Each is a few lines over the module that does the work.

Exit codes: 0 done; 1 a check found something, or what was looked for is not there; 2 bad usage, config or input; 3
refused (fail closed); 4 done, but some pairs are left for a later run; 130 interrupted. ``--json`` prints one JSON
document on stdout; logs and progress go to stderr.

Verbs are imported when they are called: that takes a while, and Ctrl-C in that while has to end as quietly as later.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

import click

from ..schemas.errors import FairshardError
from . import _logs

# The module of each verb, which holds a command of its name.
VERBS = {
    **dict.fromkeys(("demo", "plan", "pull", "run", "recheck", "train"), "_job_verbs"),
    **dict.fromkeys(
        ("explain", "lookup", "verify", "sign", "takedown", "diff", "attribution", "report", "serve"), "_release_verbs"
    ),
    **dict.fromkeys(("sql", "hash", "signal"), "_query_verbs"),
    **dict.fromkeys(("status", "gc"), "_work_verbs"),
    "generate": "_model_verbs",
    "audit": "_audit_verbs",
}
_RESUMED = ("demo", "run", "train")


class _Cli(click.Group):
    """A group that imports its verbs late and turns the project's errors into one line and their exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f".{VERBS[cmd_name]}", __package__)
        return module.COMMANDS[cmd_name]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FairshardError as error:
            raise _ended(error.exit_code, str(error)) from error
        except BrokenPipeError:
            raise  # the reader of a pipe had enough: click ends quietly
        except OSError as error:
            said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise _ended(2, said + _advice(ctx)) from error
        except KeyboardInterrupt as error:
            raise _ended(130, "interrupted" + _advice(ctx)) from error
        except Exception as error:
            from ._files import is_drivers, said
            from ._trainer_errors import out_of_memory

            told = said(error) if is_drivers(error) else out_of_memory(error)
            if told is None:
                raise
            raise _ended(2, told + _advice(ctx)) from error


def _ended(code: int, said: str) -> SystemExit:
    if _logs.as_json():
        _logs.log.error(said, extra=_logs.fields(exit_code=code))
    else:
        click.echo(f"fairshard: {said}", err=True)
    return SystemExit(code)


def _advice(ctx: click.Context) -> str:
    return ". What was committed stays; run again to go on" if ctx.invoked_subcommand in _RESUMED else ""


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fairshard")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what is wrong.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", envvar="FAIRSHARD_LOG",
              help="json: one JSON object a line on stderr.  [env: FAIRSHARD_LOG]")  # fmt: skip
def main(verbose: bool, quiet: bool, log_format: str) -> None:
    """Image-text datasets that honour opt-outs.

    \b
    fairshard demo                    the whole flow on a bundled sample web, offline
    fairshard plan job.yaml           check a job, write nothing
    fairshard run job.yaml            from lists to a release; run again to resume
    fairshard explain work --url U    why is this picture in, or out?

    \b
    Exit codes: 0 done; 1 a check found something, or what was looked for is not
    there; 2 bad usage, config or input; 3 refused: going on could use what was
    not permitted; 4 done, but some pairs are left for a later run; 130
    interrupted.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    _logs.set_up(_logs.Setting(log_format == "json", level))
