"""``fairshard demo``: the whole flow on the bundled sample web, offline."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shlex
from pathlib import Path
from typing import Any

from ..examples.sample_web import FOLDER
from ..schemas import config as configs
from ..schemas.errors import MissingExtra
from ._catalog import sql
from ._run import run as run_stages
from ._work import STAGES

CONFIG = FOLDER / "config.yaml"
_REFUSED = "SELECT url FROM outcome WHERE starts_with(reason, 'deny:') ORDER BY reason DESC, url LIMIT 1"
_REASONS = "SELECT stage, reason, rows FROM reason ORDER BY rows DESC, reason"


def run(folder: Path, train: bool = True) -> dict[str, Any]:
    """Curate the sample web into ``folder/release``, train on it, and audit what the models kept.

    The CLIP model goes into ``folder/run``, the diffusion model into ``folder/diffusion``, the audit of both into
    ``folder/audit``. What is done already is not done again.

    Raises:
        MissingExtra: [crawl], or [train] unless ``train`` is False.
    """
    needed = (("crawl", "aiohttp"), *((("train", "open_clip"), ("train", "diffusers")) if train else ()))
    for extra, module in needed:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(extra, "fairshard demo", module)
    from ..examples.sample_web.server import SampleWeb

    with SampleWeb() as web:
        found: dict[str, Any] = {"run": run_stages(job(folder, web.proxy_url), STAGES)}
        found["requests"] = len(web.requests)
    return found | models(job(folder, "")) if train else found


def models(made: configs.Job) -> dict[str, Any]:
    """Both models on the release of a job, and the audit of what they kept; nothing that is done is done again.

    Returns:
        ``train`` and ``diffusion``, what the run folders say, and ``audit``, the measures.
    """
    from . import audit as audits
    from . import train as trains
    from . import train_diffusion

    clip = trains.run(made.release_dir, made.run_dir, made.config.train)
    diffusion = train_diffusion.run(made.release_dir, made.run_dir, made.diffusion_dir, made.config.diffusion)
    known = _audited(Path(made.audit_dir) / "audit.json")
    runs = {"run": clip.record["fingerprint"], "diffusion": diffusion.record["fingerprint"]}
    # The sample's registries never change, so here, unlike elsewhere, an audit of the same runs stands.
    stands = clip.already_done and diffusion.already_done and runs == {name: known.get(name) for name in runs}
    return {
        "train": dataclasses.asdict(clip),
        "diffusion": dataclasses.asdict(diffusion),
        "audit": known["measures"] if stands else audits.run(made).measures,
    }


def _audited(path: Path) -> dict[str, Any]:
    """What an earlier audit measured, and of which runs; nothing if there is none that can be read."""
    try:
        record = json.loads(path.read_bytes())
        return {"run": record["run"], "diffusion": record["diffusion"]["run"], "measures": record["measures"]}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def job(folder: Path, proxy: str) -> configs.Job:
    """The sample job with its results below ``folder`` and its requests through the sample web.

    Without the extra [iscc] its registry of such codes is left out.
    """
    loaded = configs.load(CONFIG)
    base = folder.resolve()
    config = dataclasses.replace(
        loaded.config,
        registries=tuple(listed for listed in loaded.config.registries if listed.scope != "iscc" or _reads_iscc()),
        work_dir=str(base / "work"),
        release_dir=str(base / "release"),
        fetch=dataclasses.replace(loaded.config.fetch, proxy=proxy),
        run_dir=str(base / "run"),
        diffusion_dir=str(base / "diffusion"),
        audit_dir=str(base / "audit"),
    )
    made = dataclasses.replace(loaded, config=config)
    configs.check_folders(made, "demo")
    return made


def _reads_iscc() -> bool:
    return importlib.util.find_spec("iscc_lib") is not None


def next_steps(folder: Path, found: dict[str, Any], program: str = "fairshard") -> list[str]:
    """Where things are, and commands to go on with, fit to be pasted.

    Args:
        folder: of the demo.
        found: as ``run`` returns it.
        program: how fairshard is called.
    """
    lines = [f"requests made: {found['requests']}", f"dataset card:  {folder}/release/README.md"]
    if not _reads_iscc():
        lines.append("left out:      the registry of ISCCs, which takes the extra [iscc]")
    if "train" in found:
        over = dict.fromkeys(measure["kind"] for measure in found["audit"] if measure["finding"])
        lines.append(f"CLIP model, loss curve and retrieval:      {folder}/run")
        lines.append(f"diffusion model, loss curve and samples:   {folder}/diffusion")
        lines.append(f"audit of what they kept, replicas.png:     {folder}/audit")
        lines.append(f"over a limit of the audit:                 {', '.join(over) or 'nothing'}")
    work, release = str(folder / "work"), str(folder / "release")
    refused = sql(work, _REFUSED).to_pylist()
    made = ("run", "diffusion", "audit") if "train" in found else ()
    shown = [word for name in made for word in (f"--{name}", str(folder / name))]
    commands = [
        ("the release in pictures", "report", release, *shown),
        *(("why one picture is out", "explain", work, "--url", row["url"]) for row in refused),
        ("why all the others are", "sql", work, _REASONS),
    ]
    for about, *command in commands:
        lines += ["", f"# {about}", shlex.join([program, *command])]
    return lines
