"""Fuzz targets: recipes and configurations, as files and as command line arguments."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import SkelepipeError
from pipeline.recipes import recipe
from pipeline.recipes.recipe import load_recipe, recipe_from_plain
from tests.fuzz import damage
from tests.fuzz.fuzz_judging import Judge, Outcome, Target, ask, same
from trainer.config import pretrain
from trainer.config.evaluation import compose_eval
from trainer.config.presets import compose_pretrain, load_preset


def recipe_file(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path = folder / "r.toml"
    seeds = [file.read_bytes() for file in sorted(Path(recipe.__file__).with_name("shipped").glob("*.toml"))]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: load_recipe(str(path)), str(path))
        if isinstance(found, SkelepipeError):
            return Outcome(True)
        same(recipe_from_plain(found.resolved, "again").resolved, found.resolved)
        return Outcome(False)

    return seeds, judge


CONFIG = b"""
frames = 32
epochs = 20
batch_size = 16
precision = "bf16"
schedule = "step"
milestones = [5, 10]
held_out = [1, "a"]
warm_up = 0.5

[method]
name = "skelemixclr+"
temperature = 0.2
[method.mix]
frames = [1, 3]
[encoder]
hidden_channels = 8
[augment]
[pair]
queue_size = 64
"""


def pretrain_config(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path, quick = folder / "c.toml", load_preset("quick")
    presets = [file.read_bytes() for file in sorted(Path(pretrain.__file__).with_name("presets").glob("*.toml"))]
    seeds = [CONFIG, *(text.partition(b"[config]")[2].replace(b"[config.", b"[") for text in presets[:4])]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: compose_pretrain(quick, path), str(path))
        return Outcome(isinstance(found, SkelepipeError))

    return seeds, judge


def settings(_: Path) -> tuple[Sequence[bytes], Judge]:
    """Arguments of --set, for both commands that accept it."""
    seeds = [
        *(b"seed=3", b"linear.epochs=5", b"finetune.decay_at=[0.5]", b"knn.k=20", b"semi.nesterov=true"),
        *(b"frames=16", b"method.mix.frames=[1, 3]", b"encoder.hidden_channels=2", b"stream=bone", b"a.b.c='x'"),
    ]
    quick = load_preset("quick")

    def judge(content: bytes) -> Outcome:
        text = content.decode("utf-8", "surrogateescape")
        evaluation = ask(lambda: compose_eval([text]), "")
        training = ask(lambda: compose_pretrain(quick, None, [text]), "")
        return Outcome(isinstance(evaluation, SkelepipeError) and isinstance(training, SkelepipeError))

    return seeds, judge


TARGETS = (
    Target(name="recipe toml", start=recipe_file, ways=damage.TOML, share=25, times=300, room=64 << 20),
    Target(name="pretrain toml", start=pretrain_config, ways=damage.TOML, share=25, times=300, room=64 << 20),
    Target(name="--set", start=settings, ways=(*damage.TOML, *damage.TEXT), share=25, times=300, room=64 << 20),
)
