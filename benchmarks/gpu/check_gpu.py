"""Check the results of a GPU: golden step, agreement with the CPU, a training, a resume, an evaluation.

Run: python -m benchmarks.gpu.check_gpu --out DIR

Writes DIR/checks.json. Exit code 0: all passed; 1: a check failed; 2: no GPU, or a package is missing. `--device cpu
--small` runs the same checks quickly where there is no GPU.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

NEEDED = ("torch", "numpy", "pydantic", "safetensors", "click", "zarr", "numba", "filelock", "isal")
TINY = ("frames=16", "epochs=2", "batch_size=12", "method.mix.frames=[1, 3]", "encoder.hidden_channels=2")


class Findings:
    """Checks and figures. The file is written after every entry, so that a crash keeps the earlier ones."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.about = about
        self.checks: dict[str, str] = {}
        self.figures: dict[str, Any] = {}

    def check(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a check. Any exception makes it fail, but does not stop the other checks."""
        began, answer = time.perf_counter(), None
        try:
            answer = work()
            self.checks[name] = "passed"
        except Exception as error:
            self.checks[name] = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:500]}"
            if not isinstance(error, AssertionError):
                traceback.print_exc()
        print(f"{name}: {self.checks[name]} ({time.perf_counter() - began:.1f} s)", flush=True)
        self.write()
        return answer

    def figure(self, name: str, value: Any) -> None:
        self.figures[name] = value
        print(f"{name}: {value}", flush=True)
        self.write()

    def write(self) -> None:
        plain = {**self.about, "checks": self.checks, "figures": self.figures}
        self.path.write_text(json.dumps(plain, indent=1) + "\n")


def golden(findings: Findings, device: Any) -> None:
    """Compare a training step with the reference code, with the tolerances of the tests."""
    import torch

    from tests.support import golden_step

    for dtype in (torch.float32, torch.float64):
        kind = f"golden step, {str(dtype).removeprefix('torch.')}"
        given = golden_step.Golden(dtype, device)
        stepped = findings.check(f"{kind}, runs", lambda given=given: golden_step.step(given))
        for check in golden_step.CHECKS if stepped else ():
            name = f"{kind}, {check.__name__.replace('_', ' ')}"
            findings.check(name, lambda check=check, given=given, stepped=stepped: check(given, stepped))


def agreement(findings: Findings, device: Any) -> None:
    """Compare random draws, augmentation, mixing, pooling, queue and loss with the CPU."""
    from tests.support import device_checks

    for check in device_checks.CHECKS + (device_checks.GPU_CHECKS if device.type == "cuda" else ()):
        findings.check(check.__name__.replace("_", " "), lambda check=check: check(device))


def whole_job(findings: Findings, device: Any, small: bool, folder: Path) -> None:
    """Run synthesis, training, resume and evaluation on the device."""
    import torch
    from safetensors.torch import load_file

    from pipeline.ingest.ingest import ingest
    from pipeline.ingest.request import IngestRequest
    from pipeline.recipes.recipe import load_recipe
    from pipeline.store.build_splits import build_splits
    from pipeline.store.splits import find_split
    from pipeline.store.store import Store
    from pipeline.synth.ntu import write_ntu
    from trainer.config.presets import compose_pretrain, load_preset
    from trainer.evaluation.evaluate import EvaluateRequest, evaluate
    from trainer.pretrain.pretrain import PretrainProgress, PretrainRequest, PretrainResult, pretrain
    from trainer.runs import checkpoint
    from trainer.runtime.signals import Interrupted

    write_ntu("ntu60", folder / "raw", clips=36 if small else 480, seed=0)
    output = folder / "processed" / "ntu60.zarr"
    ingest(
        IngestRequest(dataset="ntu60", roots=(folder / "raw",), output=output, recipe=load_recipe("clean"), workers=1)
    )
    store = Store(output)
    build_splits(store)
    split = find_split(store, "xsub")
    config = compose_pretrain(load_preset("quick"), None, TINY if small else ("epochs=20",))

    def request(name: str) -> PretrainRequest:
        return PretrainRequest(
            store=store, split=split, preset="quick", config=config, output=folder / "runs" / name, device=device
        )

    def stop_in_the_middle(tick: PretrainProgress) -> None:
        if tick.step == tick.total_steps // 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    def weights(name: str) -> dict[str, torch.Tensor]:
        newest, _ = checkpoint.newest_intact(folder / "runs" / name / "checkpoints")
        tensors = [load_file(newest / file) for file in (checkpoint.MODEL, checkpoint.OPTIMISER)]
        return {f"{index}.{key}": value for index, state in enumerate(tensors) for key, value in state.items()}

    def train() -> PretrainResult:
        losses: list[float] = []
        report = pretrain(request("whole"), lambda tick: losses.append(tick.loss["total"]))
        epoch = len(losses) // config.epochs
        # The first epoch fills the queue; its initial random vectors are easier negatives than clips.
        second, last = statistics.fmean(losses[epoch : 2 * epoch]), statistics.fmean(losses[-epoch:])
        findings.figure("training, quick preset, samples/s", round(report.samples_per_second, 1))
        findings.figure("training, mean loss of second and last epoch", [second, last])
        assert last < second or small, "the loss did not fall"
        return report

    def resume() -> None:
        with contextlib.suppress(Interrupted):
            pretrain(request("halved"), stop_in_the_middle)
        assert pretrain(request("halved")).outcome == "resumed"
        whole, halved = weights("whole"), weights("halved")
        assert whole.keys() == halved.keys()
        apart = max(float((whole[key].double() - halved[key].double()).abs().max()) for key in whole)
        findings.figure("resume, largest difference from never stopped", apart)
        assert apart == 0.0, f"weights, queue or momenta are {apart} apart"

    def judge(run: Any) -> None:
        found = evaluate(EvaluateRequest(run=run, store=store, split=split, protocols=("knn", "linear"), device=device))
        for protocol, result in found.items():
            rows = {name: round(row["top1"], 1) for name, row in result["rows"].items()}
            findings.figure(f"{protocol}, top-1 % on synthetic clips", rows)

    report = findings.check("a training runs", train)
    if report is not None:
        findings.check("a stopped training ends as if never stopped", resume)
        findings.check("an evaluation runs", lambda: judge(report.run))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("gpu"), help="folder of checks.json")
    options.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to test the script")
    options.add_argument(
        "--small", action="store_true", help="tiny sizes, to test the script; the figures mean nothing"
    )
    given = options.parse_args()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"missing packages: {', '.join(missing)}; pip install {' '.join(missing)}", file=sys.stderr)
        return 2
    import torch

    from pipeline.errors import ConfigError
    from trainer.bench.timing import git_commit
    from trainer.doctor.processor import processor_name
    from trainer.runtime.device import choose_device, describe_device, make_arithmetic_exact

    try:
        make_arithmetic_exact()
        device = choose_device(given.device)
    except ConfigError as error:
        print(f"no GPU to check: {error}; torch is {torch.__version__}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    about = {
        "device": describe_device(device),
        "processor": processor_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "python": platform.python_version(),
        "commit": git_commit(),
        "small": given.small,
    }
    findings = Findings(given.out / "checks.json", about)
    print(" ".join(f"{key}={value}" for key, value in about.items()), flush=True)
    golden(findings, device)
    agreement(findings, device)
    with tempfile.TemporaryDirectory() as folder:
        findings.check(
            "synthetic recordings become a run", lambda: whole_job(findings, device, given.small, Path(folder))
        )
    failed = [name for name, status in findings.checks.items() if status != "passed"]
    print(f"{len(findings.checks) - len(failed)} of {len(findings.checks)} checks passed; {findings.path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
