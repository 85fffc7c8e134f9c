"""Protocols in files of a host: TDMRep, ai.txt, RSL; and registries."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.signals import Response, ai_txt, hash_list, rsl, tdmrep, url_registry

URL = "https://a.example/x/y.jpg"
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALAR | st.just("/") | st.just("*"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["location", "tdm-reservation", "tdm-policy", "x"]), inner, max_size=4)
    ),
)


def _tdm(document) -> str:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return tdmrep.verdict([tdmrep.parse(body, URL).layer(URL)]).verdict


@given(JSON)
def test_tdmrep_grants_only_by_the_number_zero(document):
    verdict = _tdm(document)
    assert verdict in ("none", "deny", "cond") or '"tdm-reservation": 0' in json.dumps(document)


@given(st.binary(max_size=200))
def test_tdmrep_of_any_bytes(body):
    assert _tdm(body) == "none"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'[{"location": "/", "tdm-reservation": NaN}]',
        b'[{"location": "/", "tdm-reservation": ' + b"0" * 5_000 + b"}]",
        b'[{"location": "/", "tdm-reservation": 0' + b"0" * 5_000 + b"}]",
        b'[{"location": "/", "tdm-reservation": 0.0}]',
        b'[{"location": "/", "tdm-reservation": 0, "tdm-reservation": 2}]',
        b"\xff" + b'[{"location": "/", "tdm-reservation": 0}]',
        b" " * tdmrep.MAX_BYTES + b'[{"location": "/", "tdm-reservation": 1}]',
    ],
    ids=lambda body: body[:45].strip().decode("latin-1"),
)
def test_tdmrep_garbage_states_nothing(body):
    assert _tdm(body) == "none"


@pytest.mark.parametrize(
    ("document", "verdict"),
    [
        ([{"location": "/", "tdm-reservation": 1.0}], "deny"),
        (b'[{"location": "/", "tdm-reservation": 1, "tdm-reservation": 0}]', "deny"),
        ([{"location": "/", "tdm-reservation": 1, "tdm-policy": "/p.json"}], "cond"),
        ([{"location": "/", "tdm-reservation": 1, "tdm-policy": "javascript:x"}], "deny"),
        ([{"location": "/", "tdm-reservation": 1, "tdm-policy": ["https://a.example/p"]}], "deny"),
        ([{"location": "/x/", "tdm-reservation": None}, {"location": "/", "tdm-reservation": 0}], "none"),
    ],
)
def test_tdmrep_file(document, verdict):
    assert _tdm(document) == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (["1"], "deny"),
        (["0"], "allow"),
        (["0, 0"], "allow"),
        (["0", "2"], "none"),
        (["0", "1"], "deny"),
        ([""], "none"),
    ],
)
def test_tdmrep_headers(values, verdict):
    hop = Response(URL, 200, [("TDM-Reservation", value) for value in values])
    assert tdmrep.verdict([tdmrep.header_layer([hop])]).verdict == verdict


def test_tdmrep_on_a_redirect_restricts_and_does_not_grant():
    for value, verdict in (("1", "deny"), ("0", "none")):
        hops = [Response(URL, 302, [("tdm-reservation", value)]), Response(URL, 200)]
        assert tdmrep.verdict([tdmrep.header_layer(hops)]).verdict == verdict


def test_tdmrep_keeps_the_policy_of_a_lower_layer():
    file = tdmrep.parse(b'[{"location": "/", "tdm-reservation": 0, "tdm-policy": "https://a.example/p"}]')
    header = tdmrep.Layer(reservation=True)
    assert tdmrep.verdict([file.layer(URL), header]).verdict == "cond"
    assert tdmrep.verdict([file.layer(URL), header], {"https://a.example/p"}).verdict == "deny"


@given(st.binary(max_size=200))
def test_ai_txt_of_any_bytes(body):
    assert ai_txt.parse(body).verdict(URL, "fairshard").verdict == "none" or b"llow" in body


@pytest.mark.parametrize(
    ("rules", "url", "verdict"),
    [
        ("Disallow: *.tar.gz", "https://a.example/a.TAR.GZ#x", "deny"),
        ("Disallow: *.jpg", "https://a.example/a%2Ejpg", "deny"),
        ("Disallow: *.jpg", "https://a.example/jpg", "none"),
        ("Disallow: *.jpg", "https://a.example/.jpg/x", "none"),
        ("Disallow: /*.jpg", "https://a.example/x.jpg.png", "deny"),
        ("Disallow: /x/", URL, "deny"),
    ],
)
def test_ai_txt(rules, url, verdict):
    assert ai_txt.parse(f"User-agent: *\n{rules}".encode()).verdict(url, "fairshard").verdict == verdict


@pytest.mark.parametrize(("status", "verdict"), [(404, "none"), (0, "hold"), (500, "hold"), (429, "hold")])
def test_ai_txt_status(status, verdict):
    assert ai_txt.from_response(status).verdict(URL, "fairshard").verdict == verdict


def _rsl(inner: str, url: str = URL, user_class: str | None = None, content: str = 'url="/"') -> str:
    text = f'<rsl xmlns="{rsl.NAMESPACE}"><content {content}>{inner}</content></rsl>'
    return rsl.parse(text.encode()).verdict(url, user_class).verdict


TRAIN = '<permits type="usage">ai-train</permits>'


@pytest.mark.parametrize(
    ("licence", "user_class", "verdict"),
    [
        (TRAIN, None, "allow"),
        ('<prohibits type="usage">search</prohibits>', None, "none"),
        ('<payment type="free"/>', None, "none"),
        ('<payment type="purchase"/>', None, "cond"),
        (TRAIN + '<payment type="free"/><payment type="crawl"/>', None, "cond"),
        (TRAIN + "<payment><standard>https://a.example</standard></payment>", None, "cond"),
        (TRAIN + '<permits type="user">education</permits>', None, "deny"),
        (TRAIN + '<permits type="user">education government</permits>', "government", "allow"),
        (TRAIN + '<prohibits type="user">commercial</prohibits>', None, "deny"),
        (TRAIN + '<prohibits type="user">commercial</prohibits>', "education", "allow"),
        (TRAIN + '<permits type="geo">EU</permits>', "education", "deny"),
    ],
)
def test_rsl_licence(licence, user_class, verdict):
    assert _rsl(f"<license>{licence}</license>", user_class=user_class) == verdict


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ('url="https://A.example:443/x/"', "allow"),
        ('url="http://www.a.example/*.jpg$"', "allow"),
        ('url="https://a.example.org/"', "none"),
        ('url="https://b.example@a.example/"', "allow"),
        ('url="https://a.example@b.example/"', "none"),
        ('url="https://*/"', "none"),
        ('url="/x/" server=""', "cond"),
        ('url="x/"', "none"),
        ("", "none"),
    ],
)
def test_rsl_content(content, verdict):
    assert _rsl(f"<license>{TRAIN}</license>", content=content) == verdict


def test_rsl_without_its_namespace_restricts_and_does_not_grant():
    for use, verdict in ((TRAIN, "none"), ('<prohibits type="usage">all</prohibits>', "deny")):
        body = f'<rsl><content url="/"><license>{use}</license></content></rsl>'
        assert rsl.parse(body.encode()).verdict(URL).verdict == verdict


def test_rsl_a_narrower_element_without_a_licence_hides_a_permission():
    for use, verdict in ((TRAIN, "none"), ('<prohibits type="usage">all</prohibits>', "deny")):
        inner = f'<license>{use}</license></content><content url="/x/">'
        assert _rsl(inner) == verdict


@given(st.binary(max_size=200), st.text("<>/rsl content=\"'&;!-[]DOCTYPE ", max_size=100))
def test_rsl_of_anything(data, text):
    assert rsl.parse(data).verdict(URL).verdict == "none"
    assert _rsl(text) == "none"


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE rsl SYSTEM "file:///etc/passwd"><rsl xmlns="https://rslstandard.org/rsl"/>',
        b"<a>" * 100_000,
        b"<rsl " + b" ".join(b'a%d="1"' % n for n in range(50_000)) + b"/>",
        b'<?xml version="1.0" encoding="nonsense"?><rsl/>',
        b"<rsl>" + b" " * 9_000_000 + b"</rsl>",
        b"<rsl>&nbsp;</rsl>",
        b"<rsl>" + b"<a/>" * 300_000 + b"</rsl>",
    ],
    ids=lambda body: body[:30].decode(),
)
def test_hostile_rsl_states_nothing(body):
    assert rsl.parse(body).verdict(URL).verdict == "none"


def test_an_rsl_licence_of_many_permits():
    permits = "".join(f"<permits>{n}</permits>" for n in range(100_000))
    assert _rsl(f"<license>{permits}<permits>ai-train</permits></license>") == "allow"


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ({"host": "WWW.A.example."}, "deny"),
        ({"host": "https://a.example/"}, "deny"),
        ({"host": "a.example:8080"}, "none"),
        ({"host": "example"}, "none"),
        ({"url_prefix": "https://a.example"}, "deny"),
        ({"url_prefix": "https://a.exam"}, "none"),
        ({"url": URL, "optOut": "true", "optIn": True}, "deny"),
        ({"url": URL, "optOut": False}, "none"),
        ({"url": URL, "optIn": "true"}, "none"),
        ({"url": URL, "optIn": True}, "allow"),
        ({"url": URL, "optOut": False, "optIn": True}, "allow"),
        ({"url": URL, "optOut": "oui", "optIn": True}, "none"),
        ({"url": URL, "optOut": [10**5_000], "optIn": True}, "none"),
        ({"url": URL, "withdrawn_at": None}, "deny"),
        ({"url": 7, "host": ["a.example"]}, "none"),
        ([URL], "none"),
        ("not a url", "none"),
        (None, "none"),
    ],
)
def test_url_registry(entry, verdict):
    assert url_registry.verdict([entry], URL).verdict == verdict


@given(st.lists(JSON, max_size=4), st.text(max_size=20))
def test_registries_of_anything(entries, url):
    assert url_registry.verdict(entries, url).verdict in ("none", "hold")
    assert hash_list.verdict(entries, hash_list.Prints("0" * 32, "0" * 64)).verdict == "none"


PDQ = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"


@pytest.mark.parametrize(
    ("entry", "prints", "verdict"),
    [
        ({"type": "MD5", "value": " " + "A" * 32}, hash_list.Prints("a" * 32, ""), "deny"),
        ({"type": "sha256", "value": "a" * 64}, hash_list.Prints("", "a" * 64), "deny"),
        ({"type": "sha256", "value": "a" * 63}, hash_list.Prints("", "a" * 63), "none"),
        ({"type": "sha1", "value": "a" * 40}, hash_list.Prints("", ""), "none"),
        ({"type": "pdq", "value": PDQ.upper()}, hash_list.Prints("", "", [bytes.fromhex(PDQ)], 50), "deny"),
        ({"type": "pdq", "value": PDQ}, hash_list.Prints("", "", [bytes.fromhex(PDQ)], 49), "none"),
        ({"type": "pdq", "value": PDQ}, hash_list.Prints("", ""), "hold"),
        ({"type": "pdq", "value": PDQ, "status": "Deleted"}, hash_list.Prints("", ""), "none"),
        ({"type": "pdq", "value": PDQ, "status": "Disputed"}, hash_list.Prints("", ""), "hold"),
    ],
)
def test_hash_list(entry, prints, verdict):
    assert hash_list.verdict([entry], prints).verdict == verdict
