"""The Transformer: causal, cached, stacked without a trace, and its tangents exact."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from conftest import make_splits
from test_dependency import brute_force_sweep
from torch import Tensor

from bench.contracts import DiffusionConfig, InputError, ModelConfig, TrainConfig
from bench.metrics.dependency import dependency_measures, forward_sweep
from bench.models import transformer as backbone
from bench.models.build import StackedModel
from bench.models.head import make_head
from bench.models.layer_norm import LayerNorm, _native_norm, _stacked_norm
from bench.models.stacked import initialise
from bench.models.transformer import TransformerDecoder, TransformerEncoder
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.training.stack import train_stack

B, T, C, D, H = 5, 7, 2, 4, 8
KINDS = ("weight", "bias")
ROUTES = pytest.mark.parametrize(
    ("every_step", "latent_steps"), [(False, 1), (True, 1), (True, T)], ids=["first", "every_step", "latent_steps"]
)
LAYERS = pytest.mark.parametrize("layers", [1, 2])
# torch warns about itself at the first use of forward mode, and that is caught here
forward_sweep(lambda z, x_prev: z, torch.zeros(1, 1), torch.zeros(1, 0, 1))


def randomness(*seeds: int) -> Randomness:
    return Randomness([("tests", seed) for seed in seeds])


def decoder_of(
    *seeds: int, layers: int = 2, every_step: bool = False, scale: float = 0.5, latent_steps: int = 1
) -> TransformerDecoder:
    """A decoder in float64 whose norms are not the identity and whose attention is not flat."""
    head = make_head(len(seeds), H, C, ModelConfig())
    decoder = TransformerDecoder(len(seeds), C, D, H, layers, T, every_step, head, latent_steps)
    drawn = randomness(*seeds)
    initialise(decoder, drawn)
    for name, weights in decoder.named_parameters():
        weights.data += scale * drawn.draws(f"more {name}").normal(*weights.shape[1:])
    return decoder.double()


def inputs(*seeds: int, latent_steps: int = 1) -> tuple[Tensor, Tensor]:
    drawn = randomness(*seeds)
    return drawn.draws("z").normal(B, latent_steps * D).double(), drawn.draws("past").normal(B, T - 1, C).double()


@ROUTES
def test_a_state_sees_the_latent_and_the_past_and_nothing_else(every_step: bool, latent_steps: int) -> None:
    decoder = decoder_of(0, every_step=every_step, latent_steps=latent_steps)
    z, past = inputs(0, latent_steps=latent_steps)
    z.requires_grad_()
    past.requires_grad_()
    states = decoder.states(z, past)
    assert states.shape == (1, B, T, H)
    for t in range(T):
        of_z, of_past = torch.autograd.grad(states[0, 2, t].sum(), (z, past), retain_graph=True)
        assert (of_z[0, 2, : D * (t + 1)] != 0).all()
        assert (of_z[0, 2, D * (t + 1) :] == 0).all()
        assert (of_past[0, 2, :t] != 0).all()
        assert (of_past[0, 2, t:] == 0).all()
        of_z[0, 2] = of_past[0, 2] = 0
        assert (of_z == 0).all()  # other series
        assert (of_past == 0).all()


def test_the_encoder_sees_all_steps_and_their_order() -> None:
    encoder = TransformerEncoder(1, C, H, 2, outputs=3)
    initialise(encoder, randomness(0))
    x = randomness(0).draws("x").normal(B, T, C).requires_grad_()
    found = encoder(x)
    assert found.shape == (1, B, 3)
    assert (torch.autograd.grad(found[0, 2].sum(), x)[0][0, 2] != 0).all()
    assert (encoder(x.flip(2)) - found).abs().max() > 1e-3


@ROUTES
def test_generation_with_the_cache_is_the_teacher_forced_decoder(every_step: bool, latent_steps: int) -> None:
    decoder = decoder_of(0, 1, every_step=every_step, latent_steps=latent_steps)
    z = inputs(0, 1, latent_steps=latent_steps)[0]
    x = decoder.generate(z, randomness(0, 1).draws("noise"))
    forced = decoder(z, x[:, :, :-1])
    draws = randomness(0, 1).draws("noise")
    noise = torch.stack([draws.normal(B, 1, C) for _ in range(T)], dim=2).squeeze(3)
    sigma = decoder.head.square.sqrt()[:, None, None]
    torch.testing.assert_close(x, forced.mean + sigma * noise, rtol=0, atol=1e-12)


@LAYERS
def test_a_decoder_is_torchs_pre_norm_transformer(layers: int) -> None:
    decoder, (z, past) = decoder_of(0, 1, layers=layers), inputs(0, 1)
    ours = decoder.states(z, past)
    for run in range(2):
        layer = torch.nn.TransformerEncoderLayer(
            H, 4, 2 * H, dropout=0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
        )
        a = decoder.transformer.input(backbone.decoder_inputs(z, past, False))[run] + decoder.transformer.positions(T)
        for block in decoder.transformer.blocks:
            theirs = {
                "self_attn.in_proj_": block.query_key_value,
                "self_attn.out_proj.": block.mix,
                "linear1.": block.up,
                "linear2.": block.down,
                "norm1.": block.attention_norm,
                "norm2.": block.feed_forward_norm,
            }
            weights = {f"{name}{kind}": getattr(part, kind)[run] for name, part in theirs.items() for kind in KINDS}
            layer.load_state_dict(weights)
            a = layer(a, src_mask=torch.nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64))
        norm = decoder.transformer.norm
        expected = torch.nn.functional.layer_norm(a, (H,), norm.weight[run], norm.bias[run])
        torch.testing.assert_close(ours[run], expected, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------- the run dimension


def test_both_layer_norms_have_the_same_values_and_gradients() -> None:
    norm, drawn = LayerNorm(3, H), randomness(0, 1, 2)
    a, weight = (drawn.draws(role).normal(B, T, H).double() for role in ("a", "weight"))
    norm = norm.double()
    for name, parameter in norm.named_parameters():
        parameter.data += drawn.draws(name).normal(H)
    results = []
    for kernel in (_native_norm, _stacked_norm):
        value = kernel(a.requires_grad_(), norm.weight, norm.bias)
        results.append([value, *torch.autograd.grad((value * weight).sum(), (a, norm.weight, norm.bias))])
    for native, stacked in zip(*results, strict=True):
        torch.testing.assert_close(native, stacked, rtol=0, atol=1e-12)


def test_the_batched_products_fit_off_the_cpu() -> None:
    """Devices without values run the same program as a GPU: the shapes are checked, not the numbers."""
    decoder = TransformerDecoder(3, C, D, H, 2, T, True, make_head(3, H, C, ModelConfig())).to("meta")
    z, past = torch.empty(3, B, D, device="meta"), torch.empty(3, B, T - 1, C, device="meta")
    assert decoder.states(z, past).shape == (3, B, T, H)
    step = decoder.transformer.stepper(B, T)
    assert step(torch.empty(3, B, C + 1 + D, device="meta")).shape == (3, B, H)
    encoder = TransformerEncoder(3, C, H, 1, outputs=9).to("meta")
    assert encoder(torch.empty(3, B, T, C, device="meta")).shape == (3, B, 9)


def test_a_run_of_nan_leaves_its_neighbours_identical() -> None:
    (z, past), gradients, states = inputs(0, 1, 2), [], []
    for poisoned in (False, True):
        decoder = decoder_of(0, 1, 2)
        if poisoned:
            decoder.transformer.input.weight.data[1] = torch.nan
        h = decoder.states(z, past)
        states.append(h)
        gradients.append(torch.autograd.grad(h.square().sum(), list(decoder.transformer.parameters())))
    assert states[1][1].isnan().all()
    for run in (0, 2):
        assert torch.equal(states[0][run], states[1][run])
        assert all(torch.equal(a[run], b[run]) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("hidden", "window", "channels", "batch"), [(8, 7, 2, 8), (64, 24, 26, 64), (20, 48, 5, 33)], ids=str
)
def test_a_stack_of_three_is_three_stacks_of_one_bit_for_bit(
    hidden: int, window: int, channels: int, batch: int
) -> None:
    seeds = [0, 1, 1]
    methods = [METHODS["proposed"](N=n, M=18, gamma=g) for n, g in ((2, 1), (5, 2), (0.1, 1))]
    model, diffusion = ModelConfig(hidden=hidden, latent=4, layers=2), DiffusionConfig(L=20, steps=2, hidden=8)
    budget = TrainConfig(steps=4, batch_size=batch)

    def train(runs: list[int]):
        splits = [make_splits(80, window, channels, seed=seeds[run]) for run in runs]
        keys, count = [("tiny", seeds[run]) for run in runs], len(runs)
        chosen = [methods[run] for run in runs]
        return train_stack(chosen, splits, keys, "transformer", model, [budget] * count, [diffusion] * count)

    together = train([0, 1, 2])
    for run in range(3):
        alone = train([run])
        mine, theirs = together.model.state_of(run), alone.model.state_of(0)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
        assert [row[1:] for row in together.curves.rows if row[0] == run] == [row[1:] for row in alone.curves.rows]


@pytest.mark.parametrize("method", ["latent_diffusion", "proposed"])
def test_training_learns(method: str) -> None:
    budget, model = TrainConfig(steps=100, batch_size=32), ModelConfig(hidden=16, latent=4, layers=2)
    trained = train_stack(
        [METHODS[method]()],
        [make_splits(200)],
        [("tiny", 0)],
        "transformer",
        model,
        [budget],
        [DiffusionConfig(steps=1)],
    )
    own = [row[-1] for row in trained.curves.rows if row[3] == "validation_nll_own"]
    assert trained.diverged == [""]
    assert own[-1] < own[0] - 0.1


@pytest.mark.gpu
def test_cuda_is_the_cpu_up_to_rounding() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    decoder, (z, past) = decoder_of(0, 1, 2), inputs(0, 1, 2)
    here = decoder.states(z, past)
    there = decoder.to("cuda").states(z.to("cuda"), past.to("cuda"))
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-9)


def test_a_width_that_a_layer_norm_cannot_use_is_refused() -> None:
    with pytest.raises(InputError, match="hidden = 1: expected a whole number >= 2"):
        TransformerEncoder(1, C, 1, 1, outputs=3)


@pytest.mark.parametrize(("width", "heads"), [(8, 4), (6, 2), (5, 1)])
def test_heads_divide_every_width(width: int, heads: int) -> None:
    encoder = TransformerEncoder(2, C, width, 1, outputs=3)
    initialise(encoder, randomness(0, 1))
    assert encoder.transformer.blocks[0].heads == heads
    assert encoder(randomness(0, 1).draws("x").normal(B, T, C)).isfinite().all()


# ------------------------------------------------------------------------- the dependency measures


@ROUTES
@LAYERS
def test_tangent_sweep_is_forward_mode_is_brute_force(layers: int, every_step: bool, latent_steps: int) -> None:
    single = decoder_of(0, 1, layers=layers, every_step=every_step, latent_steps=latent_steps).single(1)
    z, past = (value[1] for value in inputs(0, 1, latent_steps=latent_steps))
    s, row = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0, 0.3], dtype=z.dtype), torch.tensor([4, 1, 0, 1, 3, 2])
    sweeps = single.tangent_sweep(z, past), forward_sweep(single, z, past), brute_force_sweep(single, z, past)
    ours, forward, brute = (sweep(s, row) for sweep in sweeps)
    for found, generic, truth in zip(ours, forward, brute, strict=True):
        assert truth.abs().max() > 0.1
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)
        torch.testing.assert_close(generic, truth, rtol=0, atol=1e-12)


@ROUTES
def test_measures_with_the_sweep_are_those_of_any_decoder(every_step: bool, latent_steps: int) -> None:
    single = decoder_of(0, layers=2, every_step=every_step, scale=1, latent_steps=latent_steps).single(0)
    z, past = (value[0] for value in inputs(0, latent_steps=latent_steps))
    ours = dependency_measures(single, z, past, tolerance=1e-5)
    generic = dependency_measures(lambda z, x: single(z, x), z, past, tolerance=1e-5)
    for k in range(2):
        torch.testing.assert_close(ours[k], generic[k], rtol=0, atol=1e-9)  # the same intervals, the same sums
    assert ours.completeness_error.max() < 1e-5
    assert ours.unresolved == generic.unresolved == 0


def test_one_run_alone_is_the_run_in_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, (z, past) = decoder_of(0, 1, 2), inputs(0, 1, 2)
    single = decoder.single(1)
    expected = decoder.states(z, past)[1]
    torch.testing.assert_close(single(z[1], past[1]), expected, rtol=0, atol=1e-12)
    s = torch.linspace(0, 1, B, dtype=z.dtype)
    sweep, each = single.tangent_sweep(z[1], past[1]), torch.arange(B)
    together = sweep(s, each)
    torch.testing.assert_close(sweep(torch.ones_like(s), each)[0], expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(backbone, "ROWS_AT_ONCE", 2 * T)  # two series at once, then one
    torch.testing.assert_close(single(z[1], past[1]), expected, rtol=0, atol=1e-12)
    for whole, parts in zip(together, single.tangent_sweep(z[1], past[1])(s, each), strict=True):
        torch.testing.assert_close(whole, parts, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["inverse_lipschitz", "no_latent", "feed_forward"])
def test_measures_of_decoders_behind_a_change_of_their_inputs(name: str) -> None:
    model = StackedModel(2, (T, C), METHODS[name](), "transformer", ModelConfig(H, D), DiffusionConfig())
    initialise(model, randomness(0, 1))
    single = model.double().decoder.single(1)
    z, past = (value[1] for value in inputs(0, 1))
    s = torch.tensor([0.1, 0.2, 0.5, 0.9, 1.0], dtype=z.dtype)
    own, each = getattr(single, "tangent_sweep", partial(forward_sweep, single)), torch.arange(B)
    for found, truth in zip(own(z, past)(s, each), brute_force_sweep(single, z, past)(s, each), strict=True):
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)


def test_one_step() -> None:
    z = randomness(0).draws("z").normal(B, D)[0].double()
    found = dependency_measures(decoder_of(0).single(0), z, z.new_zeros(B, 0, C))
    assert found.global_.tolist() == found.local.tolist() == [[1.0]] * B
