"""Models on disk."""

from fgq.checkpoint.delta import save_delta
from fgq.checkpoint.load import load_model
from fgq.vggt.saved import save

__all__ = ["load_model", "save", "save_delta"]
