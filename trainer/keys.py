"""The keys that `--set` and a configuration file take, with what may stand there and what it is for.

They are read off the source of the models, where each field has its words below it: the shell completes keys while the
user waits, and to import the models takes seconds, for they live beside the tensors that they configure.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PRETRAIN, EVALUATE = ("config", "PretrainConfig"), ("eval_config", "EvalConfig")
"""File and class of the configurations."""


@dataclass(frozen=True, slots=True)
class Key:
    """A single setting."""

    path: str
    """`pair.queue_size`."""
    choices: tuple[str, ...]
    """All that it can be, where that is a few words."""
    about: str
    """What it is for, in one line; empty where its owner says nothing."""


@cache
def of(model: tuple[str, str]) -> Mapping[str, Key]:
    """All keys of a configuration by their path, in the order of definition."""
    return {key.path: key for key in _keys(*model, above="")}


def groups(model: tuple[str, str]) -> list[str]:
    """The tables in which keys stand: `pair`, `method.mix`."""
    above = (path.rpartition(".")[0] for path in of(model))
    return list(dict.fromkeys(name for name in above if name))


def known(model: tuple[str, str], table: str = "") -> list[str]:
    """What may stand in a table of a configuration, or at its top: keys and further tables, without what is above."""
    start = f"{table}." if table else ""
    below = (path.removeprefix(start) for path in of(model) if path.startswith(start))
    return list(dict.fromkeys(path.partition(".")[0] for path in below))


def _keys(file: str, name: str, above: str) -> Iterator[Key]:
    tree = _tree(file)
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for place, node in enumerate(body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        path = f"{above}{node.target.id}"
        if isinstance(node.annotation, ast.Name) and node.annotation.id.endswith("Config"):
            yield from _keys(_home(tree, node.annotation.id, file), node.annotation.id, f"{path}.")
            continue
        yield Key(path, tuple(_choices(node.annotation, tree, file)), _words(body[place + 1 : place + 2]))


def _choices(annotation: ast.expr, tree: ast.Module, file: str) -> list[str]:
    """The values of a Literal, under whatever name it goes; those of a bool."""
    if isinstance(annotation, ast.Name):
        if annotation.id == "bool":
            return ["true", "false"]
        home = _home(tree, annotation.id, file)
        for node in _tree(home).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == annotation.id:
                return _choices(node.value, _tree(home), home)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        values = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return [str(value.value) for value in values if isinstance(value, ast.Constant)]
    return []


def _home(tree: ast.Module, name: str, file: str) -> str:
    """The file of trainer/ that a name comes from."""
    for node in tree.body:
        named = isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}
        if named and (module := ast.unparse(node).split()[1]).startswith("trainer."):
            return module.removeprefix("trainer.")
    return file


def _words(after: list[ast.stmt]) -> str:
    """The text below a field."""
    text = after[0].value if after and isinstance(after[0], ast.Expr) else None
    return " ".join(text.value.split()) if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
