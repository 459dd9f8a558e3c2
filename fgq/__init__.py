"""Fisher-guided quantization of VGGT: the public verbs, in running order.

load_model, load_scenes, estimate_fisher, quantize, evaluate. Each is imported when it is first used, so that
`import fgq` costs nothing.
"""

from importlib import import_module

HOME_OF_VERB = {
    "load_model": "fgq.checkpoint",
    "load_scenes": "fgq.data",
    "estimate_fisher": "fgq.fisher",
    "quantize": "fgq.calibrate",
    "evaluate": "fgq.evaluation",
}

__all__ = list(HOME_OF_VERB)


def __getattr__(name: str):
    if name not in HOME_OF_VERB:
        raise AttributeError(f"module 'fgq' has no attribute {name!r}")
    return getattr(import_module(HOME_OF_VERB[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *HOME_OF_VERB])
