"""Simulate a power cut at every step of every command that writes: only data that was not synced may be lost.

Each run is recorded call by call (faults.c) and replayed on a model of a disk, up to each step. After a power cut the
disk keeps all synced data (names synced with their folder, contents synced with their file). Of the rest it keeps
nothing, everything, or a random part: names in any possible combination; contents empty, as zeros, or cut in half. Each
distinct disk state is written to a folder and checked by fault_cases.py. After the last step every output must be the
new one, whatever is lost. Prints a table; exits 1 when anything fails.
"""

import argparse
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts.paths import CHECKPOINTS_FOLDER
from tests.proofs import fault_cases, faults
from tests.proofs.fault_cases import RUN, Tree, Trial
from tests.proofs.faults import Record

DROPPED = [(0.0, "synced"), (1.0, "synced")]
"""Lose all unsynced data, or only unsynced contents: (share of unsynced names that survive, state of contents)."""
OTHERWISE = [(1.0, "zeros"), (1.0, "half"), (0.0, "all")]
HEADS = ("steps", "states", "absent", "old", "new", "BAD")


@dataclass(eq=False)
class Node:
    """A file or folder, independent of its name."""

    is_folder: bool
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    """The content at the last sync; empty before the first."""


@dataclass(frozen=True)
class Change:
    """A change of names: `node` leaves folder `source` (name `old`), enters folder `target` (name `new`), or both."""

    node: Node
    source: Node | None
    old: str
    target: Node | None
    new: str


class Disk:
    """A model of a disk: the live state and the state that survives a power cut."""

    def __init__(self, before: Path) -> None:
        self.root = Node(is_folder=True)
        self.start: list[Change] = []
        self.live: dict[Node, dict[str, Node]] = {self.root: {}}
        for path in sorted(before.rglob("*")):
            content = b"" if path.is_dir() else path.read_bytes()
            node = Node(path.is_dir(), bytearray(content), content)
            self._apply(self.live, Change(node, None, "", self._find(path.parent.relative_to(before)), path.name))
        self.base = {node: dict(entries) for node, entries in self.live.items()}
        self.changes: list[Change] = []
        self.must: list[bool] = []

    def _find(self, path: Path) -> Node:
        node = self.root
        for part in path.parts:
            node = self.live[node][part]
        return node

    @staticmethod
    def _apply(tree: dict[Node, dict[str, Node]], change: Change, *, must: bool = False) -> bool:
        """Apply a change of names to a tree; return False if it is impossible there.

        With `must`, the node enters its folder even if its earlier name was lost.
        """
        source, target = change.source, change.target
        if source is not None and tree[source].get(change.old) is not change.node and not must:
            return False
        existing = tree[target].get(change.new) if target is not None else None
        if existing is not None and existing.is_folder and tree[existing]:
            return False
        if source is not None and tree[source].get(change.old) is change.node:
            del tree[source][change.old]
        if target is not None:
            tree[target][change.new] = change.node
            if change.node.is_folder:
                tree.setdefault(change.node, {})
        return True

    def play(self, record: Record, top: Path) -> None:
        """Apply a record."""
        path = Path(record.path).relative_to(top)
        if record.what == faults.SYNC:
            node = self._find(path)
            if node.is_folder:
                for number, change in enumerate(self.changes):
                    self.must[number] |= node in (change.source, change.target)
            else:
                node.synced = bytes(node.content)
        elif record.what in {faults.CREATE, faults.MKDIR}:
            node = Node(is_folder=record.what == faults.MKDIR)
            self._change(Change(node, None, "", self._find(path.parent), path.name))
        elif record.what in {faults.UNLINK, faults.RMDIR}:
            self._change(Change(self._find(path), self._find(path.parent), path.name, None, ""))
        elif record.what == faults.RENAME:
            to = Path(record.second).relative_to(top)
            self._change(Change(self._find(path), self._find(path.parent), path.name, self._find(to.parent), to.name))
        elif record.what == faults.WRITE:
            content = self._find(path).content
            content.extend(bytes(max(0, record.offset - len(content))))
            content[record.offset : record.offset + len(record.data)] = record.data
        elif record.what == faults.TRUNCATE:
            content = self._find(path).content
            del content[record.offset :]
            content.extend(bytes(record.offset - len(content)))
        elif record.what != faults.FAILED:
            raise NotImplementedError(f"{record.path}: made by a call that cannot be replayed")

    def _change(self, change: Change) -> None:
        if not self._apply(self.live, change):
            raise AssertionError(f"the record does not fit the disk: {change}")
        self.changes.append(change)
        self.must.append(False)

    def now(self) -> Tree:
        """Return the live content."""
        return self._tree(self.live, lambda node: bytes(node.content))

    def states(self, chance: random.Random, ways: Sequence[tuple[float, str]]) -> Iterator[Tree]:
        """Yield a possible state after a power cut for each share of surviving names and state of contents."""
        for share, how in ways:
            tree = {node: dict(self.base.get(node, {})) for node in self.live}
            for change, must in zip(self.changes, self.must, strict=True):
                if must or chance.random() < share:
                    self._apply(tree, change, must=must)
            yield self._tree(tree, lambda node, how=how: self._content(node, how, chance))  # type: ignore[misc]

    @staticmethod
    def _content(node: Node, how: str, chance: random.Random) -> bytes:
        content = bytes(node.content)
        if content == node.synced:
            return content
        how = chance.choice(["synced", "zeros", "half", "all"]) if how == "drawn" else how
        kept = len(node.synced) if content.startswith(node.synced) else 0
        return {
            "synced": node.synced,
            "zeros": content[:kept] + bytes(len(content) - kept),
            "half": content[: (kept + len(content)) // 2],
            "all": content,
        }[how]

    def _tree(self, tree: dict[Node, dict[str, Node]], content: object) -> Tree:
        found: Tree = {}

        def walk(node: Node, above: str) -> None:
            for name, under in tree[node].items():
                found[above + name] = None if under.is_folder else content(under)  # type: ignore[operator]
                if under.is_folder:
                    walk(under, f"{above}{name}/")

        walk(self.root, "")
        return found


def cut(trial: Trial, asked: argparse.Namespace) -> None:
    """Cut the power before the first step of a case and after each step."""
    if "two workers" in trial.case.name:
        return  # the records of two processes may be out of order
    trial.fresh()
    disk, seen, chance = Disk(trial.folder), set[int](), random.Random(asked.seed)
    top, safe = trial.folder.resolve(), ""
    closely = {0, *faults.spread(trial.steps, asked.steps), trial.steps}
    for done in range(trial.steps + 1):
        record = trial.records[done - 1] if done else None
        if record:
            disk.play(record, top)
            safe = safe_checkpoint(record, disk, safe)
        ways = DROPPED + (OTHERWISE + [(0.5, "drawn")] * asked.drawn) * (done in closely)
        for state in disk.states(chance, ways if done in closely or asked.every_step else []):
            over = done == trial.steps
            known = hash((over, safe, tuple(sorted(state.items(), key=lambda item: item[0]))))
            if known not in seen:
                seen.add(known)
                trial.found["states"] += 1
                write_state(state, trial.folder)
                after = f"{record.what} {record.path} {record.second}" if record else "nothing"
                trial.judge(f"cut after step {done} ({after})", safe, must_be_new=over)
    if disk.now() != trial.after:
        raise SystemExit(f"{trial.case}: the replay differs from the real result: a write was not recorded")


def safe_checkpoint(record: Record, disk: Disk, before: str) -> str:
    """Return the newest checkpoint whose name is synced after a record; empty if there is none."""
    if record.what == faults.RENAME and Path(record.path).name == Path(RUN).name:
        return ""  # --force has replaced the run
    if record.what == faults.SYNC and Path(record.path).name == CHECKPOINTS_FOLDER and RUN in record.path:
        names = [name for name in disk.now() if name.startswith(f"{RUN}/{CHECKPOINTS_FOLDER}/step-")]
        return max((name.split("/")[3] for name in names), default=before)
    return before


def write_state(state: Tree, folder: Path) -> None:
    """Write a disk state to a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in state.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    asking = fault_cases.parser(__doc__)
    asking.add_argument(
        "--steps", type=int, default=0, help="steps of each case that are checked in all ways; 0: all steps"
    )
    asking.add_argument("--drawn", type=int, default=3, help="random disk states at each of these steps")
    asking.add_argument("--every-step", action="store_true", help="also lose all unsynced data at every other step")
    sys.exit(fault_cases.prove(asking.parse_args(), HEADS, cut))
