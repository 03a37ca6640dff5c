from collections import Counter

import pytest

from pipeline.sources.ntu import names as ntu_names
from pipeline.sources.ntu.names import NTU60, NTU120, NtuName
from pipeline.store.split_rules import OFFICIAL_RULES


def test_a_name_has_five_numbers_and_is_formatted_back():
    name = NtuName.parse("S017C003P040R002A060")
    assert name == NtuName(setup=17, camera=3, performer=40, replication=2, action=60)
    assert name.label == 59
    assert str(name) == "S017C003P040R002A060"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "S001C001P001R001A001.skeleton",
        "S001C001P001R001A001\n",
        " S001C001P001R001A001",
        "s001c001p001r001a001",
        "S001C001P001R001A0001",
        "S001C001P001R001",
        "S001C001P001R001A000",
        "S000C001P001R001A001",
        "S\u0660\u0660\u0661C001P001R001A001",
    ],
)
def test_other_texts_are_not_names(text):
    assert NtuName.parse(text) is None


def test_names_sort_like_their_texts():
    texts = ["S001C002P003R001A050", "S001C002P003R002A001", "S002C001P001R001A001", "S001C001P040R002A060"]
    names = [NtuName.parse(text) for text in texts]
    assert [str(name) for name in sorted(names)] == sorted(texts)


def test_missing_list_has_302_names_in_ntu60_and_535_in_all():
    names = [NtuName.parse(text) for text in ntu_names.missing_names()]
    assert None not in names
    assert sum(NTU60.contains(name) for name in names) == NTU60.missing == 302
    assert sum(NTU120.contains(name) for name in names) == NTU120.missing == 535
    assert NTU60.captured - NTU60.missing == 56_578
    assert NTU120.captured - NTU120.missing == 113_945


@pytest.mark.parametrize(
    ("dataset", "split", "train", "test"),
    [
        ("ntu60", "xsub", 40_091, 16_487),
        ("ntu60", "xview", 37_646, 18_932),
        ("ntu120", "xsub", 63_026, 50_919),
        ("ntu120", "xset", 54_468, 59_477),
    ],
)
def test_splits_of_the_whole_data_set_have_their_counted_sizes(dataset, split, train, test):
    facts = {"ntu60": NTU60, "ntu120": NTU120}[dataset]
    names = list(facts.names())
    assert len(names) == facts.captured
    assert len(set(names)) == facts.captured
    assert names == sorted(names)
    assert all(facts.contains(name) and name.was_captured for name in names)
    assert Counter(name.setup for name in names) == {setup: ntu_names.captured(setup) for setup in facts.setups}
    texts = set(map(str, names))
    missing = {name for name in ntu_names.missing_names() if facts.contains(NtuName.parse(name))}
    assert missing <= texts
    usable = [name for name in names if str(name) not in missing]
    rule = next(rule for rule in OFFICIAL_RULES[dataset] if rule.name == split)
    column = {"subject": "performer"}.get(rule.disjoint_column, rule.disjoint_column)
    for side, wanted in ((rule.train, train), (rule.test, test)):
        values = set(side[rule.disjoint_column])
        assert sum(getattr(name, column) in values for name in usable) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "S001C001P009R001A001",  # performer 9 was not in setup 1
        "S001C004P001R001A001",
        "S001C001P001R003A001",
        "S001C001P001R001A061",  # the classes that were added have setups of their own
        "S018C001P008R001A060",
        "S033C001P008R001A061",
    ],
)
def test_recordings_outside_the_data_set_were_not_captured(text):
    assert not NtuName.parse(text).was_captured


@pytest.mark.parametrize(("action", "count"), [(55, 42), (61, 25), (62, 17), (12, 16), (75, 14), (9, 12), (40, 12)])
def test_missing_samples_by_setup_agree_with_published_counts(action, count):
    assert sum(text.endswith(f"A{action:03d}") for text in ntu_names.missing_names()) == count


def test_missing_names_belong_to_their_data_set():
    for name in map(NtuName.parse, ntu_names.missing_names()):
        dataset = NTU60 if NTU60.contains(name) else NTU120
        assert name.camera in ntu_names.CAMERAS
        assert name.replication in ntu_names.REPLICATIONS
        assert name.performer <= dataset.performers
        assert (name.action <= 60) == (name.setup <= 17)


def test_class_names_are_in_label_order():
    names = ntu_names.class_names()
    assert len(names) == NTU120.classes
    assert len(set(names)) == NTU120.classes
    assert (names[0], names[49], names[59], names[105]) == (
        "drink water",
        "punching/slapping other person",
        "walking apart from each other",
        "hit other person with something",
    )


def test_class_file_numbers_its_lines():
    lines = ntu_names._lines("ntu_classes.txt")
    assert [line.split(" ")[0] for line in lines] == [f"A{action:03d}" for action in range(1, 121)]


def test_split_rules_have_their_published_sizes():
    assert len(NTU60.xsub_train) == 20
    assert len(NTU120.xsub_train) == 53
    assert NTU60.xsub_train < NTU120.xsub_train
    assert max(NTU60.xsub_train) <= NTU60.performers
    assert max(NTU120.xsub_train) <= NTU120.performers
    assert set(ntu_names.CAMERAS) - ntu_names.XVIEW_TRAIN == {1}
    assert [setup for setup in NTU60.setups if ntu_names.is_xset_train(setup)] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert len(ntu_names.TWO_PERSON) == 26
