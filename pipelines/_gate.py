"""The policy gate: one SQL step that turns evidence into drops, the same before and after fetching.

Facts are recorded by the stages; only this module reads the policy's verdict on them. Across protocols the
most restrictive verdict wins, except that a licence recorded for the asset beats ``deny`` and ``cond`` of
everything but a hash list.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ..schemas.policy import Policy
from ..schemas.verdicts import COND, DENY, HOLD, VERDICTS

if TYPE_CHECKING:  # workers, which import this too, do without the engines
    from ._engine import Engine
    from ._store import Task
    from ._work import Work

# As long as a host's robots.txt is not known, what would stand in it is not, and nothing else is asked of the host:
# one `hold` of robots.txt binds where any of these does.
_BY_ROBOTS = frozenset({"robots_txt", "content_signal", "aipref", "rsl", "ai_txt"})

UNREAD = "unread"
"""Kind of evidence that an earlier download had and did not keep: held or let pass by a line of the policy's own."""

# Evidence of the kinds that bind, under any policy or under one that reads it so.
BOUND = """
SELECT signal.pair_id, signal.kind, signal.verdict, signal.scope, signal.value, signal.source,
       signal.rule_id, signal.hop, binding.severity, binding.drops
FROM signal
JOIN binding ON signal.kind = binding.kind AND signal.verdict = binding.verdict
LEFT JOIN reading ON signal.only_if = reading.only_if
WHERE signal.only_if IS NULL OR reading.only_if IS NOT NULL
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


@dataclass(frozen=True)
class Binding:
    """What of the evidence counts under a policy.

    Attributes:
        drops: by kind and verdict, whether it drops a pair; what is not there does not count.
        readings: the lines of the policy that evidence may depend on.
    """

    drops: dict[tuple[str, str], bool]
    readings: tuple[str, ...]

    def refuses(self, kind: str, verdict: str, only_if: str | None) -> bool:
        """Whether a piece of evidence drops a pair, if no permission is recorded."""
        return self.drops.get((kind, verdict), False) and (only_if is None or only_if in self.readings)


def binding(policy: Policy, kinds: Container[str] | None = None) -> Binding:
    """What counts under a policy; of some kinds, if they are given."""
    dropping = {DENY: True, HOLD: policy.hold == "drop", COND: policy.cond == "drop"}
    bound = [(kind, verdict) for kind in policy.binding for verdict in VERDICTS]
    if _BY_ROBOTS.intersection(policy.binding):
        bound.append(("robots_txt", HOLD))
    drops = {one: dropping.get(one[1], False) for one in sorted(set(bound)) if kinds is None or one[0] in kinds}
    drops[UNREAD, HOLD] = policy.unread == "drop"
    keys = ("purpose", "ai_agent_proxy", "noindex", "creator_in_caption")
    readings = [f"{key}={getattr(policy, key)}" for key in keys]
    return Binding(drops, (*readings, *(f"ignore_query_for={host}" for host in policy.ignore_query_for)))


def run(work: Work, stage: str, tell: Callable[[Task], None] = lambda _: None) -> None:
    """Write the ``dropped`` rows of the policy, by all evidence up to and including a stage's own.

    ``tell`` adds to the marker what the stage wants known of ``decisive``.
    """
    own = work.marks(stage, leave_out="gate")
    task = work.task(stage, "gate", work.fingerprint(stage, own, work.job.policy))
    if task.done:
        return
    with task:
        work.alive(stage)
        work.scan_all(stage, "signal")
        refused(work.engine, work.job.policy, stage)
        tell(task)
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
    counts = binding(policy)
    engine.register("binding", pa.table({
        "kind": pa.array([kind for kind, _ in counts.drops], pa.string()),
        "verdict": pa.array([verdict for _, verdict in counts.drops], pa.string()),
        "severity": pa.array([VERDICTS.index(verdict) for _, verdict in counts.drops], pa.int32()),
        "drops": pa.array(counts.drops.values(), pa.bool_()),
    }))  # fmt: skip
    engine.register("reading", pa.table({"only_if": pa.array(counts.readings, pa.string())}))
    engine.step("bound", BOUND)
    engine.step("licensed", LICENSED)
