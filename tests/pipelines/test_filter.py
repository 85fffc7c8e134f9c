from fairshard.pipelines import filter as stage
from fairshard.schemas.config import Filter
from fairshard.udfs import language

ENGLISH = "a brown dog runs over the wet beach"


def run(make, config, pairs, images=()):
    """The ``dropped`` and ``score`` rows as dictionaries by pair_id."""
    images = images or [{"pair_id": pair["pair_id"], "width_px": 640, "height_px": 480} for pair in pairs]
    pairs = [{"url_key": str(pair["pair_id"]), "caption": ENGLISH, **pair} for pair in pairs]
    work = make({"filter": config}, pair=pairs, image=images)
    stage.run(work)
    dropped = {row["pair_id"]: (row["reason"], row["evidence"]) for row in work.store.read("dropped").to_pylist()}
    return dropped, work.store.read("score").to_pylist()


def test_every_rule_on_every_engine(make_work):
    config = {
        "preset": "datacomp-basic", "caption_max_chars": 60, "min_similarity": 0.3, "max_p_unsafe": 0.1,
        "max_p_watermark": 0.8, "min_aesthetic": 4.7,
    }  # fmt: skip
    long = "a brown dog runs over the wet beach and into the cold grey sea"
    pairs = [
        {"similarity": 0.3, "p_unsafe": 0.1, "p_watermark": 0.8, "aesthetic": 4.7}, {},
        {"caption": "ein brauner Hund am Strand"}, {"caption": "the dog"}, {"caption": long}, {}, {},
        {"similarity": 0.29}, {"p_unsafe": 0.11}, {"p_watermark": 0.9}, {"aesthetic": 4.6},
    ]  # fmt: skip
    sizes = {5: (199, 400), 6: (601, 200)}
    side = {n: sizes.get(n, (640, 480)) for n in range(11)}
    images = [{"pair_id": n, "width_px": side[n][0], "height_px": side[n][1]} for n in range(11)]
    dropped, score = run(make_work, config, [{"pair_id": n, **pair} for n, pair in enumerate(pairs)], images)
    assert {n: reason for n, (reason, _) in sorted(dropped.items())} == {
        2: "language", 3: "caption_short", 4: "caption_long", 5: "small_image", 6: "aspect",
        7: "similarity", 8: "p_unsafe", 9: "p_watermark", 10: "aesthetic",
    }  # fmt: skip
    assert dropped[2][1].startswith("language=de 0.") and dropped[2][1].endswith(", kept: en")
    assert dropped[6][1] == "aspect=3.005, most 3" and dropped[7][1] == "similarity=0.29, least 0.3"
    assert len(score) == 3 * len(pairs)


def test_nothing_configured_drops_nothing_and_loads_no_model(make_duckdb_work):
    language.model.cache_clear()
    assert run(make_duckdb_work, {}, [{"pair_id": 1, "caption": "x"}]) == ({}, [])
    assert language.model.cache_info().misses == 0


def test_language(make_duckdb_work):
    pairs = [
        {"pair_id": 1},
        {"pair_id": -2, "caption": "Ein brauner Hund läuft über den nassen Strand"},
        {"pair_id": 3, "caption": "一只棕色的狗在海滩上奔跑"},
    ]
    dropped, score = run(make_duckdb_work, {"languages": ["en", "de"]}, pairs)
    assert list(dropped) == [3]
    reason, evidence = dropped[3]
    assert reason == "language" and evidence.startswith("language=zh 0.") and evidence.endswith(", kept: en, de")
    assert {row["pair_id"]: (row["kind"], row["label"]) for row in score} == {
        1: ("language", "en"), -2: ("language", "de"), 3: ("language", "zh"),
    }  # fmt: skip


def test_language_by_score_alone(make_duckdb_work):
    pairs = [{"pair_id": 1}, {"pair_id": 2, "caption": "12345"}]
    dropped, _ = run(make_duckdb_work, {"language_min_score": 0.5}, pairs)
    assert dropped == {2: ("language", "language=en 0.1245, kept: any from 0.5")}


def test_captions(make_duckdb_work):
    config = {"caption_min_words": 3, "caption_min_chars": 6, "caption_max_chars": 20}
    captions = ["one two", "a b c", "one two three", "x" * 6, "one two three four five six"]
    dropped, score = run(make_duckdb_work, config, [{"pair_id": n, "caption": text} for n, text in enumerate(captions)])
    assert dropped == {
        0: ("caption_short", "caption_words=2 caption_chars=7, least 3 words, 6 characters"),
        1: ("caption_short", "caption_words=3 caption_chars=5, least 3 words, 6 characters"),
        3: ("caption_short", "caption_words=1 caption_chars=6, least 3 words, 6 characters"),
        4: ("caption_long", "caption_chars=27, most 20"),
    }
    assert {(row["kind"], row["value"]) for row in score if row["pair_id"] == 0} == {
        ("caption_words", 2.0), ("caption_chars", 7.0),
    }  # fmt: skip


def test_size_is_of_the_original_and_unknown_size_does_not_pass(make_duckdb_work):
    pairs = [{"pair_id": n, "width_px": 9999, "height_px": 9999} for n in range(6)]
    sizes = [(200, 600), (199, 400), (601, 200), (None, None), (0, 0)]
    images = [{"pair_id": n, "width_px": width, "height_px": height} for n, (width, height) in enumerate(sizes)]
    dropped, score = run(make_duckdb_work, {"min_side_px": 200, "max_aspect": 3}, pairs, images)
    assert dropped == {
        1: ("small_image", "side_px=199, least 200"),
        2: ("aspect", "aspect=3.005, most 3"),
        3: ("small_image", "side_px=unknown, least 200"),
        4: ("small_image", "side_px=0, least 200"),
        5: ("small_image", "side_px=unknown, least 200"),
    }
    assert score == []


def test_scores_of_the_source(make_duckdb_work):
    config = {"min_similarity": 0.3, "max_p_unsafe": 0.1, "max_p_watermark": 0.8, "min_aesthetic": 4.7}
    passes = {"similarity": 0.3, "p_unsafe": 0.1, "p_watermark": 0.8, "aesthetic": 4.7}
    breaks = [{"similarity": 0.29}, {"p_unsafe": 0.11}, {"p_watermark": 0.9}, {"aesthetic": 4.6}]
    rows = [{}, passes, *({**passes, **broken} for broken in breaks)]
    assert run(make_duckdb_work, config, [{"pair_id": n, **row} for n, row in enumerate(rows)]) == (
        {
            2: ("similarity", "similarity=0.29, least 0.3"),
            3: ("p_unsafe", "p_unsafe=0.11, most 0.1"),
            4: ("p_watermark", "p_watermark=0.9, most 0.8"),
            5: ("aesthetic", "aesthetic=4.6, least 4.7"),
        },
        [],
    )


def test_first_broken_rule_is_the_reason(make_duckdb_work):
    config = {"preset": "datacomp-basic", "min_similarity": 0.3}
    pairs = [{"pair_id": 1, "caption": "der Hund", "similarity": 0.1}, {"pair_id": 2, "similarity": 0.1}]
    images = [{"pair_id": n, "width_px": 10, "height_px": 100} for n in (1, 2)]
    dropped, _ = run(make_duckdb_work, config, pairs, images)
    assert {pair_id: reason for pair_id, (reason, _) in dropped.items()} == {1: "language", 2: "small_image"}


def test_pairs_dropped_before_are_left_alone(make_duckdb_work):
    pairs = [{"pair_id": n, "url_key": str(n), "caption": "short"} for n in (1, 2)]
    gone = [{"pair_id": 1, "stage": "consult", "reason": "deny:registry"}]
    work = make_duckdb_work({"filter": {"caption_min_words": 2}}, pair=pairs, dropped=gone)
    stage.run(work)
    assert [row["pair_id"] for row in work.store.read("dropped", ["filter"]).to_pylist()] == [2]
    mark = work.store.mark("filter", "all")
    stage.run(work)
    assert work.store.mark("filter", "all") == mark


def test_preset_is_datacomp_basic_and_other_keys_override_it():
    basic = stage.rules_of(Filter(preset="datacomp-basic"))
    assert (basic.languages, basic.caption_min_words, basic.caption_min_chars) == (("en",), 3, 6)
    assert (basic.min_side_px, basic.max_aspect) == (200, 3.0)
    own = stage.rules_of(Filter(preset="datacomp-basic", languages=("de",), min_side_px=100))
    assert (own.languages, own.min_side_px, own.max_aspect) == (("de",), 100, 3.0)
