"""The verdict on a model that somebody trained elsewhere, where the information is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from bench import latent_information
from bench.contracts import InputError

T, NOISE = 12, 1.5


def linear_gaussian(loading: Tensor, n: int = 512) -> tuple[Tensor, Tensor]:
    """x_t = loading_t z + e_t, z ~ N(0, 1), and a draw of each exact posterior: (n, 1), (n, T, 1)."""
    torch.manual_seed(0)
    x = loading * torch.randn(n, 1) + NOISE * torch.randn(n, T)
    precision = 1 + (loading**2).sum() / NOISE**2
    mean = (x * loading).sum(dim=-1) / NOISE**2 / precision
    return (mean + torch.randn(n) / precision.sqrt())[:, None], x[..., None]


def told(loading: Tensor):
    return lambda x, z: Normal(loading[:, None] * z[:, None], NOISE).log_prob(x).sum(dim=-1)


def nats(loading: Tensor) -> float:
    return 0.5 * math.log(1 + float((loading**2).sum()) / NOISE**2)


def test_the_information_is_that_of_a_linear_gaussian_model():
    loading = torch.ones(T)
    found = latent_information(told(loading), *linear_gaussian(loading))
    assert found.verdict == "alive"
    for of, true in ((found.information, nats(loading)), (found.second_half, nats(loading[T // 2 :]))):
        assert of.value == pytest.approx(true, abs=3 * of.error)
        assert 0 < of.error < 0.15
    assert found.bound == pytest.approx(math.log(512))
    assert found.n == 64
    assert str(found).startswith("The latent is alive.\nall steps: ")


def test_a_latent_that_sets_the_first_steps_only_is_partial_and_one_that_says_nothing_is_collapsed():
    first = torch.tensor([3.0] * 2 + [0.0] * (T - 2))
    assert latent_information(told(first), *linear_gaussian(first)).verdict == "partial"
    nothing = torch.zeros(T)
    found = latent_information(told(nothing), *linear_gaussian(nothing))
    assert (found.verdict, found.information.value) == ("collapsed", pytest.approx(0, abs=1e-6))


def test_a_decoder_that_is_too_sure_is_not_believed_more():
    """One factor on its deviations changes nothing."""
    loading = torch.ones(T)
    z, x = linear_gaussian(loading)
    honest = latent_information(told(loading), z, x)
    too_sure = latent_information(lambda x, z: 25 * told(loading)(x, z), z, x)
    assert too_sure.information == pytest.approx(honest.information, rel=1e-3)


def test_near_its_bound_a_value_is_said_to_be_at_least_that():
    loading = 50 * torch.ones(T)
    assert "all steps: at least 2." in str(latent_information(told(loading), *linear_gaussian(loading, 16)))


def test_wrong_shapes_and_values_are_refused_in_one_line():
    z, x = linear_gaussian(torch.ones(T), 40)
    right = told(torch.ones(T))
    for function, latents, series, words in (
        (right, z[:-1], x, r"x \(40, 12, 1\), z \(39, 1\): expected \(n, T, C\) and \(n, D\)"),
        (right, z[:4], x[:4], "4 series of 12 steps: expected 8 of 2 or more"),
        (right, z, x[:, :1], "40 series of 1 steps"),
        (lambda x, z: right(x, z).sum(dim=-1), z, x, r"gave \(40,\) for x \(40, 12, 1\): expected \(40, 12\)"),
        (lambda x, z: right(x, z) * torch.nan, z, x, "not finite"),
    ):
        with pytest.raises(InputError, match=words):
            latent_information(function, latents, series)
