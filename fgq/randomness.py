"""Generators that follow from a seed and from what they are for, whatever else was drawn before."""

import numpy as np
import torch


def derived_generator(seed: int, purpose: int) -> torch.Generator:
    """The same for the same two numbers, on every machine and in every process."""
    state = np.random.SeedSequence([seed % 2**64, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
