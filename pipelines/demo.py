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
    """Curate the sample web into ``folder/release``, train on it into ``folder/run``, audit that into ``folder/audit``.

    Raises:
        MissingExtra: [crawl], or [train] unless ``train`` is False.
    """
    for extra, module in (("crawl", "aiohttp"), *((("train", "open_clip"),) if train else ())):
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(extra, "fairshard demo", module)
    from ..examples.sample_web.server import SampleWeb

    with SampleWeb() as web:
        found: dict[str, Any] = {"run": run_stages(job(folder, web.proxy_url), STAGES)}
        found["requests"] = len(web.requests)
    if train:
        from . import audit as audits
        from . import train as trains

        made = job(folder, "")
        trained = trains.run(made.release_dir, made.run_dir, made.config.train)
        found["train"] = dataclasses.asdict(trained)
        # The sample's registries never change, so here, unlike elsewhere, an audit of the same run stands.
        known = Path(made.audit_dir) / "audit.json"
        audited = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
        same = trained.already_done and audited.get("run") == trained.record.get("fingerprint") is not None
        found["audit"] = audited["measures"] if same else audits.run(made).measures
    return found


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
        lines.append(f"model, loss curve and retrieval:  {folder}/run")
        lines.append(f"audit of what it kept:  {folder}/audit; over a limit: {', '.join(over) or 'nothing'}")
    work, release = str(folder / "work"), str(folder / "release")
    refused = sql(work, _REFUSED).to_pylist()
    shown = ("--run", str(folder / "run"), "--audit", str(folder / "audit")) if "train" in found else ()
    commands = [
        ("the release in pictures", "report", release, *shown),
        *(("why one picture is out", "explain", work, "--url", row["url"]) for row in refused),
        ("why all the others are", "sql", work, _REASONS),
    ]
    for about, *command in commands:
        lines += ["", f"# {about}", shlex.join([program, *command])]
    return lines
