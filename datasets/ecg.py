"""`ecg`: ten records of the MIT-BIH Arrhythmia Database, as stretches of rhythm or beat by beat."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution, Unavailable
from bench.loading.archives import members
from bench.loading.days import in_time
from bench.loading.files import Remote, extract, find
from bench.registry import register_dataset

SAMPLES, RATE = 650_000, 360  # of each lead of a record; a second
ZERO, GAIN = 1024, 200  # of the converter: its value at 0 mV, and steps per mV
BLOCKS = 20  # of a record, about 90 s each
ARCHIVE = "ecg/mitdb_10_records.tar.xz"
HASHES = {  # of RECORD.dat and RECORD.atr in the database's SHA256SUMS.txt
    "101": (
        "698d1ea6f472d23ca50317c72c96cda2698badd8578220ed0380cdf241e39006",
        "441cdd6486cfdf4c53e344d1048ab81296773e7058d53069022adc68543a0663",
    ),
    "106": (
        "c017bc18b95b1f970bca143a044ee5d54168648b541e47aa656f2737a59c1202",
        "585347e6d1bd3ad89cdb52cb80945878a5e51026d81f871a376bb6e13936f7fa",
    ),
    "107": (
        "ea2254006bb0503926bfb7f6ca3ccf0b3e1ae6bfa8f5eb702bab5d8e960af728",
        "559453fc0454d2aa2b744224fd301007b8e41585c6b6f239709c8c2cdbe207f4",
    ),
    "109": (
        "267afd6ced7a1fd5a8bcd21fcc2b83287e37e3ef57f32e8a0fe39a6e021951cd",
        "2eef456587bab17263a126063321c040affa29bc4ccfdf2a2bc7fe50709fa1b8",
    ),
    "111": (
        "8372d98ae59fbfd023502a9d0fc03fb5383083da92584b964484e18593e08485",
        "372ed78bb0bbe7d5d9dc7e676c03d72530729775b5cfa94501485329fc47b8cb",
    ),
    "113": (
        "f5509b71dabaaa11c53f687ee17aab0071bce3d471e2ab77c71a6434f5b7aacf",
        "39527d597a246410d2c16f062600c73271a73a7503d49cafd1d17508af4cd432",
    ),
    "118": (
        "66ea4b70b7d64abd0f49089ae1b8f0f577664c46e5b29ac23b291934e063df15",
        "77afd5400648d128223d5029a49c442f5abd65ba997f732489cb8eed39d71551",
    ),
    "119": (
        "02a286a28e69b441568add915f16a2856b22bab893bf8729ee9654411ed3a5aa",
        "fd919c8ea20eed4a22fb37984977f30ce48d382eefd2d90934bf947a88e0fd7b",
    ),
    "213": (
        "0cb13cd9299b0ab68f8f3064b2ab72f853d155abb277b68daef0a26cbc173b0d",
        "44349e22176aad3f688ca9a62f283a993927a0b9ef6d97f473cde3b16cfabc9a",
    ),
    "222": (
        "0510bf39ed2925a83debd249492bdfe77c575148376aaabeba4c7b7a2451ac5d",
        "a0206b778a9f073d451023e802e52059754648e83fe1dc669395b4884ccad356",
    ),
}
BEATS = {1: "N", 2: "L", 3: "R", 4: "a", 5: "V", 6: "F", 7: "J", 8: "A", 11: "j", 12: "/", 13: "Q"}


@dataclass(frozen=True)
class View:
    """How a record becomes windows."""

    per_step: int  # samples whose mean is a step
    window: int  # T
    before: int  # steps before the mark of a beat; 0: windows have nothing to do with beats


VIEWS = {"rhythm": View(6, 128, 0), "beats": View(3, 96, 36)}


@register_dataset("ecg")
@dataclass(frozen=True)
class ECG(Dataset):
    """Two leads of the heart of ten persons with different rhythms, half an hour each.

    The ten records of the MIT-BIH Arrhythmia Database that have the leads MLII and V1 and are named in this file: 360
    values a second, 22,479 marked beats. Channels: the two leads in mV.
    `view: rhythm` has 2.1 s of signal in a window, about two beats, at 60 steps a second. `view: beats` has one beat in
    a window at 120 steps a second, from 0.3 s before its mark to 0.5 s after it. A step is the mean of 6 or 3 samples.

    Quirks: records differ in their offset and wander slowly, so the running median of one second is subtracted, the
    same for all. The mark of a beat lies near the R peak, not exactly on it. Neighbouring beats of a fast rhythm share
    some steps. Kinds of beats are tied to records: left bundle branch block occurs in 109 and 111 only, paced beats in
    107 only.

    Windows: T = 128, one after another without overlap (rhythm), or T = 96 around each beat (beats).
    Split within the recordings: `blocks` cuts each record into 20 blocks of 90 s and divides them anew for every seed;
    `time` takes the first 70 % of each record for training and the last 20 % for testing. T steps are left out
    between two blocks. Neither is a test on new patients. Split by recording: `record` divides the ten records. Ten
    persons are too few for a model to learn what a new person looks like.
    The record and the kind of beat are known (the truth `record`, and `beat` of a beat); no model sees them.
    """

    source = "https://physionet.org/content/mitdb/1.0.0/"
    licence = (
        "Open Data Commons Attribution License 1.0 (G. Moody, R. Mark, 2005, doi:10.13026/C2F305; cite Moody and Mark "
        "2001, IEEE Eng. Med. Biol. 20(3), 45, and Goldberger et al. 2000, Circulation 101(23), e215)"
    )
    remote = tuple(
        Remote(
            f"https://physionet.org/files/mitdb/1.0.0/{record}.{ending}",
            f"ecg/mitdb/{record}.{ending}",
            sha256=content,
            instead=(ARCHIVE,),
            copies=("d715ee14ddd81e381ccc14fe3756d341dcd8394219092051d9d798d0e25bf94d",),
            known_from="the database's own SHA256SUMS.txt; the numbers of this project come from a mirrored archive of "
            "these ten records, whose files have these hashes",
        )
        for record, hashes in HASHES.items()
        for ending, content in zip(("dat", "atr"), hashes, strict=True)
    )

    view: Literal["rhythm", "beats"] = "rhythm"
    split: Literal["blocks", "time", "record"] = "blocks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """Every window is a series of its own."""
        view = VIEWS[self.view]
        sources = self._sources(data_dir)
        label = f"ecg version {self.version} {view.per_step}"
        steps = extract(label, sources, lambda: _steps(_files(sources), view.per_step))
        signal = steps.to_numpy().reshape(len(HASHES), -1, 2) / (view.per_step * GAIN)
        beats = None
        if view.before:
            beats = extract(f"ecg version {self.version} beats", sources, lambda: _beats(_files(sources)))
        windows, record, block, kind = _windows(signal, beats, view)
        names, kinds = list(HASHES), list(BEATS.values())
        truth = {"record": np.eye(len(names))[record]}
        if beats is not None:
            truth["beat"] = np.eye(len(kinds))[kind]
        parts = in_time(BLOCKS)[block].tolist() if self.split == "time" else ()
        owner = [names[r] if self.split == "record" else f"{names[r]}, {b}" for r, b in zip(record, block, strict=True)]
        return Recordings(
            series=list(windows),
            channels=("MLII", "V1"),
            units=("mV", "mV"),
            window=view.window,
            train_stride=view.window,
            test_stride=view.window,
            split="given" if self.split == "time" else "entity",
            entities=owner,
            parts=parts,
            truth=truth,
            resolutions=(Resolution(1 / (view.per_step * GAIN)),) * 2,
        )

    def _sources(self, data_dir: Path | None) -> list[Path]:
        """The archive, or the files of the ten records."""
        try:
            return [find([ARCHIVE], data_dir, "")]
        except Unavailable:
            how = f"python -m bench.data fetch ecg, or put {{}} of {self.source} into ecg/mitdb/"
            return [find([remote.path], data_dir, how.format(Path(remote.path).name)) for remote in self.remote]


def _files(sources: list[Path]) -> Mapping[str, tuple[Path, bytes]]:
    """`101.dat` -> where it is, for a message, and its content."""
    if len(sources) > 1:
        return {path.name: (path, path.read_bytes()) for path in sources}
    found = members(sources[0], ("dat", "atr"), "mitdb/RECORD.dat")
    return {Path(name).name: (sources[0] / name, content) for name, content in found}


def _file(files: Mapping[str, tuple[Path, bytes]], name: str) -> tuple[Path, bytes]:
    if name not in files:
        folder = next(iter(files.values()))[0].parent if files else "the archive"
        raise InputError(f"{folder}: holds no {name}, expected the records {', '.join(HASHES)}")
    return files[name]


def _steps(files: Mapping[str, tuple[Path, bytes]], per_step: int) -> pd.DataFrame:
    """Sums of `per_step` samples of each lead less their running median of a second, in steps of the converter.

    Whole numbers, so that they are the same on every processor.
    """
    from scipy.ndimage import median_filter

    rows = []
    for record in HASHES:
        path, content = _file(files, f"{record}.dat")
        if len(content) != 3 * SAMPLES:
            raise InputError(f"{path}: {len(content)} bytes, expected {3 * SAMPLES} ({SAMPLES} samples of two leads)")
        signal = decode_212(content) - ZERO
        steps = len(signal) // per_step
        sums = signal[: steps * per_step].reshape(steps, per_step, 2).sum(axis=1, dtype=np.int32)
        second = RATE // per_step + 1
        rows.append(sums - np.column_stack([median_filter(lead, second, mode="nearest") for lead in sums.T]))
    return pd.DataFrame(np.concatenate(rows), columns=["MLII", "V1"])


def decode_212(content: bytes) -> np.ndarray:
    """Samples of two leads, (n, 2), of format 212: three bytes hold two numbers of 12 bits.

    >>> decode_212(bytes([0x34, 0xF2, 0x01])).tolist()
    [[564, -255]]
    """
    first, both, second = np.frombuffer(content, np.uint8).reshape(-1, 3).T.astype(np.int32)
    values = np.stack([first + 256 * (both & 15), second + 16 * (both & 240)], axis=1)
    return np.where(values > 2047, values - 4096, values)


def _beats(files: Mapping[str, tuple[Path, bytes]]) -> pd.DataFrame:
    """The record's number, the sample and the kind of every beat."""
    tables = []
    for number, record in enumerate(HASHES):
        path, content = _file(files, f"{record}.atr")
        samples, codes = decode_marks(content, path)
        beat = np.isin(codes, list(BEATS))
        tables.append(pd.DataFrame({"record": number, "sample": samples[beat], "code": codes[beat]}))
    return pd.concat(tables, ignore_index=True)


def decode_marks(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Sample and code of every mark, (n,) each. Raises InputError where the file ends too early."""
    words = np.frombuffer(content[: len(content) // 2 * 2], "<u2").tolist()
    samples, codes, time, place = [], [], 0, 0
    while place < len(words) and words[place]:
        code, value = words[place] >> 10, words[place] & 1023
        place += 1
        if code == 59 and place + 1 < len(words):  # a long way to the next mark
            time += (words[place] << 16) + words[place + 1]
            place += 2
        elif code == 63:  # a text
            place += (value + 1) // 2
        elif code < 59:
            time += value
            samples.append(time)
            codes.append(code)
    if place >= len(words):
        raise InputError(f"{path}: ends before its last mark, perhaps cut short")
    return np.array(samples, dtype=np.int64), np.array(codes, dtype=np.int64)


def _windows(
    signal: np.ndarray, beats: pd.DataFrame | None, view: View
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Windows (n, T, 2) of signals (records, steps, 2), and of each its record, its block and its kind of beat.

    A window lies in one block as a whole, and T steps at the beginning of a block are left out.
    """
    steps = signal.shape[1]
    edges = np.arange(BLOCKS + 1) * steps // BLOCKS
    if beats is None:
        inner = itertools.pairwise(edges.tolist())
        first = np.concatenate([np.arange(a + view.window, b - view.window + 1, view.window) for a, b in inner])
        record, start = np.repeat(np.arange(len(signal)), len(first)), np.tile(first, len(signal))
        kind = np.zeros_like(start)
    else:
        record, kind = beats["record"].to_numpy(), np.searchsorted(list(BEATS), beats["code"].to_numpy())
        start = beats["sample"].to_numpy() // view.per_step - view.before
    block = np.searchsorted(edges, start, side="right") - 1
    inside = (start >= 0) & (start + view.window <= edges[np.minimum(block + 1, BLOCKS)])
    inside &= (block < BLOCKS) & ((start >= edges[block] + view.window) | (block == 0))
    record, start, block, kind = record[inside], start[inside], block[inside], kind[inside]
    every = np.lib.stride_tricks.sliding_window_view(signal, view.window, axis=1)
    return every[record, start].transpose(0, 2, 1), record, block, kind
