import base64
import hashlib
import io
import itertools
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import small_world
from click.testing import CliRunner
from PIL import Image

from fairshard.pipelines import _manifest, _report_run, report
from fairshard.pipelines._catalog import open_catalog
from fairshard.pipelines._diffusion_pictures import write_samples
from fairshard.pipelines._page_words import kind_words, visible
from fairshard.pipelines._report_concentration import concentration
from fairshard.pipelines.cli import main
from fairshard.pipelines.takedown import takedown
from fairshard.pipelines.verify import verify
from fairshard.schemas.errors import ReleaseError
from fairshard.schemas.policy import KINDS

HOSTILE = "</td><script>alert(1)</script>\u202egnp.exe\x1b[2J\u2028{{ 7 * 7 }} &amp; \"'><img src=x onerror=y>"


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.rows = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("tr", "table"):
            self.rows.append([])
        if tag in ("th", "td") and "aria-hidden" not in dict(attrs):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def table(self, head, skipped=0):
        """Rows of the first table whose first column has that name, or of one after it, as lists of words."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        start = [n for n, row in enumerate(rows) if row and row[0] == head][skipped]
        return list(itertools.takewhile(bool, rows[start + 1 :]))

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
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "video", "use", "image"}
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert all(link["href"].startswith(("#", "https://", "http://")) for link in page.all("a"))
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.split("; ")[:2] == ["default-src 'none'", "img-src data:"] and "http" not in policy
    addresses = {key for _, attrs in page.tags for key in attrs if key in ("src", "srcset", "data", "poster", "action")}
    assert addresses <= {"src"} and "url(" not in page.text and "@import" not in page.text


def test_pictures_are_those_of_released_pairs(page):
    pictures = page.all("img")
    assert len(pictures) == len(small_world.RELEASED) + 1  # and the keeper of the one group
    captions = {pair["caption"] for pair in small_world.PAIRS if pair["pair_id"] in small_world.RELEASED}
    assert {picture["alt"] for picture in pictures} == captions
    for picture in pictures:
        data = base64.b64decode(picture["src"].partition(",")[2])
        image = Image.open(io.BytesIO(data))
        assert (str(image.width), str(image.height)) == (picture["width"], picture["height"])


def test_tables_say_what_the_tables_say(page, whole):
    catalog = open_catalog(str(whole))
    steps = catalog.rows("SELECT stage, removed, rows_left FROM funnel ORDER BY position").to_pylist()
    funnel = [[step["stage"], str(step["removed"]), str(step["rows_left"]), ""] for step in steps]
    assert page.table("stage") == [["sources", "", "14", ""], *funnel, ["3 shards", "", "5", ""]]

    assert page.table("width") == [["64 px to 128 px", "5", "100.0 %", ""]]
    sizes = [row["bytes"] for row in catalog.dicts("SELECT bytes FROM sample")]
    assert page.table("size") == [["1 kB to 3 kB", str(len(sizes)), "100.0 %", ""]]
    assert [row[:2] for row in page.table("host")] == [["a.example", "3"], ["b.example", "1"], ["img.b.example", "1"]]
    assert [row[:2] for row in page.table("licence")] == [["(not stated)", "3"], ["CC-BY 4.0", "2"]]
    assert [row[:2] for row in page.table("language")] == [["en", "3"], ["de", "2"]]
    signals = catalog.dicts("SELECT count(*) AS n FROM signal GROUP BY kind ORDER BY n DESC, kind")
    assert [sum(map(int, row[2:])) for row in page.table("protocol")] == [row["n"] for row in signals]


def test_reasons_of_a_stage_are_its_most_frequent_and_the_others_as_one(page, whole):
    reasons = open_catalog(str(whole)).dicts("SELECT sum(rows)::INT AS n FROM reason")
    assert sum(int(row[2]) for row in page.table("stage", 1)) == reasons[0]["n"] == 9
    assert page.table("stage", 1)[0] == ["ingest", "no URL", "2", ""]


def test_concentration_is_what_balance_measured(sample):
    """As long as templates are equal ones: the sample caps no near ones."""
    run = json.loads((sample.folder / "work/run.json").read_text())
    measured = next(stage["concentration"] for stage in run["stages"] if stage["stage"] == "balance")
    found = concentration(open_catalog(sample.job.release_dir))
    assert found == measured and found["domain"]["before"]["pairs"] > found["domain"]["after"]["pairs"]


def test_concentration_counts_no_pair_that_was_refused_or_is_withheld(whole):
    found = concentration(open_catalog(str(whole)))
    assert found["domain"]["before"] == {"names": 2, "pairs": 6, "largest": 3, "top_share": 0.5, "gini": 0.0}
    assert found["domain"]["after"] == {"names": 2, "pairs": 5, "largest": 3, "top_share": 0.6, "gini": 0.1}
    assert found["picture"]["before"]["largest"] == 2 and found["picture"]["after"]["largest"] == 1


def test_it_says_which_release_it_is(page, whole, tmp_path):
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["merkle_root"] in page.text and "signature" in page.text
    assert hashlib.sha256((whole / "manifest.json").read_bytes()).hexdigest() in page.text
    release = shutil.copytree(whole, tmp_path / "release")
    manifest["files"]["README.md"]["sha256"] = "0" * 64
    (release / "manifest.json").write_text(json.dumps(manifest))
    assert _manifest.merkle_root(manifest["files"]) != manifest["merkle_root"]
    with pytest.raises(ReleaseError, match="has the Merkle root"):
        report.html(str(release))


def test_every_kind_of_evidence_has_words():
    assert [kind for kind in (*KINDS, "licence", "unread") if kind_words(kind) == kind.replace("_", " ")] == [
        "hash_list"
    ]


def run_folder(folder, release, losses, model="tiny"):
    """A finished run on a release as `train` leaves it, one step and one held-out loss an epoch."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    rows = [{"epoch": n, "loss": loss} for n, loss in enumerate(losses, 1)]
    rows += [{"epoch": n, "held_out_loss": 2 * loss} for n, loss in enumerate(losses, 1)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    recall = {"k": 1, "value": 0.25, "low": 0.1, "high": 0.4, "chance": 0.01}
    record = {
        "status": "done", "fingerprint": "abcd", "checkpoint": "model.safetensors",
        "release": {"manifest_sha256": hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()},
        "config": {"model": model, "epochs": len(losses), "batch_size": 2},
        "model": {"initialised_from": "random weights", "parameters": 1234},
        "samples": {"trained": 4, "held_out": 1, "tested": 1}, "loss": {"guessing": 0.6931},
        "retrieval": {"image to text": {"candidates": 9, "recall": [recall]}},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return str(folder)


def audit_folder(folder, trained, **changes):
    """An audit of such a run, one measure and one pair."""
    folder.mkdir()
    record = json.loads((Path(trained) / "run.json").read_text())
    row = {"kind": "memorised", "subject": "all", "value": 0.5, "threshold": 0.1, "finding": True, "detail": "2 of 4"}
    rows = [{**row, "pair_id": None}, {**row, "pair_id": 3, "subject": "000000", "detail": "one pair's own affair"}]
    found = {"release": record["release"]["manifest_sha256"], "run": "abcd", "audited_at": "2026-01-02T03:04:05+00:00"}
    (folder / "audit.json").write_text(json.dumps({**found, "measures": rows, **changes}))
    return str(folder)


def test_a_run_and_its_audit(whole, tmp_path):
    run = run_folder(tmp_path / "run", whole, [0.8, 0.4], model=HOSTILE)
    html = report.html(str(whole), run, audit_folder(tmp_path / "audit", run))
    page = Page(html)
    assert page.table("epoch") == [["1", "0.800", "1.600"], ["2", "0.400", "0.800"]]
    points = {line["class"]: line["points"] for line in page.all("polyline")}
    assert points["epoch"] == "335.0,142.0 630.0,186.0" and points["held_out"] == "335.0,54.0 630.0,142.0"
    assert page.table("found among the first") == [["1, image to text", "25.0 %", "10 to 40.0 %", "1.0 %"]]
    assert page.table("measure") == [["trained pairs that the model knows by heart", "0.5", "0.1",
                                      "Over the limit. 2 of 4"]]  # fmt: skip
    assert "own affair" not in html and not page.all("script") and "Its audit of 2026-01-02" in page.text
    assert {"role": "img", "viewbox": "0 0 640 260", "aria-labelledby": "curve-title curve-text"} in page.all("svg")


def diffusion_folder(folder, release, caption="a grey square", side=16):
    """A finished run of the diffusion trainer, with one sample."""
    run_folder(folder, release, [0.8, 0.4])
    record = json.loads((folder / "run.json").read_text())
    record |= {"trainer": "diffusion", "text_encoder": {"sha256": "00"}, "canaries": None}
    record["config"] |= {"image_size": side, "guidance": 3.0, "prediction": "v_prediction"}
    (folder / "run.json").write_text(json.dumps(record))
    write_samples(folder / "samples.jsonl", [(caption, Image.new("RGB", (side, side), "grey"))], {"model": "tiny"})
    return str(folder)


def test_a_diffusion_run(whole, tmp_path):
    html = report.html(str(whole), diffusion=diffusion_folder(tmp_path / "diffusion", whole, HOSTILE))
    page = Page(html)
    assert page.table("epoch") == [["1", "0.800", "1.600"], ["2", "0.400", "0.800"]]
    assert {line["class"] for line in page.all("polyline")} == {"step", "epoch", "held_out"}  # nobody knows a guess
    made = next(picture for picture in page.all("img") if picture.get("class") == "made")
    data = base64.b64decode(made["src"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (16, 16) and b"trainedAlgorithmicMedia" in data
    assert made["alt"].startswith("Generated from: </td><script>") and not page.all("script")
    assert "Mean squared error of v." in page.text and "A model trained on it" in page.text


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "does not exist"), ("{", "cannot be read"), ('{"caption": "a", "png": "AAAA"}', "cannot be read")],
)
def test_samples_that_are_none(whole, tmp_path, content, found):
    path = Path(diffusion_folder(tmp_path / "diffusion", whole)) / "samples.jsonl"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ReleaseError, match=f"samples.jsonl: {found}"):
        report.html(str(whole), diffusion=str(path.parent))


def test_a_run_of_the_other_trainer(whole, tmp_path):
    with pytest.raises(ReleaseError, match="is of another trainer"):
        report.html(str(whole), diffusion=run_folder(tmp_path / "run", whole, [1.0]))
    with pytest.raises(ReleaseError, match="is of another trainer"):
        report.html(str(whole), diffusion_folder(tmp_path / "diffusion", whole))


def test_without_a_run_there_is_no_model(page):
    assert not page.all("svg") and "A model trained on it" not in page.text


def test_a_run_that_diverged(whole, tmp_path):
    page = Page(report.html(str(whole), run_folder(tmp_path / "run", whole, [float("nan")] * 2)))
    assert not page.all("svg") and page.table("epoch")[0] == ["1", "nan", "nan"]


@pytest.mark.parametrize("epochs", [1, 7, 1000])
def test_a_curve_stays_in_its_frame_and_small(epochs):
    rows = [{"epoch": n + 1, "loss": 1e-6 * 10 ** (n % 13)} for n in range(epochs) for _ in range(3)]
    curve = _report_run.curve(rows, 4.1)
    places = [tuple(map(float, point.split(","))) for line in curve.lines.values() for point in line.split()]
    assert all(40 <= x <= 630 and 10 <= y <= 230 for x, y in places) and len(places) <= 400 + epochs + 2
    assert 1 <= len(curve.places) <= 12 and curve.places[-1] == (630.0, epochs) and 2 <= len(curve.heights) <= 7


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        ("run/run.json", None, "does not exist"),
        ("run/run.json", "{", "cannot be read"),
        ("run/metrics.jsonl", None, "does not exist"),
        ("run/metrics.jsonl", '{"epoch": "x", "loss": []}', "cannot be read"),
        ("audit/audit.json", None, "does not exist"),
        ("audit/audit.json", "[]", "cannot be read"),
    ],
)
def test_files_of_a_run_that_are_none(whole, tmp_path, file, content, found):
    run = run_folder(tmp_path / "run", whole, [1.0])
    audit = audit_folder(tmp_path / "audit", run)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_text(content)
    with pytest.raises(ReleaseError, match=f"{Path(file).name}: {found}"):
        report.html(str(whole), run, audit)


def test_a_run_or_an_audit_of_something_else(whole, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manifest.json").write_text("another")
    other = run_folder(tmp_path / "other_run", tmp_path / "other", [1.0])
    with pytest.raises(ReleaseError, match="was trained on another release"):
        report.html(str(whole), other)
    with pytest.raises(ReleaseError, match="audited another release"):
        report.html(str(whole), audit=audit_folder(tmp_path / "other_audit", other))
    run = run_folder(tmp_path / "run", whole, [1.0])
    with pytest.raises(ReleaseError, match="audited the run ef01"):
        report.html(str(whole), run, audit_folder(tmp_path / "audit", run, run="ef01"))
    made, of_another = diffusion_folder(tmp_path / "made", whole), {"run": "0123", "copy_model": {"kind": "CLIP"}}
    with pytest.raises(ReleaseError, match="audited the run 0123; expected abcd, which is shown"):
        report.html(str(whole), run, audit_folder(tmp_path / "audit2", run, diffusion=of_another), made)
    skipped = audit_folder(tmp_path / "audit3", run, diffusion={"not_audited": "it held out other pairs"})
    assert "Their audit of" in report.html(str(whole), run, skipped, made)


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
    assert visible(text) == shown


def test_a_release_with_nothing_in_it(tmp_path):
    html = report.html(str(small_world.emitted(tmp_path, leave_out=tuple(small_world.RELEASED))))
    assert "Nobody: no pair is released." in html and "<img" not in html
    assert "Nothing is released, so these are the figures before." in html


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
