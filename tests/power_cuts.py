"""Cut the power at every step of every command that writes: what was not brought to the disk may be lost, nothing else.

A run is written down call by call (faults.c) and played back on a model of a disk, up to each step. What the disk then has
is what a file system must keep, names that were synced with their folder, contents that were synced with their file, and
of the rest none, all, or some by chance: names in any combination that can come about, contents empty, zeros or half. Each
picture that differs is laid down as a folder, looked at, and the same commands are run in it: outputs must be absent, the
old or the complete new ones, checkpoints whole, and the run's end the bytes of an undisturbed one. After the last step
every output must be the new one, however much is lost. Prints a table; exits 1 when anything fails.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fault_cases
import faults
import torch
from fault_cases import RUN, Case, World
from faults import Record
from kill_points import names

from pipeline.verify import CHECKPOINTS, verify

HEADS = ("steps", "pictures", "absent", "old", "new", "BAD")
Tree = dict[str, bytes | None]
"""Path: content, or None for a folder."""


@dataclass(eq=False)
class Node:
    """A file or folder, whatever it is called."""

    is_folder: bool
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    """Of a file, what a file system must keep of it."""


@dataclass(frozen=True)
class Change:
    """A change of names: `node` leaves the folder `source` as `old` and comes into `target` as `new`, either or both."""

    node: Node
    source: Node | None
    old: str
    target: Node | None
    new: str


class Disk:
    """What a disk has been told, and what it must have kept."""

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
        """Make a change of names in a tree; False when it cannot come about there.

        What `must` be kept comes into its folder even if how it came to be was lost: it is there, whatever its name was.
        """
        source, target = change.source, change.target
        if source is not None and tree[source].get(change.old) is not change.node and not must:
            return False
        there = tree[target].get(change.new) if target is not None else None
        if there is not None and there.is_folder and tree[there]:
            return False
        if source is not None and tree[source].get(change.old) is change.node:
            del tree[source][change.old]
        if target is not None:
            tree[target][change.new] = change.node
            if change.node.is_folder:
                tree.setdefault(change.node, {})
        return True

    def play(self, record: Record, top: Path) -> None:
        """Do what a record says."""
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
            raise NotImplementedError(f"{record.path}: done by a call that is not played back")

    def _change(self, change: Change) -> None:
        if not self._apply(self.live, change):
            raise AssertionError(f"the record does not fit the disk: {change}")
        self.changes.append(change)
        self.must.append(False)

    def now(self) -> Tree:
        """What there is while the power is on."""
        return self._tree(self.live, lambda node: bytes(node.content))

    def pictures(self, chance: random.Random, drawn: int) -> Iterator[Tree]:
        """What there can be after a power cut: names and contents that are not safe lost, kept, or drawn."""
        for share, how in [(0.0, "synced"), (1.0, "synced"), (1.0, "zeros"), (1.0, "half"), (0.0, "all")] + [
            (0.5, "drawn")
        ] * drawn:
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


class Trial:
    """Power cuts of one case."""

    def __init__(self, world: World, case: Case, chance: random.Random) -> None:
        self.world, self.case, self.chance = world, case, chance
        self.found: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.folder = world.fresh(case)
        self.disk = Disk(self.folder)
        self.old = {name: faults.bytes_of(self.folder / name) for name in case.outputs if (self.folder / name).exists()}
        outcome = faults.run(case.commands, self.folder, log=world.place / "log")
        if outcome.code:
            raise SystemExit(f"{case}: does not even run undisturbed: {outcome.said}")
        self.records = faults.records(world.place / "log")
        self.found["steps"] = len(self.records)
        self.new = {name: faults.bytes_of(self.folder / name) for name in case.outputs}
        self.whole, self.there = faults.bytes_of(self.folder), names(self.folder)
        self.now = {
            name: None if (self.folder / name).is_dir() else (self.folder / name).read_bytes() for name in self.there
        }
        self.safe = ""

    def run(self, points: Sequence[int], drawn: int) -> None:
        """Cut the power after each of some steps, 0 before the first."""
        wanted, total = set(points), len(self.records)
        for done in range(total + 1):
            if done:
                self.disk.play(self.records[done - 1], self.folder.resolve())
                self._note_checkpoints(self.records[done - 1])
            if done in wanted or done == total:
                for picture in self.disk.pictures(self.chance, drawn):
                    self.look(picture, done, over=done == total)
        if self.disk.now() != self.now:
            raise SystemExit(f"{self.case}: what was played back is not what was done: a write went unseen")

    def _note_checkpoints(self, record: Record) -> None:
        """Keep in mind the newest checkpoint whose name has been brought to the disk."""
        if record.what == faults.SYNC and Path(record.path).name == CHECKPOINTS and RUN in record.path:
            there = [name for name in self.disk.now() if name.startswith(f"{RUN}/{CHECKPOINTS}/step-")]
            self.safe = max((name.split("/")[3] for name in there), default=self.safe)
        elif record.what == faults.RENAME and Path(record.path).name == Path(RUN).name:
            self.safe = ""  # --force has taken the run away

    def look(self, picture: Tree, done: int, *, over: bool) -> None:
        """Lay a picture down, see what is in it, and run the same commands there."""
        known = hash((over, self.safe, tuple(sorted(picture.items(), key=lambda item: item[0]))))
        if known in self.seen:
            return
        self.seen.add(known)
        self.found["pictures"] += 1
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, content in picture.items():
            path = self.folder / name
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content)
        trouble = []
        for name in self.case.outputs:
            path = self.folder / name
            found = faults.bytes_of(path) if path.exists() else None
            states = {"absent": None, "old": self.old.get(name), "new": self.new[name]}
            state = next((state for state, wanted in states.items() if found == wanted), "MIXED")
            self.found[state] += 1
            trouble += [f"{name} is {state}"] * (state == "MIXED" or (over and state != "new"))
        if not self.case.outputs:
            steps = sorted((self.folder / RUN / CHECKPOINTS).glob("step-*"))
            trouble += [f"{path.name}: {finding}" for path in steps for finding in verify(path).findings]
            trouble += [f"{self.safe} is lost"] * (bool(self.safe) and (not steps or steps[-1].name < self.safe))
        again = faults.run(self.case.commands, self.folder)
        if again.code and not (self.case.name == "synth" and "not an empty folder" in again.said):
            trouble.append(f"the next run failed: {again.said.strip()}")
        whole, there = faults.bytes_of(self.folder), names(self.folder)
        changed = sorted(name for name in whole.keys() & self.whole.keys() if whole[name] != self.whole[name])
        trouble += [f"other bytes in {', '.join(changed[:3])}"] if changed else []
        trouble += [f"left or lost: {', '.join(sorted(there ^ self.there)[:4])}"] if there != self.there else []
        if trouble:
            self.found["BAD"] += 1
            after = self.records[done - 1] if done else None
            told = f"{after.what} {after.path} {after.second}" if after else "nothing"
            print(f"{self.case}, cut after step {done} ({told}): {'; '.join(trouble)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=0, help="steps at which power is cut, for each case; 0: every one")
    parser.add_argument("--drawn", type=int, default=3, help="pictures drawn by chance at each step, beside the fixed")
    parser.add_argument("--cases", nargs="+", default=[], help="only the cases whose names begin so")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    faults.start()
    torch.set_num_threads(1)
    print(f"{'case':42}" + "".join(f"{head:>14}" for head in HEADS), flush=True)
    total, chance = Counter[str](), random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        for case in fault_cases.CASES:
            if "two workers" in case.name or (asked.cases and not case.name.startswith(tuple(asked.cases))):
                continue  # of two processes the order in which the records come is not that of what they did
            faults.quiet(case.commands, world.fresh(case))
            trial = Trial(world, case, chance)
            trial.run([*faults.spread(len(trial.records), asked.steps)], asked.drawn)
            print(f"{case!s:42}" + "".join(f"{trial.found[head]:14,}" for head in HEADS), flush=True)
            total += trial.found
    print(f"{'all':42}" + "".join(f"{total[head]:14,}" for head in HEADS))
    return 1 if total["BAD"] else 0


if __name__ == "__main__":
    sys.exit(main())
