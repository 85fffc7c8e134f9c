"""Verbs that work on a trained model, given its run folder."""

from __future__ import annotations

import click

from ._output import AS_JSON, print_json


@click.command(short_help="Pictures from captions, by a diffusion run; marked as generated.")
@click.argument("run_dir", type=click.Path(file_okay=False))
@click.option("--captions", required=True, type=click.Path(dir_okay=False), help="UTF-8, one caption a line.")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="A new or an empty folder.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
@click.option("--steps", type=click.IntRange(min=1), help="Of denoising.  [config of the run: sampling_steps]")
@click.option("--guidance", type=click.FloatRange(min=0.0, max=100.0),
              help="1 follows the caption as trained; more exaggerates what it changes.  [config of the run: guidance]")  # fmt: skip
@AS_JSON
def generate(
    run_dir: str, captions: str, out: str, seed: int, steps: int | None, guidance: float | None, as_json: bool
) -> None:
    """Generate a picture for each caption by the diffusion model in RUN_DIR. Needs the extra [train].

    Writes 000000.png and so on, and generated.jsonl that says which caption each is for. Every picture carries IPTC's mark
    of what a trained model made, and an invisible watermark where it is large enough, so that the `synthetic` screen
    keeps it out of later releases.

    \b
    fairshard generate diffusion --captions captions.txt --out generated
    """
    from . import generate as generates

    made = generates.run(run_dir, captions, out, seed, steps, guidance)
    if as_json:
        print_json(made)
    else:
        click.echo(f"{made.pictures} pictures: {made.out_dir}")


COMMANDS = {command.name: command for command in (generate,)}
