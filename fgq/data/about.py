"""What a dataset is called, where it comes from, how it is split and which frames its published protocol takes."""

from dataclasses import dataclass

from fgq.data.sampling import Rule

CALIBRATION, TEST = "calibration", "test"  # every dataset has both, and no sequence is in both
CALIBRATION_RULE = Rule("random", 4)  # of equally many frames, as a calibration needs them


@dataclass(frozen=True)
class About:
    """`rules` has every split and its published choice of frames; the first split is the usual one.

    CALIBRATION and TEST are among them and share no sequence, whatever a download's own lists say.

    `published` is the number of sequences by split in the published evaluations, where there is one.
    """

    name: str
    unit: str  # of lengths, one of `fgq.data.scene.UNITS`
    needs: str  # archives and folders, one line
    licence: str
    rules: dict[str, Rule]
    published: dict[str, int]
