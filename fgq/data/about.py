"""What a dataset is called, where it comes from and which frames its published protocol takes."""

from dataclasses import dataclass

from fgq.data.sampling import Rule


@dataclass(frozen=True)
class About:
    """`rules` has every split and its published choice of frames; the first split is the usual one.

    `published` is the number of sequences by split in the published evaluations, where there is one.
    """

    name: str
    unit: str  # of lengths, one of `fgq.data.scene.UNITS`
    needs: str  # archives and folders, one line
    licence: str
    rules: dict[str, Rule]
    published: dict[str, int]
