"""Every error that fairshard raises on purpose.

FairshardError                    exit code
├── InputError                    2   a file of the user's is wrong
│   ├── ConfigError               2   config or policy
│   ├── SourceError               2   an image-text list
│   └── ReleaseError              2   a release or work directory
├── MissingExtra                  2   an optional dependency is not installed
├── StageError                    2   a stage could not finish; rerunning resumes
│   └── SqlError                  2   an engine refused a step
├── ContractError                 2   a function or a table broke its declared types
└── Refused                       3   fail closed: going on could use what was not permitted
    └── RegistryError             3   a registry that is missing, stale, unreadable or without a usable entry

A message says where, what was found, what was expected and what to do next. Bad rows are never
exceptions: they are data with a reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FairshardError(Exception):
    """Root of the tree.

    Attributes:
        where: file, key or table at fault.
        found: what was there.
        expected: what should have been there.
        hint: what to do next.
    """

    exit_code = 2

    def __init__(self, where: str, found: str, expected: str = "", hint: str = ""):
        self.where, self.found, self.expected, self.hint = where, found, expected, hint
        text = f"{where}: {found}"
        if expected:
            text += f"; expected {expected}"
        if hint:
            text += f". {hint}"
        super().__init__(text)

    def __reduce__(self):
        # Workers send errors home by pickle, which would call __init__ with the finished message alone.
        return _rebuild, (type(self), self.__dict__, self.args)


def _rebuild(kind: type[FairshardError], attributes: dict, args: tuple) -> FairshardError:
    error = kind.__new__(kind)
    error.__dict__.update(attributes)
    error.args = args
    return error


class InputError(FairshardError):
    """A file of the user's is wrong."""


class ConfigError(InputError):
    """The configuration or the policy is wrong."""


class SourceError(InputError):
    """A source cannot be read as an image-text list."""


class ReleaseError(InputError):
    """A work or release directory is not what it should be."""


class MissingExtra(FairshardError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, verb: str, module: str = ""):
        self.extra, self.verb, self.module = extra, verb, module
        super().__init__(verb, f"needs the extra [{extra}]", hint=f"Install it: pip install 'fairshard[{extra}]'")


class StageError(FairshardError):
    """A stage could not finish. What was committed stays; rerunning resumes."""


class SqlError(StageError):
    """An engine refused a SQL step."""


class ContractError(FairshardError):
    """A function or a table broke its declared types."""


class Refused(FairshardError):
    """Fail closed: going on could use what was not permitted."""

    exit_code = 3


class RegistryError(Refused):
    """A registry is missing, stale or unreadable, or nothing in it can be used."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of the known words, or all of them if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}"
