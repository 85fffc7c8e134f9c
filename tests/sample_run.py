"""Running the sample web in tests: one job, some folder, some engine, the requests that were made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines import demo
from fairshard.pipelines._run import run
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import STAGES
from fairshard.schemas.config import Job

# What may differ between two runs that give the same rows: when, and where in scratch files.
NOT_COMPARED = {"answered_at", "fetched_at", "observed_at", "work_offset", "work_shard"}


@dataclass
class SampleRun:
    """A run of the sample web."""

    folder: Path
    job: Job
    requests: list
    summary: dict

    @property
    def store(self) -> Store:
        return Store(self.job.work_dir)

    @property
    def release(self) -> Path:
        return Path(self.job.release_dir)

    def requested_urls(self) -> set[str]:
        """URLs the proxy was asked for."""
        return {request[1] for request in self.requests}

    def rows(self, table: str) -> list[dict]:
        """A table's rows without what may differ, sorted."""
        found = self.store.read(table).to_pylist()
        kept = [{key: value for key, value in row.items() if key not in NOT_COMPARED} for row in found]
        return sorted(kept, key=repr)

    def bytes_of(self) -> dict[str, bytes]:
        """Every file of the release that is a function of its inputs."""
        files = (path for path in sorted(self.release.rglob("*")) if path.is_file())
        return {
            str(path.relative_to(self.release)): path.read_bytes() for path in files if path.name != "catalog.duckdb"
        }


def sample_job(folder: Path, proxy: str, **changes) -> Job:
    """The demo's job, with changes to the top of its config."""
    job = demo.job(folder, proxy)
    return dataclasses.replace(job, config=dataclasses.replace(job.config, **changes))


def run_sample(folder: Path, until: str = "emit", **changes) -> SampleRun:
    """Run the sample web."""
    with SampleWeb() as web:
        job = sample_job(folder, web.proxy_url, **changes)
        summary = run(job, STAGES[: STAGES.index(until) + 1])
        return SampleRun(folder, job, list(web.requests), summary)
