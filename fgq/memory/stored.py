"""What a model takes as it is stored: by part, and by what the bytes are for."""

from collections.abc import Mapping

import pandas as pd
from torch import Tensor

from fgq.quant.packed_linear import quantized_layers
from fgq.vggt import VGGT

KINDS = ("codes", "scales", "transforms", "rest")
PREFIXES = {
    "aggregator.patch_embed.": "encoder",
    "aggregator.frame_blocks.": "frame blocks",
    "aggregator.global_blocks.": "global blocks",
    "camera_head.": "camera head",
    "depth_head.": "depth head",
    "point_head.": "point head",
    "aggregator.": "special tokens",
}
LAYERS = "quantized layers"


def stored_bytes(model: VGGT, tensors: Mapping[str, Tensor]) -> pd.DataFrame:
    """Bytes by part of `tensors`, a model's by their names; values are not read, so they need no storage.

    "codes" are those of integer layers, "scales" also their zero points, clips and shapes, "transforms" what is
    multiplied at run time, "rest" everything else: biases, norms and whatever is not quantized. "of float32" and "of
    bfloat16" are the sum over what the full-precision part takes in that type. The row "quantized layers" is of these
    alone, with the transforms in front of them; "all" is the whole model. Names and checksums come on top in a file.
    """
    rows = tensor_rows(model, tensors)
    table = rows.groupby("part", sort=False)[[*KINDS, "values"]].sum()
    table = table.reindex([part for part in PREFIXES.values() if part in table.index])
    table.loc["all"] = table.sum()
    table.loc[LAYERS] = rows[rows.belongs][[*KINDS, "values"]].sum()
    full = 4 * table.pop("values")
    table["sum"] = table.sum(axis=1)
    return table.assign(**{"of float32": table["sum"] / full, "of bfloat16": 2 * table["sum"] / full})


def tensor_rows(model: VGGT, tensors: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row a tensor: its part, its bytes by kind, and the values that it stands for in the full-precision model.

    `belongs` says whether it is of a quantized layer or a transform.
    """
    layers = dict(quantized_layers(model))
    found = []
    for name, tensor in tensors.items():
        path, last = name.removesuffix(".table").rsplit(".", 1)
        layer = layers.get(path)
        if layer is not None and last in ("codes", "weight_packed"):
            kind, values = "codes", layer.in_features * layer.out_features
        elif last == "clip" or (layer is not None and last != "bias"):
            kind, values = "scales", 0
        elif ".transforms." in name:
            kind, values = "transforms", 0
        else:
            kind, values = "rest", tensor.numel()
        part = next(part for prefix, part in PREFIXES.items() if name.startswith(prefix))
        row = {"part": part, "belongs": layer is not None or kind == "transforms", "values": values}
        found.append(row | dict.fromkeys(KINDS, 0) | {kind: tensor.nbytes})
    return pd.DataFrame(found)
