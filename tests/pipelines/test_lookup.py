import io
import json

import pytest
import small_world
from PIL import Image, ImageOps

from fairshard.pipelines.lookup import lookup, text
from fairshard.schemas.errors import InputError, ReleaseError


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return str(small_world.emitted(tmp_path_factory.mktemp("world")))


def ids(answer):
    return [row["pair_id"] for row in answer["pairs"]]


def test_url(release):
    answer = lookup(release, url="http://www.a.example/3.jpg#top")
    assert (ids(answer), answer["released"], answer["dropped"]) == ([3], 1, 0)
    (row,) = answer["pairs"]
    assert (row["outcome"], row["shard"], row["key"]) == ("released", "shards/00000.tar", "000000")
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("domain", ["b.example", "*.b.example", "B.EXAMPLE", "https://b.example/page"])
def test_domain_covers_subdomains(release, domain):
    answer = lookup(release, domain=domain)
    assert set(ids(answer)) == {2**62, 5, 42, 43}
    assert [row["outcome"] for row in answer["pairs"]] == ["released", "released", "dropped", "dropped"]


def test_subdomain_does_not_cover_its_parent(release):
    assert ids(lookup(release, domain="img.b.example")) == [5]


def test_creator(release):
    assert set(ids(lookup(release, creator="  ada   *EXAMPLE*"))) == {3, -(2**62)}


def test_picture_by_its_bytes(release, tmp_path):
    (tmp_path / "mine.jpg").write_bytes(small_world.PICTURES[5])
    answer = lookup(release, image=str(tmp_path / "mine.jpg"))
    assert [(row["pair_id"], row["match"], row["distance"]) for row in answer["pairs"]] == [(5, "sha256", 0)]


def test_picture_by_its_look(release, tmp_path):
    picture = Image.open(io.BytesIO(small_world.PICTURES[-(2**62)]))
    picture.resize((120, 90)).save(tmp_path / "bigger.png")
    answer = lookup(release, image=str(tmp_path / "bigger.png"))
    assert ids(answer) == [-(2**62), 43]  # the released one and its duplicate
    assert {row["match"] for row in answer["pairs"]} == {"phash"}


def test_picture_that_was_mirrored(release, tmp_path):
    picture = Image.open(io.BytesIO(small_world.PICTURES[5]))
    ImageOps.mirror(picture).save(tmp_path / "mirrored.png")
    (row,) = lookup(release, image=str(tmp_path / "mirrored.png"))["pairs"]
    assert (row["pair_id"], row["match"]) == (5, "pdq")
    assert row["distance"] <= 31
    assert "pdq" in text(lookup(release, image=str(tmp_path / "mirrored.png")))


def test_another_picture(release, tmp_path):
    (tmp_path / "other.jpg").write_bytes(small_world.picture(1234))
    answer = lookup(release, image=str(tmp_path / "other.jpg"))
    assert not answer["found"]
    assert text(answer).startswith("Not found\n")


def test_a_withheld_picture_is_not_found(release, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(small_world.PICTURES[78])
    answer = lookup(release, image=str(tmp_path / "secret.jpg"))
    assert not answer["found"] and "2 pairs that were left out are covered by lists" in answer["note"]
    assert not lookup(release, domain="hidden-painter.example")["found"]


def test_a_flat_picture_resembles_nothing(release, tmp_path):
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    answer = lookup(release, image=str(tmp_path / "white.png"))
    assert not answer["found"] and "too flat for its look to be compared" in answer["note"]


def test_a_damaged_picture_is_looked_for_by_its_bytes(release, tmp_path):
    (tmp_path / "half.jpg").write_bytes(small_world.PICTURES[3][:600])
    answer = lookup(release, image=str(tmp_path / "half.jpg"))
    assert not answer["found"] and "cannot be decoded" in answer["note"]


def test_what_is_no_picture(release, tmp_path):
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(InputError, match=r"page\.jpg: is no picture: begins with b'<html>'; expected a picture"):
        lookup(release, image=str(tmp_path / "page.jpg"))


def test_words(release):
    assert text(lookup(release, domain="no.example")).splitlines()[:3] == [
        "0 released, 2 left out",
        "  left out  consult, deny:robots_txt  https://no.example/41.jpg  (pair 41)",
        "  left out  consult, deny:registry  https://no.example/44.jpg  (pair 44)",
    ]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "is asked about 0 things; expected one of url, image, creator and domain"),
        ({"url": "https://a.example/", "domain": "a.example"}, "is asked about 2 things"),
        ({"url": "ftp://a.example/"}, "expected an http or https URL"),
        ({"domain": "https://"}, "expected a domain"),
        ({"creator": "  "}, "expected a name"),
        ({"image": "missing.jpg"}, r"missing\.jpg: cannot be read"),
    ],
)
def test_bad_questions(release, question, message):
    with pytest.raises(InputError, match=message):
        lookup(release, **question)


def test_a_work_directory_is_no_release(tmp_path):
    work = small_world.make(tmp_path)
    with pytest.raises(ReleaseError, match="is a work directory; expected a release"):
        lookup(work.store.root, url="https://a.example/3.jpg")
