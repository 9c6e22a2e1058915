"""What a GPU does with stacked runs: `python -m bench.perf gpu`, or one part of it such as `gpu.runs`.

Three ways to train are compared, all through `bench.training.stack.train_stack` with its draws, checks and curves:

    plain    every kernel launched by itself; the recurrence is cuDNN's at R = 1, batched products above
    graphs   an update recorded as a CUDA graph and replayed
    fused    the same, with the recurrence in one Triton kernel per direction (hidden 64)

Seconds per update come from two trainings of different length, so set-up is apart. A run is 1,500 + 3,000 updates and
1,000 samples in 1,000 steps; the runs of a stack share their windows and have one of ten seeds. Needs torch and numpy,
and a CUDA device; Triton for `fused`, POT for the exact Wasserstein.

Longer than usual because it is one script for a machine that is lent for minutes: every stage stands beside what it
prints.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import json
import multiprocessing
import os
import platform
import queue
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bench.contracts import DiffusionConfig, ModelConfig, Splits, TrainConfig, Unavailable, in_one_line
from bench.hardware.memory import peak_bytes, reset_peak
from bench.hardware.recorded_steps import Recorder, recording
from bench.method import Method, stacked
from bench.metrics.dependency import dependency_measures
from bench.metrics.sliced import PROJECTIONS, sliced_distance
from bench.models import lstm_triton
from bench.models.lstm import LSTM, _fused, _native, _stacked
from bench.models.stacked import initialise
from bench.perf.measure import Scale, windows
from bench.randomness import Randomness, numpy_generator
from bench.registry import METHODS
from bench.training.stack import Trained, train_stack

Way = Literal["plain", "graphs", "fused"]

LAUNCH = 3e-6  # seconds of a kernel in a dependent chain
CHANNELS = 6
SEEDS = 10


@dataclass(frozen=True)
class Row:
    """One number."""

    part: str
    what: str
    value: float
    unit: str
    note: str = ""

    def __str__(self) -> str:
        return f"  {self.what:62}{self.value:12.4g} {self.unit:16}{self.note}".rstrip()


@dataclass(frozen=True)
class Size:
    """Networks, windows and batches of a run, and the numbers of runs that are stacked."""

    name: str
    hidden: int
    window: int
    batch: int
    stacks: tuple[int, ...]
    work: float  # seconds that the arithmetic of one run's update takes at least
    series: int = 3000

    def bound(self, runs: int) -> float:
        """Seconds that an update of a stack takes at least: a chain of 8 T + 80 kernels, or the arithmetic of all."""
        return max((8 * self.window + 80) * LAUNCH, runs * self.work)


@dataclass(frozen=True)
class Plan:
    """What a scale means."""

    device: torch.device
    sizes: tuple[Size, ...]
    updates: tuple[int, int]  # the two lengths whose difference is timed
    run: tuple[int, int]  # updates of a whole run
    samples: int  # of a run
    L: int
    repeats: int
    series: int  # of the dependency measures
    processes: tuple[int, ...]
    creep: int  # stacks, one after another
    precision: tuple[int, int]  # seeds, updates
    recorder: Recorder | Literal["auto"] = "auto"


SMALL = Size("hidden 64, T 24, batch 64", 64, 24, 64, (1, 8, 16, 32, 64, 128), 25e-6)
MEDIUM = Size("hidden 128, T 48, batch 128", 128, 48, 128, (1, 4, 16, 32), 0.25e-3)


def plan(scale: Scale) -> Plan:
    """Raises Unavailable without CUDA, but for `tiny`: on a CPU, with graphs that are none, for the tests."""
    if scale == "tiny":
        size, recorder = Size("tiny", 8, 5, 8, (1, 2), 1e-6, 40), Recorder(lambda work: work, least=0)
        return Plan(torch.device("cpu"), (size,), (5, 7), (9, 9), 6, 10, 1, 3, (2,), 3, (2, 6), recorder)
    if not torch.cuda.is_available():
        here = f"torch {torch.__version__} sees none here"
        raise Unavailable(f"bench.perf gpu: needs a CUDA device and a CUDA build of torch: {here}")
    device, cores = torch.device("cuda"), os.cpu_count() or 1
    if scale == "quick":
        sizes = tuple(dataclasses.replace(size, stacks=(1, 32)) for size in (SMALL, MEDIUM))
        return Plan(device, sizes, (80, 160), (1500, 3000), 1000, 1000, 3, 32, (min(8, cores),), 20, (4, 300))
    sizes, processes = (SMALL, MEDIUM), (min(16, cores),)
    return Plan(device, sizes, (80, 240), (1500, 3000), 1000, 1000, 5, 128, processes, 60, (8, 1500))


# ---------------------------------------------------------------- ways to train, and their seconds


@contextlib.contextmanager
def way_of(way: Way, given: Plan) -> Iterator[None]:
    """Inside, training and sampling go this way."""
    with recording(None if way == "plain" else given.recorder), lstm_triton.fusing(way == "fused"):
        yield


def ways(size: Size, given: Plan) -> list[Way]:
    """The ways that differ at this size."""
    with lstm_triton.fusing(True):
        fits = lstm_triton.usable(torch.zeros(1, device=given.device), size.hidden)
    return ["plain", "graphs", "fused"] if fits else ["plain", "graphs"]


def synchronise(device: torch.device) -> None:
    """Wait for everything that was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], given: Plan, warm: int = 2) -> float:
    """Median wall-clock seconds of `work`, with the device's work done."""
    for _ in range(warm):
        work()
    times = []
    for _ in range(given.repeats):
        synchronise(given.device)
        began = time.perf_counter()
        work()
        synchronise(given.device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def keys_of(runs: int) -> list[tuple[str, int]]:
    """Streams of a stack's runs."""
    return [("perf", run % SEEDS) for run in range(runs)]


def training(
    size: Size, runs: int, given: Plan, updates: int, method: Method | None = None, precision: str = "float32",
    splits: Splits | None = None,
) -> Trained:  # fmt: skip
    """A stack of runs that share their windows."""
    method = method or METHODS["latent_diffusion"]()
    splits = splits or _windows(size)
    model = ModelConfig(hidden=size.hidden, latent=min(16, size.hidden))
    train = TrainConfig(steps=updates, batch_size=size.batch, precision=precision)  # type: ignore[arg-type]
    diffusion = DiffusionConfig(L=given.L, steps=updates)
    each = [method] * runs, [splits] * runs, keys_of(runs)
    return train_stack(*each, "lstm", model, [train] * runs, [diffusion] * runs, given.device)


@functools.cache
def _windows(size: Size) -> Splits:
    return windows(size.series, size.window, CHANNELS)


@dataclass(frozen=True)
class Cost:
    """Seconds of a stack: one update of each stage, what does not grow with their number, and all its samples."""

    autoencoder: float
    denoiser: float
    set_up: float
    samples: float
    busy: float  # percent of the time
    trained: Trained

    def of(self, run: tuple[int, int]) -> float:
        """Seconds of whole runs."""
        return self.set_up + run[0] * self.autoencoder + run[1] * self.denoiser + self.samples


@functools.cache
def cost_of(size: Size, runs: int, way: Way, given: Plan) -> Cost:
    """From two lengths of training; a first one compiles kernels and does not count."""
    short, long = given.updates
    with way_of(way, given):
        training(size, runs, given, short)
        with Utilisation(given.device) as busy:
            began = time.perf_counter()
            one = training(size, runs, given, short)
            whole = time.perf_counter() - began
            other = training(size, runs, given, long)
        method = stacked([METHODS["latent_diffusion"]()] * runs, given.device)

        def sample() -> None:
            with torch.no_grad():
                draws = Randomness(keys_of(runs), given.device).draws("samples")
                method.sample(other.model, given.samples, draws)

        samples = seconds(sample, dataclasses.replace(given, repeats=1), warm=1)
    first = (other.autoencoder_seconds - one.autoencoder_seconds) / (long - short)
    second = (other.denoiser_seconds - one.denoiser_seconds) / (long - short)
    set_up = max(0.0, whole - short * (first + second))
    return Cost(max(first, 1e-9), max(second, 1e-9), set_up, samples, busy.percent, other)


class Utilisation(threading.Thread):
    """The share of time in which the device had a kernel running, as its driver tells, looked at ten times a second."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(daemon=True)
        self._device, self._over = device, threading.Event()
        self._seen: list[int] = []

    def run(self) -> None:
        """Look until the end."""
        while self._device.type == "cuda" and not self._over.wait(0.1):
            try:
                self._seen.append(torch.cuda.utilization(self._device))
            except Exception:  # NVML is not here, in one of its many ways
                return

    def __enter__(self) -> Utilisation:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    @property
    def percent(self) -> float:
        """The mean; NaN where it is not told."""
        return statistics.fmean(self._seen) if self._seen else float("nan")


# ---------------------------------------------------------------- parts


def lstm_part(given: Plan) -> Iterator[Row]:
    """Forward and backward of one layer: cuDNN one by one, batched products, the fused kernel."""
    for size in given.sizes:
        for runs in size.stacks:
            keys = keys_of(runs)
            module = LSTM(runs, CHANNELS + 1 + 16, size.hidden, 1).to(given.device)
            initialise(module, Randomness(keys, given.device))
            u = Randomness(keys, given.device).draws("u").normal(size.batch, size.window, CHANNELS + 1 + 16)
            kernels: dict[str, Callable[..., Tensor]] = {"native, one by one": _native, "batched products": _stacked}
            if "fused" in ways(size, given):
                kernels["fused"] = _fused
            for name, kernel in kernels.items():

                def work(kernel: Callable[..., Tensor] = kernel, module: LSTM = module, u: Tensor = u) -> None:
                    torch.autograd.grad(kernel(u, module.layers).square().sum(), list(module.parameters()))

                found = seconds(work, given)
                yield Row("lstm", f"{size.name}, R {runs}: {name}", 1e6 * found / runs, "us per run", "no graph")


def stages_part(given: Plan) -> Iterator[Row]:
    """One update of each stage, sampling, decoding and the measures, each way."""
    for size in given.sizes:
        for runs in size.stacks:
            for way in ways(size, given):
                what, cost = f"{size.name}, R {runs}, {way}", cost_of(size, runs, way, given)
                hows = ", ".join(f"{stage} {how}" for stage, how in cost.trained.programs.items())
                yield Row("stages", f"{what}: autoencoder", 1e3 * cost.autoencoder, "ms per update", hows)
                yield Row("stages", f"{what}: denoiser", 1e3 * cost.denoiser, "ms per update")
                yield Row("stages", f"{what}: {given.samples} samples", 1e3 * cost.samples / runs, "ms per run")
                yield Row("stages", f"{what}: set-up", 1e3 * cost.set_up, "ms per stack")
            yield from _decoding(size, runs, given, cost.trained)
        yield from _measures(size, given)


@torch.no_grad()
def _decoding(size: Size, runs: int, given: Plan, trained: Trained) -> Iterator[Row]:
    randomness = Randomness(keys_of(runs), given.device)
    z = randomness.draws("z").normal(given.samples, trained.model.latent)
    found = seconds(lambda: trained.model.decoder.generate(z, randomness.draws("decoding")), given)
    yield Row("stages", f"{size.name}, R {runs}: decoding {given.samples} latents", 1e3 * found / runs, "ms per run")


def _measures(size: Size, given: Plan) -> Iterator[Row]:
    """Of one trained run: on the device, and beside it on the CPU."""
    splits = _windows(size)
    with way_of("graphs", given):
        trained = training(size, 1, given, given.precision[1], METHODS["proposed"](N=0.05, M=0.9), splits=splits)
    model = trained.model
    series = torch.from_numpy(splits.test[: given.series])
    for device in dict.fromkeys([given.device, torch.device("cpu")]):
        model.to(device)
        x = series.to(device)
        with torch.no_grad():
            z = stacked([METHODS["proposed"](N=0.05, M=0.9)], device).posterior(model, x[None]).mean[0]
        decoder = model.decoder.single(0)  # type: ignore[attr-defined]
        once = dataclasses.replace(given, repeats=1, device=device)
        found = seconds(partial(dependency_measures, decoder, z, x[:, :-1]), once, warm=int(device.type == "cuda"))
        yield Row("stages", f"{size.name}: dependency of {len(x)} series, {device.type}", 1e3 * found, "ms per run")
    n = min(given.samples, len(splits.test))
    one, other = splits.test[:n], splits.train[:n]
    rng = partial(numpy_generator, "perf", 0)
    for where in dict.fromkeys([given.device, torch.device("cpu")]):
        work = partial(_sliced, one, other, rng, where)
        yield Row("stages", f"{size.name}: sliced Wasserstein, {where.type}", 1e3 * seconds(work, given), "ms per run")
    try:
        import ot
    except ImportError:
        return
    a, b = (part.reshape(n, -1).astype(float) for part in (one, other))
    found = seconds(lambda: ot.emd2([], [], ot.dist(a, b, metric="euclidean")), given, warm=0)
    yield Row("stages", f"{size.name}: exact Wasserstein, cpu, n {n}", 1e3 * found, "ms per run", "beside the device")


def _sliced(one: Any, other: Any, rng: Callable[[str], Any], device: torch.device) -> float:
    directions = rng("projections").standard_normal((one[0].size, PROJECTIONS))
    return sliced_distance(one, other, directions, device=device.type)


def runs_part(given: Plan) -> Iterator[Row]:
    """Whole runs per hour by one process, and how far an update is from its bound."""
    for size in given.sizes:
        alone = 0.0
        for runs in size.stacks:
            for way in ways(size, given):
                cost = cost_of(size, runs, way, given)
                per_hour = 3600 * runs / cost.of(given.run)
                alone = alone or per_hour
                what = f"{size.name}, R {runs}, {way}"
                note = f"{per_hour / alone:.3g} times R 1 plain; a kernel ran {cost.busy:.0f} % of the time"
                yield Row("runs", what, per_hour, "runs per hour", note)
                distance = cost.autoencoder / size.bound(runs)
                bound = f"of {1e3 * size.bound(runs):.3g} ms"
                yield Row("runs", f"{what}: autoencoder update / bound", distance, "times", bound)
                rate = runs / (cost.autoencoder + cost.denoiser)
                yield Row("runs", f"{what}: rate", rate, "updates/s", "to compare with `processes`")


def _process(given: Plan, size: Size, ready: Any, results: Any) -> None:
    """A process of its own: a run at a time, plainly."""
    torch.set_num_threads(1)
    try:
        with way_of("plain", given):
            training(size, 1, given, given.updates[0])
            ready.wait(200)
            found = training(size, 1, given, given.updates[1])
        results.put((given.updates[1] / (found.autoencoder_seconds + found.denoiser_seconds), ""))
    except Exception as error:  # a process that cannot have the device ends as a row
        ready.abort()
        results.put((0.0, in_one_line(error)))


def _together(given: Plan, size: Size, count: int) -> tuple[float, str]:
    """Updates (one of each stage) per second of `count` processes together, or why not."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count), context.Queue()
    child = dataclasses.replace(given, recorder="auto")  # a test's recorder cannot travel, and is not used
    started = [context.Process(target=_process, args=(child, size, ready, results)) for _ in range(count)]
    for process in started:
        process.start()
    try:
        found = [results.get(timeout=300) for _ in started]
    except queue.Empty:
        found = [(float("nan"), "a process ended without a word")]
    for process in started:
        process.join(10)
        process.kill()
    return sum(rate for rate, _ in found), next((reason for _, reason in found if reason), "")


@contextlib.contextmanager
def multi_process_service(device: torch.device) -> Iterator[str]:
    """NVIDIA's MPS for the processes started inside, or why there is none. It ends with the block."""
    control = shutil.which("nvidia-cuda-mps-control")
    if device.type != "cuda" or control is None:
        yield "nvidia-cuda-mps-control is not installed"
        return
    with tempfile.TemporaryDirectory() as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        before = {name: os.environ.get(name) for name in places}
        os.environ.update(places)
        try:
            started = _say(control, "-d")
            yield started
        finally:
            _say(control, text="quit\n")
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _say(*words: str, text: str = "") -> str:
    """Run a command; what went wrong, or nothing."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"exit {done.returncode}"


def processes_part(given: Plan) -> Iterator[Row]:
    """Updates per second of processes that share the device, each with one plain run at a time."""
    for size in given.sizes:
        for count in given.processes:
            yield _shared(given, size, count, "time slicing", "")
            with multi_process_service(given.device) as missing:
                yield _shared(given, size, count, "MPS", missing)


def _shared(given: Plan, size: Size, count: int, how: str, missing: str) -> Row:
    rate, reason = (float("nan"), missing) if missing else _together(given, size, count)
    note = reason or "all processes together, plain"
    return Row("processes", f"{size.name}, {count} processes, {how}: rate", rate, "updates/s", note)


def memory_part(given: Plan) -> Iterator[Row]:
    """Device memory of a stack, and of one more run in it."""
    for size in given.sizes:
        peaks = {}
        for runs in size.stacks:
            gc.collect()
            if given.device.type == "cuda":
                torch.cuda.empty_cache()
            reset_peak(given.device)
            with way_of(ways(size, given)[-1], given):
                training(size, runs, given, given.updates[0])
            peaks[runs] = peak_bytes(given.device)
            yield Row("memory", f"{size.name}, R {runs}: peak", peaks[runs] / 2**20, "MiB")
        few, many = min(peaks), max(peaks)
        each = (peaks[many] - peaks[few]) / (many - few)
        yield Row("memory", f"{size.name}: one more run", each / 2**20, "MiB")


def _memory(device: torch.device) -> dict[str, int]:
    """Bytes in use now, of the device and of this process."""
    gc.collect()
    lines = Path("/proc/self/statm")
    host = int(lines.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if lines.exists() else 0
    if device.type != "cuda":
        return {"host": host}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "host": host,
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "whole device": total - free,
    }


def creep_part(given: Plan) -> Iterator[Row]:
    """What stacks leave behind: memory after many against memory after a few, all in one process."""
    size = dataclasses.replace(given.sizes[0], window=min(8, given.sizes[0].window), series=60)
    few = max(1, given.creep // 10)
    before: dict[str, int] = {}
    for done in range(given.creep):
        if done == few:
            before = _memory(given.device)
        with way_of(ways(size, given)[-1], given):
            training(size, 4, given, max(given.updates[0], 70) if given.device.type == "cuda" else 4)
    for name, now in _memory(given.device).items():
        grown = (now - before[name]) / (given.creep - few)
        what = f"{name} memory, grown from stack {few} to {given.creep}"
        yield Row("creep", what, grown / 2**10, "KiB per stack", f"{now / 2**20:.0f} MiB at the end")


def precision_part(given: Plan) -> Iterator[Row]:
    """What TF32 and bfloat16 products do to the numbers: means over seeds, trained on the same batches."""
    size, (seeds, updates) = given.sizes[0], given.precision
    splits = _windows(size)
    method = METHODS["proposed"](N=0.05, M=0.9)
    n = min(given.samples, len(splits.test))
    for precision in ("float32", "tf32", "bf16"):
        try:
            with way_of("graphs", given):
                began = time.perf_counter()
                trained = training(size, seeds, given, updates, method, precision, splits)
                took = time.perf_counter() - began
        except (Unavailable, RuntimeError) as reason:  # not every processor has such products
            yield Row("precision", precision, float("nan"), "", f"not here: {reason}".splitlines()[0])
            continue
        nll = _last_nll(trained, updates)
        draws = Randomness(keys_of(seeds), given.device).draws("samples")
        with torch.no_grad():
            samples = stacked([method] * seeds, given.device).sample(trained.model, n, draws).cpu().numpy()
        rng = partial(numpy_generator, "perf", 0)
        distances = [_sliced(splits.test[:n], run, rng, torch.device("cpu")) for run in samples]
        note = f"{seeds} seeds, {updates} updates in {took:.1f} s"
        for name, values in {"validation NLL": nll, "sliced Wasserstein": distances}.items():
            spread = f"sd {statistics.stdev(values):.3g} over seeds"
            yield Row("precision", f"{precision}: {name}", statistics.fmean(values), "", f"{spread}; {note}")


def _last_nll(trained: Trained, updates: int) -> list[float]:
    """Nats per value on validation series, per run."""
    rows = trained.curves.rows
    return [value for _, step, _, term, value in rows if (term, step) == ("validation_nll_own", updates)]


def agreement_part(given: Plan) -> Iterator[Row]:
    """The largest difference of the validation NLL between equal computations, in nats per value."""
    size, updates = given.sizes[0], given.updates[0]

    def nll(way: Way, runs: int, at: Plan = given) -> Tensor:
        with way_of(way, at):
            return torch.tensor(_last_nll(training(size, runs, at, updates), updates))

    runs = size.stacks[1]
    base = nll("plain", runs)
    against = {f"{way} against plain, R {runs}": nll(way, runs) for way in ways(size, given)[1:]}
    against["plain, R 1 against a stack"] = nll("plain", 1)
    against["the same again"] = nll("plain", runs)
    on_cpu = dataclasses.replace(given, device=torch.device("cpu"))
    against[f"CPU against {given.device.type}"] = nll("plain", runs, on_cpu)
    for what, values in against.items():
        difference = float((values - base[: len(values)]).abs().max())
        yield Row("agreement", f"{what}, {updates} updates", difference, "nats per value")


PARTS: Mapping[str, Callable[[Plan], Iterator[Row]]] = {
    "agreement": agreement_part,
    "lstm": lstm_part,
    "stages": stages_part,
    "runs": runs_part,
    "processes": processes_part,
    "memory": memory_part,
    "precision": precision_part,
    "creep": creep_part,
}
"""By the names that `bench.perf.__main__.GPU` lists."""


def machine(device: torch.device) -> dict[str, str]:
    """What the numbers were taken on."""
    found = {"torch": torch.__version__, "python": platform.python_version(), "cores": str(os.cpu_count())}
    found["triton"] = lstm_triton.triton.__version__ if lstm_triton.triton is not None else "none"
    if device.type == "cuda":
        found |= {"device": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
    return found


def measure(names: Sequence[str], scale: Scale, write: Callable[[str], None], path: Path, stacks: int = 0) -> bool:
    """Print the rows of the named parts as they come, and write them to `path` after each part.

    stacks: how many `creep` trains, in place of the scale's number. A part that fails is a row with its reason; returns
    whether none did. Raises Unavailable without CUDA.
    """
    given = plan(scale)
    if stacks:
        given = dataclasses.replace(given, creep=stacks)
    facts = {**machine(given.device), "scale": scale, "date": time.strftime("%Y-%m-%d")}
    write(", ".join(f"{name} {value}" for name, value in facts.items()))
    rows: list[Row] = []
    good = True
    for name in names:
        write(f"\ngpu.{name}")
        began = time.perf_counter()
        try:
            for row in PARTS[name](given):
                write(str(row))
                rows.append(row)
        except Exception as error:  # the other parts go on: a GPU is often lent for minutes
            good = False
            rows.append(Row(name, "failed", float("nan"), "", in_one_line(error)))
            write(str(rows[-1]))
        write(f"  ({time.perf_counter() - began:.0f} s)")
        path.parent.mkdir(parents=True, exist_ok=True)
        listed = [{**dataclasses.asdict(row), "value": None if row.value != row.value else row.value} for row in rows]
        path.write_text(json.dumps({"machine": facts, "rows": listed}, indent=1))
    write(f"\nwritten: {path}")
    return good
