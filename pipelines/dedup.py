"""dedup: one pair of every group that shows the same, or nearly the same, picture.

Two pictures are tied if their original bytes are equal; if their PDQ differs by few bits; or if their pHash does and
PDQ, with a wider radius, does not contradict it; unless their colours differ. Where colours are alike, the hashes may be
further apart. The config has the radii. A picture whose PDQ quality is too low is so flat that any other would resemble
it: only equal bytes tie it, or like colours with near hashes. Colours of a picture with transparency are not known, and
neither contradict nor are alike. Nor is the pHash compared of a picture without PDQ, unless the config lets pHash decide
alone. Where the config names a model, two
are also tied if what it sees in them is within a cosine distance. Ties chain into groups. The keeper of a group is the
pair whose original has the most pixels, then the lowest pair_id; all others are dropped.

A chain can go far: each picture is near the next, and the ends show different things. So a group of more than
``split_above`` pictures holds only what is tied to its keeper directly; of the rest, the next keeper gathers what is
tied to it, and so on. Such groups are reported, in the log and in the run summary.

Pairs of one URL with several captions have one picture, so they are exact duplicates too.

``duplicate`` has every member of every group, the keeper included, with its strictest direct tie to the keeper:
exact before phash before pdq before semantic; ``linked`` where there is none and others lie between. With a model,
``score`` has the cluster of every picture, for ``balance``.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ..udfs.leaders import Closeness
from . import _semantic
from ._clip_model import ClipModel, embedding_model
from ._embed import embeddings
from ._groups import group, split
from ._progress import log
from ._store import Task
from ._ties import ties
from ._vectors import Vectors, read_vectors
from ._work import Work

READS = ("pair", "image", "dropped")
WRITES = ("embedding", "score", "duplicate", "dropped")

# A hash that is not to be compared is null from here on.
PICTURE = """
SELECT pair_id, sha256, pixels, colours, flat,
       CASE WHEN $phash_alone OR pdq_word(pdq, 0) IS NOT NULL THEN phash END AS phash,
       pdq_word(pdq, 0) AS pdq_0, pdq_word(pdq, 1) AS pdq_1, pdq_word(pdq, 2) AS pdq_2, pdq_word(pdq, 3) AS pdq_3
FROM (
    SELECT alive.pair_id, image.sha256, image.colours,
           coalesce(CAST(image.width_px AS BIGINT) * image.height_px, 0) AS pixels,
           coalesce(image.pdq_quality < $min_quality, TRUE) AS flat,
           CASE WHEN image.pdq_quality >= $min_quality OR ($flat_too AND image.colours IS NOT NULL)
                THEN image.phash END AS phash,
           CASE WHEN image.pdq_quality >= $min_quality OR ($flat_too AND image.colours IS NOT NULL)
                THEN image.pdq END AS pdq
    FROM alive JOIN image ON alive.pair_id = image.pair_id
) AS comparable
"""

MEMBER = """
SELECT picture.*, in_group.group_id,
       row_number() OVER (PARTITION BY in_group.group_id ORDER BY picture.pixels DESC, picture.pair_id) AS place
FROM picture JOIN in_group ON picture.pair_id = in_group.pair_id
"""

COMPARED = """
SELECT member.pair_id, member.group_id, keeper.pair_id AS keeper_id,
       member.pair_id = keeper.pair_id OR ($exact AND coalesce(member.sha256 = keeper.sha256, FALSE)) AS same,
       CAST(bit_count(xor(member.phash, keeper.phash)) AS INTEGER) AS phash_distance,
       CAST(bit_count(xor(member.pdq_0, keeper.pdq_0)) AS INTEGER) + bit_count(xor(member.pdq_1, keeper.pdq_1))
           + bit_count(xor(member.pdq_2, keeper.pdq_2)) + bit_count(xor(member.pdq_3, keeper.pdq_3)) AS pdq_distance,
       member.flat OR keeper.flat AS flat, colour_distance(member.colours, keeper.colours, 2) AS colour_distance,
       colour_distance(member.colours, keeper.colours, 0) AS most_colour_distance,
       resemblance.thousandths
FROM member JOIN member AS keeper ON member.group_id = keeper.group_id AND keeper.place = 1
LEFT JOIN resemblance ON member.pair_id = resemblance.pair_id
"""

DUPLICATE = """
SELECT pair_id, group_id, keeper_id,
       CASE WHEN same THEN 'exact' WHEN by_phash THEN 'phash' WHEN by_pdq THEN 'pdq'
            WHEN thousandths IS NOT NULL THEN 'semantic' ELSE 'linked' END AS kind,
       CASE WHEN same THEN 0 WHEN by_phash THEN phash_distance WHEN by_pdq THEN pdq_distance
            ELSE thousandths END AS distance
FROM (
    SELECT *,
           (NOT flat AND phash_distance <= $phash_radius AND ($phash_alone OR pdq_distance <= $confirming)
               AND coalesce(colour_distance <= $colour, TRUE))
           OR (most_colour_distance <= $alike_colour AND phash_distance <= $alike_phash
               AND pdq_distance <= CASE WHEN flat THEN $confirming ELSE $alike_pdq END) AS by_phash,
           NOT flat AND pdq_distance <= $pdq_radius AND coalesce(colour_distance <= $colour, TRUE) AS by_pdq
    FROM compared
) AS told
"""

DROPPED = """
SELECT pair_id, 'dedup' AS stage,
       CASE WHEN kind = 'exact' THEN 'exact_duplicate' WHEN kind = 'semantic' THEN 'semantic_duplicate'
            ELSE 'near_duplicate' END AS reason,
       'keeper=' || CAST(keeper_id AS VARCHAR) || ' kind=' || kind
           || coalesce(' distance=' || CAST(distance AS VARCHAR), '')
           || CASE WHEN kind = 'semantic' THEN '/1000' ELSE '' END AS evidence
FROM found WHERE pair_id <> keeper_id
"""


def run(work: Work) -> None:
    """Find the groups, choose a keeper in each, drop the others.

    Raises:
        Refused: the policy does not let the config's model be used.
        StageError: it cannot be loaded, or makes no numbers of a picture.
    """
    config, model = work.job.config.dedup, embedding_model(work.job)
    identity = model and model.identity()
    task = work.task("dedup", "all", work.fingerprint("dedup", config, identity))
    if task.done:
        return
    work.alive("dedup")
    work.scan("dedup", "image")
    fetched = [mark.partition for mark in work.store.marks("fetch")] if model else []
    work.store.prune("dedup", ["all", *fetched])
    if model and identity:
        embeddings(work, model, identity)
    with task:
        engine, close = work.engine, Closeness.of(config)
        confirming, alike = close.confirming_radius, close.alike
        alone, flat_too = {"phash_alone": confirming is None}, alike.colour_radius is not None
        engine.step("picture", PICTURE, keep=True, min_quality=config.pdq_min_quality, flat_too=flat_too, **alone)
        vectors, semantic = _semantic_ties(work, task, model) if model else (None, None)
        ties(engine, close, semantic)
        group(engine)
        task.extra["split_groups"] = _reported(split(engine, config.split_above, close, vectors))
        engine.step("member", MEMBER, keep=True)
        engine.register("resemblance", _semantic.resemblance(engine, vectors, close.cosine_radius))
        engine.step("compared", COMPARED, exact=close.exact)
        radii = {"phash_radius": close.phash_radius, "pdq_radius": close.pdq_radius, "colour": close.colour_radius}
        engine.step("found", DUPLICATE, keep=True, confirming=confirming, **alone, **radii, **alike.params())
        work.write(task, "duplicate", "SELECT * FROM found")
        work.write(task, "dropped", DROPPED)


def _semantic_ties(work: Work, task: Task, model: ClipModel) -> tuple[Vectors, pa.Table]:
    """What the model sees, and the ties by it. Writes the clusters."""
    config = work.job.config.dedup
    radius = config.embedding_max_distance or 0.0
    vectors = read_vectors(work.store.files("embedding", ["dedup"]), work.local_scratch)
    found = _semantic.clustered(vectors, radius, config.embedding_clusters)
    task.write("score", _semantic.scores(vectors, found))
    task.extra["embedding"] = model.said() | found.said()
    return vectors, _semantic.ties(vectors, found, radius)


def _reported(groups: list[dict[str, int]]) -> list[dict[str, Any]]:
    for one in groups:
        log.warning(
            "dedup: %s pictures were chained together (group %s), not all of them like its keeper; split into %s",
            f"{one['members']:,}", one["group_id"], f"{one['became']:,}",
        )  # fmt: skip
    return groups
