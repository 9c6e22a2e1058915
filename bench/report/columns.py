"""The columns of a comparison table: which metrics it shows, in which order, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Literal, NamedTuple

SHORT = {
    "wasserstein": "Wasserstein",
    "sliced_wasserstein": "sliced W.",
    "mmd2": "MMD²",
    "c2st_accuracy": "C2ST acc.",
    "c2st_auc": "C2ST AUC",
    "nll_own": "reconstruction NLL (own latent)",
    "latent_information": "latent information",
    "latent_information_second_half": "latent information, second half",
    "prior_bound": "ln p(x) of sampled latents, at least",
    "calibration_distance": "calibration distance",
    "residual_ratio": "residual / sigma",
    "nll_gap": "permuted − own",
    "dependency_end": "m_T,0",
    "kl": "KL",
    "active_units": "active units",
    "nll_noise": "NLL given noise",
    "nll_zero": "NLL given z = 0",
    "probe_level": "probe of the level (R²)",
    "diffusion_information": "information left",
    "diffusion_nll_own": "NLL given the noised latent",
    "diffusion_probe": "probe of the level (R²)",
    "active_units_curve": "active units by threshold",
    "split_half_reliability": "split-half",
}

LONG = {
    "sliced_wasserstein": "sliced Wasserstein distance",
    "wasserstein": "Wasserstein distance",
    "mmd2": "squared MMD",
    "c2st_accuracy": "C2ST accuracy",
}

LATENT = (
    "latent_information",
    "latent_information_second_half",
    "nll_own",
    "nll_gap",
    "dependency_end",
    "kl",
    "active_units",
    "split_half_reliability",
    "prior_bound",
    "calibration_distance",
    "residual_ratio",
)

COSTS = {
    "train_seconds": ("training", "s"),
    "denoiser_seconds": ("denoiser", "s"),
    "sample_seconds": ("sampling", "s"),
    "n_parameters": ("parameters", ""),
    "energy_joules": ("energy", "J"),
}

TRAINED = {
    "updates": ("updates", ""),
    "validation_objective": ("validation objective", "nats per value"),
    "validation_denoising": ("validation denoising loss", ""),
}
"""Columns of the runs table that say how training ended."""

TRAINED_OF = "How training ended, mean over seeds."

COST_OF = "Cost of one run, mean over seeds."

DERIVED = {
    "nll_gap": "How much less likely a series is under another series' latent than under its own. "
    "Near 0 the latent says nothing about the series.",
    "dependency_end": "The share of the decoder's last state that is attributed to the latent: a signed attribution "
    "that can be above 1 or below 0, and is near 0 where the latent is forgotten.",
}
"""Numbers this report computes from others, per run."""

FIRST = ("sliced_wasserstein", "wasserstein", "mmd2")
"""The quality columns, first the one that ranks; others follow by name."""

NARROW = {*FIRST, "c2st_auc", "latent_information", "nll_gap", "dependency_end", "train_seconds"}
"""Columns that answer the question; a page shows the others when asked."""


def title_of(metric: str) -> str:
    """A metric's name as a reader sees it."""
    return SHORT.get(metric, metric.replace("_", " "))


class MetricFacts(NamedTuple):
    """What a column needs to know of its metric."""

    unit: str = ""
    direction: Literal["lower", "higher", "none"] = "none"
    needs: str = "samples"
    about: str = ""


class Column(NamedTuple):
    """One column of a comparison table."""

    metric: str
    title: str
    unit: str
    direction: Literal["lower", "higher", "none"]
    about: str = ""

    @property
    def first(self) -> bool:
        """Whether a narrow table shows it."""
        return self.metric in NARROW


def columns_of(present: Set[str], facts: Mapping[str, MetricFacts]) -> list[Column]:
    """The columns for the metrics that are present: quality, then the latent, then costs."""

    def column(metric: str) -> Column:
        fact = facts.get(metric, MetricFacts())
        return Column(metric, title_of(metric), fact.unit, fact.direction, fact.about)

    quality = {name for name in present if facts.get(name, MetricFacts()).needs == "samples" and name in facts}
    first = [name for name in FIRST if name in present and name in facts]
    ordered = first + sorted(quality - set(first))
    latent = [name for name in LATENT if name in present]
    costs = [Column(name, *COSTS[name], "none", COST_OF) for name in COSTS if name in present]
    trained = [Column(name, *TRAINED[name], "none", TRAINED_OF) for name in TRAINED if name in present]
    own = facts.get("nll_own", MetricFacts()).unit
    extra = {"nll_gap": own, "dependency_end": ""}
    return (
        [column(name) for name in ordered]
        + [
            Column(n, SHORT[n], extra[n], "none", DERIVED[n]) if n in extra else column(n)._replace(direction="none")
            for n in latent
        ]
        + trained
        + costs
    )
