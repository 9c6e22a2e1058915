"""The training curves, and the collapse diagnostics measured during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.report.cells import scalars_by
from bench.report.columns import MetricFacts
from bench.report.figures.captions import series_text, shown
from bench.report.figures.lines import rows_of
from bench.report.figures.panels import legend_names, metric_panel, panel_of, panels_picture
from bench.report.figures.picture import Picture
from bench.report.figures.style import Styles
from bench.report.ranking import Group
from bench.report.selection import Selection

TERMS = {
    "variational": "reconstruction, early steps",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "mmd": "MMD",
    "denoising": "denoising loss",
    "validation_denoising": "validation denoising loss",
    "validation_nll_own": "validation NLL, own latent",
}
"""Terms of objectives in words, where their names are not words already."""


def training(curves: pd.DataFrame, groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """Every training term against the step, one panel per term."""
    pictures = []
    for group in groups:
        names, rows = legend_names(group), dict[tuple[str, str], dict[str, pd.DataFrame]]()
        for cell in shown(group):
            for (stage, term), points in rows_of(curves, cell).groupby(["stage", "term"], observed=True):
                rows.setdefault((str(stage), str(term)), {})[cell.label] = points.rename(columns={"step": "x"})
        panels = [
            panel_of(
                f"{stage}: {TERMS.get(term, term.replace('_', ' '))}",
                "mean squared error" if stage == "denoiser" else "nats per value",
                lines,
                styles,
                names,
            )
            for (stage, term), lines in sorted(rows.items())
        ]
        caption = [
            "The terms that are minimised, each averaged over the training batches since the previous point. "
            "Validation terms are averaged over the validation windows."
        ]
        words = ("training", "training", "Training curves", "update")
        pictures += panels_picture(group, panels, *words, caption)
    return pictures


OVER_TRAINING = ("nll_gap", "dependency_end", "kl", "active_units", "nll_own", "nll_noise", "nll_zero")
"""Diagnostics in the order of their panels; others follow by name."""


def over_training(
    selection: Selection, groups: Sequence[Group], styles: Styles, facts: Mapping[str, MetricFacts]
) -> list[Picture]:
    """The collapse diagnostics against the update at which they were taken."""
    history = selection.history
    if not (history["coordinate"] == "").any():
        return []
    wide = scalars_by(history, ["run_id", "train_step"]).reset_index()
    # the marginal does not change, and what is permuted stands in the gap
    measured = set(wide.columns) - {"run_id", "train_step", "nll_permuted", "nll_marginal"}
    metrics = [name for name in OVER_TRAINING if name in measured] + sorted(measured - set(OVER_TRAINING))
    pictures = []
    for group in groups:
        names = legend_names(group)
        mine = [(cell.label, rows_of(wide, cell)) for cell in shown(group)]
        panels = []
        for metric in metrics:
            lines = {label: rows[["train_step", metric]].set_axis(["x", "value"], axis=1) for label, rows in mine}
            panels.append(metric_panel(metric, facts, lines, styles, names))
        runs = {run for cell in shown(group) for run in cell.seeds}
        n = series_text(history.loc[history["run_id"].isin(runs), "n"].unique())
        caption = [f"Measured during training{f', on {n}' if n else ''}."]
        words = ("over training", "over-training", "Collapse during training", "update")
        pictures += panels_picture(group, panels, *words, caption)
    return pictures
