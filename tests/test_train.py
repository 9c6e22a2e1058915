"""Training: repeatable, unmoved by neighbours, and honest about runs that cannot recover."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from conftest import make_splits

from bench.contracts import DatasetSpec, DiffusionConfig, InputError, ModelConfig, Step, TrainConfig
from bench.early_diffusion import step_of, steps_of
from bench.loading.windows import load_splits
from bench.method import stacked
from bench.parts.posteriors import GaussianPosterior
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.training import autoencoder
from bench.training.denoiser import validation_denoising
from bench.training.device_windows import validation_series
from bench.training.stack import train_stack
from bench.training.stopping import Plateau, validation_objective

MODEL = ModelConfig(hidden=8, latent=4)
TRAIN = TrainConfig(steps=12, batch_size=8)
DIFFUSION = DiffusionConfig(L=20, steps=6, batch_size=8, hidden=8)


def train(methods, seeds, splits=None, model=MODEL, train_config=TRAIN, diffusion=DIFFUSION):
    splits = splits or [make_splits(seed=seed) for seed in seeds]
    keys = [("tiny", seed) for seed in seeds]
    count = len(methods)
    return train_stack(methods, splits, keys, "lstm", model, [train_config] * count, [diffusion] * count)


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_twice_gives_the_same_numbers():
    method = METHODS["proposed"](N=2, M=18)
    first, second = train([method], [3]), train([method], [3])
    assert same(first.model.state_of(0), second.model.state_of(0))
    assert first.curves.rows == second.curves.rows
    assert not same(first.model.state_of(0), train([method], [4]).model.state_of(0))


@pytest.mark.parametrize(
    "methods",
    [
        [METHODS["proposed"](N=n, M=m, gamma=g) for n, m, g in ((2, 18, 1), (5, 1, 2), (0.1, 0.9, 1))],
        [METHODS["kl_annealing"](warm_up=share) for share in (0.1, 0.5, 1)],
        [METHODS["latent_diffusion"](masking_rate=rate) for rate in (0, 0.3, 0.9)],
    ],
    ids=["proposed", "kl_annealing", "masking"],
)
def test_a_stack_of_three_is_three_stacks_of_one_bit_for_bit(methods):
    seeds = [0, 1, 1]
    together = train(methods, seeds)
    for run, (method, seed) in enumerate(zip(methods, seeds, strict=True)):
        alone = train([method], [seed])
        assert same(together.model.state_of(run), alone.model.state_of(0))
        mine = [row[1:] for row in together.curves.rows if row[0] == run]
        assert mine == [row[1:] for row in alone.curves.rows]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("latent_diffusion", {}),
        ("proposed", {"N": 2, "M": 18}),
        ("mutual_information", {}),  # its objective compares the series of a batch
        ("lagging_inference", {"encoder_updates": 5}),  # when they stop is another test's
        ("data_diffusion", {}),
    ],
)
def test_a_stack_of_runs_with_different_numbers_of_windows_is_stacks_of_one(name, options):
    """Fewer windows of a neighbour, or more, move neither the checks nor the scales of a run."""
    methods, seeds, splits = [METHODS[name](**options)] * 3, [0, 1, 2], [make_splits(n, seed=n) for n in (40, 60, 40)]
    patient = {"train_config": replace(PATIENT, steps=60), "diffusion": replace(PATIENT_DIFFUSION, steps=60)}
    together = train(methods, seeds, splits, **patient)
    for run, seed in enumerate(seeds):
        alone = train(methods[:1], [seed], splits[run : run + 1], **patient)
        for key, value in alone.model.state_of(0).items():
            torch.testing.assert_close(together.model.state_of(run)[key], value, rtol=0, atol=1e-6, msg=key)
        mine, own = (
            [row for row in rows if row[0] == r] for rows, r in ((together.curves.rows, run), (alone.curves.rows, 0))
        )
        assert [row[1:4] for row in mine] == [row[1:4] for row in own]
        assert [row[4] for row in mine] == pytest.approx([row[4] for row in own], abs=1e-6)
        for stage, end in alone.stages.items():
            assert together.stages[stage].updates[run] == end.updates[0]
            assert together.stages[stage].converged[run] == end.converged[0]


@dataclass(frozen=True)
class Poisoned(METHODS["latent_diffusion"]):
    """Runs whose masking rate is above a half see a NaN from step 4 on."""

    def objective(self, model, x, step, draws):
        terms = super().objective(model, x, step, draws)
        bad = (self.masking_rate > 0.5) & torch.tensor(step.index >= 4)
        return {**terms, "poison": torch.where(bad, torch.nan, 0.0) * terms["kl"]}


def test_a_run_of_nan_leaves_its_neighbours_identical():
    rates = [0.0, 0.9, 0.2]
    together = train([Poisoned(masking_rate=rate) for rate in rates], [0, 1, 2])
    assert "not finite" in together.diverged[1]
    assert together.diverged[0] == together.diverged[2] == ""
    for run in (0, 2):
        alone = train([METHODS["latent_diffusion"](masking_rate=rates[run])], [run])
        assert same(together.model.state_of(run), alone.model.state_of(0))
    assert all(value.isfinite().all() for value in together.model.state_of(1).values())


def test_best_validation_returns_the_best_check():
    config = replace(TRAIN, steps=40, learning_rate=0.5)  # so large a rate does not end at its best
    method = METHODS["latent_diffusion"]()
    best = train([method], [0], train_config=replace(config, select="best_validation"))
    last = train([method], [0], train_config=config)
    assert not same(best.model.state_of(0), last.model.state_of(0))


def test_joint_training_moves_the_encoder_and_keeps_the_budget():
    apart = train([METHODS["proposed"](N=2, M=18)], [0])
    joint = train([METHODS["proposed"](N=2, M=18, joint=True)], [0])
    steps = [row[1] for row in joint.curves.rows if row[3] == "denoising"]
    assert max(steps) == TRAIN.steps  # 12 joint updates, and 6 - 12 < 0 alone
    assert not torch.equal(
        apart.model.state_of(0)["encoder.output.weight"], joint.model.state_of(0)["encoder.output.weight"]
    )


def test_a_joint_denoiser_has_the_batches_and_the_learning_rate_of_its_own_stage(monkeypatch):
    sizes, cls = [], METHODS["proposed"]
    joint = cls.joint_denoising

    def seen(self, model, x, draws):
        sizes.append(x.shape[1])
        return joint(self, model, x, draws)

    monkeypatch.setattr(cls, "joint_denoising", seen)
    method, diffusion = cls(N=2, M=18, joint=True), replace(DIFFUSION, batch_size=24)
    still = replace(TRAIN, learning_rate=1e-12)
    found = train([method], [0], train_config=still, diffusion=diffusion).model.state_of(0)
    assert sizes == [24] * TRAIN.steps
    other = train([method], [0], train_config=replace(still, steps=1), diffusion=replace(diffusion, steps=1))
    before = other.model.state_of(0)
    torch.testing.assert_close(found["encoder.output.weight"], before["encoder.output.weight"], rtol=0, atol=1e-9)
    moved = (found["denoiser.output.weight"] - before["denoiser.output.weight"]).abs().max()
    assert 1e-3 < moved < TRAIN.steps * 2e-3  # a learning rate of 1e-3


@pytest.mark.parametrize(
    ("name", "options", "passes"),
    [
        ("latent_diffusion", {}, 1),
        ("proposed", {"N": 2, "M": 18}, 2),
        ("kl_free", {"N": 2}, 1),
        ("kl_free", {"N": 2, "collapse_penalty": "contrast"}, 2),
        ("data_diffusion", {}, 0),
    ],
)
def test_decoder_passes_are_counted(name, options, passes):
    assert train([METHODS[name](**options)], [0]).decoder_passes == passes


@pytest.mark.slow
def test_the_literal_penalty_has_no_bound_and_learns_nothing_and_the_bounded_one_learns():
    """On sines: the penalised log-likelihood falls for ever, and the own one stays with the marginal's."""
    splits = load_splits(DatasetSpec("sines", (("series", 800),)), 0, None)
    config = TrainConfig(steps=600)
    small = DiffusionConfig(steps=10)
    gains, penalties = {}, {}
    for penalty in ("literal", "bounded"):
        method = METHODS["proposed"](collapse_penalty=penalty)
        trained = train([method], [0], [splits], ModelConfig(hidden=32, latent=8), config, small)
        rows = trained.curves.rows
        validation = torch.from_numpy(splits.validation)[None]
        marginal = -float(trained.model.marginal_log_prob(validation).mean()) / validation[0, 0].numel()
        gains[penalty] = marginal - min(row[4] for row in rows if row[3] == "validation_nll_own")
        penalties[penalty] = min(row[4] for row in rows if row[3] == "collapse_penalty")
    assert penalties["literal"] < -50  # nats per value
    assert penalties["bounded"] >= 0
    assert gains["literal"] < 0.1
    assert gains["bounded"] > 0.2


def test_the_best_check_comes_back_with_the_running_means_of_its_time():
    """The restored model has on the validation windows the best objective that the curve recorded."""
    config = replace(TRAIN, steps=60, learning_rate=0.1, select="best_validation")
    method = METHODS["bn_vae"]()
    trained = train([method], [0], train_config=config)
    recorded = [row[4] for row in trained.curves.rows if row[3] == "validation_objective"]
    assert min(recorded) < recorded[-1]
    randomness = Randomness([("tiny", 0)])
    validation = validation_series([make_splits(seed=0)], randomness).padded
    now = validation_objective(trained.model, trained.method, validation, randomness, config.steps)
    assert now.item() == pytest.approx(min(recorded), rel=1e-6)


def test_runs_of_a_stack_leave_the_inner_loop_of_lagging_inference_without_a_trace():
    methods, seeds = [METHODS["lagging_inference"]()] * 3, [0, 1, 2]  # 100 encoder updates: some stop before others
    together = train(methods, seeds)
    for run, seed in enumerate(seeds):
        assert same(together.model.state_of(run), train(methods[:1], [seed]).model.state_of(0))


def test_a_share_of_the_steps_is_the_same_step_for_the_check_and_for_training():
    shares = [k / 10_000 for k in range(1, 10_000)]
    together = steps_of(torch.tensor(shares, dtype=torch.float32), 1000)  # as a stack holds them
    assert together.tolist() == [step_of(share, 1000) for share in shares]
    half = METHODS["proposed"](N=0.5005, M=0.9, gamma=2)  # 500.5 steps: the check once let pass what training refused
    diffusion = DiffusionConfig(L=1000, steps=2)
    with pytest.raises(InputError, match="gamma \\* N is 1002"):
        half.check(ModelConfig(hidden=8, latent=4), diffusion)
    replace(half, N=0.4995).check(ModelConfig(hidden=8, latent=4), diffusion)
    assert train([replace(half, N=0.4995)], [0], diffusion=diffusion).diverged == [""]


@dataclass(frozen=True)
class WideLatents(METHODS["beta_vae"]):
    """The latents are 10 times as wide as a standard normal's, and far from 0."""

    def posterior(self, model, x):
        mean = 3 + 10 * x[:, :, :2].flatten(-2)
        return GaussianPosterior(mean, torch.zeros_like(mean))


def test_latents_of_any_scale_are_drawn_with_their_mean_and_deviation():
    splits = make_splits(n=400)
    diffusion = DiffusionConfig(L=100, steps=400, batch_size=128, hidden=32)
    trained = train([WideLatents(beta=0)], [0], [splits], diffusion=diffusion)
    codes = trained.method.posterior(trained.model, torch.from_numpy(splits.train)[None]).mean[0]
    assert (codes.std(dim=0) > 5).all()
    drawn = trained.method.latents(trained.model, 2000, Randomness([("tiny", 0)]).draws("samples"))[0]
    torch.testing.assert_close(drawn.mean(dim=0), codes.mean(dim=0), rtol=0, atol=2)
    torch.testing.assert_close(drawn.std(dim=0), codes.std(dim=0), rtol=0.15, atol=0)
    assert not torch.equal(trained.model.latent_scale, torch.ones(1, 4))


def test_methods_of_early_diffusion_keep_the_space_that_the_decoder_knows():
    for name in ("proposed", "kl_free"):
        options = {"N": 2, **({"M": 18} if name == "proposed" else {})}
        model = train([METHODS[name](**options)], [0]).model
        assert torch.equal(model.latent_scale, torch.ones(1, 4))
        assert torch.equal(model.latent_mean, torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (None, r"objective: expected a dict of name -> tensor \(1,\), not NoneType"),
        ({}, "objective: expected a dict"),
        ({"loss": 1.0}, "objective: 'loss': expected a name and a tensor .* not float"),
        ({"loss": torch.zeros(2)}, r"not \(2,\)"),
        ({3: torch.zeros(1)}, "objective: 3: expected a name"),
    ],
)
def test_an_objective_that_breaks_its_promise_is_told_so(monkeypatch, terms, message):
    monkeypatch.setattr(METHODS["latent_diffusion"], "objective", lambda *_: terms)
    with pytest.raises(TypeError, match=message):
        train([METHODS["latent_diffusion"]()], [0])


# ---------------------------------------------------------------- the end of training


def ends_of(objective, steps=1000, patience=50, tolerance=0.0, earliest=0, warm_up=0, may=True):
    plateau = Plateau([earliest], steps, patience, tolerance, warm_up)
    for step in range(plateau.every, plateau.last + 1, plateau.every):
        if step > plateau.ends[0]:
            break
        plateau.watch([objective(step)], step, [may])
    return plateau.ends[0], plateau.converged[0]


def noisy(step):
    return max(1 - step / 200, 0) + 0.1 * math.sin(12.9898 * step)


@pytest.mark.parametrize(
    ("objective", "options", "expected"),
    [
        (lambda step: max(1 - step / 200, 0), {}, (300, True)),  # best at 200, full until 250
        (lambda step: max(1 - step / 200, 0), {"patience": 55}, (319, True)),  # checks every 11: best at 209, 264
        (lambda step: -step, {}, (1000, False)),  # improves to the end
        (lambda step: -step, {"tolerance": 60}, (80, True)),  # too slow: 50 in 50 updates, so it ends at 60
        (lambda step: -step, {"tolerance": 39}, (1000, False)),
        (lambda step: 1.0, {}, (80, True)),  # never: the first check at 10 is the best, 60, and 12 more in whole checks
        (lambda step: math.nan, {}, (60, False)),
        (lambda step: -math.inf, {}, (80, False)),
        (lambda step: math.nan if step < 500 else -step, {"patience": 500}, (1000, False)),
        (noisy, {"patience": 100, "tolerance": 0.15}, (400, True)),
        (lambda step: 1.0, {"earliest": 333}, (470, True)),  # nothing stops while a schedule lasts
        (lambda step: abs(step - 300), {"earliest": 100}, (420, True)),
        (lambda step: 1.0 if step > 100 else -1.0, {"earliest": 101}, (200, True)),  # what was seen before is forgotten
        (lambda step: 1.0, {"warm_up": 200}, (300, True)),
        (lambda step: 1.0, {"patience": 0}, (1000, None)),
        (lambda step: 1.0, {"may": False}, (1000, False)),
        (lambda step: 1.0, {"steps": 3, "patience": 100}, (3, False)),
    ],
)
def test_a_run_ends_a_fifth_after_its_plateau(objective, options, expected):
    assert ends_of(objective, **options) == expected


def test_the_rate_rises_stays_and_falls():
    plateau = Plateau([0, 0], 1000, 50, warm_up=4)
    for step in range(10, 201, 10):
        plateau.watch([1.0 if step > 150 else -step, -step], step, [True, True])
    assert plateau.ends == [240, 1000]  # at full rate to update 200, then 40 more
    rates = torch.stack([plateau.rate(k) for k in range(1000)], dim=1)
    recorded = torch.stack([plateau.rate(torch.tensor(float(k), dtype=torch.float64)) for k in range(1000)], dim=1)
    assert torch.equal(rates, recorded)
    assert rates[0, :5].tolist() == rates[1, :5].tolist() == [0.25, 0.5, 0.75, 1, 1]
    assert (rates[0, 4:201] == 1).all()
    torch.testing.assert_close(rates[0, 200:240], torch.arange(40, 0, -1) / 40)
    assert (rates[0, 240:] == 0).all()
    last = 1000 - 170  # the largest check whose decay, 166 updates in whole checks, still fits
    assert (rates[1, 4:last] == 1).all()
    torch.testing.assert_close(rates[1, last:], torch.arange(170, 0, -1) / 170)


def test_without_patience_the_rate_is_the_full_one():
    plateau = Plateau([5], 40)
    assert [plateau.rate(k).item() for k in (0, 39)] == [1, 1]
    assert (plateau.last, plateau.ends, plateau.converged) == (40, [40], [None])


PATIENT = TrainConfig(steps=400, batch_size=8, learning_rate=0.02, patience=25, tolerance=0.02, warm_up=5)
PATIENT_DIFFUSION = DiffusionConfig(L=20, steps=300, batch_size=8, hidden=8, patience=25, tolerance=0.1)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        *((name, {}) for name in ("kl_free", "bn_vae", "kl_annealing")),
        *((name, {"ema": 0.9, "fall_from": "best"}) for name in ("lagging_inference", "joint")),
    ],
)
def test_runs_of_a_stack_end_on_their_own(name, kept):
    options = {"kl_free": {"N": 2}, "joint": {"N": 2, "M": 18, "joint": True}, "kl_annealing": {"warm_up": 0.1}}
    if name == "lagging_inference":
        options[name] = {"encoder_updates": 5}  # when they stop is another test's; here they only take time
    methods, seeds = [METHODS["proposed" if name == "joint" else name](**options.get(name, {}))] * 3, [0, 1, 2]
    config = replace(PATIENT, patience=15, tolerance=0.05, **kept)  # so that a run ends soon after the others do
    together = train(methods, seeds, train_config=config, diffusion=PATIENT_DIFFUSION)
    for stage in ("autoencoder", "denoiser"):
        if name != "joint" or stage == "autoencoder":  # a joint denoiser is good already
            assert len(set(together.stages[stage].updates)) > 1, f"{stage}: all end at once, so nothing is shown"
    for run, seed in enumerate(seeds):
        alone = train(methods[:1], [seed], train_config=config, diffusion=PATIENT_DIFFUSION)
        assert same(together.model.state_of(run), alone.model.state_of(0))
        mine = [row[1:] for row in together.curves.rows if row[0] == run]
        assert mine == [row[1:] for row in alone.curves.rows]
        for stage, end in alone.stages.items():
            assert together.stages[stage].updates[run] == end.updates[0]
            assert together.stages[stage].converged[run] == end.converged[0]


ENDINGS = ("latent_diffusion", "lagging_inference", "joint")  # each has an optimiser of its own kind


def optimised_in_its_own_way(name):
    options = {"joint": {"N": 2, "M": 18, "joint": True}, "lagging_inference": {"encoder_updates": 2}}
    return METHODS["proposed" if name == "joint" else name](**options.get(name, {}))


@pytest.fixture
def updates(monkeypatch):
    """What every update of the autoencoder stage finds, moves and leaves, and last the optimiser's weights."""
    seen = SimpleNamespace(before=[], rates=[], moved=[], after=[], flat=None)
    run_updates = autoencoder.run_updates

    def recorded(terms, streams, optimiser, *rest):
        taken, seen.flat = optimiser.step, optimiser.flat

        def step(gradient, active, rate):
            now = [optimiser.flat.values, *optimiser.state()]
            seen.before.append([part.clone() for part in now])
            seen.rates.append(rate.clone())
            seen.moved.append(taken(gradient, active, rate))
            seen.after.append([part.clone() for part in now])
            return seen.moved[-1]

        monkeypatch.setattr(optimiser, "step", step)
        return run_updates(terms, streams, optimiser, *rest)

    monkeypatch.setattr(autoencoder, "run_updates", recorded)
    return seen


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("stops", [True, False])
def test_the_rate_falls_from_the_best_check_with_the_optimiser_as_it_was(updates, name, stops):
    config = replace(PATIENT, steps=100, fall_from="best", learning_rate=0.1, patience=15 if stops else 90)
    trained = train([optimised_in_its_own_way(name)], [0], train_config=config)
    assert trained.stages["autoencoder"].converged == [stops]
    rates = [rate.item() for rate in updates.rates]
    fall = next(k for k in range(config.warm_up, len(rates)) if rates[k] == 1 and rates[k + 1] < 1)
    objective = {row[1]: row[4] for row in trained.curves.rows if row[3] == "validation_objective"}
    best = min((step for step in objective if step <= fall), key=objective.get)
    assert best < fall, "the last check is the best, so nothing is shown"
    assert all(map(torch.equal, updates.before[fall], updates.after[best - 1]))
    assert not torch.equal(updates.after[fall - 1][0], updates.after[best - 1][0])


@pytest.mark.parametrize("name", ["proposed", "unified_latents", "score_prior"])
def test_the_second_stage_of_a_joint_method_has_what_the_first_has_really_left(name):
    """diffusion.steps updates of the denoiser in all, or what the first stage has made where that is more."""
    options = {"proposed": {"N": 2, "M": 18, "joint": True}, "unified_latents": {"log_snr": 1}}
    methods, seeds = [METHODS[name](**options.get(name, {}))] * 2, [0, 1]
    # so large a tolerance for objectives that go on falling for hundreds of updates
    config = replace(PATIENT, patience=15, tolerance=0.05 if name == "proposed" else 15.0)
    first_stage = train(methods[:1], [0], train_config=config)
    seen = first_stage.stages["autoencoder"].updates[0]
    for steps in (seen + 53, seen):  # no whole number of checks, and nothing left for the first run
        diffusion = replace(DIFFUSION, steps=steps)
        together = train(methods, seeds, train_config=config, diffusion=diffusion)
        first, second = (together.stages[stage].updates for stage in ("autoencoder", "denoiser"))
        assert len(set(first)) > 1
        assert second == [max(steps - each, 0) for each in first]
        for run, seed in enumerate(seeds):
            known = run == 0 and steps == seen
            alone = first_stage if known else train(methods[:1], [seed], train_config=config, diffusion=diffusion)
            assert same(together.model.state_of(run), alone.model.state_of(0))
            assert [row[1:] for row in together.curves.rows if row[0] == run] == [row[1:] for row in alone.curves.rows]
            assert together.stages["denoiser"].updates[run] == alone.stages["denoiser"].updates[0]


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_weights_that_are_kept_are_averages_of_those_after_each_update(updates, name, decay):
    """A loop over the weights after each update, of rows that all move; the encoder of the lagging one included."""
    trained = train([optimised_in_its_own_way(name)] * 2, [0, 1], train_config=replace(TRAIN, ema=decay))
    assert all(moved.all() for moved in updates.moved)
    seen = [weights for weights, *_ in updates.after]
    expected = torch.zeros_like(seen[0])
    for k, values in enumerate(seen, start=1):
        share = min(decay, (k - 1) / (k + 8))
        expected = share * expected + (1 - share) * values
    width = sum(weights[0].numel() for part in trained.model.autoencoder() for weights in part.parameters())
    assert len(seen) == TRAIN.steps
    torch.testing.assert_close(updates.flat.values[:, :width], expected[:, :width], rtol=0, atol=1e-6)
    assert (updates.flat.values[:, :width] - seen[-1][:, :width]).abs().max() > 1e-4


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_what_is_kept_at_a_plateau_is_the_best_check_of_both_stages(decay):
    config = replace(PATIENT, ema=decay)
    trained = train([METHODS["latent_diffusion"]()], [1], train_config=config, diffusion=PATIENT_DIFFUSION)
    randomness = Randomness([("tiny", 1)])
    validation = validation_series([make_splits(seed=1)], randomness).padded
    found = {
        "validation_objective": validation_objective(trained.model, trained.method, validation, randomness, 400),
        "validation_denoising": validation_denoising(trained.model, trained.method, validation, randomness),
    }
    for term, now in found.items():
        recorded = [row[4] for row in trained.curves.rows if row[3] == term]
        assert now.item() == pytest.approx(min(recorded), rel=1e-5)
    assert trained.stages["autoencoder"].updates[0] < PATIENT.steps
    assert trained.stages["autoencoder"].converged == [True]


def test_nothing_stops_before_the_schedules_of_the_method_have_ended():
    """The objective hardly moves at this rate, so that only the schedule holds the run."""
    still = replace(PATIENT, learning_rate=1e-9, schedule_steps=200)
    ends = {}
    for share in (0.1, 0.9):
        trained = train([METHODS["kl_annealing"](warm_up=share)], [0], train_config=still)
        ends[share] = trained.stages["autoencoder"].updates[0]
    assert ends == {0.1: 55, 0.9: 250}  # schedules of 20 and 180 updates, 25 of patience and the decay, by 5s


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_when_its_objective_is_the_final_one(name):
    fields = {item.name for item in dataclasses.fields(METHODS[name])}
    method = METHODS[name](**{key: value for key, value in {"N": 2, "M": 18}.items() if key in fields})
    model = train([method], [0]).model.eval()
    ready, x = stacked([method.resolved(DIFFUSION)]), torch.from_numpy(make_splits().validation)[None]
    losses = []
    for index in (0, math.ceil(100 * float(torch.as_tensor(ready.schedule_share))), 100, 150):
        terms = ready.objective(model, x, Step(index, 100), Randomness([("tiny", 0)]).draws("x"))
        losses.append(float(sum(terms.values()).detach()))
    assert losses[1] == losses[2] == losses[3]
    assert (losses[0] != losses[1]) == (float(torch.as_tensor(ready.schedule_share)) > 0)
