"""How large a model is, part by part."""

import pandas as pd

from fgq.vggt.model import VGGT

BITS_SHOWN = (32, 16, 8, 4)


def part_sizes(model: VGGT) -> pd.DataFrame:
    """Parameters of each part, and megabytes (10^6 bytes) at several bits a parameter, scales not counted.

    For a quantized model the codes of its integer layers count as parameters.
    """
    aggregator = model.aggregator
    parts = {
        "encoder": aggregator.patch_embed,
        "frame blocks": aggregator.frame_blocks,
        "global blocks": aggregator.global_blocks,
        "camera head": model.camera_head,
        "depth head": model.depth_head,
        "point head": model.point_head,
    }
    counts = {name: count_values(part) for name, part in parts.items()}
    counts["special tokens"] = aggregator.camera_token.numel() + aggregator.register_token.numel()
    table = pd.DataFrame({"parameters": pd.Series(counts)})
    table.loc["all"] = table.sum()
    for bits in BITS_SHOWN:
        table[f"MB at {bits} bits"] = (table.parameters * bits / 8 / 1e6).round(2)
    return table


def count_values(part) -> int:
    return sum(value.numel() for name, value in part.state_dict().items())
