"""Weights into a VGGT: names and shapes checked, nothing skipped in silence."""

import hashlib
import re
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from fgq.errors import FgqError
from fgq.vggt.config import VGGTConfig
from fgq.vggt.model import VGGT

TRACK_HEAD = "track_head."  # public VGGT checkpoints carry a point tracker, which no task here uses


class MisfitError(FgqError):
    """Tensors that do not fit the model; the message and the fields list all of them.

    `misshaped` maps a name to what is wrong with it: shape or type, found and expected.
    """

    def __init__(self, source: str, missing: list[str], unknown: list[str], misshaped: dict[str, str]):
        self.source, self.missing, self.unknown, self.misshaped = source, tuple(missing), tuple(unknown), misshaped
        faults = {
            "missing": join_numbers(missing),
            "unknown": join_numbers(unknown),
            "mis-shaped": [f"{name} {what}" for name, what in misshaped.items()],
        }
        counts = {"missing": len(missing), "unknown": len(unknown), "mis-shaped": len(misshaped)}
        found = "; ".join(f"{counts[kind]} {kind} ({', '.join(names)})" for kind, names in faults.items() if names)
        super().__init__(
            f"{source}: the tensors do not fit the model: {found}. Use the config.json that these weights had, or copy "
            "or download them again"
        )

    def __reduce__(self):
        """So that it comes back whole from another process."""
        return type(self), (self.source, list(self.missing), list(self.unknown), self.misshaped)


def empty_model(config: VGGTConfig) -> VGGT:
    """A model without storage: its tensors have shapes only, to be filled by `fill`."""
    with torch.device("meta"):
        return VGGT(config)


def check_fit(model: VGGT, listing: dict[str, Tensor], source: str) -> tuple[str, ...]:
    """The track head's names, which the model leaves out; tensors need no storage.

    Raises MisfitError with all missing, unknown and misfitting tensors.
    """
    expected = model.state_dict()
    omitted = tuple(name for name in listing if name.startswith(TRACK_HEAD))
    misshaped = {}
    for name, wanted in expected.items():
        found = listing.get(name, wanted)
        if found.shape != wanted.shape:
            misshaped[name] = f"{list(found.shape)} instead of {list(wanted.shape)}"
        elif found.is_floating_point() != wanted.is_floating_point():
            misshaped[name] = f"{found.dtype} instead of {wanted.dtype}"
    missing = [name for name in expected if name not in listing]
    unknown = [name for name in listing if name not in expected and not name.startswith(TRACK_HEAD)]
    if missing or unknown or misshaped:
        raise MisfitError(source, missing, unknown, misshaped)
    return omitted


def fill(model: VGGT, state: dict[str, Tensor], source: str) -> VGGT:
    """Puts `state` in place of the model's tensors, whole; the tensors are taken over, not copied.

    The track head's tensors are left out, named in `model.omitted_tensors` and warned of. Raises MisfitError.
    """
    omitted = check_fit(model, state, source)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(TRACK_HEAD)}
    model.load_state_dict(kept, strict=True, assign=True)
    report_omitted(model, omitted, source)
    return model


def report_omitted(model: VGGT, omitted: tuple[str, ...], source: str) -> None:
    """Notes on the model which tensors of its checkpoint it does without, and warns of them."""
    model.omitted_tensors = omitted
    if omitted:
        warnings.warn(f"{source}: {len(omitted)} tensors of the track head are left out", stacklevel=3)


def join_numbers(names: Iterable[str]) -> list[str]:
    """Names that differ only in their first number as one: a.0.w, a.1.w, a.2.w, a.7.w become a.{0-2,7}.w."""
    groups: dict[tuple[str, str], list[int]] = {}
    joined = []
    for name in names:
        parts = re.match(r"(.*?\.)(\d{1,9})(\..*)$", name)
        key = (parts[1], parts[3]) if parts else (name, "")
        if key not in groups:
            joined.append(key)
        groups.setdefault(key, []).extend([int(parts[2])] if parts else [])
    return [before + number_range(groups[before, after]) + after for before, after in joined]


def number_range(numbers: list[int]) -> str:
    """[0, 1, 2, 7] as {0-2,7}; one number as itself, none as nothing."""
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "}"


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 (64 hex digits) of every tensor's name, type, shape and bytes: equal for equal models on any device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
