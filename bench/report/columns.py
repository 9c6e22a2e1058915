"""The columns of a comparison table: which metrics it shows, in which order, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from typing import Literal, NamedTuple

Question = Literal["trained", "latent", "samples", "cost"]
"""Which of the benchmark's questions a column answers, in their order; costs are none of them."""

SHORT = {
    "wasserstein": "Wasserstein",
    "sliced_wasserstein": "sliced W.",
    "sliced_wasserstein_increments": "sliced W. of increments",
    "mmd2": "MMD²",
    "mmd2_increments": "MMD² of increments",
    "c2st_accuracy": "C2ST acc.",
    "c2st_auc": "C2ST AUC",
    "c2st_auc_marginals": "AUC by marginals",
    "c2st_auc_dynamics": "AUC by dynamics",
    "c2st_auc_cross_channel": "AUC across channels",
    "copies": "copies",
    "copies_z": "copies, z",
    "authenticity": "authenticity",
    "authenticity_held_out": "authenticity, held out",
    "nll_own": "reconstruction NLL (own latent)",
    "latent_information": "latent information",
    "latent_information_second_half": "latent information, second half",
    "prior_bound": "ln p(x) under sampled latents, at least",
    "mutual_information": "mutual information under q",
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
    "noised_information": "nats from the noised latent",
    "diffusion_nll_own": "NLL given the noised latent",
    "diffusion_probe": "probe of the level (R²)",
    "active_units_curve": "active units by threshold",
    "split_half_reliability": "split-half",
}

LONG = {
    "sliced_wasserstein": "sliced Wasserstein distance",
    "sliced_wasserstein_increments": "sliced Wasserstein distance of the increments",
    "wasserstein": "Wasserstein distance",
    "mmd2": "squared MMD",
    "mmd2_increments": "squared MMD of the increments",
    "c2st_accuracy": "C2ST accuracy",
}

TRAINED = (
    "calibration_distance",
    "residual_ratio",
    "copies",
    "copies_z",
    "authenticity",
    "authenticity_held_out",
)
"""Is the model trained? None of them is ranked: each has a range that is good."""

MOST_DISTANCE = 0.1  # of `calibration_distance`
RATIOS = 0.8, 1.25  # of `residual_ratio`
AS_HELD_OUT = 0.5  # `copies` where samples are as near to the training windows as held-out windows are
COPIES_Z = 3.0  # more of `copies_z` is copying

GOOD = {
    "calibration_distance": f"How far the decoder's probabilities are from right. Good: at most {MOST_DISTANCE:g}.",
    "residual_ratio": f"Residuals in stated deviations. Good: {RATIOS[0]:g} to {RATIOS[1]:g}. Above: too sure.",
    "copies": f"Good: {AS_HELD_OUT:g}, as near as held-out windows. More means copies; less is no merit.",
    "copies_z": f"The same in standard deviations. Good: at most {COPIES_Z:g}.",
    "authenticity": "Good: as high as that of the held-out windows.",
    "authenticity_held_out": "What held-out windows score.",
}
"""The range that is good."""

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
)
"""Does the decoder use z? None of them is ranked."""

BOUNDED = {
    name: "latent_information_bound"
    for name in (
        "latent_information",
        "latent_information_second_half",
        "latent_information_tau_1",
        "latent_information_second_half_tau_1",
    )
} | {"mutual_information": "mutual_information_bound"}
"""Measures that cannot exceed ln M, and the number that has their ln M."""

COSTS = {
    "train_seconds": ("training", "s"),
    "denoiser_seconds": ("denoiser", "s"),
    "sample_seconds": ("sampling", "s"),
    "n_parameters": ("parameters", ""),
    "energy_joules": ("energy", "J"),
}

ENDED = {
    "updates": ("updates", ""),
    "validation_objective": ("validation objective", "nats per value"),
    "validation_denoising": ("validation denoising loss", ""),
}
"""Columns of the runs table that say how training ended."""

ENDED_OF = "How training ended, mean over seeds."

COST_OF = "Cost of one run, mean over seeds."

DERIVED = {
    "nll_gap": "How much less likely a series is under another series' latent than under its own. "
    "Near 0 the latent says nothing about the series.",
    "dependency_end": "The share of the decoder's last state that is attributed to the latent: a signed attribution "
    "that can be above 1 or below 0, and is near 0 where the latent is forgotten.",
}
"""Numbers this report computes from others, per run."""

DERIVED_BLIND = {
    "nll_gap": "how sharp the likelihood is: the gap grows with 1 / sigma^2 at the same information.",
    "dependency_end": "whether what depends on the latent says anything about the series.",
}
"""What these do not see."""

SATURATED = {
    name: 0.98
    for name in (
        "c2st_auc",
        "c2st_auc_entities",
        "c2st_auc_marginals",
        "c2st_auc_dynamics",
        "c2st_auc_cross_channel",
        "c2st_accuracy",
    )
}
"""From where on a measure is so near its worst value that it cannot tell two methods apart: the rule of
results/reference/REPLICATION.md."""

FIRST = (
    "c2st_auc",
    "c2st_auc_marginals",
    "c2st_auc_dynamics",
    "c2st_auc_cross_channel",
    "sliced_wasserstein",
    "sliced_wasserstein_increments",
    "mmd2",
    "mmd2_increments",
    "wasserstein",
)
"""The measures of samples: the primary one, what gave the samples away, the second judges; others follow by name."""

NARROW = {
    "calibration_distance",
    "copies",
    "latent_information",
    "latent_information_second_half",
    "dependency_end",
    "c2st_auc",
    "sliced_wasserstein",
    "sliced_wasserstein_increments",
    "train_seconds",
}
"""Columns that answer the questions; a page shows the others when asked."""


def title_of(metric: str) -> str:
    """A metric's name as a reader sees it."""
    return SHORT.get(metric, metric.replace("_", " "))


class MetricFacts(NamedTuple):
    """What a column needs to know of its metric."""

    unit: str = ""
    direction: Literal["lower", "higher", "none"] = "none"
    needs: str = "samples"
    about: str = ""
    blind: str = ""  # what it does not see
    own: bool = False  # whether a user's plug-in defines it
    unranked: str = ""  # why there is no best of it, although it has a better side


class Column(NamedTuple):
    """One column of a comparison table."""

    metric: str
    title: str
    unit: str
    direction: Literal["lower", "higher", "none"]  # none: nothing is ranked
    about: str = ""
    blind: str = ""
    question: Question = "samples"
    first: bool = False  # whether a narrow table shows it

    @property
    def saturated(self) -> float:
        """From where on the measure cannot tell two methods apart; infinite where it always can."""
        return SATURATED.get(self.metric, math.inf)

    @property
    def span(self) -> float:
        """The largest difference that two values can have; infinite where there is none."""
        return 1.0 if self.metric.startswith("c2st_") else math.inf

    @property
    def hint(self) -> str:
        """What the column means, which values are better, and what it does not see."""
        better = f"{self.direction.capitalize()} is better." if self.direction != "none" else ""
        return " ".join(filter(None, [self.about, better, f"Blind to: {self.blind}" if self.blind else ""]))


def in_order(columns: Iterable[Column]) -> list[Column]:
    """Measures of samples as their tables have them: those of FIRST, then the others by name."""
    place = {metric: place for place, metric in enumerate(FIRST)}
    return sorted(columns, key=lambda column: (place.get(column.metric, len(FIRST)), column.metric))


def columns_of(present: Set[str], facts: Mapping[str, MetricFacts]) -> list[Column]:
    """The columns for the metrics that are present, in the order of the questions: trained, latent, samples; costs."""
    known = {name: facts[name] for name in present if name in facts}
    own = sorted(name for name, fact in known.items() if fact.own)
    of_samples = {name for name, fact in known.items() if fact.needs == "samples"} - set(TRAINED)
    first = [name for name in FIRST if name in of_samples]
    names: dict[Question, list[str]] = {
        "trained": [name for name in TRAINED if name in present],
        "latent": [*(name for name in LATENT if name in present), *(n for n in own if n not in of_samples)],
        "samples": [*first, *sorted(of_samples - set(first))],
    }
    narrow = NARROW | set(own) | (set() if "latent_information" in present else {"nll_gap"})

    def column(metric: str, question: Question) -> Column:
        fact = facts.get(metric, MetricFacts())
        if metric in DERIVED:
            unit = facts.get("nll_own", MetricFacts()).unit if metric == "nll_gap" else ""
            fact = MetricFacts(unit, about=DERIVED[metric], blind=DERIVED_BLIND[metric])
        ranked = question == "samples" and not fact.unranked
        about = " ".join(filter(None, [fact.about, GOOD.get(metric) or fact.unranked]))
        direction = fact.direction if ranked else "none"
        return Column(metric, title_of(metric), fact.unit, direction, about, fact.blind, question, metric in narrow)

    costs = [
        Column(name, *COSTS[name], "none", COST_OF, question="cost", first=name in narrow)
        for name in COSTS
        if name in present
    ]
    ended = [Column(name, *ENDED[name], "none", ENDED_OF, question="trained") for name in ENDED if name in present]
    return ended + [column(metric, question) for question, metrics in names.items() for metric in metrics] + costs
