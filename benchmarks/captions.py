"""Captions grouped by near-equal templates, against datasketch: time, and what is found of planted copies.

    pip install datasketch
    python benchmarks/captions.py                       # 200,000 captions: minutes, most of them the peer's
    python benchmarks/captions.py --captions 1000000 --peers

fairshard    what ``balance`` does where ``max_per_template`` is set: from captions in memory to a group for each.
datasketch   MinHash and MinHashLSH with as many bands and rows, on the same shingles of the same templates, which
             it is given, each once; candidates are verified as fairshard's are. One thread, like its users'.
DuckDB       grouping captions that are equal but for case, numbers and punctuation, by ``lower`` and a regular
             expression: what grouping costs where near ones are not looked for.

``planted_captions.py`` says what the captions are. A pair is two captions in one group; it is right if they are of one
family; sentences in which only names change are left out of recall, since they make up half of all pairs and lie
further apart than the index allows. An edited copy is found if it is in its original's group; many lie further from it than the index allows, so
the share of those near enough is given as well.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from planted_captions import EDITS, Caption, planted

from fairshard.pipelines._engine import DuckDBEngine
from fairshard.pipelines._templates import templates
from fairshard.schemas.config import Balance
from fairshard.udfs.components import components
from fairshard.udfs.shingles import BANDS, ROWS, text_jaccard
from fairshard.udfs.text import caption_template

Groups = NDArray[np.int64]  # int64[n], the group of each caption

_EQUAL = r"""
SELECT count(*) FROM (
    SELECT lower(regexp_replace(caption, '[^\p{L}\p{M}]+', ' ', 'g')) AS text, count(*) FROM alive GROUP BY text
)
"""


def main() -> None:
    options = _options()
    captions = planted(options.captions)
    least = Balance().template_min_jaccard
    texts = pa.array([caption.text for caption in captions])
    template = pa.array(_templates(texts))
    distinct = template.unique()
    print(f"{len(captions):,} captions, {len(distinct):,} templates, Jaccard index at least {least}")
    groups, seconds = _ours(texts, least, options.threads)
    print(f"fairshard   {seconds:8.2f} s  {score(captions, groups)}")
    print(f"DuckDB      {_equal(texts, options.threads):8.2f} s  equal ones alone")
    if "datasketch" in options.peers:
        _against_datasketch(captions, template, least, seconds)
    _print_copies(captions, template, groups, least)


def score(captions: Sequence[Caption], groups: Groups) -> str:
    """Precision and recall of pairs in words; recall is without sentences, whose pairs would be half of all."""
    families = [caption.family for caption in captions]
    both = _pairs(zip(groups.tolist(), families, strict=True))
    counted = [place for place, caption in enumerate(captions) if caption.kind != "names in a sentence"]
    found = _pairs((groups[place], families[place]) for place in counted)
    wanted = _pairs(families[place] for place in counted)
    return (
        f"{len(np.unique(groups)):,} groups; of pairs, precision {both / max(_pairs(groups.tolist()), 1):.5f}, "
        f"recall {found / max(wanted, 1):.4f}"
    )


def copies(
    captions: Sequence[Caption], template: pa.Array, groups: Groups, least: float
) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Of edited copies by kind and script: the share near enough to the original, of these found, and of all found."""
    originals = {caption.family: place for place, caption in enumerate(captions) if caption.kind == "original"}
    edited = [place for place, caption in enumerate(captions) if caption.kind in EDITS]
    first = [originals[captions[place].family] for place in edited]
    near = text_jaccard(template.take(pa.array(edited)), template.take(pa.array(first))).to_numpy() >= least
    found = groups[edited] == groups[first]
    rows: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    for place, what in zip(edited, zip(near.tolist(), found.tolist(), strict=True), strict=True):
        rows[captions[place].kind, captions[place].script].append(what)
    return {key: _shares(value) for key, value in sorted(rows.items())}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=200_000, help="how many (default 200,000)")
    parser.add_argument("--threads", type=int, default=2, help="of DuckDB (default 2)")
    parser.add_argument("--peers", nargs="*", default=["datasketch"], choices=["datasketch"], help="default: all")
    return parser.parse_args()


def _ours(texts: pa.Array, least: float, threads: int) -> tuple[Groups, float]:
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(threads, None, spill)
        engine.register("alive", pa.table({"pair_id": np.arange(len(texts)), "caption": texts}))
        start = time.perf_counter()
        templates(engine, least)
        seconds = time.perf_counter() - start
        rows = engine.rows("SELECT pair_id, template_id FROM of_template ORDER BY pair_id")
        engine.close()
    return rows["template_id"].to_numpy(), seconds


def _equal(texts: pa.Array, threads: int) -> float:
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(threads, None, spill)
        engine.register("alive", pa.table({"caption": texts}))
        start = time.perf_counter()
        engine.rows(_EQUAL)
        seconds = time.perf_counter() - start
        engine.close()
    return seconds


def _against_datasketch(captions: Sequence[Caption], template: pa.Array, least: float, ours: float) -> None:
    if importlib.util.find_spec("datasketch") is None:
        print("datasketch  not measured: it is not installed (pip install datasketch)")
        return
    encoded = template.dictionary_encode()
    start = time.perf_counter()
    of_distinct = _datasketch(encoded.dictionary.to_pylist(), least)
    seconds = time.perf_counter() - start
    groups = of_distinct[encoded.indices.to_numpy()]
    print(f"datasketch  {seconds:8.2f} s  {score(captions, groups)}; fairshard is {seconds / ours:.1f} times as fast")


def _datasketch(texts: list[str], least: float) -> Groups:
    from datasketch import MinHash, MinHashLSH  # type: ignore[import-not-found]

    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    ties = []
    hashed = MinHash.generator(([part.encode() for part in _shingles(text)] for text in texts), num_perm=BANDS * ROWS)
    for place, minhash in enumerate(hashed):
        mine = None
        for other in lsh.query(minhash):
            mine, its = mine or _shingles(texts[place]), _shingles(texts[other])
            if len(mine & its) / len(mine | its) >= least:
                ties.append((other, place))
        lsh.insert(place, minhash, check_duplication=False)
    groups = np.arange(len(texts))
    left, right = (pa.array([tie[end] for tie in ties], pa.int64()) for end in (0, 1))
    ids, found = components(left, right)
    groups[ids.to_numpy()] = found.to_numpy()
    return groups


def _shingles(text: str) -> set[str]:
    """As ``udfs/shingles.py`` makes them."""
    text = f"\x02{text}"
    return {text[place : place + (3 if char >= "\u2e80" else 5)].ljust(5, "\0") for place, char in enumerate(text)}


def _templates(texts: pa.Array) -> list[str]:
    return [
        text
        for start in range(0, len(texts), 2048)
        for text in caption_template(texts[start : start + 2048]).to_pylist()
    ]


def _pairs(keys: Iterable[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(keys).values())


def _shares(rows: list[tuple[bool, bool]]) -> tuple[float, float, float]:
    near = [found for is_near, found in rows if is_near]
    return len(near) / len(rows), sum(near) / max(len(near), 1), sum(found for _, found in rows) / len(rows)


def _print_copies(captions: Sequence[Caption], template: pa.Array, groups: Groups, least: float) -> None:
    for kind in ("file name", "shop page", "names in a sentence"):
        made = [place for place, caption in enumerate(captions) if caption.kind == kind]
        families = len({captions[place].family for place in made})
        print(f"{kind}: {len(made):,} captions of {families:,} templates in {len(np.unique(groups[made])):,} groups")
    told = copies(captions, template, groups, least)
    scripts = ("Latin", "Cyrillic", "Chinese")
    print(f"edited copies: near enough / of these found / of all found  ({', '.join(scripts)})")
    for kind in EDITS:
        shares = (" / ".join(f"{share:.3f}" for share in told[kind, script]) for script in scripts)
        print(f"{kind:26} {'   '.join(shares)}")


if __name__ == "__main__":
    main()
