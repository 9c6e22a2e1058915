"""From a configuration to a model of R runs: encoder, decoder, denoiser, schedule, marginal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import Cells, Decoder, DiffusionConfig, ModelConfig, Sizes, Unavailable
from bench.method import Method
from bench.models.denoiser import Denoiser, make_denoiser
from bench.models.dropout import set_rates
from bench.models.head import make_head
from bench.models.marginal import FittedMarginal
from bench.models.wrapped import BlindDecoder, DescribingEncoder, StepwiseEncoder
from bench.parts.diffusion import linear_schedule, loss_weights
from bench.parts.likelihoods import Family, tensors_of
from bench.registry import BACKBONES


class StackedModel(nn.Module):
    """See `bench.contracts.Model`. The method has the last word on which networks it holds.

    Parameters are zero until `bench.models.stacked.initialise`.
    The marginal F of the training windows, of the decoder's family, is saved with the weights: a buffer
    `marginal_NAME` (R, ...) for every field of that family (see `bench.parts.likelihoods`), or where the family has no
    closed form the network `marginal` (see `bench.models.marginal`).
    Raises Unavailable for a backbone that the method does not serve, for latent steps that do not divide a window, and
    for dropout in networks that have none.
    """

    encoder: nn.Module
    decoder: Decoder
    denoiser: Denoiser

    def __init__(
        self,
        runs: int,
        shape: tuple[int, int],
        method: Method,
        backbone: str,
        config: ModelConfig,
        diffusion: DiffusionConfig,
    ) -> None:
        super().__init__()
        if method.backbones and backbone not in method.backbones:
            raise Unavailable(f"{method.name} serves the backbones {', '.join(method.backbones)}, not {backbone}")
        window, channels = shape
        if window % config.latent_steps:
            given = f"model.latent_steps = {config.latent_steps}"
            raise Unavailable(f"{given}: a window has {window} steps: expected a divisor of {window}")
        networks = BACKBONES[backbone]
        sizes = {"runs": runs, "channels": channels, "hidden": config.hidden, "layers": config.layers}
        sizes["latent_steps"] = config.latent_steps
        self.runs, latent = runs, config.latent_dimensions
        every_step = method.latent_route == "every_step"
        head = make_head(runs, config.hidden, channels, config)
        sizes["channels"] = head.described_width
        decoder = networks.decoder(**sizes, latent=config.latent, window=window, every_step=every_step, head=head)
        encoder = networks.encoder(**sizes, outputs=method.encoder_width(config.latent))
        if config.marks:
            encoder = DescribingEncoder(encoder, head)
        if config.latent_steps > 1:
            encoder = StepwiseEncoder(encoder, config.latent_steps, config.latent)
        standard = {
            "encoder": encoder,
            "decoder": BlindDecoder(decoder, "latent") if method.latent_route == "none" else decoder,
            "denoiser": make_denoiser(runs, latent, diffusion),
        }
        facts = Sizes(runs, window, channels, latent, config.hidden, diffusion.hidden, diffusion.L)
        for name, network in method.networks(standard, facts).items():
            self.add_module(name, network)
        self.latent = self.denoiser.latent
        dropping = [set_rates(network, config.dropout) for network in self.autoencoder()]
        if config.dropout and dropping and not any(dropping):
            raise Unavailable(f"model.dropout = {config.dropout:g}: {method.name} on {backbone} has none, expected 0")
        set_rates(self.denoiser, diffusion.dropout)
        self.latent_mean: Tensor
        self.register_buffer("latent_mean", torch.zeros(runs, self.latent))
        self.latent_scale: Tensor
        self.register_buffer("latent_scale", torch.ones(runs, self.latent))
        self.sampler: str = diffusion.sampler
        self.sampling_steps = diffusion.sampling_steps
        self.alpha_bar: Tensor
        self.register_buffer("alpha_bar", linear_schedule(diffusion.L), persistent=False)
        self.loss_weights: Tensor
        weights = loss_weights(self.denoiser.predicts, diffusion.weighting, self.alpha_bar)
        self.register_buffer("loss_weights", weights, persistent=False)
        self._heads = (head,)  # in a tuple: it is the decoder's, and its buffers are saved once
        self._temperature = (1.0,) * runs
        self._fields: tuple[str, ...] = ()
        if head.fits_marginal:
            self.marginal = FittedMarginal(runs, window, channels, config)
            return
        empty = head.marginal(torch.zeros(1, window, channels), head.floor[0])
        self._family, self._fields = type(empty), tuple(tensors_of(empty))
        for name, value in tensors_of(empty).items():
            self.register_buffer(f"marginal_{name}", value.repeat(runs, *(1,) * value.ndim))

    def fit_marginal(self, windows: Sequence[Tensor], cells: Sequence[Cells | None] | None = None) -> None:
        """F from each run's training windows (n, T, C), and what the decoder's head takes from them and their cells."""
        (head,) = self._heads
        cells = [None] * self.runs if cells is None else cells
        head.fit(windows, cells)
        if not self._fields:
            self.marginal.fit(windows, cells)
            return
        for run, x in enumerate(windows):
            for name, value in tensors_of(head.marginal(x, head.floor[run])).items():
                self.get_buffer(f"marginal_{name}")[run].copy_(value)

    def marginal_log_prob(self, x: Tensor) -> Tensor:
        """F(x) in nats per series: (R, B, T, C) -> (R, B), of the same cells as the decoder's."""
        if not self._fields:
            return self.marginal(x)
        fields: dict[str, Any] = {name: self.get_buffer(f"marginal_{name}")[:, None] for name in self._fields}
        if issubclass(self._family, Family):  # a plug-in's likelihood may know no cells
            fields["cells"] = self._heads[0].cells
        return self._family(**fields).log_prob(x)

    @property
    def temperature(self) -> tuple[float, ...]:
        """The sampling temperature of each run: what its decoder's likelihood is drawn at. No part of its weights."""
        return self._temperature

    @temperature.setter
    def temperature(self, values: Sequence[float]) -> None:
        self._temperature = tuple(map(float, values))
        (head,) = self._heads
        same = all(value == 1 for value in self._temperature)  # nothing is done then, so that no number moves
        head.temperature = None if same else torch.tensor(self._temperature, device=self.alpha_bar.device)

    def autoencoder(self) -> list[nn.Module]:
        """What the first stage trains: every network but the denoiser and the marginal, the encoder first."""
        return [network for name, network in self.named_children() if name not in ("denoiser", "marginal")]

    def state_of(self, run: int) -> dict[str, Tensor]:
        """One run's weights, each (1, ...), on the CPU."""
        return {name: value[run : run + 1].detach().cpu().contiguous() for name, value in self.state_dict().items()}
