"""`python -m bench.diagnose mine.csv`: whether a model collapses on a file, and what helps, on one page.

Trains vanilla latent diffusion, two methods with a live latent and a decoder without one at a small size on a file (the
shipped sweep "diagnose"). It answers in the order in which one has to ask: can a latent matter here, are the models
trained, has the latent collapsed, does a live one make better samples, what follows. Below stands what the
phase-transition criterion expects (`bench.loading.phase_transition`), and the report has the figures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import run
from bench.command import add_plugin, data_dir, parser, run_command, write
from bench.contracts import InputError

if TYPE_CHECKING:  # --help does not wait for what these import
    import numpy as np

    from bench.contracts import Splits
    from bench.method import Method
    from bench.models.build import StackedModel
    from bench.report.diagnosis import Expected
    from bench.report.ranking import Group

KINDS = {".csv": "csv", ".gz": "csv", ".parquet": "parquet", ".npz": "npz"}
SWEEP = "diagnose"


def dataset_of(path: Path, window: int | None, options: Sequence[str] = ()) -> str:
    """The value of --dataset for a file, by its ending; options as KEY=VALUE. Raises InputError."""
    from bench.sweeps.file import with_options  # here, as in `main`
    from bench.sweeps.options import parse_setting

    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"--data {path}: expected a file that ends with {', '.join(KINDS)}")
    if not path.is_file():
        raise InputError(f"--data {path}: no such file")
    given = {"name": kind, "path": str(path), **({} if window is None else {"window": window})}
    given = with_options(given, (parse_setting(text) for text in options), "--option")
    return json.dumps(given, ensure_ascii=False)  # JSON is YAML


def decoder_variance(model: StackedModel, method: Method, splits: Splits) -> np.ndarray | None:
    """The variances that a trained decoder (R = 1) states for training windows, (C,); None if it is no Gaussian.

    Where they differ from series to series or from step to step, this is their mean.
    """
    import torch  # here, as in `main`

    from bench.metrics.base import CHUNK, from_everywhere
    from bench.parts.likelihoods import Gaussian

    x = torch.from_numpy(splits.train[from_everywhere(len(splits.train), CHUNK)])[None]
    with torch.no_grad():
        p = model.decoder(method.posterior(model, x).mean, x[:, :, :-1])
    if not isinstance(p, Gaussian):
        return None
    return p.sigma.square().expand_as(p.mean).mean(dim=(0, 1, 2)).double().numpy()


def expected_of(results: Path, group: Group) -> list[Expected]:
    """What the criterion expects of vanilla before training, and of its trained decoder where that is Gaussian.

    They are read from the runs that are kept in the results folder.
    """
    from bench.loading.phase_transition import Criterion, SecondMoments  # here, as in `main`
    from bench.loading.windows import load_splits
    from bench.report.diagnosis import VANILLA, Expected
    from bench.scoring.artifacts import folder, load_model, load_run

    expected = []
    for cell in (cell for cell in group.cells if cell.method == VANILLA):
        before: dict[str, Criterion] = {}  # by the hash of the windows
        after, dimensions = [], 0
        for run_id in cell.seeds:
            if not (folder(results, run_id) / "run.json").is_file():
                continue
            kept = load_run(results, run_id)
            splits, dimensions = load_splits(kept.dataset, kept.data_seed, data_dir(None)), kept.model.latent_dimensions
            moments = SecondMoments.of_windows(splits.train)
            before[splits.sha256] = moments.criterion()
            loaded = load_model(results, kept, splits)
            variance = None if loaded is None else decoder_variance(*loaded, splits)
            if variance is not None:
                after.append(moments.criterion(variance))
        criteria = ((False, list(before.values())), (True, after))
        expected += [Expected(cell, trained, found, dimensions) for trained, found in criteria if found]
    return expected


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status of the sweep."""
    arguments = parser("diagnose", "Does latent diffusion collapse on your file, and does a live latent help?")
    arguments.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a .csv, .parquet or .npz file")
    arguments.add_argument("--data", type=Path, metavar="FILE", help="the same file, as an option")
    arguments.add_argument("--window", type=int, metavar="T", help="time steps per series (default: the data set's)")
    option = "an option of the file, such as id=patient (see: bench.data describe csv)"
    arguments.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help=option)
    arguments.add_argument("--backbone", default="lstm", help="lstm (default) or transformer")
    arguments.add_argument("--seeds", default="0:3", help="0:3 (default), or 1,2,7")
    arguments.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in bench.run")
    arguments.add_argument("--jobs", default="auto", help="number of worker processes (default: auto)")
    arguments.add_argument("--results", default="results/diagnose", metavar="DIR", help="(default: results/diagnose)")
    add_plugin(arguments)
    given = arguments.parse_args(words)

    from bench.report.diagnosis import say  # here, after the parser, so that --help does not wait for what these import
    from bench.report.rendering import render

    path = given.file or given.data
    if path is None or (given.file and given.data):
        said = "both are given" if path else "none is given"
        raise InputError(f"expected one file, as FILE or as --data FILE: {said} (see --help)")
    sweep = ["--grid", SWEEP, "--dataset", dataset_of(path, given.window, given.option), "--backbone", given.backbone]
    sweep += ["--seeds", given.seeds, "--jobs", given.jobs, "--results", given.results]
    for flag, values in (("--set", given.set), ("--plugin", given.plugin)):
        sweep += [word for value in values for word in (flag, value)]
    status = run.main(sweep, answered=True)
    if status in (0, 1):
        report, page = render(Path(given.results), Path(given.results) / "report", SWEEP)
        chosen = [group for group in report.groups if str(path) in group.dataset and group.backbone == given.backbone]
        say(str(path), chosen, report, [expected_of(Path(given.results), group) for group in chosen])
        write(f"report: {page}")
    return status


if __name__ == "__main__":
    run_command(main)
