from collections import Counter

from conftest import table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines import balance

ONE = {"max_per_domain": 2, "max_per_creator": 2, "max_per_caption": 1}


def pair(pair_id, domain="a.example", creator=None, caption="a cat"):
    return {"pair_id": pair_id, "url_key": str(pair_id), "domain": domain, "creator": creator, "caption": caption}


def run(make, config, pairs, **tables):
    work = make({"balance": config}, pair=pairs, **tables)
    balance.run(work)
    return {row["pair_id"]: row for row in work.store.read("dropped", ["balance"]).to_pylist()}


def test_off_unless_set(make_duckdb_work):
    assert run(make_duckdb_work, {}, [pair(n) for n in range(20)]) == {}


def test_cap_per_domain(make_duckdb_work):
    dropped = run(
        make_duckdb_work, {"max_per_domain": 10}, [pair(n) for n in range(-6, 6)] + [pair(99, domain="b.example")]
    )
    assert len(dropped) == 2 and 99 not in dropped
    assert {row["reason"] for row in dropped.values()} == {"cap_domain"}
    assert {row["evidence"] for row in dropped.values()} == {f"domain=a.example rank={n} cap=10" for n in (11, 12)}


def test_creators_and_captions_are_compared_by_their_keys(make_duckdb_work):
    pairs = [pair(1, creator="Ann  Lee"), pair(2, creator="ann lee"), pair(3), pair(4), pair(5, creator=" ")]
    dropped = run(make_duckdb_work, {"max_per_creator": 1}, pairs)
    assert [row["evidence"] for row in dropped.values()] == ["creator=ann lee rank=2 cap=1"]
    pairs = [pair(1, caption="A cat!"), pair(2, caption="a  cat"), pair(3, caption="another cat")]
    dropped = run(make_duckdb_work, {"max_per_caption": 1}, pairs)
    assert [row["evidence"] for row in dropped.values()] == ["caption=a cat rank=2 cap=1"]


SENTENCE = "a quiet harbour in the evening with boats and {} fishermen on the pier"


def test_near_templates_share_a_cap_on_every_engine(make_work):
    numbered = [pair(n, caption=f"IMG_{n}.jpg") for n in range(5)]
    near = [pair(n, caption=SENTENCE.format(("two", "three", "Two!", "six", "ten")[n - 5])) for n in range(5, 10)]
    alone = [pair(10, caption="a cat"), pair(11, caption="山の上の古い神社")]
    work = make_work({"balance": {"max_per_template": 2}}, pair=numbered + near + alone)
    balance.run(work)
    dropped = work.store.read("dropped", ["balance"]).to_pylist()
    assert Counter((row["reason"], row["pair_id"] < 5) for row in dropped) == {
        ("cap_template", True): 3,
        ("cap_template", False): 3,
    }
    img = sorted(row["evidence"] for row in dropped if row["pair_id"] < 5)
    assert img == [f"template=img # jpg rank={n} cap=2" for n in (3, 4, 5)]
    measured = work.store.mark("balance", "all").extra["concentration"]["template"]
    assert [measured[when]["largest"] for when in ("before", "after")] == [5, 2]
    assert [measured[when]["names"] for when in ("before", "after")] == [4, 4]


def test_equal_templates_share_a_cap_where_near_ones_do_not(make_duckdb_work):
    captions = ["IMG_1.jpg", "img 2 jpg", SENTENCE.format("two"), SENTENCE.format("three"), SENTENCE.format(7)]
    pairs = [pair(n, caption=caption) for n, caption in enumerate(captions)]
    dropped = run(make_duckdb_work, {"max_per_template": 1, "template_min_jaccard": 1}, pairs)
    assert [row["evidence"] for row in dropped.values()] == ["template=img # jpg rank=2 cap=1"]


def test_a_template_is_counted_after_the_other_caps(make_duckdb_work):
    pairs = [pair(n, caption="the same" if n < 4 else f"the same {n}") for n in range(8)]
    dropped = run(make_duckdb_work, {"max_per_caption": 1, "max_per_template": 4}, pairs)
    assert Counter(row["reason"] for row in dropped.values()) == {"cap_caption": 3}


def test_each_cap_sees_what_the_one_before_left(make_work):
    pairs = [pair(n, domain=f"{n % 3}.example", creator=f"c{n % 2}", caption=f"text {n % 4}") for n in range(30)]
    dropped = run(make_work, {"max_per_domain": 2, "max_per_creator": 2, "max_per_caption": 1}, pairs)
    assert Counter(row["reason"] for row in dropped.values())["cap_domain"] == 24
    left = [pair for pair in pairs if dropped.get(pair["pair_id"], {}).get("reason") != "cap_domain"]
    over_creator = sum(max(0, count - 2) for count in Counter(pair["creator"] for pair in left).values())
    assert Counter(row["reason"] for row in dropped.values())["cap_creator"] == over_creator


def test_pairs_dropped_before_do_not_count(make_duckdb_work):
    gone = [{"pair_id": n, "stage": "dedup", "reason": "near_duplicate"} for n in range(5)]
    assert run(make_duckdb_work, {"max_per_domain": 5}, [pair(n) for n in range(10)], dropped=gone) == {}


def test_concentration_before_and_after_on_every_engine(make_work):
    pairs = [pair(n, domain="big.example" if n < 7 else f"{n}.example", creator="Ann" if n < 2 else None,
                  caption=f"text {n}") for n in range(10)]  # fmt: skip
    group = [{"pair_id": n, "group_id": 7, "keeper_id": 7, "kind": "exact"} for n in (7, 8, 9)]
    gone = [{"pair_id": n, "stage": "dedup", "reason": "exact_duplicate"} for n in (8, 9)]
    work = make_work({"balance": {"max_per_domain": 2}}, pair=pairs)
    with work.store.task("dedup", "all", "test") as task:
        task.write("duplicate", table("duplicate", group))
        task.write("dropped", table("dropped", gone))
    balance.run(work)
    found = work.store.mark("balance", "all").extra["concentration"]
    even = {"top_share": 0.3333, "gini": 0.0}
    assert found == {
        "domain": {"before": {"names": 4, "pairs": 10, "largest": 7, "top_share": 0.7, "gini": 0.45},
                   "after": {"names": 2, "pairs": 3, "largest": 2, "top_share": 0.6667, "gini": 0.1667}},
        "creator": {"before": {"names": 1, "pairs": 2, "largest": 2, "top_share": 1.0, "gini": 0.0},
                    "after": found["creator"]["after"]},
        "caption": {"before": {"names": 10, "pairs": 10, "largest": 1, "top_share": 0.1, "gini": 0.0},
                    "after": {"names": 3, "pairs": 3, "largest": 1, **even}},
        "template": {"before": {"names": 1, "pairs": 10, "largest": 10, "top_share": 1.0, "gini": 0.0},
                     "after": {"names": 1, "pairs": 3, "largest": 3, "top_share": 1.0, "gini": 0.0}},
        "picture": {"before": {"names": 8, "pairs": 10, "largest": 3, "top_share": 0.3, "gini": 0.175},
                    "after": {"names": 3, "pairs": 3, "largest": 1, **even}},
    }  # fmt: skip


ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "X ", None]), st.sampled_from(["one", "One!", "two"])),
    max_size=25,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.randoms())
def test_caps_hold_and_neither_order_nor_a_second_pass_matters(make_duckdb_work, rows, random):
    pairs = [pair(n * 7919 - 50, *row) for n, row in enumerate(rows)]
    dropped = run(make_duckdb_work, ONE, pairs)
    left = [pair for pair in pairs if pair["pair_id"] not in dropped]
    assert max(Counter(pair["domain"] for pair in left).values(), default=0) <= 2
    assert sum(pair["creator"] is not None for pair in left) <= 2
    assert max(Counter(pair["caption"].lower().strip("!") for pair in left).values(), default=0) <= 1
    shuffled = random.sample(pairs, len(pairs))
    assert run(make_duckdb_work, ONE, shuffled) == dropped
    assert run(make_duckdb_work, ONE, left) == {}


CAPTIONS = st.tuples(
    st.sampled_from(["two", "three", "a hundred or so", "7"]), st.sampled_from(["", " | Shop", "!", " at dawn"])
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CAPTIONS, max_size=12), st.randoms())
def test_a_second_look_at_templates_drops_nothing(make_duckdb_work, drawn, random):
    pairs = [pair(n * 7919 - 50, caption=SENTENCE.format(word) + end) for n, (word, end) in enumerate(drawn)]
    dropped = run(make_duckdb_work, {"max_per_template": 1}, pairs)
    assert run(make_duckdb_work, {"max_per_template": 1}, random.sample(pairs, len(pairs))) == dropped
    left = [pair for pair in pairs if pair["pair_id"] not in dropped]
    assert run(make_duckdb_work, {"max_per_template": 1}, left) == {}
