"""Published evaluations by name: which scenes and frames they take, how they measure, and where that is written.

The facts are those of FGQ's paper (arXiv:2605.15828v2); where it is silent, those of its release, ypzhng/FGQ; where
that is silent too, `source` says so. A run rarely follows one to the letter: `departures` tells what it took otherwise,
and `unlike` what none of ours can take as published.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from fgq.data.sampling import FrameList, Rule
from fgq.errors import FgqError

PAPER, RELEASE = "arXiv:2605.15828v2", "ypzhng/FGQ"
AUC = tuple(f"pose_auc@{degrees}" for degrees in (30, 15, 5, 3))
TRAJECTORY = ("trajectory_ate", "trajectory_rpe_translation", "trajectory_rpe_rotation")
CLOUD = tuple(f"unprojected_{name}_{part}" for name in ("acc", "comp", "nc") for part in ("mean", "median"))
DEPTH = ("depth_abs_rel", "depth_sq_rel", "depth_rmse", "depth_delta1")
PAIRS = "relative poses of all frame pairs, translations by direction"
SIM3_ICP = "depth unprojected, Sim(3) on all valid pixels, then ICP"
AUTOCAST = "theirs runs under bfloat16 autocast"
DRAWN = "other random frames: their lists are not public"
OPEN3D = "ICP and normals by small_gicp, theirs by Open3D"
MEDIANS = "one scale a scene by medians, theirs is not stated"


@dataclass(frozen=True)
class Protocol:
    """One evaluation of a dataset. A number of a set is the mean of its scenes' numbers, of categories where said."""

    name: str
    title: str  # of the dataset, as the paper writes it
    dataset: str
    split: str
    rule: Rule  # frames of every sequence
    seed: int | None  # of the choice of frames; None where nothing is drawn
    sequences: int | None  # None where it is not known
    size: int  # width of the images, pixels
    alignment: str
    metrics: tuple[str, ...]  # that are compared; names are those of `fgq.metrics.table`
    source: str
    table: str  # what the dataset is called in the table of published results
    options: tuple[tuple[str, Any], ...] = ()  # further ones of the dataset's `load`, with their values
    per_category: bool = False  # the mean over categories of means over their sequences
    full_clouds: bool = False  # all points of a cloud are looked up, and all normals
    unlike: tuple[str, ...] = ()

    def __str__(self) -> str:
        drawn = "" if self.seed is None else f" (seed {self.seed})"
        parts = [
            f"{self.title}: {self.rule}{drawn}",
            "of all sequences" if self.sequences is None else f"of {self.sequences:,} sequences",
            f"{self.size} pixels wide",
            self.alignment,
        ]
        return ", ".join([*parts, "mean over categories"] if self.per_category else parts)

    def request(self, given: dict[str, Any]) -> dict[str, Any]:
        """Options of `load_scenes` that follow the protocol but where `given` asks for something else."""
        chosen = {"split": self.split, "size": self.size, **dict(self.options)}
        if self.seed is not None and "frame_list" not in given:
            chosen["seed"] = self.seed
        return chosen | given

    def departures(
        self, frame_list: FrameList, sequences: int, width: int, options: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """What was taken otherwise than published, a phrase each; none where all is as published.

        `sequences` were asked for, `options` are those that were given beside what chooses split, frames and size.
        """
        told = []
        if frame_list.split != self.split:
            told.append(f"split {frame_list.split}, not {self.split}")
        if sequences != self.sequences and self.sequences is not None:
            told.append(f"{sequences:,} of {self.sequences:,} sequences")
        if frame_list.rule != str(self.rule):
            told.append(f"{frame_list.rule}, not {self.rule}")
        if self.seed is not None and frame_list.seed != self.seed:
            told.append(f"frames of seed {frame_list.seed}, not {self.seed}")
        if width != self.size:
            told.append(f"images {width} pixels wide, not {self.size}")
        for name, value in options.items():
            shown = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
            usual = dict(self.options).get(name)
            if value != usual:
                told.append(f"{name} {shown}" + ("" if usual is None else f", not {usual}"))
        return tuple(told)


def posed(name: str, title: str, dataset: str, sequences: int, **more: Any) -> Protocol:
    """Ten random frames a sequence, measured by the poses of frame pairs."""
    source = f"{PAPER}, experiments; images 512 wide, then 504, which patches of 14 tile: {RELEASE}, interfaces/vggt.py"
    about = {"split": "test", "rule": Rule("random", 10), "seed": 42, "size": 504, "alignment": PAIRS, "table": dataset}
    shared = {"source": source, "unlike": (AUTOCAST, DRAWN)}
    return Protocol(name, title, dataset, sequences=sequences, **(about | shared | more))


def mapped(name: str, title: str, dataset: str, step: int, sequences: int, **more: Any) -> Protocol:
    """Every nth frame, measured by point maps of all pixels."""
    source = f"{PAPER}, experiments; alignment and ICP: {RELEASE}, mv_recon/eval.py"
    about = {"split": "test", "rule": Rule("every", step), "seed": None, "size": 518, "alignment": SIM3_ICP}
    shared = {"metrics": CLOUD, "full_clouds": True, "table": dataset, "source": source, "unlike": (AUTOCAST, OPEN3D)}
    return Protocol(name, title, dataset, sequences=sequences, **(about | shared | more))


def ranged(name: str, title: str, split: str, rule: Rule, sequences: int | None) -> Protocol:
    """Depth after one scale a scene."""
    source = f"{PAPER}, experiments; frames and width are stated neither there nor in {RELEASE}: the usual ones"
    about = {"seed": None, "size": 518, "alignment": "one scale a scene", "metrics": DEPTH, "table": title.lower()}
    return Protocol(name, title, "kitti", split, rule, sequences=sequences, source=source, unlike=(MEDIANS,), **about)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        posed("fgq-co3d", "CO3Dv2", "co3d", 2506, metrics=(*AUC, "pose_rra@30", "pose_rta@30"), per_category=True),
        posed("fgq-realestate10k", "RealEstate10K", "realestate10k", 1719, metrics=(*AUC, *TRAJECTORY)),
        mapped("fgq-7scenes", "7-Scenes", "seven_scenes", 200, 18, options=(("depth", "projected"),)),
        mapped("fgq-dtu", "DTU", "dtu", 5, 22),
        mapped("fgq-eth3d", "ETH3D", "eth3d", 5, 13),
        ranged("fgq-kitti-mono", "KITTI mono", "selection", Rule("all"), None),
        ranged("fgq-kitti-video", "KITTI video", "video", Rule("first", 110), 13),
    )
}


def find_protocol(name: str) -> Protocol:
    """Raises FgqError that lists the protocols when there is none of this name."""
    if name not in PROTOCOLS:
        near = get_close_matches(str(name), PROTOCOLS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(PROTOCOLS)}"
        raise FgqError(f"no protocol is called {name!r}; {hint}")
    return PROTOCOLS[name]
