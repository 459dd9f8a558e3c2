"""Scenes with the frames they were made of, and what could not be read."""

from collections.abc import Iterable, Mapping
from typing import Any

from fgq.data.protocols import Protocol
from fgq.data.sampling import FrameList
from fgq.data.scene import Scene
from fgq.data.sequence import SequenceFailure


class LoadedScenes(list[Scene]):
    """Scenes, with the frames that were asked for and the sequences that could not be read.

    `frame_list.hash` belongs into every result; `len(scenes) + len(scenes.failures)` is the number asked for. A slice
    keeps the frames of its scenes and no failures: scenes[:] are those that could be read, as a smaller set of its own
    hash. Other list operations give a plain list. `protocol` is the published one that they follow, if any, and
    `departures` says in what they do not.
    """

    def __init__(self, scenes: Iterable[Scene], frame_list: FrameList, failures: Iterable[SequenceFailure] = ()):
        super().__init__(scenes)
        self.frame_list = frame_list
        self.failures = list(failures)
        self.protocol: Protocol | None = None
        self.options: Mapping[str, Any] = {}

    def follow(self, protocol: Protocol, options: Mapping[str, Any]) -> "LoadedScenes":
        """Itself, loaded by a protocol with these further `options` of the dataset."""
        self.protocol, self.options = protocol, options
        return self

    @property
    def departures(self) -> tuple[str, ...]:
        """What was taken otherwise than the protocol says, a phrase each; none without a protocol."""
        if self.protocol is None or not self:
            return ()
        asked = len({*self.frame_list.sequences, *(failure.sequence for failure in self.failures)})
        return self.protocol.departures(self.frame_list, asked, self[0].images.shape[-1], self.options)

    def __getitem__(self, index):
        found = super().__getitem__(index)
        if not isinstance(index, slice):
            return found
        part = LoadedScenes(found, self.frame_list.only(scene.name for scene in found))
        return part if self.protocol is None else part.follow(self.protocol, self.options)


class UnreadableSequences(UserWarning):
    """A sequence of a dataset could not be read; the scenes that were loaded are fewer than asked for."""
