"""Members of tar files are those of ``tarfile``, byte for byte."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines._tar import member


def by_tarfile(name: str, data: bytes) -> bytes:
    info, file = tarfile.TarInfo(name), io.BytesIO()
    info.size = len(data)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
        return file.getvalue()


@given(st.text("abcXYZ019._-/é語", min_size=1, max_size=130).filter(lambda name: not name.startswith("/")), st.binary())
def test_members_are_those_of_tarfile(name, data):
    assert member(name, data) == by_tarfile(name, data)


@pytest.mark.parametrize("length", [99, 100, 101])
def test_names_about_as_long_as_a_header_holds(length):
    assert member("n" * length, b"x" * 513) == by_tarfile("n" * length, b"x" * 513)
