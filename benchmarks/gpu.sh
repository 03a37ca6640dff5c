#!/usr/bin/env bash
# Run all GPU checks and benchmarks in at most nine minutes: correctness, speed, memory and accuracy.
#
#   make wheels                on a machine with a network: fills wheels/
#   bash benchmarks/gpu.sh     on the machine with the GPU
#
# The GPU machine needs Python 3.12 as python3, with torch (CUDA), numpy, numba, h5py and click. Other missing packages are
# installed from wheels/ into a temporary folder. The training uses processed/ui-prmd.zarr and its split xsub if they exist.
#
# Each part has its own time limit, 540 s in total. A failing part does not stop the others. Results go to $OUT (default gpu/);
# a summary table is printed at the end. Exit code 0: all parts succeeded.
#
#   SMALL=1 DEVICE=cpu bash benchmarks/gpu.sh       a rehearsal without a GPU; its figures mean nothing
#   ONLY="checks,bench eval" bash benchmarks/gpu.sh  only these parts
set -u
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cuda}
OUT=${OUT:-gpu}
small=${SMALL:+--small}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
site=$scratch/site
export PYTHONPATH="$PWD:$site" PYTHONUNBUFFERED=1
ONLY=${ONLY:+,$ONLY,wheels,}

part() {  # NAME LIMIT COMMAND...: run COMMAND for at most LIMIT seconds; record name, seconds, limit, exit status
    local name=$1 limit=$2 began=$SECONDS
    shift 2
    if [[ -n $ONLY && $ONLY != *",$name,"* ]]; then return; fi
    echo "== $name"
    timeout -k 3 "$limit" "$@"
    local status=$?
    printf '%s\t%s\t%s\t%s\n' "$name" $((SECONDS - began)) "$limit" "$status" >>"$OUT/parts.tsv"
}

bench() {  # WHAT LIMIT OPTIONS: run one part of `skelepipe bench`
    local options=$3
    [[ -z ${SMALL:-} ]] || options='--small --rounds 1'
    part "bench $1" "$2" bash -c '"$0" -m cli bench "$1" --device "$2" --json $4 >"$3"' \
        "$PYTHON" "$1" "$DEVICE" "$OUT/bench_$1.json" "$options"
}

install() {  # install missing packages
    local needed='import click, filelock, google_crc32c, h5py, isal, numba, numcodecs, pydantic, rich, safetensors, zarr'
    if ! "$PYTHON" -c "$needed" 2>/dev/null; then
        part wheels 25 "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$site" wheels/*.whl
    fi
    if ! "$PYTHON" -c 'import importlib.metadata as m; m.version("skelepipe")' 2>/dev/null; then
        mkdir -p "$site/skelepipe-0.dist-info"  # stores and runs record the version that wrote them
        printf 'Metadata-Version: 2.1\nName: skelepipe\nVersion: %s\n' \
            "$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" >"$site/skelepipe-0.dist-info/METADATA"
    fi
}

everything() {
    install
    part machine 15 "$PYTHON" -m benchmarks.gpu.gpu_report machine
    part checks 110 "$PYTHON" -m benchmarks.gpu.check_gpu --device "$DEVICE" --out "$OUT" $small
    bench train 190 '--rounds 2'
    bench eval 70 '--rounds 1'              # a linear evaluation takes some 15 s
    bench load 35 '--rounds 3'
    part training 95 "$PYTHON" -m benchmarks.gpu.gpu_training --device "$DEVICE" --out "$OUT/training.json" $small \
        ${SMALL:+--epochs 2}
    "$PYTHON" -m benchmarks.gpu.gpu_report table "$OUT"
}

mkdir -p "$OUT"
rm -f "$OUT"/{parts.tsv,log.txt,checks.json,bench_train.json,bench_eval.json,bench_load.json,training.json}
everything 2>&1 | tee "$OUT/log.txt"
exit "${PIPESTATUS[0]}"
