"""Fisher-guided quantization of VGGT: the public verbs, in running order.

load_model, load_scenes, estimate_fisher, quantize, evaluate. Verbs and sub-packages are imported when they are first
used, so that `import fgq` costs nothing.
"""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules

HOME_OF_VERB = {
    "load_model": "fgq.checkpoint",
    "load_scenes": "fgq.data",
    "estimate_fisher": "fgq.fisher",
    "quantize": "fgq.calibrate",
    "evaluate": "fgq.evaluation",
}
ROOMS = {module.name for module in iter_modules(__path__) if not module.name.startswith("_")}

__all__ = list(HOME_OF_VERB)

# Threads of GNU's OpenMP wait for one another by spinning, which beside another busy process takes sixty times as long
# as the work. It reads this when torch is imported; others (Intel's, LLVM's) do not know it. Whoever has said how
# threads shall wait is left alone, and child processes inherit it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def __getattr__(name: str):
    if name in HOME_OF_VERB:
        return getattr(import_module(HOME_OF_VERB[name]), name)
    if name in ROOMS:
        return import_module(f"fgq.{name}")
    if name == "__version__":
        try:
            return version("fgq")
        except PackageNotFoundError:  # a checkout that is not installed
            return "unknown"
    raise AttributeError(f"module 'fgq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *HOME_OF_VERB, *ROOMS, "__version__"})
