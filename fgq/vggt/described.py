"""Modules that say what they are, so that whoever saves a model need not know who made its parts."""

from typing import Any

from torch import Tensor, nn


class Described(nn.Module):
    """A module that may be quantized."""

    def description(self) -> dict[str, Any] | None:
        """How, as plain values that JSON can hold; None in full precision."""
        return None

    def packed_state(self) -> dict[str, Tensor] | None:
        """Its state dict with integer codes packed at their own width; None where it has no codes itself.

        Raises FgqError for codes that do not fit into the bits that are stated.
        """
        return None
