import base64
import io
import itertools
import json
import shutil
from html.parser import HTMLParser

import pytest
import small_world
from click.testing import CliRunner
from PIL import Image

from fairshard.pipelines import report
from fairshard.pipelines.cli import main
from fairshard.pipelines.takedown import takedown
from fairshard.pipelines.verify import verify
from fairshard.schemas.errors import ReleaseError

HOSTILE = "</td><script>alert(1)</script>\u202egnp.exe\x1b[2J\u2028{{ 7 * 7 }} &amp; \"'><img src=x onerror=y>"


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_world.emitted(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def page(whole):
    return Page(report.html(str(whole)))


def test_it_lies_in_the_release_and_verify_lets_it(whole, tmp_path):
    release = shutil.copytree(whole, tmp_path / "release")
    path = report.write(str(release))
    assert path == str(release / "report.html") and verify(str(release)) == []
    assert report.html(str(release)) == (release / "report.html").read_text()


def test_numbers(page):
    words = " ".join(page.text.split())
    for said in ("5 pairs released", "9 left out", "14 source rows", "3 shards"):
        number, _, name = said.partition(" ")
        assert f"{name}{number}" in words
    assert "opted out: robots.txt" in words and "2 of them are covered by lists that may not be published" in words
    assert "differs by 4 of 256 bits (PDQ)" in words
    assert "What binds:" in words


def test_nothing_is_loaded(page):
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "video", "svg"}
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert all(link["href"].startswith(("#", "https://", "http://")) for link in page.all("a"))
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert "default-src 'none'" in str(page.all("meta"))


def test_pictures_are_those_of_released_pairs(page):
    pictures = page.all("img")
    assert len(pictures) == len(small_world.RELEASED) + 1  # and the keeper of the one group
    captions = {pair["caption"] for pair in small_world.PAIRS if pair["pair_id"] in small_world.RELEASED}
    assert {picture["alt"] for picture in pictures} == captions
    for picture in pictures:
        data = base64.b64decode(picture["src"].partition(",")[2])
        image = Image.open(io.BytesIO(data))
        assert (str(image.width), str(image.height)) == (picture["width"], picture["height"])


def test_headings_lead_through_it(page):
    levels = [int(name[1]) for name, _ in page.tags if name in ("h1", "h2", "h3")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")} <= ids
    assert page.all("html") == [{"lang": "en"}]


def test_secrets_stay_out(page, whole):
    html = report.html(str(whole))
    assert not [word for word in small_world.SECRET_WORDS if word in html]
    assert not [one for one in small_world.SECRET_IDS if f"/{one}.jpg" in html]


def test_hostile_text(tmp_path, monkeypatch):
    pairs = [dict(pair) for pair in small_world.PAIRS]
    pairs[0] |= {"caption": HOSTILE, "creator": HOSTILE, "licence": HOSTILE, "url": "javascript:alert(1)"}
    monkeypatch.setattr(small_world, "PAIRS", pairs)
    html = report.html(str(small_world.emitted(tmp_path, emit={"title": HOSTILE, "samples_per_shard": 2})))
    page = Page(html)
    assert not page.all("script") and "x" not in [image["src"] for image in page.all("img")]
    assert not [link for link in page.all("a") if link["href"].startswith("javascript")]
    assert not {"\u202e", "\x1b", "\u2028"} & set(html)
    assert "⟨U+202E⟩gnp.exe⟨U+001B⟩[2J" in page.text and "{{ 7 * 7 }} &amp;" in page.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\n lines", "two lines"),
        ("a\u200bb\u00adc\ufeff", "a⟨U+200B⟩b⟨U+00AD⟩c⟨U+FEFF⟩"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("x" * 300, "x" * 239 + "…"),
    ],
)
def test_visible(text, shown):
    assert report.visible(text) == shown


def test_a_release_with_nothing_in_it(tmp_path):
    html = report.html(str(small_world.emitted(tmp_path, leave_out=tuple(small_world.RELEASED))))
    assert "Nobody: no pair is released." in html and "<img" not in html


def test_after_a_takedown(whole, tmp_path):
    (tmp_path / "today.txt").write_text("img.b.example\n")
    takedown(str(whole), str(tmp_path / "next"), [f"host={tmp_path}/today.txt"])
    html = report.html(str(tmp_path / "next"))
    assert "Taken down since the first release" in html and "today.txt" in html and "un carré bleu" not in html


def test_a_picture_that_is_none(whole, tmp_path):
    release = shutil.copytree(whole, tmp_path / "release")
    path = release / "shards/00000.tar"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\xff\xd8\xff", b"\0\0\0"))
    page = Page(report.html(str(release)))
    assert len(page.all("img")) == 4 and page.text.count("no picture") == 2


@pytest.mark.parametrize(
    "change", [{"sources": []}, {"counts": {}}, {"counts": {"rows": "many"}}, {"policy": {}}, {"takedowns": [3]}]
)
def test_a_malformed_manifest(whole, tmp_path, change):
    release = shutil.copytree(whole, tmp_path / "release")
    document = json.loads((release / "manifest.json").read_text())
    (release / "manifest.json").write_text(json.dumps({**document, **change}))
    if change == {"sources": []}:
        assert "By source" not in report.html(str(release))
    else:
        with pytest.raises(ReleaseError, match=r"manifest\.json"):
            report.html(str(release))


@pytest.mark.parametrize(("out", "found"), [("none/page.html", "No such file"), ("file/page.html", "Not a directory")])
def test_a_place_that_cannot_be_written(whole, tmp_path, out, found):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, ["report", str(whole), "--out", str(tmp_path / out)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{out}: cannot be written ({found}" in result.stderr and "run again" not in result.stderr


def test_the_command(whole, tmp_path):
    out = tmp_path / "page.html"
    assert CliRunner().invoke(main, ["report", str(whole), "--out", str(out)]).exit_code == 0
    assert out.read_text().startswith("<!DOCTYPE html>") and not list(tmp_path.glob("*.part"))
    assert CliRunner().invoke(main, ["report", str(tmp_path)]).exit_code == 2
