"""After which updates a training with a patience may stop: the arithmetic, without any objective."""

from __future__ import annotations

import math
from dataclasses import dataclass

CHECKS = 20  # of every run, evenly over the stage; with a patience more, so that it can be told from noise
CHECKS_OF_PATIENCE = 5  # at least so many checks in a row that show no improvement
DECAY = 0.2  # of the updates at the full rate: so many more follow, at a rate that falls to 0


@dataclass(frozen=True)
class StoppingTimes:
    """Of a stage of at most `steps` updates; see `bench.training.stopping.Plateau`.

    >>> StoppingTimes(steps=4000, patience=400).limits(4000)
    (3280, 4000)
    """

    steps: int
    patience: int = 0

    @property
    def every(self) -> int:
        """The updates between two checks."""
        each = max(1, self.steps // CHECKS)
        return min(each, max(1, self.patience // CHECKS_OF_PATIENCE)) if self.patience else each

    def end_of(self, step: int) -> int:
        """The last update of a run whose decay begins after update `step`, a check."""
        return step + math.ceil(round(DECAY * step, 6) / self.every) * self.every

    def limits(self, most: int) -> tuple[int, int]:
        """The last update at the full rate and the last one of all, where a run that has not stopped makes `most`."""
        if self.patience:
            for step in range(most - most % self.every, 0, -self.every):
                if (end := self.end_of(step)) <= most:
                    return step, end
        return most, most


def schedule_end(share: float, steps: int) -> int:
    """The update at which a method's own schedule ends that lasts this share of `steps`."""
    return math.ceil(round(share * steps, 3))  # rounded: .07 * 100 is a little above 7
