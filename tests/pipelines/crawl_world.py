"""A job on a web of its own, to be run again and again: another web, another list, another policy."""

from __future__ import annotations

import json
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from small_world import picture

from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines import _run
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import STAGES
from fairshard.schemas import config as configs

HOST_FILES = {"/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"}
OPEN = {"paths": {"/p/": {}}}


@dataclass
class World:
    """The job, and the requests of its last run."""

    folder: Path
    requests: list[str]

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "work"))

    def job(self, proxy: str | None, pairs: list, policy: dict, **config) -> configs.Job:
        rows = [pair if isinstance(pair, tuple) else (pair, "some words") for pair in pairs]
        lines = [json.dumps({"url": url, "text": text}) for url, text in rows]
        if not (path := self.folder / "list.jsonl").exists() or path.read_text() != "\n".join(lines):
            path.write_text("\n".join(lines))
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(policy or {"extends": "strict"}))
        given = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.jsonl"}], "workers": 1}
        given["consult"] = {"partitions": 2, "timeout_s": 2, "retries": 0, **config.pop("consult", {})}
        given["fetch"] = {"partitions": 2, "timeout_s": 2, "retries": 0, "proxy": proxy, **config.pop("fetch", {})}
        (self.folder / "job.yaml").write_text(yaml.safe_dump({**given, "policy": "policy.yaml", **config}))
        return configs.load(self.folder / "job.yaml")

    def run(self, hosts: dict, pairs: list, policy: dict | None = None, until: str = "screen", **config) -> None:
        with self.serve(hosts) as proxy:
            job = self.job(proxy, pairs, policy or {}, **config)
            _run.run(job, STAGES[: STAGES.index(until) + 1])

    @contextmanager
    def serve(self, hosts: dict):
        (self.folder / "web.yaml").write_text(yaml.safe_dump(hosts))
        with SampleWeb(self.folder) as web:
            yield web.proxy_url
            self.requests[:] = [request.url for request in web.requests]

    def fates(self) -> dict[str, str]:
        """By URL (and caption, where it is not the usual): the reason it was dropped for, or ``alive``."""
        dropped = {row["pair_id"]: row["reason"] for row in self.store.read("dropped").to_pylist()}
        pairs = self.store.read("pair").to_pylist()
        assert len(dropped) == self.store.read("dropped").num_rows
        usual = "some words"
        return {
            row["url"] + ("" if row["caption"] == usual else f" {row['caption']}"): dropped.get(row["pair_id"], "alive")
            for row in pairs
        }

    def images_asked(self) -> list[str]:
        return sorted(url for url in self.requests if urlsplit(url).path not in HOST_FILES)

    def members(self) -> list[str]:
        """Everything that lies in the work shards."""
        found = []
        for path in sorted((self.folder / "work" / "work_shard").glob("*.tar")):
            with tarfile.open(path) as tar:
                found += tar.getnames()
        return found


def make(folder: Path) -> World:
    """A world of six pictures, ``0.jpg`` to ``5.jpg``."""
    for name in ("pictures", "paintings"):
        (folder / name).mkdir()
    for number in range(6):
        (folder / "pictures" / f"{number}.jpg").write_bytes(picture(number))
    return World(folder, [])
