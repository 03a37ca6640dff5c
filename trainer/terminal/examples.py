"""One example of each command, which its help shows."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "convert": "convert mediapipe videos/ --pattern '(?P<subject>p[0-9]+)_' --out own",
    "init": "init recordings/",
    "ingest": "ingest ntu60 raw/",
    "finalise": "finalise processed/ntu60.zarr",
    "build-splits": "build-splits --split xsub --label-fraction 0.01 0.1",
    "pretrain": "pretrain --preset quick --epochs 30 --name first",
    "eval": "eval runs/first --protocol knn linear",
    "predict": "predict runs/first new/ --top 3 --out classes.csv",
    "embed": "embed runs/first --store processed/ntu60.zarr --out features.npz",
    "import-weights": "import-weights model.pt --source skelemixclr --out runs/imported",
    "export": "export processed/ntu60.zarr --format ctrgcn --out NTU60_CS.npz",
    "inspect": "inspect processed/ntu60.zarr",
    "view": "view A004 'brushing teeth' --html clips.html",
    "report": "report runs/first",
    "verify": "verify processed/ntu60.zarr",
    "synth": "synth ntu60 raw --clips 480",
    "doctor": "doctor",
    "show": "config show --preset quick",
    "completion": "completion bash",
    "bench": "bench",
    "demo": "demo",
}
"""By the command's name; `show` is `config show`."""
