"""The same work on a cluster: slots of a dask.distributed scheduler in place of local processes.

The supervisor, its leases, retries and limits stay as they are (`bench.engine.supervisor`); dask only places a
stack on a machine. Results are written by the worker where the results folder is shared, or come
back as bytes and are written here (`--no-shared-fs`). Needs the extra `cluster` (dask.distributed).

A scheduler of your own: start it with `DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0`, because
retries are the supervisor's; its workers with one thread each, on GPUs with `--resources GPU=1` and
a device each. bench/docs/cluster.md has a recipe for Slurm.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import re
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from bench.contracts import InputError
from bench.engine.tasks import Outcome, Task
from bench.engine.workers import JOB, Worker, WorkerDied, work
from bench.store import Store
from bench.sweeps.stacks import Stack

_ANSWER_SECONDS = 10
Files = dict[str, bytes]
"""Path below the results folder -> content."""


def _work_there(job: str, stack: Stack, settings: Any, attempt: int) -> tuple[list[Outcome], Files]:
    """On a worker that shares the results folder."""
    return work(job, stack, settings, attempt), {}


def _work_away(job: str, stack: Stack, settings: Any, attempt: int) -> tuple[list[Outcome], Files]:
    """On a worker that does not: everything that the job wrote comes back."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Path(folder)
        outcomes, _ = _work_there(job, stack, dataclasses.replace(settings, results=place), attempt)
        found = sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))
        return outcomes, {path.relative_to(place).as_posix(): path.read_bytes() for path in found}


def _importing(job: str) -> Any:
    """A dask plug-in: every worker, also one that is restarted, imports what the job needs before its first task.

    So no time limit counts the imports.
    """
    from distributed import WorkerPlugin

    class Importing(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            importlib.import_module(job.partition(":")[0])

    return Importing()


class Cluster:
    """A connection to a scheduler. `local:N` starts one with N workers on this machine."""

    def __init__(self, address: str, device: str = "cpu", shared: bool = True) -> None:
        """Raises InputError where dask is not installed or no scheduler answers."""
        try:
            import dask
            import distributed
        except ImportError as error:
            raise InputError("--cluster needs dask.distributed: pip install '.[cluster]' in this folder") from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self.address, self.device, self.shared = address, device, shared
        self._local: Any = None
        self._memory: dict[str, int] = {}
        self._asked = 0.0
        # The supervisor repeats a stack that killed its worker, run by run.
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.comm.retry.count": 0})
        local = re.fullmatch(r"local:([1-9][0-9]{0,3})", address)
        if not local and not re.fullmatch(r"(tcp|tls|ws|wss|ucx)://\S+:[0-9]{1,5}", address):
            raise InputError(f"--cluster {address}: expected tcp://HOST:PORT, or local:N for N workers here")
        if local:
            self._local = distributed.LocalCluster(
                n_workers=int(local[1]),
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                memory_limit=0,  # the supervisor's --memory-limit is the only one
            )
            address = self._local.scheduler_address
        try:
            self.client = distributed.Client(address, timeout=_ANSWER_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # a timeout is an OSError
            raise InputError(f"--cluster {address}: no scheduler answers there, expected tcp://HOST:PORT") from error

    def workers(self, jobs: int | None, store: Store, job: str = JOB) -> list[ClusterWorker]:
        """`jobs` slots, or one per thread of the workers that are there. Raises InputError where there are none."""
        threads = sum(self.client.nthreads().values())
        if threads == 0 and jobs is None:
            self.close()
            raise InputError(
                f"--cluster {self.address}: the scheduler has no workers yet: start some, or say with --jobs how many "
                "will come"
            )
        self.client.register_plugin(_importing(job))
        return [ClusterWorker(self, store) for _ in range(jobs or threads)]

    def memory(self) -> dict[str, int]:
        """Address -> resident bytes of every worker, as last reported; queried once a second at most."""
        now = time.monotonic()
        if now - self._asked > 1:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
            self._memory = {address: int(facts["metrics"].get("memory", 0)) for address, facts in workers.items()}
            self._asked = now
        return self._memory

    def lost(self) -> InputError:
        """The error for a scheduler that is gone."""
        return InputError(
            f"--cluster {self.address}: the scheduler is gone; finished runs are safe: start the same command again"
        )

    @property
    def alive(self) -> bool:
        """Whether the connection stands."""
        return str(self.client.status) == "running"

    def close(self) -> None:
        """Disconnect, and end a cluster of our own."""
        with contextlib.suppress(Exception):  # the cluster may be gone or slow: nothing here waits for it
            self.client.close(timeout=5)
        with contextlib.suppress(Exception):
            if self._local is not None:
                self._local.close(timeout=10)


class ClusterWorker(Worker):
    """One stack at a time, wherever the scheduler puts it."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster, self._store = cluster, store
        self._remote: Any = None
        self._began = 0.0
        self._at: list[str] = []  # addresses of the workers that have the stack

    def submit(self, task: Task, settings: Any, job: str) -> None:
        """Begin a stack."""
        cluster = self._cluster
        if not cluster.alive:
            raise cluster.lost()
        self.task, self.future, self._began = task, Future(), 0.0
        self._remote = cluster.client.submit(
            _work_there if cluster.shared else _work_away,
            job,
            task.stack,
            dataclasses.replace(settings, device=cluster.device),
            task.attempt,
            key=f"{task.stack.stack_id}-{task.attempt}-{time.time_ns()}",
            pure=False,
            retries=0,
            resources={"GPU": 1} if cluster.device == "cuda" else None,
        )

    def look(self) -> None:
        """Pass on the result of the stack."""
        if self.future is None or self.future.done() or self._remote is None:
            return
        if not self._cluster.alive:
            self.future.set_exception(self._cluster.lost())
        elif self._remote.done():
            self._pass_on(self.future)
        elif not self._began:
            self._at = self._place()
            self._began = time.monotonic() if self._at else 0.0

    def _pass_on(self, future: Future[list[Outcome]]) -> None:
        from distributed import CancelledError, KilledWorker

        try:
            outcomes, files = self._remote.result(timeout=_ANSWER_SECONDS)
            self._store.take_in(files)
        except KilledWorker:
            future.set_exception(WorkerDied("its cluster worker died"))
        except CancelledError:
            died = WorkerDied("its stack was removed from the cluster")
            future.set_exception(died if self._cluster.alive else self._cluster.lost())
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(outcomes)

    def _place(self) -> list[str]:
        """Addresses of the workers that are working on the stack."""
        key = self._remote.key
        return [address for address, keys in self._cluster.client.processing().items() if key in keys]

    def seconds(self) -> float:
        """Seconds since the scheduler gave the stack to a worker."""
        return time.monotonic() - self._began if self._began else 0.0

    def memory(self) -> int:
        """Resident bytes of the worker that has the stack, by its last heartbeat; 0 where that is not known."""
        if not self._began or not self._cluster.alive:
            return 0
        known = self._cluster.memory()
        return max((known.get(address, 0) for address in self._at), default=0)

    def stop(self) -> None:
        """Remove the stack from the cluster; a task that cannot be interrupted is ended with its process."""
        remote, self._remote = self._remote, None
        if remote is None or remote.done() or not self._cluster.alive:
            return
        self._remote = remote
        places = self._place()
        self._remote = None
        remote.cancel(force=True)
        if places:
            with contextlib.suppress(Exception):  # a worker without a nanny cannot be restarted: it ends by itself
                self._cluster.client.restart_workers(places, timeout=30, raise_for_error=False)
