"""What other tools say about the conformance cases, where they differ from the verdict that the specification gives.

    pip install datadiligence==0.1.7 protego==0.7.0
    python benchmarks/signals.py
    python benchmarks/signals.py --write docs/signals.md

Each tool runs as it is, on the cases of tests/vectors that it has a way to judge: a parser of robots.txt gets files
that were found, a reader of response headers gets no files. Tools answer yes or no; ``allow`` and ``none`` are yes,
``deny``, ``cond`` and ``hold`` are no. No connection is opened.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPMessage
from importlib.metadata import version
from pathlib import Path
from urllib.robotparser import RobotFileParser

from fairshard.pipelines._case import Case, read_case
from fairshard.udfs.signals import image_blocks
from fairshard.udfs.signals.xmp_packet import PROVENANCE, properties

VECTORS = Path(__file__).resolve().parents[1] / "tests" / "vectors"
BEGIN, END = "<!-- benchmarks/signals.py: begin -->", "<!-- benchmarks/signals.py: end -->"

_MAY = ("allow", "none")
_AI_DIRECTIVES = {"noai", "noimageai", "noml"}


@dataclass(frozen=True)
class Peer:
    """A tool, and how it is asked.

    Attributes:
        name: with its settings, if they are not the default.
        version: of the tool.
        kind: of the cases that it reads.
        judges: whether it has a way to judge a case.
        allows: its answer.
    """

    name: str
    version: str
    kind: str
    judges: Callable[[Case], bool]
    allows: Callable[[Case], bool]


@dataclass(frozen=True)
class Outcome:
    """The answer of a tool to a case: ``allows``, ``refuses``, ``raises``, or a dash if it cannot judge it."""

    case: str
    note: str
    want: str
    basis: str
    answer: str

    @property
    def wrong(self) -> str:
        """How the answer is wrong; empty if it is right, or none."""
        right = "allows" if self.want in _MAY else "refuses"
        if self.answer == right or self.answer in ("raises", "–"):
            return ""
        return f"wrongly {'allowed' if self.answer == 'allows' else 'denied'}"


def main() -> None:
    options = _options()
    text = report([(peer, list(outcomes(peer))) for peer in peers()])
    if options.write is None:
        print(text)
    else:
        page = options.write.read_text(encoding="utf-8")
        options.write.write_text(replaced(page, text), encoding="utf-8")


def peers() -> list[Peer]:
    """All tools.

    Raises:
        ImportError: one is not installed.
    """
    from protego import Protego

    with _quiet():  # it asks for an API key as soon as it is imported
        from datadiligence.rules import C2PAMetadataRule, TDMRepHeader, XRobotsTagHeader

    def protego(case: Case) -> bool:
        # As Scrapy hands it over.
        return Protego.parse((case.body or b"").decode("utf-8-sig", "ignore")).can_fetch(case.url, case.agent)

    def x_robots_tag(case: Case) -> bool:
        return XRobotsTagHeader(case.agent, case.flags.respect_noindex).is_allowed(response=_response(case))

    def c2pa(case: Case) -> bool:
        return C2PAMetadataRule().is_allowed(path=str(case.picture))

    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or img2dataset would ask for a new version of it
    diligence, img2dataset = version("datadiligence"), version("img2dataset")
    with_c2pa = f"{diligence}, c2pa-python {version('c2pa-python')}"
    return [
        Peer("urllib.robotparser", platform.python_version(), "robots_txt", _is_found, _robotparser),
        Peer("Protego", version("protego"), "robots_txt", _is_found, protego),
        Peer("datadiligence", diligence, "x_robots_tag", _always, x_robots_tag),
        Peer("img2dataset", img2dataset, "x_robots_tag", _always, _img2dataset),
        Peer("img2dataset, set for us", img2dataset, "x_robots_tag", _always, _img2dataset_for_us),
        Peer(
            "datadiligence",
            diligence,
            "tdmrep",
            _is_in_headers,
            lambda c: TDMRepHeader().is_allowed(response=_response(c)),
        ),
        Peer("datadiligence", with_c2pa, "c2pa", _is_local, c2pa),
    ]


def outcomes(peer: Peer) -> Iterator[Outcome]:
    """The answers of a tool to the cases of its kind."""
    file = VECTORS / f"{peer.kind}.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        case = read_case(told, VECTORS, told["id"])
        yield Outcome(told["id"], told["note"], told["want"], told["basis"], _answer(peer, case))


def report(found: Sequence[tuple[Peer, Sequence[Outcome]]]) -> str:
    """The tables in Markdown: the sums, and for each kind the cases that some tool gets wrong."""
    lines = [
        "| tool | version | kind | cases | agreed | wrongly allowed | wrongly denied | could not judge |"
        " our own choices that differ |",
        "|---|---|---|---|---|---|---|---|---|",
        *(summary(peer, answers) for peer, answers in found),
    ]
    for kind in dict.fromkeys(peer.kind for peer, _ in found):
        of_kind = [(peer, answers) for peer, answers in found if peer.kind == kind]
        lines += ["", f"### `{kind}`", "", differences(of_kind)]
    return "\n".join(lines)


def summary(peer: Peer, answers: Iterable[Outcome]) -> str:
    """The row of a tool. Cases that rest on a choice of ours are counted apart."""
    by_basis: dict[str, list[Outcome]] = {"spec": [], "policy": []}
    for outcome in answers:
        by_basis[outcome.basis].append(outcome)
    spec, ours = by_basis["spec"], by_basis["policy"]
    judged = [outcome for outcome in spec if outcome.answer in ("allows", "refuses")]
    counts = [
        len(spec),
        sum(not outcome.wrong for outcome in judged),
        sum(outcome.wrong == "wrongly allowed" for outcome in judged),
        sum(outcome.wrong == "wrongly denied" for outcome in judged),
        len(spec) - len(judged),
    ]
    differ = f"{sum(bool(outcome.wrong) for outcome in ours)} of {len(ours)}"
    return "| " + " | ".join(map(str, (peer.name, peer.version, f"`{peer.kind}`", *counts, differ))) + " |"


def differences(found: Sequence[tuple[Peer, Sequence[Outcome]]]) -> str:
    """The cases of one kind that rest on a specification and that some tool gets wrong, wrong answers in bold."""
    rows = []
    for row in zip(*(answers for _, answers in found), strict=True):
        case = row[0]
        if case.basis == "spec" and any(outcome.wrong or outcome.answer == "raises" for outcome in row):
            cells = [f"**{outcome.answer}**" if outcome.wrong else outcome.answer for outcome in row]
            rows.append(f"| {case.case}: {case.note} | {case.want} | {' | '.join(cells)} |")
    if not rows:
        return "No difference on the cases that could be judged."
    head = f"| case | right | {' | '.join(peer.name for peer, _ in found)} |"
    return "\n".join([head, "|---|---|" + "---|" * len(found), *rows])


def replaced(page: str, text: str) -> str:
    """A page with the text between its two marks."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page, flags=re.DOTALL)


def _answer(peer: Peer, case: Case) -> str:
    if not peer.judges(case):
        return "–"
    try:
        with _quiet():
            return "allows" if peer.allows(case) else "refuses"
    except Exception:  # noqa: BLE001 - whatever a tool raises is its answer
        return "raises"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tools print and log what they cannot read, and allow it; here only the answer is of interest."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


def _always(case: Case) -> bool:
    return True


def _is_found(case: Case) -> bool:
    """A file that was found at once: a parser knows of no status and follows no redirect."""
    return len(case.hops) == 1 and case.hops[0].status == 200 and case.flags.ai_agent_proxy == "off"


def _is_in_headers(case: Case) -> bool:
    return not case.files and case.body is None


def _is_local(case: Case) -> bool:
    """A file whose manifest does not lie on a server, where the tool would go and get it."""
    blocks = image_blocks.read(case.data)
    return bool(blocks.c2pa) or not properties(blocks).get(PROVENANCE)


def _robotparser(case: Case) -> bool:
    parser = RobotFileParser()
    parser.parse((case.body or b"").decode("utf-8").splitlines())  # as its read() does
    return parser.can_fetch(case.agent, case.url)


def _img2dataset(case: Case) -> bool:
    return not _img2dataset_refuses(case, None, {"noai", "noimageai", "noindex", "noimageindex"})


def _img2dataset_for_us(case: Case) -> bool:
    directives = _AI_DIRECTIVES | ({"noindex", "none"} if case.flags.respect_noindex else set())
    return not _img2dataset_refuses(case, case.agent, directives)


def _img2dataset_refuses(case: Case, token: str | None, directives: set[str]) -> bool:
    from img2dataset.downloader import is_disallowed

    message = HTTPMessage()
    for name, value in case.hops[-1].headers:
        message[name] = value
    return is_disallowed(message, token, directives)


def _response(case: Case):
    """The final response as requests would hand it over: the lines of one header joined by commas."""
    from requests import Response
    from urllib3 import HTTPHeaderDict

    response = Response()
    response.status_code, response.url = case.hops[-1].status, case.url
    headers = HTTPHeaderDict()
    for name, value in case.hops[-1].headers:
        headers.add(name, value)
    response.headers.update(headers)
    return response


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the tables into this page, between two marks")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
