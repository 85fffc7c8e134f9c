"""The bundled sample web: what it holds, what its hosts answer, and that ``truth.csv`` tells the truth."""

from __future__ import annotations

import configparser
import csv
import functools
import hashlib
import http.client
import io
import json
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import imagehash
import iscc_lib
import numpy as np
import pdqhash
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fairshard.examples.sample_web import FOLDER, bodies, hosts
from fairshard.examples.sample_web.server import SampleWeb
from fairshard.examples.sample_web.variant import Variant, encoded
from fairshard.pipelines._raw import SourceFile
from fairshard.pipelines._sources import read
from fairshard.schemas import config
from fairshard.udfs.signals import (
    Response,
    c2pa_manifest,
    creators,
    image_blocks,
    robots_txt,
    tdmrep,
    url_registry,
    watermark,
    x_robots_tag,
    xmp,
)
from fairshard.udfs.urls import canonical_href, canonical_key

ABSENT = ("nowhere.example", "secure.nowhere.example", "127.0.0.1", "169.254.169.254", "[::1]", "127.0.0.2")
OPT_OUT_STAGES = ("consult", "screen")
NO = ("deny", "cond", "hold")
ARCHIVE = SourceFile("pages", str(FOLDER / "pages.warc.gz"), "warc", "")


def table(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        return list(csv.DictReader(lines))


def shipped() -> list[Path]:
    return [file for file in FOLDER.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def keys(name: str) -> list[str]:
    """The lines of a text registry without its title."""
    return (FOLDER / "registries" / name).read_text(encoding="utf-8").splitlines()[1:]


@pytest.fixture(scope="module")
def web():
    with SampleWeb() as running:
        yield running


@pytest.fixture(scope="module")
def lists() -> dict[str, list[dict]]:
    more = [{"URL": row["url"], "TEXT": row["caption"], "CREATOR": row["creator"] or None} for row in table("more.csv")]
    return {"pairs": pq.read_table(FOLDER / "pairs.parquet").to_pylist(), "more": more, "pages": archived()}


def archived() -> list[dict]:
    """The rows of the archive under the names of the list."""
    rows = [row for batch, _ in read(ARCHIVE) for row in batch.to_pylist()]
    text = {"URL": "url", "TEXT": "caption", "CREATOR": "creator"}
    return [{name: row[key] and row[key].decode() for name, key in text.items()} for row in rows]


@pytest.fixture(scope="module")
def truth() -> list[dict[str, str]]:
    return table("truth.csv")


@pytest.fixture(scope="module")
def hosts_known() -> dict[str, hosts.Host]:
    return hosts.load(FOLDER / "web.yaml")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Asked:
    """One response through the proxy, redirects not followed."""

    def __init__(self, web: SampleWeb, url: str, timeout_s: float = 20, body: str | None = None) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": web.proxy_url}), _Stay)
        try:
            answer = opener.open(canonical_href(url) or url, body and body.encode(), timeout=timeout_s)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    def as_response(self, url: str) -> Response:
        return Response(url, self.status, tuple(self.headers.items()))


def fingerprint(body: bytes) -> tuple[np.ndarray, np.ndarray, int]:
    image = Image.open(io.BytesIO(body))
    pdq, quality = pdqhash.compute(np.asarray(image.convert("RGB")))
    return imagehash.phash(image).hash.flatten(), np.asarray(pdq, bool), quality


# --- what it holds ---


def test_is_small_and_has_enough():
    assert sum(file.stat().st_size for file in shipped()) < 5_500_000
    assert len(table("pictures.csv")) >= 320
    assert pq.read_metadata(FOLDER / "pairs.parquet").num_rows >= 700
    assert len(table("more.csv")) >= 100
    assert (FOLDER / "pages.warc.gz").stat().st_size < 150_000


def test_every_file_of_the_folder_is_package_data():
    settings = configparser.ConfigParser()
    settings.read(FOLDER.parent.parent / "setup.cfg")
    patterns = settings["options.package_data"]["fairshard.examples.sample_web"].replace(" ", "").split(",")
    files = [file.relative_to(FOLDER) for file in shipped() if file.suffix != ".py"]
    assert [file for file in files if not any(file.match(pattern) for pattern in patterns)] == []


def test_plays_at_least_25_hosts_under_example(hosts_known):
    assert len(hosts_known) >= 25
    assert all(name.endswith(".example") for name in hosts_known)


def test_pictures_are_described_and_in_the_public_domain():
    rows = table("pictures.csv")
    assert all(row["title"] and row["creator"] and row["keywords"] for row in rows)
    assert {row["licence"] for row in rows} == {"public domain"}
    assert sorted(row["file"] for row in rows) == sorted(file.name for file in (FOLDER / "pictures").iterdir())


def test_no_two_pictures_look_alike():
    files = sorted([*(FOLDER / "pictures").iterdir(), *(FOLDER / "paintings").iterdir()])
    marks = [fingerprint(file.read_bytes()) for file in files]
    assert min(mark[2] for mark in marks) >= 50
    for place, least in ((0, 10), (1, 60)):
        bits = np.array([mark[place] for mark in marks], np.int32)
        apart = bits @ (1 - bits.T) + (1 - bits) @ bits.T
        np.fill_diagonal(apart, 999)
        assert apart.min() > least, [files[index] for index in np.unravel_index(apart.argmin(), apart.shape)]


def test_captions_speak_at_least_five_languages(lists):
    language = {row["translation"]: row["language"] for row in table("captions.csv") if row["translation"]}
    spoken = Counter(language.get(row["TEXT"]) for rows in lists.values() for row in rows)
    assert sum(count >= 10 for name, count in spoken.items() if name) >= 5


def test_the_config_loads_and_names_files_that_are_there():
    job = config.load(FOLDER / "config.yaml")
    assert job.policy.name == "strict"
    paths = [item.path for item in (*job.config.sources, *job.config.registries)]
    assert all((FOLDER / path).is_file() for path in paths)
    listed = {Path(path).name for path in paths if "/" in path}
    assert listed | {"do-not-train.csv"} == {file.name for file in (FOLDER / "registries").iterdir()}


# --- opt-outs are invented ---


def test_no_real_creator_has_opted_out(lists, truth):
    real = {row["creator"].casefold() for row in table("pictures.csv")}
    gone = {(row["source"], int(row["source_row"])) for row in truth if row["stage"] in OPT_OUT_STAGES}
    assert len(gone) >= 130
    named = {(lists[source][place]["CREATOR"] or "").casefold() for source, place in gone}
    assert named & real == set()
    declared = {row["creator"].strip().casefold() for row in table("registries/creators.csv")}
    declared |= {row["declared_by"].strip().casefold() for row in table("registries/urls.csv")}
    assert declared & real == set()


def test_no_real_picture_is_opted_out(truth):
    real = {Path(row["file"]).stem for row in table("pictures.csv")}
    gone = [row["url"] for row in truth if row["stage"] in OPT_OUT_STAGES]
    assert [url for url in gone if Path(urlsplit(url).path).stem in real] == []


# --- truth.csv agrees with the lists, the hosts and the registries ---


def test_truth_points_at_the_rows_it_tells_of(lists, truth):
    found = [lists[row["source"]][int(row["source_row"])]["URL"] or "" for row in truth]
    assert [url.strip() for url in found] == [row["url"] for row in truth]


def test_every_host_of_the_lists_is_played_or_known_to_be_absent(lists, truth, hosts_known):
    rejected = {(row["source"], int(row["source_row"])) for row in truth if row["fate"] == "rejected"}
    hrefs = [
        canonical_href(row["URL"])
        for source, rows in lists.items()
        for place, row in enumerate(rows)
        if (source, place) not in rejected
    ]
    names = {urlsplit(href or "").netloc.partition(":8080")[0] for href in hrefs}
    assert names - hosts_known.keys() == set(ABSENT)


def test_ordinary_rows_are_there_for_everybody(web, lists, truth):
    planted = {(row["source"], int(row["source_row"])) for row in truth}
    ordinary = [
        row["URL"] for source, rows in lists.items() for place, row in enumerate(rows) if (source, place) not in planted
    ]
    assert len(ordinary) >= 300
    for url in ordinary:
        asked = Asked(web, url)
        if asked.status == 301:
            asked = Asked(web, asked.headers["Location"])
        assert (asked.status, asked.headers["X-Robots-Tag"]) == (200, None), url


def test_robots_txt_says_what_truth_says(web, truth):
    expected = {"robots_txt": "deny", "robots_txt_hold": "hold"}
    rows = [row for row in truth if row["kind"] in expected]
    assert len(rows) >= 40
    for row in rows:
        verdict = robots_verdict(web, row["url"])
        assert verdict == expected[row["kind"]] if row["fate"] == "dropped" else verdict in ("none", "allow"), row


def test_the_endpoint_says_what_truth_says_in_its_own_spelling(web, truth):
    rows = [row for row in truth if row["kind"] in ("endpoint", "endpoint_hold", "opt_in")]
    asked = sorted([*(row["url"] for row in rows), "http://photos.meadow.example/pictures/a.jpg"], reverse=True)
    endpoint = config.load(FOLDER / "config.yaml").config.endpoints[0].url
    body = Asked(web, endpoint, body="\n".join(asked)).body
    assert all(spelling in body for spelling in (b"//www.", b"HTTPS://Heather", b"%7E", b"https://photos"))
    named = [canonical_key(row["url"]) for row in json.loads(body)["urls"]]
    assert named == sorted(named, key=str)
    expected = {"endpoint": "deny", "endpoint_hold": "hold", "opt_in": "allow"}
    said = dict(zip(asked, (found.verdict for found in url_registry.answers(body, asked)), strict=True))
    assert said == {**{row["url"]: expected[row["kind"]] for row in rows}, asked[0]: "none"}


def robots_verdict(web: SampleWeb, url: str) -> str:
    try:
        asked = Asked(web, f"http://{urlsplit(url).netloc}/robots.txt")
    except (OSError, http.client.HTTPException):
        return robots_txt.from_response(0).verdict(url, "fairshard", "any").verdict
    if asked.status == 301:
        asked = Asked(web, asked.headers["Location"])
    return robots_txt.from_response(asked.status, asked.body).verdict(url, "fairshard", "any").verdict


def test_reservations_say_what_truth_says(web, truth):
    for row in truth:
        if row["kind"] not in ("tdmrep", "tdmrep_cond", "registry_allow"):
            continue
        origin = f"http://{urlsplit(row['url']).netloc}"
        file = Asked(web, f"{origin}/.well-known/tdmrep.json")
        asked = Asked(web, row["url"])
        layers = [tdmrep.parse(file.body if file.status == 200 else None, origin).layer(row["url"])]
        layers.append(tdmrep.header_layer([asked.as_response(row["url"])]))
        expected = "cond" if row["kind"] == "tdmrep_cond" else "deny"
        trap = row["fate"] == "released" and row["kind"] != "registry_allow"
        assert tdmrep.verdict(layers).verdict == ("allow" if trap else expected), row


def test_headers_say_what_truth_says(web, truth):
    for row in truth:
        if row["kind"] != "x_robots_tag":
            continue
        found = x_robots_tag.verdict([Asked(web, row["url"]).as_response(row["url"])], "fairshard").verdict
        assert found == ("none" if row["fate"] == "released" else "deny"), row


def test_files_say_what_truth_says(web, truth):
    rows = [row for row in truth if row["url"].startswith("http://files.olive.example/")]
    assert {row["kind"] for row in rows} == {"xmp", "free_text", "synthetic", "c2pa", "c2pa_hold", "file_creator"}
    for row in rows:
        assert bool(stated_in(Asked(web, row["url"]).body)) == (row["fate"] == "dropped"), row
        assert stated_in(Asked(web, row["url"]).body) <= {row["kind"]}, row


def stated_in(body: bytes) -> set[str]:
    """What speaks against the use of a file, by the strict policy, in the words of ``truth.csv``."""
    blocks, rgb = image_blocks.read(body), np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    xmp_said, c2pa_said = xmp.verdict(blocks, "genai"), c2pa_manifest.verdict(body, blocks, "genai")
    opted_out = {row["creator"].strip().casefold() for row in table("registries/creators.csv") if in_force(row)}
    found = {
        "xmp": xmp_said.verdict not in ("none", "allow"),
        "free_text": xmp.FREE_TEXT in xmp_said.tags,
        "synthetic": "synthetic" in (*xmp_said.tags, *watermark.verdict(rgb).tags),
        "c2pa": c2pa_said.verdict == "deny",
        "c2pa_hold": c2pa_said.verdict == "hold",
        "file_creator": bool({name.casefold() for name in creators.creators(blocks)} & opted_out),
    }
    return {kind for kind, hit in found.items() if hit}


def in_force(row: dict[str, str]) -> bool:
    return not row["withdrawn_at"] and row["valid_from"] < "2100"


def test_pages_say_what_truth_says(truth):
    rows = [row for row in truth if row["source"] == "pages" and row["kind"].startswith(("html_meta", "page_"))]
    assert Counter(row["fate"] for row in rows) == {"dropped": 14, "released": 9}
    said = [line for _, about in read(ARCHIVE) for line in (about.to_pylist() if about else ())]
    refused = {line["source_row"]: line["kind"] for line in said if line["kind"] != "licence" and line["verdict"] in NO}
    kinds = {int(row["source_row"]): row["kind"].removeprefix("page_") for row in rows if row["fate"] == "dropped"}
    (shown_again,) = (int(row["source_row"]) for row in truth if row["note"] == "on another page")
    (shown_first,) = (int(row["source_row"]) for row in rows if row["note"] == "another page with it is closed")
    kinds[shown_again] = kinds.pop(shown_first)
    assert refused == {place: kind.removesuffix("_cond") for place, kind in kinds.items()}
    licensed = {line["source_row"]: (line["verdict"], line["scope"]) for line in said if line["kind"] == "licence"}
    traps = [int(row["source_row"]) for row in rows if row["kind"] == "page_licence"]
    assert [licensed[place] for place in traps] == [("allow", "image"), ("cond", "image"), ("allow", "page")]


def test_captions_name_whom_truth_says(lists, truth):
    rows = [row for row in truth if row["kind"] == "caption_name"]
    opted_out = [row["creator"].strip().casefold() for row in table("registries/creators.csv") if in_force(row)]
    assert {row["fate"] for row in rows} == {"dropped", "released"}
    for row in rows:
        caption = lists[row["source"]][int(row["source_row"])]["TEXT"].casefold()
        assert any(name in caption for name in opted_out) == (row["fate"] == "dropped"), row


def test_hash_lists_hit_what_truth_says_and_nothing_else(web, truth):
    stages = ("emit", "dedup", "balance", "screen")
    asked = {row["url"] for row in truth if row["stage"] in stages and row["kind"] != "retry"}
    hits: dict[str, set[str]] = {kind: set() for kind in ("hash_md5", "hash_sha256", "hash_phash", "hash_pdq", "iscc")}
    for url in asked:
        body = Asked(web, url).body  # empty where a header on a redirect is the opt-out
        for kind in listed_in(body):
            hits[kind].add(url)
    for kind, found in hits.items():
        assert found == {row["url"] for row in truth if row["kind"] == kind and row["fate"] == "dropped"}


def listed_in(body: bytes) -> list[str]:
    """The lists that a picture is on, by the radii of the strict policy; PDQ in all eight positions."""
    if not body:
        return []
    sha256 = {row["sha256"].lower() for row in table("registries/sha256.csv")}
    phash, _, quality = fingerprint(body)
    turned, _ = pdqhash.compute_dihedral(np.asarray(Image.open(io.BytesIO(body)).convert("RGB")))
    near = [(np.asarray(bits, bool) != key).sum() <= 31 for bits in turned for key in pdq_keys()]
    found = {
        "hash_md5": hashlib.md5(body, usedforsecurity=False).hexdigest() in keys("md5.txt"),
        "hash_sha256": hashlib.sha256(body).hexdigest() in sha256,
        "hash_phash": any((phash != imagehash.hex_to_hash(key).hash.flatten()).sum() <= 6 for key in keys("phash.txt")),
        "hash_pdq": quality >= 50 and any(near),
        "iscc": any(unit in declared_units() for unit in isccs(body)),
    }
    return [kind for kind, hit in found.items() if hit]


def isccs(body: bytes) -> tuple[str, str]:
    """How it looks and which file it is; these pictures have no border, which would have to go first."""
    grey = Image.open(io.BytesIO(body)).convert("L").resize((32, 32), Image.Resampling.BICUBIC)
    codes = iscc_lib.gen_image_code_v0(grey.tobytes(), 64), iscc_lib.gen_instance_code_v0(body, 64)
    return codes[0]["iscc"].removeprefix("ISCC:"), codes[1]["iscc"].removeprefix("ISCC:")


@functools.cache
def declared_units() -> set[str]:
    codes = [row["iscc"] for row in table("registries/iscc.csv") if not row["withdrawn_at"]]
    return {unit for code in codes for unit in iscc_lib.iscc_decompose(code)}


@functools.cache
def pdq_keys() -> list[np.ndarray]:
    rows = [row for row in table("registries/pdq.csv") if row["status"] == "active" and not row["withdrawn_at"]]
    return [np.unpackbits(np.frombuffer(bytes.fromhex(row["pdq"]), np.uint8)).astype(bool) for row in rows]


def test_near_duplicates_are_near_and_smaller(web, lists, truth):
    derived = [row for row in truth if row["fate"] == "duplicate" and row["kind"] != "original"]
    assert len(derived) >= 120
    for row in derived:
        original = FOLDER / "pictures" / row["group"]
        left, right = original.read_bytes(), Asked(web, row["url"]).body
        assert int((fingerprint(left)[1] != fingerprint(right)[1]).sum()) <= 31, row
        assert pixels(right) < pixels(left), row


def test_enlarged_copies_have_more_pixels(web, truth):
    rows = [row for row in truth if row["kind"] == "enlarged"]
    assert rows
    for row in rows:
        assert pixels(Asked(web, row["url"]).body) > pixels((FOLDER / "pictures" / row["group"]).read_bytes())


def pixels(body: bytes) -> int:
    width, height = Image.open(io.BytesIO(body)).size
    return width * height


# --- what the server answers ---


@pytest.mark.parametrize(
    ("url", "status", "start", "header", "value"),
    [
        ("http://slow.marsh.example/robots.txt", 503, b"", None, None),
        ("http://photos.meadow.example/robots.txt", 404, b"", None, None),
        ("http://gallery.lantern.example/robots.txt", 200, b"", "Content-Length", "0"),
        ("http://moved.heath.example/robots.txt", 301, b"", "Location", "http://rules.heath.example/robots.txt"),
        ("http://pictures.copper.example:8080/pictures/nothing.jpg", 404, b"", None, None),
        ("http://dead.moor.example/gone/a.jpg", 410, b"", None, None),
        ("http://dead.moor.example/missing/a.jpg", 404, b"", None, None),
        ("http://dead.moor.example/error/a.jpg", 500, b"", None, None),
        ("http://nowhere.example/a.jpg", 502, b"", None, None),
        ("http://registry.heather.example/query/urls", 405, b"", None, None),
        ("http://loops.moor.example/loop/a.jpg", 302, b"", "Location", "http://loops.moor.example/loop/a.jpg"),
        ("http://loops.moor.example/metadata/a.jpg", 302, b"", "Location", "http://169.254.169.254/latest/meta-data/"),
        ("http://loops.moor.example/file/a.jpg", 302, b"", "Location", "file:///etc/passwd"),
        ("http://headers.ivy.example/hop/a.jpg", 302, b"", "X-Robots-Tag", "noai"),
        ("http://broken.moor.example/html/a.jpg", 200, b"<!doctype", "Content-Type", "image/jpeg"),
        ("http://broken.moor.example/empty/a.jpg", 200, b"", "Content-Length", "0"),
        ("http://broken.moor.example/dot/a.png", 200, bodies.dot(), "Content-Type", "image/png"),
        ("http://broken.moor.example/ribbon/a.png", 200, bodies.ribbon(), None, None),
        ("http://broken.moor.example/bomb/a.png", 200, bodies.bomb(), None, None),
    ],
)
def test_answers(web, url, status, start, header, value):
    asked = Asked(web, url)
    assert (asked.status, asked.body[: len(start)]) == (status, start)
    assert header is None or asked.headers[header] == value


def test_repeated_header_lines_stay_apart(web):
    row = next(row["url"] for row in table("truth.csv") if "/repeated/" in row["url"])
    assert Asked(web, row).headers.get_all("X-Robots-Tag") == ["noarchive", "otherbot: noindex", "NoAI"]


@pytest.mark.parametrize("url", ["http://silent.marsh.example/robots.txt", "http://dead.moor.example/closed/a.jpg"])
def test_some_connections_just_close(web, url):
    with pytest.raises(http.client.RemoteDisconnected):
        Asked(web, url)
    assert web.requests[-1] == ("GET", url, 0)


def test_a_cut_body_is_shorter_than_announced(web):
    with pytest.raises(http.client.IncompleteRead):
        Asked(web, "http://broken.moor.example/cut/a.jpg")


def test_a_drip_never_ends(web):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": web.proxy_url}))
    with opener.open("http://broken.moor.example/drip/a.jpg", timeout=20) as answer:
        assert int(answer.headers["Content-Length"]) > 1000
        assert answer.read(1) == b"\xff"


def test_an_endless_body_goes_on_past_any_bound(web):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": web.proxy_url}))
    with opener.open("http://broken.moor.example/endless/a.jpg", timeout=20) as answer:
        assert answer.headers["Content-Length"] is None
        assert len(answer.read(6_000_000)) == 6_000_000


def test_truncated_and_mislabelled_files(web, truth):
    truncated = next(row["url"] for row in truth if row["kind"] == "truncated_jpeg")
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(Asked(web, truncated).body)).load()
    mislabelled = Asked(web, next(row["url"] for row in truth if row["kind"] == "png_as_jpeg"))
    assert mislabelled.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(mislabelled.body)).format == "PNG"


@pytest.mark.parametrize("make", [bodies.bomb, bodies.bomb_whole])
def test_bombs_are_small_and_claim_much(make):
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(make()))
    assert len(make()) < 120_000


def test_some_urls_fail_once(truth):
    url = next(row["url"] for row in truth if row["kind"] == "retry")
    with SampleWeb() as web:
        assert [Asked(web, url).status for _ in range(3)] == [503, 200, 200]
        web.clear_requests()
        assert Asked(web, url).status == 503
        assert web.requests == [("GET", url, 503)]


def test_two_servers_send_the_same_bytes(truth):
    urls = [row["url"] for row in truth if row["fate"] == "duplicate"][::9]
    with SampleWeb() as one, SampleWeb() as other:
        assert [Asked(one, url).body for url in urls] == [Asked(other, url).body for url in urls]


def test_a_tunnel_is_refused(web):
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(web.proxy_url).port, timeout=20)
    connection.set_tunnel("secure.nowhere.example", 443)
    with pytest.raises(OSError, match="502"):
        connection.connect()
    connection.close()


def test_a_variant_of_a_transparent_picture_is_on_white():
    out = io.BytesIO()
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(out, "png")
    made = Image.open(io.BytesIO(encoded(out.getvalue(), Variant(scale=0.5))))
    assert (made.format, made.size, made.getpixel((3, 3))) == ("JPEG", (20, 10), (255, 255, 255))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.example: {robot: x}", "unknown key 'robot'"),
        ("a.example: {paths: {/a/: {stats: 200}}}", "stats"),
        ("a.example: {paths: {/a/: {serve: nothing}}}", "serve is 'nothing'"),
    ],
)
def test_a_mistake_in_web_yaml_is_named(tmp_path, text, message):
    (tmp_path / "web.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        hosts.load(tmp_path / "web.yaml")
