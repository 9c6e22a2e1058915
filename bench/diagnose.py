"""`python -m bench.diagnose mine.csv`: whether a model collapses on a file, and what helps, on one page.

Trains vanilla latent diffusion, two mitigations and vanilla with a mixture likelihood at a small size on a user's own
file (the shipped sweep "diagnose"), prints what was found, and renders the report with the figures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench import run
from bench.command import parser, run_command, write, write_table
from bench.contracts import InputError
from bench.report.__main__ import render
from bench.report.cautions import signed_name
from bench.report.cells import Cell, verdict_of
from bench.report.formatting import counted, number
from bench.report.ranking import Group
from bench.report.report import Report
from bench.report.statements import answer
from bench.sweeps.options import parse_setting

KINDS = {".csv": "csv", ".gz": "csv", ".parquet": "parquet", ".npz": "npz"}
SWEEP, VANILLA = "diagnose", "latent_diffusion"


def dataset_of(path: Path, window: int | None, options: Sequence[str] = ()) -> str:
    """The value of --dataset for a file, by its ending; options as KEY=VALUE. Raises InputError."""
    if path.suffix not in KINDS:
        raise InputError(f"--data {path}: expected a file that ends with {', '.join(KINDS)}")
    if not path.is_file():
        raise InputError(f"--data {path}: no such file")
    given = {**({"window": window} if window else {}), **dict(parse_setting(text) for text in options)}
    more = "".join(f", {key}: {json.dumps(value)}" for key, value in given.items())
    return f"{{name: {KINDS[path.suffix]}, path: {str(path)!r}{more}}}"


def mean(cell: Cell, metric: str) -> str:
    """A mean over seeds as text."""
    values = cell.values.get(metric)
    return number(cell.interval(metric).mean) if values else "-"


def one_page(group: Group) -> list[str]:
    """Whether the model collapses and what helps, in sentences that the verdicts support."""
    by_label = {cell.label: cell for cell in group.cells}

    def always(label: str, word: str) -> bool:
        cell = by_label.get(label)
        return cell is not None and verdict_of(cell) == word

    if always(VANILLA, "collapsed"):
        lines = ["Vanilla latent diffusion collapses on these data: its decoder ignores the latent or soon forgets it."]
    elif always(VANILLA, "alive"):
        lines = ["Vanilla latent diffusion keeps its latent on these data; no mitigation is needed for that."]
    elif always(VANILLA, "partial"):
        lines = ["Vanilla latent diffusion uses its latent on these data for the first steps only."]
    else:
        seen = ", ".join(f"{word} ({count})" for word, count in by_label[VANILLA].verdicts.items()) or "not measured"
        lines = [f"Vanilla latent diffusion is neither clearly collapsed nor clearly alive here: {seen}."]
        if "undecided" in seen:
            lines.append("Undecided: the interval of the latent information contains a threshold; see the report.")
    helping = [label for label in by_label if label != VANILLA and always(label, "alive")]
    lines.append(f"Alive in every seed: {', '.join(helping)}." if helping else "Nothing else is alive in every seed.")
    return lines


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status of the sweep."""
    arguments = parser("diagnose", "Does latent diffusion collapse on your file, and which mitigation helps?")
    arguments.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a .csv, .parquet or .npz file")
    arguments.add_argument("--data", type=Path, metavar="FILE", help="the same file, as an option")
    arguments.add_argument("--window", type=int, metavar="T", help="time steps per series (default: the data set's)")
    option = "an option of the file, such as id=patient (see: bench.data describe csv)"
    arguments.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help=option)
    arguments.add_argument("--backbone", default="lstm", help="lstm (default) or transformer")
    arguments.add_argument("--seeds", default="0:2", help="0:2 (default), or 1,2,7")
    arguments.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in bench.run")
    arguments.add_argument("--jobs", default="auto", help="number of worker processes (default: auto)")
    arguments.add_argument("--results", default="results/diagnose", metavar="DIR", help="(default: results/diagnose)")
    plugin = "a Python file of your own, as in bench.run (repeatable)"
    arguments.add_argument("--plugin", action="append", default=[], metavar="FILE", help=plugin)
    given = arguments.parse_args(words)
    path = given.file or given.data
    if path is None or (given.file and given.data):
        said = "both are given" if path else "none is given"
        raise InputError(f"expected one file, as FILE or as --data FILE: {said} (see --help)")
    sweep = ["--grid", SWEEP, "--dataset", dataset_of(path, given.window, given.option), "--backbone", given.backbone]
    sweep += ["--seeds", given.seeds, "--jobs", given.jobs, "--results", given.results]
    for flag, values in (("--set", given.set), ("--plugin", given.plugin)):
        sweep += [word for value in values for word in (flag, value)]
    status = run.main(sweep, summary=False)
    if status in (0, 1):
        report, page = render(Path(given.results), Path(given.results) / "report", SWEEP)
        chosen = [group for group in report.groups if str(path) in group.dataset and group.backbone == given.backbone]
        say(str(path), chosen, report)
        write(f"report: {page}")
    return status


def say(path: str, groups: Sequence[Group], report: Report) -> None:
    """The answer: the numbers, what they say about the latent and the samples, and how certain that is."""
    for group in groups:
        rows = [
            [signed_name(cell), counted(cell.verdicts), cell.text("latent_information")]
            + [mean(cell, metric) for metric in ("nll_own", "nll_permuted", "c2st_auc", "sliced_wasserstein")]
            for cell in [*group.cells, *group.references]
        ]
        write()
        heads = ["verdict", "latent information", "reconstruction NLL", "NLL permuted", "C2ST AUC", "sliced W."]
        write_table(rows, [path, *heads])
        write()
        for line in one_page(group):
            write(line)
    trained, certain = report.headline[:1], report.headline[-1:]
    for about in [*trained, *answer(groups), *certain]:
        write(f"{about.about}: {' '.join(about.sentences)}")
    for group in groups:
        if group.dataset in report.few_test_windows:
            write(f"warning: {report.few_test_windows[group.dataset]}")


if __name__ == "__main__":
    run_command(main)
