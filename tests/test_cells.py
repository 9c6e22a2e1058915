"""The cells of values: found where a grid was, carried through transforms, and undone by rounding."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.contracts import DatasetSpec, InputError, Recordings, Resolution
from bench.loading.cells import MeasuredCells, find_grid, from_raw, measure_cells, resolutions_of, to_raw
from bench.loading.windows import make_splits

RNG = np.random.default_rng(0)
N = 4000


def grid_of(values: np.ndarray) -> float:
    return find_grid(values, np.random.default_rng(1))[0]


@pytest.mark.parametrize("width", [10.0, 1.0, 0.25, 0.1, 0.01, 1 / 3, 1 / 128])
@pytest.mark.parametrize("offset", [0.0, 0.037, -1234.5])
def test_the_grid_of_rounded_values_is_found(width, offset):
    values = np.round(RNG.normal(size=N) * 30 / min(width, 1) * width) * width + offset
    assert grid_of(values) == pytest.approx(width, rel=1e-6)


def test_the_coarsest_grid_wins_and_one_percent_may_lie_beside_it():
    whole = np.round(RNG.normal(size=N) * 20)
    assert grid_of(2 * whole) == pytest.approx(2)
    strays = whole.copy()
    strays[: N // 200] += RNG.uniform(0.1, 0.9, N // 200)  # half a percent
    assert grid_of(strays) == pytest.approx(1)
    strays[: N // 20] += RNG.uniform(0.1, 0.9, N // 20)  # five percent
    assert grid_of(strays) == 0


def test_gaps_between_floats_are_no_resolution():
    assert grid_of(RNG.normal(size=N)) == 0
    assert grid_of(RNG.normal(size=N).astype(np.float32).astype(float)) == 0
    assert grid_of(np.concatenate([np.zeros(N), RNG.normal(size=N)])) == 0  # an atom in a continuous channel
    assert grid_of(np.full(N, 3.7)) == 0
    assert grid_of(np.full(5, np.nan)) == 0


@pytest.mark.parametrize("transform", ["identity", "log1p", "signed_log1p"])
def test_transforms_are_undone(transform):
    raw = np.abs(RNG.normal(size=N)) * 100 * (np.sign(RNG.normal(size=N)) if transform == "signed_log1p" else 1)
    np.testing.assert_allclose(to_raw(from_raw(raw, transform), transform), raw, rtol=1e-12, atol=1e-12)


def cells_of(resolutions: list[Resolution], raw: np.ndarray) -> tuple[MeasuredCells, np.ndarray]:
    recorded = np.stack([from_raw(raw[:, c], r.transform) for c, r in enumerate(resolutions)], axis=1)
    mean, scale = recorded.mean(axis=0), recorded.std(axis=0)
    return measure_cells(recorded, resolutions, mean, scale), (recorded - mean) / scale


COUNTS = RNG.poisson(3, N).astype(float)
MIXED = np.column_stack([COUNTS, RNG.integers(-40, 40, N) * 0.5, RNG.normal(size=N)])
RESOLUTIONS = [Resolution(1, 0, "log1p"), Resolution(0.5), Resolution(0)]


def test_a_cell_is_the_interval_of_the_raw_value_carried_through_the_transform():
    cells, x = cells_of(RESOLUTIONS, MIXED)
    low, high = cells.interval(x)
    expected = (
        (np.log1p(COUNTS - 0.5) - cells.mean[0]) / cells.scale[0],
        (np.log1p(COUNTS + 0.5) - cells.mean[0]) / cells.scale[0],
    )
    np.testing.assert_allclose(low[:, 0], expected[0], atol=1e-12)
    np.testing.assert_allclose(high[:, 0], expected[1], atol=1e-12)
    np.testing.assert_allclose((high - low)[:, 1], 0.5 / cells.scale[1], atol=1e-12)
    np.testing.assert_allclose((high - low)[:, 2], 1e-3, atol=1e-12)
    assert (low <= x).all()
    assert (x <= high).all()
    assert list(cells.on_grid) == [True, True, False]


def test_rounding_undoes_noise_inside_half_a_cell_and_nothing_else():
    cells, x = cells_of(RESOLUTIONS, MIXED)
    low, high = cells.interval(x)
    inside = x + 0.98 * RNG.uniform(-1, 1, x.shape) * np.minimum(x - low, high - x)
    np.testing.assert_allclose(cells.rounded(inside)[:, :2], x[:, :2], atol=1e-9)
    once = cells.rounded(x)
    np.testing.assert_allclose(cells.rounded(once), once, atol=1e-9)
    assert np.abs(once - x).max() <= 0.5e-3 + 1e-9
    beyond = x + 1.02 * (high - low)
    assert (np.abs(cells.rounded(beyond)[:, :2] - x[:, :2]) > 1e-3).all()
    window = x[:24].reshape(2, 12, 3).astype(np.float32)
    assert cells.rounded(window).shape == window.shape
    assert cells.rounded(window).dtype == np.float32


def test_atoms_and_bounds_are_those_of_the_training_rows():
    raw = np.column_stack([np.where(RNG.uniform(size=N) < 0.3, 0.0, RNG.normal(size=N))])
    cells, x = cells_of([Resolution(0)], raw)
    ((value, share),) = cells.atoms[0]
    assert value == pytest.approx(0, abs=1e-3)
    assert share == pytest.approx((raw == 0).mean(), abs=0.003)
    assert (cells.low[0], cells.high[0]) == (raw.min(), raw.max())
    assert cells.clipped(x + 100).max() == pytest.approx(x.max())
    assert cells.clipped(x - 100).min() == pytest.approx(x.min())


def test_cells_are_written_as_plain_facts_and_read_back():
    cells, x = cells_of(RESOLUTIONS, MIXED)
    again = MeasuredCells.from_facts(json.loads(json.dumps(cells.to_facts())), cells.mean, cells.scale)
    np.testing.assert_array_equal(again.rounded(x), cells.rounded(x))
    assert again.atoms == cells.atoms
    assert list(again.on_grid) == list(cells.on_grid)


def recordings(**options: object) -> Recordings:
    rows = np.column_stack([np.round(RNG.normal(size=2000), 1), RNG.normal(size=2000)])
    return Recordings([rows], ("a", "b"), ("", ""), 10, 1, 5, "blocks", **options)  # type: ignore[arg-type]


def test_splits_hold_the_declared_or_the_estimated_cells_and_the_windows_do_not_change():
    spec = DatasetSpec("cells")
    estimated = make_splits(recordings(), spec, 0)
    assert isinstance(estimated.cells, MeasuredCells)
    np.testing.assert_allclose(estimated.cells.width, [0.1, 1e-3 * estimated.scale[1]], rtol=1e-9)
    np.testing.assert_allclose(estimated.cells.rounded(estimated.train)[..., 0], estimated.train[..., 0], atol=1e-5)


def test_a_declaration_wins_over_the_estimate_and_must_name_every_channel():
    made = recordings(resolutions=(Resolution(0.5), Resolution(0)))
    cells = make_splits(made, DatasetSpec("cells"), 0).cells
    assert isinstance(cells, MeasuredCells)
    assert cells.width[0] == 0.5
    with pytest.raises(InputError, match=r"^mine: declares 1 resolutions, expected one for each of 2 channels$"):
        resolutions_of(np.zeros((5, 2)), [Resolution(1)], "mine")


def test_a_generated_count_below_zero_is_rounded_to_none():
    counts = np.random.default_rng(0).poisson(3, size=(500, 1)).astype(float)
    recorded = np.log1p(counts)
    mean, scale = recorded.mean(axis=0), recorded.std(axis=0)
    cells = measure_cells(recorded, [Resolution(1.0, 0.0, "log1p")], mean, scale)
    low = (np.log1p(np.array([[-0.3], [-0.7], [-0.999], [0.2]])) - mean) / scale
    raw = np.expm1(cells.rounded(low) * scale + mean)
    np.testing.assert_allclose(raw, 0, atol=1e-9)
    below = (np.array([[-3.0]]) - mean) / scale  # log1p of less than -.95
    np.testing.assert_allclose(np.expm1(cells.rounded(below) * scale + mean), 0, atol=1e-9)
