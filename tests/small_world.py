"""A job of sixteen rows whose stages up to `balance` have run, with real pictures: what the release side is tested on."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from conftest import table
from PIL import Image

from fairshard.pipelines import emit
from fairshard.pipelines._catalog import write_catalog
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping
from fairshard.schemas.errors import StageError
from fairshard.udfs.hashing import fingerprint

# Invented. Nothing of the pairs that the sensitive rule covers may ever be published.
SECRET_WORDS = ("hidden-painter", "Unlisted Artist", "canvas nobody lists", "secret-list-key")
SECRET_IDS = (77, 78)
RELEASED = [3, 5, 2**62, -(2**62), -9]  # in the order of unsigned numbers

PAIRS = [
    {"pair_id": 3, "source_row": 0, "host": "a.example", "caption": "a red | square", "creator": "Ada *Example*"},
    {"pair_id": -9, "source_row": 1, "host": "a.example", "caption": "ein grünes Quadrat", "licence": "CC-BY 4.0"},
    {"pair_id": 5, "source_row": 2, "host": "img.b.example", "caption": "un carré bleu"},
    {"pair_id": 2**62, "source_row": 3, "host": "b.example", "caption": "黄色い四角", "licence": "CC-BY 4.0"},
    {"pair_id": -(2**62), "source_row": 4, "host": "a.example", "caption": "noise 0", "creator": "Ada *Example*"},
    {"pair_id": 41, "source_row": 5, "host": "no.example", "caption": "closed by robots.txt"},
    {"pair_id": 42, "source_row": 6, "host": "b.example", "caption": "dead link"},
    {"pair_id": 43, "source_row": 7, "host": "b.example", "caption": "noise 0 again"},
    {"pair_id": 77, "source_row": 8, "host": "hidden-painter.example", "caption": "the canvas nobody lists",
     "creator": "Unlisted Artist", "page_url": "https://hidden-painter.example/page"},
    {"pair_id": 78, "source": "second", "source_row": 0, "host": "hidden-painter.example", "caption": "gone as well"},
    {"pair_id": 44, "source": "second", "source_row": 1, "host": "no.example", "caption": "listed in public"},
]  # fmt: skip
REJECTED = [("list", 9, "null_url"), ("list", 10, "duplicate_row"), ("second", 2, "null_url")]
DROPPED = [
    (41, "consult", "deny:robots_txt", "https://no.example/robots.txt (url): Disallow: /"),
    (44, "consult", "deny:registry", "public-list (domain): no.example"),
    (77, "consult", "deny:registry", "secret-list (host): hidden-painter.example"),
    (42, "fetch", "failed:http_404", "https://b.example/42.jpg"),
    (78, "screen", "deny:hash_list", "secret-list (host): hidden-painter.example"),
    (43, "dedup", "near_duplicate", f"pdq 4 bits from pair {-(2**62)}"),
]
SIGNALS = [
    {"pair_id": 41, "kind": "robots_txt", "verdict": "deny", "scope": "url", "value": "Disallow: /\x1b[2J",
     "source": "https://no.example/robots.txt", "hop": 0},
    {"pair_id": 44, "kind": "registry", "verdict": "deny", "scope": "domain", "value": "no.example",
     "source": "public-list", "rule_id": 1},
    {"pair_id": 77, "kind": "registry", "verdict": "deny", "scope": "host", "source": "secret-list", "rule_id": 2},
    {"pair_id": 77, "kind": "robots_txt", "verdict": "none", "scope": "url", "value": "",
     "source": "https://hidden-painter.example/robots.txt"},
    {"pair_id": 78, "kind": "hash_list", "verdict": "deny", "scope": "sha256", "source": "secret-list", "rule_id": 99},
    # Recorded, but the policy did not let it bind: the pair is released, the rule stays unnamed.
    {"pair_id": 3, "kind": "registry", "verdict": "deny", "scope": "host", "source": "secret-list", "rule_id": 2},
]  # fmt: skip
RULES = [
    {"rule_id": 1, "registry": "public-list", "scope": "domain", "key": "no.example", "action": "deny",
     "sensitive": False},
    {"rule_id": 2, "registry": "secret-list", "scope": "host", "key": "hidden-painter.example", "action": "deny",
     "declared_by": "Unlisted Artist", "sensitive": True},
    {"rule_id": 3, "registry": "secret-list", "scope": "host", "key": "secret-list-key.example", "action": "deny",
     "sensitive": True},
]  # fmt: skip  # rule 99, of pair 78, is in no registry any more


def picture(seed: int, side: int = 64) -> bytes:
    """A JPEG that no other seed resembles."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(blocks).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(target, "JPEG", quality=90)
    return target.getvalue()


PICTURES = {**{pair_id: picture(number) for number, pair_id in enumerate(RELEASED)}, 43: picture(3, 80), 78: picture(9)}


def make(folder: Path, *, leave_out: tuple[int, ...] = (), **config: Any) -> Work:
    """A work directory in ``folder/work`` that is ready for `emit`.

    Args:
        leave_out: pairs that `balance` drops besides.
        config: changes to the config.
    """
    store = Store(str(folder / "work"))
    with store.task("ingest", "all", "test") as task:
        pairs = [{"source": "list", **pair} for pair in PAIRS]
        task.write("pair", table("pair", [{**_urls(pair), **pair} for pair in pairs]))
        task.write("rejected", _rows("rejected", REJECTED))
        task.rows_in = len(PAIRS) + len(REJECTED)
    with store.task("consult", "registry", "test") as task:
        task.write("rule", table("rule", RULES))
        task.extra["registry_sha256"] = {"public-list": "ab" * 32, "secret-list": "cd"}
    with store.task("fetch", "0000", "test") as task:
        tar = task.scratch("0000.tar")
        task.write("image", table("image", [*_stored(Path(tar)), *_missing()]))
        task.keep(tar, "work_shard/0000.tar")
    with store.task("screen", "gate", "test") as task:
        task.write("signal", table("signal", SIGNALS))
        task.write("dropped", _rows("dropped", [*DROPPED, *((one, "balance", "cap", "1") for one in leave_out)]))
    with store.task("filter", "all", "test") as task:
        task.write("score", _rows("score", [(one, "language", 0.9, "en" if one > 0 else "de") for one in RELEASED]))
    with store.task("dedup", "all", "test") as task:
        keeper = -(2**62)
        task.write(
            "duplicate", _rows("duplicate", [(keeper, keeper, keeper, "exact", 0), (43, keeper, keeper, "pdq", 4)])
        )
    with store.task("balance", "all", "test"):
        pass
    return Work(job(folder, **config))


def job(folder: Path, **config: Any):
    """The job of ``make``."""
    registries = [
        {"name": "public-list", "path": "public.csv", "scope": "domain"},
        {"name": "secret-list", "path": "secret.csv", "scope": "host", "sensitive": True},
    ]
    given = {"emit": {"samples_per_shard": 2, "title": "A *small* | world"}, "workers": 1, **config}
    required = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}, {"path": "second.csv"}]}
    return from_mapping({**required, "registries": registries, **given}, folder)


def emitted(folder: Path, **options: Any) -> Path:
    """Run `emit` on a new world. Returns the release."""
    work = make(folder, **options)
    try:
        emit.run(work)
        write_catalog(work.store)
    finally:
        work.close()
    return folder / "release"


def contents(release: Path) -> dict[str, str]:
    """SHA-256 of every file of a release but the catalog, whose bytes DuckDB does not promise."""
    files = (path for path in sorted(release.rglob("*")) if path.is_file() and path.name != "catalog.duckdb")
    return {str(path.relative_to(release)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(work: Work) -> StageError | None:
    """What `emit` raises, if anything."""
    try:
        emit.run(work)
    except StageError as error:
        return error
    finally:
        work.close()
    return None


def _urls(pair: dict[str, Any]) -> dict[str, str]:
    key = f"{pair['host']}/{pair['pair_id']}.jpg"
    domain = ".".join(pair["host"].split(".")[-2:])
    return {"url": f"https://{key}", "url_key": key, "domain": domain, "source": "list"}


def _stored(tar: Path) -> list[dict[str, Any]]:
    with tarfile.open(tar, "w") as file:
        for pair_id, data in PICTURES.items():
            member = tarfile.TarInfo(f"{pair_id}.jpg")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    with tarfile.open(tar) as file:
        members = {int(Path(member.name).stem): member for member in file}
    return [_image(pair_id, members[pair_id].offset_data) for pair_id in PICTURES]


def _image(pair_id: int, offset: int) -> dict[str, Any]:
    found = fingerprint(PICTURES[pair_id], dihedral=True)
    names = ("sha256", "md5", "size_bytes", "mime", "width_px", "height_px", "phash", "pdq", "pdq_quality")
    facts = {name: getattr(found, name) for name in names}
    return {
        "pair_id": pair_id, "status": "ok", "http_status": 200, **facts,
        "pdq_dihedral": b"".join(found.pdq_dihedral or ()),
        "final_url": next(_urls(pair)["url"] for pair in PAIRS if pair["pair_id"] == pair_id),
        "work_shard": "work_shard/0000.tar", "work_key": f"{pair_id}.jpg", "work_offset": offset,
        "work_bytes": len(PICTURES[pair_id]), "work_width_px": found.width_px, "work_height_px": found.height_px,
    }  # fmt: skip


def _missing() -> list[dict[str, Any]]:
    return [{"pair_id": 42, "status": "failed", "http_status": 404, "error": "http_404"}]


def _rows(name: str, rows: list[tuple]) -> pa.Table:
    columns = table(name, []).schema.names
    return table(name, [dict(zip(columns, row, strict=True)) for row in rows])
