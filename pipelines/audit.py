"""audit: what a trained model kept, what has opted out since, and whether its test was fair.

Four questions about a release, the run that was trained on it, and the registries of today:

1. Later opt-outs: which released pairs would be left out now, and how much of the run were they?
2. Leakage: which tested pairs resemble trained ones, so that a test measures memory?
3. Memorisation: can one tell by the model which pairs it was trained on, and which pairs is that worst for?
   Where canaries were planted: how surely does it give them away?
4. Replication: where the job has a diffusion run, too, how many of its pictures are copies, and does it give away by
   its losses which pairs it was trained on?

Each measure has a limit in the config and is a finding above it. ``audit`` names pairs that confidential lists may
cover: it is for those who hold the data, and not for publishing.

`images`, `text` and `style` check what came out of any model against a release; see ``_audit_outputs``,
``_audit_copies``, ``_audit_text`` and ``_audit_style``.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..schemas import typed_yaml
from ..schemas.config import Job
from ..schemas.policy import Policy
from ..schemas.tables import AUDIT
from . import (
    _audit_canaries,
    _audit_copies,
    _audit_diffusion,
    _audit_diffusion_rows,
    _audit_leaks,
    _audit_model,
    _audit_outputs,
    _audit_picture,
    _clip_embed,
    _copy_model,
    _manifest,
    _registries,
)
from ._audit_row import Row, over, row
from ._audit_style import style
from ._audit_text import text
from ._recheck import violations
from ._release import MANIFEST, Release
from ._trained import Trained, read_run
from ._trainer_process import WEIGHTS

__all__ = ["READS", "WRITES", "AuditResult", "images", "line", "run", "style", "summary", "text"]

READS = ("manifest.json", "shards/*.tar", "pairs/*.parquet", "tables/*.parquet", "run.json", "held_out.txt",
         WEIGHTS)  # fmt: skip
WRITES = ("audit.parquet", "audit.json", "memorisation.png")
FORMAT = "fairshard-audit/1"
OF_DIFFUSION = _audit_diffusion.WRITES
_SHOWN = 10
log = logging.getLogger("fairshard")


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        out_dir: the folder with ``WRITES``.
        rows: of ``audit``.
    """

    out_dir: Path
    rows: list[Row]

    @property
    def measures(self) -> list[Row]:
        """Rows about the run as a whole."""
        return [found for found in self.rows if found["pair_id"] is None]

    @property
    def findings(self) -> list[Row]:
        """Measures over their limit."""
        return [found for found in self.measures if found["finding"]]


def run(job: Job, now: datetime | None = None) -> AuditResult:
    """Audit a job's run. Takes the registries as they are now, so that it is never done for good.

    Args:
        job: whose release, run folder and registries are read.
        now: when the rules have to be in force; the present if not given.

    Raises:
        MissingExtra: [train] is not installed.
        ReleaseError: no release, one with a file that is not the one that the manifest names, no finished run, or a run on
            another release.
        RegistryError: a registry is missing, stale or unreadable.
        StageError: the checkpoint cannot be loaded.
    """
    now, limits = now or datetime.now(UTC), job.config.audit
    _clip_embed.check_installed()
    trained = read_run(job.run_dir, job.release_dir)
    release = Release(job.release_dir)
    manifest = _manifest.load(release)
    later = _later_opt_outs(job, release, manifest, trained, now)
    leaks = _audit_leaks.find(release, trained.split, limits)
    memory = _audit_model.measure(trained, leaks.near, limits.max_pairs)
    memorised = _audit_model.rows(memory, limits, leaks.pair_ids)
    exposed = _audit_canaries.measure(trained)
    planted = _audit_canaries.rows(exposed, limits.max_canaries_extracted)
    kept = _audit_diffusion.measure_run(job, trained, leaks.near)
    generated = _audit_diffusion_rows.rows(kept, limits, leaks.pair_ids)
    result = AuditResult(Path(job.audit_dir), [*later, *leaks.rows, *memorised, *planted, *generated])
    threshold = next((found["threshold"] for found in memorised if found["pair_id"] is not None), None)
    pictures = {"memorisation.png": _audit_picture.draw(memory, threshold), **_audit_diffusion.draw(kept)}
    _write(result, pictures, _record(job, trained, memory, exposed, kept, result, now))
    for found in result.measures:
        log.info("audit: %s", line(found))
    return result


def images(
    folder: str | Path,
    release_dir: str,
    model: str | None = None,
    side: int | None = None,
    similarity: float | None = None,
    out: str | None = None,
) -> list[Row]:
    """For each picture below a folder, the released picture that is nearest: by hashes, and by a model if one is named.

    Args:
        folder, release_dir: see ``_audit_outputs.images``.
        model, side: see ``_copy_model.load``.
        similarity: see ``_audit_copies.alike``.
        out: where ``_audit_copies.WRITES`` go, and the model's vectors of the release; nothing is written if None.

    Returns:
        ``audit`` rows, those of hashes first.
    """
    looking = None if model is None else _copy_model.load(model, side)
    rows = _audit_outputs.images(folder, release_dir)
    if looking is not None:
        rows += _audit_copies.alike(folder, release_dir, looking, similarity, None if out is None else Path(out))
    if out is not None:
        _audit_copies.write(rows, folder, release_dir, out)
    return rows


def summary(result: AuditResult) -> list[str]:
    """Measures, and the first ``_SHOWN`` single findings of each kind, in words."""
    lines = [line(found) for found in result.measures]
    singles = [found for found in result.rows if found["pair_id"] is not None and found["finding"]]
    for kind in dict.fromkeys(found["kind"] for found in singles):
        of_kind = [found for found in singles if found["kind"] == kind]
        lines += [line(found) for found in of_kind[:_SHOWN]]
        if len(of_kind) > _SHOWN:
            lines.append(f"{len(of_kind) - _SHOWN} more {kind} in audit.parquet")
    return lines


def line(found: Row) -> str:
    """A row in words."""
    what = found["kind"] if found["subject"] == "all" else f"{found['kind']} {found['subject']}"
    limit = "" if found["threshold"] is None else f" (limit {found['threshold']:.4g})"
    number = "" if found["value"] is None else f" {found['value']:.4g}{limit}:"
    return f"{'FINDING ' if found['finding'] else ''}{what}:{number} {found['detail']}"


def _later_opt_outs(job: Job, release: Release, manifest: dict[str, Any], trained: Trained, now: datetime) -> list[Row]:
    """Released pairs that a rule of today forbids, one row each, with every rule that does."""
    loaded = [registry.rules for registry in _registries.load(job, now)]
    policy = typed_yaml.build(Policy, manifest["policy"], f"{MANIFEST}: policy")
    ruled = violations(release, pa.concat_tables(loaded), policy, now) if loaded else []
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for hit in ruled:
        by_key[hit["sample_key"]].append(hit)
    used = {sample.key for sample in trained.split.trained}
    count, limit = len(by_key), job.config.audit.max_later_opt_outs
    seen = len(by_key.keys() & used)
    asked = f"by {len(loaded)} registries" if loaded else "but the config names no registry"
    detail = f"{count} released pairs are forbidden now, {asked}; the run trained on {seen} ({seen / len(used):.2%})"
    rows = [row("later_opt_out", "all", count, limit, over(count, limit), detail)]
    for key, hits in sorted(by_key.items()):
        said = "; ".join(_rule(hit) for hit in hits)
        detail = f"{'trained on' if key in used else 'held out'}, {hits[0]['url']}: {said}"
        rows.append(row("later_opt_out", key, len(hits), 0, True, detail, hits[0]["pair_id"]))
    return rows


def _rule(hit: dict[str, Any]) -> str:
    key = hit["rule_key"] if hit["rule_key"] is not None else f"rule {hit['rule_id']}"
    return f"{hit['registry']} denies by {hit['scope']}: {key}"


def _record(
    job: Job,
    trained: Trained,
    memory: _audit_model.Memory | None,
    exposed: _audit_canaries.Exposed | None,
    kept: _audit_diffusion.Kept | _audit_diffusion.NotAudited | None,
    result: AuditResult,
    now: datetime,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "fairshard": version("fairshard"),
        "audited_at": now.isoformat(timespec="seconds"),
        "release": trained.release.manifest_sha256,
        "run": trained.record.get("fingerprint"),
        "checkpoint": trained.record["checkpoint"],
        "limits": asdict(job.config.audit),
        "measures": result.measures,
        "attacks": {} if memory is None else {name: asdict(attack) for name, attack in memory.attacks.items()},
        "diffusion": None if kept is None else kept.said(),
        "canaries": [] if exposed is None else exposed.said(),
        "findings": len(result.findings),
    }


def _write(result: AuditResult, pictures: dict[str, bytes], record: dict[str, Any]) -> None:
    """Each file whole or not at all, the record last."""
    folder = Release(str(result.out_dir))
    folder.remove("audit.json")
    folder.write_parquet("audit.parquet", AUDIT.schema, [_batch(result.rows)])
    for name in OF_DIFFUSION:
        folder.remove(name)
    for name, picture in pictures.items():
        folder.put(name, picture)
    folder.put("audit.json", (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def _batch(rows: Sequence[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([dict(found) for found in rows], schema=AUDIT.schema)
