"""Which of a frame's tokens are its camera token, its registers and its patches."""

import torch
from jaxtyping import Int64
from torch import Tensor

TOKEN_KINDS = ("camera", "register", "patch")


def kind_slices(num_special: int) -> dict[str, slice]:
    """Where the tokens of each kind lie along the token axis; `num_special` are those before the patches."""
    return {"camera": slice(0, 1), "register": slice(1, num_special), "patch": slice(num_special, None)}


def count_kinds(num_tokens: int, num_special: int) -> dict[str, int]:
    """Tokens of each kind in a frame of so many."""
    return {"camera": 1, "register": num_special - 1, "patch": num_tokens - num_special}


def special_rows(frames: int, num_tokens: int, num_special: int, device=None) -> Int64[Tensor, " special"]:
    """Where the camera tokens and registers lie in a sequence of frames with `num_tokens` tokens each."""
    starts = num_tokens * torch.arange(frames, device=device)
    return (starts[:, None] + torch.arange(num_special, device=device)).flatten()
