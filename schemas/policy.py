"""The policy: which evidence binds, and how to read what is not said.

Facts are recorded once; a policy is a query over them. ``docs/policy.md`` explains every line.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from . import typed_yaml
from .errors import ConfigError, did_you_mean

PRESETS = ("strict", "eu", "research", "licensed-only")

Kind = Literal[
    "registry",
    "hash_list",
    "robots_txt",
    "content_signal",
    "aipref",
    "ai_txt",
    "rsl",
    "tdmrep",
    "x_robots_tag",
    "html_meta",
    "http_status",
    "xmp",
    "c2pa",
    "free_text",
    "synthetic",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
RESERVATIONS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "synthetic")
"""All kinds but the marks of models, which say nothing of permission."""


# As the column ``host`` has it: lower-case punycode without ``www.`` and port.
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


@dataclass(frozen=True)
class Policy:
    """What may be used for training, and what is not known well enough.

    Attributes:
        name: how reports call it.
        assumes: in words, what the preset takes for granted. Not legal advice.
        purpose: what the data is for; ``genai`` also honours statements about generative training alone.
        binding: the kinds of evidence that count. Others are recorded and decide nothing.
        none: what no statement at all means.
        cond: what "reserved, but a licence is offered" means.
        hold: what "could not be determined" means; dropped pairs are asked again by a later run.
        unread: what "an earlier download did not keep all that was said" means: the response headers and the originals
            of pictures out of an img2dataset folder.
        host_files: ``fetch`` asks each host once; ``cached`` uses what an earlier run stored and holds
            the rest; ``off`` asks nobody and ignores what hosts say in files.
        host_file_max_age_days: a stored host file older than this is asked for again.
        registry_max_age_days: a registry file older than this refuses the run.
        ai_agent_proxy: ``any``: a URL closed to a known AI crawler counts as closed to us, unless a
            robots.txt group names us.
        noindex: ``deny``: ``noindex``, ``none`` and ``noimageindex`` in an X-Robots-Tag refuse training too.
        creator_in_caption: ``deny``: a caption that holds a listed creator's name as whole words refuses, too.
        ignore_query_for: hosts (lower case, without ``www.``) whose query only resizes: a URL of theirs that a
            registry forbids is forbidden with any other query.
        licences: licences (as sources or registries state them, lower case) that count as permission.
        phash_max_distance: bits out of 64 within which a pHash list entry matches.
        iscc_max_distance: bits out of 64 within which the look of a listed ISCC matches.
        pdq_max_distance: bits out of 256 within which a PDQ list entry matches (ThreatExchange: 31).
        pdq_min_quality: PDQ quality below which a picture is too flat to be compared (ThreatExchange: 50).
        pdq_dihedral: also match the seven flips and rotations of the picture. `fetch` makes their hashes only then.
    """

    name: str = "custom"
    assumes: str = ""
    purpose: Literal["train", "genai"] = "train"
    binding: tuple[Kind, ...] = RESERVATIONS
    none: Literal["keep", "drop"] = "keep"
    cond: Literal["keep", "drop"] = "drop"
    hold: Literal["keep", "drop"] = "drop"
    unread: Literal["keep", "drop"] = "drop"
    host_files: Literal["fetch", "cached", "off"] = "fetch"
    host_file_max_age_days: float = 7.0
    registry_max_age_days: float = 30.0
    ai_agent_proxy: Literal["off", "any"] = "any"
    noindex: Literal["ignore", "deny"] = "deny"
    creator_in_caption: Literal["ignore", "deny"] = "ignore"
    ignore_query_for: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    phash_max_distance: int = 6
    iscc_max_distance: int = 0
    pdq_max_distance: int = 31
    pdq_min_quality: int = 50
    pdq_dihedral: bool = True


def load(name_or_path: str, folder: Path) -> Policy:
    """The policy of a config.

    Args:
        name_or_path: a preset's name, or the path of a YAML file that may begin with ``extends: PRESET``.
        folder: what a relative path is relative to.

    Raises:
        ConfigError: no such preset or file, an unknown key, or a value out of range.
    """
    if name_or_path in PRESETS:
        return _checked(_preset(name_or_path), f"policy {name_or_path}")
    path = folder / name_or_path
    if not path.is_file():
        raise ConfigError(
            "policy", f"'{name_or_path}' is neither a preset nor a file", hint=did_you_mean(name_or_path, PRESETS)
        )
    values = typed_yaml.parse_file(path)
    parent = values.pop("extends", None)
    if parent is not None and parent not in PRESETS:
        raise ConfigError(f"{path}: extends", f"is '{parent}'", "a preset", did_you_mean(str(parent), PRESETS))
    start = _preset(parent) if parent else Policy()
    given = typed_yaml.build(Policy, values, str(path))
    changed = {key: getattr(given, key) for key in values}
    return _checked(dataclasses.replace(start, **{"name": path.stem, "assumes": "", **changed}), str(path))


def _preset(name: str) -> Policy:
    text = resources.files("fairshard.schemas").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    return typed_yaml.build(Policy, typed_yaml.parse(text, name), name)


def _checked(policy: Policy, where: str) -> Policy:
    bounds = {
        "phash_max_distance": (0, 31),
        "iscc_max_distance": (0, 31),
        "pdq_max_distance": (0, 127),
        "pdq_min_quality": (0, 100),
        "host_file_max_age_days": (0, 3650),
        "registry_max_age_days": (0, 3650),
    }
    for key, (low, high) in bounds.items():
        if not low <= getattr(policy, key) <= high:
            raise ConfigError(f"{where}: {key}", f"is {getattr(policy, key)}", f"{low} to {high}")
    for host in policy.ignore_query_for:
        if not _HOST.fullmatch(host) or host.startswith("www."):
            raise ConfigError(
                f"{where}: ignore_query_for", f"'{host}'", "hosts as tables have them: images.example.org"
            )
    return policy
