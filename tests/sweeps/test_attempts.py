"""Of many that want a point one gets it, and the claim of the dead falls."""

import os
import subprocess
import sys
import threading
import time

import pytest

from fgq.sweeps import attempts
from fgq.sweeps.attempts import attempts_in, begin_attempt, create
from fgq.sweeps.folder import DONE, FAILED, LEFT, RUNNING, PointFolder
from fgq.sweeps.worker import is_undecided
from fgq.writing import write_json

ELSEWHERE = {"place": "another machine", "pid": 1, "created": 0.0, "session": "s"}


def test_one_of_many_threads_gets_every_attempt(tmp_path):
    got, barrier = [], threading.Barrier(8)

    def want(number: int) -> None:
        for point in range(20):
            barrier.wait()
            if begin_attempt(tmp_path / str(point), "s"):
                got.append((point, number))

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(point for point, _ in got) == list(range(20))


def test_an_attempt_falls_with_its_process(tmp_path):
    code = "import sys; from fgq.sweeps.attempts import begin_attempt; from pathlib import Path; "
    code += "print(begin_attempt(Path(sys.argv[1]), 's').number, flush=True); sys.stdin.read()"
    point = PointFolder(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(point.attempts)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "1\n"
    assert point.begin("t") is None and point.state() == RUNNING and point.tries("s") == {"running": 1}
    child.kill()
    child.wait()
    assert point.state() == LEFT and point.tries("s") == {"killed": 1} and point.tries("t") == {}
    mine = point.begin("t")
    assert mine.number == 2 and mine.is_alive() and mine.owner["pid"] == os.getpid()
    mine.fail("ValueError: x", "Traceback", 1.0)
    assert (
        point.state() == FAILED and not point.may_begin("t", 0) and point.may_begin("t", 1) and point.may_begin("u", 0)
    )
    write_json(tmp_path / "result.json", {})
    assert point.state() == DONE and point.begin("u") is None


def test_a_number_that_another_process_has_by_now_is_not_taken_for_the_old_one(tmp_path):
    attempt = begin_attempt(tmp_path, "s")
    owner = attempt.owner
    attempt.path.unlink()
    create(attempt.path, owner | {"created": owner["created"] - 100})
    assert not attempt.is_alive() and begin_attempt(tmp_path, "s").number == 2


def test_an_attempt_on_another_machine_lives_as_long_as_it_is_touched(tmp_path, monkeypatch):
    create(tmp_path / "0001.json", ELSEWHERE)
    (attempt,) = attempts_in(tmp_path)
    seen = {}
    assert attempt.is_alive() and begin_attempt(tmp_path, "s") is None and is_undecided(attempt, seen)
    os.utime(attempt.path, (time.time() + 1, time.time() + 1))
    assert not is_undecided(attempt, seen), "it was touched: somebody is at it"
    old = time.time() - attempts.STALE_SECONDS - 5
    os.utime(attempt.path, (old, old))
    assert not attempt.is_alive() and begin_attempt(tmp_path, "s").number == 2


def test_a_process_at_work_touches_its_attempt(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "BEAT_SECONDS", 0.01)
    attempt = begin_attempt(tmp_path, "s")
    os.utime(attempt.path, (0, 0))
    with attempt.beating():
        until = time.monotonic() + 10
        while attempt.path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
    assert attempt.path.stat().st_mtime > 0


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_claim_in_its_first_moment_is_respected(tmp_path, content):
    (tmp_path / "0001.json").write_text(content)
    assert begin_attempt(tmp_path, "s") is None
    os.utime(tmp_path / "0001.json", (0, 0))
    assert begin_attempt(tmp_path, "s").number == 2
