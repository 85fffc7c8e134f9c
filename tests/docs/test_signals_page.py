"""docs/signals.md names every module of udfs/signals, and says of other tools what they say."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest
from pages import ROOT, names, page, rows, section

PAGE = page("docs/signals.md")
MODULES = {path.stem for path in (ROOT / "udfs" / "signals").glob("*.py")} - {"__init__"}


def test_every_module_is_there_and_no_other():
    read = {names(row[1])[0] for row in rows(section(PAGE, "What is read"))}
    shared = section(PAGE, "What is read").partition("Shared by these modules:")[2]
    assert read | set(names(shared)) == MODULES


def test_every_case_that_is_named_exists_and_says_so():
    notes = {}
    for path in (ROOT / "tests" / "vectors").glob("*.jsonl"):
        told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        notes |= {case["id"]: (case["note"], case["want"]) for case in told}
    named = re.findall(r"^\| ([A-Z]+-\d+): (.*?) \| (\w+) \|", PAGE, re.M)
    assert len(named) > 20
    assert {case: (note, want) for case, note, want in named} == {case: notes[case] for case, _, _ in named}
    assert set(re.findall(r"\b[A-Z]-\d{2,3}\b", section(PAGE, "What other tools say"))) <= notes.keys()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list]:
    """The benchmark, and what it finds now."""
    pytest.importorskip("datadiligence")
    pytest.importorskip("protego")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = importlib.import_module("signals")
    return benchmark, [(peer, list(benchmark.outcomes(peer))) for peer in benchmark.peers()]


def test_other_tools_answer_as_described(compared):
    """Those of the versions that the page names: another may have mended it."""
    benchmark, found = compared
    described = {(row[0], row[1], row[2]) for row in rows(section(PAGE, "What other tools say"))}
    same = [(peer, answers) for peer, answers in found if (peer.name, peer.version, f"`{peer.kind}`") in described]
    assert same
    assert [benchmark.summary(*one) for one in same if benchmark.summary(*one) not in PAGE] == []
    for kind in {peer.kind for peer, _ in found}:
        of_kind = [one for one in found if one[0].kind == kind]
        assert any(one not in same for one in of_kind) or benchmark.differences(of_kind) in PAGE
