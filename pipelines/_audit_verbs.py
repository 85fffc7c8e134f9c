"""`audit`: of the run of a job, or of pictures and texts from any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..schemas import config as configs
from ._job_verbs import CONFIG, SET
from ._output import AS_JSON, print_json

if TYPE_CHECKING:
    from ._audit_row import Row

RELEASE = click.option("--release", required=True, type=click.Path(file_okay=False), help="The release.")


class _AuditCli(click.Group):
    """A group whose first word, if it names no command of its own, is the config of the audit itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["config", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_AuditCli, subcommand_metavar="CONFIG | images FOLDER | text FILE | style FOLDER",
             short_help="What a model kept; later opt-outs; copied outputs.")  # fmt: skip
def audit() -> None:
    """What a model kept, what has opted out since, and whether outputs repeat a release.

    Exits with 1 if there is a finding. Options of each form: fairshard audit config --help, and so on.

    \b
    fairshard audit job.yaml                               the run of a job; limits are in its config
    fairshard audit images generated --release release     copies among pictures from any model
    fairshard audit text captions.txt --release release    captions repeated in any text, line by line
    fairshard audit style generated --release release --model run    creators whose pictures they resemble
    """


@audit.command(name="config", short_help="Memorisation, leakage, later opt-outs of a run.")
@CONFIG
@SET
@AS_JSON
def audit_config(config: str, changes: dict[str, Any], as_json: bool) -> None:
    """Memorisation, leakage and later opt-outs of the run of a job, by the registries as they are today.

    Exits with 1 if a measure is over its limit. Needs the extra [train].

    \b
    fairshard audit job.yaml
    """
    from . import audit as audits

    found = audits.run(configs.load(config, changes))
    if as_json:
        print_json({"out_dir": str(found.out_dir), "rows": found.rows})
    else:
        for text in audits.summary(found):
            click.echo(text)
        click.echo(f"audit: {found.out_dir}")
    raise SystemExit(1 if found.findings else 0)


@audit.command(name="images", short_help="The nearest released picture of each picture.")
@click.argument("folder", type=click.Path())
@RELEASE
@click.option(
    "--model",
    type=click.Path(),
    help="Compare by this model, too: a run folder of fairshard train, "
    "TorchScript such as SSCD, or ONNX (.onnx). Without it, by hashes alone.",
)
@click.option(
    "--side",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Of the model's input, where it has none of its own; 288 if not given.",
)
@click.option(
    "--similarity",
    type=click.FloatRange(-1, 1),
    metavar="COSINE",
    help="From which the model's nearest "
    "picture is a finding; 0.75 if not given, as of SSCD, and none for a run folder.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    help="Write audit.parquet and matches.png there, and keep the "
    "model's vectors of the release in it for the next time.",
)
@AS_JSON
def audit_images(folder: str, release: str, model: str | None, side: int | None, similarity: float | None,
                 out: str | None, as_json: bool) -> None:  # fmt: skip
    """The nearest released picture of each picture below FOLDER, however flipped or turned.

    Exits with 1 if one is within the radius of the release's policy, or as similar as --similarity by --model.

    \b
    fairshard audit images generated --release release
    fairshard audit images generated --release release --model sscd_disc_mixup.torchscript.pt --out matches
    """
    from . import audit as audits

    _print_audit(audits.images(folder, release, model, side, similarity, out), as_json)


@audit.command(name="text", short_help="The released caption that each line repeats.")
@click.argument("file", type=click.Path())
@RELEASE
@AS_JSON
def audit_text(file: str, release: str, as_json: bool) -> None:
    """The released caption that each line of FILE repeats: whole, or eight words of it in a row.

    Of Chinese, Japanese and other text without spaces, sixteen characters in a row.

    Exits with 1 if one does.

    \b
    fairshard audit text captions.txt --release release
    """
    from . import audit as audits

    _print_audit(audits.text(file, release), as_json)


@audit.command(name="style", short_help="The creators whose pictures a set resembles most.")
@click.argument("folder", type=click.Path())
@RELEASE
@click.option("--model", required=True, type=click.Path(), help="Run folder of fairshard train, on the same release.")
@click.option("--minimum", type=click.IntRange(min=2), default=10, show_default=True,
              help="Released pictures that a creator needs to be compared with.")  # fmt: skip
@AS_JSON
def audit_style(folder: str, release: str, model: str, minimum: int, as_json: bool) -> None:
    """Which creators' released pictures those below FOLDER resemble most, by what the model sees.

    Says how often chance makes a creator the nearest, too. It measures likeness of whatever the model sees, subject and
    colours among it; it is no finding of law. Exits with 1 if a creator is the nearest far more often than by chance.
    Needs the extra [train].

    \b
    fairshard audit style generated --release release --model run
    """
    from . import audit as audits

    _print_audit(audits.style(folder, release, model, minimum), as_json)


COMMANDS = {audit.name: audit}


def _print_audit(rows: list[Row], as_json: bool) -> None:
    from . import audit as audits

    # Of a picture there may be two rows, by hashes and by a model.
    subjects = {row["subject"] for row in rows}
    found = {row["subject"] for row in rows if row["finding"]}
    compared = {row["subject"] for row in rows if row["value"] is not None}
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(audits.line(row))
        click.echo(f"{len(found)} of {len(subjects)} with a finding, {len(subjects - compared)} not compared")
    raise SystemExit(1 if found else 0)
