"""From lists to the policy's verdict: ``ingest`` and ``consult``, against DuckDB copying the same rows.

    python benchmarks/consult.py --rows 1000000
    python benchmarks/consult.py                         # 20 million rows: minutes, and 10 GB of disk
    python benchmarks/consult.py --rows 20000000 2000000 --spark 1000000

Lists and registries are invented, like LAION's: Parquet files with its columns, hosts that follow Zipf's law over a
million names, captions of about ten words. Of the URLs, one in nine is percent-encoded, one in four has a query, and
a few each have capitals, ports, fragments, other scripts, spaces, dot segments, or are no URL at all; one row in a
hundred repeats another. The registries name 500,000 domains, 500,000 URLs, 50,000 prefixes and 10,000 creators.

fairshard   ``fairshard run --until consult`` in a new interpreter, two workers, with a policy that asks no hosts:
            to committed ``pair``, ``rejected``, ``rule``, ``signal`` and ``dropped``.
DuckDB      ``COPY (SELECT * FROM lists) TO file`` in a new interpreter, two threads, Parquet to Parquet with its
            defaults: the least that reading and writing those rows can cost.

Each number of rows is measured in its own run of both sides, one after the other. Memory is the largest sum of the
resident sets of all processes of the run, which counts pages that they share more than once.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its functions are made when it is imported, where type checkers cannot see them

_HOSTS = 1_000_000
_FILES = 16
_BLOCK_ROWS = 125_000
_CREATORS = 200_000
_LISTED = {"domain": 500_000, "url": 500_000, "url_prefix": 50_000, "creator": 10_000}
_WORKERS = 2
_WORDS = 99_991  # a prime, so that a million hosts have a million names
_SPAWN = multiprocessing.get_context("spawn")

_SYLLABLES = [
    "ba",
    "be",
    "bi",
    "bo",
    "bu",
    "da",
    "de",
    "di",
    "do",
    "du",
    "ka",
    "ke",
    "ki",
    "ko",
    "ku",
    "la",
    "le",
    "li",
    "lo",
    "lu",
    "ma",
    "me",
    "mi",
    "mo",
    "mu",
    "na",
    "ne",
    "ni",
    "no",
    "nu",
    "ra",
    "re",
    "ri",
    "ro",
    "ru",
    "sa",
    "se",
    "si",
    "so",
    "su",
    "ta",
    "te",
    "ti",
    "to",
    "tu",
]
_SUFFIXES = ["com", "org", "net", "de", "co.uk", "blogspot.com", "fr", "com.br", "ru", "jp"]
_SUBDOMAINS = ["", "www.", "cdn.", "images.", "i0.", "static.", "img.shop."]
_FOLDERS = [
    "wp-content/uploads/2019/05/",
    "images/",
    "files/products/large/",
    "media/catalog/product/cache/1/image/",
    "s/",
    "photo/2014/11/",
    "~user/pics/",
]
_QUERIES = [
    "?w=640&h=480", "?v=1530000000", "?itok=Zk3v_Q", "?resize=300,200&ssl=1", "?size=large", "?fit=crop&auto=format",
    "?id=91&n=2", "?url=https%3A%2F%2Fex.org%2Fa.jpg",
]  # fmt: skip
_ENDINGS = [".jpg", ".jpeg", ".png", ".JPG", "-300x200.jpg", "_1.webp"]
_LICENCES = [None, None, None, None, None, None, None, "CC BY 4.0", "?"]


def _words(count: int) -> pa.Array:
    """string[count]: all different, of two to four syllables."""
    base = len(_SYLLABLES)
    syllables = pa.array(_SYLLABLES)
    numbers = np.arange(count) + base
    parts = [syllables.take(pa.array(numbers // base**place % base)) for place in range(4)]
    short = pa.array(numbers < base**3)
    tail = pc.if_else(short, "", parts[3])
    return pc.binary_join_element_wise(parts[0], parts[1], parts[2], tail, "")


def _zipf(random: np.random.Generator, count: int, most: int) -> NDArray[np.int64]:
    """int64[count] from 0: rank r with a probability that goes like 1 / (r + 1)."""
    return (np.exp(random.random(count) * np.log(most)) - 1).astype(np.int64)


def _pick(random: np.random.Generator, count: int, values: list[str | None] | pa.Array) -> pa.Array:
    choices = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    return choices.take(pa.array(random.integers(0, len(choices), count)))


def _host_names(ranks: NDArray[np.int64], words: pa.Array) -> pa.Array:
    """The host of each rank: a name of its own below a public suffix, some with a subdomain."""
    name = words.take(pa.array(ranks * 7919 % len(words)))
    number = pc.cast(pa.array(ranks % 1000), pa.string())
    suffix = pa.array(_SUFFIXES).take(pa.array(ranks * 31 % len(_SUFFIXES)))
    label = pc.binary_join_element_wise(name, number, "-")
    return pc.binary_join_element_wise(label, suffix, ".")


def _some(random: np.random.Generator, share: float, yes: pa.Array | str, no: pa.Array | str, count: int) -> pa.Array:
    return pc.if_else(pa.array(random.random(count) < share), yes, no)


def _urls(random: np.random.Generator, count: int, words: pa.Array) -> pa.Array:
    """string[count]"""
    ranks = _zipf(random, count, _HOSTS)
    host = _host_names(ranks, words)
    host = _some(random, 0.002, pc.binary_join_element_wise("münch", host, ""), host, count)
    host = _some(random, 0.003, pc.utf8_upper(host), host, count)
    host = pc.binary_join_element_wise(pa.array(_SUBDOMAINS).take(pa.array(ranks % 97 % len(_SUBDOMAINS))), host, "")
    host = _some(random, 0.005, pc.binary_join_element_wise(host, ":8080", ""), host, count)
    between = _some(random, 0.10, "%20", "-", count)
    between = _some(random, 0.01, "%C3%A9", between, count)
    between = _some(random, 0.003, " ", between, count)
    between = _some(random, 0.003, "é", between, count)
    between = _some(random, 0.002, "/../", between, count)
    slug = pc.binary_join_element_wise(_pick(random, count, words), between, _pick(random, count, words), "")
    number = pc.cast(pa.array(random.integers(0, 10**7, count)), pa.string())
    path = pc.binary_join_element_wise(
        _pick(random, count, _FOLDERS), slug, "-", number, _pick(random, count, _ENDINGS), ""
    )
    query = _some(random, 0.25, _pick(random, count, _QUERIES), "", count)
    fragment = _some(random, 0.003, "#main", "", count)
    url = pc.binary_join_element_wise(
        _some(random, 0.75, "https://", "http://", count), host, "/", path, query, fragment, ""
    )
    return _some(random, 0.001, slug, url, count)


def _captions(random: np.random.Generator, count: int, words: pa.Array) -> pa.Array:
    """string[count]: 5 to 14 words, common ones more often."""
    lengths = random.integers(5, 15, count)
    flat = words.take(pa.array(_zipf(random, int(lengths.sum()), len(words))))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    text = pc.binary_join(pa.ListArray.from_arrays(offsets, flat), " ")
    text = _some(random, 0.5, pc.utf8_capitalize(text), text, count)
    text = _some(random, 0.08, pc.binary_join_element_wise(text, " – é ™", ""), text, count)
    text = _some(random, 0.02, pc.binary_join_element_wise(text, "\n more", " "), text, count)
    return _some(random, 0.001, pa.scalar(None, pa.string()), text, count)


def _block(seed: int, count: int, words: pa.Array) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    url, text = _urls(random, count, words), _captions(random, count, words)
    rows = np.arange(count)
    again = random.random(count) < 0.01
    rows[again] = random.integers(0, count, int(again.sum()))
    url, text = url.take(pa.array(rows)), text.take(pa.array(rows))
    creator = pc.binary_join_element_wise(
        "Studio", words.take(pa.array(_zipf(random, count, _CREATORS) % len(words))), " "
    )
    return pa.RecordBatch.from_pydict(
        {
            "SAMPLE_ID": random.integers(0, 2**62, count),
            "URL": url,
            "TEXT": text,
            "HEIGHT": random.integers(100, 4000, count).astype(np.int32),
            "WIDTH": random.integers(100, 4000, count).astype(np.int32),
            "LICENSE": _pick(random, count, _LICENCES),
            "NSFW": _pick(random, count, ["UNLIKELY", "UNLIKELY", "UNSURE", "NSFW"]),
            "similarity": random.uniform(0.28, 0.45, count),
            "CREATOR": _some(random, 0.2, creator, pa.scalar(None, pa.string()), count),
        }
    )


def _write_list(folder: Path, number: int, rows: int) -> None:
    words = _words(_WORDS)
    with pq.ParquetWriter(folder / f"part-{number:05}.parquet", _block(0, 1, words).schema) as writer:
        for start in range(0, rows, _BLOCK_ROWS):
            writer.write_batch(_block(number * 1000 + start // _BLOCK_ROWS, min(_BLOCK_ROWS, rows - start), words))


def _make_lists(folder: Path, rows: int) -> None:
    folder.mkdir()
    parts = [(folder, number, rows // _FILES) for number in range(_FILES)]
    with _SPAWN.Pool(_WORKERS) as pool:
        pool.starmap(_write_list, parts, chunksize=1)


def _make_registries(folder: Path, lists: Path) -> None:
    """One in twenty hosts is listed by domain, one in a hundred rows by URL; most other entries meet no row."""
    random, words = np.random.default_rng(1), _words(_WORDS)
    occurring = np.arange(3, _HOSTS, 20)
    elsewhere = np.arange(_HOSTS, _HOSTS + _LISTED["domain"] - len(occurring))
    domains = _host_names(np.concatenate([occurring, elsewhere]), words)
    found = _listed_urls(lists)
    urls = pa.concat_arrays([found, _urls(random, _LISTED["url"] - len(found), words)])
    prefixes = pc.binary_join_element_wise(
        "https://www.",
        _host_names(np.arange(7, _LISTED["url_prefix"] * 40, 40), words),
        "/",
        _pick(random, _LISTED["url_prefix"], _FOLDERS),
        "",
    )
    creators = pc.binary_join_element_wise("Studio", words.take(pa.array(np.arange(4, _LISTED["creator"] * 9, 9))), " ")
    for scope, keys in zip(_LISTED, (domains, urls, prefixes, creators), strict=True):
        pq.write_table(pa.table({scope: keys}), folder / f"{scope}.parquet")


def _listed_urls(lists: Path) -> pa.Array:
    """URLs that occur: one in a hundred, from all over the lists."""
    found = [pq.read_table(file, columns=["URL"])["URL"].drop_null() for file in sorted(lists.iterdir())]
    return pa.concat_arrays([urls.take(pa.array(range(0, len(urls), 100))).combine_chunks() for urls in found])
