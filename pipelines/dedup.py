"""dedup: one pair of every group that shows the same, or nearly the same, picture.

Two pictures are tied if their original bytes are equal, or if their pHash differs by few bits, their PDQ by not so many
that it contradicts, and their colours, seen as 256 cells, by few levels; the config has the radii, and may have PDQ
searched, too. Where colours are not known, of a picture with transparency that shows nothing on white, only equal bytes
tie. Where the config does not ask colours, hashes decide alone, and not of a picture whose PDQ quality is so low that any
other would resemble it. Where the config names a model, two are also tied if what it sees in them is within a cosine
distance. Ties chain into groups. The keeper of a group is the pair whose original has the most pixels, then the lowest
pair_id; all others are dropped.

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

# A hash that is not to be compared is null from here on. Equal keys are equal colours.
PICTURE = """
SELECT pair_id, sha256, pixels, colour_key, flat, CASE WHEN by_look THEN phash END AS phash,
       pdq_word(pdq, 0) AS pdq_0, pdq_word(pdq, 1) AS pdq_1, pdq_word(pdq, 2) AS pdq_2, pdq_word(pdq, 3) AS pdq_3
FROM (
    SELECT alive.pair_id, image.sha256,
           coalesce(CAST(image.width_px AS BIGINT) * image.height_px, 0) AS pixels,
           CASE WHEN $by_colour THEN md5(image.colours) ELSE '' END AS colour_key,
           coalesce(image.pdq_quality < $min_quality, TRUE) AS flat,
           CASE WHEN $by_colour THEN image.colours IS NOT NULL ELSE coalesce(image.pdq_quality >= $min_quality, FALSE) END
               AS by_look,
           image.phash, CASE WHEN NOT $by_colour OR image.colours IS NOT NULL THEN image.pdq END AS pdq
    FROM alive JOIN image ON alive.pair_id = image.pair_id
) AS comparable
"""

MEMBER = """
SELECT picture.*, in_group.group_id,
       row_number() OVER (PARTITION BY in_group.group_id ORDER BY picture.pixels DESC, picture.pair_id) AS place
FROM picture JOIN in_group ON picture.pair_id = in_group.pair_id
"""

AGAINST_KEEPER = """
SELECT member.pair_id, member.group_id, keeper.pair_id AS keeper_id,
       member.pair_id = keeper.pair_id OR ($exact AND coalesce(member.sha256 = keeper.sha256, FALSE)) AS same,
       CAST(bit_count(xor(member.phash, keeper.phash)) AS INTEGER) AS phash_distance,
       CAST(bit_count(xor(member.pdq_0, keeper.pdq_0)) AS INTEGER) + bit_count(xor(member.pdq_1, keeper.pdq_1))
           + bit_count(xor(member.pdq_2, keeper.pdq_2)) + bit_count(xor(member.pdq_3, keeper.pdq_3)) AS pdq_distance,
       NOT member.flat AND NOT keeper.flat AS sharp,
       NOT $by_colour OR coalesce(colour_distance(image.colours, shown.colours, $spared) <= $colour, FALSE) AS agrees,
       resemblance.thousandths
FROM member JOIN member AS keeper ON member.group_id = keeper.group_id AND keeper.place = 1
JOIN image ON member.pair_id = image.pair_id
JOIN image AS shown ON keeper.pair_id = shown.pair_id
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
           agrees AND phash_distance <= $phash_radius AND ($phash_alone OR pdq_distance <= $confirming) AS by_phash,
           agrees AND sharp AND pdq_distance <= $pdq_radius AS by_pdq
    FROM against_keeper
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
        by_colour = close.colour_radius is not None
        engine.step("picture", PICTURE, keep=True, min_quality=config.pdq_min_quality, by_colour=by_colour)
        vectors, semantic = _semantic_ties(work, task, model) if model else (None, None)
        ties(engine, close, semantic)
        group(engine)
        task.extra["split_groups"] = _reported(split(engine, config.split_above, close, vectors))
        engine.step("member", MEMBER, keep=True)
        engine.register("resemblance", _semantic.resemblance(engine, vectors, close.cosine_radius))
        by_colours = {"by_colour": by_colour, "colour": close.colour_radius, "spared": close.spared_cells}
        engine.step("against_keeper", AGAINST_KEEPER, exact=close.exact, **by_colours)
        radii = {"phash_radius": close.phash_radius, "pdq_radius": close.pdq_radius}
        confirming = {"phash_alone": close.confirming_radius is None, "confirming": close.confirming_radius}
        engine.step("found", DUPLICATE, keep=True, **radii, **confirming)
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
