import csv
import io
import json
from pathlib import Path

from pipeline.artifacts.paths import splits_folder
from pipeline.store.store import Store
from pipeline.store.summary import quarantine_csv, summarise_store


def test_an_overview_counts_every_clip_once_and_is_plain_data(shared_store: Store) -> None:
    found = json.loads(json.dumps(summarise_store(shared_store)))
    assert found["clips"] == found["recordings"] == 72
    for counts in (found["bodies"], *found["counts"].values()):
        assert sum(counts.values()) == 72
    assert {name.split(" ", 1)[0] for name in found["counts"]["class"]} == set(shared_store.attributes["classes"])
    numbers = [int(subject) for subject in found["counts"]["subject"]]
    assert numbers == sorted(set(shared_store.columns["subject"].tolist()))
    frames = shared_store.columns["frames"]
    assert (found["frames"]["min"], found["frames"]["max"]) == (frames.min(), frames.max())
    assert found["splits"]["xsub"] == {"train": 36, "test": 36, "separates": "subject"}
    for count, told in found["quality"].items():
        values = shared_store.columns[f"quality_{count}"]
        assert (told["total"], told["clips"]) == (values.sum(), (values > 0).sum())
    assert found["store"]["recipe"] == shared_store.attributes["recipe"]
    assert found["store"]["digest"] == shared_store.digest


def test_an_overview_tells_of_a_damaged_split_and_goes_on(own_store: Path) -> None:
    store = Store(own_store)
    (splits_folder(own_store) / "xsub.json").write_text("{")
    found = summarise_store(store)
    assert "is not JSON" in found["splits"]["xsub"]["problem"]
    assert found["splits"]["xview"]["separates"] == "camera"


def test_the_quarantine_as_csv_reads_back(shared_store: Store) -> None:
    rows = list(csv.DictReader(io.StringIO(quarantine_csv(shared_store))))
    assert [{**row, **{key: int(row[key]) for key in ("line", "size", "crc32")}} for row in rows] == (
        shared_store.quarantine
    )
    assert len(rows) == 3
