"""Verbs about a release: what is in it and why, whether it holds, what changed, the next one."""

from __future__ import annotations

import click

from ._output import AS_JSON, print_json, print_rows


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

    RELEASE may be a folder of releases: each answers, the last of a row of takedowns first. Finds pairs that were left
    out too, and says why. Exits with 0 if there are any, in or left out, and with 1 if not.

    \b
    fairshard lookup release --image my_painting.png
    fairshard lookup release --domain example.org
    fairshard lookup all-releases --url https://example.org/cat.jpg
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
@click.option("--public-key", type=click.Path(), metavar="PEM", help="Also check who signed it.")
@click.option("--previous", type=click.Path(file_okay=False), metavar="RELEASE",
              help="The release it was made from by takedown, where it does not lie beside it.")  # fmt: skip
@AS_JSON
def verify(
    release: str, registries: tuple[str, ...], public_key: str | None, previous: str | None, as_json: bool
) -> None:
    """Recount and rehash a release; check it against today's opt-outs. Exits with 1 if something is wrong.

    The releases that takedowns made it from are compared with it, one after the other, if they lie beside it: samples may
    have gone, with a tombstone, and nothing else may have changed. An opt-out list older than the release's policy
    allows is used, with a warning.

    \b
    fairshard verify release
    fairshard verify release --registry domain=optouts.txt --registry pdq=hashes.csv
    """
    from . import verify as verifies

    findings = verifies.check(release, registries, public_key, previous)
    if as_json:
        print_json({"release": release, "findings": findings})
    else:
        for finding in findings:
            click.echo(verifies.line(finding))
        click.echo(f"{len(findings)} finding{'' if len(findings) == 1 else 's'}")
    raise SystemExit(1 if findings else 0)


@click.command(short_help="Sign a release with an Ed25519 key.")
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--key", required=True, type=click.Path(), metavar="PEM", help="Private key; it goes nowhere.")
@AS_JSON
def sign(release: str, key: str, as_json: bool) -> None:
    """Write RELEASE/manifest.sig, by which others tell that a release is yours. Needs the extra [sign].

    \b
    openssl genpkey -algorithm ed25519 -out private.pem
    openssl pkey -in private.pem -pubout -out public.pem
    fairshard sign release --key private.pem
    fairshard verify release --public-key public.pem
    """
    from . import sign as signs

    path = signs.sign(release, key)
    if as_json:
        print_json({"signature": path})
    else:
        click.echo(path)


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
@click.option(
    "--run", type=click.Path(file_okay=False), metavar="FOLDER", help="Show this run of CLIP on the release too."
)
@click.option(
    "--diffusion",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Show this run of the diffusion trainer too.",
)
@click.option(
    "--audit",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Show what this audit of the release measured too.",
)
@AS_JSON
def report(
    release: str, out: str | None, run: str | None, diffusion: str | None, audit: str | None, as_json: bool
) -> None:
    """Show a release on one HTML page that needs nothing but itself. Needs the extra [report].

    \b
    fairshard report release                             into release/report.html
    fairshard report release --out page.html             somewhere else
    fairshard report release --run run --audit audit     with the model that was trained on it
    fairshard report release --run run --diffusion diffusion --audit audit    with both models
    """
    from . import report as reports

    path = reports.write(release, out, run, audit, diffusion)
    if as_json:
        print_json({"report": path})
    else:
        click.echo(path)


@click.command(short_help="What changed between two releases, by reason.")
@click.argument("before", type=click.Path(file_okay=False))
@click.argument("after", type=click.Path(file_okay=False))
@click.option(
    "--out", type=click.Path(dir_okay=False), help="List every pair that changed, in a .csv or .parquet file."
)
@AS_JSON
def diff(before: str, after: str, out: str | None, as_json: bool) -> None:
    """Count the pairs that came, went or are left out for another reason; name settings and lists that differ.

    \b
    fairshard diff release release-2
    fairshard diff release release-2 --out changed.csv
    """
    from . import diff as diffs

    found = diffs.compare(before, after)
    if out is not None:
        diffs.write_pairs(before, after, out)
    if as_json:
        print_json(found)
    else:
        click.echo(diffs.text(found))


@click.command(short_help="Who is in a release, and what of a sum is due to whom.")
@click.argument("release", type=click.Path(file_okay=False))
@click.option(
    "--pool", metavar="AMOUNT", help="Share this sum out among creators (and hosts, where no creator is stated)."
)
@click.option("--minimum", metavar="AMOUNT", default="0", show_default=True, help="Pool shares below this amount.")
@click.option(
    "--decimals", default=2, show_default=True, type=click.IntRange(0, 12), help="Digits of the smallest unit."
)
@click.option("--out", type=click.Path(dir_okay=False), help="Write a .csv or .parquet file instead.")
@AS_JSON
def attribution(release: str, pool: str | None, minimum: str, decimals: int, out: str | None, as_json: bool) -> None:
    """Rows, bytes and share by creator, host and licence; with --pool, payouts that sum to the amount exactly.

    \b
    fairshard attribution release
    fairshard attribution release --pool 10000.00 --minimum 5 --out payouts.csv
    """
    from . import attribution as attributions

    money = None if pool is None else attributions.shared_sum(pool, minimum, decimals)
    if out is not None:
        attributions.write(release, money, out)
    elif as_json:
        print_json(attributions.table(release, money).to_pylist())
    else:
        print_rows(attributions.table(release, money))


@click.command(short_help="A page for creators: am I in it? Please leave me out.")
@click.argument("release", type=click.Path(file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free one.")
@click.option(
    "--name", "names", multiple=True, help="Host name that the server is asked by, where others can reach it."
)
@click.option("--requests", type=click.Path(file_okay=False), metavar="FOLDER",
              help="Offer a form for opt-out requests, and write them into registry files there.")  # fmt: skip
def serve(release: str, host: str, port: int, names: tuple[str, ...], requests: str | None) -> None:
    """Serve a page on which people look for their pictures in a release, until Ctrl-C. Needs the extra [crawl].

    By default this machine alone can reach it. To publish it, put a web server with TLS before it and give its --name.
    Uploaded pictures are compared and forgotten.

    \b
    fairshard serve release
    fairshard serve release --requests optouts --name data.example.org
    fairshard takedown release --registry url=optouts/url.csv --out release-2
    """
    from . import serve as serves

    serves.run(release, host, port, names, requests)


COMMANDS = {
    command.name: command for command in (explain, lookup, verify, sign, takedown, diff, attribution, report, serve)
}
