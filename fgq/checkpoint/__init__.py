"""Models on disk."""

from fgq.checkpoint.load import load_model
from fgq.checkpoint.save import save

__all__ = ["load_model", "save"]
