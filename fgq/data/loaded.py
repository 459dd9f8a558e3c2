"""Scenes with the frames they were made of, and what could not be read."""

from collections.abc import Iterable

from fgq.data.sampling import FrameList
from fgq.data.scene import Scene
from fgq.data.sequence import SequenceFailure


class LoadedScenes(list[Scene]):
    """Scenes, with the frames that were asked for and the sequences that could not be read.

    `frame_list.hash` belongs into every result; `len(scenes) + len(scenes.failures)` is the number asked for. A slice
    keeps the frames of its scenes and no failures: scenes[:] are those that could be read, as a smaller set of its own
    hash. Other list operations give a plain list.
    """

    def __init__(self, scenes: Iterable[Scene], frame_list: FrameList, failures: Iterable[SequenceFailure] = ()):
        super().__init__(scenes)
        self.frame_list = frame_list
        self.failures = list(failures)

    def __getitem__(self, index):
        found = super().__getitem__(index)
        if not isinstance(index, slice):
            return found
        return LoadedScenes(found, self.frame_list.only(scene.name for scene in found))


class UnreadableSequences(UserWarning):
    """A sequence of a dataset could not be read; the scenes that were loaded are fewer than asked for."""
