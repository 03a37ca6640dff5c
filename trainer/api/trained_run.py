"""A trained run and the results of its evaluation, for Python and notebooks."""

import io
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from markupsafe import Markup, escape
from rich.console import Console

from pipeline.errors import ConfigError
from pipeline.store.store import Store
from trainer.config.evaluation import compose_eval
from trainer.config.layers import flatten
from trainer.evaluation import evaluate as evaluate_module
from trainer.evaluation.request import ROW_ORDER, EvaluateRequest, Protocol
from trainer.models.encoder import Encoder
from trainer.runs import run as run_module
from trainer.runs.run import CheckpointName, Run
from trainer.runtime.device import choose_device, make_arithmetic_exact
from trainer.terminal.console import ProgressBar
from trainer.terminal.evaluation_output import results_notes, results_table

PROTOCOLS: tuple[str, ...] = get_args(Protocol)
RESULT_WIDTH = 100
"""Width of a table of results in characters."""


class Evaluation(Mapping[str, Mapping[str, Any]]):
    """Results by protocol, as in the result files; shown as a table, also in a notebook."""

    def __init__(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        self._results = dict(results)

    def __getitem__(self, protocol: str) -> Mapping[str, Any]:
        return self._results[protocol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    @property
    def top1(self) -> dict[str, dict[str, float]]:
        """Top-1 accuracy in per cent, by representation (`pre-trained`, `random encoder`, ...) and protocol."""
        rows = sorted({row for result in self.values() for row in result["rows"]}, key=ROW_ORDER.index)
        return {
            row: {name: result["rows"][row]["top1"] for name, result in self.items() if row in result["rows"]}
            for row in rows
        }

    def __repr__(self) -> str:
        out = io.StringIO()
        Console(file=out, width=RESULT_WIDTH).print(results_table(self))
        return out.getvalue() + "\n".join(results_notes(self))

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        head = Markup("").join(Markup("<th>{}</th>").format(name) for name in ["representation", *self])
        body = Markup("").join(
            Markup("<tr><th>{}</th>{}</tr>").format(row, Markup("").join(self._cell(row, name) for name in self))
            for row in self.top1
        )
        notes = Markup("<br>").join(map(escape, results_notes(self)))
        table = Markup("<table><caption>top-1 %</caption><tr>{}</tr>{}</table><small>{}</small>")
        return str(table.format(head, body, notes))

    def _cell(self, row: str, protocol: str) -> Markup:
        values = self[protocol]["rows"].get(row)
        return Markup("<td>{}</td>").format("" if values is None else f"{values['top1']:.1f}")


class TrainedRun:
    """A training run with its encoder and evaluations."""

    def __init__(self, run: Run) -> None:
        self.run = run
        """The run as all functions of skelepipe take it."""

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self.run.path

    @cached_property
    def encoder(self) -> Encoder:
        """The trained encoder in evaluation mode, on the GPU if there is one.

        It takes (N, 3, T, V, M) of the run's stream, as `Clips` returns them, for any T; it was trained with
        `run.config.frames`. `encoder(x)` is the (N, D) output of the projection head, `encoder.backbone(x)` are the
        features that evaluations use.
        """
        return self.load_encoder()

    def load_encoder(self, checkpoint: CheckpointName = "last", device: str = "auto") -> Encoder:
        """Load the encoder of the last or the best checkpoint, in evaluation mode.

        Raises:
            ArtifactError: there is no such checkpoint, or it is damaged.
        """
        return run_module.load_encoder(self.run, choose_device(device), checkpoint)[0]

    def evaluate(
        self,
        *protocols: str,
        store: Store | Path | str | None = None,
        split: str | None = None,
        device: str = "auto",
        progress: bool = False,
        baselines: bool = True,
        force: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Evaluate the encoder and its baselines: `skelepipe eval`. Results are stored with the run.

        Args:
            *protocols: of knn, linear, retrieval, semi, finetune; default: knn and linear.
            store: another store than the run was trained on, or the new path of that store.
            split: another split.
            device: auto, cpu, cuda or cuda:N.
            progress: show a progress bar.
            baselines: also evaluate an untrained encoder and the raw coordinates.
            force: evaluate again, even if results with the same settings are stored.
            settings: single values by key, such as `{"knn.k": 10}`.

        Raises:
            ConfigError: a protocol or setting is unknown.
            SkelepipeError: run, store or split do not fit.
        """
        names = protocols or ("knn", "linear")
        if unknown := [name for name in names if name not in PROTOCOLS]:
            raise ConfigError(f"protocol {unknown[0]!r}: expected some of {', '.join(PROTOCOLS)}")
        make_arithmetic_exact()
        path = store.path if isinstance(store, Store) else None if store is None else Path(store)
        data = run_module.find_run_store(self.run, path)
        given = [f"{key}={json.dumps(value)}" for key, value in flatten(settings or {}).items()]
        request = EvaluateRequest(
            run=self.run,
            store=data,
            split=run_module.find_run_split(self.run, data, split),
            protocols=names,  # type: ignore[arg-type]
            device=choose_device(device),
            config=compose_eval(given, self.run.preset),
            baselines=baselines,
            force=force,
        )
        with ProgressBar("eval", shown=progress) as bar:
            return Evaluation(evaluate_module.evaluate(request, bar.set_note))

    def __repr__(self) -> str:
        config = self.run.config
        about = f"{config.method.name}, stream {config.stream}, {config.epochs} epochs, seed {config.seed}"
        return f"TrainedRun({str(self.path)!r}: {about})"


def load_run(path: Path | str) -> TrainedRun:
    """Open a run, from its folder.

    Raises:
        ArtifactNotFound: the folder does not exist.
        ArtifactError: it is not a run, or damaged.
    """
    return TrainedRun(run_module.load_run(Path(path)))
