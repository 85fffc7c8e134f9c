"""Tests with the compiled loops, and without them."""

import os
from importlib import import_module

import pytest

from fairshard.udfs.compiled import links, loops


def _needs(module, source):
    reason = f"{source} was not compiled: no C compiler when fairshard was installed"
    return pytest.mark.skipif(module is None and "CI" not in os.environ, reason=reason)


needs_loops, needs_links = _needs(loops, "_pixels.c"), _needs(links, "_links.c")

with_and_without_loops = pytest.mark.parametrize(
    "compiled", [pytest.param(True, marks=needs_loops, id="compiled"), pytest.param(False, id="not compiled")]
)


def use_loops(monkeypatch, compiled, *modules):
    """Take the loops from modules of ``fairshard.udfs``; or see that they are there."""
    for name in modules:
        module = import_module(f"fairshard.udfs.{name}")
        if compiled:
            assert module.loops is not None
        else:
            monkeypatch.setattr(module, "loops", None)
