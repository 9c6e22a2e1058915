"""The latent-information card: known answers, its sentence, and that it is computed once for the same windows."""

import dataclasses
import math
import shutil
import types

import numpy as np
import pandas as pd
import pytest

from bench.contracts import DatasetSpec, Recordings
from bench.loading import latent_card as module
from bench.loading.latent_card import LatentCard, disjoint, kept_card, latent_card, measure_card
from bench.loading.windows import cut_windows, load_splits, make_splits
from bench.report.cards import cards_of

T = 12


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def splits_of(x):
    return make_splits(Recordings.simulated(x), DatasetSpec("mine"), 0)


def drawn(kind, n=600):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(n, T, 2))
    if kind == "noise":
        return noise
    if kind == "level":  # nothing but a mean per window
        return rng.normal(size=(n, 1, 2)) + 0.05 * noise
    if kind == "walk":  # a first-order recursion
        return np.cumsum(noise, axis=1)
    phase = rng.uniform(0, 2 * np.pi, size=(n, 1, 2))  # a sine whose two last values are noisy
    return np.sin(phase + 2 * np.pi * np.arange(T)[:, None] / 6) + 0.5 * noise


@pytest.mark.parametrize(
    ("kind", "between", "words"),
    [
        ("noise", (0.05, 0.12), "has little to do: nothing in the first two thirds"),
        ("level", (0.98, 1.0), "has little to do: the last two steps say nearly all"),
        ("walk", (0.5, 0.7), "has little to do: what the first two thirds say"),
        ("sine", (0.0, 0.2), "can matter: the first two thirds of a window say 0."),
    ],
)
def test_known_answers(kind, between, words):
    card = measure_card(splits_of(drawn(kind)))
    assert between[0] < card.between_windows < between[1]
    assert words in card.verdict
    assert card.windows == 420
    assert card.groups == 120
    if kind == "noise":
        assert abs(card.components - card.components_shuffled) < 0.05
        assert max(card.two_thirds, card.two_thirds_kernel) < 0.05
    if kind == "sine":
        assert card.components > card.components_shuffled + 0.2
        assert card.gain > 0.1
        assert card.gain_kernel > 0.1


def test_the_gain_follows_the_information_of_a_simulated_latent():
    cards = []
    for information in (0.0, 0.5):
        options = (("information", information), ("series", 1500))
        cards.append(measure_card(load_splits(DatasetSpec("dialled_latent", options), 0)))
    assert cards[0].gain < 0.03 < 0.06 < cards[1].gain
    assert "little to do" in cards[0].verdict


@pytest.mark.filterwarnings("ignore:.*is constant in the training rows")
@pytest.mark.parametrize("x", [np.ones((12, 3, 1)), np.zeros((10, 2, 2))])
def test_windows_that_do_not_vary_and_short_ones(x):
    card = measure_card(splits_of(x))
    assert math.isnan(card.gain)
    assert "cannot be said" in card.verdict
    assert measure_card(splits_of(drawn("noise", 10)[:, :2])).windows == 7


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stride", [1, 3, 5, T, 2 * T])
def test_windows_that_share_no_row_are_counted_within_pieces(stride, shuffle):
    """Of a piece of n rows n // T, where windows begin at every row, and not the rows of all pieces over T."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(T, 5 * T, size=20)
    pieces = [rng.normal(size=(n, 2)).round(1) for n in lengths]
    windows = np.concatenate([cut_windows(piece, T, stride) for piece in pieces])
    if shuffle:
        windows = np.stack([rng.permutation(window) for window in windows])
    counts, apart = [(n - T) // stride + 1 for n in lengths], -(-T // stride)
    assert disjoint(windows, stride) == sum(-(-n // apart) for n in counts)
    if stride == 1:
        assert disjoint(windows, 1) == sum(n // T for n in lengths) > len(windows) // T


def test_every_kth_training_window_counts_with_its_own_stride():
    rows = np.random.default_rng(0).normal(size=(2400, 2))
    given = Recordings([rows], ("a", "b"), ("", ""), T, 1, 3, "time", training_windows=40)
    splits = make_splits(given, DatasetSpec("mine"), 0)
    assert splits.strides["train"] > T
    assert measure_card(splits).windows == len(splits.train) <= 40


def test_a_regression_that_fails_is_no_gain():
    values = dict(zip((item.name for item in dataclasses.fields(LatentCard)), [0.1] * 9, strict=True))
    fails = {"last_steps": -4.0, "last_steps_kernel": -4.0, "two_thirds": -2.0, "two_thirds_kernel": -2.5}
    assert "cannot be said" in LatentCard(**values | fails).verdict


def test_it_is_computed_once_for_the_same_windows(monkeypatch):
    splits = splits_of(drawn("sine"))
    first = latent_card(splits)
    (kept,) = (module.cache_folder() / "cards").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(module, "measure_card", lambda splits: pytest.fail("computed again"))
        assert latent_card(splits) == first
        assert kept_card(["another", splits.sha256]) == first
    kept.write_text("{")
    assert kept_card([splits.sha256]) is None
    assert latent_card(splits) == first


def test_a_report_shows_it_where_it_was_computed_or_published(tmp_path):
    spec = DatasetSpec("ar1", (("series", 100),))
    splits = load_splits(spec, 0)
    runs = pd.DataFrame({"kind": ["reference"], "method": [""], "dataset": [spec.key], "data_sha256": [splits.sha256]})
    metrics = pd.DataFrame({"metric": [], "version": []})
    selection = types.SimpleNamespace(runs=runs, metrics=metrics, folder=tmp_path / "none")
    assert (
        cards_of(selection)[0].facts["what a window knows of itself"].startswith("not computed (python -m bench.data")
    )
    card = latent_card(splits)
    facts = cards_of(selection)[0].facts
    assert facts["can a latent matter (series=100)"] == card.verdict
    assert "what a window knows of itself" not in facts
    module.publish_cards([splits.sha256, "another"], tmp_path / "none", tmp_path / "first")
    shutil.rmtree(module.cache_folder() / "cards")
    assert "what a window knows of itself" in cards_of(selection)[0].facts
    module.publish_cards([splits.sha256], tmp_path / "first", tmp_path / "second")
    assert len(list((tmp_path / "second" / "cards").iterdir())) == 1
    selection.folder = tmp_path / "second"
    assert cards_of(selection)[0].facts == facts
