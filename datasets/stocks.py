"""`stocks`: daily prices of one share, as the generative literature uses them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.contracts import Dataset, Recordings, Resolution, option
from bench.loading.exact_logarithms import log
from bench.loading.files import Remote, find, read_csv, refuse_cells
from bench.registry import register_dataset

PRICES = ("Open", "High", "Low", "Close", "Adj_Close")
COLUMNS = (*PRICES, "Volume")


@register_dataset("stocks")
@dataclass(frozen=True)
class Stocks(Dataset):
    """Daily prices and volume of one share (Google) from 2004 to 2019, the `stocks` of TimeGAN and its followers.

    3,685 trading days; the file holds no dates. Channels: Open, High, Low, Close, Adj_Close (US dollars) and Volume
    (shares). `values: returns` has the logarithm of each value divided by that of the day before, which is
    stationary; its first row is left out.
    Used for comparison with the literature; `protocol: literature` gives its windows, and its scores scale them by the
    minimum and maximum of all rows. What a method sees is scaled by mean and standard deviation in either case.

    Quirks: Close equals Adj_Close in every row, so two of the six channels are one. Prices rise from 48 to 1,274
    dollars, so a split in time tests far outside the training range. The rows are in the order of time, as in
    Diffusion-TS; the reference code of TimeGAN reverses them before it cuts windows, which is not done here.

    Windows: T = 24 days, stride 1 for training; test windows overlap, stride T // 4 = 6.
    Split: contiguous blocks (see `bench.loading.division`), or `time` for one cut in time.
    """

    source = "https://github.com/jsyoon0823/TimeGAN"
    licence = "Apache-2.0 (the repository, J. Yoon, D. Jarrett, M. van der Schaar 2019, NeurIPS); market prices"
    remote = (
        Remote(
            "https://raw.githubusercontent.com/jsyoon0823/TimeGAN/master/data/stock_data.csv",
            "literature/stock_data.csv",
            sha256="134b8a00eb4eefa3242dd7ae85144082da80dedf75a1a656d5d08f97cd95277a",
            known_from="the repository of its authors; the hash of a mirrored copy",
        ),
    )

    values: Literal["levels", "returns"] = "levels"
    window: int = option(24, at_least=4)  # T
    split: Literal["blocks", "time"] = "blocks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The file's rows, one series."""
        how = f"python -m bench.data fetch stocks, or put stock_data.csv of {self.source} into literature/"
        path = find(["literature/stock_data.csv", "literature/stock_data.csv.gz"], data_dir, how)
        table = read_csv(path, numbers=COLUMNS)
        for name in COLUMNS:
            refuse_cells(table[name], ~(table[name] > 0), path, "a number above 0")
        rows = table[list(COLUMNS)].to_numpy()
        returns = self.values == "returns"
        return Recordings(
            series=[np.diff(log(rows), axis=0) if returns else rows],
            channels=COLUMNS,
            units=("",) * len(COLUMNS) if returns else (*["USD"] * len(PRICES), "shares"),
            window=self.window,
            train_stride=1,
            test_stride=self.window // 4,
            split=self.split,
            resolutions=[Resolution(100.0 if name == "Volume" and not returns else 0.0) for name in COLUMNS],
        )
