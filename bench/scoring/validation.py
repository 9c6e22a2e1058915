"""Real windows that are corrupted more and more, and what each sample metric makes of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench import command
from bench.contracts import Cells, DatasetSpec, InputError, Measurement, SampleEvaluation, Splits
from bench.loading.references import alternate_runs, origin
from bench.metrics.base import SampleMetric
from bench.scoring.scores import Scope, measure
from bench.sweeps.options import dataset_spec


class Real(NamedTuple):
    """What a corruption may know of the data."""

    train: np.ndarray  # (N, T, C), training windows that are neither reference nor samples
    cells: Cells | None  # how finely each channel was measured


Corruption = Callable[[np.ndarray, float, np.random.Generator, Real], np.ndarray]
"""(windows (n, T, C), strength from 0 = untouched, rng, data) -> corrupted windows of the same shape."""


def noise(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """White noise of standard deviation `strength` is added."""
    return x + strength * rng.standard_normal(x.shape)


def noise_in_cells(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """White noise is added to channels on a grid, its standard deviation `strength` times the width of a cell."""
    if real.cells is None:
        return x
    low, high = real.cells.interval(x)
    return x + np.where(real.cells.on_grid, strength * (high - low) * rng.standard_normal(x.shape), 0.0)


def blur(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """A share `strength` of every value is replaced by the mean over it and two steps on either side."""
    padded = np.pad(x, ((0, 0), (2, 2), (0, 0)), mode="edge")
    smooth = np.mean([padded[:, k : k + x.shape[1]] for k in range(5)], axis=0)
    return (1 - strength) * x + strength * smooth


def shrinking(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """Every window is moved towards the mean window by the share `strength`."""
    return (1 - strength) * x + strength * x.mean(axis=0)


def mode_dropping(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """The share `strength` of the windows, the highest along the first principal component, is lost; others repeat."""
    flat = (x - x.mean(axis=0)).reshape(len(x), -1)
    order = np.argsort(flat @ np.linalg.svd(flat, full_matrices=False)[2][0])
    kept = np.sort(order[: max(1, round((1 - strength) * len(x)))])
    return x[np.resize(rng.permutation(kept), len(x))] if strength else x


def time_warping(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """Time runs slower first and faster later: t -> t^(1 + strength) on [0, 1], linear in between."""
    steps = x.shape[1]
    at = np.linspace(0, 1, steps) ** (1 + strength) * (steps - 1)
    low = np.minimum(at.astype(int), steps - 2)
    share = (at - low)[None, :, None]
    return (1 - share) * x[:, low] + share * x[:, low + 1]


def channel_permutation(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """The channels change places by one in the share `strength` of the windows."""
    return np.where(_some(x, strength, rng), np.roll(x, 1, axis=2), x)


def time_shuffling(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """The time steps change places in the share `strength` of the windows."""
    order = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
    return np.where(_some(x, strength, rng), np.take_along_axis(x, order[:, :, None], axis=1), x)


def flat_lines(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """The share `strength` of the windows becomes flat, at each window's own level."""
    return np.where(_some(x, strength, rng), x.mean(axis=1, keepdims=True), x)


def copies(x: np.ndarray, strength: float, rng: np.random.Generator, real: Real) -> np.ndarray:
    """The share `strength` of the windows are training windows."""
    taken = real.train[rng.choice(len(real.train), len(x), replace=len(real.train) < len(x))]
    return np.where(_some(x, strength, rng), taken, x)


def _some(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Which windows are hit, (n, 1, 1)."""
    return (rng.permutation(len(x)) < round(strength * len(x)))[:, None, None]


SHARES = (0.0, 0.1, 0.3, 0.6, 1.0)
CORRUPTIONS: Mapping[str, tuple[Corruption, tuple[float, ...]]] = {
    noise.__name__: (noise, (0.0, 0.1, 0.2, 0.4, 0.8)),
    noise_in_cells.__name__: (noise_in_cells, (0.0, 1.0, 2.0, 5.0)),
    blur.__name__: (blur, (0.0, 0.1, 0.2, 0.4, 0.8)),
    shrinking.__name__: (shrinking, (0.0, 0.1, 0.3, 0.6, 0.9)),
    mode_dropping.__name__: (mode_dropping, (0.0, 0.1, 0.3, 0.6, 0.9)),
    time_shuffling.__name__: (time_shuffling, SHARES),
    time_warping.__name__: (time_warping, (0.0, 0.1, 0.2, 0.4, 0.8)),
    channel_permutation.__name__: (channel_permutation, (0.0, 0.1, 0.2, 0.4, 0.8)),
    flat_lines.__name__: (flat_lines, SHARES),
    copies.__name__: (copies, SHARES),
}
"""Each corruption with the strengths that it is tried at."""


def applies(corruption: str, real: Real) -> bool:
    """Whether a corruption does anything to these data."""
    cells, channels = real.cells, real.train.shape[2]
    if corruption == noise_in_cells.__name__:
        return cells is not None and bool(cells.on_grid.any())
    return channels > 1 or corruption != channel_permutation.__name__


class Finding(NamedTuple):
    """How one number answers one corruption."""

    metric: str
    version: int
    corruption: str
    claimed: bool
    verdict: str
    strengths: tuple[float, ...]
    means: list[float]  # over repeats, per strength
    noise: float  # standard deviation over repeats of the difference to untouched windows
    reason: str  # why there is no number; "" where there is one


def verdict(rises: np.ndarray) -> tuple[str, float]:
    """What curves (repeats, strengths) of a lower-is-better number say, and the noise of a difference.

    rewards: clearly better than the untouched windows at some strength. sees: clearly worse at the end, and at no step
    clearly better than at the step before. uneven: worse at the end, but better at some step. blind: none of these.
    undefined: some value is no finite number.
    Clearly: by 3 standard errors over repeats, which are paired; the variance is pooled over strengths.
    """
    if not np.isfinite(rises).all():
        return "undefined", math.nan
    change, step = rises[:, 1:] - rises[:, :1], np.diff(rises, axis=1)
    noise = math.sqrt(float(change.var(axis=0, ddof=1).mean()))
    clear = 3 * noise / math.sqrt(len(rises)) + 1e-9 * max(1.0, float(np.abs(rises).max()))
    if (change.mean(axis=0) < -clear).any():
        found = "rewards"
    elif change[:, -1].mean() <= clear:
        found = "blind"
    else:
        found = "uneven" if (step.mean(axis=0) < -clear).any() else "sees"
    return found, noise


def most_windows(splits: Splits) -> int:
    """How many windows there are for either side."""
    return min(map(len, alternate_runs(splits.train, 3)[:2]))


def validate(
    splits: Splits, metrics: Sequence[SampleMetric], n: int, repeats: int, scope: Callable[[int], Scope]
) -> list[Finding]:
    """Findings for every score and corruption: n real windows corrupted, beside n others, in each repeat.

    A score that is undefined at some strength has a finding where it claims to see the corruption, and the claim fails.
    Reference, samples and the training windows that the measures know share no rows, so that nothing is a copy unless
    it is made one. n: at most `most_windows`.
    """
    parts = alternate_runs(splits.train, 3)
    real = Real(parts[2], splits.cells)
    scores = {name: metric for metric in metrics for name in metric.sees}
    chosen = [(name, *CORRUPTIONS[name]) for name in CORRUPTIONS if applies(name, real)]
    curves = {
        (name, corruption): np.full((repeats, len(at)), np.nan) for name in scores for corruption, _, at in chosen
    }
    reasons: dict[tuple[str, str], str] = {}
    for repeat in range(repeats):
        rng = scope(repeat).numpy("validation windows")
        reference, samples = (pool[np.sort(rng.choice(len(pool), n, replace=False))] for pool in parts[:2])
        known = SampleEvaluation(reference, samples, real.train, scope(repeat).numpy, cells=splits.cells)
        known = dataclasses.replace(known, reference_start=origin(reference, splits).start)
        begins = origin(samples, splits).start

        def measured(windows: np.ndarray, known: SampleEvaluation = known, begins: Any = begins) -> list[Measurement]:
            windows = windows.astype(np.float32)
            now = origin(windows, splits).start  # a corrupted window shares its neighbours' rows as before
            start = None if now is None else np.where(np.isnan(now), begins, now)
            evaluation = dataclasses.replace(known, samples=windows, sample_start=start)
            rows = [row for metric in set(scores.values()) for row in measure(metric, evaluation)]
            return [row for row in rows if row.name in scores]

        untouched = measured(samples)
        for corruption, corrupt, strengths in chosen:
            for place, strength in enumerate(strengths):
                found = untouched
                if strength:
                    found = measured(corrupt(samples, strength, scope(repeat).numpy(corruption), real))
                for row in found:
                    curves[row.name, corruption][repeat, place] = row.value
                    if row.reason:
                        reasons.setdefault((row.name, corruption), row.reason)
    findings = []
    for (name, corruption), values in curves.items():
        metric = scores[name]
        word, error = verdict(-values if metric.direction == "higher" else values)
        claimed = corruption in metric.sees[name]
        if word == "undefined" and not claimed:
            continue
        mean, reason = [float(value) for value in values.mean(axis=0)], reasons.get((name, corruption), "")
        strengths = CORRUPTIONS[corruption][1]
        findings.append(Finding(name, metric.version, corruption, claimed, word, strengths, mean, error, reason))
    return findings


def spec_of(word: str) -> DatasetSpec:
    """The data set that a word of --dataset names."""
    name, colon, path = word.partition(":")
    return dataset_spec({"name": name, **({"path": path} if colon else {})}, f"--dataset {word}")


def print_findings(findings: Sequence[Finding]) -> int:
    """A line per finding; returns how many claims fail."""
    failed = [finding for finding in findings if finding.claimed and finding.verdict != "sees"]
    command.write_table(
        [
            (
                f"{finding.metric}@{finding.version}",
                finding.corruption,
                ": ".join(filter(None, (finding.verdict, finding.reason)))
                + (" (CLAIM FAILS)" if finding in failed else " (claimed)" if finding.claimed else ""),
                _spaced(finding.strengths),
                _spaced(finding.means),
            )
            for finding in sorted(findings)
        ],
        ("metric", "corruption", "verdict", "strengths", "means"),
    )
    command.write(f"\n{sum(f.claimed for f in findings) - len(failed)} claims hold, {len(failed)} fail\n")
    return len(failed)


def _spaced(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def row_of(finding: Finding) -> dict[str, Any]:
    """A finding as a row of the table; strengths and means are numbers with spaces between them."""
    spelled = {"strengths": _spaced(finding.strengths), "means": _spaced(finding.means)}
    return {**finding._asdict(), **spelled}


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table. Raises InputError where that is not possible."""
    try:
        pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g")
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written: {error.strerror}") from error
