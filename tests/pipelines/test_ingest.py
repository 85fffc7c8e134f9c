"""Lists in every format and state: each row is a pair or a rejected row, or the whole list is refused by name."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines import _candidates, _sources, ingest
from fairshard.pipelines._sources import SourceFile, read
from fairshard.pipelines.cli import main
from fairshard.udfs.text import two_hashes

URL = "https://a.example/{}.jpg"


@pytest.fixture
def ingested(make_duckdb_work, tmp_path):
    """``ingested({"list.csv": bytes}, ...)``: rows of `pair` and `rejected` of a job with those lists."""
    return partial(run_ingest, make_duckdb_work, tmp_path / "0")


@pytest.fixture
def ingested_on_each(make_work, tmp_path):
    """The same once for each engine, for what the SQL does."""
    return partial(run_ingest, make_work, tmp_path / "0")


def run_ingest(make, folder: Path, files: dict[str, bytes], sources: list[dict] | None = None, **config):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    work = make({"sources": sources or [{"path": name} for name in files], **config})
    ingest.run(work)
    found = [work.store.read(table).to_pylist() for table in ("pair", "rejected")]
    (mark,) = work.store.marks("ingest")
    assert mark.rows_in == len(found[0]) + len(found[1])
    return [sorted(rows, key=lambda row: (row["source"], row["source_row"])) for rows in found]


def parquet(**columns) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def rows_of(tmp_path: Path, name: str, data: bytes) -> tuple[dict[int, str], list[int]]:
    """URL of each good row by its number, and the numbers of malformed rows."""
    path = tmp_path / name
    path.write_bytes(data)
    ending = name.removesuffix(".gz").rpartition(".")[2]
    good, bad = {}, []
    for batch, _ in read(SourceFile("list", str(path), ending, "")):
        for row in batch.to_pylist():
            if row["reason"]:
                bad.append(row["source_row"])
            else:
                good[row["source_row"]] = (row["url"] or b"").decode()
    return good, bad


def test_laion_columns_in_any_case(ingested_on_each):
    data = parquet(
        Url=[URL.format(1)], TEXT=["a cat"], WIDTH=[640], height=[480.0], LICENSE=["CC-BY"], NSFW=["UNLIKELY"],
        Similarity=[0.31], SAMPLE_ID=[7], punsafe=[0.1], PWATERMARK=[0.2], AESTHETIC_SCORE=[5.5], Creator=["Ada"],
    )  # fmt: skip
    (pair,), rejected = ingested_on_each({"list.parquet": data})
    assert rejected == []
    wanted = {"url": URL.format(1), "caption": "a cat", "width_px": 640, "height_px": 480, "licence": "CC-BY"}
    wanted |= {"nsfw": "UNLIKELY", "creator": "Ada", "source": "list", "source_row": 0, "domain": "a.example"}
    assert {name: pair[name] for name in wanted} == wanted
    scores = ("similarity", "p_unsafe", "p_watermark", "aesthetic")
    assert [round(pair[name], 3) for name in scores] == [0.31, 0.1, 0.2, 5.5]


@pytest.mark.parametrize("columns", [["URL", "TEXT"], ["text", "url", "width"], ["image_url", "Alt_Text", "author"]])
def test_any_subset_of_columns(tmp_path, columns):
    values = {"url": URL.format(1), "image_url": URL.format(1), "width": "12"}
    line = ",".join(values.get(name.lower(), "words") for name in columns)
    assert rows_of(tmp_path, "list.csv", f"{','.join(columns)}\n{line}\n".encode()) == ({0: URL.format(1)}, [])


FORMATS = {
    "list.csv": b"url,text,width\nhttps://a.example/1.jpg,one,10\n,two,\nhttps://a.example/3.jpg,three,30\n",
    "list.tsv": b"url\ttext\twidth\nhttps://a.example/1.jpg\tone\t10\n\ttwo\t\nhttps://a.example/3.jpg\tthree\t30\n",
    "list.jsonl": b'{"url": "https://a.example/1.jpg", "text": "one", "width": 10}\n{"url": null, "text": "two"}\n'
    b'{"url": "https://a.example/3.jpg", "text": "three", "width": "30"}\n',
    "list.parquet": parquet(
        url=[URL.format(1), None, URL.format(3)], text=["one", "two", "three"], width=[10, None, 30]
    ),
}
FORMATS |= {f"{name}.gz": gzip.compress(data) for name, data in FORMATS.items() if name != "list.parquet"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(make_duckdb_work, tmp_path, name):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / name).write_bytes(FORMATS[name])
    work = make_duckdb_work({"sources": [{"path": name}], "workers": 1})
    ingest.run(work)
    pairs = sorted(work.store.read("pair").to_pylist(), key=lambda row: row["source_row"])
    assert [(row["source"], row["source_row"], row["url"], row["caption"], row["width_px"]) for row in pairs] == [
        ("list", 0, URL.format(1), "one", 10),
        ("list", 2, URL.format(3), "three", 30),
    ]
    assert work.store.read("rejected").to_pylist() == [{"source": "list", "source_row": 1, "reason": "null_url"}]


def test_csv_quotes_newlines_and_a_byte_order_mark(ingested):
    data = '\ufeffURL,TEXT\r\n"https://a.example/1.jpg","say ""hi"", twice"\r\nhttps://a.example/2.jpg,"two\nlines"\r\n'
    pairs, rejected = ingested({"list.csv": data.encode()})
    assert [(row["source_row"], row["caption"]) for row in pairs] == [(0, 'say "hi", twice'), (1, "two lines")]
    assert rejected == []


@pytest.mark.parametrize(
    "kinds",
    ["gbg", "bgg", "ggb", "bbgbb", "g" * 40 + "b" + "g" * 40, "b" * 40 + "g", "g" + "b" * 40, "b" * 30, "gb" * 40],
)
@pytest.mark.parametrize("block_bytes", [64, 16 << 20])
def test_malformed_csv_rows_keep_their_numbers(tmp_path, monkeypatch, kinds, block_bytes):
    monkeypatch.setattr(_sources, "_BLOCK_BYTES", block_bytes)
    lines = [f"u{number},words" if kind == "g" else f"alone{number}" for number, kind in enumerate(kinds)]
    good, bad = rows_of(tmp_path, "list.csv", ("url,text\n" + "\n".join(lines) + "\n").encode())
    assert good == {number: f"u{number}" for number, kind in enumerate(kinds) if kind == "g"}
    assert sorted(bad) == [number for number, kind in enumerate(kinds) if kind == "b"]


def test_a_csv_of_malformed_rows_alone_is_all_rejected(ingested):
    pairs, rejected = ingested({"list.csv": b"url,text\none\ntwo,2,two\nthree\n"})
    assert pairs == []
    assert [(row["source_row"], row["reason"]) for row in rejected] == [(n, "malformed_row") for n in range(3)]


@given(st.lists(st.sampled_from(["good", "cells", "quoted"]), max_size=60), st.sampled_from([64, 200, 1000]))
def test_numbers_of_csv_rows_are_those_of_a_careful_reader(tmp_path_factory, kinds, block_bytes):
    text = {"good": "u{0},w", "cells": "u{0}", "quoted": '"u{0}","two\nlines, ""here"""'}
    data = "url,text\n" + "".join(text[kind].format(number) + "\n" for number, kind in enumerate(kinds))
    careful = list(csv.reader(io.StringIO(data)))[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sources, "_BLOCK_BYTES", block_bytes)
        good, bad = rows_of(tmp_path_factory.mktemp("csv"), "list.csv", data.encode())
    assert good == {number: row[0] for number, row in enumerate(careful) if len(row) == 2}
    assert sorted(bad) == [number for number, row in enumerate(careful) if len(row) != 2]


def test_json_lines_with_broken_ones(ingested):
    lines = [b"{broken", *(json.dumps({"url": URL.format(n), "caption": "w"}).encode() for n in (1, 2)), b"[1]", b"",
             b"null", b'{"url": "https://a.example/3.jpg", "caption": "\xff"}', b"[" * 100_000,
             b'{"url": {"deep": 1}, "caption": "w"}', b'{"url": "https://a.example/4.jpg", "caption": "\\ud800"}']  # fmt: skip
    pairs, rejected = ingested({"list.jsonl": b"\n".join(lines)})
    assert [(row["source_row"], row["url"]) for row in pairs] == [
        (1, URL.format(1)),
        (2, URL.format(2)),
        (8, URL.format(4)),
    ]
    assert {row["source_row"]: row["reason"] for row in rejected} == {
        **dict.fromkeys((0, 3, 4, 5, 6), "malformed_row"), 7: "null_url"}  # fmt: skip


def test_globs_and_several_sources(ingested_on_each):
    one, two = (f"url,text\n{URL.format(n)},w{n}\n".encode() for n in (1, 2))
    files = {"parts/a.csv": one, "parts/b.csv": two, "parts/c.txt": b"not asked for", "other.csv": one}
    sources = [{"path": "parts/*.csv", "name": "crawl"}, {"path": "other.csv"}]
    pairs, rejected = ingested_on_each(files, sources)
    assert [(row["source"], row["url"]) for row in pairs] == [("crawl.a", URL.format(1)), ("crawl.b", URL.format(2))]
    assert rejected == [{"source": "other", "source_row": 0, "reason": "duplicate_row"}]


def test_a_name_with_brackets_is_a_name(ingested):
    pairs, _ = ingested({"list[1].csv": f"url,text\n{URL.format(1)},w\n".encode()})
    assert [row["source"] for row in pairs] == ["list[1]"]


BAD_URLS = {
    None: "null_url", "": "null_url", "  ": "null_url", "file:///etc/passwd": "unsupported_scheme",
    "data:image/png;base64,AAAA": "unsupported_scheme", "ftp://a.example/1.jpg": "unsupported_scheme",
    "javascript:alert(1)": "unsupported_scheme", "https://": "bad_url", "http:///": "bad_url", "/1.jpg": "bad_url",
    "a cat": "bad_url", "https://a b.example/": "bad_url", "https://a.example:99999/": "bad_url",
    "https://[::1/x.jpg": "bad_url", "https://999.1.1.1/x.jpg": "bad_url", "https://.../": "unsupported_scheme",
    "http://ada:secret@a.example/1.jpg": "credentials", "https://ada@a.example/1.jpg": "credentials",
    "http:\\\\:secret@a.example/1.jpg": "credentials", "ftp://ada:secret@a.example/": "unsupported_scheme",
}  # fmt: skip


def test_rows_without_a_usable_url_are_set_aside_with_a_reason(ingested):
    pairs, rejected = ingested({"list.parquet": parquet(url=list(BAD_URLS), text=["words"] * len(BAD_URLS))})
    assert pairs == []
    found = {list(BAD_URLS)[row["source_row"]]: row["reason"] for row in rejected}
    assert found == BAD_URLS


def test_captions_are_cleaned_cut_or_set_aside(ingested):
    captions = [
        None,
        "",
        " \t\n",
        "\x00\x01\u202e",
        "nul\x00and\x07bell\u202eturned",
        "x" * 100_000,
        "\u00e9",
        "e\u0301",
    ]
    data = parquet(url=[URL.format(n) for n in range(len(captions))], text=captions)
    pairs, rejected = ingested({"list.parquet": data}, ingest={"caption_max_chars": 500})
    assert [row["reason"] for row in rejected] == ["null_caption"] * 4
    assert [row["caption"] for row in pairs] == ["nul and bell turned", "x" * 500, "\u00e9", "\u00e9"]


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_row_in_a_broken_encoding_is_set_aside_alone(ingested, name):
    urls = [
        b"https://a.example/1.jpg",
        b"https://a.example/\xff.jpg",
        b"https://a.example/3.jpg",
        b"https://a.example/4.jpg",
    ]
    texts, widths, creators = (
        [b"one", b"two", b"\xc3", b"four"],
        [b"1", b"2", b"3", b"\xff4"],
        [b"\xff", b"", b"", b"Ada"],
    )
    if name == "list.csv":
        cells = zip(urls, texts, widths, creators, strict=True)
        data = b"\n".join([b"url,text,width,creator", *(b",".join(row) for row in cells)])
    else:
        data = parquet(url=urls, text=texts, width=widths, creator=creators)
    pairs, rejected = ingested({name: data})
    assert [(row["source_row"], row["width_px"], row["creator"]) for row in pairs] == [(0, 1, None), (3, None, "Ada")]
    assert [(row["source_row"], row["reason"]) for row in rejected] == [(1, "bad_encoding"), (2, "bad_encoding")]


def test_rows_that_are_the_same_after_canonicalisation_are_duplicates(ingested_on_each):
    rows = [
        ("https://www.A.example:443/b/../1.jpg#top", "a  cat"),
        ("http://a.example/1.jpg", " a cat "),
        ("http://a.example/%31.jpg", "a\x00cat"),
        ("http://@a.example/1.jpg", "a cat"),
        ("https://a.example/1.jpg", "A cat"),  # another caption
        ("https://a.example/1.jpg?x", "a cat"),  # another URL
    ]
    pairs, rejected = ingested_on_each(
        {"list.parquet": parquet(url=[url for url, _ in rows], text=[text for _, text in rows])}
    )
    assert [row["source_row"] for row in pairs] == [0, 4, 5]
    assert [(row["source_row"], row["reason"]) for row in rejected] == [(n, "duplicate_row") for n in (1, 2, 3)]
    assert pairs[0]["url"] == "https://www.a.example/1.jpg"


def test_measures_out_of_range_are_unknown(ingested):
    widths = [-1.0, 0.0, 1e12, float("nan"), float("inf"), None, 99.6]
    data = parquet(url=[URL.format(n) for n in range(7)], text=["w"] * 7, width=widths, similarity=widths)
    pairs, _ = ingested({"list.parquet": data})
    assert [row["width_px"] for row in pairs] == [None] * 6 + [100]
    assert [row["similarity"] is None for row in pairs] == [False, False, False, True, True, True, False]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_text_columns_of_any_type(tmp_path, kind):
    (tmp_path / "list.parquet").write_bytes(
        parquet(url=pa.array([URL.format(1), None]).cast(kind), text=pa.array(["w", "w"]).cast(kind))
    )
    ((batch, _),) = read(SourceFile("list", str(tmp_path / "list.parquet"), "parquet", ""))
    assert batch.column("url").to_pylist() == [URL.format(1).encode(), None]


def test_more_rows_than_a_batch_and_the_books_balance(ingested_on_each):
    count = 70_001
    urls = [None if n % 1000 == 0 else URL.format(n % 69_000) for n in range(count)]
    pairs, rejected = ingested_on_each({"list.parquet": parquet(url=urls, text=["words"] * count)})
    assert Counter(row["reason"] for row in rejected) == {"null_url": 71, "duplicate_row": 1000 - 1}
    assert sorted(row["source_row"] for row in pairs + rejected) == list(range(count))
    assert all(row["url"] == urls[row["source_row"]] for row in pairs)


def test_parquet_is_read_in_parts_and_rows_repeat_across_them(ingested_on_each, monkeypatch, tmp_path):
    monkeypatch.setattr(_sources, "_PART_ROWS", 1000)
    count, unlike = 3500, 1700
    sink = io.BytesIO()
    urls = [None if n == 1234 else URL.format(n % unlike) for n in range(count)]
    pq.write_table(pa.table({"url": urls, "text": ["words"] * count}), sink, row_group_size=300)
    (tmp_path / "list.parquet").write_bytes(sink.getvalue())
    parts = _sources.parts(SourceFile("list", str(tmp_path / "list.parquet"), "parquet", ""))
    assert [(part.row_groups, part.first_row) for part in parts] == [((0, 4), 0), ((4, 8), 1200), ((8, 12), 2400)]
    pairs, rejected = ingested_on_each({"list.parquet": sink.getvalue()})
    first = [n for n in range(unlike) if n != 1234]
    assert [(row["source_row"], row["url"]) for row in pairs] == [(n, urls[n]) for n in [*first, 1234 + unlike]]
    assert Counter(row["reason"] for row in rejected) == {"null_url": 1, "duplicate_row": count - unlike - 1}


def test_a_different_pair_of_the_same_id_is_set_aside_by_that_name(ingested, monkeypatch):
    def colliding(text):
        _, check = two_hashes(text)
        return pa.array([7] * len(text), pa.int64()), check

    monkeypatch.setattr(_candidates, "two_hashes", colliding)
    data = "".join(f"{URL.format(n)},w\n" for n in (1, 2, 1))
    (pair,), rejected = ingested({"list.csv": f"url,text\n{data}".encode()}, workers=1)
    assert (pair["pair_id"], pair["source_row"]) == (7, 0)
    assert [(row["source_row"], row["reason"]) for row in rejected] == [(1, "id_collision"), (2, "duplicate_row")]


def test_lists_that_a_killed_run_has_read_are_not_read_again(make_duckdb_work, tmp_path, monkeypatch):
    (tmp_path / "0").mkdir()
    for name in "abc":
        (tmp_path / "0" / f"{name}.csv").write_text(f"url,text\n{URL.format(name)},w\n")
    work = make_duckdb_work({"sources": [{"path": "*.csv"}], "workers": 1})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ingest, "write", stopped)
        ingest.run(work)
    assert work.store.files("pair") == []
    (tmp_path / "0" / "b.csv").write_text(f"url,text\n{URL.format('b')},other words\n")
    read_again, read_one = [], ingest.read
    monkeypatch.setattr(ingest, "read", lambda task: read_again.append(task.file.source) or read_one(task))
    ingest.run(work)
    assert read_again == ["b"]
    assert [row["caption"] for row in work.store.read("pair").to_pylist()] == ["w", "other words", "w"]
    assert [path for path in (tmp_path / "0/work").rglob("*ingest-lists/*") if path.is_file()] == []


def stopped(task):
    raise KeyboardInterrupt


def test_neither_the_order_of_rows_nor_of_files_decides_what_a_pair_is(ingested, make_duckdb_work):
    rows = [(URL.format(n % 7), f"words {n % 5}") for n in range(40)]

    def lists(given):
        text = [
            "url,text\n" + "".join(f"{url},{caption}\n" for url, caption in part) for part in (given[:9], given[9:])
        ]
        return {f"{name}.csv": part.encode() for name, part in zip("ab", text, strict=True)}

    def ids(pairs):
        return {row["pair_id"]: (row["url"], row["caption"]) for row in pairs}

    one, _ = ingested(lists(rows))
    other = make_duckdb_work({"sources": [{"path": "a.csv"}, {"path": "b.csv"}]})
    for name, data in lists(rows[::-1]).items():
        (Path(other.job.folder) / name).write_bytes(data)
    ingest.run(other)
    assert ids(one) == ids(other.store.read("pair").to_pylist())
    assert len(one) == 35


def test_an_id_is_the_same_everywhere_for_ever(ingested):
    (pair,), _ = ingested({"list.csv": b"url,text\nhttp://www.example.org/a%20b.jpg,Hello\n"})
    assert (pair["url_key"], pair["pair_id"]) == ("example.org/a%20b.jpg", 8118099090603250090)


GOOD = b"url,text\nhttps://a.example/1.jpg,w\n"
WHOLE = parquet(url=[URL.format(n) for n in range(2000)], text=["words"] * 2000)
REFUSED = {
    "missing": ({}, "list.csv", "does not exist"),
    "empty": ({"list.csv": b""}, "list.csv", "is empty"),
    "no header": ({"list.csv": b"https://a.example/1.jpg,w\n"}, "list.csv", "has the columns"),
    "a column missing": ({"list.csv": b"url,width\nhttps://a.example/1.jpg,1\n"}, "list.csv", "text, caption"),
    "two of a name": ({"list.csv": b"url,url,text\na,b,c\n"}, "list.csv", "two columns called 'url'"),
    "an open quote in the header": (
        {"list.csv": b'url,"text\nhttps://a.example/1.jpg,w\n'},
        "list.csv",
        "opens a quote",
    ),
    "NUL in the header": ({"list.csv": b"ur\0l,text\na,b\n"}, "list.csv", "list.csv"),
    "header in another encoding": ({"list.csv": "url,text\nx,y\n".encode("utf-16")}, "list.csv", "cannot be read"),
    "wrong schema": ({"list.parquet": parquet(id=[1], name=["x"])}, "list.parquet", "has the columns id, name"),
    "nested": ({"list.parquet": parquet(url=[["u"]], text=["t"])}, "list.parquet", "column 'url' holds list"),
    "two of a name in Parquet": ({"list.parquet": None}, "list.parquet", "two columns called 'url'"),
    "truncated": ({"list.parquet": WHOLE[:-20]}, "list.parquet", "cannot be read"),
    "holed": ({"list.parquet": WHOLE[:100] + bytes(3000) + WHOLE[3100:]}, "list.parquet", "cannot be read"),
    "no parquet": ({"list.parquet": GOOD}, "list.parquet", "cannot be read"),
    "no JSON": ({"list.jsonl": GOOD}, "list.jsonl", "begins with b'url,text"),
    "no JSON object": ({"list.jsonl": b"[1]\n[2]\n"}, "list.jsonl", "one JSON object a line"),
    "other keys": ({"list.jsonl": b'{"a": 1}\n'}, "list.jsonl", "has the keys a"),
    "truncated gzip": ({"list.csv.gz": gzip.compress(GOOD * 5000)[:-30]}, "list.csv.gz", "cannot be read to its end"),
    "damaged gzip": ({"list.csv.gz": None}, "list.csv.gz", "cannot be read"),
    "no gzip": ({"list.csv.gz": GOOD}, "list.csv.gz", "cannot be read"),
    "a folder": ({"lists/a.csv": GOOD}, "lists", "is a folder"),
    "no match": ({"a.csv": GOOD}, "*.parquet", "matches no file"),
    "unknown ending": ({"list.xlsx": GOOD}, "list.xlsx", "ends in '.xlsx'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_list_that_cannot_be_read_is_named_and_nothing_is_written(tmp_path, case):
    files, path, message = REFUSED[case]
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data if data is not None else SPECIAL[case]())
    (tmp_path / "good.csv").write_bytes(GOOD)
    result = run_cli(tmp_path, [{"path": "good.csv"}, {"path": path}])
    assert result.exit_code == 2, result.output
    assert message in result.stderr and path.strip("*") in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.output
    found = {file.name for file in (tmp_path / "work").rglob("*") if file.is_file()}
    assert found <= {".lock", "run_state.json", "metrics.prom"}  # how the run ended, and no row
    assert not (tmp_path / "release").exists()


NO_ROWS = {
    "list.csv": b"url,text\n",
    "bare.csv": b"url,text",
    "blank.tsv": b"url\ttext\n\n\n",
    "list.parquet": parquet(url=pa.array([], pa.string()), text=pa.array([], pa.string())),
}


@pytest.mark.parametrize("name", NO_ROWS)
def test_a_list_without_rows_is_refused_if_it_is_alone(tmp_path, name):
    (tmp_path / name).write_bytes(NO_ROWS[name])
    result = run_cli(tmp_path, [{"path": name}])
    assert (result.exit_code, f"{name}: has no rows; expected at least one" in result.stderr) == (2, True)
    assert not (tmp_path / "work").exists()


def test_lists_without_rows_among_others_are_mentioned(ingested, caplog):
    caplog.set_level("INFO", "fairshard")
    parts = {f"part-{number}.{name}": data for number, (name, data) in enumerate(NO_ROWS.items())}
    pairs, rejected = ingested({**parts, "good.csv": GOOD})
    assert (len(pairs), rejected) == (1, [])
    assert all(f"{name} has no rows" in caplog.text for name in parts)


@pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
def test_a_quote_that_never_closes_swallows_no_row(ingested, name):
    lines = ["url,text", *(f'{URL.format(n)},"words {n}{"" if n in (1, 4) else chr(34)}' for n in range(6))]
    data = "\n".join(lines) + "\n"
    pairs, rejected = ingested({name: (data if name == "list.csv" else data.replace(",", "\t")).encode()})
    assert [(row["source_row"], row["caption"]) for row in pairs] == [(n, f"words {n}") for n in (0, 2, 3, 5)]
    assert [(row["source_row"], row["reason"]) for row in rejected] == [(n, "malformed_row") for n in (1, 4)]


def test_two_lists_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "list.csv").write_bytes(GOOD)
    result = run_cli(tmp_path, [{"path": "a/list.csv"}, {"path": "b/list.csv"}])
    assert (result.exit_code, "two are called 'list'" in result.stderr) == (2, True)
    assert not (tmp_path / "work").exists()


def run_cli(folder: Path, sources: list[dict]):
    config = {"work_dir": "work", "release_dir": "release", "sources": sources, "workers": 1}
    (folder / "job.yaml").write_text(json.dumps(config))
    return CliRunner().invoke(main, ["-q", "run", str(folder / "job.yaml"), "--until", "ingest"])


def _two_of_a_name() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["u"])] * 3, names=["url", "url", "text"]), sink)
    return sink.getvalue()


def _damaged_gzip() -> bytes:
    data = bytearray(gzip.compress(b"url,text\n" + bytes(range(48, 122)) * 900, mtime=0))
    data[40:60] = bytes(20)
    return bytes(data)


SPECIAL = {"two of a name in Parquet": _two_of_a_name, "damaged gzip": _damaged_gzip}
