"""A quantized model without what its full-precision model already has, for whoever has that one: a delta.

Its tensors are those that the base does not hold to the bit, or not after a change of type. In its header the file
states the base's name, a checksum of every one of the base's tensors, and which of them it takes over in which type. So
a delta hands on nothing of the base, and is whole again only with the very weights it was made from.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fgq.checkpoint.files import ModelFiles, find_files, weights_name
from fgq.checkpoint.hub import HubOptions
from fgq.checkpoint.tensors import list_tensors, stream_tensors, tensor_checksums
from fgq.errors import FgqError
from fgq.shards import LIMIT
from fgq.tensor_files import DTYPES, checksum
from fgq.vggt import VGGT
from fgq.vggt.saved import BASE, describe, packed_state, write_model
from fgq.vggt.weights import TRACK_HEAD

TYPES = {called: dtype for dtype, called in DTYPES.items()}


@dataclass(frozen=True)
class Base:
    """What a delta states of the model that it completes."""

    name: str
    checksums: dict[str, str]  # of all its tensors but the track head's
    inherited: dict[str, tuple[str, list[int]]]  # type here, as safetensors calls it, and shape

    @classmethod
    def read(cls, files: ModelFiles) -> "Base | None":
        """None for a model that is whole. Raises FgqError for a statement that cannot be read."""
        stated = files.stated.get(BASE)
        if stated is None:
            return None
        try:
            inherited = {name: (told, list(map(int, shape))) for name, (told, shape) in stated["inherited"].items()}
            checksums = {str(name): str(digits) for name, digits in stated["checksums"].items()}
            unknown = [told for told, _ in inherited.values() if told not in TYPES]
            if unknown or not inherited.keys() <= checksums.keys():
                raise ValueError(f"type {unknown[0]}" if unknown else "a tensor without a checksum")
            return cls(str(stated["name"]), checksums, inherited)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise FgqError(f"{files.source}: what it states of its base cannot be read ({error}): copy it again") from (
                error
            )

    def outline(self) -> dict[str, Tensor]:
        """The tensors that it takes over, without storage."""
        return {
            name: torch.empty(shape, dtype=TYPES[told], device="meta") for name, (told, shape) in self.inherited.items()
        }

    def take(self, base: ModelFiles) -> Iterator[tuple[str, Tensor]]:
        """Those tensors from the base's files, mapped where they keep their type."""
        names = list_tensors(base).keys()
        for told in {told for told, _ in self.inherited.values()}:
            own = {name for name, (kind, _) in self.inherited.items() if kind == told}
            yield from stream_tensors(base, lambda tensor, told=told: tensor.to(TYPES[told]), names - own, verify=False)

    def check(self, base: ModelFiles, source: str) -> None:
        """Raises FgqError, naming the first tensor that differs, for another model than the delta was made from."""
        remedy = f"{source} was made from {self.name}: give the same download of it"
        missing = sorted(self.checksums.keys() - list_tensors(base).keys())
        if missing:
            raise FgqError(f"{base.source}: has no tensor {missing[0]}; {remedy}")
        for name, found in tensor_checksums(base, self.checksums):
            if found != self.checksums[name]:
                raise FgqError(f"{base.source}: tensor {name} is another one; {remedy}")


def save_delta(
    model: VGGT,
    base: str | Path,
    folder: str | Path,
    packed: bool = True,
    shard_bytes: int = LIMIT,
    hub: HubOptions | None = None,
) -> Base:
    """Writes a quantized model without the tensors that `base` has; `fgq.load_model(folder, base=…)` reads it.

    `base` is a name or path as `load_model` takes it, of the full-precision model. Raises FgqError where nothing is
    quantized, for a base that is quantized itself, and as `model.save`.
    """
    files = find_files(base, hub)
    description = describe(model, packed)
    if not description:
        raise FgqError("nothing of this model is quantized, so there is no delta: save the model itself")
    if files.quantization:
        raise FgqError(f"{files.source}: is quantized itself: give the full-precision model as base")
    listing = list_tensors(files)
    known = {name for name in listing if not name.startswith(TRACK_HEAD)}
    state = packed_state(model) if packed else model.state_dict()
    shared = {name for name in known & state.keys() if listing[name].shape == state[name].shape}
    inherited: dict[str, tuple[str, list[int]]] = {}
    for name, theirs in stream_tensors(files, lambda tensor: tensor, listing.keys() - shared, verify=False):
        ours = state[name]
        if ours.is_floating_point() == theirs.is_floating_point() and checksum(theirs.to(ours.dtype)) == checksum(ours):
            inherited[name] = DTYPES[ours.dtype], list(ours.shape)
    about = Base(weights_name(base), dict(tensor_checksums(files, known)), inherited)
    kept = {name: tensor for name, tensor in state.items() if name not in inherited}
    stated = {BASE: json.dumps(asdict(about), sort_keys=True)}
    write_model(folder, kept, model.config.to_dict(), description, stated, shard_bytes)
    return about


def inherit(files: ModelFiles, base: ModelFiles | None, verify: bool) -> Iterator[tuple[str, Tensor]]:
    """What a delta takes over from its base, in the types it had; nothing for a model that is whole.

    Raises FgqError for a delta without its base, or with another one, and for a base of a model that needs none.
    """
    about = Base.read(files)
    if about is None:
        if base is not None:
            raise FgqError(f"{files.source}: is a whole model, no delta: leave base away")
        return iter(())
    if base is None:
        raise FgqError(
            f"{files.source}: is a delta, which lacks {len(about.inherited)} tensors of {about.name}: give your own "
            "download of it as base"
        )
    if verify:
        about.check(base, files.source)
    return about.take(base)
