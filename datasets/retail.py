"""`retail`: UCI "Online Retail", as a sequence of orders or of opening hours."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution, option
from bench.loading.exact_logarithms import log1p
from bench.loading.files import Remote, as_numbers, check_columns, extract, find, read_csv, refuse_empty
from bench.registry import register_dataset

ORDERS = {
    "log_gap": "ln(1 + min)",
    "log_lines": "ln(1 + lines)",
    "units": "signed ln(1 + units)",
    "revenue": "signed ln(1 + GBP)",
    "price": "signed ln(1 + GBP)",
    "cancelled": "0 or 1",
}
HOURS = {
    "log_rows": "ln(1 + lines)",
    "log_invoices": "ln(1 + invoices)",
    "log_customers": "ln(1 + customers)",
    "log_units_sold": "ln(1 + units)",
    "log_units_cancelled": "ln(1 + units)",
    "revenue": "signed ln(1 + GBP)",
    "price": "signed ln(1 + GBP)",
    "share_uk": "share of lines",
}

DAYS = {name: unit for name, unit in HOURS.items() if name not in ("price", "share_uk")}  # closed hours have neither
FIRST_HOUR, LAST_HOUR = 6, 20  # of a day in which a line was ever written

COUNT, SIGNED_COUNT = Resolution(1, transform="log1p"), Resolution(1, transform="signed_log1p")
RESOLUTIONS = {  # sums of money are in pence, far finer than a channel's cell can be; means lie on no grid
    **dict.fromkeys(("log_gap", "log_lines", *[name for name in HOURS if name.startswith("log_")]), COUNT),
    **{"units": SIGNED_COUNT, "cancelled": Resolution(1)},
    **dict.fromkeys(("revenue", "price", "share_uk"), Resolution(0)),
}


def signed_log(values: pd.Series) -> pd.Series:
    """sign(x) ln(1 + |x|)."""
    return np.sign(values) * log1p(values.abs())


@register_dataset("retail")
@dataclass(frozen=True)
class Retail(Dataset):
    """Every line of every invoice of a UK gift-ware wholesaler in 374 days.

    541,909 lines of 25,900 invoices, 2010-12-01 to 2011-12-09; 9,288 lines belong to cancellations (`C...`).
    `view: orders` (default), one step per invoice in time order: ln(1 + minutes since the previous order),
    ln(1 + lines), signed log of units, revenue and mean price, cancelled or not.
    `view: hours`, one step per hour that holds a line (2,938): ln(1 + .) of lines, invoices, distinct customers,
    units sold and cancelled, signed log of revenue and mean price, share of UK lines.
    `view: days`, the 15 hours from 6 to 20 o'clock of each of the 305 open days: the first six of these channels, which
    are 0 in an hour without a line. `window: 15` with `align: day` is a day, and `window: 90` six open days.
    signed log x = sign(x) ln(1 + |x|).

    Quirks: the logarithms tame extreme orders, such as 80,995 units that are ordered and cancelled within minutes; the
    5,268 repeated lines, the lines with price 0 and those that are no products (postage, fees) are kept as in the
    official file; the time of an invoice is that of its first line; nights, Saturdays and holidays have no row, because
    the shop is closed, and do not count as missing.

    Windows: T = 24 steps, stride 1 for training; test windows overlap, stride T // 4 = 6.
    Split: contiguous blocks (see `bench.loading.division`), or `time` for one cut in time.
    """

    source = "https://archive.ics.uci.edu/dataset/352/online+retail"
    licence = "CC BY 4.0 (D. Chen, 2015, Online Retail, UCI, doi:10.24432/C5BW33)"
    version = 2  # logarithms that are the same on every processor
    remote = (
        Remote(
            "https://archive.ics.uci.edu/static/public/352/online+retail.zip",
            "retail/Online Retail.xlsx",
            sha256="43465a06f2ccf7c8b5bd2892bc7defb52f97487934fe93b16ae4c3936424676d",
            member="Online Retail.xlsx",
            instead=("retail/OnlineRetail.csv", "retail/OnlineRetail.csv.gz"),
            copies=("959c8b3847939247e4007cbbd6dfcf3fdc78bc8236a08eba94565e15679914d8",),
            known_from="several public repositories record this address and hash; OnlineRetail.csv is a mirrored "
            "copy of the sheet (541,909 rows)",
        ),
    )

    view: Literal["orders", "hours", "days"] = "orders"
    window: int = option(24, at_least=4)  # T
    split: Literal["blocks", "time"] = "blocks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The orders or hours, one series."""
        path = find(
            ["retail/OnlineRetail.csv", "retail/OnlineRetail.csv.gz", "retail/Online Retail.xlsx"],
            data_dir,
            f"python -m bench.data fetch retail, or put Online Retail.xlsx from {self.source} into retail/",
        )
        build = {"orders": _orders, "hours": _hours, "days": _days}[self.view]
        rows = extract(f"retail version {self.version} {self.view}", [path], lambda: build(_lines(path)))
        units = {"orders": ORDERS, "hours": HOURS, "days": DAYS}[self.view]
        return Recordings(
            series=[rows[list(units)].to_numpy()],
            channels=tuple(units),
            units=tuple(units.values()),
            window=self.window,
            train_stride=1,
            test_stride=self.window // 4,
            split=self.split,
            times=[rows["time"].to_numpy()],
            resolutions=[RESOLUTIONS[name] for name in units],
        )


def _lines(path: Path) -> pd.DataFrame:
    text, numbers, time = ["InvoiceNo", "CustomerID", "Country"], ["Quantity", "UnitPrice"], "InvoiceDate"
    if path.suffix == ".xlsx":
        lines = _sheet(path)
        check_columns(path, list(lines.columns), [*text, *numbers, time])
        days = as_numbers(lines[time], path, "a date (days since 1899-12-30)")
        lines = lines.assign(
            **{name: as_numbers(lines[name], path) for name in numbers},
            **{time: (pd.Timestamp("1899-12-30") + pd.to_timedelta(days, unit="D")).dt.round("min")},
        )
    else:
        lines = read_csv(path, numbers=numbers, text=text, times=[time], keep=False)
    refuse_empty(lines, numbers, path)
    refuse_empty(lines, ["InvoiceNo", "Country"], path, "text")  # a line without a customer is an official one
    return lines.assign(
        revenue=lines["Quantity"] * lines["UnitPrice"],
        cancelled=lines["InvoiceNo"].str.startswith("C").astype(float),
    )


def _sheet(path: Path) -> pd.DataFrame:
    """The first sheet of an .xlsx file as text, its first row as the header."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    rows: list[dict[str, str]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            shared = []
            if "xl/sharedStrings.xml" in archive.namelist():
                for _, item in ElementTree.iterparse(archive.open("xl/sharedStrings.xml")):
                    if item.tag == f"{space}si":
                        shared.append("".join(text.text or "" for text in item.iter(f"{space}t")))
                        item.clear()
            for _, row in ElementTree.iterparse(archive.open("xl/worksheets/sheet1.xml")):
                if row.tag != f"{space}row":
                    continue
                cells = {}
                for cell in row:
                    text = "".join(part.text or "" for part in cell.iter() if part.tag in (f"{space}v", f"{space}t"))
                    if text:  # the column is the letters of a reference such as B17
                        column = cell.get("r", "").rstrip("0123456789")
                        cells[column] = shared[int(text)] if cell.get("t") == "s" else text
                rows.append(cells)
                row.clear()
    except (OSError, KeyError, ValueError, IndexError, zlib.error, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise InputError(f"{path}: cannot be read as .xlsx, perhaps cut short or damaged: {error}") from None
    header = rows[0] if rows else {}
    return pd.DataFrame({name: [cells.get(column) for cells in rows[1:]] for column, name in header.items()}, dtype=str)


def _orders(lines: pd.DataFrame) -> pd.DataFrame:
    orders = lines.groupby("InvoiceNo", sort=False).agg(
        time=("InvoiceDate", "min"),
        lines=("Quantity", "size"),
        units=("Quantity", "sum"),
        revenue=("revenue", "sum"),
        price=("UnitPrice", "mean"),
        cancelled=("cancelled", "first"),
    )
    orders = orders.sort_values("time", kind="stable").reset_index(drop=True)
    minutes = orders["time"].diff().dt.total_seconds() / 60
    return pd.DataFrame(
        {
            "time": orders["time"],
            "log_gap": log1p(minutes.fillna(0)),  # the first order has none before it
            "log_lines": log1p(orders["lines"]),
            "units": signed_log(orders["units"]),
            "revenue": signed_log(orders["revenue"]),
            "price": signed_log(orders["price"]),
            "cancelled": orders["cancelled"],
        }
    )


def _hours(lines: pd.DataFrame) -> pd.DataFrame:
    lines = lines.assign(
        time=lines["InvoiceDate"].dt.floor("h"),
        sold=lines["Quantity"].clip(lower=0),
        returned=-lines["Quantity"].where(lines["cancelled"] == 1, 0).clip(upper=0),
        uk=(lines["Country"] == "United Kingdom").astype(float),
    )
    hours = lines.groupby("time").agg(
        rows=("Quantity", "size"),
        invoices=("InvoiceNo", "nunique"),
        customers=("CustomerID", "nunique"),
        sold=("sold", "sum"),
        returned=("returned", "sum"),
        revenue=("revenue", "sum"),
        price=("UnitPrice", "mean"),
        uk=("uk", "mean"),
    )
    hours = hours.reset_index()
    return pd.DataFrame(
        {
            "time": hours["time"],
            "log_rows": log1p(hours["rows"]),
            "log_invoices": log1p(hours["invoices"]),
            "log_customers": log1p(hours["customers"]),
            "log_units_sold": log1p(hours["sold"]),
            "log_units_cancelled": log1p(hours["returned"]),
            "revenue": signed_log(hours["revenue"]),
            "price": signed_log(hours["price"]),
            "share_uk": hours["uk"],
        }
    )


def _days(lines: pd.DataFrame) -> pd.DataFrame:
    """Every hour from 6 to 20 o'clock of every day with a line."""
    hours = _hours(lines)
    days = hours["time"].dt.normalize().unique()
    clock = pd.to_timedelta(np.arange(FIRST_HOUR, LAST_HOUR + 1), unit="h")
    every = pd.DatetimeIndex([day + hour for day in days for hour in clock], name="time")
    return hours.set_index("time")[list(DAYS)].reindex(every).fillna(0.0).reset_index()
