"""What is known of single scenes, kept so that a Fisher that was stopped goes on where it was."""

import hashlib
import json
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.gradients import scene_hash
from fgq.tensor_files import read_tensors, save_tensors


class SceneCache:
    """One file a scene, named by the hash of all that decides its numbers; without a folder nothing is kept.

    `about` is what decides beside the scene: model, estimator, probes, seed. Another model or estimator finds nothing
    here, so that nothing can be mixed. A file that cannot be read or holds anything else is made again.
    """

    def __init__(self, folder: str | Path | None, about: list):
        self.folder = None if folder is None else Path(folder)
        self.about = json.dumps(about)

    def file(self, scene: Scene) -> Path:
        return self.folder / f"{hashlib.sha256((self.about + scene_hash(scene)).encode()).hexdigest()}.safetensors"

    def load(self, scene: Scene) -> dict[str, Tensor] | None:
        if self.folder is None:
            return None
        path = self.file(scene)
        try:
            numbers, about = read_tensors(path)
        except FgqError:
            return None
        return numbers if numbers.keys() == {"by_kind", "variance"} and about.get("of") == path.stem else None

    def keep(
        self,
        scene: Scene,
        by_kind: Float[Tensor, "tasks kinds blocks channels"],
        variance: Float[Tensor, "tasks blocks channels"],
    ) -> dict[str, Tensor]:
        """Writes the scene's numbers, whole or not at all, and returns them; FgqError where that is impossible."""
        numbers = {"by_kind": by_kind, "variance": variance}
        if self.folder is not None:
            path = self.file(scene)
            save_tensors(path, numbers, {"of": path.stem}, f"scene {scene.name}")
        return numbers
