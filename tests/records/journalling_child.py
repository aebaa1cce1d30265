"""A worker for the test of kills: journals the points of a run that are not finished, and acknowledges each row and each point on standard output.

Called with the run's directory, how many points it has, and how many exchanges a point has.
"""

import os
import sys
from pathlib import Path

from bench.records.journal import CaptureMode, Journal
from bench.records.run import RunDirectory
from tests.records.samples import TIMEBASE, numbered_point


def main() -> None:
    run = RunDirectory.open(Path(sys.argv[1]))
    finished = run.finished()
    with Journal.open(run.journal_path("main")) as journal:
        for number in range(int(sys.argv[2])):
            point = numbered_point(number, int(sys.argv[3]))
            if point.key in finished:
                continue
            recorder = journal.point(*point.key, TIMEBASE, CaptureMode.FULL)
            for place, observation in enumerate(point.observations):
                recorder.emit(observation)
                os.write(1, f"row {number} {place}\n".encode())
            recorder.finish(point.verdict)
            os.write(1, f"done {number}\n".encode())


if __name__ == "__main__":
    main()
