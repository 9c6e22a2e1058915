"""The published rows, read without the report's code, and what the tables about them are made of."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import f, t

from bench.store import load_results
from bench.verdict import Estimate, Verdict, verdict_by_information

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REFERENCE = ROOT / "results" / "reference"
CORE = ROOT / "results" / "core"
ANEW = ROOT / "results" / "anew"  # runs of `core` that were trained a second time, on another processor
LONGER = ROOT / "results" / "longer"  # runs of `core` with twice the updates
FINDINGS = ROOT / "results" / "FINDINGS.md"
MORE = ROOT / "results" / "findings"  # their further pages

METHODS = ("latent_diffusion", "no_latent", "no_latent, twice as wide", "kl_free", "proposed + skip")
FLOOR = "floor_held_out"
BOUND = 0.05  # of the AUC: what matters, by the plan
loaded = cache(load_results)


@cache
def asked(folder: Path, sweep: str) -> pd.DataFrame:
    """The runs of a sweep in the order of its file."""
    members = json.loads((folder / "sweeps" / f"{sweep}.json").read_text(encoding="utf-8"))["runs"]
    return loaded(folder)[0].set_index("run_id").loc[list(members)]


def trained(sweep: str) -> pd.DataFrame:
    """The runs of methods in a published sweep that ended well."""
    runs = asked(CORE, sweep)
    return runs[(runs["kind"] == "method") & (runs["status"] == "ok")]


@cache
def at_the_end(folder: Path) -> pd.DataFrame:
    """The metrics of finished runs that are one number."""
    metrics = loaded(folder)[1]
    return metrics[(metrics["train_step"] < 0) & (metrics["coordinate"] == "")]


def objective_per_series(runs: Any) -> Any:
    """The validation objective, in nats per series, of a run or of a table of runs."""
    return runs.validation_objective * runs.window * runs.n_channels


def of_runs(folder: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """Metric, seed -> value and error at the end of training, of the runs of one method on one data set."""
    named = at_the_end(folder).merge(runs[["seed"]], left_on="run_id", right_index=True)
    assert not named.duplicated(["metric", "seed"]).any(), "two runs with one seed"
    return named.astype({"metric": str}).set_index(["metric", "seed"])[["value", "error"]].sort_index()


@cache
def ended(folder: Path, sweep: str) -> pd.DataFrame:
    """Data set, label, metric, seed -> value and error at the end of training."""
    runs = asked(folder, sweep)[["dataset", "label", "seed"]]
    named = at_the_end(folder).merge(runs, left_on="run_id", right_index=True)
    by = ["dataset", "label", "metric", "seed"]
    return named.astype(dict.fromkeys(by[:3], str)).set_index(by)[["value", "error"]].sort_index()


def values_of(folder: Path, sweep: str) -> pd.Series:
    """Data set, label, metric, seed -> the value at the end of training."""
    return ended(folder, sweep)["value"]


def mean_and_half(found: np.ndarray, digits: int) -> str:
    """Mean and half of a 95 % t interval; of one seed the value."""
    if len(found) == 1:
        text = f"{found[0]:.{digits}f}"
        return text if float(text) else text.lstrip("-")
    half = t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
    return f"{found.mean():.{digits}f} ± {half:.{digits}f}".replace("-0.0 ", "0.0 ")


def nats(of: pd.Series, metric: str) -> str:
    """A latent information: a bound where every seed is at it; least and largest where seeds have other bounds."""
    bounds = of["latent_information_bound"]
    if bounds.nunique() > 1:  # these are never averaged
        return f"{of[metric].min():.1f} to {of[metric].max():.1f}".replace("-0.0", "0.0")
    near = bounds.min() - 0.5
    return f"≥ {near:.1f}" if of[metric].min() > near else mean_and_half(of[metric].to_numpy(), 1)


def paired(of: pd.Series, against: pd.Series) -> np.ndarray:
    """The differences of two sides, seed by seed of the first."""
    return (of - against.reindex(of.index)).to_numpy()


def above_floor(values: pd.Series, data: str, label: str, metric: str, digits: int) -> str:
    """A measure minus its floor."""
    return mean_and_half(paired(values[data, label, metric], values[data, FLOOR, metric]), digits)


def row_of(values: pd.Series, data: str, label: str) -> list[str]:
    """The cells of a table of methods beside the names."""
    of = values[data, label]
    cells = ["–"] * 3
    if "latent_information" in of.index and of["latent_information"].notna().any():
        information = [nats(of, metric) for metric in ("latent_information", "latent_information_second_half")]
        cells = [f"{of['calibration_distance'].mean():.2f}", *information]
    measures = (("c2st_auc", 2), ("sliced_wasserstein", 3))
    return cells + [above_floor(values, data, label, metric, digits) for metric, digits in measures]


def datasets_of(sweep: str) -> list[str]:
    """The data sets of a published sweep, in the order of its file."""
    return list(asked(CORE, sweep)["dataset"].unique())


def short(data: str) -> str:
    """The name of a data set without its options."""
    return data.split(",")[0]


def quoted(label: str) -> str:
    """A label whose method is set as code."""
    name, *rest = label.split(", ")
    return ", ".join([f"`{name}`", *rest])


def counted(words: Iterable[str]) -> str:
    """How often each word was given, the most frequent first."""
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common())


def words_of(sweep: str, data: str, label: str) -> dict[int, Verdict]:
    """Seed -> what is said of the latent of that run."""
    found = ended(CORE, sweep).loc[(data, label)]
    return {seed: word_of(found, seed) for seed in found.loc["latent_information"].index}


def word_of(found: pd.DataFrame, seed: int) -> Verdict:
    """What is said of the latent of one run, of a table of its metrics by name and seed."""
    whole, later = (found.loc[(f"latent_information{part}", seed)] for part in ("", "_second_half"))
    return verdict_by_information(Estimate(*whole), Estimate(*later))


def last_values(folder: Path, metric: str) -> pd.Series:
    """Run -> the value of one metric at the end of training."""
    last = at_the_end(folder)
    return last[last["metric"] == metric].set_index("run_id")["value"]


def full_grid(runs: pd.DataFrame, options: Sequence[str], held: Sequence[str] = ()) -> pd.Series:
    """Which runs belong to the full grid of two options: the levels that meet every level of the other one.

    held: options of other grids, which have their most frequent value in this one; else a run that differs in two
    things would count as one that differs in one.
    """
    inside = pd.Series(True, index=runs.index)
    for option in held:
        inside &= runs[option] == runs[option].mode()[0]
    for option, other in (options, options[::-1]) if len(options) == 2 else ():
        met = runs[inside].groupby(option)[other].nunique()
        inside &= runs[option].isin(met[met > 1].index)
    return inside


class FTest(NamedTuple):
    """An F test: the statistic, its degrees of freedom, p."""

    statistic: float
    df: int
    df_rest: int
    p: float


def additive_f(values: pd.Series, factors: pd.DataFrame, tested: str) -> FTest:
    """Of one factor in an additive model of several, by least squares with and without it."""

    def fitted(names: Sequence[str]) -> tuple[float, int]:
        columns = [pd.get_dummies(factors[name], drop_first=True).to_numpy(float) for name in names]
        design = np.column_stack([np.ones(len(values)), *columns])
        solved = np.linalg.lstsq(design, values.to_numpy(), rcond=None)
        left = values.to_numpy() - design @ solved[0]
        return float(left @ left), int(solved[2])

    (whole, rank), (without, fewer) = fitted(list(factors)), fitted([name for name in factors if name != tested])
    df, df_rest = rank - fewer, len(values) - rank
    statistic = (without - whole) / df / (whole / df_rest)
    return FTest(statistic, df, df_rest, float(f.sf(statistic, df, df_rest)))


def holm(p: Sequence[float]) -> list[float]:
    """The p of a family of tests, corrected by Holm's procedure."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return [float(one) for one in corrected]


OVERLAP = 2 / 7
"""Test rows per training row, in splits that deal one recording anew (Nadeau and Bengio 2003, eq. 9)."""


class OverDatasets(NamedTuple):
    """A mean over data sets, its error and degrees of freedom."""

    mean: float
    error: float
    df: float

    @property
    def half(self) -> float:
        """Half of its 95 % interval."""
        return float(t.ppf(0.975, self.df) * self.error)

    @property
    def shown(self) -> str:
        """Mean and half of the interval."""
        return f"{self.mean:.3f} ± {self.half:.3f}"

    @property
    def p(self) -> float:
        """Of a two-sided test against 0."""
        return float(2 * t.sf(abs(self.mean) / self.error, self.df))

    @property
    def p_equivalent(self) -> float:
        """Of two one-sided tests against BOUND."""
        return float(t.sf((BOUND - abs(self.mean)) / self.error, self.df))

    @property
    def words(self) -> str:
        """What the second test says, the first that applies (results/reference/REPLICATION.md)."""
        alike = self.p_equivalent < 0.05
        if self.p < 0.05:
            return ("helps" if self.mean < 0 else "harms") + (", by less than what matters" if alike else "")
        return "does not matter" if alike else "undecided"


def mean_of_given(gaps: Sequence[np.ndarray], overlap: float = OVERLAP) -> OverDatasets:
    """The mean over data sets, each a row of paired differences by seed.

    The error is that of their splits and initialisations, and the degrees of freedom are Satterthwaite's.
    """
    k = np.array([len(gap) for gap in gaps])
    v = np.array([gap.var(ddof=1) for gap in gaps]) * (1 / k + overlap)
    mean = float(np.mean([gap.mean() for gap in gaps]))
    return OverDatasets(mean, math.sqrt(v.sum()) / len(gaps), float(v.sum() ** 2 / (v**2 / (k - 1)).sum()))


def over_datasets(means: Sequence[float]) -> OverDatasets:
    """The mean over data sets that are repeats: Student's t."""
    return mean_of_given([np.array(means)], overlap=0)


def auc_gap(sweep: str, data: str, against: str, seeds: Sequence[int] | None = None, of: str = "kl_free") -> np.ndarray:
    """AUC of a method minus that of another one, seed by seed (of all, where none are named)."""
    values = values_of(CORE, sweep)
    ours = values[data, of, "c2st_auc"]
    return paired(ours if seeds is None else ours.loc[list(seeds)], values[data, against, "c2st_auc"])


def always_alive() -> list[str]:
    """The data sets of `core` on which the latent of `kl_free` is alive in every run."""
    return [data for data in datasets_of("core") if set(words_of("core", data, "kl_free").values()) == {"alive"}]
