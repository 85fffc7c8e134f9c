import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


PARTS = st.text("abcXYZ019.-_~%/?&=+:@#|'\" äß", max_size=12)


@given(st.builds("{}://{}{}/{}".format, st.sampled_from(["http", "https", "HTTP"]), st.sampled_from(
    ["ex.org", "www.ex.org", "EX.org", "1.2.3.4", "a..b", "ex.org.", "ex.org:80", "ex.0x1", "xn--mnchen-3ya.de"]
), st.sampled_from(["", "/..", "/./a", "/%2e%2e"]), PARTS))  # fmt: skip
def test_the_quick_path_and_the_parser_agree(url):
    assert one(urls.url_href, url) == urls.canonical_href(url)
    assert one(urls.url_key, url) == urls.canonical_key(url)


@given(st.text(max_size=40))
def test_any_text_has_a_canonical_form_or_none(url):
    href = one(urls.url_href, url)
    assert href is None or one(urls.url_href, href) == href
    key = one(urls.url_key, url)
    assert key is None or one(urls.url_key, f"https://{key}") == key


def test_hosts_and_domains():
    keys = pa.array(["ex.org:8080/a", "[::1]/x", "a.b.example/", None])
    assert urls.key_host(keys).to_pylist() == ["ex.org", "[::1]", "a.b.example", None]
    hosts = pa.array(["a.b.co.uk", "photos.meadow.example", "1.2.3.4", "com", None])
    assert urls.host_domain(hosts).to_pylist() == ["b.co.uk", "meadow.example", "1.2.3.4", "com", None]


def test_suffixes_are_cut_on_label_boundaries():
    hosts = pa.array(["a.b.example", "1.2.3.4", None])
    assert urls.host_suffixes(hosts).to_pylist() == [["a.b.example", "b.example", "example"], ["1.2.3.4"], None]


def test_origin():
    found = urls.url_origin(pa.array(["https://ex.org:8080/a?b", "x", None]))
    assert found.to_pylist() == ["https://ex.org:8080", None, None]
