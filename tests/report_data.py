"""A store made up for the report's tests: the schema of bench.store, numbers by formula, nothing trained."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd

from bench.report import selection as selecting
from bench.report.columns import MetricFacts
from bench.store import CURVES, METRICS, RUNS, Membership

FACTS = {
    "wasserstein": MetricFacts("train-scaled units", "lower", "samples", unranked="Not ranked."),
    "sliced_wasserstein": MetricFacts("train-scaled units", "lower", "samples"),
    "mmd2": MetricFacts("", "lower", "samples"),
    "kl": MetricFacts("nats", "none", "latent"),
    "active_units": MetricFacts("dimensions", "none", "latent"),
    "nll_own": MetricFacts("nats per value", "none", "latent"),
}
REFERENCES = {"floor_noise": 0.10, "floor_shift": 0.13, "constant_mean": 0.6, "gaussian_fit": 0.2, "time_shuffled": 0.3}
LATENT = {"latent_diffusion": 0.0, "kl_annealing": 0.2, "proposed": 0.7, "proposed + skip": 1.0}  # how alive


def run_row(label, dataset="energy", seed=0, shuffle=False, backbone="lstm", kind="method", status="ok", **settings):
    method = label.split(" + ")[0]
    settings = {"train.steps": 500.0, "diffusion.L": 1000.0, "latent_route": "first", **settings}
    if label.startswith("proposed"):
        settings = {"N": 50.0, "M": 900.0, "gamma": 2.0, "eta": 1.0, **settings}
    identity = f"{label}-{dataset}-{int(shuffle)}-{backbone}-{seed}-" + "-".join(f"{k}{v}" for k, v in settings.items())
    return {
        "run_id": f"{abs(hash_of(identity)):016x}",
        "attempt": 1,
        "sweep": "quick",
        "label": label,
        "kind": kind,
        "method": label if kind == "reference" else method,
        "dataset": dataset,
        "shuffle": shuffle,
        "backbone": "" if kind == "reference" else backbone,
        "seed": seed,
        "status": status,
        "reason": "" if status == "ok" else f"{status}: own NLL above the marginal's at 3 checks",
        "traceback": "",
        "device": "cpu",
        "stack_size": 1,
        "train_seconds": 9.5 + seed,
        "denoiser_seconds": 6.0,
        "sample_seconds": 1.5,
        "evaluate_seconds": 2.0,
        "peak_memory_bytes": 300_000_000,
        "n_parameters": 41_000,
        "data_sha256": "ab12" * 16,
        "n_train": 2000,
        "n_test": 500,
        "window": 12,
        "n_channels": 5,
        "git_commit": "587d681",
        "git_dirty": False,
        "version_python": "3.11.2",
        "version_torch": "2.13.0",
        "version_numpy": "2.4.6",
        "version_bench": "0.1.0",
        "training_version": 1,
        "method_version": 1,
        "schema_version": 1,
        "finished_at": "2026-11-23T16:00:00+00:00",
        "config": json.dumps({"method": method, "dataset": {"name": dataset}, "seed": seed, "train": {"steps": 500}}),
        **({} if kind == "reference" else settings),
    }


def hash_of(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def metric_rows(run, window=12):
    """Rows of one finished run: better and more alive by its label, a little noise by its seed."""
    rng = np.random.default_rng(hash_of(run["run_id"]) % 2**32)
    common = np.random.default_rng(run["seed"]).normal(0, 0.02)  # what all methods share on a seed

    def row(metric, value, coordinate="", index=math.nan, sd=math.nan, n=500, step=-1):
        return {
            "run_id": run["run_id"],
            "metric": metric,
            "version": 1,
            "split": "test",
            "train_step": step,
            "coordinate": coordinate,
            "index": index,
            "metric_seed": 0,
            "value": float(value),
            "sd": sd,
            "n": n,
            "status": "ok",
            "reason": "",
            "metric_code": "",
        }

    if run["kind"] == "reference":
        level = REFERENCES[run["label"]]
        return [
            row("sliced_wasserstein", level + common),
            row("wasserstein", 9 * level + common),
            row("mmd2", level / 10),
        ]
    alive = LATENT.get(run["label"], 0.5)
    N = 50.0 if math.isnan(run.get("N", math.nan)) else run["N"]
    quality = 0.3 - 0.12 * alive + abs(math.log(N / 50)) * 0.02 + common + rng.normal(0, 0.004)
    rows = [
        row("sliced_wasserstein", quality),
        row("wasserstein", 9 * quality),
        row("mmd2", quality / 10),
        row("kl", 12 * alive),
        row("active_units", round(16 * alive)),
        row("nll_own", 1.3 - 0.8 * alive),
        row("nll_permuted", 1.31 + 1.2 * alive),
        row("nll_noise", 1.4 + 2 * alive),
        row("nll_zero", 1.35 + alive),
        row("nll_marginal", 1.3),
        row("dependency_completeness_error", 0.004),
    ]
    for t in range(1, window + 1):
        share = 1.0 if t == 1 else alive + (1 - alive) * math.exp(-t / 2) + rng.normal(0, 0.01)
        local = 1.0 if t == 1 else (0.3 if run["shuffle"] else 0.8) * (1 - alive)
        rows.append(row("dependency_global", share, "t", t, 0.2))
        rows.append(row("dependency_local", local, "t", t, 0.15))
        rows.append(row("dependency_unresolved", 100 if t == 9 else 0, "t", t))
    for step in (0, 100, 200, 300, 400):
        rows.append(row("nll_own", 1.5 - 0.8 * alive * step / 400, step=step))
        rows.append(row("nll_permuted", 1.5 + alive * step / 400, step=step))
        rows.append(row("kl", 12 * alive * step / 400, step=step))
    return rows


def curve_rows(run):
    if run["kind"] == "reference":
        return []
    alive = LATENT.get(run["label"], 0.5)
    rows = [
        {
            "run_id": run["run_id"],
            "step": step,
            "stage": stage,
            "term": term,
            "value": level * math.exp(-step / 150) + floor,
        }
        for stage, term, level, floor in [
            ("autoencoder", "reconstruction", 60.0, 20 - 8 * alive),
            ("autoencoder", "kl", 10.0, 12 * alive),
            ("denoiser", "denoising", 1.0, 0.3),
        ]
        for step in range(0, 500, 25)
    ]
    return rows


def coded(table):
    """Words and whole numbers as `bench.store.load_results` has them."""
    words = {name: pd.CategoricalDtype(sorted(table[name].unique())) for name in table if table[name].dtype == "str"}
    return table.astype({**words, **{name: "int32" for name in table if table[name].dtype == "int64"}})


def frames(runs):
    records = pd.DataFrame(runs).to_dict("records")
    done = [row for row in records if row["status"] == "ok"]
    return (
        pd.DataFrame(runs, columns=None if runs else list(RUNS)),
        coded(pd.DataFrame([m for row in done for m in metric_rows(row)], columns=list(METRICS))),
        coded(pd.DataFrame([c for row in records for c in curve_rows(row)], columns=list(CURVES))),
    )


def reader(curves):
    """Training curves as a selection asks for them."""
    return lambda runs: curves[curves["run_id"].isin(list(runs))]


def select(runs, metrics, curves, sweep, folder, split=None):
    """A selection of one table of metrics, as `load_results` gives it."""
    ended = metrics["train_step"] < 0
    return selecting.select(runs, metrics[ended], metrics[~ended], curves, sweep, folder, split)


def quick_runs(datasets=("energy", "regimes"), seeds=3, shuffles=(False, True), labels=tuple(LATENT)):
    runs = []
    for dataset in datasets:
        for shuffle in shuffles:
            for seed in range(seeds):
                runs += [run_row(label, dataset, seed, shuffle) for label in labels]
                runs += [run_row(label, dataset, seed, shuffle, kind="reference") for label in REFERENCES]
    return runs


def grid_runs(seeds=3):
    return [
        run_row("proposed", "energy", seed, N=N, M=M, gamma=gamma, eta=1.0, **{"diffusion.L": L})
        for seed in range(seeds)
        for N in (10.0, 50.0, 100.0)
        for M in (100.0, 900.0)
        for gamma in (1.0, 2.0)
        for L in (250.0, 500.0)
    ]


def membership(runs, name="quick", description="a quick look, not for conclusions"):
    return Membership(
        name=name,
        description=description,
        written="2026-11-23T16:05:00+00:00",
        command="python -m bench.run --grid quick",
        runs={row["run_id"]: row["label"] for row in runs},
    )


def selection(runs, folder=Path("results"), **words):
    frame, metrics, curves = frames(runs)
    return select(frame, metrics, reader(curves), membership(runs, **words), folder)
