"""Tables of sweeps that change options, computed from the published rows as those of `published_tables` are."""

from __future__ import annotations

import itertools

import pandas as pd
from published_rows import (
    CORE,
    FLOOR,
    METHODS,
    additive_f,
    always_alive,
    asked,
    auc_gap,
    counted,
    datasets_of,
    full_grid,
    holm,
    last_values,
    mean_and_half,
    nats,
    objective_per_series,
    of_runs,
    over_datasets,
    paired,
    quoted,
    short,
    trained,
    values_of,
    word_of,
)

from bench.contracts import TrainConfig, later_options


def settings(sweep: str, *options: str) -> list[list[str]]:
    """A row per setting of some options: on each data set what is said of the latent, its nats, AUC minus floor."""
    runs, values = asked(CORE, sweep), values_of(CORE, sweep)
    runs = runs[runs["kind"] == "method"]
    rows = []
    for setting, alike in runs.groupby(["method", "latent_route", *options], sort=False, dropna=False):
        method, route, *chosen = setting
        name = f"`{method}`" + (" + skip" if route == "every_step" else "")
        cells = [name, *("–" if pd.isna(option) else f"{option:g}" for option in chosen)]
        for data in datasets_of(sweep):
            here = alike[alike["dataset"] == data]
            if here.empty:
                cells += ["–"] * 3
                continue
            of, floor = of_runs(CORE, here), values[data, FLOOR, "c2st_auc"]
            lost = counted(here.loc[here["status"] != "ok", "status"])
            said = counted(word_of(of, seed) for seed in sorted(here.loc[here["status"] == "ok", "seed"]))
            cells += [
                ", ".join(filter(None, (said, lost))),
                nats(of["value"], "latent_information"),
                mean_and_half(paired(of["value"]["c2st_auc"], floor), 2),
            ]
        rows.append(cells)
    return rows


def factors(sweep: str, *grids: tuple[str, ...]) -> list[list[str]]:
    """A row per data set and option of full grids: the mean AUC minus floor of its lowest and highest level, and tests.

    The seed is the unit: a level has on each seed the mean over the other option of its grid, since runs with one split
    and seed are not independent. F is of all levels in an additive model of level and seed; Holm's procedure corrects p
    over all rows.
    """
    runs, values = trained(sweep), values_of(CORE, sweep)
    runs = runs[runs["method"] == "proposed"]
    found = []
    for data in datasets_of(sweep):
        floor = values[data, FLOOR, "c2st_auc"]
        here = runs[runs["dataset"] == data]
        auc = last_values(CORE, "c2st_auc").reindex(here.index) - here["seed"].map(floor)
        for grid in grids:
            inside = here[full_grid(here, grid, [option for other in grids if other != grid for option in other])]
            for option in grid:
                by_seed = auc[inside.index].groupby([inside[option], inside["seed"]]).mean()
                test = additive_f(by_seed, by_seed.index.to_frame(), option)
                found.append((data, option, by_seed.groupby(level=option).mean(), test))
    rows = []
    for (data, option, means, test), p in zip(found, holm([test.p for *_, test in found]), strict=True):
        low, high = means.idxmin(), means.idxmax()
        least, most = f"{means.min():.2f} ({low:g})", f"{means.max():.2f} ({high:g})"
        shown_p = [f"{each:.{digits}f}".replace("0.000", "< 0.001") for each, digits in ((test.p, 3), (p, 3))]
        tests = [f"{test.statistic:.1f} ({test.df}, {test.df_rest})", *shown_p]
        rows.append([short(data), f"`{option}`", least, most, *tests])
    return rows


def budgets() -> list[list[str]]:
    """A row per data set, backbone and method: what becomes of it from the least to the largest `train.steps`.

    Means over seeds of the objective in nats per series, of the nats in z, and of the AUC minus the floor.
    """
    values, rows = values_of(CORE, "budget"), []
    by = ["dataset", "backbone", "label"]
    for (data, backbone, label), alike in trained("budget").groupby(by, sort=False, observed=True):
        steps = sorted(alike["train.steps"].unique())
        if len(steps) == 1:
            continue
        cells: list[list[str]] = [[], [], []]
        for updates in steps:
            here = alike[alike["train.steps"] == updates]
            of = of_runs(CORE, here)["value"]
            cells[0].append(f"{objective_per_series(here).mean():,.1f}")
            if not label.startswith("no_latent"):
                cells[1].append(f"{of['latent_information'].mean():.1f}".replace("-0.0", "0.0"))
            gap = paired(of["c2st_auc"], values[data, FLOOR, "c2st_auc"])
            cells[2].append(f"{gap.mean():.2f}".replace("-0.00", "0.00"))
        shown_cells = [" → ".join(cell) or "–" for cell in cells]
        rows.append([short(data), backbone, f"`{label}`", str(alike["seed"].nunique()), *shown_cells])
    return rows


ENDINGS = (("plateau", 0.0), ("best", 0.0), ("plateau", 0.999))
"""What the rate falls from, and the decay of the averages: the first is that of `core`."""


def endings(sweep: str) -> list[list[str]]:
    """Of each data set, a column per way in which training ends: objectives in nats per series, AUCs, differences."""
    values, rows = values_of(CORE, sweep), []
    neutral = {f"train.{name}": value for name, value in later_options(TrainConfig).items()}
    ours = trained(sweep).fillna(neutral)  # rows from before an option
    for data in datasets_of(sweep):
        here = ours[ours["dataset"] == data]
        labels = here["label"].astype(str).unique()
        floor, cells, auc = values[data, FLOOR, "c2st_auc"], dict[str, list[str]](), {}
        for label, (fall, ema) in itertools.product(labels, ENDINGS):
            mine = here[(here["label"] == label) & (here["train.fall_from"] == fall) & (here["train.ema"] == ema)]
            of = of_runs(CORE, mine)["value"]
            cells.setdefault(f"objective, {quoted(label)}", []).append(f"{objective_per_series(mine).mean():,.1f}")
            auc[label, fall, ema] = of["c2st_auc"]
            above = mean_and_half(paired(of["c2st_auc"], floor), 2)
            cells.setdefault(f"AUC − floor, {quoted(label)}", []).append(above)
        for against, ending in itertools.product(labels, ENDINGS):
            if against != "kl_free":
                gap = mean_and_half(paired(auc["kl_free", *ending], auc[against, *ending]), 3)
                cells.setdefault(f"`kl_free` − {quoted(against)}", []).append(gap)
        rows += [[short(data), name, *cells[name]] for name in sorted(cells, key=lambda name: name[0] != "o")]
    return rows


PAIRS = {
    "A": ("kl_free", "no_latent"),
    "B": ("kl_free", "latent_diffusion"),
    "C": ("proposed + skip", "kl_free"),
    "D": ("kl_free", "no_latent, twice as wide"),
    "framework − vanilla": ("proposed + skip", "latent_diffusion"),
}
"""The differences that the findings are about."""


def averaged() -> list[list[str]]:
    """A row per data set of `core_averaged`: in how many runs averages are better than what `core` keeps, and the AUCs.

    The runs of `core` with the same seeds are compared with.
    """
    both, rows = ("core", "core_averaged"), []
    for data in datasets_of("core_averaged"):
        kept, new = (runs[runs["dataset"] == data].set_index(["label", "seed"]) for runs in map(trained, both))
        kept = kept.reindex(new.index)
        auc = [values_of(CORE, sweep)[data].unstack("metric")["c2st_auc"] for sweep in both]
        above = [each.reindex(new.index) - each[FLOOR].reindex(new.index, level="seed") for each in auc]
        better = [objective_per_series(new) < objective_per_series(kept), above[1] < above[0]]
        shown_auc = [each.groupby("label", observed=True).mean() for each in above]
        cells = [f"{shown_auc[0][label]:.2f} → {shown_auc[1][label]:.2f}" for label in METHODS]
        rows.append([short(data), *(f"{each.sum()} of {len(new)}" for each in better), *cells])
    return rows


def averaged_contrasts() -> list[list[str]]:
    """A row per difference and choice of data sets: its mean over them in `core`, and with averages.

    ± is half of a 95 % interval over data sets, before any correction; then the p of equivalence.
    """
    recorded = [data for data in datasets_of("core_averaged") if data != "regimes"]
    alive, rows = [data for data in recorded if data in always_alive()], []
    seeds = sorted(trained("core_averaged")["seed"].unique())
    choices = {"all": recorded, "alive": alive}
    for (name, (of, against)), (which, chosen) in itertools.product(PAIRS.items(), choices.items()):
        means = [
            [auc_gap(sweep, data, against, which_seeds, of).mean() for data in chosen]
            for sweep, which_seeds in (("core", None), ("core", seeds), ("core_averaged", None))
        ]
        found = [over_datasets(each) for each in means]
        change = over_datasets([b - a for a, b in zip(means[1], means[2], strict=True)])
        shown = [f"{each.shown} ({each.p_equivalent:.3f})" for each in found]
        rows.append([name, which, str(len(chosen)), *shown, change.shown])
    return rows
