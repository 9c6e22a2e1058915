#!/usr/bin/env bash
# Set up the environment, run a sweep and render its report. A second call continues where the first one stopped.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ./run_all.sh [--sweep NAME|FILE] [--data DIR] [--results DIR] [--fetch] [--smoke] [--test]
  --sweep NAME|FILE  a shipped sweep or a file of your own (default: quick)
  --data DIR         the folder of the real data (default: the variable BENCH_DATA)
  --results DIR      the results folder (default: results)
  --fetch            first download the open data sets that the sweep names and that are missing
  --smoke            a test of the installation with tiny sizes on simulated data (default results folder: results/smoke)
  --test             run the test suite instead
TEXT
}

fail() { echo "error: $*" >&2; exit 2; }

sweep=quick results="" mode=run fetch=""
while [ $# -gt 0 ]; do
    case "$1" in
        --sweep | --data | --results)
            [ $# -ge 2 ] || fail "$1: expected a value"
            case "$1" in
                --sweep) sweep=$2 ;;
                --data) export BENCH_DATA=$2 ;;
                --results) results=$2 ;;
            esac
            shift 2 ;;
        --fetch) fetch=yes; shift ;;
        --smoke) sweep=smoke; results=${results:-results/smoke}; shift ;;
        --test) mode=test; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "unknown option $1" ;;
    esac
done
results=${results:-results}

# Paths on the command line are relative to the caller's folder; everything else is relative to this folder.
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
if [ -n "${BENCH_DATA:-}" ]; then
    [ -d "$BENCH_DATA" ] || fail "--data $BENCH_DATA: expected a folder, there is none"
    BENCH_DATA=$(absolute "$BENCH_DATA"); export BENCH_DATA
fi
[ -f "$sweep" ] && sweep=$(absolute "$sweep")
here=$(cd "$(dirname "$0")" && pwd)
[ "$PWD" = "$here" ] || results=$(absolute "$results")
cd "$here"

# Use the active environment, or make one.
activate=""
if [ -z "${VIRTUAL_ENV:-}" ]; then
    if [ ! -x .venv/bin/python ]; then
        python=$(command -v python3) || fail "python3 is not installed: expected Python 3.11 or newer"
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is too old: expected Python 3.11 or newer"
        echo "making .venv"
        "$python" -m venv .venv
    fi
    . .venv/bin/activate
    activate=". $here/.venv/bin/activate"
fi

# Install only if the requirements changed since the last call.
extra=""
[ "$mode" = test ] && extra="[dev]"
wanted=$(cat pyproject.toml constraints.txt | cksum)$here
stamp="$VIRTUAL_ENV/.bench-installed"
if ! grep -qsxF "$extra $wanted" "$stamp" && ! grep -qsxF "[dev] $wanted" "$stamp"; then
    echo "installing (a few minutes the first time)"
    python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".$extra"
    echo "$extra $wanted" > "$stamp"
fi

if [ "$mode" = test ]; then
    exec python -m pytest -n auto --maxprocesses 4
fi

[ -z "$fetch" ] || python -m bench.data fetch --sweep "$sweep"
status=0
python -m bench.run --grid "$sweep" --results "$results" || status=$?
case $status in 0 | 1) ;; *) exit $status ;; esac  # 1: some runs failed; the report says which
python -m bench.report --results "$results"
[ -z "$activate" ] || echo "for further commands, activate the environment: $activate"
exit $status
