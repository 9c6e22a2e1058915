"""The classifier two-sample test whose folds keep the windows of a person, a day or a stretch together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread, undefined
from bench.metrics.c2st import FOLDS, REPEATS, both_kinds, separation
from bench.metrics.window_features import features_by_family
from bench.registry import register_metric


@register_metric("c2st_entities")
@dataclass(frozen=True)
class C2STEntities(SampleMetric):
    """How well a classifier tells generated windows from those of people, days or stretches that it has not seen.

        c2st_auc_entities   P(score of a generated window > score of a real one): .5 = indistinguishable, 1 = told apart

    The classifier, its features and its folds are those of `c2st`, but all windows of one entity share a fold. `c2st`
    keeps neighbouring rows together and no entities, so that its judge can learn how the people of the reference look
    and finds others of their windows by it; that lifts the value of every method, and of the floor.
    sd is over 2 repeats with fresh folds; n is the number of reference windows.
    Shapes: windows (n, T, C), numbers may differ. Unit: probability. Errors: undefined where the data name no entities
    of several windows, and below 5 entities in the reference, one for each fold.
    Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545. Ours: as in `c2st`; whole entities.
    The chance error is that of the number of entities and not of windows: 20 people beside 20 others score between .2
    and .8. The difference of two methods is less uncertain, because they share the reference.
    Blind to: what `c2st` is blind to, and a method that draws the same few entities over and over.
    """

    version = 1
    fast = False  # three seconds, for data with entities only
    outputs = ("c2st_auc_entities",)
    unit = "probability"
    direction = "lower"
    source = "Lopez-Paz and Oquab 2017, arXiv:1610.06545"

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """The area at n."""
        n, generated = len(evaluation.reference), len(evaluation.samples)
        if evaluation.reference_entity is None:
            return undefined(self.outputs, "the data name no entities of several windows: see c2st", n)
        if len(np.unique(evaluation.reference_entity)) < FOLDS or generated < 2 * FOLDS:
            return undefined(self.outputs, f"needs {FOLDS} entities and {2 * FOLDS} samples", n)
        rng = evaluation.rng("c2st_entities")
        values, windows = both_kinds(evaluation)
        nobody = np.full(generated, np.nan)
        whose = nobody if evaluation.sample_entity is None else evaluation.sample_entity
        windows = dataclasses.replace(windows, entity=np.concatenate([evaluation.reference_entity, whose]))
        folds = windows.repeated_folds(rng, REPEATS)
        if not folds:
            return undefined(self.outputs, "the windows are too few groups of equal ones", n)
        seed = int(rng.integers(2**31))
        together = np.concatenate(list(features_by_family(values).values()), axis=1)
        areas = np.array([separation(together, windows, fold, seed)[0] for fold in folds])
        return [spread(self.outputs[0], areas, n)]
