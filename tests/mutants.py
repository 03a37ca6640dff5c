"""Mutation testing: change the code in one small place, run the tests of that module, and see whether they notice.

The changes are cosmic-ray's. It would start pytest anew for each, which takes seconds; here each runs in a process
forked from one that has numpy, torch and the like imported already and nothing of ours, and that finds the changed
source in place of the file. Kernels run as plain Python. A change is killed when a test fails, when the process dies,
or when it takes a multiple of the time that the tests take undisturbed, and survives otherwise.

Changes of these kinds are made: a number one larger or smaller; `+ - * / // % **`, shifts and bit operators into the
two that are nearest (a `|` of floats would only raise); comparisons into the ones that Kaminski, Ammann and Offutt
(2013) found enough, as what kills those kills the rest; `is` and `is not`, `and` and `or`, True and False, `break` and
`continue` exchanged; conditions negated; signs and `not` taken away; loops not run; exceptions not caught. Decorators
stay: without `jit` or `cache` all is the same, only slower. Nothing is changed in annotations, aliases of types,
imports and the text of what is raised.

`mutants_equivalent.toml` lists the changes that no test can or should tell, each with its reason. Results go to
`proof/mutants/`, one line for each change, and are kept: a run that was killed goes on, and what was killed is not
killed again unless the function has changed. Prints a table; exits 1 when less than 85 % of a module's are killed.
"""

import argparse
import ast
import contextlib
import difflib
import gc
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).parents[1]
PROOF = ROOT / "proof" / "mutants"
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.toml")
ENOUGH = 85.0
"""Per cent of a module's mutants that must be killed, those apart that nothing can kill."""
SLOWER, LEAST = 3, 20.0
"""A mutant may take so many times what the tests take undisturbed, and so many seconds at least."""
MEMORY = 6 << 30
"""Bytes of address space that a mutant may take beyond what was there at its start."""
EXAMPLES = 25
"""Hypothesis' examples for each test: what kills a mutant does so early."""
WARM = (
    *("numpy", "numba", "torch", "zarr", "h5py", "pydantic", "safetensors.torch", "google_crc32c", "filelock"),
    *("numcodecs", "isal.igzip", "rich.progress", "click.testing", "hypothesis.strategies", "hypothesis.extra.numpy"),
    *("pytest", "pytest_timeout", "torch.nn.functional"),
)
NEAREST = {
    **{"Add": ("Sub", "Mul"), "Sub": ("Add", "Mul"), "Mul": ("Div", "Add"), "Div": ("Mul", "FloorDiv")},
    **{"FloorDiv": ("Div", "Mul"), "Mod": ("FloorDiv", "Mul"), "Pow": ("Mul", "Add")},
    **{"RShift": ("LShift",), "LShift": ("RShift",)},
    **{"BitOr": ("BitAnd",), "BitAnd": ("BitOr",), "BitXor": ("BitAnd", "BitOr")},
}
COMPARED = {
    **{"Lt": ("LtE", "NotEq"), "LtE": ("Lt", "Eq"), "Gt": ("GtE", "NotEq"), "GtE": ("Gt", "Eq")},
    **{"Eq": ("NotEq", "LtE", "GtE"), "NotEq": ("Eq", "Lt", "Gt"), "Is": ("IsNot",), "IsNot": ("Is",)},
}
OPERATORS = (
    *(f"ReplaceBinaryOperator_{old}_{new}" for old, news in NEAREST.items() for new in news),
    *(f"ReplaceComparisonOperator_{old}_{new}" for old, news in COMPARED.items() for new in news),
    *("ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Invert", "ReplaceUnaryOperator_Delete_Not"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "AddNot"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop"),
    "ExceptionReplacer",
)
NO_OPERANDS = {"parameters", "lambdef", "dictorsetmaker"}
"""Where a star or a slash is a mark, not an operator."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The tests that a module's mutants must pass to survive."""

    tests: tuple[str, ...]
    """Files of tests, the quickest to kill first."""
    later: tuple[str, ...] = ()
    """Parts of the names of tests that take long: they run when all others have passed."""
    also: tuple[str, ...] = ()
    """More files that run when all others have passed."""
    never: tuple[str, ...] = ("golden",)
    """Parts of the names of tests that are left out."""
    compiled: bool = False

    def passes(self) -> Iterator[list[str]]:
        """Arguments for pytest, of one call after the other."""
        never = " or ".join(self.never)
        yield [*self.tests, "-k", f"not ({' or '.join([*self.never, *self.later])})"]
        if self.later or self.also:
            later = f"({' or '.join(self.later)}) and " if self.later else ""
            yield [*self.tests, *self.also, "-k", f"{later}not ({never})"]


SUITES = {
    "pipeline/text_kernels.py": Suite(
        tests=("test_ntu_text", "test_pku_text"),
        later=("strict_prefix", "changed_at_random", "any_eleven_tokens", "outlives_the_buffer", "agree_with_the_twin"),
    ),
    "pipeline/choose_kernels.py": Suite(tests=("test_choose", "test_follow")),
    "pipeline/denoise_kernels.py": Suite(tests=("test_denoise",)),
    "pipeline/follow_kernels.py": Suite(tests=("test_follow",)),
    "pipeline/agcn_kernels.py": Suite(tests=("test_agcn",), later=("dirty_recordings_come_out",)),
    "pipeline/normalise_kernels.py": Suite(
        tests=("test_resample", "test_normalise"), later=("as_told_for_dirty_recordings",)
    ),
    "pipeline/peers_kernels.py": Suite(tests=("test_peers",), later=("dirty_recordings_come_out",)),
    "pipeline/noise_kernels.py": Suite(tests=("test_noise", "test_choose"), also=("test_denoise",)),
    "pipeline/prepared_kernels.py": Suite(tests=("test_prepared", "test_resample")),
    "pipeline/zero_sums.py": Suite(tests=("test_agcn",), later=("dirty_recordings_come_out",)),
    "pipeline/recipe.py": Suite(tests=("test_recipe",), later=("every_dirty_file", "the_peers_make"), compiled=True),
    "pipeline/resample.py": Suite(tests=("test_resample", "test_prepared"), compiled=True),
    "pipeline/splits.py": Suite(
        tests=("test_splits",), also=("test_leakage", "test_verify"), never=("golden", "no_command_uses"), compiled=True
    ),
    "pipeline/split_lists.py": Suite(tests=("test_split_lists",), compiled=True),
    "trainer/skelemix.py": Suite(tests=("test_skelemix",), compiled=True),
    "trainer/pooling.py": Suite(tests=("test_pooling",), compiled=True),
    "trainer/losses.py": Suite(tests=("test_losses",), compiled=True),
    "trainer/contrast.py": Suite(tests=("test_contrast",), compiled=True),
    "trainer/checkpoint.py": Suite(tests=("test_checkpoint",), also=("test_pretrain",), compiled=True),
    "trainer/saving.py": Suite(tests=("test_saving",), compiled=True),
    "trainer/schedule.py": Suite(tests=("test_schedule",), compiled=True),
    "trainer/draws.py": Suite(tests=("test_draws", "test_augment", "test_skelemix"), compiled=True),
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: an operator, and which of the places in the module where it fits."""

    module: str
    operator: str
    occurrence: int
    row: int
    line: str
    key: str
    """Operator, digest of the top-level statement, and which of the places in that: it lasts as long as those."""

    @property
    def name(self) -> str:
        return f"{self.module}:{self.operator}:{self.occurrence}"


@dataclass(kw_only=True)
class Outcome:
    """What became of a mutant."""

    verdict: str
    """killed, timed out or survived; when it has not run yet, empty."""
    by: str = ""
    """The test that killed it."""
    seconds: float = 0.0
    becomes: str = ""
    """What the line was changed into."""


def untouched(tree: ast.Module) -> Iterator[ast.AST]:
    """Where nothing is changed: annotations, decorators, imports, aliases of types, and the text of what is raised."""
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(annotation=annotation) | ast.arg(annotation=ast.expr() as annotation):
                yield annotation
            case ast.FunctionDef(decorator_list=decorators, returns=returns):
                yield from decorators
                yield from [returns] if returns else []
            case ast.ClassDef(decorator_list=decorators):
                yield from decorators
            case ast.Import() | ast.ImportFrom():
                yield node
            case ast.Raise():
                yield from (inner for inner in ast.walk(node) if isinstance(inner, ast.JoinedStr))
    names = (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.BitOr, ast.Tuple, ast.List, ast.Constant, ast.Load)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            parts = [*ast.walk(node.value)]
            numbers = any(isinstance(part, ast.Constant) and isinstance(part.value, int | float) for part in parts)
            if all(isinstance(part, names) for part in parts) and not numbers:
                yield node


def span(node: ast.AST, lines: Sequence[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last position of a node, columns counted in characters."""
    first, last = lines[node.lineno - 1].encode(), lines[node.end_lineno - 1].encode()
    return (
        (node.lineno, len(first[: node.col_offset].decode())),
        (node.end_lineno, len(last[: node.end_col_offset].decode())),
    )


def enumerate_mutants(module: str, root: Path = ROOT) -> list[Mutant]:
    """All changes to a module that are of interest, in the order of the operators."""
    source = (root / module).read_text(encoding="utf-8")
    lines, tree, nodes = source.splitlines(), ast.parse(source), [*ast_nodes(get_ast(source))]
    spared = [span(node, lines) for node in untouched(tree)]
    statements = [span(node, lines) for node in tree.body]
    digests = [hashlib.sha256(ast.get_source_segment(source, node).encode()).hexdigest()[:12] for node in tree.body]
    found = []
    for operator in OPERATORS:
        made, ordinals = plugins.get_operator(f"core/{operator}")(), Counter[int]()
        places = ((node, start) for node in nodes for start, _ in made.mutation_positions(node))
        for occurrence, (node, start) in enumerate(places):
            which = max(index for index, (first, _) in enumerate(statements) if first <= start)
            ordinals[which] += 1
            mark = node.parent is not None and node.parent.type in NO_OPERANDS and "Binary" in operator
            if mark or any(first <= start < last for first, last in spared):
                continue
            key = f"{operator} {digests[which]} {ordinals[which]}"
            found.append(
                Mutant(
                    module=module,
                    operator=operator,
                    occurrence=occurrence,
                    row=start[0],
                    line=lines[start[0] - 1].strip(),
                    key=key,
                )
            )
    return found


def mutated(mutant: Mutant, root: Path = ROOT) -> tuple[str, str]:
    """The module's source with the change, and the changed line."""
    source = (root / mutant.module).read_text(encoding="utf-8")
    made = mutate_code(source, plugins.get_operator(f"core/{mutant.operator}")(), mutant.occurrence)
    assert made is not None
    return made, made.splitlines()[mutant.row - 1].strip()


class Changed(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Finds one module's source here in place of its file."""

    def __init__(self, module: str, source: str, root: Path) -> None:
        self.name = module.removesuffix(".py").replace("/", ".")
        self.path, self.source = root / module, source

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_source(self, fullname: str) -> str:
        return self.source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)


class FewExamples:
    """A plugin of pytest: Hypothesis' tests are the same each time, and short. Notes the first test that fails."""

    failed = ""

    def pytest_collection_modifyitems(self, items: Sequence[object]) -> None:
        import hypothesis

        for item in items:
            inner = getattr(item, "obj", None)
            held = getattr(inner, "_hypothesis_internal_use_settings", None)
            if held is not None:
                inner._hypothesis_internal_use_settings = hypothesis.settings(
                    held,
                    max_examples=min(held.max_examples, EXAMPLES),
                    derandomize=True,
                    database=None,
                    deadline=None,
                    suppress_health_check=[*hypothesis.HealthCheck],
                    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
                )

    def pytest_runtest_logreport(self, report: object) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def warm_up() -> None:
    """Import what all tests need and no mutant touches."""
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in WARM:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
    sys.path.insert(0, str(ROOT))
    gc.collect()
    gc.freeze()


def examine(suite: Suite, module: str, source: str | None, temporary: Path, root: Path) -> tuple[int, str]:
    """In a forked process: run the tests on a module's changed source; pytest's exit code, and the test that failed."""
    import numba
    import pytest

    if not suite.compiled:
        os.environ["NUMBA_DISABLE_JIT"] = "1"
        numba.config.DISABLE_JIT = True
    if source is not None:
        sys.meta_path.insert(0, Changed(module, source, root))
    os.chdir(root)
    code, watcher = 0, FewExamples()
    quiet = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={root}", f"--basetemp={temporary}"]
    quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    for arguments in suite.passes():
        files = [f"tests/{name}.py" if name.isidentifier() else name for name in arguments]
        code = code or int(pytest.main([*files, *quiet], plugins=[watcher]))
        if code == pytest.ExitCode.NO_TESTS_COLLECTED:
            code = 0
    return code, watcher.failed


@dataclass
class Child:
    """A process that examines a mutant; None is the module as it is."""

    module: str
    suite: Suite
    mutant: Mutant | None
    limit: float
    output: Path
    root: Path = ROOT
    began: float = field(default_factory=time.monotonic)
    becomes: str = ""

    def __post_init__(self) -> None:
        self.temporary = Path(tempfile.mkdtemp(prefix="mutant-"))
        self.source: str | None = None
        if self.mutant is not None:
            self.source, self.becomes = mutated(self.mutant, self.root)
        self.pid = os.fork()
        if self.pid == 0:
            self._work()

    def _work(self) -> None:
        code = 70
        try:
            os.setsid()
            with self.output.open("w") as kept:
                os.dup2(kept.fileno(), 1)
                os.dup2(kept.fileno(), 2)
            pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
            room = pages * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
            code, failed = examine(self.suite, self.module, self.source, self.temporary / "base", self.root)
            (self.temporary / "by").write_text(failed)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def outcome(self) -> Outcome | None:
        """What became of it; None while it runs."""
        seconds = time.monotonic() - self.began
        done, status = os.waitpid(self.pid, os.WNOHANG)
        verdict = "survived" if done and status == 0 else "killed"
        if not done:
            if seconds < self.limit:
                return None
            verdict = "timed out"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if not done:
            os.waitpid(self.pid, 0)
        by = (self.temporary / "by").read_text() if (self.temporary / "by").exists() else ""
        shutil.rmtree(self.temporary, ignore_errors=True)
        return Outcome(verdict=verdict, by=by, seconds=round(seconds, 2), becomes=self.becomes)


def undisturbed(module: str, suite: Suite, root: Path = ROOT, output: Path | None = None) -> float:
    """Seconds that the tests take on the module as it is.

    Raises:
        SystemExit: they do not pass, so that nothing could be said of mutants.
    """
    kept = output or PROOF / "undisturbed.txt"
    child = Child(module, suite, None, 1200.0, kept, root)
    while (found := child.outcome()) is None:
        time.sleep(0.01)
    if found.verdict != "survived":
        raise SystemExit(f"{module}: its tests do not pass undisturbed ({found.verdict}):\n{kept.read_text()}")
    return found.seconds


def examined(
    module: str, suite: Suite, mutants: Sequence[Mutant], limit: float, processes: int, root: Path = ROOT
) -> Iterator[tuple[Mutant, Outcome]]:
    """The outcome of each mutant, so many at once, as they come."""
    waiting, running = [*reversed(mutants)], []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        while waiting or running:
            while waiting and len(running) < processes:
                mutant = waiting.pop()
                running.append(Child(module, suite, mutant, limit, Path(folder) / f"{mutant.occurrence}.txt", root))
            for child in [*running]:
                if (found := child.outcome()) is not None:
                    running.remove(child)
                    yield child.mutant, found
            time.sleep(0.005)


def compiles(mutant: Mutant, root: Path = ROOT) -> bool:
    """Whether the change leaves Python: `f(*, x)` has a star that is no product."""
    try:
        ast.parse(mutated(mutant, root)[0])
    except SyntaxError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """A line and what it may become without that a test could or should tell."""

    module: str
    line: str
    becomes: tuple[str, ...]
    reason: str


def equivalents(path: Path = EQUIVALENT) -> list[Equivalent]:
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", [])
    return [Equivalent(**(entry | {"becomes": tuple(entry["becomes"])})) for entry in entries]


def idle(listed: Sequence[Equivalent], module: str, mutants: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """What the list has of a module that is no mutant of it."""
    wanted = {(entry.line, line) for entry in listed if entry.module == module for line in entry.becomes}
    lines = {line for line, _ in wanted}
    there = {(mutant.line, mutated(mutant, root)[1]) for mutant in mutants if mutant.line in lines}
    return [f"{module}: {line!r} -> {becomes!r}" for line, becomes in sorted(wanted - there)]


class Kept:
    """The results of a module, on disk."""

    def __init__(self, module: str) -> None:
        self.path = PROOF / f"{module.replace('/', '.').removesuffix('.py')}.jsonl"
        self.found: dict[str, Outcome] = {}
        if self.path.exists():
            for text in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # a line that a kill has cut
                    plain = json.loads(text)
                    self.found[plain["key"]] = Outcome(**{name: plain[name] for name in Outcome.__annotations__})

    def add(self, mutant: Mutant, outcome: Outcome) -> None:
        self.found[mutant.key] = outcome
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(mutant) | asdict(outcome)) + "\n")


def judge(module: str, asked: argparse.Namespace, listed: Sequence[Equivalent]) -> Counter[str]:
    """Examine a module's mutants, as far as that is not done; how many came to which end."""
    suite, kept = SUITES[module], Kept(module)
    mutants = enumerate_mutants(module)
    if unmatched := idle(listed, module, mutants):
        raise SystemExit("\n".join([f"{EQUIVALENT.name} has what is no mutant:", *unmatched]))
    if asked.sample:
        random.Random(f"{asked.seed} {module}").shuffle(mutants)
        mutants = sorted(mutants[: asked.sample], key=lambda mutant: mutant.row)
    harmless = {(entry.line, line) for entry in listed if entry.module == module for line in entry.becomes}
    mutants = [mutant for mutant in mutants if mutant.key in kept.found or compiles(mutant)]
    counts, due = Counter(mutants=len(mutants)), []
    for mutant in mutants:
        before = kept.found.get(mutant.key)
        if before is None or (asked.again and before.verdict == "survived"):
            due.append(mutant)
    due = [mutant for mutant in due if (mutant.line, mutated(mutant)[1]) not in harmless]
    if due:
        limit = max(LEAST, SLOWER * undisturbed(module, suite))
        print(f"{module}: {len(due)} to examine, {limit:.0f} s each at most", flush=True)
        for mutant, outcome in examined(module, suite, due, limit, asked.processes):
            kept.add(mutant, outcome)
            if outcome.verdict == "survived":
                print(f"  {mutant.name} line {mutant.row}: {mutant.line}\n    -> {outcome.becomes}", flush=True)
    for mutant in mutants:
        found = kept.found.get(mutant.key)
        listed_as_harmless = (mutant.line, found.becomes if found else mutated(mutant)[1]) in harmless
        counts["equivalent" if listed_as_harmless else found.verdict] += 1
    return counts


def share(counts: Counter[str]) -> float:
    """Per cent of the mutants that were killed, those apart that nothing can kill."""
    killed = counts["killed"] + counts["timed out"]
    return 100 * killed / max(1, killed + counts["survived"])


def show(name: str) -> int:
    """Examine one mutant and print its diff and what pytest said."""
    module, operator, occurrence = name.rsplit(":", 2)
    (mutant,) = [
        one for one in enumerate_mutants(module) if (one.operator, one.occurrence) == (operator, int(occurrence))
    ]
    before, after = (ROOT / module).read_text(encoding="utf-8"), mutated(mutant)[0]
    print(*difflib.unified_diff(before.splitlines(), after.splitlines(), module, name, lineterm="", n=6), sep="\n")
    child = Child(module, SUITES[module], mutant, 1200.0, PROOF / "shown.txt")
    while (found := child.outcome()) is None:
        time.sleep(0.01)
    print((PROOF / "shown.txt").read_text(), f"{found.verdict} {found.by} in {found.seconds} s", sep="\n")
    return 0 if found.verdict != "survived" else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", nargs="+", choices=SUITES, default=[*SUITES], metavar="MODULE")
    parser.add_argument("--sample", type=int, default=0, help="mutants of each module, drawn by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="examine once more what has survived: tests have come")
    parser.add_argument("--show", metavar="MODULE:OPERATOR:N", help="examine one mutant, and print what is changed")
    asked = parser.parse_args()
    PROOF.mkdir(parents=True, exist_ok=True)
    warm_up()
    if asked.show:
        return show(asked.show)
    listed, table = equivalents(), {}
    for module in asked.modules:
        table[module] = judge(module, asked, listed)
    heads = ("mutants", "killed", "timed out", "survived", "equivalent")
    print(f"{'module':30}", *(f"{head:>10}" for head in heads), f"{'% killed':>10}")
    total = sum(table.values(), Counter[str]())
    for module, counts in [*table.items(), ("all", total)]:
        print(f"{module:30}", *(f"{counts[head]:>10}" for head in heads), f"{share(counts):>10.1f}")
    return 0 if all(share(counts) >= ENOUGH for counts in table.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
