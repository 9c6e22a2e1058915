"""KL annealing: the KL term has no weight at first and its full weight later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.contracts import Draws, Model, PerRun, Step, option
from bench.method import Method
from bench.parts.objectives import cyclical_warm_up, kl_to_prior, linear_warm_up, reconstruction
from bench.registry import register_method


@register_method("kl_annealing")
@dataclass(frozen=True)
class KLAnnealing(Method):
    """The KL term is weighted by a schedule that rises from 0 to 1, once or in cycles.

        L = E_q(z|x)[-ln p(x|z)] + w(step) KL(q(z|x) || N(0, I))

    Shapes: x (R, B, T, C); terms (R).
    Source: Bowman et al. 2016, arXiv:1511.06349, sec. 3.1 (one rise); Fu et al. 2019, arXiv:1903.10145,
    eq. 6 and 7 (`cyclical`, 4 cycles, ratio .5, linear, as in their code). The equations of Fu et al. are not checked
    against the text.
    Ours: the single rise is linear over the first half of training (Bowman et al. draw a sigmoid and tune its rate).
    """

    schedule: Literal["linear", "cyclical"] = "linear"
    warm_up: PerRun = option(0.5, above=0, at_most=1)  # share of training (of each cycle) over which w rises
    cycles: PerRun = option(4, at_least=1, whole=True)  # of the cyclical schedule

    def without_use(self) -> tuple[str, ...]:
        """A single rise has no cycles."""
        return ("cycles",) if self.schedule == "linear" else ()

    @property
    def schedule_share(self) -> PerRun:
        """The end of the single rise, or of the last cycle."""
        return self.warm_up if self.schedule == "linear" else 1.0

    def weight(self, step: Step) -> Tensor:
        """w(step), (R)."""
        if self.schedule == "linear":
            return linear_warm_up(step, self.warm_up)
        return cyclical_warm_up(step, self.cycles, self.warm_up)

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """Reconstruction and the weighted KL, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        weight = self.weight(step).to(x.device)
        return {"reconstruction": reconstruction(p, x), "kl": weight * kl_to_prior(q)}
