"""Modules that say what they are, so that whoever saves a model need not know who made its parts."""

from typing import Any

from torch import nn


class Described(nn.Module):
    """A module that may be quantized."""

    def description(self) -> dict[str, Any] | None:
        """How, as plain values that JSON can hold; None in full precision."""
        return None
