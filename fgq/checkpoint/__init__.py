"""Models on disk."""

from fgq.checkpoint.load import load_model
from fgq.vggt.saved import save

__all__ = ["load_model", "save"]
