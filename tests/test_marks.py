"""The marks of values: which values they are, what a masked past shows, and that measures and drawing use the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from bench.contracts import DatasetSpec, DiffusionConfig, ModelConfig, Recordings, Resolution, TrainConfig
from bench.loading.windows import make_splits
from bench.metrics.dependency import dependency_measures
from bench.models.build import StackedModel
from bench.models.marks import MARKS, OWN, Marks
from bench.models.stacked import initialise
from bench.parts.cells import MeasuredIntervals
from bench.parts.decoder_inputs import HIDDEN
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.training.stack import train_stack

T, C, D = 5, 2, 3


def windows(n: int = 400, seed: int = 0) -> torch.Tensor:
    """Channel 0 is 0 to 10 with many 4s, cut at 0 and 10; channel 1 is continuous."""
    rng = np.random.default_rng(seed)
    whole = np.clip(np.round(rng.normal(5, 4, (n, T))), 0, 10)
    whole[rng.random((n, T)) < 0.2] = 4
    return torch.tensor(np.stack([whole, rng.standard_normal((n, T))], axis=-1), dtype=torch.float32)


def fitted() -> tuple[Marks, MeasuredIntervals]:
    """The marks of these windows and cells of width 1 and 1e-3."""
    marks, cells = Marks(1, C), MeasuredIntervals(1, C)
    cells.reach[0, 0] = 0.5
    marks.fit(0, windows())
    return marks, cells


def test_the_ends_and_the_most_common_values_are_marked() -> None:
    marks, _ = fitted()
    least, largest, *common = marks.values[0, 0].tolist()
    assert (least, largest) == (0.0, 10.0)
    different, counts = np.unique(windows()[..., 0].numpy(), return_counts=True)
    inner = (different > 0) & (different < 10)
    expected = different[inner][np.argsort(-counts[inner], kind="stable")[:3]]
    assert common == expected.tolist()
    assert common[0] == 4.0
    assert marks.values[0, 1, 2:].isnan().all(), "no value of a continuous channel is common"


def test_a_mark_is_one_exactly_where_the_value_is_in_the_cell() -> None:
    marks, cells = fitted()
    x = torch.tensor([[4.0, 0.1], [4.0, 0.2], [3.4, 0.2], [10.0, 9.0], [0.4, 9.0]])[None, None]
    seen = marks(x, cells)
    assert seen.shape == (1, 1, 5, C * (1 + MARKS))
    assert torch.equal(seen[..., :C], x)
    of_channel = seen[0, 0, :, C:].unflatten(-1, (C, MARKS))
    assert of_channel[:, 0, 0].tolist() == [0, 0, 0, 0, 1], "the least value"
    assert of_channel[:, 0, 1].tolist() == [0, 0, 0, 1, 0], "the largest value"
    assert of_channel[:, 0, 2].tolist() == [1, 1, 0, 0, 0], "the most common value; 3.4 is in the next cell"
    assert of_channel[:, 0, OWN].tolist() == [0, 1, 0, 0, 0], "the value before again"
    assert of_channel[:, 1, OWN].tolist() == [0, 0, 1, 0, 1]


def test_a_hidden_step_stays_hidden_and_nothing_repeats_it() -> None:
    marks, cells = fitted()
    x = torch.tensor([[4.0, 0.1], [HIDDEN, HIDDEN], [4.0, 0.1]])[None, None]
    seen = marks(x, cells)
    assert (seen[0, 0, 1, :C] == HIDDEN).all()
    assert seen[0, 0, 1:, C:].unflatten(-1, (C, MARKS))[:, :, OWN].sum() == 0
    assert not seen.isnan().any()


@pytest.mark.parametrize("backbone", ["lstm", "transformer"])
@pytest.mark.parametrize("method", ["kl_free", "no_latent", "feed_forward"])
def test_states_drawing_and_measures_see_the_same_marks(backbone: str, method: str) -> None:
    """A drawn series, given back as a past, leads to the same states step by step; measures sum to one."""
    config = ModelConfig(hidden=8, latent=D, likelihood="mixed", channels="autoregressive", marks=True)
    built = METHODS[method]()
    model = StackedModel(2, (T, C), built, backbone, config, DiffusionConfig(L=10, hidden=8))
    initialise(model, Randomness([("a", 0), ("a", 1)], torch.device("cpu")))
    model.fit_marginal([windows(), windows(seed=1)])
    model = model.double().eval()
    z = torch.randn(2, 3, model.latent, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    draws = Randomness([("a", 0), ("a", 1)], torch.device("cpu")).draws("x")
    x = model.decoder.generate(z, draws)
    states = model.decoder.states(z, x[:, :, :-1])
    described = model.decoder.described(x[:, :, :-1])  # type: ignore[attr-defined]
    assert described.shape[-1] == C * (1 + MARKS)
    single = model.decoder.single(1)  # type: ignore[attr-defined]
    torch.testing.assert_close(single(z[1], described[1]), states[1])
    found = dependency_measures(single, z[1], described[1], 1e-6)
    if method == "kl_free":
        assert found.completeness_error.nan_to_num().max() < 1e-5


def test_drawing_step_by_step_gives_the_inputs_of_the_whole_past() -> None:
    """With a recorder in the place of the network: what generation feeds it equals `inputs` of what was drawn."""
    config = ModelConfig(hidden=8, latent=D, likelihood="mixed", channels="autoregressive", marks=True)
    model = StackedModel(1, (T, C), METHODS["kl_free"](), "lstm", config, DiffusionConfig(L=10, hidden=8))
    initialise(model, Randomness([("a", 0)], torch.device("cpu")))
    model.fit_marginal([windows()])
    model.eval()
    decoder, fed = model.decoder, []
    stepper = decoder.network.stepper  # type: ignore[attr-defined]

    def recording(batch: int, steps: int):  # type: ignore[no-untyped-def]
        step = stepper(batch, steps)
        return lambda u: (fed.append(u), step(u))[1]

    decoder.network.stepper = recording  # type: ignore[attr-defined]
    z = torch.randn(1, 64, D, generator=torch.Generator().manual_seed(1))
    x = decoder.generate(z, Randomness([("a", 0)], torch.device("cpu")).draws("x"))
    torch.testing.assert_close(torch.stack(fed, dim=2), decoder.inputs(z, x[:, :, :-1]))  # type: ignore[attr-defined]
    assert x[..., 0].unique().numel() > 3


def touching(n: int, seed: int) -> np.ndarray:
    """Whole numbers from 1 to 40, and at one step of each series, drawn evenly, 0: (n, T, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 41, (n, T, 1)).astype(float)
    x[np.arange(n), rng.integers(T, size=n)] = 0
    return x


def touches_otherwise(marks: bool) -> float:
    """The share of drawn series that do not touch 0 exactly once, after few updates."""
    recordings = dataclasses.replace(Recordings.simulated(touching(1000, 0)), resolutions=(Resolution(1.0),))
    splits = make_splits(recordings, DatasetSpec("touching"), 0)
    config = ModelConfig(hidden=16, latent=D, likelihood="mixed", marks=marks)
    budget = TrainConfig(steps=600, learning_rate=1e-2)
    trained = train_stack(
        [METHODS["no_latent"]()], [splits], [("touching", 0)], "lstm", config, [budget], [DiffusionConfig(steps=1)]
    )
    draws = Randomness([("touching", 0)], torch.device("cpu")).draws("x")
    x = trained.model.eval().decoder.generate(torch.zeros(1, 1000, trained.model.latent), draws)[0].double().numpy()
    raw = splits.cells.rounded(x) * splits.scale + splits.mean  # type: ignore[union-attr]
    return float((np.isclose(raw, 0, atol=0.1).sum(axis=(1, 2)) != 1).mean())


@pytest.mark.slow
def test_marks_tell_a_network_that_a_border_was_touched() -> None:
    assert touches_otherwise(marks=True) < 0.5 * touches_otherwise(marks=False)
