"""`wards`: the schema, the validator and the simulator of it."""

import numpy as np
import pandas as pd
import pytest

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import load_splits, open_dataset
from datasets.wards import VARIABLES, simulate, validate


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "wards").mkdir()
    return tmp_path


def load(folder, **options):
    return open_dataset(DatasetSpec("wards", tuple(sorted(options.items())))).load(folder, np.random.default_rng(0))


def test_hourly_means_by_hand(folder):
    rows = ["patient,time,variable,value"]
    rows += [f"a,{h}.5,heart_rate,{60 + h}" for h in range(24)] + ["a,0.1,heart_rate,70", "a,3.0,temperature,38.5"]
    rows += ["b,2,heart_rate,70"]  # too short
    (folder / "wards/wards.csv").write_text("\n".join(rows))
    given = load(folder)
    assert given.entities == ["a"]
    np.testing.assert_array_equal(given.series[0][:, 0], [65, *range(61, 84)])
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(given.series[0][:, 5])), [3])
    assert given.units[5] == "deg C"
    pd.read_csv(folder / "wards/wards.csv").to_parquet(folder / "wards/wards.parquet")
    (folder / "wards/wards.csv").unlink()
    np.testing.assert_array_equal(load(folder).series[0], given.series[0])


def test_the_simulator_meets_the_schema_and_the_path_is_whole(folder):
    table = simulate(30, np.random.default_rng(1))
    assert len(validate(table, folder)) == len(table)
    assert set(table["variable"]) == set(VARIABLES)
    table.to_csv(folder / "wards/wards.csv.gz", index=False)
    given = load(folder)
    assert len(given.series) == 30
    splits = load_splits(DatasetSpec("wards", (("patients", 30), ("simulated", True))), 0)
    assert splits.train.shape[1:] == (24, 6)
    assert np.isfinite(splits.test).all()
    assert open_dataset(DatasetSpec("wards")).restricted


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,heart_rate,ten", "row 2, column 'value' is 'ten', expected a number"),
        ("a,1,heart_rate,", "row 2, column 'value' is empty, expected 10..300 for heart_rate"),
        ("a,1,heart_rate,700", "row 2, column 'value' is 700, expected 10..300 for heart_rate"),
        ("a,-1,heart_rate,70", "row 2, column 'time' is -1, expected hours since admission"),
        (
            "a,1,heart_rte,70",
            "row 2, column 'variable' is 'heart_rte', expected a variable of the schema, did you mean 'heart_rate'",
        ),
        (",1,heart_rate,70", "row 2, column 'patient' is empty"),
    ],
)
def test_the_validator_names_the_first_offending_row(folder, row, message):
    path = folder / "wards/wards.csv"
    path.write_text(f"patient,time,variable,value\na,0,heart_rate,70\n{row}\n")
    with pytest.raises(InputError, match=message) as caught:
        load(folder)
    assert str(path) in str(caught.value)


def test_no_file_and_missing_columns(folder):
    with pytest.raises(Unavailable, match="ask its owner"):
        load(folder)
    (folder / "wards/wards.csv").write_text("patient,when,variable,value\na,0,heart_rate,70\n")
    with pytest.raises(InputError, match="columns time are missing"):
        load(folder)
