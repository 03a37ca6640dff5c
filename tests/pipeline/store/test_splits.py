import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import manifest
from pipeline.artifacts.paths import splits_folder
from pipeline.artifacts.schemas import SPLIT
from pipeline.errors import ArtifactError, ArtifactNotFound, ConfigError
from pipeline.sources.ntu.names import NTU60
from pipeline.store import split_rules
from pipeline.store.build_splits import build_splits, sample_each_class
from pipeline.store.splits import built_split_names, find_split, load_split, load_subset, load_subsets
from pipeline.store.store import Store


def rewrite(path: Path, **changes: object) -> None:
    plain = json.loads(path.read_text())
    plain.pop("digest")
    path.write_bytes(manifest.encode_document(SPLIT, {**plain, **changes}))


def test_xsub_divides_by_performer_and_xview_by_camera(shared_store: Store) -> None:
    xsub, xview = (find_split(shared_store, name) for name in ("xsub", "xview"))
    for row, (performer, camera) in enumerate(
        zip(shared_store.columns["subject"], shared_store.columns["camera"], strict=True)
    ):
        assert (row in xsub.train) == (performer in NTU60.xsub_train)
        assert (row in xview.train) == (camera in (2, 3))
    assert len(xsub.train) + len(xsub.test) == len(xview.train) + len(xview.test) == len(shared_store)


def test_the_official_lists_are_those_of_the_paper() -> None:
    xsub, xview = split_rules.OFFICIAL_RULES["ntu60"]
    assert xsub.train["subject"] == [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]
    assert sorted([*xsub.train["subject"], *xsub.test["subject"]]) == list(range(1, 41))
    assert (xview.train, xview.test) == ({"camera": [2, 3]}, {"camera": [1]})
    xsub, xset = split_rules.OFFICIAL_RULES["ntu120"]
    assert len(xsub.train["subject"]) == len(xsub.test["subject"]) == 53
    assert sorted([*xsub.train["subject"], *xsub.test["subject"]]) == list(range(1, 107))
    assert (xset.train, xset.test) == ({"setup": [*range(2, 33, 2)]}, {"setup": [*range(1, 33, 2)]})


def test_building_again_gives_the_same_bytes(own_store: Path) -> None:
    store = Store(own_store)
    shutil.rmtree(splits_folder(own_store))
    built = build_splits(store, fractions=[0.5], seeds=[3])
    before = {path: path.read_bytes() for path in splits_folder(own_store).glob("*.json")}
    build_splits(store, fractions=[0.5], seeds=[3])
    assert {path: path.read_bytes() for path in splits_folder(own_store).glob("*.json")} == before
    assert {split.path for split in built.splits} | {subset.path for subset in built.subsets} == set(before)


def test_a_fraction_holds_its_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [200, 50, 3])
    chosen = sample_each_class(labels, 0.1, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [20, 5, 1]
    assert len(set(chosen.tolist())) == len(chosen)


def test_half_a_clip_is_rounded_to_an_even_number_and_nobody_is_left_without() -> None:
    """Of 5, 7 and 1 clips a half is 2 (of 2.5), 4 (of 3.5) and 1 (of 0.5, which would be 0)."""
    labels = np.repeat([4, 0, 2], [5, 7, 1])
    chosen = sample_each_class(labels, 0.5, np.random.default_rng(0))
    assert np.unique(labels[chosen], return_counts=True)[1].tolist() == [4, 1, 2]
    assert chosen.tolist() == sorted(chosen)
    assert sample_each_class(labels, 1, np.random.default_rng(0)).tolist() == list(range(13))


def test_every_fraction_is_drawn_with_every_seed_and_read_back_by_seed(own_store: Path) -> None:
    store = Store(own_store)
    built = build_splits(store, ["xsub"], [1, 0.5, 1], [10, 9, 10])
    assert [(drawn.fraction, drawn.seed) for drawn in built.subsets] == [(0.5, 9), (0.5, 10), (1, 9), (1, 10)]
    xsub = find_split(store, "xsub")
    assert [drawn.seed for drawn in load_subsets(store, xsub, 0.5)] == [9, 10]
    assert all(drawn.rows.tolist() == xsub.train.tolist() for drawn in load_subsets(store, xsub, 1))
    assert [drawn.seed for drawn in build_splits(store, ["xsub"], [0.25]).subsets] == [0]
    assert built_split_names(store) == ["xsub", "xview"]
    with pytest.raises(
        ArtifactNotFound, match=r"xsub.train-0.1.seed\*.json: .*--split xsub --label-fraction 0.1 --seed"
    ):
        load_subsets(store, xsub, 0.1)


def test_a_fraction_is_drawn_from_its_seed_and_its_share_in_billionths(own_store: Path) -> None:
    """So two fractions of one seed are no parts of each other, and anybody can draw them again."""
    store = Store(own_store)
    drawn = build_splits(store, ["xsub"], [0.75], [3]).subsets[0]
    train = find_split(store, "xsub").train
    again = sample_each_class(store.columns["label"][train], 0.75, np.random.default_rng([3, 750_000_000]))
    assert drawn.rows.tolist() == train[again].tolist()


@pytest.mark.parametrize("fraction", [0, -0.5, 1.0001])
def test_a_fraction_is_more_than_nothing_and_no_more_than_all(own_store: Path, fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"is not in \(0, 1\]"):
        build_splits(Store(own_store), ["xsub"], [fraction])


def listed(path: Path, train: list[str], test: list[str]) -> Path:
    path.write_text(f"Training videos:\n{', '.join(train)}\nValidation videos:\n{', '.join(test)}\n")
    return path


def test_lists_divide_what_they_name_and_the_rest_is_left_out(own_store: Path, tmp_path: Path) -> None:
    store = Store(own_store)
    names = store.names
    file = listed(tmp_path / "mine.txt", [names[3], names[1], "S999C001P001R001A001"], [names[2], names[0]])
    built = build_splits(store, split_file=file)
    (split,) = built.splits
    assert (split.name, split.disjoint_column) == ("mine", "recording")
    assert (split.train.tolist(), split.test.tolist()) == ([1, 3], [0, 2])
    assert split.side("all").tolist() == [0, 1, 2, 3]
    assert split.left_out == len(store) - 4
    assert built.notes == [
        f"{file}: 1 of 5 names are not in the store, first S999C001P001R001A001",
        f"{file}: {len(store) - 4} recordings of the store are in no list, first {names[4]}",
    ]
    assert build_splits(store, split_file=listed(file, names[::2], names[1::2])).notes == []


def test_lists_of_another_data_set_and_two_names_for_one_file_are_refused(own_store: Path, tmp_path: Path) -> None:
    store, file = Store(own_store), listed(tmp_path / "mine.txt", ["0001-L", "0002-L"], ["0003-L"])
    with pytest.raises(
        ArtifactError, match=f"has none of its 3 names, such as 0001-L; its names are like {store.names[0]}"
    ):
        build_splits(store, split_file=file)
    with pytest.raises(ConfigError, match="holds one split; name one with --split, not one, two"):
        build_splits(store, ["one", "two"], split_file=file)
    for name in ("one.two", "../one", "", "-one"):
        with pytest.raises(ConfigError, match="is not a valid split name"):
            build_splits(store, [name], split_file=file)


def test_a_file_is_called_what_its_lists_are_for(own_store: Path, tmp_path: Path) -> None:
    """PKU-MMD's files, of both phases, are xsub and xview; xsub separates subjects wherever its lists come from."""
    store = Store(own_store)
    subjects = store.columns["subject"]
    train, test = ([store.names[row] for row in np.flatnonzero(subjects % 2 == side)] for side in (0, 1))
    for stem, name, separates in (
        ("cross-subject", "xsub", "subject"),
        ("Cross_Subject_v2", "xsub", "subject"),
        ("half", "half", "recording"),
    ):
        (split,) = build_splits(store, split_file=listed(tmp_path / f"{stem}.txt", train, test)).splits
        assert (split.name, split.disjoint_column) == (name, separates)
    with pytest.raises(ArtifactError, match="share camera"):
        build_splits(store, split_file=listed(tmp_path / "cross-view-v2.txt", train, test))


def test_one_column_that_divides_is_separated_and_several_are_not() -> None:
    even, odd = {"subject": [2, 4]}, {"subject": [1, 3]}
    assert split_rules._single_column(even, odd) == split_rules._single_column(even, None) == "subject"
    assert split_rules._single_column(even, {"camera": [1]}) == split_rules._single_column(even, {}) == ""
    assert split_rules._single_column({**even, "camera": [1]}, {**odd, "camera": [1]}) == ""


def test_whole_numbers_are_equal_however_they_are_written() -> None:
    assert {split_rules._as_number(value) for value in (1, "1", "01", " 1 ", np.int64(1))} == {1}
    assert [split_rules._as_number(value) for value in ("-2", "1.5", "a1", "--3")] == [-2, "1.5", "a1", "--3"]


def test_fractions_differ_by_seed_and_are_training_rows(own_store: Path) -> None:
    store = Store(own_store)
    one, other = (build_splits(store, ["xsub"], [0.5], [seed]).subsets[0] for seed in (0, 1))
    assert one.rows.tolist() != other.rows.tolist()
    assert np.isin(one.rows, find_split(store, "xsub").train).all()
    assert one.path != other.path


def test_a_split_of_another_store_is_refused(own_store: Path) -> None:
    path = splits_folder(own_store) / "xsub.json"
    plain = json.loads(path.read_text())
    for digit in "0f":  # below and above the store's own
        rewrite(path, store={**plain["store"], "digest": digit * 64})
        with pytest.raises(ArtifactError, match="was built for another store"):
            load_split(path, Store(own_store))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda train, test: (train + test[:1], test), "is in both training and test"),
        (lambda train, test: (train + train[:1], test), "is twice on one side"),
        (lambda train, test: (train, [*test[1:], 10_000]), "rows that .* does not have"),
    ],
)
def test_a_split_that_leaks_is_refused_though_its_digest_is_right(
    own_store: Path, change: object, complaint: str
) -> None:
    path = splits_folder(own_store) / "xsub.json"
    plain = json.loads(path.read_text())
    train, test = change(plain["train"], plain["test"])  # type: ignore[operator]
    rewrite(path, train=train, test=test)
    with pytest.raises(ArtifactError, match=complaint):
        load_split(path, Store(own_store))


def test_a_split_that_lacks_a_clip_of_its_rule_or_has_another_order_is_refused_by_it(own_store: Path) -> None:
    store, path = Store(own_store), splits_folder(own_store) / "xsub.json"
    train = json.loads(path.read_text())["train"]
    rewrite(path, train=train[:-1])
    with pytest.raises(
        ArtifactError, match=f"its train clips are not those of its rule .for example {store.names[train[-1]]}.;"
    ):
        load_split(path, store)
    rewrite(path, train=train[::-1])
    with pytest.raises(ArtifactError, match="the rows are in another order"):
        load_split(path, store)


def test_a_split_of_another_format_version_is_refused(own_store: Path) -> None:
    path = splits_folder(own_store) / "xsub.json"
    rewrite(path, format_version=99)
    with pytest.raises(ArtifactError, match="format version 99, this skelepipe reads 1"):
        load_split(path, Store(own_store))


def test_a_split_changed_by_hand_is_refused(own_store: Path) -> None:
    path = splits_folder(own_store) / "xsub.json"
    plain = json.loads(path.read_text())
    plain["test"] = plain["test"][1:]
    path.write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match="does not match its digest"):
        load_split(path, Store(own_store))


def test_a_subset_of_another_split_or_of_test_rows_is_refused(own_store: Path) -> None:
    store = Store(own_store)
    subset = build_splits(store, ["xsub"], [0.5]).subsets[0]
    xsub, xview = find_split(store, "xsub"), find_split(store, "xview")
    assert load_subset(subset.path, xsub).rows.tolist() == subset.rows.tolist()
    with pytest.raises(ArtifactError, match="was drawn from another split"):
        load_subset(subset.path, xview)
    for rows, told in (
        (xsub.test.tolist(), "not training rows"),
        ([-1], "field rows.0"),
        ([2**62], "not training rows"),
        ([*subset.rows.tolist(), int(subset.rows[0])], "has a clip twice"),
    ):
        rewrite(subset.path, rows=rows)
        with pytest.raises(ArtifactError, match=told):
            load_subset(subset.path, xsub)


def test_unknown_splits_and_fractions_are_said(own_store: Path) -> None:
    store = Store(own_store)
    with pytest.raises(ConfigError, match="has no split 'xset'; it has xsub, xview"):
        build_splits(store, ["xset"])
    with pytest.raises(ConfigError, match=r"0.01 is one per cent"):
        build_splits(store, fractions=[10])


def test_a_side_without_rows_is_refused_or_skipped(own_store: Path) -> None:
    store = Store(own_store)
    store.columns["camera"][:] = 1
    with pytest.raises(ArtifactError, match="no training rows for its rule"):
        build_splits(store, ["xview"])
    built = build_splits(store)
    assert [split.name for split in built.splits] == ["xsub"]
    assert "xview" in built.skipped[0]
    store.columns["subject"][:] = 1
    with pytest.raises(ArtifactError, match=r"no split can be built: xsub: the store has no test rows .*; xview: the"):
        build_splits(store)


def test_without_a_name_xsub_is_found_and_a_missing_one_is_told(own_store: Path) -> None:
    store = Store(own_store)
    assert find_split(store).name == "xsub"
    (splits_folder(own_store) / "xsub.json").unlink()
    assert find_split(store).name == "xview"
    with pytest.raises(ArtifactNotFound, match="there are xview; build splits with"):
        find_split(store, "xsub")


def test_a_split_under_anothers_name_is_refused(own_store: Path) -> None:
    store = Store(own_store)
    shutil.copy(splits_folder(own_store) / "xview.json", splits_folder(own_store) / "xsub.json")
    with pytest.raises(ArtifactError, match=r"xsub.json: holds the split xview; run"):
        find_split(store, "xsub")


def test_fractions_that_differ_little_do_not_share_a_file(own_store: Path) -> None:
    built = build_splits(Store(own_store), ["xsub"], [0.5, 0.50000001, 0.1])
    names = [subset.path.name for subset in built.subsets]
    assert names == ["xsub.train-0.1.seed0.json", "xsub.train-0.5.seed0.json", "xsub.train-0.50000001.seed0.json"]
