"""A scan of Python source for what could run code that lies in a file: unpickling, evaluating, shells, unpacking.

Names are followed through imports, whatever they are called, and so is a function that is only passed on. It is for
slips, not for malice: who builds names out of strings is not found.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch

MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"),
    *("yaml", "ruamel", "runpy", "imp"),
}
"""Libraries that unpickle, or run what they are given; a module of theirs anywhere in a dotted name counts, too."""
NAMES = (
    *("builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__"),
    *("torch.load", "torch.*.load", "torch.package.*", "torch.*safe_globals"),
    *("importlib.import_module", "importlib.util.spec_from*", "importlib.machinery.*"),
    *("os.system", "os.popen", "os.exec*", "os.spawn*", "os.posix_spawn*", "pty.spawn"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("shutil.unpack_archive", "numcodecs.Pickle", "numcodecs.pickles*"),
)
"""What is found wherever it is named."""
LOADERS = ("numpy.load", "numpy.*.load", "numpy.*.read_array")
"""What is found unless it is called with allow_pickle=False."""
ATTRIBUTES = {"read_pickle", "Unpickler", "extractall", "extract", "unsafe_load"}
"""What is found of anything but modules of ours: archives' names would become paths, the rest unpickles."""
OURS = {"pipeline", "trainer"}
KEYWORDS = {"allow_pickle": False, "weights_only": True, "shell": False}
"""What a keyword must be, to the letter, wherever it is given."""


def findings(source: str, allowed: frozenset[str]) -> list[str]:
    """What a source does of the kind, as `line: what`; `allowed` are names that it may use all the same.

    `pickle` may then be imported, as itself, for nothing but these names; `torch.load` must have weights_only=True.
    """
    return [f"{line}: {what}" for line, what in sorted({*_findings(ast.parse(source), allowed)})]


def _findings(tree: ast.Module, allowed: frozenset[str]) -> Iterator[tuple[int, str]]:
    names = _imported(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    roots = {name.partition(".")[0] for name in allowed}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                plain = alias.name in roots and alias.asname is None
                if MODULES & {*alias.name.split(".")} and not plain:
                    yield node.lineno, f"import {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if MODULES & {*whole.split(".")} or _is_bad(whole):
                    yield node.lineno, whole
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                must = KEYWORDS.get(keyword.arg or "")
                if must is not None and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is must):
                    yield node.lineno, f"{keyword.arg}={ast.unparse(keyword.value)}"
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            whole = _whole(node, names)
            given = {keyword.arg for keyword in calls[id(node)].keywords} if id(node) in calls else set()
            room = whole.partition(".")[0]
            if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES and room not in OURS:
                yield node.lineno, node.attr
            used = (room in MODULES and id(node) not in inner) or _is_bad(whole)
            loose = any(fnmatch(whole, loader) for loader in LOADERS) and "allow_pickle" not in given
            loose = loose or (whole == "torch.load" and "weights_only" not in given)
            if loose or (used and whole not in allowed):
                yield node.lineno, whole


def _is_bad(whole: str) -> bool:
    return any(fnmatch(whole, name) for name in NAMES)


def _imported(tree: ast.Module) -> dict[str, str]:
    """What names stand for, by the imports anywhere in a source."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                found[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _whole(node: ast.expr, names: dict[str, str]) -> str:
    """A name with all that stands before it, as its module calls it; empty for an attribute of anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, f"builtins.{node.id}")  # or a variable, of which nothing is known
    if isinstance(node, ast.Attribute) and (before := _whole(node.value, names)):
        return f"{before}.{node.attr}"
    return ""
