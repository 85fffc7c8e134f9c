"""The policy gate: one SQL step that turns evidence into drops, the same before and after fetching.

Facts are recorded by the stages; only this module reads the policy's verdict on them. Across protocols the
most restrictive verdict wins, except that a licence recorded for the asset beats ``deny`` and ``cond`` of
everything but a hash list.
"""

from __future__ import annotations

import pyarrow as pa

from ..schemas.policy import Policy
from ..schemas.verdicts import COND, DENY, HOLD, VERDICTS
from ._engine import Engine
from ._work import Work

# Evidence of the kinds that bind under the policy.
BOUND = """
SELECT signal.pair_id, signal.kind, signal.verdict, signal.scope, signal.value, signal.source,
       signal.rule_id, signal.hop, verdict_rank.severity, verdict_rank.drops
FROM signal
JOIN binding ON signal.kind = binding.kind
JOIN verdict_rank ON signal.verdict = verdict_rank.verdict
"""

# A permission recorded in a registry, with its evidence: the licence that beats a reservation.
LICENSED = "SELECT DISTINCT pair_id FROM bound WHERE kind = 'registry' AND verdict = 'allow'"

# Where silence is not enough: a recorded permission, or a licence that the source states and the policy lists.
# "Not reserved" in some protocol is neither.
PERMITTED = """
SELECT pair_id FROM licensed
UNION
SELECT alive.pair_id FROM alive JOIN policy_licence ON name_key(alive.licence) = policy_licence.licence
"""

COUNTED = """
SELECT bound.* FROM bound LEFT JOIN licensed ON bound.pair_id = licensed.pair_id
WHERE licensed.pair_id IS NULL OR bound.kind = 'hash_list' OR bound.verdict NOT IN ('deny', 'cond')
"""

DECISIVE = """
SELECT * FROM (
    SELECT counted.*, row_number() OVER (
        PARTITION BY counted.pair_id
        ORDER BY CASE WHEN drops THEN 0 ELSE 1 END, severity, kind, scope, source,
                 coalesce(rule_id, 0), coalesce(hop, 0), coalesce(value, '')
    ) AS place
    FROM counted
) AS ranked
WHERE place = 1
"""

REFUSED = """
SELECT decisive.pair_id, $stage AS stage, decisive.verdict || ':' || decisive.kind AS reason,
       decisive.source || ' (' || decisive.scope || '): '
           || coalesce(decisive.value, 'rule ' || CAST(decisive.rule_id AS VARCHAR), '') AS evidence
FROM decisive JOIN alive ON decisive.pair_id = alive.pair_id
WHERE decisive.drops
UNION ALL
SELECT alive.pair_id, $stage AS stage, 'none:policy' AS reason,
       'no permission is recorded' AS evidence
FROM alive LEFT JOIN permitted ON alive.pair_id = permitted.pair_id
LEFT JOIN decisive ON alive.pair_id = decisive.pair_id AND decisive.drops
WHERE $needs_permission AND permitted.pair_id IS NULL AND decisive.pair_id IS NULL
"""


def run(work: Work, stage: str) -> None:
    """Write the ``dropped`` rows of the policy, by all evidence up to and including a stage's own."""
    own = work.marks(stage, leave_out="gate")
    task = work.task(stage, "gate", work.fingerprint(stage, own, work.job.policy))
    if task.done:
        return
    with task:
        work.alive(stage)
        work.scan_all(stage, "signal")
        refused(work.engine, work.job.policy, stage)
        work.write(task, "dropped", "SELECT * FROM refused")


def refused(engine: Engine, policy: Policy, stage: str) -> None:
    """Name ``refused`` on an engine: the ``dropped`` rows of alive pairs that the policy does not let through.

    Needs the relations ``alive`` and ``signal``.
    """
    licensed(engine, policy)
    engine.register("policy_licence", pa.table({"licence": pa.array(policy.licences, pa.string())}))
    engine.step("permitted", PERMITTED)
    engine.step("counted", COUNTED)
    engine.step("decisive", DECISIVE, keep=True)
    engine.step("refused", REFUSED, stage=stage, needs_permission=policy.none == "drop")


def licensed(engine: Engine, policy: Policy) -> None:
    """Name ``licensed`` on an engine: ``pair_id`` of the pairs with a recorded permission.

    Needs the relation ``signal``.
    """
    drops = {DENY: True, HOLD: policy.hold == "drop", COND: policy.cond == "drop"}
    ranks = [(verdict, severity, drops.get(verdict, False)) for severity, verdict in enumerate(VERDICTS)]
    engine.register("verdict_rank", pa.table({
        "verdict": [rank[0] for rank in ranks],
        "severity": pa.array([rank[1] for rank in ranks], pa.int32()),
        "drops": [rank[2] for rank in ranks],
    }))  # fmt: skip
    engine.register("binding", pa.table({"kind": pa.array(policy.binding, pa.string())}))
    engine.step("bound", BOUND)
    engine.step("licensed", LICENSED)
