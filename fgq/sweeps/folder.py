"""A sweep's folder: one folder a point, and the state of each."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fgq.provenance.record import read_json
from fgq.sweeps.attempts import Attempt, attempts_in, begin_attempt, list_names
from fgq.sweeps.points import Point, hash_in

DONE, RUNNING, FAILED, LEFT = STATES = ("done", "running", "failed", "left")
MOST_KILLS = 2  # in one session: a point that has ended its process oftener is given up, as it will do so again


@dataclass(frozen=True)
class PointFolder:
    """result.json and metrics.csv, there once the point is done; attempts/; and whatever it writes itself."""

    root: Path

    @property
    def result(self) -> dict:
        """Empty until the point is done."""
        return read_json(self.root / "result.json")

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.csv"

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    def is_done(self) -> bool:
        return (self.root / "result.json").is_file()

    def newest(self) -> Attempt | None:
        return next(reversed(attempts_in(self.attempts)), None)

    def state(self) -> str:
        """A point whose process was killed is left, as one that nobody has begun."""
        if self.is_done():
            return DONE
        newest = self.newest()
        if newest is None:
            return LEFT
        if newest.outcome.exists():
            return FAILED
        return RUNNING if newest.is_alive() else LEFT

    def tries(self, session: str) -> Counter:
        """How many attempts of a session have failed, were killed, or run."""
        found = Counter()
        for attempt in attempts_in(self.attempts):
            if attempt.owner.get("session") == session:
                found["failed" if attempt.outcome.exists() else "running" if attempt.is_alive() else "killed"] += 1
        return found

    def may_begin(self, session: str, retries: int) -> bool:
        """Whether this session shall still try it. Every session tries anew what failed in an earlier one."""
        tries = self.tries(session)
        return tries["failed"] <= retries and tries["killed"] <= MOST_KILLS

    def begin(self, session: str) -> Attempt | None:
        """None where it is done or another process is at it."""
        attempt = None if self.is_done() else begin_attempt(self.attempts, session)
        # Between the two looks another process may have finished it.
        return attempt if attempt and not self.is_done() else None


@dataclass(frozen=True)
class SweepFolder:
    root: Path

    @property
    def points(self) -> Path:
        return self.root / "points"

    @property
    def shared(self) -> Path:
        return self.root / "shared"

    @property
    def table(self) -> Path:
        return self.root / "results.csv"

    @property
    def overview(self) -> Path:
        return self.root / "overview.html"

    def session(self, name: str) -> Path:
        return self.root / "sessions" / f"{name}.json"

    @cached_property
    def known(self) -> dict[str, str]:
        """Names of folders by the hash in them: a name changes with what else the sweep varies, its hash does not."""
        return {hash_in(name): name for name in sorted(list_names(self.points))}

    def of(self, point: Point) -> PointFolder:
        return PointFolder(self.points / self.known.get(point.hash, point.name))

    def states(self, points: Iterable[Point]) -> dict[str, str]:
        return {point.name: self.of(point).state() for point in points}


def relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()
