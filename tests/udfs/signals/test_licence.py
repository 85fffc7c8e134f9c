"""Licences: ids from URLs, pages and files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.signals import Response, html_page, licence

PAGE, IMAGE = "https://a.example/p/page.html", "https://a.example/p/y.jpg"
BY = "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    ("url", "spdx"),
    [
        (BY, "cc-by-4.0"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0", "cc-by-nc-nd-1.0"),
        ("https://creativecommons.org/licenses/by-sa/3.0/igo/deed.en?x#y", "cc-by-sa-3.0-igo"),
        ("https://creativecommons.org/licenses/by-sa/2.5/scotland/", "cc-by-sa-2.5-scotland"),
        ("https://creativecommons.org/licenses/by/2.0/deed", "cc-by-2.0"),
        ("https://creativecommons.org/licenses/by/4.0/legalcode.de", "cc-by-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/legalcode", "cc0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0", "cc-pdm-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/us/", None),
        ("https://creativecommons.org/licenses/by/", None),
        ("https://creativecommons.org/licenses/by-by/4.0/", None),
        ("https://creativecommons.org/licenses/xx/4.0/", None),
        ("https://creativecommons.org.example/publicdomain/zero/1.0/", None),
        ("https://a.example/?https://creativecommons.org/publicdomain/zero/1.0/", None),
        ("https://creativecommons.org@a.example/publicdomain/zero/1.0/", None),
        ("mailto:x", None),
    ],
)
def test_spdx_id(url, spdx):
    assert licence.spdx_id(url) == spdx


def _of_image(document: object, html: str = "") -> list[tuple[str, bool]]:
    text = document if isinstance(document, str) else json.dumps(document)
    page = html_page.parse(f'{html}<script type="application/ld+json">{text}</script>'.encode())
    return [(found.spdx, found.offer) for found in licence.of_page(page, PAGE, IMAGE)]


IMAGE_OBJECT = {"@type": "ImageObject", "contentUrl": "y.jpg", "license": BY}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (IMAGE_OBJECT, [("cc-by-4.0", False)]),
        ({"@graph": [{"x": [IMAGE_OBJECT]}]}, [("cc-by-4.0", False)]),
        ({**IMAGE_OBJECT, "@type": "http://schema.org/ImageObject", "license": {"@id": BY}}, [("cc-by-4.0", False)]),
        ({**IMAGE_OBJECT, "contentUrl": "http://www.a.example/p/./y.jpg#x"}, [("cc-by-4.0", False)]),
        ({**IMAGE_OBJECT, "acquireLicensePage": "/buy"}, [("cc-by-4.0", False)]),
        ({**IMAGE_OBJECT, "license": None, "acquireLicensePage": "/buy"}, [("", True)]),
        ({**IMAGE_OBJECT, "contentUrl": "z.jpg"}, []),
        ({**IMAGE_OBJECT, "@type": "MediaObject"}, []),
        ("[" * 100_000, []),
        ("{", []),
    ],
)
def test_image_object(document, found):
    assert _of_image(document) == found


def test_an_image_object_wins_over_the_page_and_base_is_heeded():
    link = f'<base href="https://a.example/p/"><link rel=license href="{BY}">'
    zero = {**IMAGE_OBJECT, "license": "https://creativecommons.org/publicdomain/zero/1.0/"}
    assert _of_image(zero, link) == [("cc0-1.0", False)]
    assert _of_image({**zero, "contentUrl": "z.jpg"}, link) == [("cc-by-4.0", False)]


def test_a_page_made_to_swell_does_not():
    links = "".join(f'<a rel=license href="{n}">' for n in range(20_000))
    page = html_page.parse(f'<base href="https://a.example/{"a/" * 500_000}">{links}'.encode())
    found = licence.of_page(page, "https://a.example/", None)
    assert len(found) == licence.MAX_LINKS
    assert found[-1].url == f"https://a.example/{licence.MAX_LINKS - 1}"


@given(st.recursive(st.none() | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x)))
def test_json_ld_of_anything(document):
    assert _of_image(document) == []


def test_two_licences_conflict_even_if_one_is_free():
    zero = licence.statement("https://creativecommons.org/publicdomain/zero/1.0/", "x")
    other = licence.statement("https://a.example/terms", "x")
    assert licence.verdict([zero, zero]).verdict == "allow"
    assert licence.verdict([zero, other]).verdict == "cond"
    assert licence.verdict([licence.statement(BY, "x")], ["CC-BY-4.0"]).verdict == "allow"


def test_link_header_of_the_final_response():
    link = ("Link", f'<{BY}>; rel="license", <x>; rel=license; type="application/rsl+xml"')
    hops = [Response(IMAGE, 302, [link]), Response(IMAGE, 200)]
    assert licence.of_headers(hops, IMAGE) == []
    assert [found.spdx for found in licence.of_headers(hops[::-1], IMAGE)] == ["cc-by-4.0"]
