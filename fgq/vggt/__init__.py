"""VGGT at any size, under the public tensor names."""

from fgq.vggt.config import VGGTConfig
from fgq.vggt.model import TASK_OUTPUT, TASKS, VGGT, Predictions

__all__ = ["TASKS", "TASK_OUTPUT", "VGGT", "Predictions", "VGGTConfig"]
