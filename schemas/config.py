"""The configuration of a job: one YAML file, typed, every key with a default but the first three."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import limits, typed_yaml
from . import policy as policies
from .audit_config import AuditConfig
from .diffusion_config import DiffusionConfig
from .errors import ConfigError
from .policy import Policy
from .train_config import TrainConfig

Scope = Literal[
    "url", "url_prefix", "host", "domain", "creator", "licence", "md5", "sha256", "phash", "pdq", "hash", "iscc"
]


@dataclass(frozen=True)
class Source:
    """An image-text list, a web archive, or an output folder of img2dataset.

    Attributes:
        path: file, glob or folder, relative to the config file; any fsspec URL.
        format: ``auto`` goes by the ending, and takes a folder for img2dataset's if it looks like one.
        name: how tables and reports call it; the file or folder name without ending if not given.
    """

    path: str
    format: Literal["auto", "parquet", "csv", "tsv", "jsonl", "wat", "warc", "img2dataset"] = "auto"
    name: str | None = None


@dataclass(frozen=True)
class Registry:
    """An opt-out registry or a hash list.

    Attributes:
        name: how tables and reports call it.
        path: CSV, TSV, TXT, JSON, JSONL, XML (NCMEC's) or Parquet, relative to the config file.
        scope: what its keys are; ``hash`` takes md5, sha256, pHash and PDQ, whichever each entry says.
        column: the column that holds the key; the one named after the scope, or ``key``, if not given.
        max_age_days: refuse the run if the file is older; the policy's limit if not given.
        dated: day of the snapshot, YYYY-MM-DD, where its publisher states one; the file counts as no younger.
        max_malformed: share of its entries that may be unreadable; more end the run (exit code 2).
        sensitive: its keys never appear in anything published.
        pull_from: where ``fairshard pull`` gets the file anew: a path or URL, as ``path``.
    """

    name: str
    path: str
    scope: Scope
    column: str | None = None
    max_age_days: float | None = None
    dated: str | None = None
    max_malformed: float = 0.05
    sensitive: bool = False
    pull_from: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """A Do-Not-Train registry that is asked over HTTP, with the request and the answer of Spawning's API.

    Attributes:
        name: how tables and reports call it.
        url: where URLs are posted, one a line.
        key_env: environment variable that holds the API key; nothing else ever does.
        batch_urls: most URLs in one request. Timeout and retries are those of ``consult``.
        max_age_days: an older answer is asked for again; the policy's ``registry_max_age_days`` if not given.
    """

    name: str
    url: str
    key_env: str | None = None
    batch_urls: int = 1000
    max_age_days: float | None = None


@dataclass(frozen=True)
class Ingest:
    """Limits on what a row may hold."""

    caption_max_chars: int = 2000


@dataclass(frozen=True)
class Consult:
    """How hosts are asked for their terms, and endpoints about URLs. See ``Fetch`` for the units."""

    partitions: int = 8
    timeout_s: float = 10.0
    retries: int = 1
    host_files: Literal["fetch", "cached", "off"] | None = None


@dataclass(frozen=True)
class Fetch:
    """How images are asked for, and how they are rendered.

    Attributes:
        partitions: units of work and of resumption; a host belongs to one of them.
        concurrency: requests at once in one worker process.
        per_host: requests at once to one host.
        min_delay_s: least time between an answer of a host and the next request; its Crawl-delay if that is longer. Where
            there is any, requests to a host go one by one.
        max_delay_s: longest single wait that a host may ask for by Crawl-delay or Retry-After; one that asks for more
            is left for a later run.
        max_wait_s: longest that one run waits for one host, all in all; then what is left of it is left for a later run.
        max_bytes_per_s: bound on what all workers of a run read, in bytes a second; none if not given.
        timeout_s: bound on the whole exchange of one attempt, redirects included.
        retries: further attempts after 429, 5xx or a broken connection.
        proxy: HTTP proxy for all requests.
        allow_private: permit private and loopback addresses (an intranet, a test).
        ports: TCP ports that may be asked, for pictures, for host and licence files, and after every redirect; 80, 443,
            8080 and 8443 if not given, any with ``allow_private``. A crawler that any list can point at port 25 or 6379
            of other people's machines is a tool for attacks. The proxy and ``endpoints`` may have any port.
        max_bytes, max_pixels: refuse larger originals.
        image_size, resize_mode, encode_format, encode_quality: the rendition, as img2dataset names them.
    """

    partitions: int = 16
    concurrency: int = 64
    per_host: int = 4
    min_delay_s: float = 0.0
    max_delay_s: float = 60.0
    max_wait_s: float = 3600.0
    max_bytes_per_s: int | None = None
    timeout_s: float = 30.0
    retries: int = 2
    max_redirects: int = 5
    proxy: str | None = None
    allow_private: bool = False
    ports: tuple[int, ...] | None = None
    user_agent: str | None = None
    max_bytes: int = 50_000_000
    max_pixels: int = 89_478_485
    image_size: int = 256
    resize_mode: Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"] = "keep_ratio"
    resize_only_if_bigger: bool = True
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    encode_quality: int = 95


@dataclass(frozen=True)
class Filter:
    """Quality filters; each is off unless set.

    Attributes:
        preset: ``datacomp-basic`` sets the basic filter of DataComp (English; captions of at least three words
            and six characters; shorter side at least 200 px; aspect ratio at most 3). Other keys override it.
        languages: ISO 639-1 codes to keep, by fastText's lid.176.
        language_min_score: least confidence of the language.
        caption_min_words, caption_min_chars, caption_max_chars: words are separated by white space.
        min_side_px, max_aspect: of the original.
        min_similarity, max_p_unsafe, max_p_watermark, min_aesthetic: on the source's own scores; a pair
            whose source has none passes.
    """

    preset: Literal["none", "datacomp-basic"] = "none"
    languages: tuple[str, ...] | None = None
    language_min_score: float | None = None
    caption_min_words: int | None = None
    caption_min_chars: int | None = None
    caption_max_chars: int | None = None
    min_side_px: int | None = None
    max_aspect: float | None = None
    min_similarity: float | None = None
    max_p_unsafe: float | None = None
    max_p_watermark: float | None = None
    min_aesthetic: float | None = None


@dataclass(frozen=True)
class Dedup:
    """Which pictures count as the same.

    Attributes:
        exact: equal sha256.
        phash_max_distance: bits out of 64; null switches it off.
        confirming_pdq_max_distance: bits out of 256 in which PDQ may differ where pHash is near; null: it is not asked.
        pdq_max_distance: bits out of 256; null switches it off.
        colour_max_distance: levels of 256 by which colours may differ where hashes are near; null: they are not asked.
        colour_spared_cells: so many of the 256 cells whose colours are compared may differ at will, where a watermark
            or a line of text may be; variants of a drawing then count as the same, too.
        pdq_min_quality: pictures with less are too flat to be found by PDQ, or by pHash where colours are not asked.
        embedding_model: run folder of ``fairshard train`` or checkpoint of open_clip's, to compare pictures by what
            they show, too; null: they are not.
        embedding_architecture: of a checkpoint: its name in open_clip, or its JSON file.
        embedding_max_distance: cosine distance, 0 to 1. There is no default: what it finds depends on the model, and
            ``benchmarks/duplicates_quality.py --model`` shows it.
        embedding_clusters: into which k-means puts pictures; the square root of their number if not given.
        split_above: groups of more pictures hold only what is tied to the keeper directly; null: chains go on and on.
    """

    exact: bool = True
    phash_max_distance: int | None = 6
    confirming_pdq_max_distance: int | None = 100
    pdq_max_distance: int | None = None
    colour_max_distance: int | None = 16
    colour_spared_cells: int = 0
    pdq_min_quality: int = 50
    embedding_model: str | None = None
    embedding_architecture: str | None = None
    embedding_max_distance: float | None = None
    embedding_clusters: int | None = None
    split_above: int | None = 100


@dataclass(frozen=True)
class Balance:
    """Caps, so that nothing is over-represented; each is off unless set. Chosen by hash of the pair's id.

    Attributes:
        max_per_caption: captions are the same if they differ in case, punctuation and spacing alone.
        max_per_template: and in numbers; near-duplicates share a cap.
        template_min_jaccard: share of five-character shingles from which templates are near-duplicates; 1: equal ones.
        max_per_visual_cluster: of the clusters that ``dedup`` finds by ``embedding_model``.
    """

    max_per_domain: int | None = None
    max_per_creator: int | None = None
    max_per_caption: int | None = None
    max_per_template: int | None = None
    template_min_jaccard: float = 0.7
    max_per_visual_cluster: int | None = None


@dataclass(frozen=True)
class Emit:
    """The release. What only its publisher knows goes into the dataset card and ``croissant.json`` as it is stated here.

    Attributes:
        publisher: who answers for the release.
        contact: where creators reach them: an e-mail address or a web page.
        url: of the page on which it is published.
        published_on: the day of the first release, YYYY-MM-DD. A takedown keeps it.
    """

    samples_per_shard: int = 1000
    title: str = "An image-text dataset made with fairshard"
    publisher: str | None = None
    contact: str | None = None
    url: str | None = None
    published_on: str | None = None


@dataclass(frozen=True)
class Config:
    """A whole job. Relative paths are relative to the config file.

    Attributes:
        work_dir: tables, completion markers and renditions; any fsspec URL.
        release_dir: what is published.
        run_dir: what training leaves: checkpoints, loss, retrieval.
        diffusion_dir: what training a diffusion model leaves: checkpoints, loss, samples.
        audit_dir: what an audit leaves: its table, its record and a picture.
        metrics_file: figures of a run for Prometheus; ``metrics.prom`` in the work directory if not given.
        engine: where SQL runs.
        compute: where work on bytes runs.
        workers: processes and engine threads; the machine's cores if 0.
        memory_limit_gb: of the engine; its own default if not given.
        spark: settings of the Spark session, such as ``spark.master``; without one it is ``local[workers]``.
    """

    work_dir: str
    release_dir: str
    sources: tuple[Source, ...]
    run_dir: str = "run"
    diffusion_dir: str = "diffusion"
    audit_dir: str = "audit"
    metrics_file: str | None = None
    registries: tuple[Registry, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    policy: str = "strict"
    engine: Literal["duckdb", "spark"] = "duckdb"
    compute: Literal["local", "dask", "spark"] = "local"
    workers: int = 0
    memory_limit_gb: float | None = None
    spark: dict[str, str] = field(default_factory=dict)
    ingest: Ingest = field(default_factory=Ingest)
    consult: Consult = field(default_factory=Consult)
    fetch: Fetch = field(default_factory=Fetch)
    filter: Filter = field(default_factory=Filter)
    dedup: Dedup = field(default_factory=Dedup)
    balance: Balance = field(default_factory=Balance)
    emit: Emit = field(default_factory=Emit)
    train: TrainConfig = field(default_factory=TrainConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)


@dataclass(frozen=True)
class Job:
    """A config with its policy, and the folder its relative paths start from."""

    config: Config
    policy: Policy
    folder: Path

    def path(self, relative: str) -> str:
        """An absolute path or URL for one that may be relative to the config file."""
        relative = relative.removeprefix("file://")
        return relative if "://" in relative else str((self.folder / relative).resolve())

    @property
    def work_dir(self) -> str:
        return self.path(self.config.work_dir)

    @property
    def release_dir(self) -> str:
        return self.path(self.config.release_dir)

    @property
    def run_dir(self) -> str:
        return self.path(self.config.run_dir)

    @property
    def diffusion_dir(self) -> str:
        return self.path(self.config.diffusion_dir)

    @property
    def audit_dir(self) -> str:
        return self.path(self.config.audit_dir)


def load(path: str | Path, changes: Mapping[str, Any] | None = None) -> Job:
    """Read, type-check and complete a config file.

    Args:
        path: of the file.
        changes: values that take the place of the file's, by key; ``fetch.proxy`` is ``proxy`` of ``fetch``.

    Raises:
        ConfigError: anything wrong in it or in its policy, with the nearest known key named.
    """
    path = Path(path)
    values = typed_yaml.parse_file(path)
    for key, value in (changes or {}).items():
        _set(values, key.split("."), value, str(path))
    return from_mapping(values, path.resolve().parent, str(path))


def from_mapping(values: dict[str, Any], folder: Path, where: str = "config") -> Job:
    """The same from parsed YAML, for tests and DAGs."""
    config = typed_yaml.build(Config, values, where)
    limits.check(config, where)
    job = Job(config, policies.load(config.policy, folder), folder)
    if f"{job.work_dir}/".startswith(f"{job.release_dir}/") or f"{job.release_dir}/".startswith(f"{job.work_dir}/"):
        raise ConfigError(
            f"{where}.release_dir",
            f"is {job.release_dir}, and work_dir {job.work_dir}",
            "folders apart from each other",
        )
    check_folders(job, where)
    return job


def _set(values: dict[str, Any], keys: Sequence[str], value: Any, where: str) -> None:
    first, *rest = keys
    if not rest:
        values[first] = value
        return
    section = values.setdefault(first, {})
    if not isinstance(section, dict):
        raise ConfigError(
            f"{where}.{first}", "has no keys that could be set", f"--set {first}=VALUE for the whole of it"
        )
    _set(section, rest, value, f"{where}.{first}")


def check_folders(job: Job, where: str) -> None:
    """Refuse folders of a job that are files, or would lie in one.

    Raises:
        ConfigError: naming the first.
    """
    for key in ("work_dir", "release_dir", "run_dir", "diffusion_dir", "audit_dir"):
        path = getattr(job, key)
        there = next((place for place in (Path(path), *Path(path).parents) if place.exists()), Path("/"))
        if "://" not in path and not there.is_dir():
            raise ConfigError(f"{where}.{key}", f"is {path}, and {there} is a file", "a folder")


def fingerprint(*parts: Any) -> str:
    """SHA-256 (hex, 16 digits) of dataclasses and plain values, for completion markers."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(part: Any) -> Any:
    return asdict(part) if hasattr(part, "__dataclass_fields__") else part
