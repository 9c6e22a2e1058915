"""`etth`: ETTh1, the electricity transformer data set of the forecasting literature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.contracts import Dataset, Recordings, Resolution, option
from bench.loading.files import Remote, find, read_csv, refuse_empty
from bench.loading.tables import in_order
from bench.registry import register_dataset

# The steps of the instruments, which every value is a whole multiple of to three decimals.
WIDTHS = {
    **dict.fromkeys(("HUFL", "HULL"), 0.06698),
    **dict.fromkeys(("MUFL", "MULL"), 0.035535),
    **dict.fromkeys(("LUFL", "LULL"), 0.030459),
    "OT": 0.070347,
}


@register_dataset("etth")
@dataclass(frozen=True)
class ETTh(Dataset):
    """Load and oil temperature of an electricity transformer in China, every hour for two years (ETTh1).

    17,420 rows, 2016-07-01 to 2018-06-26, no gap, nothing missing. Channels: useful and useless load at three levels
    (HUFL, HULL, MUFL, MULL, LUFL, LULL; no unit is given), and the oil temperature OT (deg C).
    Used for comparison with the literature, with its T and all seven channels; `protocol: literature` gives its
    windows, and its scores scale them by the minimum and maximum of all rows. What a method sees is scaled by mean and
    standard deviation in either case.

    Quirks: loads may be negative. Stretches of the load channels repeat one value for hours. The channels differ in
    speed: OT moves slowly.

    Windows: T = 24 hours, stride 1 for training; test windows overlap, stride T // 4 = 6.
    Split: contiguous blocks (see `bench.loading.division`), or `time` for one cut in time.
    """

    source = "https://github.com/zhouhaoyi/ETDataset"
    licence = "CC BY-ND 4.0 (H. Zhou et al. 2021, Informer, AAAI; the file is read as it is and not passed on)"
    remote = (
        Remote(
            "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
            "literature/ETTh1.csv",
            sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            known_from="the repository of its authors; the hash of a mirrored copy",
        ),
    )

    window: int = option(24, at_least=4)  # T
    split: Literal["blocks", "time"] = "blocks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The file's rows, one series."""
        how = f"python -m bench.data fetch etth, or put ETTh1.csv of {self.source} into literature/"
        path = find(["literature/ETTh1.csv", "literature/ETTh1.csv.gz"], data_dir, how)
        table = read_csv(path, numbers=list(WIDTHS), times=["date"])
        refuse_empty(table, list(WIDTHS), path)
        rows = in_order(table, [], "date", path)
        return Recordings(
            series=[rows[list(WIDTHS)].to_numpy()],
            channels=tuple(WIDTHS),
            units=tuple("deg C" if name == "OT" else "" for name in WIDTHS),
            window=self.window,
            train_stride=1,
            test_stride=self.window // 4,
            split=self.split,
            times=[rows["date"].to_numpy()],
            resolutions=[Resolution(width) for width in WIDTHS.values()],
        )
