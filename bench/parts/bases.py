"""Trend and seasonality: orthonormal polynomials and waves of a window's steps, and distances between spectra."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def polynomials(steps: int, degree: int) -> Tensor:
    """Orthonormal polynomials of t = 1 .. T of degree 0 .. `degree`, at most T of them: (T, degree + 1), float64.

    They span what 1, t, .., t^degree span, and a sum of squares of coefficients is that of the values.

    >>> polynomials(4, 1)[:, 0].tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    t = torch.linspace(-1, 1, steps, dtype=torch.float64) if steps > 1 else torch.zeros(1, dtype=torch.float64)
    powers = torch.stack([t**p for p in range(min(degree + 1, steps))], dim=-1)
    basis, upper = torch.linalg.qr(powers)
    return basis * upper.diagonal().sign()


def waves(steps: int) -> Tensor:
    """cos(2 pi k t / T) for k = 1 .. T // 2, then sin of the same, each of length 1: (2 (T // 2), T), float64.

    With the constant they are the real discrete Fourier transform. At k = T / 2 the sine is zero.

    >>> waves(2).abs().round(decimals=3).tolist()
    [[0.707, 0.707], [0.0, 0.0]]
    """
    k = torch.arange(1, steps // 2 + 1, dtype=torch.float64)[:, None]
    angles = 2 * math.pi / steps * k * torch.arange(steps)
    length = (steps / (1 + (2 * k < steps).to(k))).sqrt()
    sines = torch.where(2 * k == steps, 0.0, angles.sin())
    return torch.cat([angles.cos() / length, sines / length])


def spectrum_basis(steps: int) -> Tensor:
    """The real discrete Fourier transform as a rotation: the constant and `waves` without the empty row, (T, T)."""
    sines = waves(steps)
    constant = torch.full((1, steps), steps**-0.5, dtype=torch.float64)
    return torch.cat([constant, sines[: len(sines) - (steps % 2 == 0 and steps > 0)]])


def spectral_distance(x: Tensor, y: Tensor) -> Tensor:
    """sum_{k,c} |Re F(x - y)_kc| + |Im F(x - y)_kc|, F the Fourier transform over time: (..., T, C) -> (...).

    F is orthonormal, so the squared distance of the spectra is that of the series (Parseval), and only another power
    says anything that the series do not.

    >>> one = torch.tensor([[1.0], [0.0]])
    >>> round(float(spectral_distance(one, 0 * one)), 3), float(spectral_distance(one, one))
    (1.414, 0.0)
    """
    spectrum = torch.fft.fft(x - y, dim=-2, norm="ortho")
    return (spectrum.real.abs() + spectrum.imag.abs()).sum(dim=(-2, -1))
