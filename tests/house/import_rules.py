"""Check import order, import cycles and library ownership by reading the imports of source files.

Imports count wherever they are written: at the top of a file, inside a function, or under `TYPE_CHECKING`.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

USES: Mapping[str, str] = {
    "pipeline.suggest": "",
    "pipeline.errors": "suggest",
    "pipeline.files": "suggest errors",
    "pipeline.skeleton": "suggest errors files",
    "pipeline.artifacts": "suggest errors files skeleton",
    "pipeline.sources": "suggest errors files skeleton artifacts",
    "pipeline.convert": "suggest errors files skeleton artifacts sources",
    "pipeline.synth": "suggest errors files skeleton artifacts sources convert",
    "pipeline.recipes": "suggest errors files skeleton artifacts sources",
    "pipeline.store": "suggest errors files skeleton artifacts sources recipes",
    "pipeline.ingest": "suggest errors files skeleton artifacts sources recipes store",
    "pipeline.export": "suggest errors files skeleton artifacts sources recipes store",
    "pipeline.report": "suggest errors files skeleton artifacts sources recipes store",
    "trainer.config": "",
    "trainer.runtime": "config",
    "trainer.data": "config runtime",
    "trainer.models": "config runtime",
    "trainer.methods": "config runtime data models",
    "trainer.runs": "config runtime data models methods",
    "trainer.evaluation": "config runtime data models methods runs",
    "trainer.pretrain": "config runtime data models methods runs evaluation",
    "trainer.inference": "config runtime data models methods runs evaluation",
    "trainer.report": "config runtime data models methods runs evaluation pretrain inference",
    "trainer.doctor": "config runtime data models methods runs evaluation pretrain inference report",
    "trainer.bench": "config runtime data models methods runs evaluation pretrain inference report doctor",
    "trainer.terminal": "config runtime data models methods runs evaluation pretrain inference report doctor bench",
    "trainer.api": "config runtime data models methods runs evaluation pretrain inference report terminal",
}
"""The folders (or top-level modules) of the same half that a folder may import; trainer may import all of pipeline."""
FORBIDDEN: Mapping[str, frozenset[str]] = {
    "pipeline": frozenset({"torch", "rich", "click", "trainer", "cli", "skelepipe"}),
    "trainer": frozenset({"cli", "skelepipe"}),
    "trainer.config": frozenset({"torch"}),
}
"""Libraries that a folder must not import."""


@cache
def imported_names(source: str) -> frozenset[str]:
    """Dotted names of everything that a source file imports; `from a import b` counts as `a` and `a.b`."""
    found = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def libraries(path: Path) -> set[str]:
    """Top-level names of all packages that a file imports."""
    return {name.partition(".")[0] for name in imported_names(path.read_text(encoding="utf-8"))}


def read_modules(root: Path) -> dict[str, str]:
    """Source text of every module below pipeline/ and trainer/, of cli.py and skelepipe.py, by dotted name."""
    paths = [
        *root.glob("pipeline/**/*.py"),
        *root.glob("trainer/**/*.py"),
        *root.glob("cli.py"),
        *root.glob("skelepipe.py"),
    ]
    names = {path: ".".join(path.relative_to(root).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path.read_text(encoding="utf-8") for path, name in names.items()}


def violations(modules: Mapping[str, str]) -> list[str]:
    """Imports against the order, forbidden libraries, and import cycles, one line for each."""
    imports = {name: imported_names(source) for name, source in modules.items()}
    found = [line for name, used in imports.items() for line in _against_order(name, used)]
    return sorted(found) + _cycles({name: used & modules.keys() for name, used in imports.items()})


def _folder(module: str) -> str:
    """`pipeline.store.splits` -> `pipeline.store`."""
    return ".".join(module.split(".")[:2])


def _against_order(module: str, used: frozenset[str]) -> Iterator[str]:
    here = _folder(module)
    half = here.partition(".")[0]
    allowed = {here, *(f"{half}.{name}" for name in USES.get(here, "").split())}
    for folder in sorted({_folder(name) for name in used} & USES.keys() - allowed):
        if folder.startswith(f"{half}."):
            yield f"{module} imports {folder}, which {here} may not use"
    for library in sorted({name.partition(".")[0] for name in used}):
        if library in FORBIDDEN.get(half, ()) or library in FORBIDDEN.get(here, ()):
            yield f"{module} imports {library}, which is not allowed there"


def _cycles(graph: Mapping[str, frozenset[str]]) -> list[str]:
    # A package's __init__ is imported by each of its modules; it holds only a docstring, so it cannot close a cycle.
    try:
        TopologicalSorter({name: used - {name} for name, used in graph.items()}).prepare()
    except CycleError as error:
        return [f"import cycle: {' -> '.join(reversed(error.args[1]))}"]
    return []
