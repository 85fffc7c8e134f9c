"""What ended a trainer, in words for whoever started it; and whether the device that was asked for is there."""

from __future__ import annotations

import signal
from typing import NoReturn

from ..schemas.errors import ConfigError, MissingExtra, StageError

_LESS = "Lower train.batch_size or train.image_size, or take a smaller train.model or a larger machine"
_NO_MEMORY = ("MemoryError", "OutOfMemoryError", "can't allocate memory", "not enough memory", "std::bad_alloc",
              "Cannot allocate memory", "out of memory")  # fmt: skip
_OTHERS = ("Error(s) in loading state_dict", "loaded state dict", "PytorchStreamReader", "UnpicklingError",
           "KeyError: 'state_dict'")  # fmt: skip


def fail(code: int, said: str, log_tail: str, out: str, log: str) -> NoReturn:
    """Say why a trainer's process ended.

    Args:
        code: of the process; negative is the signal that ended it.
        said: the error by kind and text, as the process said it; empty if it could not.
        log_tail: the end of what it wrote to stderr, where a library that aborts says why.
        out: the run folder.
        log: the whole of stderr.

    Raises:
        StageError: always.
    """
    again = f"See {log}; running again goes on from the last epoch"
    text = said or log_tail
    if any(sign in text for sign in _NO_MEMORY):
        raise StageError("train", f"there was not enough memory ({_first_line(said) or 'the trainer was aborted'})",
                         hint=f"{_LESS}. {again}")  # fmt: skip
    if code == -signal.SIGKILL:
        raise StageError("train", "the trainer was killed, as a system does that is out of memory",
                         hint=f"{_LESS}. {again}")  # fmt: skip
    if said.startswith("FloatingPointError: "):
        raise StageError("train", said.removeprefix("FloatingPointError: "), "numbers",
                         f"Lower train.lr, raise train.warmup or set train.grad_clip_norm: 1.0. See {log}")  # fmt: skip
    if any(sign in said for sign in _OTHERS):
        raise StageError(f"{out}/checkpoints", f"cannot be gone on from ({_first_line(said)})",
                         "checkpoints of this very model", "Delete them to begin anew, or choose another run_dir")  # fmt: skip
    raise StageError("train", f"the trainer ended with {code}: {said or 'it did not say why'}", hint=again)


def check_device(device: str, processes: int) -> None:
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
        raise ConfigError("train.device", f"is '{device}', which torch does not know", "cpu, cuda or cuda:1") from error
    needed = max(processes, (number or 0) + 1)
    if there < needed:
        raise ConfigError("train.device", f"is '{device}', and torch finds {there} of this kind", f"at least {needed}",
                          "Set train.device: cpu, or install a build of torch for this machine's GPU")  # fmt: skip


def _first_line(said: str) -> str:
    return said.strip().partition("\n")[0][:200]
