"""Web archives as sources: every picture of a page is a pair or a rejected row, and what pages say comes along."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from warc_files import URI, html, packed, page, picture, record, wat

from fairshard.pipelines import _archives, _gate, _warc, _wat_rows, ingest
from fairshard.pipelines._raw import SourceFile
from fairshard.pipelines._store import Store
from fairshard.pipelines.cli import main
from fairshard.schemas import policy as policies
from fairshard.schemas.config import from_mapping

INFO = record("warcinfo", b"software: a test\r\n", uri="")
NOAI = '<meta name="robots" content="noai">'
ZERO = "https://creativecommons.org/publicdomain/zero/1.0/"
BY = "https://creativecommons.org/licenses/by/4.0/"


@pytest.fixture
def ingested(make_work, tmp_path):
    """``ingested({"a.warc.gz": bytes})``: the work after ingest, on each engine."""
    return lambda files, **config: run_ingest(make_work, tmp_path, files, **config)


def run_ingest(make, folder, files, **config):
    (folder / "0").mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / "0" / name).write_bytes(data)
    work = make({"sources": [{"path": name} for name in files], **config})
    ingest.run(work)
    return work


def rows(work, table, *columns):
    found = work.store.read(table).to_pylist()
    order = sorted(found, key=lambda row: (row["source"], row.get("source_row", row.get("kind"))))
    return [tuple(row[name] for name in columns) for row in order]


def signals(work, *columns):
    urls = {row["pair_id"]: row["url"].rpartition("/")[2] for row in work.store.read("pair").to_pylist()}
    found = work.store.read("signal").to_pylist()
    return sorted((urls[row["pair_id"]], *(row[name] for name in columns)) for row in found)


def described(**more) -> str:
    node = {"@type": "ImageObject", "contentUrl": "/1.jpg", **more}
    return f'<script type="application/ld+json">{json.dumps(node)}</script>'


def test_pictures_of_html_pages(ingested):
    body = (
        '<html lang="de-AT"><head><title>Boats &amp; lakes</title><base href="/sub/"></head>'
        '<img src="a.jpg" alt="a boat &eacute;"><img src="//cdn.example/b.jpg" alt="another boat">'
        '<img src="data:image/gif;base64,R0" data-src="/late.jpg" alt="loaded late">'
        '<img src="" srcset="s.jpg 320w, l.jpg 1280w" alt="of many sizes"></html>'
    )
    work = ingested({"crawl.warc.gz": packed(INFO, html(body))})
    columns = ("source", "source_row", "url", "caption", "page_url", "page_title", "page_language")
    about = ("https://a.example/p/page.html", "Boats & lakes", "de-AT")
    assert rows(work, "pair", *columns) == [
        ("crawl", 0, "https://a.example/sub/a.jpg", "a boat é", *about),
        ("crawl", 1, "https://cdn.example/b.jpg", "another boat", *about),
        ("crawl", 2, "https://a.example/late.jpg", "loaded late", *about),
        ("crawl", 3, "https://a.example/sub/l.jpg", "of many sizes", *about),
    ]
    assert (rows(work, "rejected"), signals(work)) == ([], [])


def test_pictures_of_wat_records(ingested):
    links = [{"path": "A@/href", "url": "/", "text": "IMG@/src"}, picture("a.jpg", 'a "boat"\n on a lake')]
    links += [picture("//cdn.example/b.jpg"), picture("https://c.example/c.jpg"), {"path": "IMG@/longdesc", "url": "x"}]
    lang = [{"name": "HTML@/lang", "content": "en"}]
    request = record("metadata", b'{"Envelope": {"Payload-Metadata": {"HTTP-Request-Metadata": {}}}}')
    work = ingested({"crawl.warc.wat.gz": packed(INFO, request, wat(links, lang, base="/sub/"), wat([]))})
    assert rows(work, "pair", "source", "url", "caption", "page_title", "page_language") == [
        ("crawl.warc", "https://a.example/sub/a.jpg", 'a "boat" on a lake', "A page", "en"),
        ("crawl.warc", "https://cdn.example/b.jpg", "some words about it", "A page", "en"),
        ("crawl.warc", "https://c.example/c.jpg", "some words about it", "A page", "en"),
    ]
    assert work.store.read("rejected").num_rows == 0


THROWN = {
    "data:image/png;base64,AAAA": "unsupported_scheme", "javascript:void(0)": "unsupported_scheme", "": "null_url",
    "mailto:a@a.example": "unsupported_scheme", "http://[": "bad_url", "/x.SVG": "format", "/x.gif?v=1": "format",
    "/favicon.ico": "format", "/www.iconfinder.com/x.jpg": None, "/" + "x" * 2_048: "long_url", "/ok.jpg": None,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["wat", "warc"])
def test_what_laion_threw_away_is_counted_by_reason(ingested, kind):
    shown = [*((url, "five words") for url in THROWN), ("/n.jpg", None), ("/s.jpg", "cat "), ("/f.jpg", "cats!")]
    images = "".join(f'<img src="{url}"' + (f' alt="{alt}">' if alt else ">") for url, alt in shown)
    made = wat([picture(url, alt) for url, alt in shown]) if kind == "wat" else html(images)
    work = ingested({f"a.{kind}.gz": packed(made)})
    reasons = dict(rows(work, "rejected", "source_row", "reason"))
    wanted = [*THROWN.values(), "null_caption", "short_caption", None]
    assert [reasons.get(number) for number in range(len(shown))] == wanted
    assert work.store.marks("ingest")[0].rows_in == len(shown)


@pytest.mark.parametrize("kind", ["wat", "warc"])
def test_what_a_page_says_becomes_evidence_of_its_pairs(ingested, kind):
    said = {
        "noai": ([("robots", "index, noai")], {}),
        "image": ([("ROBOTS", "noimageai")], {}),
        "ours": ([("fairshard", "noai")], {}),
        "index": ([("robots", "noindex")], {}),
        "tdm": ([("tdm-reservation", "1"), ("tdm-policy", "/terms.json")], {}),
        "tag": ([], {"X-Robots-Tag": "noimageai"}),
        "reserved": ([], {"TDM-Reservation": "1"}),
        "usage": ([], {"Content-Usage": "train-ai=n"}),
        "signal": ([], {"Content-Signal": "ai-train=no"}),
        "yes": ([("tdm-reservation", "0")], {"Content-Usage": "train-ai=y"}),
        "other": ([("googlebot", "noai"), ("description", "noai"), ("robots", "all")], {"X-Robots-Tag": "a: noai"}),
    }
    made = []
    for name, (metas, headers) in said.items():
        uri = f"https://{name}.example/"
        if kind == "wat":
            made.append(wat([picture(name)], [{"name": n, "content": c} for n, c in metas], uri, headers=headers))
        else:
            head = (
                "".join(f'<meta name="{n}" content="{c}">' for n, c in metas)
                + "<!-- <meta name=robots content=noai> -->"
            )
            lines = [f"{n}: {value}" for n, value in headers.items()]
            made.append(html(page(name, head=head) + "noai", *lines, uri=uri))
    work = ingested({f"a.{kind}": b"".join(made)})
    assert signals(work, "kind", "verdict", "scope", "source", "only_if") == [
        ("image", "html_meta", "deny", "page", "meta robots of https://image.example/", None),
        ("index", "html_meta", "deny", "page", "meta robots of https://index.example/", "noindex=deny"),
        ("noai", "html_meta", "deny", "page", "meta robots of https://noai.example/", None),
        ("ours", "html_meta", "deny", "page", "meta fairshard of https://ours.example/", None),
        ("reserved", "tdmrep", "deny", "page", "response header of https://reserved.example/", None),
        ("signal", "content_signal", "deny", "page", "Content-Signal of https://signal.example/", None),
        ("tag", "x_robots_tag", "deny", "page", "X-Robots-Tag of https://tag.example/", None),
        ("tdm", "tdmrep", "cond", "page", "HTML meta of https://tdm.example/", None),
        ("usage", "aipref", "deny", "page", "Content-Usage of https://usage.example/", None),
        ("yes", "aipref", "allow", "page", "Content-Usage of https://yes.example/", None),
        ("yes", "tdmrep", "allow", "page", "HTML meta of https://yes.example/", None),
    ]
    assert {row["observed_at"].isoformat() for row in work.store.read("signal").to_pylist()} == {
        "2026-01-02T03:04:05+00:00"
    }


def kept(work, preset):
    """URLs that a policy keeps by the evidence that ingest left."""
    work.scan_all("ingest", "pair", "signal")
    work.engine.step("alive", "SELECT * FROM pair")
    _gate.refused(work.engine, policies.load(preset, work.job.folder), "consult")
    left = "SELECT pair.url FROM pair LEFT JOIN refused ON pair.pair_id = refused.pair_id WHERE refused.pair_id IS NULL"
    return sorted(url.rpartition("/")[2] for url in work.engine.rows(left)["url"].to_pylist())


def test_the_gate_reads_it_before_any_request(ingested):
    pages = [
        html(page("noai.jpg", head=NOAI), uri="https://b.example/"),
        html(page("index.jpg", head="<meta name=robots content=noindex>"), uri="https://c.example/"),
        html(page("yes.jpg"), "Content-Usage: train-ai=y", uri="https://d.example/"),
        html(page("plain.jpg"), uri="https://e.example/"),
    ]
    work = ingested({"a.warc": b"".join(pages)})
    assert kept(work, "strict") == ["plain.jpg", "yes.jpg"]
    assert kept(work, "eu") == ["index.jpg", "plain.jpg", "yes.jpg"]
    assert kept(work, "research") == ["index.jpg", "noai.jpg", "plain.jpg", "yes.jpg"]
    assert kept(work, "licensed-only") == []


def test_licences_and_creators_of_the_picture_itself(ingested):
    link = f'<a rel="license" href="{ZERO}">'
    heads = {
        "zero": described(license=ZERO, creator={"@type": "Person", "name": "Ada Kettlewick"}),
        "credit": described(license=BY, creditText="Hob Nettleship", acquireLicensePage="/buy"),
        "offer": described(acquireLicensePage="/buy"),
        "two": described(license=[ZERO, BY]),
        "words": described(license="cc0-1.0"),
        "another": described(contentUrl="/2.jpg", license=ZERO),
        "page": link,
    }
    pages = [html(page("/1.jpg", head=head), uri=f"https://{name}.example/") for name, head in heads.items()]
    work = ingested({"a.warc.gz": packed(*pages)})
    assert rows(work, "pair", "host", "licence", "creator") == [
        ("zero.example", "cc0-1.0", "Ada Kettlewick"),
        ("credit.example", "cc-by-4.0", "Hob Nettleship"),
        ("offer.example", None, None),
        ("two.example", None, None),
        ("words.example", "https://words.example/cc0-1.0", None),
        ("another.example", None, None),
        ("page.example", None, None),
    ]
    found = {(row["source"], row["verdict"], row["scope"]) for row in work.store.read("signal").to_pylist()}
    assert found == {
        ("ImageObject of https://zero.example/", "allow", "image"),
        ("ImageObject of https://credit.example/", "cond", "image"),
        ("ImageObject of https://offer.example/", "cond", "image"),
        ("ImageObject of https://two.example/", "cond", "image"),
        ("ImageObject of https://words.example/", "cond", "image"),
        ("rel=license of https://page.example/", "allow", "page"),
    }
    assert kept(work, "licensed-only") == ["1.jpg"]


def test_licence_links_of_wat_records_permit_nothing(ingested):
    links = [picture("1.jpg"), {"path": "A@/href", "url": ZERO, "rel": "license noopener"}]
    work = ingested({"a.wat": wat(links)})
    assert signals(work, "kind", "verdict", "source") == [
        ("1.jpg", "licence", "allow", "rel=license of https://a.example/p/page.html")
    ]
    assert (rows(work, "pair", "licence"), kept(work, "licensed-only")) == ([(None,)], [])


RSL = "application/rsl+xml"
PROHIBITS = (
    '<rsl xmlns="https://rslstandard.org/rsl"><content url="/"><license><prohibits type="usage">ai-train</prohibits>'
)
PROHIBITS += "</license></content></rsl>"


def test_rsl_that_a_page_names_is_held_and_rsl_inside_it_is_read(ingested):
    link = f'<link rel="alternate license" type="{RSL}; charset=utf-8" href="%s">'
    header = f'Link: </terms.xml>; rel="license"; type="{RSL}"'
    script = f'<script type="{RSL}">%s</script>'
    heads = {
        "link": link % "/terms.xml", "twice": link % "/terms.xml" + link % "https://b.example/other.rsl",
        "next": link.replace("license", "next") % "/terms.xml", "inside": script % PROHIBITS,
        "yes": script % PROHIBITS.replace("prohibits", "permits"), "broken": script % PROHIBITS[:-6],
        "elsewhere": script % PROHIBITS.replace('"/"', '"/shop/"'), "itself": script % PROHIBITS.replace('"/"', '""'),
    }  # fmt: skip
    made = [html(page(f"{name}.jpg", head=head), uri=f"https://{name}.example/") for name, head in heads.items()]
    made.append(html(page("header.jpg"), header, uri="https://header.example/"))
    work = ingested({"a.warc": b"".join(made)})
    file, inside = "licence file of https://%s.example/", "RSL of https://%s.example/"
    assert signals(work, "kind", "verdict", "scope", "source") == [
        (f"{name}.jpg", "rsl", verdict, "page", source % name)
        for name, verdict, source in (
            ("broken", "hold", inside), ("header", "hold", file), ("inside", "deny", inside), ("itself", "hold", inside),
            ("link", "hold", file), ("twice", "hold", file), ("yes", "allow", inside),
        )
    ]  # fmt: skip
    (value,) = (row["value"] for row in work.store.read("signal").to_pylist() if "twice" in row["source"])
    assert value == "https://twice.example/terms.xml https://b.example/other.rsl; was not asked for"
    assert kept(work, "strict") == ["elsewhere.jpg", "next.jpg", "yes.jpg"]
    assert kept(work, "licensed-only") == []


def test_rsl_that_a_wat_record_names_is_held(ingested):
    links = [picture("1.jpg"), {"path": "LINK@/href", "url": "/terms.xml", "rel": "license", "type": RSL}]
    work = ingested(
        {"a.wat": wat(links) + wat([picture("2.jpg")], headers={"link": f'</t>; rel=license; type="{RSL}"'})}
    )
    assert [row[:3] for row in signals(work, "kind", "verdict")] == [("1.jpg", "rsl", "hold"), ("2.jpg", "rsl", "hold")]
    assert kept(work, "strict") == []


def test_a_pair_that_several_pages_show_has_the_evidence_of_all(ingested):
    shown = page("https://i.example/1.jpg")
    closed = shown.replace("<title>", f"{NOAI}<title>")
    lists = b"url,text\nhttps://i.example/1.jpg,words about https://i.example/1.jpg are here\n"
    one, two, again = (
        html(body, uri=f"https://{n}.example/") for n, body in zip("aba", (shown, closed, closed), strict=True)
    )
    work = ingested({"a.csv": lists, "b.warc.gz": packed(one, two, again)})
    assert rows(work, "pair", "source") == [("a",)]
    assert Counter(row[0] for row in rows(work, "rejected", "reason")) == {"duplicate_row": 3}
    assert signals(work, "source") == [("1.jpg", f"meta robots of https://{n}.example/") for n in "ab"]


def test_of_a_page_that_changed_its_mind_the_strictest_counts(ingested):
    once, later = (html(page("1.jpg"), f"tdm-reservation: {value}") for value in "10")
    work = ingested({"a.warc.gz": packed(once, later)})
    assert signals(work, "kind", "verdict") == [("1.jpg", "tdmrep", "deny")]


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("damage", ["cut", "long", "short", "negative", "huge", "words", "junk", "none", "flipped"])
def test_a_damaged_record_costs_itself(tmp_path, damage, gz):
    good = [html(page(f"{n}.jpg")) for n in range(4)]
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page("lost.jpg").encode()
    bad = {
        "long": record("response", block, length=len(block) + 700),
        "short": record("response", block, length=60),
        "negative": record("response", block, length=-5),
        "huge": record("response", block, length=2**70),
        "words": record("response", block, length="many"),
        "junk": b"no record at all\r\n" * 20,
        "none": record("response", block).replace(b"Content-Length", b"Content-Breadth"),
    }.get(damage, record("response", block))
    parts = [gzip.compress(one, mtime=0) if gz else one for one in (good[0], bad, *good[1:])]
    if damage == "cut":
        parts[1] = parts[1][:-60]
    if damage == "flipped":
        parts[1] = parts[1][:30] + bytes(20) + parts[1][50:]
    found, counts = read(tmp_path, b"".join(parts), f"a.warc{'.gz' if gz else ''}")
    if damage == "short":  # what its length says is read, and has no picture
        assert [url for url in found if "lost" not in url] == [f"{n}.jpg" for n in range(4)]
    else:
        assert found == [f"{n}.jpg" for n in range(4)]
    assert counts == {"damaged_record": 1}


def read(folder, data, name):
    """Names of the pictures of an archive, and its rejected rows by reason."""
    (folder / name).write_bytes(data)
    kind = name.removesuffix(".gz").rpartition(".")[2]
    raw = [
        row for batch, _ in _archives.read(SourceFile("a", str(folder / name), kind, "")) for row in batch.to_pylist()
    ]
    assert [row["source_row"] for row in raw] == list(range(len(raw)))
    good = [row["url"].decode().rpartition("/")[2] for row in raw if row["reason"] is None]
    return good, Counter(row["reason"] for row in raw if row["reason"])


def test_a_file_that_ends_within_a_record_says_so_wherever_it_ends(tmp_path):
    """But for the first three bytes of a member, which could be of anything, and its checksum, which follows the record."""
    whole, last = packed(INFO, html(page("1.jpg"))), packed(html(page("2.jpg")))
    for size in (4, 10, 11, 20, 60, 100, len(last) // 2, len(last) - 40):
        assert read(tmp_path, whole + last[:size], "a.warc.gz") == (["1.jpg"], {"damaged_record": 1}), size
    assert read(tmp_path, whole + last + gzip.compress(b""), "a.warc.gz") == (["1.jpg", "2.jpg"], {})
    assert read(tmp_path, whole + last[:30] + last, "a.warc.gz") == (["1.jpg", "2.jpg"], {"damaged_record": 1})


def test_a_file_that_ends_too_early_gives_what_is_whole(tmp_path):
    data = packed(*(html(page(f"{n}.jpg")) for n in range(3)))
    assert read(tmp_path, data[:-30], "a.warc.gz") == (["0.jpg", "1.jpg"], {"damaged_record": 1})


def test_a_member_without_a_record_ends_nothing(tmp_path):
    data = packed(html(page("0.jpg")), b"", html(page("1.jpg")), b"")
    assert read(tmp_path, data, "a.warc.gz") == (["0.jpg", "1.jpg"], {})


def test_records_of_other_types_are_passed_over_once(tmp_path, monkeypatch):
    asked = record("request", b"GET / HTTP/1.1\r\n\r\n")
    found, begun = _warc._whole, []
    monkeypatch.setattr(_warc, "_whole", lambda file, run, *more: begun.append(run.place) or found(file, run, *more))
    assert read(tmp_path, packed(html(page("1.jpg")), *[asked] * 500), "a.warc.gz") == (["1.jpg"], {})
    assert len(begun) <= 2


def test_records_that_are_no_pages_are_counted_by_reason(tmp_path):
    jpeg = html(b"\xff\xd8\xff", media="image/jpeg")
    missing = html(page("x.jpg"), status="404 Not Found")
    plain = record("response", b"<html><img src=x.jpg alt=words>")
    elsewhere = html(page("x.jpg"), uri="dns:a.example")
    request = record("request", b"GET / HTTP/1.1\r\n\r\n")
    untyped = record("response", b"HTTP/1.1 200 OK\r\n\r\n" + page("ok.jpg").encode())
    found = read(tmp_path, packed(INFO, request, jpeg, missing, plain, elsewhere, untyped), "a.warc.gz")
    assert found == (["ok.jpg"], {"not_html": 1, "http_status": 1, "no_http": 1, "bad_page_url": 1})


def test_a_wat_record_that_is_no_json(tmp_path):
    deep = record("metadata", b'{"IMG@":' + b"[" * 200_000)
    digits = record("metadata", b'{"IMG@":' + b"9" * 10_000 + b"}")  # JSON, and no page
    other = record("metadata", b'{"Envelope": ["IMG@/src"], "Container": null}')
    found = read(
        tmp_path, packed(deep, record("metadata", b"IMG@/src {"), digits, other, wat([picture("1.jpg")])), "a.wat.gz"
    )
    assert found == (["1.jpg"], {"damaged_record": 2})


def test_a_page_of_100_mb_is_read_up_to_its_bound(tmp_path):
    body = page("1.jpg").encode() + b"<p>words" * 13_000_000
    found = read(tmp_path, packed(html(body), html(page("2.jpg"))), "a.warc.gz")
    assert found == (["1.jpg", "2.jpg"], {"page_cut": 1})


def test_a_body_that_unpacks_to_very_much_is_read_up_to_its_bound(tmp_path):
    body = gzip.compress(page("1.jpg").encode() + b" " * 300_000_000, 1)
    assert read(tmp_path, packed(html(body, "Content-Encoding: gzip")), "a.warc.gz") == (["1.jpg"], {"page_cut": 1})


def test_more_pictures_than_a_page_can_have(tmp_path):
    many = page(*(f"{n}.jpg" for n in range(10_001)))
    links = [picture(f"{n}.jpg") for n in range(10_001)]
    for data, name in ((html(many), "a.warc"), (wat(links), "a.wat")):
        found, counts = read(tmp_path, data, name)
        assert (len(found), counts) == (10_000, {"page_cut": 1})


LONG = "x" * 400_000


@pytest.mark.parametrize("where", ["title", "language", "base", "caption", "creator", "licence"])
@pytest.mark.parametrize("kind", ["warc", "wat"])
def test_what_a_page_states_once_does_not_fill_memory_for_each_of_its_pictures(tmp_path, kind, where):
    given = {
        name: LONG if name == where else "" for name in ("title", "language", "base", "caption", "creator", "licence")
    }
    if kind == "wat":
        metas = [{"name": "html@/lang", "content": given["language"]}]
        data = wat([picture("1.jpg", "")] * 10_000, metas, title=given["title"], base=given["base"])
    else:
        about = {"@type": "ImageObject", "contentUrl": f"{URI}1.jpg", "caption": given["caption"], "name": "a"}
        about |= {"creator": {"name": given["creator"]}, "license": f"https://l.example/{given['licence']}"}
        head = f"<title>{given['title']}</title><base href='{given['base']}'>"
        data = html(
            f"<html lang='{given['language']}'>{head}<script type=application/ld+json>{json.dumps(about)}</script>"
            + "<img src=1.jpg>" * 10_000
        )
    (tmp_path / f"a.{kind}").write_bytes(data)
    batches = [batch for batch, _ in _archives.read(SourceFile("a", str(tmp_path / f"a.{kind}"), kind, ""))]
    assert sum(batch.num_rows for batch in batches) == 10_000
    assert sum(batch.nbytes for batch in batches) < 200_000_000


@pytest.mark.parametrize("kind", ["warc", "wat"])
def test_a_page_with_a_very_long_url_is_set_aside(tmp_path, kind):
    uri = URI + "x" * 9_000
    data = html(page("1.jpg"), uri=uri) if kind == "warc" else wat([picture("1.jpg")], uri=uri)
    assert read(tmp_path, data, f"a.{kind}") == ([], {"bad_page_url": 1})


@pytest.mark.parametrize("limit", ["_BATCH_ROWS", "_BATCH_BYTES"])
def test_small_batches_give_the_same_rows(tmp_path, monkeypatch, limit):
    data = packed(*(wat([picture(f"{n}-{k}.jpg") for k in range(3)]) for n in range(5)))
    whole = read(tmp_path, data, "a.wat.gz")
    monkeypatch.setattr(_wat_rows, limit, 4)
    assert read(tmp_path, data, "b.wat.gz") == whole
    assert len(whole[0]) == 15


CHARSETS = {
    "header": ("text/html; charset=Shift_JIS", "<img src=1 alt='日本語の絵画'>".encode("shift_jis")),
    "meta": ("text/html", "<meta charset=windows-1251><img src=1 alt='лодки на озере'>".encode("cp1251")),
    "none": ("text/html", "<img src=1 alt='bateaux à la rivière'>".encode("latin-1")),
    "utf-8": ("text/html", "<img src=1 alt='bateaux à la rivière'>".encode()),
    "mark": ("text/html; charset=latin1", b"\xff\xfe" + "<img src=1 alt='лодки на озере'>".encode("utf-16-le")),
    "unknown": ("text/html; charset=klingon", "<img src=1 alt='bateaux à la rivière'>".encode()),
    "wrong": ("text/html; charset=utf-8", b"<img src=1 alt='caf\xe9 au lait'>"),
}


def test_the_charset_is_found_as_the_web_finds_it(tmp_path):
    made = [html(body, media=media) for media, body in CHARSETS.values()]
    (tmp_path / "a.warc").write_bytes(b"".join(made))
    ((batch, _),) = _archives.read(SourceFile("a", str(tmp_path / "a.warc"), "warc", ""))
    french, russian = "bateaux à la rivière", "лодки на озере"
    assert [caption.decode() for caption in batch.column("caption").to_pylist()] == [
        "日本語の絵画", russian, french, french, russian, french, "caf\ufffd au lait",
    ]  # fmt: skip


CODED = {
    "gzip": (gzip.compress(page("1.jpg").encode()), "Content-Encoding: gzip"),
    "already unpacked": (page("1.jpg").encode(), "Content-Encoding: gzip"),
    "chunked": (b"5\r\n<html\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(page("1.jpg")) - 5, page("1.jpg").encode()[5:]), "Transfer-Encoding: chunked"),
    "not chunked": (page("1.jpg").encode(), "Transfer-Encoding: chunked"),
    "folded": (page("1.jpg").encode(), "X-Long: a\r\n b\r\nno colon"),
}  # fmt: skip


@pytest.mark.parametrize("case", CODED)
def test_bodies_are_unpacked(tmp_path, case):
    body, header = CODED[case]
    assert read(tmp_path, packed(html(body, header)), "a.warc.gz") == (["1.jpg"], {})


CUT = {
    "gzip that ends early": (gzip.compress(page("1.jpg").encode() + b"x" * 9_000)[:-20], "Content-Encoding: gzip"),
    "gzip that begins and is damaged": (b"\x1f\x8b\x08\0" + b"\xff" * 90, "Content-Encoding: gzip"),
    "two members": (gzip.compress(page("1.jpg").encode()) + gzip.compress(NOAI.encode()), "Content-Encoding: gzip"),
    "no last chunk": (b"%x\r\n%b\r\n" % (len(page("1.jpg")), page("1.jpg").encode()), "Transfer-Encoding: chunked"),
    "long": (page("1.jpg").encode() + b" " * (4 << 20) + NOAI.encode(), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CUT)
def test_what_the_rest_of_a_cut_page_says_is_not_taken_for_silence(make_duckdb_work, tmp_path, case):
    body, header = CUT[case]
    work = run_ingest(make_duckdb_work, tmp_path, {"a.warc.gz": packed(html(body, header))})
    shown = [] if "damaged" in case else [("1.jpg", "html_meta", "hold")]
    assert signals(work, "kind", "verdict") == shown
    assert rows(work, "rejected", "reason") == [("page_cut",)]


@pytest.mark.parametrize("kind", ["wat", "warc"])
def test_a_page_that_its_archive_calls_cut_is_held(make_duckdb_work, tmp_path, kind):
    made = wat([picture("1.jpg")]) if kind == "wat" else html(page("1.jpg"))
    old, new = (
        (b'"WARC-Date"', b'"WARC-Truncated":"length","WARC-Date"'),
        (b"WARC-Date:", b"WARC-Truncated: length\r\nWARC-Date:"),
    )
    made = made.replace(*(old if kind == "wat" else new))
    if kind == "wat":
        size = len(made.partition(b"\r\n\r\n")[2]) - 4
        made = record("metadata", made.partition(b"\r\n\r\n")[2][:size])
    work = run_ingest(make_duckdb_work, tmp_path, {f"a.{kind}.gz": packed(made)})
    assert signals(work, "kind", "verdict") == [("1.jpg", "html_meta", "hold")]
    assert rows(work, "rejected", "reason") == [("page_cut",)]


@pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "500 Error"])
@pytest.mark.parametrize("kind", ["wat", "warc"])
def test_pages_that_are_no_answers_are_rows_with_a_reason(make_duckdb_work, tmp_path, kind, status):
    if kind == "wat":
        content = wat([picture("1.jpg")]).partition(b"\r\n\r\n")[2][:-4]
        made = record("metadata", content.replace(b'"Status":"200"', b'"Status":"%b"' % status[:3].encode()))
    else:
        made = html(page("1.jpg"), status=status)
    work = run_ingest(make_duckdb_work, tmp_path, {f"a.{kind}.gz": packed(made)})
    assert (rows(work, "pair", "url"), rows(work, "rejected", "reason")) == ([], [("http_status",)])


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "yesterday"])
def test_a_date_out_of_all_years_is_none(make_duckdb_work, tmp_path, date):
    made = record(
        "response", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page("1.jpg", head=NOAI).encode(), date=date
    )
    work = run_ingest(make_duckdb_work, tmp_path, {"a.warc.gz": packed(made)})
    assert signals(work, "kind", "verdict") == [("1.jpg", "html_meta", "deny")]


@pytest.mark.parametrize(("kind", "other"), [("wat", "warc"), ("warc", "wat")])
def test_an_archive_of_the_other_format_is_refused(tmp_path, kind, other):
    made = {"wat": packed(INFO, wat([picture("1.jpg")])), "warc": packed(INFO, html(page("1.jpg")))}[kind]
    (tmp_path / "a.gz").write_bytes(made)
    config = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "a.gz", "format": other}]}
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    result = CliRunner().invoke(main, ["-q", "run", str(tmp_path / "job.yaml"), "--until", "ingest"])
    assert (result.exit_code, f"looks like a {kind.upper()} file" in result.stderr) == (2, True), result.output


NO_ARCHIVES = {
    "a.warc": b"hello\n" * 100,
    "a.warc.gz": gzip.compress(b"hello\n" * 100),
    "a.wat.gz": b"\x1f\x8b\x08\0" * 9_000,
}


@pytest.mark.parametrize("name", NO_ARCHIVES)
def test_a_file_that_is_no_archive_is_refused_and_nothing_is_written(tmp_path, name):
    (tmp_path / name).write_bytes(NO_ARCHIVES[name])
    (tmp_path / "list.csv").write_bytes(b"url,text\nhttps://a.example/1.jpg,w\n")
    config = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}, {"path": name}]}
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    result = CliRunner().invoke(main, ["-q", "run", str(tmp_path / "job.yaml"), "--until", "ingest"])
    assert (result.exit_code, "holds no WARC record" in result.stderr) == (2, True), result.output
    assert [file.name for file in (tmp_path / "work").rglob("*") if file.is_file()] in ([], [".lock"])


def test_archives_that_a_killed_run_has_read_are_not_read_again(make_duckdb_work, tmp_path, monkeypatch):
    files = {f"{name}.warc.gz": packed(html(page(f"{name}.jpg", head=NOAI))) for name in "abc"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ingest, "write", stopped)
        run_ingest(make_duckdb_work, tmp_path, files, workers=1)
    work = make_duckdb_work({"sources": [{"path": "*.warc.gz"}], "workers": 1})
    again = Store(str(tmp_path / "0/work"))
    job = from_mapping(
        {"work_dir": "work", "release_dir": "release", "sources": [{"path": "*.warc.gz"}]}, tmp_path / "0"
    )
    read_again, read_one = [], ingest.read
    monkeypatch.setattr(ingest, "read", lambda task: read_again.append(task.file.source) or read_one(task))
    work.job, work.__dict__["store"] = job, again
    ingest.run(work)
    assert (read_again, again.read("pair").num_rows, again.read("signal").num_rows) == ([], 3, 3)


def stopped(task):
    raise KeyboardInterrupt


@pytest.mark.parametrize("compute", ["local", "dask"])
def test_one_archive_is_one_task_wherever_it_runs(make_duckdb_work, tmp_path, compute):
    files = {
        f"{name}.wat.gz": packed(wat([picture(f"{name}.jpg")], [{"name": "robots", "content": "noai"}]))
        for name in "ab"
    }
    work = run_ingest(make_duckdb_work, tmp_path, files, compute=compute, workers=2)
    assert rows(work, "pair", "source", "source_row") == [("a", 0), ("b", 0)]
    assert signals(work, "kind") == [("a.jpg", "html_meta"), ("b.jpg", "html_meta")]


# Words that pages are made of, none of which grants anything.
WORDS = st.sampled_from([
    b"<img src=a.jpg alt='some words'>", NOAI.encode(), b"<meta name=tdm-reservation content=", b"<!--", b"-->", b"'",
    b'"', b"<script type=application/ld+json>", b"</script>", b'{"@type":"ImageObject","contentUrl":"a.jpg"', b"[", b"}",
    b"<base href=", b"\xff\xfe", b"\x00", b"<title>", b"srcset=", b", ", b"\\", b"<template>", b"IMG@/src", b"\r\n\r\n",
])  # fmt: skip
GARBAGE = st.lists(st.one_of(WORDS, st.binary(max_size=20)), max_size=30).map(b"".join)


@given(GARBAGE, GARBAGE, st.booleans())
def test_no_bytes_raise_and_none_permit(tmp_path_factory, before, body, gz):
    """Whatever stands where a page, an envelope, a header or a record should, the next page is still read."""
    head = before.replace(b"\r\n\r\n", b"")
    after = html(page("after.jpg", head=NOAI))
    first = record("response", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + head + b"\r\n\r\n" + body)
    envelope = record("metadata", b'{"Envelope": "IMG@' + body)
    folder = tmp_path_factory.mktemp("garbage")
    for name, bad, good in (
        ("a.warc", first, after),
        ("a.warc", body, after),
        ("a.wat", envelope, wat([picture("after.jpg")])),
    ):
        parts = [gzip.compress(one, mtime=0) for one in (bad, good)] if gz else [bad, good]
        (folder / name).write_bytes(b"".join(parts))
        found = list(_archives.read(SourceFile("a", str(folder / name), name[2:], "")))
        urls = [row["url"] for batch, _ in found for row in batch.to_pylist()]
        said = [row for _, batch in found for row in batch.to_pylist()]
        assert b"https://a.example/p/after.jpg" in urls
        assert "allow" not in {row["verdict"] for row in said}
        assert name == "a.wat" or any(row["kind"] == "html_meta" for row in said)


# A page of three pictures, packed with Brotli 1.2.
BROTLI = base64.b64decode(
    "G/oAYI3EOEbyl1ET6eRIWyD9B4swi1p7lvmAuMG5DqdUQPvkPw04GA95sVKX93CCskktQZDuGxEkOlAJEVT6fqr7BRpb4P+hki+hsViWBoAuArIaFg8="
)


def test_a_body_that_cannot_be_unpacked_is_a_row_with_a_reason(ingested):
    chunked = b"%x\r\n" % len(BROTLI) + BROTLI + b"\r\n0\r\n\r\n"
    twice = gzip.compress(gzip.compress(page("/2.jpg").encode()))
    made = [
        html(BROTLI, "Content-Encoding: br"),
        html(chunked, "Content-Encoding: BR", "Transfer-Encoding: chunked"),
        html(b"\x28\xb5\x2f\xfd\x04\x00" + bytes(20), "Content-Encoding: zstd"),
        html(twice, "Content-Encoding: gzip, gzip"),
        # Stored unpacked, with the header as it came.
        html(page("/kept.jpg"), "Content-Encoding: br"),
        html(page("/kept-too.jpg").encode("utf-16"), "Content-Encoding: br"),
    ]
    work = ingested({"a.warc.gz": packed(*made)})
    assert rows(work, "rejected", "reason") == [("packed_body",)] * 4
    assert [url.rpartition("/")[2] for (url,) in rows(work, "pair", "url")] == ["kept.jpg", "kept-too.jpg"]
