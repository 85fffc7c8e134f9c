"""What ended a trainer, in words for whoever started it; and whether the device that was asked for is there."""

from __future__ import annotations

import re
import signal

from ..schemas.errors import ConfigError, MissingExtra, StageError

_LESS = "Lower batch_size or image_size, take a smaller model or a larger machine"
_NO_MEMORY = ("MemoryError", "OutOfMemoryError", "can't allocate memory", "not enough memory", "std::bad_alloc",
              "Cannot allocate memory", "out of memory", "failed to map segment")  # fmt: skip
# What torch's writer of checkpoints says of a disk that is full.
_NO_ROOM = ("No space left on device", "PytorchStreamWriter failed", ". unexpected pos ")
_OTHERS = ("Error(s) in loading state_dict", "loaded state dict", "PytorchStreamReader", "UnpicklingError",
           "KeyError: 'state_dict'")  # fmt: skip
_KIND = re.compile(r"^(StageError|ReleaseError|FloatingPointError): ")


def trainer_failed(code: int, said: str, log_tail: str, out: str, log: str) -> StageError:
    """Why a trainer's process ended, and what to do about it.

    Args:
        code: of the process; negative is the signal that ended it.
        said: the error by kind and text, as the process said it; empty if it could not.
        log_tail: the end of what it wrote to stderr, where a library that aborts says why.
        out: the run folder.
        log: the whole of stderr.
    """
    again = f"See {log}; running again goes on from the last epoch"
    told = said or _last_line(log_tail)
    if code == -signal.SIGKILL:
        return StageError("train", "the trainer was killed, as a system does that is out of memory",
                          hint=f"{_LESS}. {again}")  # fmt: skip
    if _tells_of_memory(said or log_tail):
        return StageError("train", f"there was not enough memory ({_short(told)})", hint=f"{_LESS}. {again}")
    if any(sign in (said or log_tail) for sign in _NO_ROOM):
        return StageError(out, "there is no room left on the disk", hint=f"Free some. {again}")
    if said.startswith("FloatingPointError: "):
        return StageError("train", f"the trainer ended with {code}: {_KIND.sub('', said)}", hint=f"See {log}")
    if any(sign in said for sign in _OTHERS):
        return StageError(f"{out}/checkpoints", f"cannot be gone on from ({_short(told)})",
                          "checkpoints of this very model", "Delete them to begin anew, or choose another folder")  # fmt: skip
    return StageError(
        "train", f"the trainer ended with {code}: {_KIND.sub('', told) or 'it did not say why'}", hint=again
    )


def out_of_memory(error: BaseException) -> str | None:
    """What an error of this very process says of memory that could not be had; None for any other error."""
    said = f"{type(error).__name__}: {error}"
    return f"there was not enough memory ({_short(said)})" if _tells_of_memory(said) else None


def check_device(device: str, processes: int, key: str = "train.device") -> None:
    """Refuse a device that is not there, where open_clip would go on without a word on the CPU.

    Raises:
        ConfigError: no such device, or not one for each process.
        MissingExtra: torch is not installed.
    """
    if device == "cpu":
        return
    try:
        import torch
    except ImportError as error:
        raise MissingExtra(extra="train", verb="train", module="torch") from error
    try:
        kind, number = torch.device(device).type, torch.device(device).index
        there = getattr(torch, kind).device_count() if kind != "mps" else int(torch.backends.mps.is_available())
    except (RuntimeError, AttributeError) as error:
        raise ConfigError(key, f"is '{device}', which torch does not know", "cpu, cuda or cuda:1") from error
    needed = max(processes, (number or 0) + 1)
    if there < needed:
        raise ConfigError(key, f"is '{device}', and torch finds {there} of this kind", f"at least {needed}",
                          f"Set {key}: cpu, or install a build of torch for this machine's GPU")  # fmt: skip


def _tells_of_memory(text: str) -> bool:
    return any(sign in text for sign in _NO_MEMORY)


def _last_line(log: str) -> str:
    return log.strip().rpartition("\n")[2]


def _short(told: str) -> str:
    """The first line, or the first two where the first only announces."""
    first, _, rest = told.strip().partition("\n")
    return f"{first} {rest.strip().partition(chr(10))[0]}"[:200].strip() if first.endswith(":") else first[:200]
