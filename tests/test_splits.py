import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline import manifest, splits
from pipeline.documents import SPLIT
from pipeline.errors import ArtifactError, ArtifactNotFound, ConfigError
from pipeline.ntu_names import NTU60
from pipeline.store import Store


def rewrite(path: Path, **changes: object) -> None:
    plain = json.loads(path.read_text())
    plain.pop("digest")
    path.write_bytes(manifest.seal_document(SPLIT, {**plain, **changes}))


def test_xsub_divides_by_performer_and_xview_by_camera(shared_store: Store) -> None:
    xsub, xview = (splits.find(shared_store, name) for name in ("xsub", "xview"))
    for row, (performer, camera) in enumerate(
        zip(shared_store.columns["subject"], shared_store.columns["camera"], strict=True)
    ):
        assert (row in xsub.train) == (performer in NTU60.xsub_train)
        assert (row in xview.train) == (camera in (2, 3))
    assert len(xsub.train) + len(xsub.test) == len(xview.train) + len(xview.test) == len(shared_store)


def test_the_official_lists_are_those_of_the_paper() -> None:
    xsub, xview = splits.OFFICIAL["ntu60"]
    assert xsub.train["subject"] == [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]
    assert sorted([*xsub.train["subject"], *xsub.test["subject"]]) == list(range(1, 41))
    assert (xview.train, xview.test) == ({"camera": [2, 3]}, {"camera": [1]})
    xsub, xset = splits.OFFICIAL["ntu120"]
    assert len(xsub.train["subject"]) == len(xsub.test["subject"]) == 53
    assert sorted([*xsub.train["subject"], *xsub.test["subject"]]) == list(range(1, 107))
    assert (xset.train, xset.test) == ({"setup": [*range(2, 33, 2)]}, {"setup": [*range(1, 33, 2)]})


def test_building_again_gives_the_same_bytes(own_store: Path) -> None:
    store = Store(own_store)
    shutil.rmtree(splits.folder(own_store))
    built = splits.build(store, fractions=[0.5], seeds=[3])
    before = {path: path.read_bytes() for path in splits.folder(own_store).glob("*.json")}
    splits.build(store, fractions=[0.5], seeds=[3])
    assert {path: path.read_bytes() for path in splits.folder(own_store).glob("*.json")} == before
    assert {split.path for split in built.splits} | {subset.path for subset in built.subsets} == set(before)


def test_a_fraction_holds_its_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [200, 50, 3])
    chosen = splits.stratified(labels, 0.1, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [20, 5, 1]
    assert len(set(chosen.tolist())) == len(chosen)


def test_fractions_differ_by_seed_and_are_training_rows(own_store: Path) -> None:
    store = Store(own_store)
    one, other = (splits.build(store, ["xsub"], [0.5], [seed]).subsets[0] for seed in (0, 1))
    assert one.rows.tolist() != other.rows.tolist()
    assert np.isin(one.rows, splits.find(store, "xsub").train).all()
    assert one.path != other.path


def test_a_split_of_another_store_is_refused(own_store: Path) -> None:
    path = splits.folder(own_store) / "xsub.json"
    plain = json.loads(path.read_text())
    rewrite(path, store={**plain["store"], "digest": "0" * 64})
    with pytest.raises(ArtifactError, match="was built for another store"):
        splits.load(path, Store(own_store))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda train, test: (train + test[:1], test), "stands twice"),
        (lambda train, test: (train + train[:1], test), "stands twice"),
        (lambda train, test: (train, [*test[1:], 10_000]), "rows that .* does not have"),
    ],
)
def test_a_split_that_leaks_is_refused_though_its_digest_is_right(
    own_store: Path, change: object, complaint: str
) -> None:
    path = splits.folder(own_store) / "xsub.json"
    plain = json.loads(path.read_text())
    train, test = change(plain["train"], plain["test"])  # type: ignore[operator]
    rewrite(path, train=train, test=test)
    with pytest.raises(ArtifactError, match=complaint):
        splits.load(path, Store(own_store))


def test_a_split_of_another_format_version_is_refused(own_store: Path) -> None:
    path = splits.folder(own_store) / "xsub.json"
    rewrite(path, format_version=99)
    with pytest.raises(ArtifactError, match="format version 99, this skelepipe reads 1"):
        splits.load(path, Store(own_store))


def test_a_split_changed_by_hand_is_refused(own_store: Path) -> None:
    path = splits.folder(own_store) / "xsub.json"
    plain = json.loads(path.read_text())
    plain["test"] = plain["test"][1:]
    path.write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match="does not match its digest"):
        splits.load(path, Store(own_store))


def test_a_subset_of_another_split_or_of_test_rows_is_refused(own_store: Path) -> None:
    store = Store(own_store)
    subset = splits.build(store, ["xsub"], [0.5]).subsets[0]
    xsub, xview = splits.find(store, "xsub"), splits.find(store, "xview")
    assert splits.load_subset(subset.path, xsub).rows.tolist() == subset.rows.tolist()
    with pytest.raises(ArtifactError, match="was drawn from another split"):
        splits.load_subset(subset.path, xview)
    for rows, told in (
        (xsub.test.tolist(), "not training rows"),
        ([-1], "field rows.0"),
        ([2**62], "not training rows"),
        ([*subset.rows.tolist(), int(subset.rows[0])], "has a clip twice"),
    ):
        rewrite(subset.path, rows=rows)
        with pytest.raises(ArtifactError, match=told):
            splits.load_subset(subset.path, xsub)


def test_unknown_splits_and_fractions_are_said(own_store: Path) -> None:
    store = Store(own_store)
    with pytest.raises(ConfigError, match="has no split 'xset'; it has xsub, xview"):
        splits.build(store, ["xset"])
    with pytest.raises(ConfigError, match=r"0.01 is one per cent"):
        splits.build(store, fractions=[10])


def test_a_side_without_rows_is_refused_or_skipped(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(own_store)
    store.columns["camera"][:] = 1
    with pytest.raises(ArtifactError, match="no training rows by its rule"):
        splits.build(store, ["xview"])
    built = splits.build(store)
    assert [split.name for split in built.splits] == ["xsub"]
    assert "xview" in built.skipped[0]
    store.columns["subject"][:] = 1
    with pytest.raises(ArtifactError, match=r"no split can be made: xsub: the store has no test rows .*; xview: the"):
        splits.build(store)


def test_without_a_name_xsub_is_found_and_a_missing_one_is_told(own_store: Path) -> None:
    store = Store(own_store)
    assert splits.find(store).name == "xsub"
    (splits.folder(own_store) / "xsub.json").unlink()
    assert splits.find(store).name == "xview"
    with pytest.raises(ArtifactNotFound, match="there are xview; build splits with"):
        splits.find(store, "xsub")


def test_a_split_under_anothers_name_is_refused(own_store: Path) -> None:
    store = Store(own_store)
    shutil.copy(splits.folder(own_store) / "xview.json", splits.folder(own_store) / "xsub.json")
    with pytest.raises(ArtifactError, match=r"xsub.json: holds the split xview; run"):
        splits.find(store, "xsub")


def test_fractions_that_differ_little_do_not_share_a_file(own_store: Path) -> None:
    built = splits.build(Store(own_store), ["xsub"], [0.5, 0.50000001, 0.1])
    names = [subset.path.name for subset in built.subsets]
    assert names == ["xsub.train-0.1.seed0.json", "xsub.train-0.5.seed0.json", "xsub.train-0.50000001.seed0.json"]
