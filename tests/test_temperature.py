"""The sampling temperature: what it does to each likelihood, how it is chosen, and where it is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_splits, refused

from bench.contracts import DiffusionConfig, EvaluateConfig, ModelConfig, Resolution, Splits, Unavailable
from bench.engine import job
from bench.engine.evaluation import _evaluate_one
from bench.engine.job import JobSettings, run_stack
from bench.library import fit
from bench.loading.cells import measure_cells
from bench.method import stacked
from bench.models.build import StackedModel
from bench.models.head import Head, make_head
from bench.models.stacked import initialise
from bench.parts.likelihoods import Gaussian, Mixture, tempered
from bench.randomness import Randomness
from bench.registry import LIKELIHOODS, METHODS
from bench.scoring.artifacts import load_samples
from bench.scoring.scores import Scope, choose, draw_samples, draw_stack, score_run
from bench.store import load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.options import checked
from bench.sweeps.run import Run
from bench.sweeps.stacks import make_stacks

H, C = 6, 2
SHIPPED = [name for name in LIKELIHOODS if LIKELIHOODS[name].__module__.startswith("bench.models.")]
BOTH_WAYS = pytest.mark.parametrize("channels", ["independent", "autoregressive"])


def draws(runs: int = 2, role: str = "samples"):
    return Randomness([("temperature", seed) for seed in range(runs)]).draws(role)


def at(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def head_of(likelihood: str, channels: str = "independent", runs: int = 2, **options) -> Head:
    """A head away from where training begins, fitted to windows of numbers with two digits."""
    x = np.round(make_splits(n=200, window=4).train, 1)
    cells = measure_cells(x.reshape(-1, C), [Resolution(0.1)] * C, np.zeros(C), np.ones(C))
    config = ModelConfig(hidden=H, likelihood=likelihood, channels=channels, **options)  # type: ignore[arg-type]
    head = make_head(runs, H, C, config)
    initialise(head, Randomness([("temperature", seed) for seed in range(runs)]))
    with torch.no_grad():
        for weights in head.parameters():
            weights += 0.2 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    head.fit([torch.from_numpy(x)] * runs, [cells] * runs)
    return head.eval()


def states(n: int, runs: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """The same h and x_{t-1} for n series of one step."""
    h = draws(runs, "h").normal(1, 1, H).expand(-1, n, -1, -1)
    previous = torch.tensor([0.3, -0.2, 0.0]).expand(runs, n, 1, C + 1)
    return h, previous


# ---------------------------------------------------------------- likelihoods


@BOTH_WAYS
@pytest.mark.parametrize("likelihood", SHIPPED)
def test_at_one_nothing_moves(likelihood, channels):
    try:
        head = head_of(likelihood, channels)
    except Unavailable:
        pytest.skip("has no numbers per channel")
    with torch.no_grad():
        p = head(*states(300))
        assert torch.equal(p.sample(draws()), p.tempered(at(1.0, 1.0)).sample(draws()))
        other = p.tempered(at(1.0, 0.5)).sample(draws())
        assert torch.equal(p.sample(draws())[0], other[0])  # whatever the neighbour's temperature is
        assert torch.equal(p.sample(draws())[1], other[1]) == (likelihood == "mse")
        assert tempered(p, None) is p


@pytest.mark.parametrize("likelihood", ["gaussian", "heteroscedastic", "correlated"])
def test_the_deviation_of_a_gaussian_is_multiplied(likelihood):
    head, n = head_of(likelihood), 40_000
    with torch.no_grad():
        p = head(*states(n))
        x = p.tempered(at(0.5, 2.0)).sample(draws())
        own = p.sample(draws())
    spread, expected = x.std(dim=1).squeeze(), own.std(dim=1).squeeze() * at(0.5, 2.0)[:, None]
    torch.testing.assert_close(spread, expected, rtol=1e-4, atol=0)  # the noise is the same
    torch.testing.assert_close(x.mean(dim=1), own.mean(dim=1), rtol=0, atol=0.03)
    sigma = Gaussian(torch.zeros(2, n, 1, C), torch.ones(2, 1, 1, C)).tempered(at(0.5, 2.0)).sample(draws())
    torch.testing.assert_close(sigma.std(dim=1)[:, 0, 0], at(0.5, 2.0), rtol=0.02, atol=0)


def test_the_deviation_of_a_quantile_gaussian_is_that_of_its_scores():
    head = head_of("quantile")
    with torch.no_grad():
        p = head(*states(4000))
        score = p.residual(p.tempered(at(0.5, 2.0)).sample(draws()))
        own = p.residual(p.sample(draws()))
    torch.testing.assert_close(score, own * at(0.5, 2.0)[:, None, None, None], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.7])
def test_the_share_of_two_atoms_is_the_softmax_of_logits_over_the_temperature(temperature):
    head, n = make_head(1, H, 1, ModelConfig(hidden=H, likelihood="categorical", bins=2)), 50_000
    x = torch.from_numpy((np.random.default_rng(0).random((500, 3, 1)) < 0.2).astype(np.float32))
    head.fit([x], [measure_cells(x.numpy().reshape(-1, 1), [Resolution(1)], np.zeros(1), np.ones(1))])
    with torch.no_grad():
        p = head(torch.zeros(1, n, 1, H))
        logits = p.table[0, 0, :, 0, 0]
        share = (p.tempered(at(temperature)).sample(draws(1)) == 1).float().mean()
    ones = float(x.mean())
    assert float((logits[1] - logits[0]).exp()) == pytest.approx(ones / (1 - ones), rel=1e-3)
    wanted = float((logits / temperature).softmax(dim=-1)[1])
    assert float(share) == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / n) ** 0.5)


def test_the_weights_of_a_mixture_are_sharpened():
    weights = torch.tensor([0.2, 0.3, 0.5]).log().expand(2, 20_000, 1, 3)
    means = torch.tensor([-10.0, 0.0, 10.0])[:, None].expand(2, 20_000, 1, 3, 1)
    p = Mixture(weights, means, torch.ones_like(means)).tempered(at(0.5, 1.0))
    x = p.sample(draws())
    shares = torch.stack([((x - middle).abs() < 5).float().mean(dim=1).squeeze() for middle in (-10, 0, 10)], dim=-1)
    expected = torch.tensor([[0.04, 0.09, 0.25], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(shares, expected / expected.sum(dim=-1, keepdim=True), rtol=0, atol=0.015)
    within = torch.stack([row[row.abs() < 5].std() for row in x])
    torch.testing.assert_close(within, at(0.5, 1.0), rtol=0.05, atol=0)


@pytest.mark.parametrize("likelihood", ["discretized_logistic", "categorical", "mixed"])
def test_cold_samples_are_the_likeliest_part(likelihood):
    head = head_of(likelihood)
    with torch.no_grad():
        p = head(*states(200))
        x = p.tempered(at(1e-4, 1e-4)).sample(draws())
        part = torch.cat([p.logits, p.table], dim=2).argmax(dim=2)
        logistics, same, bins = p._sizes
        places, reach = [p.locations] + [p.before.unsqueeze(2)] * same, torch.full_like(p.before, 0.05)
        if bins:  # all bins are one place here, the middle of the chosen one
            index = (part - logistics - same).clamp(min=0)
            left, width = (p._of_bins(of_bin, index) for of_bin in (p.edges, p.edges.diff()))
            places.append((left + width / 2).unsqueeze(2))
            reach = torch.where(part >= logistics + same, width / 2, reach)
        index = part.clamp(max=logistics + same).unsqueeze(2)
        expected = torch.cat(places, dim=2).gather(2, index).squeeze(2).movedim(1, -1)
    assert ((x - p._lattice.clipped(expected)).abs() <= reach.movedim(1, -1) + 1e-4).all()


def test_cold_samples_of_a_mixture_are_the_mean_of_the_heaviest_component():
    head = head_of("mixture")
    with torch.no_grad():
        p = head(*states(100))
        x = p.tempered(at(1e-4, 1e-4)).sample(draws())
        index = p.log_weights.argmax(dim=-1)[..., None, None].expand(-1, -1, -1, -1, C)
        torch.testing.assert_close(x, p.means.gather(-2, index).squeeze(-2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("likelihood", ["gaussian", "heteroscedastic"])
def test_cold_channels_in_turn_are_at_their_means(likelihood):
    """Every channel is given the values, and not the means, of those before it: at 0 they are the same."""
    head = head_of(likelihood, "autoregressive")
    with torch.no_grad():
        p = head(*states(50))
        torch.testing.assert_close(p.tempered(at(1e-5, 1e-5)).sample(draws()), p.mean, rtol=0, atol=1e-3)
        hot = p.tempered(at(1.0, 3.0))
        x = p.sample(draws())
        assert torch.equal(hot.log_prob(x)[0], p.log_prob(x)[0])
        assert not torch.equal(hot.log_prob(x)[1], p.log_prob(x)[1])


# ---------------------------------------------------------------- the choice


CANDIDATES = (0.4, 0.67, 0.85, 1.0, 1.3)


def white(n: int = 1500) -> Splits:
    """Independent standard normal values: a decoder of mean 0 and deviation 1 has their law."""
    x = np.random.default_rng(3).standard_normal((n, 5, C)).astype(np.float32)
    splits = make_splits(window=5)
    return dataclasses.replace(splits, train=x[: n // 3], validation=x[n // 3 : 2 * n // 3], test=x[2 * n // 3 :])


def model_of(deviations: list[float], window: int = 5) -> StackedModel:
    """Decoders that say N(0, deviation^2) of every value, a deviation per run."""
    method, diffusion = stacked([METHODS["no_latent"]()] * len(deviations)), DiffusionConfig(L=10, steps=1, hidden=8)
    model = StackedModel(len(deviations), (window, C), method, "lstm", ModelConfig(hidden=H, latent=2), diffusion)
    initialise(model, Randomness([("temperature", seed) for seed in range(len(deviations))]))
    (head,) = model._heads
    with torch.no_grad():
        head.mean.weight.zero_()
        head.mean.bias.zero_()
        head.square.copy_(torch.tensor(deviations)[:, None].square().expand(-1, C))
    return model.eval()


def method_of(runs: int):
    return stacked([METHODS["no_latent"]()] * runs)


@pytest.mark.parametrize(("deviation", "wanted"), [(1.5, 0.67), pytest.param(1.0, 1.0, marks=pytest.mark.slow)])
def test_a_decoder_that_is_too_wide_gets_the_temperature_that_mends_it(deviation, wanted):
    config = EvaluateConfig(n_samples=200, temperature=(0.45, 0.67, 1.0))  # type: ignore[arg-type]
    model = model_of([deviation])
    samples = draw_samples(model, method_of(1), white(), config, Scope("white", 0))
    assert model.temperature == (wanted,)
    assert samples.std() == pytest.approx(deviation * wanted, rel=0.05)


def test_runs_of_a_stack_choose_as_they_do_alone(monkeypatch):
    def apart(samples, splits, scope):  # in place of the classifier, which takes long
        return 0.5 + abs(samples.std() - splits.reference.std())

    monkeypatch.setattr("bench.scoring.scores._area", apart)
    config = EvaluateConfig(n_samples=300, temperature=CANDIDATES)  # type: ignore[arg-type]
    deviations, splits = [1.5, 1.0, 2.5], white()
    fewer = dataclasses.replace(splits, validation=splits.validation[:200])  # its neighbours have 500
    parts, scopes = [splits, splits, fewer], [Scope("white", seed) for seed in range(3)]
    model = model_of(deviations)
    together = draw_stack(model, method_of(3), parts, config, scopes)
    assert model.temperature == (0.67, 1.0, 0.4)
    for run in range(3):
        alone = model_of([deviations[run]])
        alone.load_state_dict(model.state_of(run))
        samples = draw_samples(alone, method_of(1), parts[run], config, scopes[run])
        assert alone.temperature == (model.temperature[run],)
        assert np.array_equal(samples, together[run])


def test_without_a_verdict_of_the_classifier_it_is_the_nearest_to_one():
    config = EvaluateConfig(n_samples=300, temperature=(0.4, 1.2, 0.9))  # type: ignore[arg-type]
    splits = white()
    few = dataclasses.replace(splits, validation=splits.validation[:4])
    model = model_of([1.5])
    draw_samples(model, method_of(1), few, config, Scope("white", 0))
    assert model.temperature == (0.9,)


def test_one_temperature_is_no_choice(monkeypatch):
    monkeypatch.setattr("bench.scoring.scores._area", lambda *_: pytest.fail("nothing is chosen"))
    splits, scope = white(), Scope("white", 0)
    drawn = {}
    for temperature in (1.0, 0.5):
        model, config = model_of([1.0]), EvaluateConfig(n_samples=100, temperature=temperature)
        drawn[temperature] = draw_samples(model, method_of(1), splits, config, scope)
        rows = score_run(model, method_of(1), splits, drawn[temperature], config, scope, ["sampling_temperature"])
        assert [row["value"] for row in rows] == [temperature]
    np.testing.assert_allclose(drawn[0.5], 0.5 * drawn[1.0], rtol=1e-5)


# ---------------------------------------------------------------- a run


SWEEP = """
name: tempered
datasets: [{name: regimes, series: 200}]
methods: [{name: latent_diffusion, set: {likelihood: mixed}}]
seeds: 1
model: {hidden: 8, latent: 4}
train: {steps: 4, batch_size: 8}
diffusion: {L: 20, steps: 4, batch_size: 8, hidden: 8}
evaluate: {n_samples: 30, metrics: [mmd2, decoding_gap], temperature: [0.5, 1.3], during_training: 0}
"""


def run_of(folder: Path, text: str = SWEEP) -> tuple[Run, pd.Series, pd.DataFrame]:
    """The one run of a sweep, its row, and its metrics."""
    folder.mkdir(exist_ok=True)
    (folder / "sweep.yaml").write_text(text)
    (run,) = [run for run in read_sweep(folder / "sweep.yaml").runs if run.kind == "method"]
    (stack,) = make_stacks([run], 1)
    run_stack(stack, JobSettings(folder / "results", None))
    runs, metrics = load_results(folder / "results")
    return run, runs.iloc[0], metrics


def test_a_run_keeps_its_temperature_and_has_the_same_again(tmp_path, few_trees):
    run, row, metrics = run_of(tmp_path / "one")
    assert (row.status, row["evaluate.temperature"]) == ("ok", "[0.5, 1.3]")
    scalars = metrics.set_index("metric").value
    chosen = scalars["sampling_temperature"]
    assert chosen in (0.5, 1.3)
    kept = load_samples(tmp_path / "one" / "results", run.run_id)
    assert kept["temperature"].tolist() == [chosen]
    for found in _evaluate_one(tmp_path / "one" / "results", run, None, choose(["decoding_gap", "mmd2"])):
        assert found["value"] == pytest.approx(scalars[found["metric"]], rel=1e-6)
    _, _, again = run_of(tmp_path / "again")
    pd.testing.assert_frame_equal(metrics, again)
    assert np.array_equal(kept["samples"], load_samples(tmp_path / "again" / "results", run.run_id)["samples"])


def test_the_option_is_no_part_of_a_runs_identity_and_at_one_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.scoring.scores._area", lambda samples, *_: samples.std())  # the classifier takes long
    other, _, tempered_rows = run_of(tmp_path / "tempered")
    run, row, metrics = run_of(tmp_path / "plain", SWEEP.replace("temperature: [0.5, 1.3], ", ""))
    assert run.run_id == other.run_id
    assert row["evaluate.temperature"] == 1
    assert set(tempered_rows.metric) - set(metrics.metric) == {"sampling_temperature"}
    assert "temperature" not in load_samples(tmp_path / "plain" / "results", run.run_id)
    gap = [frame.set_index("metric").value["sliced_from_posteriors"] for frame in (metrics, tempered_rows)]
    assert gap[0] != gap[1]
    older = json.loads(run.to_config())
    del older["evaluate"]["temperature"]
    assert Run.from_config(json.dumps(older)) == run


@pytest.mark.parametrize("method", ["data_diffusion", "diffusion_transformer"])
def test_a_generator_without_a_likelihood_is_skipped_before_it_is_trained(method, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "train_stack", lambda *_: pytest.fail("was trained"))
    _, row, _ = run_of(tmp_path, SWEEP.replace("{name: latent_diffusion, set: {likelihood: mixed}}", method))
    assert row.status == "skipped"
    assert row.reason == (
        f"evaluate.temperature: {method} draws series without a likelihood whose temperature could be changed: "
        "expected 1"
    )


def test_a_generator_without_a_likelihood_draws_at_one_where_that_is_offered(tmp_path):
    sweep = SWEEP.replace("{name: latent_diffusion, set: {likelihood: mixed}}", "data_diffusion")
    _, row, metrics = run_of(tmp_path, sweep.replace("[0.5, 1.3]", "[1.0, 0.5]"))
    assert row.status == "ok"
    assert np.isnan(metrics.set_index("metric").value["sampling_temperature"]), "it has none"


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A plug-in's likelihood that knows no temperature."""

    mean: torch.Tensor

    def log_prob(self, x):
        return -(x - self.mean).square().sum(dim=(-2, -1))

    def sample(self, draws):
        return self.mean


class FixedHead(Head):
    def forward(self, h, previous=None):
        return Fixed(self.mean(h))


def test_a_likelihood_that_knows_no_temperature_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setitem(LIKELIHOODS._classes, "fixed", FixedHead)
    text = SWEEP.replace("likelihood: mixed", "likelihood: fixed")
    _, row, _ = run_of(tmp_path / "refused", text)
    assert row.status == "skipped"
    assert row.reason == "evaluate.temperature: the likelihood Fixed has no method `tempered`: expected 1"
    _, row, _ = run_of(tmp_path / "done", text.replace("[0.5, 1.3]", "1"))
    assert row.status == "ok"


@pytest.mark.parametrize("value", [0, -1, 11, [], [0.5, 0], "warm", [True], None])
def test_impossible_temperatures_are_refused(value):
    with refused(r"evaluate\.temperature = .*expected a number > 0 and <= 10 or a list, each a number"):
        checked(EvaluateConfig, {"temperature": value}, "here", "evaluate")


def test_the_library_draws_and_scores_at_a_temperature():
    x = np.random.default_rng(0).standard_normal((120, 5, 2))
    blocks = {"model": {"hidden": 8, "latent": 2}, "train": {"steps": 4}, "diffusion": {"steps": 4, "L": 20}}
    run = fit(x, "no_latent", **blocks)
    wide, narrow = run.sample(200), run.sample(200, temperature=0.3)
    assert narrow.std() < 0.6 * wide.std()
    assert np.array_equal(run.sample(200), wide)
    rows = run.score(["sliced_wasserstein"], temperature=[0.8, 1.2]).set_index("metric")
    assert rows.value["sampling_temperature"] in (0.8, 1.2)
    other = fit(x, "data_diffusion", **blocks)
    for use in (lambda: other.sample(2, temperature=0.5), lambda: other.score(["mmd2"], temperature=0.5)):
        with refused("without a likelihood whose temperature could be changed"):
            use()
    rows = other.score(["sampling_temperature"])
    assert (rows.status.item(), rows.reason.item()) == (
        "undefined",
        "data_diffusion has no decoder that series are drawn from",
    )
