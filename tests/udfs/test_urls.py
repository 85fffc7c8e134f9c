from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PSLFILE

from fairshard.udfs import urls


def one(udf, value):
    return udf(pa.array([value], pa.string()))[0].as_py()


@pytest.mark.parametrize(
    ("url", "href"),
    [
        ("http://EX.org:80/a/../b#f", "http://ex.org/b"),
        (" https://user:pw@ex.org/x?q=1#z\n", "https://ex.org/x?q=1"),
        ("http://ex.org", "http://ex.org/"),
        ("http://münchen.example/ä b", "http://xn--mnchen-3ya.example/%C3%A4%20b"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("data:,x", "data:,x"),
        ("nope", None),
        ("http://", None),
        ("", None),
        (None, None),
    ],
)
def test_url_href(url, href):
    assert one(urls.url_href, url) == href


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://www.ex.org/img/a.jpg", "ex.org/img/a.jpg"),
        ("http://ex.org:8080/a", "ex.org:8080/a"),
        ("http://ex.org.:443/%7Ea%2fb", "ex.org/~a%2Fb"),
        ("http://ex.org/a|b", "ex.org/a%7Cb"),
        ("http://ex.org/i?b=2&a=%61", "ex.org/i?b=2&a=a"),
        ("http://[::1]:8080/x", "[::1]:8080/x"),
        ("ftp://ex.org/a", None),
        ("x", None),
        (None, None),
    ],
)
def test_url_key(url, key):
    assert one(urls.url_key, url) == key


PARTS = st.lists(
    st.sampled_from(
        [*"abXZ09.-_~%/?&=+:@#|'\" äß", "%20", "%2E", "%2e", "%41", "%7e", "%c3%a9", "%C3%A9", "%2F", "/../"]
    ),
    max_size=12,
).map("".join)


@given(st.builds("{}://{}{}/{}".format, st.sampled_from(["http", "https", "HTTP"]), st.sampled_from(
    ["ex.org", "www.ex.org", "EX.org", "1.2.3.4", "a..b", "ex.org.", "ex.org:80", "ex.0x1", "xn--mnchen-3ya.de", "xy.xn",
     "u:p@ex.org", "[::1]:443"]
), st.sampled_from(["", "/..", "/./a", "/%2e%2e"]), PARTS))  # fmt: skip
def test_the_quick_path_and_the_parser_agree(url):
    assert one(urls.url_href, url) == urls.canonical_href(url)
    assert one(urls.url_key, url) == urls.canonical_key(url)
    href, key = urls.href_and_key(pa.array([url]))
    assert (href[0].as_py(), key[0].as_py()) == (urls.canonical_href(url), urls.canonical_key(url))


@given(st.text(max_size=40))
def test_any_text_has_a_canonical_form_or_none(url):
    href = one(urls.url_href, url)
    assert href is None or one(urls.url_href, href) == href
    key = one(urls.url_key, url)
    assert key is None or one(urls.url_key, f"https://{key}") == key


def test_domains_are_those_of_the_whole_suffix_list():
    lines = Path(PSLFILE).read_text("utf-8").splitlines()
    rules = [line.split()[0].lstrip("!").replace("*", "any") for line in lines if line.strip() and line[:2] != "//"]
    suffixes = {form for rule in rules for form in (rule, rule.encode("idna").decode())}
    odd = [
        "a..com",
        ".a.b.com",
        "a.b.com.",
        "..",
        "",
        "[::1]",
        "[::ffff:1.2.3.4]",
        "1.2.3.4",
        "a.1.2",
        "x.y.no-such-end",
    ]
    hosts = odd + [before + suffix for suffix in sorted(suffixes) for before in ("", "a.", "a.b.", "co.uk.")]
    assert len(hosts) > 20_000
    found = urls.host_domain(pa.array(hosts)).to_pylist()
    assert found == [urls.registrable_domain(host) for host in hosts]


def test_hosts_and_domains():
    keys = pa.array(["ex.org:8080/a", "[::1]/x", "a.b.example/", None])
    assert urls.key_host(keys).to_pylist() == ["ex.org", "[::1]", "a.b.example", None]
    hosts = pa.array(["a.b.co.uk", "photos.meadow.example", "1.2.3.4", "com", None])
    assert urls.host_domain(hosts).to_pylist() == ["b.co.uk", "meadow.example", "1.2.3.4", "com", None]


def test_suffixes_are_cut_on_label_boundaries():
    hosts = pa.array(["a.b.example", "1.2.3.4", None])
    assert urls.host_suffixes(hosts).to_pylist() == [["a.b.example", "b.example", "example"], ["1.2.3.4"], None]


@given(st.lists(st.none() | st.text("ab.1", max_size=9), max_size=9))
def test_suffixes_are_the_host_without_its_first_labels(hosts):
    found = urls.host_suffixes(pa.array(hosts, pa.string())).to_pylist()
    for host, suffixes in zip(hosts, found, strict=True):
        if host is None or host.replace(".", "").isdigit():
            assert suffixes == (None if host is None else [host])
        else:
            labels = host.split(".")
            assert suffixes == [".".join(labels[start:]) for start in range(len(labels))]


def test_a_name_of_a_million_labels_has_parents_that_dns_could_have():
    (suffixes,) = urls.host_suffixes(pa.array(["a." * 1_000_000 + "example.org"])).to_pylist()
    assert suffixes[-2:] == ["example.org", "org"] and len(suffixes) < 130


def test_origin():
    found = urls.url_origin(pa.array(["https://ex.org:8080/a?b", "x", None]))
    assert found.to_pylist() == ["https://ex.org:8080", None, None]
