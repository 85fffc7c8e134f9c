"""report: a release on one HTML page that needs nothing but itself.

No script and no request to anybody: styles are inline, pictures are small JPEGs made anew and held in the page, and
its content security policy forbids the rest. What comes from the sources is escaped, marks that reverse or hide
text are shown by their number, and only http and https URLs become links. Pairs that a sensitive rule withheld are
a number here as everywhere; pictures are shown of released pairs alone.

The page is derived from the release, as ``catalog.duckdb`` is: the manifest does not list it, ``verify`` lets it
lie there, and a takedown does not carry it over. The same release, run and audit give the same page.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
from importlib import resources
from pathlib import Path
from typing import Any

from ..schemas.errors import InputError, MissingExtra, ReleaseError
from ._card import policy_words
from ._catalog import open_catalog
from ._manifest import load, merkle_root
from ._page_words import FILTERS
from ._release import MANIFEST, REPORT, SIGNATURE, Release
from ._report_diffusion import generating
from ._report_facts import facts
from ._report_run import audited, trained


def write(
    folder: str, out: str | None = None, run: str | None = None, audit: str | None = None, diffusion: str | None = None
) -> str:
    """Write the page of a release. Returns its path.

    Args:
        folder: the release.
        out: where to; ``report.html`` in the release if not given.
        run: a run folder of `train` on this release, to be shown too.
        audit: a folder of `audit` of this release, likewise.
        diffusion: a run folder of its other trainer, likewise.

    Raises:
        MissingExtra: jinja2 is not installed.
        ReleaseError: not a finished release, its files cannot be read, or the run or audit is of another one.
        InputError: ``out`` cannot be written.
    """
    page = html(folder, run, audit, diffusion).encode()
    if out is None:
        release = Release(folder)
        release.put(REPORT, page)
        return release.path(REPORT)
    part = Path(f"{out}.part")
    try:
        part.write_bytes(page)
        os.replace(part, out)
    except OSError as error:
        with contextlib.suppress(OSError):  # there may be no folder that it could lie in
            part.unlink()
        raise InputError(out, f"cannot be written ({error.strerror})", "a file in a folder that is there") from error
    return out


def html(folder: str, run: str | None = None, audit: str | None = None, diffusion: str | None = None) -> str:
    """The page. Takes and raises what ``write`` does."""
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtra("report", "fairshard report", "jinja2")
    import jinja2

    release = Release(folder)
    shown = _manifest_facts(release) | _run_facts(release, run, audit, diffusion)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(FILTERS)
    template = resources.files(__package__ or "").joinpath("templates", "report.html.j2").read_text(encoding="utf-8")
    catalog = open_catalog(folder)
    try:
        shown |= facts(release, catalog)
        shown["policy"] = policy_words(shown["manifest"]["policy"])
        return environment.from_string(template).render(shown)
    except (KeyError, TypeError, ValueError, AttributeError, jinja2.UndefinedError) as error:
        raise ReleaseError(release.path(MANIFEST), f"lacks something ({error})", "the manifest of a release") from error
    finally:
        catalog.connection.close()


def _manifest_facts(release: Release) -> dict[str, Any]:
    """The manifest, and what tells that it is the one."""
    manifest = load(release)
    root, stated = merkle_root(manifest["files"]), manifest.get("merkle_root")
    if stated not in (root, None):
        raise ReleaseError(release.path(MANIFEST), f"has the Merkle root {stated}", f"{root}, that of its files",
                           "Run `fairshard verify` on the release")  # fmt: skip
    return {
        "manifest": manifest,
        "counts": manifest["counts"],
        "manifest_sha256": _sha256(release),
        "merkle_root": root,
        "is_signed": release.exists(SIGNATURE),
    }


def _sha256(release: Release) -> str:
    return hashlib.sha256(release.fs.cat_file(release.path(MANIFEST))).hexdigest()


def _run_facts(release: Release, run: str | None, audit: str | None, diffusion: str | None) -> dict[str, Any]:
    """The runs and the audit, null where there is none."""
    sha256 = _sha256(release)
    shown = None if run is None else trained(run, sha256)
    made = None if diffusion is None else generating(diffusion, sha256)
    of = [None if found is None else found["fingerprint"] for found in (shown, made)]
    return {"run": shown, "diffusion": made, "audit": None if audit is None else audited(audit, sha256, *of)}
