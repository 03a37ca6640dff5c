"""`skelepipe bench`: all rows are measured, and ratios are to the right row."""

import json
from dataclasses import asdict
from io import StringIO

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from cli import main
from pipeline.skeleton.layout import KINECT_V2
from tests.support import whole_batch_step
from trainer.bench.reference_step import ReferenceStep
from trainer.bench.timing import Variant, time_interleaved
from trainer.config.method import MethodConfig
from trainer.config.model import EncoderConfig, PairConfig
from trainer.data import counter_rng
from trainer.methods import skelemix
from trainer.methods.registry import build_method
from trainer.terminal.bench_output import bench_table

ROWS = {"ingest": 4, "load": 9, "train": 9, "eval": 5}


@pytest.mark.slow
@pytest.mark.parametrize(
    "suite", ["eval", *(pytest.param(suite, marks=pytest.mark.rehearsal) for suite in ("ingest", "load", "train"))]
)
def test_a_suite_measures_every_variant(suite):
    done = CliRunner().invoke(main, ["bench", suite, "--small", "--rounds", "1", "--json", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["parts"]) == [suite]
    rows = found["parts"][suite]
    assert len(rows) == ROWS[suite]
    for row in rows:
        assert row["least"] <= row["median"] <= row["most"]
        assert len(row["figures"]) == 1
        assert row["median"] > 0
        assert row["what"]
        assert row["size"]
    assert all((row["ratio"] is None) == (row["unit"] in {"s", "% of the time"}) for row in rows)
    assert rows[0]["ratio"] == 1
    assert found["small"]
    assert {"processor", "device", "torch", "commit", "date"} <= set(found["machine"])


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_table_fits_terminals(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    done = CliRunner().invoke(main, ["bench", "eval", "--small", "--rounds", "1", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert all(len(line) <= int(columns) for line in done.stdout.splitlines()[:-3])
    assert "kNN" in done.stdout
    assert "--small: these figures mean nothing" in done.stdout
    assert "1.00x" in done.stdout


def test_ratios_are_of_the_same_round_and_the_warm_up_is_not_counted():
    seconds = {"a": iter([9.0, 1.0, 2.0, 4.0]), "b": iter([9.0, 2.0, 8.0, 8.0])}
    variants = [Variant(name, "", "clips/s", 8, lambda took=took: next(took)) for name, took in seconds.items()]
    rows = time_interleaved(variants, 3, lambda line: None)
    assert [row.figures for row in rows] == [[8.0, 4.0, 2.0], [4.0, 1.0, 1.0]]
    assert [row.median for row in rows] == [4.0, 1.0]
    assert [row.ratio for row in rows] == [1.0, 0.5]
    share = Variant("c", "", "%", None, lambda: 3.0)
    assert time_interleaved([share], 1, lambda line: None, ratios=False)[0].figures == [3.0]


def test_a_variant_that_does_not_fit_is_left_out_and_ratios_are_to_the_first_that_fits():
    def too_much():
        raise MemoryError("40 GB wanted")

    variants = [
        Variant("a", "", "clips/s", 8, too_much),
        *(Variant(name, "", "clips/s", 8, lambda: 2.0) for name in "bc"),
    ]
    rows = time_interleaved(variants, 2, lambda line: None)
    assert [(row.median, row.ratio) for row in rows] == [(None, None), (4.0, 1.0), (4.0, 1.0)]
    assert [row.median for row in time_interleaved(variants[:1], 2, lambda line: None)] == [None]
    console = Console(width=60, file=StringIO())
    console.print(bench_table("train", [asdict(row) for row in rows]))
    assert [line.split()[0] for line in console.file.getvalue().splitlines() if "does not fit" in line] == ["a"]


def test_a_batch_size_without_the_suite_train_is_refused():
    done = CliRunner().invoke(main, ["bench", "eval", "--batch", "8", "--small"])
    assert done.exit_code == 2
    assert "name train, too" in done.output


def test_the_reference_step_computes_the_same_as_ours():
    made = build_method(
        KINECT_V2,
        EncoderConfig(hidden_channels=2, hidden_dim=8, feature_dim=4, dropout=0.0),
        PairConfig(queue_size=64, momentum=0.9),
        MethodConfig(mix={"repeats": 2}),
        seed=0,
    )
    made.pair.double()
    reference = ReferenceStep(made)
    reference.query.double()
    reference.key.double()
    generator = torch.Generator().manual_seed(0)
    for step in range(3):
        query, key = (torch.randn(5, 3, 32, 25, 2, generator=generator, dtype=torch.float64) for _ in range(2))
        regions = [
            skelemix.draw_region(KINECT_V2, made.config.mix, 5, 8, counter_rng.generator(0, step, at))
            for at in range(2)
        ]
        theirs = reference.loss(query, key, made.mixes(query, regions))
        ours = whole_batch_step.losses(made, query, key, regions).total
        np.testing.assert_allclose(float(theirs.detach()), float(ours.detach()), rtol=1e-9)
        for network in (reference.query, made.pair.query):
            network.zero_grad()
        theirs.backward()
        ours.backward()
        for mine, other in zip(made.pair.query.parameters(), reference.query.parameters(), strict=True):
            torch.testing.assert_close(other.grad, mine.grad, rtol=1e-7, atol=1e-9)
        with torch.no_grad():
            for network in (reference.query, made.pair.query):
                for parameter in network.parameters():
                    parameter -= 0.01 * parameter.grad
    torch.testing.assert_close(reference.queue, made.pair.queue)
