"""The proof of identical bytes runs the demo with one and two workers and notices one changed byte."""

import json
from pathlib import Path

from tests.proofs import faults, same_bytes
from trainer.terminal.demo import demo_commands


def test_the_commands_start_with_those_of_the_demo() -> None:
    found = [*same_bytes.commands(48, 1, 2)]
    demo = demo_commands(48, 1)
    assert [command.removesuffix(" --workers 2") for command in found[: len(demo)]] == [*demo]
    asked = [command.split()[0] for command in found if command.endswith(" --workers 2")]
    assert asked == ["ingest", "pretrain"]


def test_a_changed_byte_is_found_and_the_training_speed_is_ignored(tmp_path: Path) -> None:
    for way in "ab":
        (tmp_path / way / "runs").mkdir(parents=True)
        (tmp_path / way / "features.npz").write_bytes(b"features")
        log = {"step": 0, "total": 7.5, "samples_per_second": ord(way), "seconds": ord(way), "device": way}
        (tmp_path / way / "runs" / "log.jsonl").write_text(json.dumps(log) + "\n")
    one = faults.bytes_of(tmp_path / "a")
    assert same_bytes.compare(one, faults.bytes_of(tmp_path / "b")) == []
    (tmp_path / "b" / "features.npz").write_bytes(b"featurez")
    (tmp_path / "b" / "runs" / "log.jsonl").write_text(json.dumps(log | {"total": 7.25}) + "\n")
    (tmp_path / "b" / "more").touch()
    assert same_bytes.compare(one, faults.bytes_of(tmp_path / "b")) == ["features.npz", "more", "runs/log.jsonl"]
