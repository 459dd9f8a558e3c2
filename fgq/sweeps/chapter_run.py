"""Points that execute a run file, with other parameters."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fgq.errors import FgqError
from fgq.provenance.record import read_json
from fgq.runs.execute import execute
from fgq.runs.reports import find_reports
from fgq.runs.runfile import RunFile, check_all_used, read_run_file
from fgq.sweeps.kind import Outcome, Values

RUN = "run"  # the run's folder inside the point's


@dataclass(frozen=True)
class ChapterRun:
    """A parameter is given to every chapter that has it, as by `fgq run -p`. A point publishes no table.

    Its metrics are those of the reports among its artefacts.
    """

    spec: dict
    whole: RunFile

    @classmethod
    def find(cls, file: str, only: str | None, folder: Path, where: str) -> "ChapterRun":
        try:
            run = read_run_file(folder / file)
            if only:
                run.step(only)
        except FgqError as error:
            raise FgqError(f"{where}: run: {error}") from error
        return cls({"run": file, "only": only}, replace(run, publish=(), replay=None))

    def check_names(self, values: Values, where: str) -> None:
        check_all_used(values, list(self.whole.steps), f"{where}:")

    def check(self, values: Values, where: str) -> None:
        try:
            self.whole.with_parameters(values)
        except FgqError as error:
            raise FgqError(f"{where}: {error}") from error

    def check_here(self, values: Values) -> None:
        """It says itself what it lacks."""

    def complete(self, values: Values) -> Values:
        return values

    def identity(self, values: Values) -> object:
        steps = self.whole.with_parameters(values).steps
        return [values, {step.chapter.name: step.all_parameters for step in steps}]

    def compute(self, values: Values, folder: Path, shared: Path) -> Outcome:
        run = self.whole.with_parameters(values)
        made = execute(run, folder / RUN, report=lambda line: print(line, flush=True), only=self.spec["only"])
        records = [read_json(path) for path in sorted((made.root / "provenance").glob("*.json"))]
        tables = [
            report.summary().rename(columns={"mean": "value"}).assign(report=name)
            for name, report in find_reports(made.root).items()
        ]
        metrics = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"metric": [], "value": []})
        devices = {record["device"] for record in records if "device" in record}
        return Outcome(metrics, {"device": ", ".join(sorted(devices))} if devices else {})
