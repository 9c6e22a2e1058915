"""`retail` on a handful of invoices, and facts of the real file."""

import csv
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading import files
from bench.loading.windows import load_splits, open_dataset

LINES = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,A,"CUP, RED",6,2010-12-01 08:26:00,2.5,17850,United Kingdom
1,B,PLATE,2,2010-12-01 08:26:00,1.5,17850,United Kingdom
2,A,CUP,1,2010-12-01 08:29:00,2.5,,France
C3,A,CUP,-5,2010-12-01 09:29:00,2.5,17850,United Kingdom
4,A,CUP,-7,2010-12-01 09:30:00,0,,United Kingdom
5,M,Manual,1,2010-12-01 12:30:00,4,1,United Kingdom
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files._EXTRACTS.clear()
    (tmp_path / "retail").mkdir()
    (tmp_path / "retail/OnlineRetail.csv").write_text(LINES)
    return tmp_path


def load(folder, **options):
    dataset = open_dataset(DatasetSpec("retail", tuple(sorted(options.items()))))
    given = dataset.load(folder, np.random.default_rng(0))
    return pd.DataFrame(given.series[0], columns=list(given.channels))


def test_one_step_per_order(folder):
    orders = load(folder)
    np.testing.assert_allclose(orders["log_gap"], np.log1p([0, 3, 60, 1, 180]))
    np.testing.assert_allclose(orders["log_lines"], np.log1p([2, 1, 1, 1, 1]))
    np.testing.assert_allclose(orders["units"], np.log1p([8, 1, 5, 7, 1]) * [1, 1, -1, -1, 1])
    np.testing.assert_allclose(orders["revenue"], np.log1p([18, 2.5, 12.5, 0, 4]) * [1, 1, -1, 0, 1])
    np.testing.assert_allclose(orders["price"], np.log1p([2, 2.5, 2.5, 0, 4]))
    np.testing.assert_array_equal(orders["cancelled"], [0, 0, 1, 0, 0])


def test_one_step_per_opening_hour(folder):
    hours = load(folder, view="hours")
    np.testing.assert_allclose(np.expm1(hours["log_rows"]), [3, 2, 1])
    np.testing.assert_allclose(np.expm1(hours["log_invoices"]), [2, 2, 1])
    np.testing.assert_allclose(np.expm1(hours["log_customers"]), [1, 1, 1])
    np.testing.assert_allclose(np.expm1(hours["log_units_sold"]), [9, 0, 1], atol=1e-12)
    np.testing.assert_allclose(np.expm1(hours["log_units_cancelled"]), [0, 5, 0], atol=1e-12)
    np.testing.assert_allclose(hours["revenue"], np.log1p([20.5, 12.5, 4]) * [1, -1, 1])
    np.testing.assert_allclose(hours["share_uk"], [2 / 3, 1, 1])


def test_the_hours_of_open_days(folder):
    days = load(folder, view="days")
    assert len(days) == 15
    assert list(days.columns) == [*list(load(folder, view="hours").columns)[:6]]
    np.testing.assert_allclose(np.expm1(days["log_rows"]), [0, 0, 3, 2, 0, 0, 1, *[0] * 8], atol=1e-12)
    np.testing.assert_allclose(days["revenue"][:4], np.log1p([0, 0, 20.5, 12.5]) * [0, 0, 1, -1])


def test_the_official_sheet_is_the_csv(folder):
    from_csv = load(folder)
    (folder / "retail/OnlineRetail.csv").unlink()
    words, rows = [], []
    for number, line in enumerate(csv.reader(LINES.splitlines()), start=1):
        cells = []
        for letter, value in zip("ABCDEFGH", line, strict=True):
            if letter == "E" and number > 1:
                value = str((pd.Timestamp(value) - pd.Timestamp("1899-12-30")) / pd.Timedelta("1D"))
            try:
                float(value)
                cells.append(f'<c r="{letter}{number}" s="1"><v>{value}</v></c>')
            except ValueError:
                if value:  # an empty cell is left out
                    cells.append(f'<c r="{letter}{number}" t="s"><v>{len(words)}</v></c>')
                    words.append(f"<si><t>{value}</t></si>")
        rows.append(f'<row r="{number}">{"".join(cells)}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    path = folder / "retail/Online Retail.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{''.join(words)}</sst>")
        archive.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{''.join(rows)}</sheetData></worksheet>"
        )
    pd.testing.assert_frame_equal(load(folder), from_csv)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cannot be read as \.xlsx"):
        load(folder)


def test_the_extract_is_made_once_per_content(folder, monkeypatch):
    first = load(folder)
    kept = list((folder / "cache/latent-diffusion-bench/extracts").glob("retail-*.parquet"))
    assert len(kept) == 1
    files._EXTRACTS.clear()  # as in another process
    with monkeypatch.context() as patch:
        patch.setattr("datasets.retail._lines", lambda path: pytest.fail("read again"))
        pd.testing.assert_frame_equal(load(folder), first)
    kept[0].write_bytes(b"damaged")
    files._EXTRACTS.clear()
    pd.testing.assert_frame_equal(load(folder), first)
    (folder / "retail/OnlineRetail.csv").write_text(LINES.replace(",6,", ",9,"))
    assert load(folder)["units"][0] == np.log1p(11)


def test_unusable_files(folder):
    path = folder / "retail/OnlineRetail.csv"
    path.write_text(LINES.replace("Quantity", "Qty"))
    with pytest.raises(InputError, match="columns Quantity are missing"):
        load(folder)
    path.write_text(LINES.replace("2010-12-01 08:29:00", "12/1/2010 8:29"))
    with pytest.raises(InputError, match="row 3, column 'InvoiceDate' is '12/1/2010 8:29', expected a time such as"):
        load(folder)
    path.unlink()
    with pytest.raises(Unavailable, match=r"OnlineRetail\.csv .*archive\.ics\.uci\.edu"):
        load(folder)


@pytest.mark.parametrize("view", ["orders", "hours"])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CUP,-5,", "CUP,,", "row 4, column 'Quantity' is empty, expected a number"),
        (",4,1,United", ",,1,United", "row 6, column 'UnitPrice' is empty, expected a number"),
        ("C3,A", ",A", "row 4, column 'InvoiceNo' is empty, expected text"),
        (",France", ",", "row 3, column 'Country' is empty, expected text"),
    ],
)
def test_a_line_without_what_is_counted_is_refused(folder, view, old, new, message):
    """A line without a customer is an official one, and is kept."""
    path = folder / "retail/OnlineRetail.csv"
    path.write_text(LINES.replace(old, new))
    with refused(rf"OnlineRetail\.csv: {message}"):
        load(folder, view=view)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Path(os.environ["BENCH_DATA"])
    raw = pd.read_csv(data / "retail/OnlineRetail.csv.gz", dtype={"InvoiceNo": str}, usecols=["InvoiceNo", "Quantity"])
    assert len(raw) == 541_909
    assert ((raw.Quantity < 0) & raw.InvoiceNo.str.startswith("C")).sum() == 9_288
    orders = load(data)
    assert len(orders) == 25_900
    assert orders["cancelled"].sum() == raw.InvoiceNo[raw.InvoiceNo.str.startswith("C")].nunique()
    assert len(load(data, view="hours")) == 2_938
    days = load(data, view="days")
    assert len(days) == 305 * 15
    assert (days["log_rows"] > 0).sum() == 2_938
    options = (("align", "day"), ("view", "days"), ("window", 15))
    assert load_splits(DatasetSpec("retail", options), 0, data).train.shape[1:] == (15, 6)
    begun = time.process_time()
    assert load_splits(DatasetSpec("retail"), 0, data).train.shape[1:] == (24, 6)
    assert time.process_time() - begun < 5
