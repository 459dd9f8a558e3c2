"""What a point of a sweep can be: a calibration with its evaluation, a run file, or a function of one's own."""

from pathlib import Path

from fgq.sweeps.kind import Kind


def find_kind(spec: dict[str, str | None], folder: Path, where: str) -> Kind:
    """The kind that a sweep file in `folder` asks for. Raises FgqError for one that does not exist."""
    if spec.get("call"):
        from fgq.sweeps.function import Function

        return Function.find(spec["call"], folder, where)
    if spec.get("run"):
        from fgq.sweeps.chapter_run import ChapterRun

        return ChapterRun.find(spec["run"], spec.get("only"), folder, where)
    from fgq.sweeps.calibration import Calibration

    return Calibration()
