"""No scene on both sides: what a model was calibrated on, kept so that nothing of it is taken for a test."""

from collections.abc import Iterable
from dataclasses import dataclass

from fgq.data.loaded import LoadedScenes
from fgq.data.scene import Scene
from fgq.errors import FgqError


@dataclass(frozen=True)
class SeenScene:
    """What is kept of a scene that a model was calibrated on; the fields are those of `Scene`."""

    dataset: str
    split: str
    name: str
    sequence: str
    images_hash: str


@dataclass(frozen=True)
class Seen:
    """All of them, in their order, and the hash of the frame list that they came by; empty for scenes made by hand."""

    scenes: tuple[SeenScene, ...] = ()
    frame_list: str = ""

    @classmethod
    def of(cls, scenes: Iterable[Scene]) -> "Seen":
        listed = scenes.frame_list.hash if isinstance(scenes, LoadedScenes) else ""
        fields = SeenScene.__dataclass_fields__
        return cls(tuple(SeenScene(**{field: getattr(scene, field) for field in fields}) for scene in scenes), listed)

    @classmethod
    def from_dict(cls, values: dict) -> "Seen":
        """From what `dataclasses.asdict` gives, after JSON too."""
        return cls(tuple(SeenScene(**scene) for scene in values["scenes"]), values["frame_list"])

    @property
    def splits(self) -> str:
        """Such as "co3d calibration"; empty where nothing was seen or the split is not known."""
        return ", ".join(sorted({f"{scene.dataset} {scene.split}" for scene in self.scenes if scene.split}))


def check_disjoint(calibration: Seen | Iterable[Scene], test: Iterable[Scene]) -> None:
    """Raises FgqError that names the first scene of `test` that is on the other side too.

    Two scenes are the same where they are of one sequence of a dataset, whatever their frames, or show the very same
    pictures. A rendered room is told by its name: split, seed and number.
    """
    seen = calibration if isinstance(calibration, Seen) else Seen.of(calibration)
    if not seen.scenes:
        return
    pictures = {scene.images_hash: scene for scene in seen.scenes}
    exact = {(scene.dataset, scene.sequence): scene for scene in seen.scenes if scene.sequence}
    wholes = {(dataset, whole): scene for (dataset, part), scene in exact.items() for whole in wholes_of(part)}
    for scene in test:
        places = [(scene.dataset, whole) for whole in wholes_of(scene.sequence)] if scene.sequence else []
        same = next((exact[place] for place in places if place in exact), None)
        same = same or wholes.get((scene.dataset, scene.sequence)) or pictures.get(scene.images_hash)
        if same:
            split = f", split {same.split}" if same.split else ""
            raise FgqError(
                f"scene {scene.name} is also a calibration scene ({same.name} of {same.dataset}{split}): test on "
                "scenes that the model was not calibrated on, such as those of split='test'"
            )


def wholes_of(sequence: str) -> list[str]:
    """The sequence, and what it is a part of: "a/b" and "a"."""
    words = sequence.split("/")
    return ["/".join(words[:end]) for end in range(len(words), 0, -1)]
