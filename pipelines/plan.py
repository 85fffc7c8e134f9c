"""``fairshard plan``: what a job would do, and what another policy would keep. Writes and requests nothing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from ..schemas import policy as policies
from ..schemas.config import Job
from ..schemas.policy import Policy
from ..schemas.tables import TABLES
from . import _endpoints, _gate, _preflight, _registries
from ._engine import DuckDBEngine
from ._files import arrow_filesystem, require_reachable
from ._hash_entries import in_words
from ._store import Store
from ._work import STAGES, Work, require

REASONS = """
SELECT reason, count(*) AS pairs FROM refused GROUP BY reason ORDER BY pairs DESC, reason
"""


def run(job: Job, other_policy: str | None = None) -> dict[str, Any]:
    """Check a job and describe it.

    Args:
        job: the job.
        other_policy: a preset or a file; then the evidence in the work directory is judged by it.

    Raises:
        ConfigError, ReleaseError, SourceError, RegistryError, MissingExtra, Refused: what would stop the run.
        ReleaseError: another policy is asked about and the job was never run.
    """
    for folder in (job.work_dir, job.release_dir):
        require_reachable(folder)
    if other_policy is not None:
        other = policies.load(other_policy, job.folder)
        return {"policy": dataclasses.asdict(other), **judged(job, other)}
    _preflight.require_extras(job, STAGES)
    files = _preflight.preflight(job, ())
    registries = _registries.load(job, datetime.now(UTC))
    _endpoints.check(Work(job))
    store = Store(job.work_dir)
    return {
        "policy": dataclasses.asdict(job.policy),
        "sources": [{"name": file.source, "path": file.path, "format": file.format, "rows": _rows(file)} for file in files],
        "registries": [
            {"name": one.registry.name, "scope": one.registry.scope, "rules": one.rules.num_rows,
             "malformed": one.malformed, "left_out": one.left_out, "sensitive": one.registry.sensitive}
            for one in registries
        ],
        "endpoints": [
            {"name": one.name, "url": one.url, "batch_urls": one.batch_urls,
             "max_age_days": _endpoints.max_age(one, job.policy) / timedelta(days=1)}
            for one in job.config.endpoints
        ],
        "stages": [{"stage": stage, "partitions_done": len(store.marks(stage))} for stage in STAGES],
        "work_dir": job.work_dir,
        "release_dir": job.release_dir,
    }  # fmt: skip


def judged(job: Job, policy: Policy) -> dict[str, Any]:
    """How many pairs a policy would keep by the evidence that is there, and why it would drop the others.

    Evidence of an image that was never asked for is not there, so what is kept is an upper bound.
    """
    store = Store(job.work_dir)
    require(store, "consult", "Run 'fairshard run' first: policies are compared on recorded evidence")
    engine = DuckDBEngine(job.config.workers or 2, job.config.memory_limit_gb, f"{Work(job).local_scratch}/spill")
    try:
        for table in ("pair", "signal"):
            engine.scan(table, store.files(table), TABLES[table].schema)
        engine.step("alive", "SELECT * FROM pair")
        _gate.refused(engine, policy, "plan")
        reasons = engine.rows(REASONS).to_pylist()
        pairs = engine.rows("SELECT count(*) AS pairs FROM pair")["pairs"][0].as_py()
    finally:
        engine.close()
    return {"pairs": pairs, "kept": pairs - sum(row["pairs"] for row in reasons), "dropped": reasons}


def show(found: dict[str, Any], console: Console) -> None:
    """Print a plan for people."""
    policy = found["policy"]
    console.print(f"policy {policy['name']}: {policy['assumes'] or 'your own'}", markup=False)
    if "kept" in found:
        console.print(f"would keep {found['kept']:,} of {found['pairs']:,} pairs by the evidence recorded so far")
        for row in found["dropped"]:
            console.print(f"  {row['pairs']:>10,}  {row['reason']}", markup=False)
        return
    for source in found["sources"]:
        rows = "" if source["rows"] is None else f", {source['rows']:,} rows"
        console.print(f"source {source['name']}: {source['format']}{rows}", markup=False)
    for registry in found["registries"]:
        hidden = ", sensitive" if registry["sensitive"] else ""
        lost = f", {registry['malformed']:,} malformed and left out" if registry["malformed"] else ""
        others = f", of other kinds and left out: {in_words(registry['left_out'])}" if registry["left_out"] else ""
        console.print(
            f"registry {registry['name']}: {registry['rules']:,} by {registry['scope']}{hidden}{lost}{others}",
            markup=False,
        )
    for endpoint in found["endpoints"]:
        console.print(
            f"registry {endpoint['name']}: asked at {endpoint['url']}, {endpoint['batch_urls']:,} URLs a request; "
            f"answers serve {endpoint['max_age_days']:g} days", markup=False,
        )  # fmt: skip
    for stage in found["stages"]:
        done = stage["partitions_done"]
        console.print(f"stage {stage['stage']}: {f'{done} partitions committed' if done else 'to do'}", markup=False)
    console.print(f"work: {found['work_dir']}\nrelease: {found['release_dir']}", markup=False)


def _rows(file: Any) -> int | None:
    """Rows of a Parquet source, from its footer; other formats would have to be read."""
    if file.format not in ("parquet", "img2dataset"):
        return None
    fs, plain = arrow_filesystem(file.path)
    with fs.open_input_file(plain) as opened:
        return pq.read_metadata(opened).num_rows
