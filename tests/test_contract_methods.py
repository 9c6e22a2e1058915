"""What every method promises on every backbone; a plug-in's method is tested by the same file.

R = 3 runs, B = 5 series, T = 7 steps, C = 2 channels, D = 4 latent dimensions: all different.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from types import SimpleNamespace

import pytest
import torch
from conftest import make_splits

from bench.contracts import (
    DiffusionConfig,
    InputError,
    ModelConfig,
    Step,
    TrainConfig,
    Undefined,
    check_options,
    per_run_fields,
)
from bench.method import Method, stacked
from bench.models.build import StackedModel
from bench.models.stacked import has_weights, initialise
from bench.randomness import Randomness
from bench.registry import BACKBONES, METHODS
from bench.training.stack import train_stack

R, B, T, C, D, L = 3, 5, 7, 2, 4, 20
MODEL = ModelConfig(hidden=8, latent=D)
DIFFUSION = DiffusionConfig(L=L, steps=3, batch_size=8, hidden=8)
TRAIN = TrainConfig(steps=3, batch_size=8)
KEYS = [("contract", seed) for seed in range(R)]
SERVED = [
    (name, backbone) for backbone in BACKBONES for name in METHODS if backbone in (METHODS[name].backbones or BACKBONES)
]
EVERY = pytest.mark.parametrize(("name", "backbone"), SERVED)


def of(name: str) -> Method:
    """The method with its defaults at this L, but for the longest inner loop."""
    fields = {field.name for field in dataclasses.fields(METHODS[name])}
    inner = {"encoder_updates": 10} if "encoder_updates" in fields else {}
    return METHODS[name](**METHODS[name].defaults(DIFFUSION), **inner)


def build(name: str, backbone: str, keys=tuple(KEYS)) -> tuple[StackedModel, Method, torch.Tensor]:
    method = stacked([of(name)] * len(keys))
    model = StackedModel(len(keys), (T, C), method, backbone, MODEL, DIFFUSION)
    randomness = Randomness(keys)
    initialise(model, randomness)
    x = randomness.draws("series").normal(B, T, C)
    model.fit_marginal(list(x))
    return model, method, x


def terms_of(model, method, x, keys=tuple(KEYS)):
    """The terms of the objective, each one number per run."""
    terms = method.objective(model, x, Step(5, 10), Randomness(keys).draws("objective"))
    for name, term in terms.items():
        shape = tuple(term.shape)
        told = f"term '{name}' has shape {shape}, expected (R,) = ({len(keys)},): reduce with dim=-1, never dim=0"
        assert shape == (len(keys),), told
    return terms


@pytest.mark.parametrize(("reduced", "shape"), [(lambda x: x.mean(), "()"), (lambda x: x.mean(0), f"({B}, {T}, {C})")])
def test_a_term_that_is_reduced_over_runs_is_named(reduced, shape):
    careless = SimpleNamespace(objective=lambda model, x, step, draws: {"kl": reduced(x)})
    told = f"term 'kl' has shape {shape}, expected (R,) = (3,): reduce with dim=-1, never dim=0"
    with pytest.raises(AssertionError, match=re.escape(told)):
        terms_of(None, careless, torch.zeros(R, B, T, C))


@EVERY
def test_terms_are_one_number_per_run_and_every_part_gets_a_finite_gradient(name, backbone):
    model, method, x = build(name, backbone)
    terms = terms_of(model, method, x)
    assert terms
    for term in terms.values():
        assert term.isfinite().all()
    if not model.autoencoder():  # the objective is the denoiser's
        sum(terms.values()).sum().backward()
    else:
        with torch.no_grad():
            codes = method.codes(model, x)
        loss = sum(terms.values()) + method.denoising(model, codes, Randomness(KEYS).draws("denoiser"))
        loss.sum().backward()
    for part_name, part in model.named_children():
        if not has_weights(part):  # a prior that nothing has to learn
            continue
        gradients = [weights.grad for weights in part.parameters()]
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
        moved = torch.stack([g.flatten(1).abs().sum(-1) for g in gradients if g is not None]).sum(dim=0)
        assert (moved > 0).all(), f"{part_name} learns nothing"


@EVERY
def test_a_stack_of_three_is_three_runs(name, backbone):
    model, method, x = build(name, backbone)
    together = terms_of(model, method, x)
    for run, key in enumerate(KEYS):
        solo_model, solo_method, solo_x = build(name, backbone, (key,))
        alone = terms_of(solo_model, solo_method, solo_x, (key,))
        for term, value in together.items():
            torch.testing.assert_close(value[run], alone[term][0], rtol=1e-6, atol=1e-6)


@EVERY
def test_training_is_repeatable_and_a_stack_trains_as_its_runs_do(name, backbone):
    def train(seeds):
        splits = [make_splits(seed=seed) for seed in seeds]
        keys, n = [("contract", seed) for seed in seeds], len(seeds)
        return train_stack([of(name)] * n, splits, keys, backbone, MODEL, [TRAIN] * n, [DIFFUSION] * n)

    together, again, alone = train([0, 1]), train([0, 1]), train([1])
    for run in (0, 1):
        first, second = together.model.state_of(run), again.model.state_of(run)
        assert all(torch.equal(first[key], second[key]) for key in first)
    # terms, not weights: Adam makes a step of the last bit of a gradient that is zero (a Transformer's key bias)
    mine = [row[1:] for row in together.curves.rows if row[0] == 1]
    solo = [row[1:] for row in alone.curves.rows]
    assert [row[:3] for row in mine] == [row[:3] for row in solo]
    assert [row[3] for row in mine] == pytest.approx([row[3] for row in solo], rel=1e-4, abs=1e-4)
    assert together.diverged == ["", ""]


@EVERY
def test_samples_have_their_shape_and_depend_on_the_seed_alone(name, backbone):
    model, method, _ = build(name, backbone)
    model.eval()
    one, two = (method.sample(model, 6, Randomness(KEYS).draws("samples")) for _ in range(2))
    other = method.sample(model, 6, Randomness(KEYS).draws("other samples"))
    assert one.shape == (R, 6, T, C)
    assert one.isfinite().all()
    assert not one.requires_grad
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@EVERY
def test_posterior_latents_decoder_and_its_single_run(name, backbone):
    model, method, x = build(name, backbone)
    model.eval()
    with torch.no_grad():
        if not model.autoencoder():
            with pytest.raises(Undefined, match=name):
                method.posterior(model, x)
            return
        q = method.posterior(model, x)
        z = q.rsample(Randomness(KEYS).draws("posterior"))
        assert q.mean.shape == z.shape == (R, B, D)
        assert q.rows(torch.zeros(R, 2, dtype=torch.int64)).mean.shape == (R, 2, D)
        assert q.kl() is None or ((q.kl().shape == (R, B, D)) and (q.kl() >= 0).all())
        assert method.latents(model, 6, Randomness(KEYS).draws("latents")).shape == (R, 6, D)
        states = model.decoder.states(z, x[:, :, :-1])
        assert states.shape[:3] == (R, B, T)
        assert model.decoder(z, x[:, :, :-1]).log_prob(x).shape == (R, B)
        single = model.decoder.single(1)(z[1], x[1, :, :-1])
        torch.testing.assert_close(single, states[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_card_says_what_it_is(name):
    card = inspect.getdoc(METHODS[name]) or ""
    assert card.splitlines()[0].endswith(".")
    assert METHODS[name].__doc__ != Method.__doc__
    for word in ("Source:", "Ours:", "Shapes:"):
        assert word in card, f"{word} is missing"
    module = METHODS[name].__module__
    assert module == f"methods.{name}" or module.startswith("bench_plugin_")


@pytest.mark.parametrize("name", METHODS)
def test_a_value_out_of_range_names_the_method_the_option_and_the_range(name):
    for key in per_run_fields(METHODS[name]):
        with pytest.raises(InputError, match=rf"^{name}\.{key} = nan: expected a (whole )?number"):
            check_options(dataclasses.replace(of(name), **{key: float("nan")}), name)
    with pytest.raises(InputError, match=f"{name}.latent_route = 'sideways': expected one of"):
        check_options(dataclasses.replace(of(name), latent_route="sideways"), name)


@pytest.mark.parametrize("steps", [100, 1000])
@pytest.mark.parametrize("name", METHODS)
def test_the_defaults_are_legal(name, steps):
    diffusion = DiffusionConfig(L=steps)
    method = METHODS[name](**METHODS[name].defaults(diffusion))
    check_options(method, name)
    method.check(ModelConfig(), diffusion)
    resolved = method.resolved(diffusion)
    check_options(resolved, name)
    stacked([resolved, resolved])
