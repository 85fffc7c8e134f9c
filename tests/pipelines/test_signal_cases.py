"""The conformance corpus, and what happens to a file that is none."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from fairshard.pipelines import signal_cases
from fairshard.pipelines._protocols import COMBINE, READERS
from fairshard.schemas.errors import InputError
from fairshard.schemas.verdicts import VERDICTS

VECTORS = Path(__file__).parents[1] / "vectors"
MORE = VECTORS / "more"


def _cases(folder: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.open(encoding="utf-8")]


CASES = _cases(VECTORS)
EVERY = [pytest.param(case, folder, id=case["id"]) for folder in (VECTORS, MORE) for case in _cases(folder)]


@pytest.mark.parametrize(("case", "folder"), EVERY)
def test_case(case, folder, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    result = signal_cases.judge(case, folder)
    assert signal_cases.mismatch(case, result) == "", case["note"]
    assert json.loads(json.dumps(result)) == result


def _refuse(*_):
    raise AssertionError("a reader opened a connection")


def test_the_corpus_is_whole():
    assert len(CASES) == 531
    assert {case["kind"] for case in CASES} == {*READERS, COMBINE}
    assert {case["want"] for case in CASES} == set(VERDICTS)


def test_run_tells_what_is_wrong(tmp_path):
    case = {"id": "a", "kind": "robots_txt", "url": "https://a.example/x", "body": "", "want": "deny"}
    file = _write(tmp_path, case, {**case, "want": "none", "want_tags": ["t"]}, {**case, "want": "none"})
    assert [problem for _, problem in signal_cases.run(file)] == [
        "a: verdict is none, wanted deny",
        "a: tags are [], wanted ['t']",
        "",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "cases.jsonl:2: is no JSON"),
        ("[" * 100_000, "cases.jsonl:2: is no JSON"),
        ("[]", "cases.jsonl:2: is list; expected a JSON object"),
        ('{"kind": "robots_txt", "url": ""}', "cases.jsonl:2: id: is missing; expected a text"),
        ('{"id": "a", "kind": "robots", "url": ""}', "cases.jsonl:2: kind: is 'robots'"),
        ('{"id": "a", "kind": "xmp"}', "cases.jsonl:2: url: is missing"),
        ('{"id": "a", "kind": "xmp", "url": ""}', "cases.jsonl:2: file: is missing; expected the path"),
        ('{"id": "a", "kind": "xmp", "file": "none.jpg"}', "cases.jsonl:2: file: cannot be read"),
        ('{"id": "a", "kind": "robots_txt", "url": "", "want": "maybe"}', "cases.jsonl:2: want: is 'maybe'"),
        ('{"id": "a", "kind": "robots_txt", "url": "", "status": "200"}', "cases.jsonl:2: status: is '200'"),
        ('{"id": "a", "kind": "robots_txt", "url": "", "hops": []}', "cases.jsonl:2: hops: is []"),
        ('{"id": "a", "kind": "robots_txt", "url": "", "body_base64": "*"}', "cases.jsonl:2: body_base64: is '*'"),
        ('{"id": "a", "kind": "robots_txt", "url": "", "headers": [["a"]]}', "cases.jsonl:2: headers: is [['a']]"),
        ('{"id": "a", "kind": "robots_txt", "url": "", "policy": {"x": 1}}', "unknown key 'x'"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    file = _write(tmp_path, {"id": "a", "kind": "robots_txt", "url": "https://a.example/"})
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(InputError) as error:
        list(signal_cases.run(file))
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read"):
        list(signal_cases.run(tmp_path / "none.jsonl"))


def _write(folder: Path, *cases: dict) -> Path:
    file = folder / "cases.jsonl"
    file.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return file


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ({}, "deny"),
        ({"policy": {"recorded_licences": ["http://www.a.example/x.jpg#y"]}}, "allow"),
        ({"policy": {"recorded_licences": ["https://a.example/x.jpg"]}, "registry": None}, "hold"),
        ({"policy": {"recorded_licences": ["https://a.example/x.jpg"]}, "files": {"robots_txt": None}}, "hold"),
    ],
)
def test_a_recorded_licence_answers_refusals_and_no_open_questions(more, verdict):
    headers = [["X-Robots-Tag", "noai"]]
    case = {"id": "a", "kind": "combine", "url": "https://a.example/x.jpg", "headers": headers, **more}
    assert signal_cases.judge(case, VECTORS)["verdict"] == verdict
