"""The tables of the pages about results, computed from the published rows without the report's code.

Only the contrasts on single data sets are taken from the table of claims, which `test_claims.py` computes again.

`python tests/published_tables.py` writes the tables and the numbers of marked claims anew, after `bench.publish` has
written the rows. The words around them stay the author's. `test_reference.py` and `test_claims.py` compare all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from published_rows import (
    ANEW,
    CORE,
    FINDINGS,
    FLOOR,
    LONGER,
    METHODS,
    MORE,
    README,
    above_floor,
    always_alive,
    asked,
    auc_gap,
    counted,
    datasets_of,
    loaded,
    mean_and_half,
    mean_of_given,
    nats,
    objective_per_series,
    over_datasets,
    paired,
    quoted,
    row_of,
    short,
    trained,
    values_of,
    words_of,
)
from scipy.stats import kendalltau
from tables_of_options import averaged, averaged_contrasts, budgets, endings, factors, settings

from bench.parts.diffusion import linear_schedule
from bench.report.claims import Claim, read_claims
from datasets.dialled_latent import DialledLatent
from datasets.linear_gaussian import LinearGaussian

CONTRASTS = (
    "a live latent against none",
    "a live latent against a collapsed one",
    "the framework against the same without its penalty",
    "a live latent against a wider decoder",
)


def every_method(sweep: str = "core") -> list[list[str]]:
    """Every method on every data set of a sweep, in the order of its file."""
    values, rows = values_of(CORE, sweep), []
    for data, label in trained(sweep)[["dataset", "label"]].astype(str).drop_duplicates().itertuples(index=False):
        seeds = len(values[data, label, "c2st_auc"])
        rows.append([data, quoted(label), str(seeds), *row_of(values, data, label)])
    return rows


def main_comparison() -> list[list[str]]:
    """A row per data set: what its windows tell of themselves, and how far every method is above the floor."""
    values, rows = values_of(CORE, "core"), []
    for data in datasets_of("core"):
        gain = f"{values[data, FLOOR, 'long_range_gain'].mean():.2f}"
        rows.append([short(data), gain, *(above_floor(values, data, label, "c2st_auc", 2) for label in METHODS)])
    return rows


def verdicts(sweep: str, *labels: str) -> list[list[str]]:
    """A row per data set: in how many seeds the latent of each method is alive, partial, collapsed, undecided."""
    rows = []
    for data in datasets_of(sweep):
        rows.append([short(data), *(counted(words_of(sweep, data, label).values()) for label in labels)])
    return rows


def foreign_latents() -> list[list[str]]:
    """A row per data set of `core`, and `ar1`: what latents tell, what exchanged ones, noise and 0 cost, and m_{t,0}.

    The costs are nats per value above the likelihood given a series' own latent; m_{t,0} is the mean over t.
    """
    metrics = loaded(CORE)[1]
    shares = metrics[(metrics["metric"] == "dependency_global") & (metrics["train_step"] < 0)]
    of_run, rows = shares.groupby("run_id", observed=True)["value"].mean(), []
    for sweep, data in [*(("core", data) for data in datasets_of("core")), ("domains", "ar1")]:
        values, runs, cells = values_of(CORE, sweep), asked(CORE, sweep), [short(data)]
        for label in ("kl_free", "proposed + skip"):
            own = values[data, label, "nll_own"]
            cells.append(f"{values[data, label, 'latent_information'].mean():.1f}".replace("-0.0", "0.0"))
            for other in ("nll_permuted", "nll_noise", "nll_zero"):
                cells.append(f"{paired(values[data, label, other], own).mean():.2f}")
            mine = runs[(runs["dataset"] == data) & (runs["label"] == label)].index
            cells.append(f"{of_run.reindex(mine).mean():.2f}")
        rows.append(cells)
    return rows


def differences() -> list[list[str]]:
    """A row per data set: the three stated contrasts as the table of claims has them."""
    table = pd.read_parquet(CORE / "report" / "core" / "claims.parquet").set_index(["contrast", "scope", "measure"])
    claims = read_claims(CORE)
    rows = []
    for data in datasets_of("core"):
        names = [table["claim"].get((contrast, data, "c2st_auc")) for contrast in CONTRASTS]
        if None not in names:  # a simulated data set is in no contrast
            rows.append([short(data), *(f"{claims[name].effect} ({claims[name].verdict})" for name in names)])
    return rows


def subsets() -> list[list[str]]:
    """A row per choice of data sets: the mean of three differences over them, before any correction."""
    recorded, alive = [data for data in datasets_of("core") if data != "regimes"], always_alive()
    chosen = {
        "all recorded": recorded,
        "`kl_free` alive in every run": [data for data in alive if data in recorded],
        "the same and `regimes`": alive,
        "without `energy` and `retail`": [data for data in recorded if short(data) not in ("energy", "retail")],
    }
    rows = []
    for name, names in chosen.items():
        cells = []
        for against in ("no_latent", "latent_diffusion", "no_latent, twice as wide"):
            found = over_datasets([auc_gap("core", data, against).mean() for data in names])
            cells.append(f"{found.shown}; {found.p:.3f}; {found.p_equivalent:.3f}")
        rows.append([name, str(len(names)), *cells])
    return rows


def both_tests() -> list[tuple[str, str]]:
    """The data sets of `core` and of the second test, each with its sweep."""
    return [(sweep, data) for sweep in ("core", "replication") for data in datasets_of(sweep)]


def correlation_with_the_gain() -> str:
    """Kendall's tau of A with the gain of the training windows, over `core` and the second test."""
    gaps, gains = [], []
    for sweep, data in both_tests():
        gaps.append(auc_gap(sweep, data, "no_latent").mean())
        gains.append(values_of(CORE, sweep)[data, FLOOR, "long_range_gain"].mean())
    tau, p = kendalltau(gains, gaps)
    return f"tau is {tau:.2f} (p {p:.2f}, n = {len(gaps)})"


def explanations() -> list[list[str]]:
    """A row per data set: how much of the long range samples have, and what the diffusion adds to the distance."""
    rows = []
    for sweep, data in both_tests():
        values = values_of(CORE, sweep)
        share = [
            f"{values[data, label, f'long_range_{measure}'].mean():.2f}"
            for measure in ("r2", "gain")
            for label in (FLOOR, "no_latent", "kl_free")
        ]
        live = values[data, "kl_free"]
        gap = paired(live["sliced_from_diffusion"], live["sliced_from_posteriors"])
        rows.append([short(data), *share, mean_and_half(gap, 3)])
    return rows


def trained_anew() -> list[list[str]]:
    """A row per data set and contrast: as published, of the same runs trained again, and with entities kept whole."""
    first, again, rows = values_of(CORE, "core"), values_of(ANEW, "core"), []
    for data in asked(ANEW, "core")["dataset"].unique():
        for against in ("no_latent", "no_latent, twice as wide", "latent_diffusion"):
            cells = []
            for values, measure in ((first, "c2st_auc"), (again, "c2st_auc"), (again, "c2st_auc_entities")):
                seeds = again[data, "kl_free", "c2st_auc"].index
                gap = paired(values[data, "kl_free", measure].loc[seeds], values[data, against, measure])
                cells.append(mean_of_given([gap]).shown)
            rows.append([short(data), f"`kl_free` − {quoted(against)}", str(len(seeds)), *cells])
    return rows


BOTH = (CORE, "core"), (LONGER, "twice_as_long")
"""The runs of `core`, and those of twice the updates."""


def twice_as_long() -> list[list[str]]:
    """A row per run of `core` that was drawn: updates, objective in nats per series, AUC and nats, then and now."""
    before = asked(CORE, "core")
    rows = []
    for again in asked(LONGER, "twice_as_long").itertuples():
        same = (before["dataset"] == again.dataset) & (before["label"] == again.label) & (before["seed"] == again.seed)
        (then,) = before[same].itertuples()
        objectives = [objective_per_series(of) for of in (then, again)]
        ends = []
        for metric, digits in (("c2st_auc", 3), ("latent_information", 1)):
            both = [values_of(*of).get((again.dataset, again.label, metric, again.seed), math.nan) for of in BOTH]
            shown_both = [f"{each:.{digits}f}".replace("-0.0", "0.0") for each in both]
            known = all(map(math.isfinite, both)) and not (digits == 1 and again.label.startswith("no_latent"))
            ends.append(" → ".join(shown_both) if known else "–")
        rows.append(
            [
                f"`{again.label}`".replace(", twice as wide`", "`, twice as wide"),
                short(again.dataset),
                f"{then.updates:,.0f} → {again.updates:,.0f}" + (f" ({again.status})" if again.status != "ok" else ""),
                " → ".join(f"{each:,.1f}" for each in objectives),
                f"{100 * (objectives[0] - objectives[1]) / abs(objectives[0]):.2f} %".replace("-0.00", "0.00"),
                *ends,
            ]
        )
    return rows


def learning_curve() -> list[list[str]]:
    """A row per data set and number of training windows: methods above the floor, and a live latent minus none."""
    runs, values, rows = asked(CORE, "learning_curve"), values_of(CORE, "learning_curve"), []
    for data in datasets_of("learning_curve"):
        (windows,) = runs[(runs["dataset"] == data) & (runs["kind"] == "method")]["n_train"].unique()
        shown_methods = ("latent_diffusion", "no_latent", "kl_free")
        above = [above_floor(values, data, label, "c2st_auc", 2) for label in shown_methods]
        gap = mean_and_half(auc_gap("learning_curve", data, "no_latent"), 3)
        rows.append(
            [short(data), f"{int(windows):,}", *above, gap, nats(values[data, "kl_free"], "latent_information")]
        )
    return rows


def changed_parts(sweep: str, base: str) -> list[list[str]]:
    """A row per method: on each data set the word for its latent, nats, AUC minus floor, and minus that of `base`."""
    runs, values = asked(CORE, sweep), values_of(CORE, sweep)
    rows = []
    for label in runs[runs["kind"] == "method"]["label"].astype(str).unique():
        cells = []
        for data in datasets_of(sweep):
            status = runs[(runs["dataset"] == data) & (runs["label"] == label)]["status"]
            lost = counted(status[status != "ok"])
            if (status != "ok").all():
                cells += [lost, "–", "–", "–"]
                continue
            of = values[data, label]
            latent = "latent_information" in of.index and of["latent_information"].notna().any()
            latent = latent and not label.startswith("no_latent")
            said = counted(words_of(sweep, data, label).values()) if latent else ""
            gap = paired(of["c2st_auc"], values[data, base, "c2st_auc"])
            cells += [
                ", ".join(filter(None, (said, lost))) or "–",
                nats(of, "latent_information") if latent else "–",
                above_floor(values, data, label, "c2st_auc", 2),
                mean_and_half(gap, 2) if label != base else "–",
            ]
        rows.append([label, *cells])
    return rows


STEPS = (0, 50, 200)  # of the diffusion, where the nats in a latent are shown
ALPHA_BAR = linear_schedule(1000).double().numpy()  # of i = 0 to L


def _told(flat: np.ndarray, noise: np.ndarray, kept: float = 1.0) -> float:
    """I(x; sqrt(kept) z + sqrt(1 - kept) e) of x = flat z + u, z, e ~ N(0, I), u ~ N(0, noise).

    -ln det(kept P + (1 - kept) I) / 2, P = Cov(z | x).
    """
    unit = np.eye(flat.shape[1])
    precision = unit + flat.T @ np.linalg.solve(noise, flat)
    return float(-np.linalg.slogdet(kept * np.linalg.inv(precision) + (1 - kept) * unit)[1] / 2)


def _autoregressive(T: int, C: int, coefficient: float, variance: float) -> np.ndarray:
    """The covariance of C independent autoregressive channels over T steps, step after step."""
    steps = np.arange(T)
    return np.kron(variance * coefficient ** np.abs(steps[:, None] - steps), np.eye(C))


def nats_of_true_latent(data: LinearGaussian, i: int) -> float:
    """I(x; z^i) of the latent of `linear_gaussian` at diffusion step i."""
    noise = _autoregressive(data.window, data.channels, 0.5, data.noise**2 / (1 - 0.5**2))
    return _told(data.loadings()[0].reshape(-1, data.latent), noise, ALPHA_BAR[i])


def nats_of_dialled_latent(data: DialledLatent) -> float:
    """I(x; z) of the latent of `dialled_latent`."""
    noise = _autoregressive(data.window, data.channels, 0.8, 1 - data.information)
    return _told(math.sqrt(data.information) * data.directions().reshape(-1, data.latent), noise)


LOOSE = 0.1  # nats: a bound that 500 more latents move by more is compared with none (bench/metrics/prior_bound.py)


def _given(found: np.ndarray) -> str:
    """Mean and half an interval, where there are numbers."""
    return mean_and_half(found, 1) if len(found) and np.isfinite(found).all() else "–"


def early_steps() -> list[list[str]]:
    """A row per data set and method: nats that the decoder takes from z^i, the price of z, the bound, and the samples.

    Above them what no latent of this size exceeds, and on `linear_gaussian` what the simulator's own latent holds. The
    bound on the likelihood is beside that of the full KL with the same decoder.
    """
    runs, values, rows = asked(CORE, "early_steps"), values_of(CORE, "early_steps"), []
    full_kl = "latent_diffusion + skip"
    metrics = loaded(CORE)[1]
    along = metrics[(metrics["metric"] == "noised_information") & (metrics["train_step"] < 0)]
    along = along.merge(runs[["dataset", "label", "seed"]], left_on="run_id", right_index=True)
    for data in datasets_of("early_steps"):
        most = ["∞", *(f"{-2 * math.log(1 - ALPHA_BAR[i]):.1f}" for i in STEPS[1:])]
        rows.append([short(data), "4 numbers with this noise, at most", *most, *["–"] * 3])
        if short(data) == "linear_gaussian":
            true = [nats_of_true_latent(LinearGaussian(window=12, channels=2, latent=4), i) for i in STEPS]
            rows.append([short(data), "the simulator's own latent", *(f"{nats:.1f}" for nats in true), *["–"] * 3])
        here = runs[(runs["dataset"] == data) & (runs["kind"] == "method")]
        for label in here["label"].astype(str).unique():
            of = along[(along["dataset"] == data) & (along["label"] == label)]
            told = [of.loc[of["index"] == i, "value"].to_numpy() for i in STEPS]
            measured = values[data, label]
            rate = measured.get("rate", default=pd.Series(dtype=float))
            cells = [_given(found) for found in (*told, rate.to_numpy())]
            if "prior_bound" not in measured.index or label == full_kl:
                cells.append("–")
            elif (measured["prior_bound"] - measured["prior_bound_500"]).max() > LOOSE:
                cells.append("loose")
            else:
                cells.append(_given(paired(measured["prior_bound"], values[data, full_kl, "prior_bound"])))
            rows.append([short(data), label, *cells, above_floor(values, data, label, "c2st_auc", 2)])
    return rows


def dialled() -> list[list[str]]:
    """A row per share of the variance of a latent: its nats, those told of all steps and of the second half, words."""
    runs, values, rows = asked(CORE, "synthetic"), values_of(CORE, "synthetic"), []
    labels = runs[runs["kind"] == "method"]["label"].astype(str).unique()
    for data in datasets_of("synthetic"):
        cells = []
        for label in labels:
            told = [values[data, label, f"latent_information{part}"].mean() for part in ("", "_second_half")]
            words = counted(words_of("synthetic", data, label).values())
            cells.append(f"{told[0]:.1f}, {told[1]:.1f}: {words}".replace("-0.0", "0.0"))
        share = data.partition("=")[2] or str(DialledLatent.information)  # the default is not in the name
        held = abs(nats_of_dialled_latent(DialledLatent(information=float(share))))
        rows.append([share, f"{held:.1f}", *cells])
    return rows


def second_test() -> list[list[str]]:
    """The test of results/reference/REPLICATION.md: a row per contrast, and the first over fewer data sets.

    A seed of which a run did not end well is left out for all methods of its data set, and a data set with fewer than
    three seeds.
    """
    values, runs = values_of(CORE, "replication"), asked(CORE, "replication")
    runs = runs[runs["kind"] == "method"]
    complete = {}
    for data in datasets_of("replication"):
        here = runs[runs["dataset"] == data]
        seeds = sorted(set(here["seed"]) - set(here[here["status"] != "ok"]["seed"]))
        if len(seeds) >= 3:
            complete[data] = seeds

    def gap(data: str, against: str) -> np.ndarray:
        return auc_gap("replication", data, against, complete[data])

    def alive(data: str) -> bool:
        words = words_of("replication", data, "kl_free")
        return sum(words[seed] == "alive" for seed in complete[data]) >= 0.8 * len(complete[data])

    def sound(data: str) -> bool:
        sides = [values[data, label] for label in ("kl_free", "no_latent")]
        return all(
            side["c2st_auc"].mean() <= 0.98 and (side["calibration_distance"] > 0.1).sum() <= 1 for side in sides
        )

    rows, without_etth = [], [data for data in complete if short(data) != "etth"]
    for name, against, chosen in (
        ("`kl_free` − `no_latent`", "no_latent", complete),
        ("`kl_free` − `no_latent`, twice as wide", "no_latent, twice as wide", complete),
        ("`kl_free` − `latent_diffusion`", "latent_diffusion", complete),
        ("the first, where `kl_free` is alive", "no_latent", [data for data in complete if alive(data)]),
        ("the first, by the plan's rule for saturation", "no_latent", [data for data in complete if sound(data)]),
        ("the first, without `etth` (post hoc)", "no_latent", without_etth),
        ("the third, without `etth` (post hoc)", "latent_diffusion", without_etth),
    ):
        gaps = {data: gap(data, against) for data in chosen}
        each = [mean_of_given([gaps[data]]).shown if data in gaps else "–" for data in datasets_of("replication")]
        answer = ["–"] * 4
        if len(gaps) >= 2:
            pooled = mean_of_given(list(gaps.values()))
            answer = [pooled.shown, f"{pooled.p:.3f}", f"{pooled.p_equivalent:.3f}", pooled.words]
        rows.append([name, *each, *answer])
    here = [gap(data, "no_latent").mean() for data in complete]
    there = [auc_gap("core", data, "no_latent").mean() for data in always_alive() if data != "regimes"]
    for name, means in (
        ("the first, data sets as repeats", here),
        (f"the same with the {len(there)} of `core` where it is alive", [*here, *there]),
    ):
        found = over_datasets(means)
        numbers = [found.shown, f"{found.p:.3f}", f"{found.p_equivalent:.3f}"]
        rows.append([name, *["–"] * len(complete), *numbers, f"exploratory, n = {len(means)}"])
    return rows


TRAINING = MORE / "training.md"
ELSEWHERE = MORE / "data_and_decoders.md"
SETTINGS = MORE / "methods_and_settings.md"

TABLES: dict[tuple[Path, str], Callable[[], Sequence[Sequence[str]]]] = {
    (CORE / "README.md", "Each method on each data set"): every_method,
    (README, "What was found"): main_comparison,
    (FINDINGS, "Is the latent used?"): partial(verdicts, "core", "latent_diffusion", "kl_free", "proposed + skip"),
    (FINDINGS, "Can the paper's measure be high without information?"): foreign_latents,
    (FINDINGS, "Does it make better samples?"): differences,
    (FINDINGS, "Does it depend on where the latent lives?"): subsets,
    (ELSEWHERE, "The second test: three other data sets"): second_test,
    (CORE / "README.md", "The second test"): partial(every_method, "replication"),
    (ELSEWHERE, "Few training windows, or many?"): learning_curve,
    (ELSEWHERE, "Does the measure of use follow what the data hold?"): dialled,
    (TRAINING, "Trained again, and with people and weeks kept whole"): trained_anew,
    (TRAINING, "Would more updates have changed it?"): twice_as_long,
    (TRAINING, "Does it matter how training ends?"): partial(endings, "endings"),
    (TRAINING, "The main comparison once more"): averaged_contrasts,
    (TRAINING, "Data set by data set"): averaged,
    (TRAINING, "And in small networks?"): partial(endings, "endings_small"),
    (TRAINING, "With one to eight times the updates"): budgets,
    (SETTINGS, "The parts of the framework"): partial(changed_parts, "ablation", "proposed + skip"),
    (SETTINGS, "Do the other methods keep the latent alive?"): partial(changed_parts, "registry", "latent_diffusion"),
    (SETTINGS, "Do N, M, gamma and eta matter?"): partial(factors, "sensitivity", ("N", "M"), ("gamma", "eta")),
    (SETTINGS, "Every setting of both grids"): partial(settings, "sensitivity", "N", "M", "gamma", "eta"),
    (SETTINGS, "Does the number of diffusion steps matter?"): partial(settings, "diffusion_steps", "diffusion.L"),
    (SETTINGS, "May early steps stand for variational inference?"): early_steps,
    (ELSEWHERE, "And with the paper's likelihood?"): partial(every_method, "core_gaussian"),
    (ELSEWHERE, "And with a Transformer?"): partial(every_method, "transformer"),
    (ELSEWHERE, "Without a latent, or without an order"): partial(every_method, "domains"),
    (ELSEWHERE, "What else could explain it?"): explanations,
}
"""The first table of a section of a page -> what its rows have to be."""

_TABLE = r"(^\|[^\n]*\n\|[ :|-]+\n)((?:^\|[^\n]*\n)*)"
_MARKED = re.compile(r"(?<![\w.])[+-]\d(?:(?!<!--|\n\n|\n[-|]).)*(?= <!-- claim: (\S+) -->)", flags=re.DOTALL)
"""The numbers of a marked claim, from the effect on."""


def _section(page: Path, section: str) -> re.Match[str]:
    """The first table below a heading: its head, its rows."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^##+ {re.escape(section)}\n.*?{_TABLE}", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"{page}: no table below the heading {section!r}"
    return found


def shown(page: Path, section: str) -> list[list[str]]:
    """The rows of the first table of a section."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in _section(page, section)[2].splitlines()]


def sentence(claim: Claim) -> str:
    """A claim as the pages print it."""
    closing = f" ({claim.equivalence})" if claim.equivalence else ""
    return f"{', '.join(filter(None, (claim.effect, claim.n, claim.p)))}: {claim.verdict}{closing}."


def main() -> None:
    """Write the tables and the numbers of the claims."""
    for (page, section), rows in TABLES.items():
        found = _section(page, section)
        lines = "".join(f"| {' | '.join(row)} |\n" for row in rows())
        page.write_text(found.string[: found.start(2)] + lines + found.string[found.end(2) :], encoding="utf-8")
    claims = read_claims(CORE)
    for page in sorted({page for page, _ in TABLES}):
        text = _MARKED.sub(lambda found: sentence(claims[found[1]]), page.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
