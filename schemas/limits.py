"""What the values of a config may be, beyond their types."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .errors import ConfigError

if TYPE_CHECKING:
    from .config import Config, Emit, Endpoint

# Settings of Spark that decide what comes out: the same wherever it runs.
SPARK_FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


def check(config: Config, where: str) -> None:
    """Refuse a config whose values are out of range or do not go together.

    Raises:
        ConfigError: naming the first.
    """
    if not config.sources:
        raise ConfigError(f"{where}.sources", "is empty", "at least one source")
    for kind, items in (("sources", config.sources), ("registries", (*config.registries, *config.endpoints))):
        names = [item.name for item in items if item.name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{where}.{kind}", f"two are called '{twice[0]}'", "a name of its own for each")
    for number, registry in enumerate(config.registries):
        if not 0 <= registry.max_malformed <= 1:
            found = f"is {registry.max_malformed:g}"
            raise ConfigError(f"{where}.registries[{number}].max_malformed", found, "a share from 0 to 1")
        if registry.dated is not None and not _is_day(registry.dated):
            raise ConfigError(f"{where}.registries[{number}].dated", f"is '{registry.dated}'", "a day as YYYY-MM-DD")
        if registry.dated is not None and registry.pull_from is not None:
            raise ConfigError(
                f"{where}.registries[{number}].dated", "is given", "none with 'pull_from': each pull is a new day's"
            )
    for number, endpoint in enumerate(config.endpoints):
        _check_endpoint(endpoint, f"{where}.endpoints[{number}]")
    _check_ports(config.fetch.ports, f"{where}.fetch.ports")
    _check_emit(config.emit, f"{where}.emit")
    for key in config.spark:
        if not key.startswith("spark.") or key in SPARK_FIXED:
            found = "decides what comes out, and stays as it is" if key in SPARK_FIXED else "is no setting of Spark"
            raise ConfigError(f"{where}.spark.{key}", found, "a setting such as spark.master")
    least = {
        "consult": {"partitions": 1, "timeout_s": 0.001, "retries": 0},
        "fetch": {
            "partitions": 1, "concurrency": 1, "per_host": 1, "min_delay_s": 0, "max_delay_s": 0, "max_wait_s": 0,
            "max_bytes_per_s": 1, "timeout_s": 0.001, "retries": 0, "max_redirects": 0, "max_bytes": 1, "max_pixels": 1,
            "image_size": 1,
        },
        "ingest": {"caption_max_chars": 1},
        "emit": {"samples_per_shard": 1},
        "balance": {
            "max_per_domain": 1, "max_per_creator": 1, "max_per_caption": 1, "max_per_template": 1,
            "template_min_jaccard": 0.7,  # bands find fewer and fewer of those less alike
            "max_per_visual_cluster": 1,
        },
        "dedup": {
            "phash_max_distance": 0, "confirming_pdq_max_distance": 0, "pdq_max_distance": 0, "colour_max_distance": 0,
            "colour_spared_cells": 0, "pdq_min_quality": 0,
            "embedding_max_distance": 0, "embedding_clusters": 1,
        },
        "audit": {
            "max_later_opt_outs": 0, "max_leaked_pictures": 0, "max_leaked_captions": 0, "max_membership_auc": 0,
            "memorised_false_positives": 0, "max_memorised": 0, "max_canaries_extracted": 0,
            "generated": 2, "replicated_false_positives": 0, "max_replicated": 0, "copy_side": 1, "loss_draws": 1,
            "max_pairs": 1,
        },
    }  # fmt: skip
    for section, keys in least.items():
        for key, low in keys.items():
            value = getattr(getattr(config, section), key)
            if value is not None and not value >= low:  # not a number is neither
                raise ConfigError(f"{where}.{section}.{key}", f"is {value}", f"at least {low}")
    most = {
        "dedup": {
            # beyond, unlike ones meet
            "phash_max_distance": 31, "confirming_pdq_max_distance": 127, "pdq_max_distance": 127, "colour_max_distance": 255,
            "colour_spared_cells": 255,
            "embedding_max_distance": 1,
            "embedding_clusters": 4096,  # more would make the table of their distances large
        },
        "balance": {"template_min_jaccard": 1},
    }  # fmt: skip
    for section, keys in most.items():
        for key, high in keys.items():
            value = getattr(getattr(config, section), key)
            if value is not None and value > high:
                raise ConfigError(f"{where}.{section}.{key}", f"is {value}", f"at most {high}")
    if config.dedup.embedding_model is not None and config.dedup.embedding_max_distance is None:
        hint = "benchmarks/duplicates_quality.py --model shows what the model finds and confuses"
        raise ConfigError(f"{where}.dedup.embedding_max_distance", "is not given", "a cosine distance", hint)
    if config.balance.max_per_visual_cluster is not None and config.dedup.embedding_model is None:
        raise ConfigError(f"{where}.balance.max_per_visual_cluster", "is set", "dedup.embedding_model, too")


def _check_endpoint(endpoint: Endpoint, where: str) -> None:
    if not _is_web_address(endpoint.url):  # what stands before an @ may be a password
        found = endpoint.url.rpartition("@")[2]
        raise ConfigError(f"{where}.url", f"is '{found}'", "an http or https URL without user and password")


def _check_ports(ports: tuple[int, ...] | None, where: str) -> None:
    if ports == ():
        raise ConfigError(where, "is empty", "at least one port", "Leave it out for 80, 443, 8080 and 8443")
    for number, port in enumerate(ports or ()):
        if not 1 <= port <= 65535:
            raise ConfigError(f"{where}[{number}]", f"is {port}", "a port from 1 to 65535")


def _check_emit(emit: Emit, where: str) -> None:
    if emit.url is not None and not _is_web_address(emit.url):
        raise ConfigError(f"{where}.url", f"is '{emit.url}'", "an http or https URL")
    if emit.published_on is not None and not _is_day(emit.published_on):
        raise ConfigError(f"{where}.published_on", f"is '{emit.published_on}'", "a day as YYYY-MM-DD")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False
