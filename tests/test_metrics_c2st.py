"""The classifier two-sample test: unbiased for equal laws, powerful for different ones, and it says by what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from bench.contracts import (
    DatasetSpec,
    DiffusionConfig,
    EvaluateConfig,
    ModelConfig,
    SampleEvaluation,
    Splits,
    TrainConfig,
)
from bench.loading.cells import MeasuredCells
from bench.loading.references import origin
from bench.loading.windows import load_splits
from bench.method import stacked
from bench.metrics import c2st_entities
from bench.metrics.c2st import C2ST, FOLDS, Windows, auc, both_kinds, separation
from bench.metrics.c2st_entities import C2STEntities
from bench.metrics.window_features import common_values, features_by_family
from bench.randomness import numpy_generator
from bench.registry import METHODS
from bench.scoring.scores import Scope, draw_samples, score_samples
from bench.scoring.validation import CORRUPTIONS, Real
from bench.training.stack import train_stack

T = 12


def evaluation(reference: np.ndarray, samples: np.ndarray, **given: object) -> SampleEvaluation:
    reference, samples = np.float32(reference), np.float32(samples)
    return SampleEvaluation(reference, samples, reference, lambda role: numpy_generator("test", 0, role), **given)


def primary(reference: np.ndarray, samples: np.ndarray, seed: int = 0, **given: object) -> float:
    """The primary number with one draw of folds."""
    values, windows = both_kinds(evaluation(reference, samples, **given))
    fold = windows.folds(np.random.default_rng(seed))
    return separation(np.concatenate(list(features_by_family(values).values()), axis=1), windows, fold, seed)[0]


def measured(reference: np.ndarray, samples: np.ndarray, **given: object) -> dict[str, float]:
    return {row.name: row.value for row in C2ST().measure(evaluation(reference, samples, **given))}


def levels(rng: np.random.Generator, n: int, steps: int = T, persistence: float = 0.8) -> np.ndarray:
    """Stationary autoregressions of two channels, (n, steps, 2)."""
    x = rng.standard_normal((n, steps, 2))
    for t in range(1, steps):
        x[:, t] = persistence * x[:, t - 1] + np.sqrt(1 - persistence**2) * x[:, t]
    return x


def cut(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.stack([rows[int(start) : int(start) + T] for start in starts])


# ---------------------------------------------------------------- equal laws


def independent_draws(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"reference": levels(rng, 80), "samples": levels(rng, 80)}


def halves_of_groups(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Groups of overlapping windows of one recording, every group on one side as a whole."""
    rows, groups = levels(rng, 1, 40 * 5 * T, 0.9)[0], rng.permutation(40)
    first, second = (np.sort((part[:, None] * 5 * T + np.arange(0, 4 * T, T)).ravel()) for part in np.split(groups, 2))
    starts = {"reference_start": first.astype(float), "sample_start": second.astype(float)}
    return {"reference": cut(rows, first), "samples": cut(rows, second), **starts}


def bootstrap(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Overlapping windows of one recording, and the same drawn with replacement, in any order."""
    starts = np.arange(80) * 4.0
    windows = cut(levels(rng, 1, 80 * 4 + T)[0], starts)
    return {"reference": windows, "samples": windows[rng.choice(80, 80)], "reference_start": starts}


@pytest.mark.parametrize("pair", [independent_draws, halves_of_groups, bootstrap])
def test_equal_laws_score_a_half(pair: Callable[..., dict[str, np.ndarray]]) -> None:
    areas = [primary(**pair(np.random.default_rng(k)), seed=k) for k in range(1000, 1012)]
    error = np.std(areas, ddof=1) / np.sqrt(len(areas))
    assert abs(np.mean(areas) - 0.5) < 2 * error
    assert error < 0.03


def people(rng: np.random.Generator, n: int = 40) -> dict[str, np.ndarray]:
    """Six windows of each of n people, who have levels of their own: half of the people beside the other half."""
    whose = np.repeat(np.arange(n), 6)
    windows = levels(rng, len(whose)) + 2 * rng.standard_normal((n, 1, 2))[whose]
    first = np.isin(whose, rng.permutation(n)[: n // 2])
    entities = {"reference_entity": whose[first].astype(float), "sample_entity": whose[~first].astype(float)}
    return {"reference": windows[first], "samples": windows[~first], **entities}


def test_people_that_the_judge_has_not_seen_score_a_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c2st_entities, "REPEATS", 1)
    pairs = [people(np.random.default_rng(k)) for k in range(12)]
    whole = [C2STEntities().measure(evaluation(**pair))[0].value for pair in pairs]
    assert abs(np.mean(whole) - 0.5) < 2 * np.std(whole, ddof=1) / np.sqrt(len(whole))
    torn = [primary(pair["reference"], pair["samples"], k) for k, pair in enumerate(pairs[:5])]
    assert np.mean(torn) > 0.55  # the judge of `c2st` has seen other windows of the people it judges


def test_samples_of_nobody_are_told_apart_by_their_law_and_not_by_their_people() -> None:
    pair = people(np.random.default_rng(0))
    known = {"reference_entity": pair["reference_entity"]}
    flat = np.repeat(pair["samples"].mean(axis=1, keepdims=True), T, axis=1)
    (found,) = C2STEntities().measure(evaluation(pair["reference"], flat, **known))
    assert found.value > 0.95
    (unknown,) = C2STEntities().measure(evaluation(pair["reference"], flat))
    assert (unknown.status, "see c2st" in unknown.reason) == ("undefined", True)
    (few,) = C2STEntities().measure(evaluation(pair["reference"][:30], flat, reference_entity=np.arange(30) % 4))
    assert "needs 5 entities" in few.reason


def test_all_windows_of_an_entity_and_those_equal_to_one_share_a_fold() -> None:
    pair = people(np.random.default_rng(1))
    samples = np.concatenate([levels(np.random.default_rng(2), 60), pair["reference"][::4]])
    _, windows = both_kinds(evaluation(pair["reference"], samples))
    whose = np.concatenate([pair["reference_entity"], np.full(len(samples), np.nan)])
    fold = dataclasses.replace(windows, entity=whose).folds(np.random.default_rng(0))
    for entity in np.unique(pair["reference_entity"]):
        assert len(np.unique(fold[whose == entity])) == 1
    np.testing.assert_array_equal(fold[-30:], fold[: len(pair["reference"]) : 4])


def test_a_permuted_copy_is_a_half_exactly() -> None:
    x = levels(np.random.default_rng(0), 60)
    found = measured(x, x[np.random.default_rng(1).permutation(60)])
    assert found["c2st_auc"] == pytest.approx(0.5, abs=1e-9)


def test_neighbouring_rows_give_nothing_away() -> None:
    """Two recordings of one law, whose windows overlap: that neighbours resemble each other is not a difference."""
    areas = []
    for k in range(12):
        rng, starts = np.random.default_rng(k), np.arange(90) * 2.0
        x, y = (cut(levels(rng, 1, 90 * 2 + T, 0.3)[0], starts) for _ in range(2))
        areas.append(primary(x, y, k, reference_start=starts, sample_start=starts + 1000))
    assert abs(np.mean(areas) - 0.5) < 3 * np.std(areas, ddof=1) / np.sqrt(12)


# ---------------------------------------------------------------- groups and folds


def test_equal_and_neighbouring_windows_share_a_fold_and_no_judge_knows_their_rows() -> None:
    rng, starts = np.random.default_rng(0), np.arange(200) * 3.0
    x = cut(levels(rng, 1, 200 * 3 + T)[0], starts)
    y = np.concatenate([levels(rng, 100), x[::2]])
    _, windows = both_kinds(evaluation(x, y, reference_start=starts))
    np.testing.assert_array_equal(windows.start[300:], starts[::2])  # a copy begins where its original does
    fold = windows.folds(np.random.default_rng(1))
    np.testing.assert_array_equal(fold[300:], fold[:200:2])
    for kind in (0, 1):
        assert np.bincount(fold[windows.kind == kind], minlength=FOLDS).min() > 20
    rounds = list(windows.rounds(fold))
    assert len(rounds) == FOLDS
    for learns, judged in rounds:
        known, unseen = (windows.start[part & ~np.isnan(windows.start)] for part in (learns, judged))
        assert np.abs(known[:, None] - unseen).min() >= T
        assert learns.sum() > 0.5 * len(learns)


def test_folds_are_drawn_the_same_way_for_both_kinds() -> None:
    x, y = levels(np.random.default_rng(0), 53), levels(np.random.default_rng(1), 53)
    for one, two in ((x, y), (y, x)):
        _, windows = both_kinds(evaluation(one, two))
        fold = windows.folds(np.random.default_rng(2))
        for kind in (0, 1):
            assert sorted(np.bincount(fold[windows.kind == kind])) == [10, 10, 11, 11, 11]
    assert measured(x, y)["c2st_auc"] == pytest.approx(measured(y, x)["c2st_auc"], abs=0.12)


def test_a_sampler_that_returns_one_window_is_told_apart() -> None:
    x = levels(np.random.default_rng(0), 80)
    assert measured(x, np.repeat(x.mean(axis=0, keepdims=True), 80, axis=0))["c2st_auc"] > 0.99
    zeros = np.where(np.random.default_rng(1).random((80, 1, 1)) < 0.5, 0.0, x)  # half of the windows are all zero
    assert primary(zeros, np.where(np.random.default_rng(2).random((80, 1, 1)) < 0.5, 0.0, levels(
        np.random.default_rng(3), 80))) == pytest.approx(0.5, abs=0.12)  # fmt: skip
    assert primary(zeros, x) > 0.6


def test_scores_fill_in_where_windows_begin() -> None:
    rng = np.random.default_rng(0)
    rows = levels(rng, 1, 500)[0].astype(np.float32)
    windows = cut(rows, np.arange(0, 480, 4))
    splits = Splits(windows[:80], windows[80:100], windows[100:], np.zeros(2), np.ones(2), ("a", "b"), ("", ""), 4, "")
    found = origin(np.concatenate([splits.test[:3], splits.train[5:6], windows[:1] + 1]), splits).start
    assert found is not None
    np.testing.assert_array_equal(np.diff(found[:3]), [4, 4])
    assert found[3] == 20
    assert np.isnan(found[4])
    (row, *_) = score_samples(splits.test, splits.train[:20], splits, [C2ST()], Scope("tiny", 0))
    assert row["status"] == "ok"
    single = load_splits(DatasetSpec("regimes", (("series", 60),)), 0)
    assert origin(single.test, single) == (None, None)  # windows of one series each share nothing


# ---------------------------------------------------------------- cells


def lattice(width: float = 0.5, channels: int = 2) -> MeasuredCells:
    """Channels that were measured in steps of `width`, in scaled units."""
    ones = np.ones(channels)
    return MeasuredCells(
        ("identity",) * channels, width * ones, 0 * ones, -9 * ones, 9 * ones, ((),) * channels, 0 * ones, ones
    )


def test_noise_inside_half_a_cell_is_invisible_and_of_a_cell_is_seen() -> None:
    cells, rng = lattice(), np.random.default_rng(0)
    x, y = (cells.rounded(levels(np.random.default_rng(k), 150)) for k in (1, 2))
    inside = y + 0.5 * rng.uniform(-0.49, 0.49, y.shape)
    assert primary(x, inside, cells=cells) == primary(x, y, cells=cells)
    assert primary(x, inside) > 0.95  # whoever does not know the cells
    noisy = CORRUPTIONS["noise_in_cells"][0](y, 1.0, rng, Real(x, cells))
    assert primary(x, noisy, cells=cells) > 0.8


# ---------------------------------------------------------------- different laws


def test_families_say_what_gave_the_samples_away() -> None:
    rng = np.random.default_rng(0)
    x, y = levels(rng, 150, persistence=0.7), levels(rng, 150, persistence=0.7)
    families = ("marginals", "dynamics", "cross_channel")

    def seen(samples: np.ndarray) -> dict[str, float]:
        found = measured(x, samples)
        assert found["c2st_auc"] > 0.75
        return {family: found[f"c2st_auc_{family}"] for family in families}

    order = rng.permuted(np.tile(np.arange(T), (150, 1)), axis=1)
    shuffled = seen(np.take_along_axis(y, order[:, :, None], axis=1))
    assert shuffled["dynamics"] > 0.75
    assert max(shuffled["marginals"], shuffled["cross_channel"]) < 0.65  # except for the increments' correlation
    moved = seen(y + 2)
    assert moved["marginals"] > 0.9
    assert max(moved["dynamics"], moved["cross_channel"]) < 0.65
    joined = seen(np.concatenate([y[:, :, :1], 0.9 * y[:, :, :1] + np.sqrt(1 - 0.81) * y[:, :, 1:]], axis=2))
    assert joined["cross_channel"] == max(joined.values())


def test_shuffled_time_is_seen_wherever_neighbours_resemble_each_other() -> None:
    rng = np.random.default_rng(0)
    for persistence in (0.35, 0.6, 0.9):
        x, y = levels(rng, 150, persistence=persistence), levels(rng, 150, persistence=persistence)
        order = rng.permuted(np.tile(np.arange(T), (150, 1)), axis=1)
        assert primary(x, np.take_along_axis(y, order[:, :, None], axis=1)) > 0.6


def test_features_by_hand() -> None:
    line = np.arange(4.0)[None, :, None] * np.array([1.0, -1.0])
    found = features_by_family(np.concatenate([line, np.zeros((1, 4, 2))]))
    assert {family: table.shape[1] for family, table in found.items() if family != "components"} == {
        "marginals": 22, "dynamics": 26, "cross_channel": 3,
    }  # fmt: skip
    assert found["marginals"][0, :2].tolist() == [1.5, -1.5]
    np.testing.assert_allclose(found["cross_channel"][0, [0, 2]], [-1, 0])  # lines; their increments are flat
    assert np.isfinite(np.concatenate(list(found.values()), axis=1)).all()
    assert set(features_by_family(np.zeros((3, 1, 1)))) == {"marginals", "components"}
    assert common_values(np.array([[[2.0], [2.0], [1.0]]]))[:, 0].tolist() == [2.0, 1.0]


def test_auc_counts_pairs() -> None:
    assert auc(np.array([0.0, 1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])) == pytest.approx(3.5 / 4)


def judged_by_trees(reference: np.ndarray, samples: np.ndarray) -> float:
    """Gradient-boosted trees of depth 3 on values, increments and the summaries, in the same folds."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    values, windows = both_kinds(evaluation(reference, samples))
    families = features_by_family(values)
    parts = [values.reshape(len(values), -1), np.diff(values, axis=1).reshape(len(values), -1)]
    x = np.concatenate([*parts, *(families[k] for k in ("marginals", "dynamics", "cross_channel"))], axis=1)
    found = []
    for learns, judged in windows.rounds(windows.folds(np.random.default_rng(0))):
        trees = HistGradientBoostingClassifier(max_iter=100, max_depth=3, max_bins=64, early_stopping=False)
        scores = trees.fit(x[learns], windows.kind[learns]).decision_function(x[judged])
        found.append(auc(scores, windows.kind[judged]))
    return float(np.mean(found))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corruption", "strength"),
    [
        ("noise", 0.0), ("noise", 0.1), ("noise", 0.2), ("blur", 0.1), ("shrinking", 0.1), ("mode_dropping", 0.3),
        ("mode_dropping", 0.6), ("channel_permutation", 0.4), ("time_shuffling", 0.3), ("flat_lines", 0.3),
    ],
)  # fmt: skip
def test_as_powerful_as_boosted_trees(corruption: str, strength: float) -> None:
    """Over sample sets from perfect to bad: at most .05 below trees that see all values too."""
    splits = load_splits(DatasetSpec("regimes"), 0)
    x, y = splits.train[:300], splits.train[300:600]
    y = CORRUPTIONS[corruption][0](y, strength, np.random.default_rng(0), Real(splits.train[600:], splits.cells))
    theirs = judged_by_trees(x, y)
    assert primary(x, y) > max(theirs, 0.5) - 0.05 or theirs < 0.57


@pytest.mark.slow
def test_as_powerful_as_boosted_trees_on_windows_of_a_short_training() -> None:
    splits, method, scope = load_splits(DatasetSpec("regimes"), 0), METHODS["latent_diffusion"](), Scope("regimes", 0)
    train, diffusion = TrainConfig(steps=500), DiffusionConfig(steps=500, sampling_steps=50)
    model = train_stack([method], [splits], [("regimes", 0)], "lstm", ModelConfig(), [train], [diffusion]).model.eval()
    samples = draw_samples(model, stacked([method]), splits, EvaluateConfig(n_samples=300), scope)
    theirs = judged_by_trees(splits.test[:300], samples)
    assert theirs > 0.7
    assert primary(splits.test[:300], samples) > theirs - 0.05


def test_windows_of_one_kind_only_leave_nothing_to_judge() -> None:
    windows = Windows.of(np.zeros((20, 3, 1)), np.repeat([0, 1], 10), np.full(20, np.nan))
    assert not list(windows.rounds(np.zeros(20, dtype=int)))
