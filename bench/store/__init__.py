"""The parquet tables of a results folder; the only reader and writer of it.

    results/runs/PART.parquet      one row per (run_id, attempt)
    results/metrics/PART.parquet   one row per number measured
    results/curves/PART.parquet    one row per point of a training curve
    results/sweeps/NAME.json       which runs a sweep's report shows
    results/models/RUN_ID/         weights and samples that were kept
    results/leases/RUN_ID          which supervisor is working on a run

A part holds one finished stack and never changes. Its metrics and curves are written first, then
its runs; every file under a temporary name, flushed to disk, and moved. So a part exists exactly
when its runs file does, whatever is killed at whatever moment. Many small parts are compacted
into one whose runs file lists the parts that it replaces: that move is the switch, and the old
files are deleted afterwards.
"""

from bench.store.compaction import COMPACT_AT
from bench.store.durable import Unwritable, flush, replacing, unwritable
from bench.store.frames import spelled
from bench.store.leases import LEASE_SECONDS, Leases, lease_owner
from bench.store.memberships import Membership
from bench.store.schema import CURVES, METRICS, RUNS, SCHEMA_VERSION, STATUSES
from bench.store.store import Done, Store, existing, load_curves, load_memberships, load_results

__all__ = [
    "COMPACT_AT",
    "CURVES",
    "LEASE_SECONDS",
    "METRICS",
    "RUNS",
    "SCHEMA_VERSION",
    "STATUSES",
    "Done",
    "Leases",
    "Membership",
    "Store",
    "Unwritable",
    "existing",
    "flush",
    "lease_owner",
    "load_curves",
    "load_memberships",
    "load_results",
    "replacing",
    "spelled",
    "unwritable",
]
