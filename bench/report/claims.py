"""Claims: the answers to a sweep's stated contrasts as a table, and prose that is compared with it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.contracts import InputError, nearest
from bench.report.columns import Column, title_of
from bench.report.contrasts import Finding, Question, Stated
from bench.report.figures.picture import slug
from bench.report.formatting import number, plural, probability, signed
from bench.report.gains import Gains
from bench.report.selection import Selection
from bench.report.statements import measure_of
from bench.report.statistics import ALPHA, Comparison, Interval, p_difference

FILE = "claims.parquet"
POOLED, FIRST_HALF, WITHOUT = "pooled", "first half of the seeds", "without "
TRAINED = "trained runs only"
CORRELATION = "rank correlation with the gain of the data"
"""Scopes that are no data set."""

_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()
CLAIMS: dict[str, pa.DataType] = {
    **dict.fromkeys(("claim", "statement", "role", "sweep", "contrast", "of", "against", "backbone"), _TEXT),
    **{"measure": _TEXT, "scope": _TEXT, "n": _INT, "seeds": _INT},
    **dict.fromkeys(("effect", "low", "high", "level", "p", "p_adjusted", "detectable"), _FLOAT),
    **{"equivalence_bound": _FLOAT, "equivalence_p": _FLOAT, "verdict": _TEXT},
    **{"not_converged": _INT, "not_calibrated": _INT, "copies": _TEXT, "command": _TEXT, "git_commits": _TEXT},
}
"""The columns of the table of claims."""


# ---------------------------------------------------------------- the table


class _Scope(NamedTuple):
    """What one row is about."""

    role: str
    name: str
    column: Column
    bound: float
    found: Comparison
    datasets: Sequence[str]


def claims_of(stated: Sequence[Stated], selection: Selection, gains: Sequence[Gains] = ()) -> pa.Table:
    """One row per contrast, scope and measure, and one per rank correlation; see bench/docs/results.md."""
    commits = dict(zip(selection.runs["run_id"], selection.runs["git_commit"].astype(str), strict=True))
    rows = [_row(one, scope, selection, commits) for one in stated for scope in _scopes(one, selection)]
    by_question = {one.question: one for one in stated}
    rows += [_correlated(by_question[Question(g.contrast, g.backbone)], g, selection, commits) for g in gains]
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in CLAIMS.items()}
    return pa.table(columns, schema=pa.schema(list(CLAIMS.items())))


def _scopes(one: Stated, selection: Selection) -> Iterator[_Scope]:
    counted = list(one.seeds)
    role = "secondary" if one.question.contrast.secondary else "confirmatory"

    def of_measure(roles: tuple[str, str], column: Column, found: Finding) -> Iterator[_Scope]:
        bound = selection.equivalence.get(column.metric, math.nan)
        yield _Scope(roles[0], POOLED, column, bound, found.pooled, counted)
        for dataset, each in found.datasets.items():
            yield _Scope(roles[1], dataset, column, bound, each, [dataset])

    yield from of_measure((role, "secondary"), one.column, one.finding)
    for dataset, found in one.without.items():
        others = [name for name in counted if name != dataset]
        yield _Scope("sensitivity", f"{WITHOUT}{dataset}", one.column, one.bound, found, others)
    yield _Scope("sensitivity", FIRST_HALF, one.column, one.bound, one.first_half, counted)
    if one.trained is not None:
        kept = [name for name in counted if one.trained_sides[name].seeds]
        yield _Scope("sensitivity", TRAINED, one.column, one.bound, one.trained, kept)
    for column, finding in one.others:
        yield from of_measure(("sensitivity", "sensitivity"), column, finding)


def _row(one: Stated, scope: _Scope, selection: Selection, commits: dict[str, str]) -> dict[str, Any]:
    contrast, backbone = one.question
    gap = scope.found.difference
    place = [one.name, scope.name, scope.column.metric]
    sides = one.trained_sides if scope.name == TRAINED else one.sides
    halved = scope.name == FIRST_HALF
    shared = {d: (both.first_half if halved else both).seeds for d, both in sides.items() if d in scope.datasets}
    runs = [
        run
        for dataset in scope.datasets
        for run, seed in one.runs[dataset].items()
        if dataset not in shared or seed in shared[dataset]  # a correlation has data sets that the contrast leaves out
    ]
    made = f"{selection.command} && " if selection.command else ""
    return {
        "claim": "/".join([selection.name, *map(slug, place)]),
        "statement": _statement(one, scope),
        "role": scope.role,
        "sweep": selection.name,
        "contrast": contrast.name,
        "of": contrast.of,
        "against": contrast.against,
        "backbone": backbone,
        "measure": scope.column.metric,
        "scope": scope.name,
        "n": gap.n,
        "seeds": min(map(len, shared.values()), default=0),
        "effect": gap.mean,
        "low": gap.low,
        "high": gap.high,
        "level": scope.found.level,
        "p": p_difference(gap),
        "p_adjusted": scope.found.p,
        "detectable": scope.found.detectable,
        "equivalence_bound": scope.bound,
        "equivalence_p": scope.found.equivalence_p,
        "verdict": scope.found.verdict,
        "not_converged": len(one.unconverged & set(runs)),
        "not_calibrated": len(one.uncalibrated & set(runs)),
        "copies": ", ".join(label for label, places in one.copying.items() if set(places) & set(scope.datasets)),
        "command": f"{made}python -m bench.report --sweep {selection.name}",
        "git_commits": ", ".join(dict.fromkeys(commits[run] for run in runs)),
    }


def _correlated(one: Stated, gains: Gains, selection: Selection, commits: dict[str, str]) -> dict[str, Any]:
    """The rank correlation of a contrast's differences with the gains of the data, over data sets."""
    tau, p, n = gains.correlation
    nothing = math.nan
    found = Comparison(Interval(tau, nothing, nothing, nothing, n), p, nothing, nothing, "undecided", ALPHA)
    scope = _Scope("exploratory", CORRELATION, one.column, nothing, found, list(gains.points))
    contrast = gains.contrast
    what = f"the difference of {contrast.of} and {contrast.against} in the {measure_of(one.column)}"
    row = {**_row(one, scope, selection, commits), "p": p}
    if not p < ALPHA:
        return {**row, "statement": f"Whether {what} goes with the gain that the data hold is undecided."}
    statement = f"The more gain the data hold, the {'larger' if tau > 0 else 'smaller'} {what}."
    return {**row, "statement": statement, "verdict": "related"}


def _statement(one: Stated, scope: _Scope) -> str:
    """A verdict as a sentence."""
    contrast, backbone = one.question
    measure = f"the {measure_of(scope.column)}"
    over = f"over {plural(scope.found.difference.n, 'data set')}"
    where = {
        POOLED: over,
        FIRST_HALF: f"{over}, from the first half of the seeds",
        TRAINED: f"{over}, without the seeds of runs that have not converged or are not calibrated",
    }.get(scope.name, f"{over}, {scope.name}" if scope.name.startswith(WITHOUT) else f"on {scope.name}")
    where += f" with the backbone {backbone}" if one.name != contrast.name else ""
    if scope.found.verdict == "undecided":
        return f"Whether {contrast.of} differs from {contrast.against} in {measure} {where} is undecided."
    if scope.found.verdict == "equivalent":
        limit = number(scope.bound)
        return f"{contrast.of} and {contrast.against} differ in {measure} by less than {limit} {where}."
    small = f", by less than {number(scope.bound)}" if scope.found.negligible else ""
    return f"{contrast.of} is {scope.found.verdict} than {contrast.against} in {measure} {where}{small}."


def as_parquet(claims: pa.Table) -> bytes:
    """The table as a file."""
    content = io.BytesIO()
    pq.write_table(claims, content, compression="zstd")
    return content.getvalue()


# ---------------------------------------------------------------- reading it


class Claim(NamedTuple):
    """One row as it is printed."""

    id: str
    statement: str
    role: str
    measure: str
    scope: str
    effect: str  # "-0.120 ± 0.040"
    n: str  # "n = 9"
    p: str  # "p = 0.003", adjusted; "" where there is none
    verdict: str  # with "below the bound" where it is
    equivalence: str  # "p of equivalence = 0.012"; "" where it is not the verdict

    @property
    def numbers(self) -> list[str]:
        """What prose about it must contain, one after another: so the numbers of two claims are not mixed."""
        return [word for word in (self.effect, self.n, self.p, self.verdict, self.equivalence) if word]


def read_claims(folder: Path) -> dict[str, Claim]:
    """The claims of the reports in a results folder, by their id. Raises InputError where there is none."""
    files = sorted({*folder.glob(FILE), *folder.glob(f"report/{FILE}"), *folder.glob(f"report/*/{FILE}")})
    if not files:
        raise InputError(
            f"{folder}: no {FILE} there: expected a results folder with the report of a sweep that states contrasts"
        )
    found: dict[str, Claim] = {}
    for file in files:
        try:
            rows = pd.read_parquet(file).to_dict("records")
            claims = [_printed(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: expected a table of claims: {' '.join(str(error).split())}") from error
        for claim in claims:
            if claim.id in found:
                raise InputError(f"{file}: claim {claim.id} stands in two reports of {folder}, expected one")
            found[claim.id] = claim
    return found


def _printed(row: dict[Any, Any]) -> Claim:
    words = {name: str(row[name]) for name in ("claim", "statement", "role", "measure", "scope")}
    gap = Interval(row["effect"], row["low"], row["high"], math.nan, row["n"])
    found = Comparison(gap, *(row[name] for name in ("p_adjusted", "detectable", "equivalence_p", "verdict", "level")))
    return Claim(
        id=words["claim"],
        statement=words["statement"],
        role=words["role"],
        measure=title_of(words["measure"]),
        scope=words["scope"],
        effect=signed(gap),
        n=f"n = {row['n']}",
        p=_said("p", found.p),
        verdict=found.words,
        equivalence=_said("p of equivalence", found.equivalence_p) if found.verdict == "equivalent" else "",
    )


def _said(name: str, p: float) -> str:
    text = probability(p)
    return "" if text == "-" else f"{name} {text}" if text.startswith("<") else f"{name} = {text}"


# ---------------------------------------------------------------- prose

_MARK = re.compile(r"<!--\s*claims?\b\s*:?\s*(.*?)\s*-->", re.DOTALL | re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]*<!--[^`\n]*`", re.MULTILINE | re.DOTALL)
_BEGINS = re.compile(r"\s*([|#]|[-*+] |\d+[.)] |$)")
"""Lines that begin a paragraph of their own: rows of a table, headings, entries of a list, empty ones."""


def marks(file: Path) -> int:
    """How many claims a Markdown file marks."""
    return len(_MARK.findall(_prose(file)))


def _prose(file: Path) -> str:
    """A file's text with its code left out, line by line as it is. Raises InputError for a file that is no text."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: expected a text file in UTF-8: {error}") from error
    return _CODE.sub(lambda code: "\n" * code.group().count("\n"), text)


def mismatches(file: Path, claims: dict[str, Claim]) -> list[str]:
    """A line for every number that a marked paragraph of a Markdown file does not have as its claim is printed."""
    found, text = [], _prose(file)
    for comment in _COMMENT.finditer(text):
        if not _MARK.fullmatch(comment.group()) and any(name in comment.group() for name in claims):
            line = text[: comment.start()].count("\n") + 1
            found.append(f"{file}:{line}: a comment names a claim and is no mark: expected `<!-- claim: ID -->`")
    for line, paragraph in _paragraphs(text):
        prose = " ".join(_MARK.sub(" ", paragraph).replace("*", "").split())  # without emphasis
        for mark in _MARK.finditer(paragraph):
            name = mark.group(1)
            here = f"{file}:{line + paragraph[: mark.start()].count(chr(10))}: claim {name}"
            if name not in claims:
                found.append(f"{here}: there is no such claim: {nearest(name, claims, '`python -m bench.claims`')}")
                continue
            words = claims[name].numbers
            missing = [f"'{word}'" for word in words if not _holds(prose, word)]
            if missing:
                found.append(f"{here}: expected {', '.join(missing)} in this paragraph")
            elif not _holds(prose, *words, end=_END):
                found.append(f"{here}: expected {', '.join(words)} one after another, at the end of a sentence or cell")
    return found


def _paragraphs(text: str) -> Iterable[tuple[int, str]]:
    """Paragraphs with the number of their first line."""
    lines, start = text.split("\n"), 0
    for place in range(1, len(lines) + 1):
        if place == len(lines) or _BEGINS.match(lines[place]):
            yield start + 1, "\n".join(lines[start:place])
            start = place


_END = r"[\s)]*([.;|]|$)"


def _holds(prose: str, *words: str, end: str = "") -> bool:
    """Whether a text has numbers or words one after another, with spaces, punctuation and brackets between them.

    Each as a whole: "n = 1" is not in "n = 12". end: a pattern of what follows the last.
    """
    wanted = r"[\s,;:()]+".join(map(re.escape, words))
    return re.search(rf"(?<![\w.+\-−]){wanted}(?!\w|[.,]\d){end}", prose) is not None
