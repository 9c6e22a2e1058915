"""`proposed` reduced to the parts that helped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.contracts import Draws, Model, PerRun, Step, option
from bench.early_diffusion import EarlyDiffusion
from bench.registry import register_method


@register_method("kl_free")
@dataclass(frozen=True)
class KLFree(EarlyDiffusion):
    """No KL term and no penalty on noised latents; z enters every decoder step, and part of the past is hidden.

        L_VI = E_{i ~ U{0..N}} [ -alpha_bar_{gamma i} ln p(x | z^i, m * past) ],   z^i ~ q_forw(. | v),  v = f_enc(x)
        contrast  + E[ T softplus((ln p(x | z^i_other) - ln p(x | z^i)) / T) ]
        permuted  + E[ relu(ln p(x | z^i_other) - F(x)) ]

    Shapes: x (R, B, T, C), T steps, m the mask of `variable_masking`; terms (R).
    Source: L_VI of Li et al. 2024, arXiv:2405.14021 (see `proposed`), with the skip of Dieng et al. 2019,
    arXiv:1807.04863, and the masking of Bowman et al. 2016, arXiv:1511.06349.
    Ours: the combination, which is a preset of `proposed`. N (.05 L where it is not given), gamma and `latent_norm`
    are as in `proposed`; the masking rate is .3. Only the first update has the draws of `proposed`, which draws k as
    well: later masks, i and noise differ, so the two are paired by their batches and initial weights alone.
    """

    latent_route: Literal["first", "every_step", "none"] = "every_step"
    masking_rate: PerRun = option(0.3, at_least=0, at_most=1)
    collapse_penalty: Literal["none", "permuted", "contrast"] = "none"

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """L_VI, and the penalty for a latent of another series that explains x, in nats per series."""
        v = self.posterior(model, x).mean
        past = self.decoder_input(x, draws)
        early = self.early(model, x, v, past, draws)
        terms = {"variational": self.variational(model, x, early)}
        if self.collapse_penalty != "none":
            terms["collapse_penalty"] = self.against_others(self.collapse_penalty, model, x, past, early, draws)
        return terms
