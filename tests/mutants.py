"""Mutation testing: change the code in one small place, run the tests of that module, and see whether they notice.

The changes are cosmic-ray's. It would start pytest anew for each, which takes seconds; here each runs in a forked
process (see forked.py). A change is killed when a test fails, when the process dies, or when all tests or one take a
multiple of the time that they take undisturbed, and survives otherwise.

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
import hashlib
import json
import random
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from forked import ROOT, Forked, Outcome, Suite, warm_up

PROOF = ROOT / "proof" / "mutants"
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.toml")
ENOUGH = 85.0
"""Per cent of a module's mutants that must be killed, those apart that nothing can kill."""
SLOWER, LEAST = 3, 20.0
"""A mutant may take so many times what all tests, or the slowest, take undisturbed, and so many seconds at least."""
PATIENT = (1200.0, 1200.0)
NEAREST = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Div", "Add"),
    "Div": ("Mul", "FloorDiv"),
    "FloorDiv": ("Div", "Mul"),
    "Mod": ("FloorDiv", "Mul"),
    "Pow": ("Mul", "Add"),
    "RShift": ("LShift",),
    "LShift": ("RShift",),
    "BitOr": ("BitAnd",),
    "BitAnd": ("BitOr",),
    "BitXor": ("BitAnd", "BitOr"),
}
COMPARED = {
    "Lt": ("LtE", "NotEq"),
    "LtE": ("Lt", "Eq"),
    "Gt": ("GtE", "NotEq"),
    "GtE": ("Gt", "Eq"),
    "Eq": ("NotEq", "LtE", "GtE"),
    "NotEq": ("Eq", "Lt", "Gt"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
OF_NUMBERS = tuple(
    f"ReplaceComparisonOperator_{old}_{new}"
    for old, new in (("Eq", "LtE"), ("Eq", "GtE"), ("NotEq", "Lt"), ("NotEq", "Gt"))
)
"""What is no change of logic where a word is compared: words have an order, but none that means anything."""
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


SUITES = {
    "pipeline/text_kernels.py": Suite(
        tests=("test_ntu_text", "test_pku_text"),
        later=(
            *("strict_prefix", "changed_at_random", "any_eleven_tokens", "outlives_the_buffer", "agree_with_the_twin"),
            *("rows_of_number_like", "S001C002", "S001C003", "S002C00", "S003C00", "S004C00", "S006C00"),
        ),
        # Half of the time, in which all that it looks at is looked at by the others, too.
        never=("golden", "checked_and_plain_python", "strict_prefix_is_refused_unless"),
    ),
    "pipeline/choose_kernels.py": Suite(tests=("test_choose", "test_follow")),
    "pipeline/denoise_kernels.py": Suite(tests=("test_denoise",)),
    "pipeline/follow_kernels.py": Suite(tests=("test_follow",)),
    "pipeline/agcn_kernels.py": Suite(tests=("test_agcn",), never=("golden", "dirty_recordings_come_out")),  # a few do
    "pipeline/normalise_kernels.py": Suite(
        tests=("test_resample", "test_normalise"), later=("as_told_for_dirty_recordings",)
    ),
    "pipeline/peers_kernels.py": Suite(tests=("test_peers",), later=("dirty_recordings_come_out",)),
    "pipeline/noise_kernels.py": Suite(tests=("test_noise", "test_choose"), also=("test_denoise",)),
    "pipeline/prepared_kernels.py": Suite(tests=("test_prepared", "test_resample")),
    "pipeline/zero_sums.py": Suite(tests=("test_agcn",), never=("golden", "dirty_recordings_come_out")),
    "pipeline/recipe.py": Suite(tests=("test_recipe",), later=("every_dirty_file", "the_peers_make"), compiled=True),
    "pipeline/resample.py": Suite(tests=("test_resample", "test_prepared"), compiled=True),
    "pipeline/splits.py": Suite(
        tests=("test_splits",), also=("test_leakage", "test_verify"), never=("golden", "no_command_uses"), compiled=True
    ),
    "pipeline/split_rules.py": Suite(
        tests=("test_splits",), also=("test_leakage", "test_verify"), never=("golden", "no_command_uses"), compiled=True
    ),
    "pipeline/split_lists.py": Suite(tests=("test_split_lists",), compiled=True),
    "trainer/skelemix.py": Suite(tests=("test_skelemix",), also=("test_config",), compiled=True),
    "trainer/pooling.py": Suite(tests=("test_pooling",), compiled=True),
    "trainer/losses.py": Suite(tests=("test_losses",), compiled=True),
    "trainer/contrast.py": Suite(tests=("test_contrast",), also=("test_config",), compiled=True),
    "trainer/checkpoint.py": Suite(tests=("test_checkpoint",), compiled=True),
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
    function: str
    """The function or class at the top level that it is in; empty when in none."""
    line: str
    key: str
    """Operator, digest of the top-level statement, and which of the places in that: it lasts as long as those."""

    @property
    def name(self) -> str:
        return f"{self.module}:{self.operator}:{self.occurrence}"


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
            case ast.Call(func=ast.Attribute(attr="njit")):
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


def enumerate_mutants(module: str) -> list[Mutant]:
    """All changes to a module that are of interest, in the order of the operators."""
    source = (ROOT / module).read_text(encoding="utf-8")
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
            text = operator.startswith(OF_NUMBERS) and any(child.type == "string" for child in node.children)
            walrus = operator == "AddNot" and any(child.type == "namedexpr_test" for child in node.children)
            if mark or text or walrus or any(first <= start < last for first, last in spared):
                continue
            key = f"{operator} {digests[which]} {ordinals[which]}"
            found.append(
                Mutant(
                    module=module,
                    operator=operator,
                    occurrence=occurrence,
                    row=start[0],
                    function=getattr(tree.body[which], "name", ""),
                    line=lines[start[0] - 1].strip(),
                    key=key,
                )
            )
    return found


def mutated(mutant: Mutant) -> tuple[str, str]:
    """The module's source with the change, and the changed line."""
    source = (ROOT / mutant.module).read_text(encoding="utf-8")
    made = mutate_code(source, plugins.get_operator(f"core/{mutant.operator}")(), mutant.occurrence)
    assert made is not None
    return made, made.splitlines()[mutant.row - 1].strip()


def undisturbed(module: str, suite: Suite) -> tuple[float, float]:
    """Seconds that the tests may take together, and the slowest alone, by what they take on the module as it is.

    Raises:
        SystemExit: they do not pass, so that nothing could be said of mutants.
    """
    kept = PROOF / "undisturbed.txt"
    found = Forked(module, None, suite, PATIENT, kept).wait()
    if found.verdict != "survived":
        raise SystemExit(f"{module}: its tests do not pass undisturbed ({found.verdict}):\n{kept.read_text()}")
    return max(LEAST, SLOWER * found.seconds), max(LEAST, SLOWER * found.slowest)


def examined(
    mutants: Sequence[Mutant], limits: tuple[float, float], processes: int
) -> Iterator[tuple[Mutant, Outcome]]:
    """The outcome of each mutant as it comes, so many at once."""
    waiting, running = [*reversed(mutants)], []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        while waiting or running:
            while waiting and len(running) < processes:
                mutant = waiting.pop()
                source, becomes = mutated(mutant)
                output = Path(folder) / f"{mutant.operator}-{mutant.occurrence}.txt"
                forked = Forked(mutant.module, source, SUITES[mutant.module], limits, output)
                running.append((forked, mutant, becomes))
            for child in [*running]:
                forked, mutant, becomes = child
                if (found := forked.outcome()) is not None:
                    running.remove(child)
                    found.becomes = becomes
                    yield mutant, found
            time.sleep(0.005)


def compiles(mutant: Mutant) -> bool:
    """Whether the change leaves Python: `f(*, x)` has a star that is no product."""
    try:
        ast.parse(mutated(mutant)[0])
    except SyntaxError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """What a line may become without that a test could or should tell."""

    module: str
    function: str
    line: str
    becomes: tuple[str, ...]
    reason: str


def equivalents(module: str) -> list[Equivalent]:
    """What the list has of a module."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["equivalent"]
    listed = [Equivalent(**(entry | {"becomes": tuple(entry["becomes"])})) for entry in entries]
    return [entry for entry in listed if entry.module == module]


def matched(listed: Sequence[Equivalent], mutants: Sequence[Mutant]) -> tuple[set[str], list[str]]:
    """The keys of the mutants that are listed, and what is listed and is no mutant."""
    wanted = {(entry.function, entry.line, line) for entry in listed for line in entry.becomes}
    lines, keys, there = {(function, line) for function, line, _ in wanted}, set(), set()
    for mutant in mutants:
        if (mutant.function, mutant.line) in lines:
            place = (mutant.function, mutant.line, mutated(mutant)[1])
            there.add(place)
            keys |= {mutant.key} if place in wanted else set()
    return keys, [f"{function}: {line!r} -> {becomes!r}" for function, line, becomes in sorted(wanted - there)]


class Kept:
    """The results of a module, on disk."""

    def __init__(self, module: str) -> None:
        self.path = PROOF / f"{module.replace('/', '.').removesuffix('.py')}.jsonl"
        self.found: dict[str, Outcome] = {}
        if self.path.exists():
            for text in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # a line that a kill has cut
                    plain = json.loads(text)
                    self.found[plain["key"]] = Outcome(
                        **{name: plain[name] for name in Outcome.__annotations__ if name in plain}
                    )

    def killed(self, key: str) -> bool:
        """Whether a mutant has been examined and has not survived."""
        return key in self.found and self.found[key].verdict != "survived"

    def add(self, mutant: Mutant, outcome: Outcome) -> None:
        self.found[mutant.key] = outcome
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(mutant) | asdict(outcome)) + "\n")


def judge(module: str, asked: argparse.Namespace) -> Counter[str]:
    """Examine a module's mutants, as far as that is not done; how many came to which end.

    Raises:
        SystemExit: the list of what nothing can kill has what is no mutant, or what a test has killed.
    """
    kept, mutants = Kept(module), enumerate_mutants(module)
    harmless, unmatched = matched(equivalents(module), mutants)
    unmatched += [f"{key}: {kept.found[key].by} kills it" for key in harmless if kept.killed(key)]
    if unmatched:
        raise SystemExit("\n".join([f"{EQUIVALENT.name}, {module}: no mutant, or one that is killed:", *unmatched]))
    there = len(mutants)
    if asked.table or asked.again:
        mutants = [mutant for mutant in mutants if mutant.key in kept.found or mutant.key in harmless]
    elif asked.sample:
        random.Random(f"{asked.seed} {module}").shuffle(mutants)
        mutants = sorted(mutants[: asked.sample], key=lambda mutant: mutant.row)
    mutants = [mutant for mutant in mutants if mutant.key in kept.found or compiles(mutant)]
    judged = [mutant for mutant in mutants if mutant.key not in harmless]
    due = [mutant for mutant in judged if not kept.killed(mutant.key) and (asked.again or mutant.key not in kept.found)]
    if due:
        limits = undisturbed(module, SUITES[module])
        print(f"{module}: {len(due)} to examine, {limits[0]:.0f} s each at most", flush=True)
        for mutant, outcome in examined(due, limits, asked.processes):
            kept.add(mutant, outcome)
            if outcome.verdict == "survived":
                print(f"  {mutant.name} line {mutant.row}: {mutant.line}\n    -> {outcome.becomes}", flush=True)
    counts = Counter(kept.found[mutant.key].verdict for mutant in judged)
    return counts + Counter(there=there, examined=len(mutants), equivalent=len(mutants) - len(judged))


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
    before, (after, _) = (ROOT / module).read_text(encoding="utf-8"), mutated(mutant)
    print(*difflib.unified_diff(before.splitlines(), after.splitlines(), module, name, lineterm="", n=6), sep="\n")
    found = Forked(module, after, SUITES[module], PATIENT, PROOF / "shown.txt").wait()
    print((PROOF / "shown.txt").read_text(), f"{found.verdict} {found.by} in {found.seconds} s", sep="\n")
    return 1 if found.verdict == "survived" else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", nargs="+", choices=SUITES, default=[*SUITES], metavar="MODULE")
    parser.add_argument("--sample", type=int, default=0, help="mutants of each module, drawn by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="examine what has survived once more, and no other")
    parser.add_argument("--table", action="store_true", help="examine none: print the table of what has been")
    parser.add_argument("--show", metavar="MODULE:OPERATOR:N", help="examine one mutant, and print what is changed")
    asked = parser.parse_args()
    PROOF.mkdir(parents=True, exist_ok=True)
    warm_up()
    if asked.show:
        return show(asked.show)
    table = {module: judge(module, asked) for module in asked.modules}
    heads = ("there", "examined", "killed", "timed out", "survived", "equivalent")
    print(f"{'module':30}", *(f"{head:>10}" for head in heads), f"{'% killed':>10}")
    total = sum(table.values(), Counter[str]())
    for module, counts in [*table.items(), ("all", total)]:
        print(f"{module:30}", *(f"{counts[head]:>10}" for head in heads), f"{share(counts):>10.1f}")
    return 0 if all(share(counts) >= ENOUGH for counts in table.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
