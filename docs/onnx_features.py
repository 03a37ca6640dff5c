"""Features of clips by an exported encoder, with nothing but onnxruntime and numpy: no torch, no skelepipe.

Run: python docs/onnx_features.py MODEL.onnx CLIPS.npz FEATURES.npz

CLIPS.npz holds `data` (N, 3, T, V, M) in metres, as `skelepipe export --format npz` writes it; FEATURES.npz gets what
`skelepipe embed --input CLIPS.npz` gives, `features` and, of a model with a classifier, `scores`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

BATCH = 32
"""Clips at a time: any number gives the same features."""


def resized(clip: np.ndarray, frames: int) -> np.ndarray:
    """A clip (3, T, V, M), NaN where missing, with so many frames, as a training has it: then missing is 0."""
    T = clip.shape[1]
    if T == frames:
        return np.nan_to_num(clip)
    place = np.clip((np.arange(frames) + 0.5) * (T / frames) - 0.5, 0, T - 1)
    below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
    weight = (place - below).astype(np.float32)[:, None, None]
    return np.nan_to_num(clip[:, below] * (1 - weight) + clip[:, above] * weight)


def main(model: Path, clips: Path, output: Path) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta()
    print(said.description)
    data = np.load(clips, allow_pickle=False)["data"].astype(np.float32)
    frames = int(said.custom_metadata_map["frames"])
    if data.shape[2] != frames:
        print(f"clips of {data.shape[2]} frames; the encoder was trained on {frames}")
    names = [made.name for made in session.get_outputs()]
    parts = [session.run(None, {"clips": data[start : start + BATCH]}) for start in range(0, len(data), BATCH)]
    found = {name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}
    np.savez(output, **found)
    if "scores" in found:
        classes = json.loads(said.custom_metadata_map["classes"])
        for row, column in enumerate(found["scores"].argmax(axis=1)):
            print(row, classes[column]["id"], classes[column]["name"])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
