"""A sweep survives what kills its workers, repeats nothing, and leaves one whole table."""

import json
import re

import pandas as pd
import pytest

from fgq.errors import FgqError, RunFailure
from fgq.sweeps.execute import find_slots, folder_of, run_here, share_of
from fgq.sweeps.progress import status_table
from fgq.sweeps.sweep_file import read_sweep

pytestmark = pytest.mark.usefixtures("no_drawing")
TWELVE = """
name: twelve
call: MODULE:score
base: {log: LOG, kill: KILL}
grid: {number: [1, 2, 3, 4, 5, 6], word: [a, bc]}
"""


def run(trial, text, workers=2, **options):
    sweep, told = read_sweep(trial.write(text)), []
    folder = folder_of(sweep, trial.out)
    try:
        run_here(sweep, sweep.points, folder, find_slots(workers, [], None), report=told.append, **options)
    finally:
        table = pd.read_csv(folder.table)
    return sweep, folder, table, told


def test_twelve_points_on_two_workers_one_of_them_killed(trial):
    sweep, folder, table, told = run(trial, TWELVE)
    assert (trial.root / "killed").exists(), "nobody was killed"
    assert sorted(trial.lines()) == sorted(f"{number} {word}" for number in range(1, 7) for word in ("a", "bc"))
    owners = [json.loads(path.read_text())["pid"] for path in folder.points.glob("*/attempts/*.json")]
    assert len(owners) == 13 and len(set(owners)) >= 2, "one worker did it all"
    squares = table[table.metric == "square"]
    assert len(table) == 24 and set(table.state) == {"done"} and squares.point.nunique() == 12
    assert (squares.value == squares.number**2).all() and table[table.metric == "letters"].value.eq(
        table.word.str.len()[table.metric == "letters"]
    ).all()
    assert {"seconds", "peak_memory_bytes", "device", "commit"} <= set(table.columns)
    assert (table.peak_memory_bytes > 1e6).all() and table.seconds.between(0.05, 60).all()
    status = status_table(sweep.points, folder)
    assert sorted(status.attempts) == [1] * 11 + [2]
    assert sum(line.startswith("[") and " done " in line for line in told) == 12
    assert re.match(r"\[12/12\] done .*; running 0, failed 0, left 0$", told[-1])

    again = run(trial, TWELVE)[3]
    more = run(trial, TWELVE.replace("4, 5, 6]", "4, 5, 6, 7]"))[2]
    assert again == [] and len(trial.lines()) == 14 and len(more) == 28
    assert (folder.of(sweep.points[0]).root / "own.txt").read_text() == "a"


def test_what_fails_keeps_its_error_stops_nothing_and_is_tried_again(trial):
    text = TWELVE.replace("kill: KILL", "fail: [2]")
    with pytest.raises(RunFailure, match="2 of 12 points failed, such as number-2_a_.*ValueError: no number 2 <today>"):
        run(trial, text, retries=1)
    sweep = read_sweep(trial.root / "sweep.yaml")
    folder = folder_of(sweep, trial.out)
    status = status_table(sweep.points, folder).set_index("point")
    failed = status[status.state == "failed"]
    assert len(trial.lines()) == 10 and list(failed.attempts) == [2, 2] and set(status.state) == {"done", "failed"}
    kept = json.loads((folder.points / failed.index[0] / "attempts" / "0001.failed.json").read_text())
    assert "Traceback" in kept["traceback"] and kept["error"] == "ValueError: no number 2 <today>"
    table = pd.read_csv(folder.table)
    assert len(table) == 22 and list(table[table.state == "failed"].error) == [kept["error"]] * 2
    page = folder.overview.read_text()
    assert "no number 2 &lt;today&gt;" in page and "<today>" not in page

    module = trial.root / f"{trial.module}.py"
    module.write_text(module.read_text().replace("if number in fail:", "if False:"))  # what was wrong is mended
    run(trial, text, workers=1)
    assert len(trial.lines()) == 12 and len(set(trial.lines())) == 12


def test_an_interrupt_ends_the_workers_and_leaves_a_table(trial):
    sweep = read_sweep(trial.write(TWELVE.replace("kill: KILL, ", "").replace(", kill: KILL", "")))
    folder, slots = folder_of(sweep, trial.out), find_slots(2, [], None)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_here(sweep, sweep.points, folder, slots, report=stop)
    assert "done" in set(pd.read_csv(folder.table).state) and "running" not in set(folder.states(sweep.points).values())
    assert not list((folder.root / ".workers").iterdir())
    run_here(sweep, sweep.points, folder, slots, report=lambda line: None)
    assert set(pd.read_csv(folder.table).state) == {"done"} and len(set(trial.lines())) == 12


def test_a_point_that_kills_every_process_is_given_up_and_the_others_are_done(trial):
    module = trial.root / f"{trial.module}.py"
    module.write_text(
        module.read_text().replace("if kill and number == 5:", "if number == 2:\n        os.abort()\n    if False:")
    )
    with pytest.raises(RunFailure, match="1 of 3 points have ended their process whenever they were tried"):
        run(trial, TWELVE.replace("[1, 2, 3, 4, 5, 6]", "[1, 2, 3]").replace("[a, bc]", "[a]"), workers=1)
    assert trial.lines() == ["1 a", "3 a"]


def test_workers_that_cannot_start_are_told_with_their_log(trial, monkeypatch):
    monkeypatch.setattr("fgq.sweeps.execute.WORKER", "fgq.sweeps.worker:nothing")
    with pytest.raises(RunFailure, match="workers end before they begin: see .*logs"):
        run(trial, TWELVE, workers=1)
    assert "has no attribute 'nothing'" in next((trial.out / "logs").iterdir()).read_text()


def test_shares_are_all_points_once():
    points = list(range(11))
    assert sorted(sum((share_of(points, f"{k}/4") for k in range(4)), [])) == points
    assert share_of(points, None) == points
    for wrong in ("4/4", "1", "-1/3", "a/b", "0/0"):
        with pytest.raises(FgqError, match="--share"):
            share_of(points, wrong)


def test_a_worker_of_a_device_sees_that_one_alone(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    slots = find_slots(1, ["cuda:0", "cuda:3", "cpu"], None)
    assert [slot.variables["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "3", ""]
    assert {slot.variables["OMP_NUM_THREADS"] for slot in slots} == {"5"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")  # as Slurm sets it
    assert [slot.variables["CUDA_VISIBLE_DEVICES"] for slot in find_slots(1, ["cuda", "cuda:1"], 2)] == [
        "GPU-a",
        "GPU-b",
    ]
    for wrong, told in (("cuda:2", "choose among those"), ("gpu0", "write cuda:0"), ("cuda:x", "write cuda:0")):
        with pytest.raises(FgqError, match=told):
            find_slots(1, [wrong], None)
    assert [slot.variables["OMP_NUM_THREADS"] for slot in find_slots(3, [], None)] == ["1"] * 3
