"""The policy gate: which evidence drops a pair, by policy, on every engine."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _gate
from fairshard.schemas import policy as policies
from fairshard.schemas.policy import KINDS, PRESETS, Policy
from fairshard.schemas.verdicts import VERDICTS

ALL_KEPT = {"none": "keep", "cond": "keep", "hold": "keep"}

# Name: policy, licence of the pair, evidence as "kind:verdict" or "kind:verdict:only_if", and the reason it is dropped for (None: kept).
CASES: dict[str, tuple[dict, str | None, list[str], str | None]] = {
    "nothing said": ({}, None, [], None),
    "one says no": ({}, None, ["robots_txt:deny"], "deny:robots_txt"),
    "one says none": ({}, None, ["robots_txt:none"], None),
    "deny beats allow": ({}, None, ["tdmrep:allow", "x_robots_tag:deny"], "deny:x_robots_tag"),
    "deny beats hold": ({}, None, ["robots_txt:hold", "tdmrep:deny"], "deny:tdmrep"),
    "deny beats cond": ({}, None, ["tdmrep:cond", "x_robots_tag:deny"], "deny:x_robots_tag"),
    "hold beats cond": ({}, None, ["tdmrep:cond", "robots_txt:hold"], "hold:robots_txt"),
    "cond beats allow": ({}, None, ["registry:none", "tdmrep:cond", "x_robots_tag:allow"], "cond:tdmrep"),
    "one reason of several": ({}, None, ["x_robots_tag:deny", "robots_txt:deny"], "deny:robots_txt"),
    "hold kept": ({"hold": "keep"}, None, ["robots_txt:hold"], None),
    "cond kept": ({"cond": "keep"}, None, ["tdmrep:cond"], None),
    "hold kept, cond dropped": ({"hold": "keep"}, None, ["robots_txt:hold", "tdmrep:cond"], "cond:tdmrep"),
    "deny is always dropped": (ALL_KEPT, None, ["robots_txt:hold", "tdmrep:deny"], "deny:tdmrep"),
    "does not bind": ({"binding": ["robots_txt"]}, None, ["tdmrep:deny", "registry:deny", "http_status:cond"], None),
    "nothing binds": ({"binding": []}, None, [f"{kind}:deny" for kind in KINDS], None),
    "unknown to the policy": ({}, None, ["smoke_signal:deny"], None),
    "licence beats deny": ({}, None, ["registry:allow", "robots_txt:deny", "registry:deny"], None),
    "licence beats cond": ({}, None, ["registry:allow", "http_status:cond"], None),
    "licence beats no hash list": ({}, None, ["registry:allow", "hash_list:deny"], "deny:hash_list"),
    "licence beats no hold": ({}, None, ["registry:allow", "robots_txt:hold", "tdmrep:deny"], "hold:robots_txt"),
    "licence that does not bind": ({"binding": ["tdmrep"]}, None, ["registry:allow", "tdmrep:deny"], "deny:tdmrep"),
    "not reserved is no licence": ({}, None, ["tdmrep:allow", "robots_txt:deny"], "deny:robots_txt"),
    "for another purpose": ({}, None, ["registry:deny:purpose=genai"], None),
    "for this purpose": ({"purpose": "genai"}, None, ["registry:deny:purpose=genai"], "deny:registry"),
    "licence for another purpose": ({}, None, ["registry:allow:purpose=genai", "rsl:deny"], "deny:rsl"),
    "licence for this purpose": ({"purpose": "genai"}, None, ["registry:allow:purpose=genai", "rsl:deny"], None),
    "a crawler is closed out": ({}, None, ["robots_txt:deny:ai_agent_proxy=any"], "deny:robots_txt"),
    "others are no proxy": ({"ai_agent_proxy": "off"}, None, ["robots_txt:deny:ai_agent_proxy=any"], None),
    "noindex": ({}, None, ["x_robots_tag:deny:noindex=deny"], "deny:x_robots_tag"),
    "noindex is about search": ({"noindex": "ignore"}, None, ["x_robots_tag:deny:noindex=deny"], None),
    "held for what robots.txt may hold": ({"binding": ["aipref"]}, None, ["robots_txt:hold"], "hold:robots_txt"),
    "held, though nothing of it binds": ({"binding": ["tdmrep", "registry"]}, None, ["robots_txt:hold"], None),
    "robots.txt itself does not bind": ({"binding": ["aipref"]}, None, ["robots_txt:deny"], None),
    "silence dropped": ({"none": "drop"}, None, [], "none:policy"),
    "silence dropped, licence": ({"none": "drop"}, None, ["registry:allow"], None),
    "silence dropped, not reserved": ({"none": "drop"}, None, ["tdmrep:allow"], "none:policy"),
    "silence dropped, its licence listed": ({"none": "drop", "licences": ["cc0"]}, " CC0 ", [], None),
    "silence dropped, other licence": ({"none": "drop", "licences": ["cc0"]}, "cc0-like", [], "none:policy"),
    "listed licence beats no deny": ({"none": "drop", "licences": ["cc0"]}, "cc0", ["tdmrep:deny"], "deny:tdmrep"),
    "silence dropped, and denied": ({"none": "drop"}, None, ["tdmrep:deny"], "deny:tdmrep"),
    "silence dropped, cond kept": ({"none": "drop", "cond": "keep"}, None, ["tdmrep:cond"], "none:policy"),
    "silence dropped, licence unbound": ({"none": "drop", "binding": []}, None, ["registry:allow"], "none:policy"),
}
# A policy is data to the SQL: on Spark, where a query takes seconds, each branch is tried once.
ON_SPARK = [{}, {"none": "drop", "licences": ["cc0"]}]


def signals(pair_id: int, evidence: list[str]) -> list[dict]:
    split = [one.split(":") for one in evidence]
    return [
        {"pair_id": pair_id, "kind": kind, "verdict": verdict, "scope": "url", "source": "there",
         "only_if": only_if[0] if only_if else None}
        for kind, verdict, *only_if in split
    ]  # fmt: skip


def refused(work, policy: Policy) -> dict[int, str]:
    work.alive("screen")
    work.scan("screen", "signal")
    _gate.refused(work.engine, policy, "screen")
    rows = work.engine.rows("SELECT * FROM refused").to_pylist()
    work.clear()
    found = {row["pair_id"]: row["reason"] for row in rows}
    assert len(found) == len(rows) and {row["stage"] for row in rows} <= {"screen"}
    return found


def test_verdicts_by_policy(make_work):
    rows = [{"pair_id": number, "licence": licence} for number, (_, licence, _, _) in enumerate(CASES.values())]
    said = [row for number, (_, _, evidence, _) in enumerate(CASES.values()) for row in signals(number, evidence)]
    work = make_work({}, pair=rows, signal=said)
    tried = [policy for policy, *_ in CASES.values()] if work.job.config.engine == "duckdb" else ON_SPARK
    found = {}
    for policy in {repr(policy): policy for policy in tried}.values():
        reasons = refused(work, Policy(**policy))
        found |= {name: reasons.get(number) for number, (name, case) in enumerate(CASES.items()) if case[0] == policy}
    assert found == {name: reason for name, (policy, *_, reason) in CASES.items() if policy in tried}


def test_every_preset_drops_what_is_denied_and_what_is_listed(make_duckdb_work, tmp_path):
    said = [
        *signals(1, ["robots_txt:deny"]),
        *signals(2, ["registry:deny"]),
        *signals(3, ["registry:allow", "hash_list:deny"]),
    ]
    work = make_duckdb_work({}, pair=[{"pair_id": number} for number in (1, 2, 3, 4)], signal=said)
    for preset in PRESETS:
        found = refused(work, policies.load(preset, tmp_path))
        assert found.pop(4, None) == ("none:policy" if preset == "licensed-only" else None)
        assert found == {1: "deny:robots_txt", 2: "deny:registry", 3: "deny:hash_list"}


def test_what_was_dropped_before_is_not_dropped_again(make_work):
    gone = [{"pair_id": 1, "stage": "consult", "reason": "deny:registry"}]
    work = make_work({}, pair=[{"pair_id": 1}, {"pair_id": 2}], signal=signals(1, ["tdmrep:deny"]), dropped=gone)
    assert refused(work, Policy()) == {}


def test_the_evidence_of_a_drop_points_to_what_was_said(make_work):
    said = [
        {"pair_id": 1, "kind": "robots_txt", "verdict": "deny", "scope": "url", "source": "https://a.example/robots.txt",
         "value": "Disallow: /"},
        {"pair_id": 2, "kind": "registry", "verdict": "deny", "scope": "domain", "source": "list", "rule_id": -5},
        {"pair_id": 3, "kind": "http_status", "verdict": "cond", "scope": "asset", "source": "there"},
    ]  # fmt: skip
    work = make_work({}, pair=[{"pair_id": n} for n in (1, 2, 3)], signal=said)
    work.alive("screen")
    work.scan("screen", "signal")
    _gate.refused(work.engine, Policy(none="drop"), "screen")
    rows = work.engine.rows("SELECT pair_id, evidence FROM refused").to_pylist()
    assert {row["pair_id"]: row["evidence"] for row in rows} == {
        1: "https://a.example/robots.txt (url): Disallow: /", 2: "list (domain): rule -5", 3: "there (asset): "}  # fmt: skip


EVIDENCE = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(VERDICTS)).map(":".join), max_size=5)
CHOICE = st.sampled_from(["keep", "drop"])
POLICY = st.builds(
    Policy,
    binding=st.lists(st.sampled_from(KINDS), unique=True).map(tuple),
    none=CHOICE, cond=CHOICE, hold=CHOICE, licences=st.sampled_from([(), ("cc0",)]),
)  # fmt: skip
EXAMPLES = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EXAMPLES
@given(
    POLICY,
    st.lists(st.tuples(EVIDENCE, st.sampled_from([None, "cc0"])), min_size=1, max_size=12),
    st.sampled_from(KINDS),
)
def test_more_refusals_never_bring_a_pair_back(make_duckdb_work, policy, pairs, kind):
    """Each pair is judged without and with one more refusal, side by side."""
    rows, said = [], []
    for number, (evidence, licence) in enumerate(pairs):
        rows += [{"pair_id": 2 * number, "licence": licence}, {"pair_id": 2 * number + 1, "licence": licence}]
        said += signals(2 * number, evidence) + signals(2 * number + 1, [*evidence, f"{kind}:deny"])
    found = refused(make_duckdb_work({}, pair=rows, signal=said), policy)
    for number, (evidence, _) in enumerate(pairs):
        before, after = found.get(2 * number), found.get(2 * number + 1)
        assert after or not before
        licensed = "registry" in policy.binding and "registry:allow" in evidence
        if kind not in policy.binding:
            assert after == before
        elif not licensed or kind == "hash_list":
            assert after.startswith("deny:")


@EXAMPLES
@given(POLICY, st.lists(EVIDENCE, min_size=1, max_size=12), st.randoms())
def test_neither_order_nor_repetition_of_evidence_matters(make_duckdb_work, policy, pairs, random):
    said = [row for number, evidence in enumerate(pairs) for row in signals(number, evidence)]
    shuffled = random.sample(said, len(said)) + said[:3]
    rows = [{"pair_id": number} for number in range(len(pairs))]
    assert refused(make_duckdb_work({}, pair=rows, signal=said), policy) == refused(
        make_duckdb_work({}, pair=rows, signal=shuffled), policy
    )
