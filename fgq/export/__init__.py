"""What a model saw, as files: cameras, depth maps, coloured points, a page to look at them."""

from fgq.export.predict import Output, predict, reconstruct
from fgq.export.reconstruction import Cloud, Reconstruction

__all__ = ["Cloud", "Output", "Reconstruction", "predict", "reconstruct"]
