"""A run's identity is what the data hold and what the code does, not where a file lies or how it is written."""

from __future__ import annotations

import dataclasses
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.code_hash import code_hash, code_of, read_hash, remember
from bench.contracts import DatasetSpec, InputError
from bench.engine.job import JobSettings, run_stack
from bench.loading.windows import load_recordings, load_splits
from bench.registry import DATASETS, METHODS, load_plugin
from bench.store import Store, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import Stack

WINDOW, PATIENTS = 5, 12


def patients(rng: np.random.Generator) -> pd.DataFrame:
    rows = PATIENTS * 7
    table = {"who": np.repeat([f"p{k:02}" for k in range(PATIENTS)], 7), "t": np.tile(np.arange(7), PATIENTS)}
    return pd.DataFrame({**table, "x": rng.normal(size=rows).round(3), "y": rng.normal(5, 2, size=rows)})


def splits_of(name: str, path: Path, seed: int = 3, **options: object):
    given_ = {"path": str(path), "window": WINDOW, **options}
    return load_splits(DatasetSpec(name, tuple(sorted(given_.items()))), seed)


TABLE = {"id": "who", "time": "t"}


@settings(deadline=None, max_examples=15)
@given(order=st.permutations(range(PATIENTS)), seed=st.integers(0, 3))
def test_the_place_of_a_file_and_the_order_of_its_patients_do_not_matter(tmp_path_factory, order, seed):
    frame = patients(np.random.default_rng(seed))
    folder = tmp_path_factory.mktemp("order")
    (folder / "elsewhere").mkdir()
    parts = [part for _, part in frame.groupby("who")]
    frame.to_csv(folder / "first.csv", index=False)
    pd.concat([parts[k] for k in order]).to_csv(folder / "elsewhere" / "second.csv", index=False)
    one = splits_of("csv", folder / "first.csv", **TABLE)
    two = splits_of("csv", folder / "elsewhere" / "second.csv", **TABLE)
    assert one.sha256 == two.sha256
    np.testing.assert_array_equal(one.train, two.train)


def test_the_format_of_a_file_does_not_matter(tmp_path):
    frame = patients(np.random.default_rng(0))
    frame.to_csv(tmp_path / "own.csv", index=False)
    frame.to_csv(tmp_path / "own.csv.gz", index=False)
    frame.to_parquet(tmp_path / "own.parquet")
    names = (("csv", "own.csv"), ("csv", "own.csv.gz"), ("parquet", "own.parquet"))
    tables = [splits_of(name, tmp_path / file, **TABLE) for name, file in names]
    assert len({splits.sha256 for splits in tables}) == 1

    rows = np.random.default_rng(1).normal(size=(300, 2))
    pd.DataFrame(rows, columns=["x", "y"]).to_csv(tmp_path / "one.csv", index=False)
    np.savez(tmp_path / "one.npz", x=rows)
    channels = ("x", "y")
    one = splits_of("csv", tmp_path / "one.csv", channels=channels)
    assert one.sha256 == splits_of("npz", tmp_path / "one.npz", channels=channels).sha256


def test_series_without_names_are_divided_by_what_they_hold(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, WINDOW, 2))
    np.savez(tmp_path / "a.npz", x=x)
    np.savez(tmp_path / "b.npz", x=x[np.random.default_rng(1).permutation(30)])
    assert splits_of("npz", tmp_path / "a.npz").sha256 == splits_of("npz", tmp_path / "b.npz").sha256


def test_neighbours_among_series_without_names_are_not_alike(tmp_path):
    level = np.random.default_rng(0).normal(size=400)
    np.savez(tmp_path / "own.npz", x=np.repeat(level, WINDOW).reshape(400, WINDOW, 1))
    series = load_recordings(DatasetSpec("npz", (("path", str(tmp_path / "own.npz")),)), 0, None).series
    found = np.array([rows[0, 0] for rows in series])
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.2


def test_a_corrected_cell_does_not_divide_the_patients_anew(tmp_path):
    frame = patients(np.random.default_rng(0))
    frame.to_csv(tmp_path / "own.csv", index=False)
    before = splits_of("csv", tmp_path / "own.csv", **TABLE)
    frame.loc[3, "x"] += 0.5
    frame.to_csv(tmp_path / "own.csv", index=False)
    after = splits_of("csv", tmp_path / "own.csv", **TABLE)  # the same process: the file is read again
    assert before.sha256 != after.sha256
    values = [np.sort((s.test * s.scale + s.mean)[:, :, 1].ravel()) for s in (before, after)]
    np.testing.assert_allclose(*values, rtol=1e-6)


SWEEP = """
name: small
datasets: [{{name: csv, path: {path}, window: 5, id: who, time: t}}]
methods: [latent_diffusion]
seeds: 1
model: {{hidden: 4, latent: 2}}
train: {{steps: 2, batch_size: 4}}
diffusion: {{L: 10, steps: 2, batch_size: 4, hidden: 4}}
evaluate: {{n_samples: 4, metrics: [nll], during_training: 0}}
"""


def test_a_worker_refuses_windows_that_the_sweep_was_not_planned_with(tmp_path):
    frame = patients(np.random.default_rng(0))
    frame.to_csv(tmp_path / "own.csv", index=False)
    (tmp_path / "small.yaml").write_text(SWEEP.format(path=tmp_path / "own.csv"))
    (run,) = [run for run in read_sweep(tmp_path / "small.yaml").runs if run.kind == "method"]
    frame.loc[3, "x"] += 0.5
    frame.to_csv(tmp_path / "own.csv", index=False)
    Store(tmp_path / "results").prepare()
    settings_ = JobSettings(tmp_path / "results", None, "cpu", "none", ())
    ((_, status, reason),) = run_stack(Stack((run,)), settings_)
    assert status == "failed"
    assert "are not those that the sweep was planned with" in reason
    assert load_results(tmp_path / "results")[0].status.tolist() == ["failed"]


def test_the_same_sweep_on_a_file_elsewhere_asks_for_the_same_runs(tmp_path):
    ids = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        patients(np.random.default_rng(0)).to_csv(tmp_path / name / f"{name}.csv", index=False)
        (tmp_path / "small.yaml").write_text(SWEEP.format(path=tmp_path / name / f"{name}.csv"))
        ids.append([run.run_id for run in read_sweep(tmp_path / "small.yaml").runs])
    assert ids[0] == ids[1]


METHOD = '''
from dataclasses import dataclass

from bench.registry import register_method
from methods.latent_diffusion import LatentDiffusion

from {beside} import FACTOR


@register_method("{name}")
@dataclass(frozen=True)
class Mine(LatentDiffusion):
    """{words}"""

    def rate(self):
        {comment}
        return FACTOR
'''


def written(folder: Path, words: str = "A card.", comment: str = "pass", factor: str = "FACTOR = 2") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "beside_it.py").write_text(f"{factor}\n")
    path = folder / "mine.py"
    path.write_text(METHOD.format(beside="beside_it", name="mine_hashed", words=words, comment=comment))
    return path


def test_the_hash_of_a_plug_in_knows_its_syntax_and_its_neighbours(tmp_path):
    first = code_hash(written(tmp_path / "a"))
    assert first == code_hash(written(tmp_path / "b", words="Another card."))
    assert first == code_hash(written(tmp_path / "c", comment="pass  # a comment"))
    assert first != code_hash(written(tmp_path / "d", comment="self.N"))
    assert first != code_hash(written(tmp_path / "e", factor="FACTOR = 3"))
    assert first == code_hash(written(tmp_path / "f", factor="FACTOR  =  2"))


def test_the_hash_of_a_plug_in_is_the_same_under_every_python(tmp_path):
    """The value was written down under Python 3.11; newer versions have more fields in the same tree."""
    path = tmp_path / "known.py"
    path.write_text("def f(x: int, *, y=1):\n    '''Words.'''\n    return [f'{x!r:>{y}}' for _ in range(y) if x]\n")
    assert code_hash(path) == "faba3be62d077d8d"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The file of a method, which is forgotten afterwards where a test has imported it."""
    monkeypatch.syspath_prepend(tmp_path / "plugin")
    yield written(tmp_path / "plugin")
    METHODS._classes.pop("mine_hashed", None)
    sys.modules.pop("beside_it", None)


def test_an_edited_method_is_another_run_and_a_shipped_one_has_no_hash(tmp_path, plugin):
    load_plugin(plugin)
    patients(np.random.default_rng(0)).to_csv(tmp_path / "own.csv", index=False)
    text = SWEEP.format(path=tmp_path / "own.csv")
    (tmp_path / "small.yaml").write_text(text.replace("[latent_diffusion]", "[latent_diffusion, mine_hashed]"))
    shipped, own = (run for run in read_sweep(tmp_path / "small.yaml").runs if run.kind == "method")
    assert shipped.columns()["method_code"] == ""
    assert own.columns()["method_code"] == code_hash(plugin.resolve())
    assert "method_code" not in shipped.ingredients
    assert own.ingredients["method_code"] == code_hash(plugin.resolve())


def test_the_hash_is_that_of_the_code_that_was_imported(tmp_path, plugin):
    imported = read_hash(plugin)
    load_plugin(plugin)
    written(tmp_path / "plugin", comment="return 100.0")  # edited while the process works with the older code
    assert code_of(METHODS["mine_hashed"]) == imported != read_hash(plugin)


def test_a_worker_with_other_code_than_the_sweep_was_planned_with_files_no_number(tmp_path, plugin):
    load_plugin(plugin)
    patients(np.random.default_rng(0)).to_csv(tmp_path / "own.csv", index=False)
    text = SWEEP.format(path=tmp_path / "own.csv").replace("[latent_diffusion]", "[mine_hashed]")
    (tmp_path / "small.yaml").write_text(text)
    (run,) = (run for run in read_sweep(tmp_path / "small.yaml").runs if run.kind == "method")
    run_id, store = run.run_id, Store(tmp_path / "results")
    store.prepare()
    remember(plugin.resolve(), "another")  # as in a worker that imported the file after it was edited
    settings_ = JobSettings(tmp_path / "results", None, "cpu", "none", ())
    sent = pickle.loads(pickle.dumps(Stack((run,))))
    with refused("the code of method 'mine_hashed' changed since the sweep was planned: start the command again"):
        run_stack(sent, settings_)
    assert run_id not in store.done()
    METHODS._classes.pop("mine_hashed")  # the edit gave it another name
    with refused("the code of method 'mine_hashed' changed"):
        run_stack(sent, settings_)


GLOBAL = '''
from dataclasses import dataclass

import numpy as np

from bench.contracts import Dataset, Recordings
from bench.registry import register_dataset


@register_dataset("drawn_globally")
@dataclass(frozen=True)
class Drawn(Dataset):
    """Noise."""

    source = licence = "mine"

    def load(self, data_dir, rng):
        x = np.random.standard_normal((20, 4, 1))
        return Recordings(list(x), ("x",), ("",), 4, 4, 4, "entity")
'''


def test_a_data_set_that_draws_from_a_global_generator_is_refused(tmp_path):
    (tmp_path / "drawn.py").write_text(GLOBAL)
    load_plugin(tmp_path / "drawn.py")
    try:
        with pytest.raises(InputError, match=r"drawn_globally: gives other series when it is loaded again"):
            load_splits(DatasetSpec("drawn_globally"), 0)
    finally:
        DATASETS._classes.pop("drawn_globally", None)


def test_the_stream_of_a_named_data_set_is_its_key():
    spec = DatasetSpec("energy", (("window", 48),))
    assert spec.stream == spec.key == "energy,window=48"
    own = DatasetSpec("csv", (("path", "a.csv"), ("window", 48)))
    assert own.stream == "own file,window=48"
    assert dataclasses.replace(own, name="parquet").stream == own.stream


CARELESS = '''
import os
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from bench.registry import register_method
from methods.latent_diffusion import LatentDiffusion


@register_method("careless")
@dataclass(frozen=True)
class Careless(LatentDiffusion):
    """It changes what it does not own."""

    def sample(self, model, n, draws):
        found = super().sample(model, n, draws)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.manual_seed(0)
        np.seterr(all="raise")
        np.random.seed(0)
        os.chdir("/")
        warnings.simplefilter("ignore")
        return found
'''


def test_what_a_method_does_to_its_process_is_put_back_and_said(tmp_path):
    (tmp_path / "careless.py").write_text(CARELESS)
    load_plugin(tmp_path / "careless.py")
    patients(np.random.default_rng(0)).to_csv(tmp_path / "own.csv", index=False)
    text = SWEEP.format(path=tmp_path / "own.csv")
    (tmp_path / "small.yaml").write_text(text.replace("[latent_diffusion]", "[careless]"))
    Store(tmp_path / "results").prepare()
    settings_ = JobSettings(tmp_path / "results", None, "cpu", "none", ())
    before = torch.get_num_threads(), np.geterr(), Path.cwd(), list(warnings.filters)
    try:
        (run,) = [run for run in read_sweep(tmp_path / "small.yaml").runs if run.kind == "method"]
        ((_, status, reason),) = run_stack(Stack((run,)), settings_)
    finally:
        METHODS._classes.pop("careless", None)
    assert status == "ok", reason
    after = torch.get_num_threads(), np.geterr(), Path.cwd(), list(warnings.filters)
    assert before == after
    assert torch.get_default_dtype() == torch.float32
    for word in ("default type", "threads", "treatment of errors", "working directory"):
        assert word in reason
