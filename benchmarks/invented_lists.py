"""Lists and registries of benchmarks, invented and like LAION's: hosts by Zipf's law, captions of about ten words."""

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

_WORKERS = 2
_SPAWN = multiprocessing.get_context("spawn")

HOSTS = 1_000_000
_FILES = 16
_BLOCK_ROWS = 125_000
_CREATORS = 200_000
_POPULAR = 20_000
LISTED = {"domain": 500_000, "url": 500_000, "url_prefix": 50_000, "creator": 10_000}
WORDS = 99_991  # a prime, so that a million hosts have a million names

_SYLLABLES = [consonant + vowel for vowel in "aeiou" for consonant in "bdklmnrst"]
_SUFFIXES = ["com", "org", "net", "de", "co.uk", "blogspot.com", "fr", "com.br", "ru", "jp"]
_SUBDOMAINS = ["", "www.", "cdn.", "images.", "i0.", "static.", "img.shop."]
FOLDERS = [
    "wp-content/uploads/2019/05/", "images/", "files/products/large/", "media/catalog/product/cache/1/image/", "s/",
    "photo/2014/11/", "~user/pics/",
]  # fmt: skip
_QUERIES = [
    "?w=640&h=480", "?v=1530000000", "?itok=Zk3v_Q", "?resize=300,200&ssl=1", "?size=large", "?fit=crop&auto=format",
    "?id=91&n=2", "?url=https%3A%2F%2Fex.org%2Fa.jpg",
]  # fmt: skip
ENDINGS = [".jpg", ".jpeg", ".png", ".JPG", "-300x200.jpg", "_1.webp"]
_LICENCES = [None, None, None, None, None, None, None, "CC BY 4.0", "?"]


def words_of(count: int) -> pa.Array:
    """string[count]: all different, of three or four syllables."""
    base = len(_SYLLABLES)
    syllables = pa.array(_SYLLABLES)
    numbers = np.arange(count) + base
    parts = [syllables.take(pa.array(numbers // base**place % base)) for place in range(4)]
    tail = pc.if_else(pa.array(numbers < base**3), "", parts[3])
    return joined(*parts[:3], tail)


def zipf(random: np.random.Generator, count: int, most: int) -> NDArray[np.int64]:
    """int64[count] from 0: rank r with a probability that goes like 1 / (r + 1)."""
    return (np.exp(random.random(count) * np.log(most)) - 1).astype(np.int64)


def pick(random: np.random.Generator, count: int, choices: pa.Array) -> pa.Array:
    return choices.take(pa.array(random.integers(0, len(choices), count)))


def host_names(ranks: NDArray[np.int64], words: pa.Array) -> pa.Array:
    """The host of each rank: a name of its own below a public suffix, some with a subdomain."""
    name = words.take(pa.array(ranks * 7919 % len(words)))
    number = pc.cast(pa.array(ranks % 1000), pa.string())
    suffix = pa.array(_SUFFIXES).take(pa.array(ranks * 31 % len(_SUFFIXES)))
    label = pc.binary_join_element_wise(name, number, "-")
    return pc.binary_join_element_wise(label, suffix, ".")


def joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def some(random: np.random.Generator, share: float, yes: pa.Array | str, no: pa.Array | str, count: int) -> pa.Array:
    return pc.if_else(pa.array(random.random(count) < share), yes, no)


def _urls(random: np.random.Generator, count: int, words: pa.Array) -> pa.Array:
    """string[count]"""
    ranks = zipf(random, count, HOSTS)
    host = host_names(ranks, words)
    host = some(random, 0.002, joined("münch", host), host, count)
    host = some(random, 0.003, pc.utf8_upper(host), host, count)
    host = joined(pa.array(_SUBDOMAINS).take(pa.array(ranks % 97 % len(_SUBDOMAINS))), host)
    host = some(random, 0.005, joined(host, ":8080"), host, count)
    between = some(random, 0.10, "%20", "-", count)
    between = some(random, 0.01, "%C3%A9", between, count)
    between = some(random, 0.003, " ", between, count)
    between = some(random, 0.003, "é", between, count)
    between = some(random, 0.002, "/../", between, count)
    slug = joined(pick(random, count, words), between, pick(random, count, words))
    number = pc.cast(pa.array(random.integers(0, 10**7, count)), pa.string())
    path = joined(pick(random, count, pa.array(FOLDERS)), slug, "-", number, pick(random, count, pa.array(ENDINGS)))
    query = some(random, 0.25, pick(random, count, pa.array(_QUERIES)), "", count)
    fragment = some(random, 0.003, "#main", "", count)
    url = joined(some(random, 0.75, "https://", "http://", count), host, "/", path, query, fragment)
    return some(random, 0.001, slug, url, count)


def captions(random: np.random.Generator, count: int, words: pa.Array) -> pa.Array:
    """string[count]: 5 to 14 words, common ones more often."""
    lengths = random.integers(5, 15, count)
    flat = words.take(pa.array(zipf(random, int(lengths.sum()), len(words))))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    text = pc.binary_join(pa.ListArray.from_arrays(offsets, flat), " ")
    text = some(random, 0.5, pc.utf8_capitalize(text), text, count)
    text = some(random, 0.08, joined(text, " – é ™"), text, count)
    text = some(random, 0.02, pc.binary_join_element_wise(text, "\n more", " "), text, count)
    return some(random, 0.001, pa.scalar(None, pa.string()), text, count)


def _block(random: np.random.Generator, count: int, words: pa.Array, popular: pa.RecordBatch | None) -> pa.RecordBatch:
    """Rows of a list; one in a hundred takes URL and caption of a popular one."""
    url, text = _urls(random, count, words), captions(random, count, words)
    if popular is not None:
        again = pa.array(random.random(count) < 0.01)
        picked = popular.take(pa.array(random.integers(0, len(popular), count)))
        url, text = pc.if_else(again, picked["URL"], url), pc.if_else(again, picked["TEXT"], text)
    creator = joined("Studio ", words.take(pa.array(zipf(random, count, _CREATORS) % len(words))))
    return pa.RecordBatch.from_pydict({
        "SAMPLE_ID": random.integers(0, 2**62, count),
        "URL": url,
        "TEXT": text,
        "HEIGHT": random.integers(100, 4000, count).astype(np.int32),
        "WIDTH": random.integers(100, 4000, count).astype(np.int32),
        "LICENSE": pick(random, count, pa.array(_LICENCES)),
        "NSFW": pick(random, count, pa.array(["UNLIKELY", "UNLIKELY", "UNSURE", "NSFW"])),
        "similarity": random.uniform(0.28, 0.45, count),
        "CREATOR": some(random, 0.2, creator, pa.scalar(None, pa.string()), count),
    })  # fmt: skip


def _write_list(folder: Path, number: int, rows: int) -> None:
    words, random = words_of(WORDS), np.random.default_rng(number)
    popular = _block(np.random.default_rng(_FILES), _POPULAR, words, None)
    with pq.ParquetWriter(folder / f"part-{number:05}.parquet", popular.schema) as writer:
        for start in range(0, rows, _BLOCK_ROWS):
            writer.write_batch(_block(random, min(_BLOCK_ROWS, rows - start), words, popular))


def make_lists(folder: Path, rows: int) -> None:
    folder.mkdir()
    parts = [(folder, number, rows // _FILES) for number in range(_FILES)]
    with _SPAWN.Pool(_WORKERS) as pool:
        pool.starmap(_write_list, parts, chunksize=1)


def make_registries(folder: Path) -> None:
    """One in twenty hosts is listed by domain, one in a hundred rows by URL; most other entries meet no row."""
    random, words = np.random.default_rng(1), words_of(WORDS)
    occurring = np.arange(3, HOSTS, 20)
    elsewhere = np.arange(HOSTS, HOSTS + LISTED["domain"] - len(occurring))
    found = _listed_urls(folder / "lists")
    prefixed = host_names(np.arange(7, LISTED["url_prefix"] * 40, 40), words)
    keys = {
        "domain": host_names(np.concatenate([occurring, elsewhere]), words),
        "url": pa.concat_arrays([found, _urls(random, LISTED["url"] - len(found), words)]),
        "url_prefix": joined("https://www.", prefixed, "/", pick(random, len(prefixed), pa.array(FOLDERS))),
        "creator": joined("Studio ", words.take(pa.array(np.arange(4, LISTED["creator"] * 9, 9)))),
    }
    for scope, listed in keys.items():
        pq.write_table(pa.table({scope: listed}), folder / f"{scope}.parquet")


def _listed_urls(lists: Path) -> pa.Array:
    """URLs that occur: one in a hundred, from all over the lists."""
    found = [pq.read_table(file, columns=["URL"])["URL"].drop_null() for file in sorted(lists.iterdir())]
    return pa.concat_arrays([urls.take(pa.array(range(0, len(urls), 100))).combine_chunks() for urls in found])
