"""Copies of training windows: known answers, and the definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu
from test_metrics_c2st import lattice

from bench.contracts import Cells, SampleEvaluation
from bench.metrics.copies import nearest
from bench.randomness import numpy_generator
from bench.registry import METRICS


def windows(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 6, 2)).astype(np.float32)


def values(
    train: np.ndarray, reference: np.ndarray, samples: np.ndarray, cells: Cells | None = None
) -> dict[str, float]:
    at = SampleEvaluation(reference, samples, train, lambda role: numpy_generator("test", 0, role), cells=cells)
    return {row.name: row.value for name in ("copies", "authenticity") for row in METRICS[name]().measure(at)}


def test_copies_with_a_little_noise_score_one() -> None:
    train, held_out = windows(0, 300), windows(1, 200)
    found = values(train, held_out, train[:200] + 0.01 * windows(2, 200))
    assert found["copies"] == 1
    assert found["copies_z"] > 10
    assert found["authenticity"] == 0
    assert values(train, held_out, train[:200])["authenticity"] == 0


def test_independent_draws_score_a_half() -> None:
    found = [values(windows(3 * k, 300), windows(3 * k + 1, 150), windows(3 * k + 2, 150)) for k in range(20)]
    for name, middle in (("copies", 0.5), ("copies_z", 0.0)):
        numbers = np.array([each[name] for each in found])
        assert abs(numbers.mean() - middle) < 2 * numbers.std(ddof=1) / np.sqrt(20)
    assert np.std([each["copies_z"] for each in found]) == pytest.approx(1, abs=0.5)
    honest = np.array([[each["authenticity"], each["authenticity_held_out"]] for each in found]).mean(axis=0)
    assert honest[0] == pytest.approx(honest[1], abs=0.03)


def test_a_quarter_of_copies_adds_an_eighth() -> None:
    train, held_out, samples = windows(0, 400), windows(1, 400), windows(2, 400)
    before = values(train, held_out, samples)["copies"]
    samples[:100] = train[:100]
    assert values(train, held_out, samples)["copies"] == pytest.approx(0.75 * before + 0.25, abs=0.02)


def test_what_is_far_from_everything_is_no_copy() -> None:
    found = values(windows(0, 100), windows(1, 50), windows(2, 50) + 10)
    assert (found["copies"], found["authenticity"]) == (0, 1)


def test_they_are_the_definitions_written_out() -> None:
    train, reference, samples = (
        np.float64(w).reshape(len(w), -1) for w in (windows(0, 40), windows(1, 30), windows(2, 30))
    )
    d_x, d_y = (cdist(part, train).min(axis=1) for part in (reference, samples))
    found = values(windows(0, 40), windows(1, 30), windows(2, 30))
    assert found["copies"] == pytest.approx(np.mean(d_y[:, None] < d_x))
    test = mannwhitneyu(d_x, d_y, use_continuity=False, alternative="greater", method="asymptotic")
    assert test.statistic == pytest.approx(found["copies"] * 900)
    nearest_one = cdist(samples, train).argmin(axis=1)
    among = cdist(train, train)
    np.fill_diagonal(among, np.inf)
    assert found["authenticity"] == pytest.approx(np.mean(d_y > among.min(axis=1)[nearest_one]))


def test_rounding_to_cells_finds_copies_that_were_smeared() -> None:
    cells = lattice()
    train, held_out = (cells.rounded(windows(k, 200)) for k in (0, 1))
    smeared = train + np.float32(0.24) * np.random.default_rng(2).uniform(-1, 1, train.shape).astype(np.float32)
    assert nearest(cells.rounded(smeared).reshape(200, -1), train.reshape(200, -1))[1].max() == 0
    assert values(train, held_out, smeared, cells)["copies"] == 1


def test_equal_distances_are_a_half_without_an_error() -> None:
    one = np.repeat(windows(0, 1), 20, axis=0)
    found = METRICS["copies"]().measure(SampleEvaluation(one, one, one, lambda role: numpy_generator("test", 0, role)))
    assert [row.status for row in found] == ["ok", "undefined"]
    assert found[0].value == 0.5
    few = METRICS["copies"]().measure(
        SampleEvaluation(one, one, one[:1], lambda role: numpy_generator("test", 0, role))
    )
    assert {row.status for row in few} == {"undefined"}
