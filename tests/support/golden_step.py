"""Compare one training step with the reference code's numbers (their origin: tests/golden/README.md).

Plain functions without pytest, used by `test_golden_step.py` and by `benchmarks/gpu/check_gpu.py` on a GPU machine.
"""

from pathlib import Path

import numpy as np
import torch

from pipeline.skeleton.layout import KINECT_V2
from tests.support import whole_batch_step
from trainer.config.method import MethodConfig, MixConfig
from trainer.config.model import PairConfig
from trainer.methods.registry import METHODS
from trainer.methods.skelemix import Region, mix
from trainer.models.encoder import Encoder
from trainer.models.graph import build_adjacency
from trainer.models.momentum_pair import MomentumPair
from trainer.runs.imported.released_keys import infer_config, released_names

GOLDEN = Path(__file__).parents[1] / "golden" / "skelemixclr_step.npz"
MAX_ERROR = {torch.float32: 2e-5, torch.float64: 1e-10}
"""For eval outputs, losses, statistics and keys, relative to one or to the largest entry, whichever is greater."""

FLOAT32_EPSILON = float(torch.finfo(torch.float32).eps)
"""Rounding error of the stored weights of about one. A missing update would cause a difference of up to 2e-4."""


class Golden:
    """The golden file in one precision on one device: state from float32, results from `float64/` for float64."""

    def __init__(self, dtype, device="cpu"):
        self.dtype = dtype
        self.device = torch.device(device)
        with np.load(GOLDEN) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.prefix = "float64/" if dtype == torch.float64 else ""
        state = {name.removeprefix("state/"): self.tensor(name) for name in self.arrays if name.startswith("state/")}
        self.config = infer_config(state, "encoder_q", "agcn").model_copy(update={"dropout": 0.0})
        self.queue_size = state["queue"].shape[1]
        self.ours = released_names(self.fresh())
        self.repeats = len({name.split("/")[1] for name in self.arrays if name.startswith("mix/")})

    def inputs(self, name):
        tensor = self.tensor(name)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def expected(self, name):
        return self.tensor(self.prefix + name)

    def tensor(self, name):
        return torch.from_numpy(self.arrays[name]).to(self.device)

    def group(self, start):
        """Return the expected values of a group in this precision, by our parameter names."""
        start = self.prefix + start
        return {self.ours[name[len(start) :]]: self.tensor(name) for name in self.arrays if name.startswith(start)}

    def state(self):
        return {
            self.ours[name.removeprefix("state/")]: self.inputs(name)
            for name in self.arrays
            if name.startswith("state/")
        }

    def fresh(self):
        """Build a newly initialised pair with the sizes in the file."""
        return MomentumPair(Encoder(KINECT_V2, self.config), PairConfig(queue_size=self.queue_size), torch.Generator())

    def pair(self):
        pair = self.fresh().to(self.dtype)
        expected = pair.state_dict()
        pair.load_state_dict(
            {name: value.reshape(expected[name].shape) for name, value in self.state().items()}, strict=True
        )
        return pair.to(self.device)

    def region(self, repeat, stride):
        mask = self.arrays[f"mix/{repeat}/mask"] > 0
        rows = np.flatnonzero(mask.any(axis=1))
        joints = tuple(np.flatnonzero(mask.any(axis=0)).tolist())
        assert mask.sum() == len(rows) * len(joints)
        partner = self.arrays[f"mix/{repeat}/partner"]
        return Region(shift=int(partner[0]), joints=joints, start=int(rows[0]), frames=len(rows))

    def close(self, found, expected):
        torch.testing.assert_close(
            found,
            expected.to(self.dtype),
            rtol=0,
            atol=MAX_ERROR[self.dtype] * max(1.0, float(expected.abs().max())),
        )


def step(golden):
    """Run the golden step and its backward pass; return the pair and the losses."""
    pair = golden.pair()
    pair.train()
    config = MethodConfig(mix=MixConfig(repeats=golden.repeats))
    method = METHODS[config.name](pair, config)
    regions = [golden.region(repeat, pair.query.stride) for repeat in range(golden.repeats)]
    terms = whole_batch_step.losses(method, golden.inputs("input/query"), golden.inputs("input/key"), regions)
    terms.total.backward()
    return pair, terms


def state_names_map_one_to_one(golden, _):
    theirs = {name.removeprefix("state/") for name in golden.arrays if name.startswith("state/")}
    assert set(golden.ours) == theirs
    assert sorted(golden.ours.values()) == sorted(golden.pair().state_dict())


def adjacency_matches_the_reference(golden, _):
    assert torch.equal(build_adjacency(KINECT_V2), golden.tensor("state/encoder_q.A").cpu())


def eval_outputs_match_the_reference(golden, _):
    query = golden.pair().query.eval()
    x = golden.inputs("input/query")
    mask = golden.inputs("eval/mask") > 0
    with torch.no_grad():
        golden.close(query.backbone(x), golden.expected("eval/backbone"))
        golden.close(query(x), golden.expected("eval/embedding"))
        trimmed, truncated = query.encode_masked_halves(x, mask)
    golden.close(trimmed, golden.expected("eval/trimmed"))
    golden.close(truncated, golden.expected("eval/truncated"))


def mixing_matches_the_reference(golden, _):
    for repeat in range(golden.repeats):
        mixed, mask, partner = mix(golden.inputs("input/query"), golden.region(repeat, 4), stride=4)
        assert torch.equal(mixed, golden.inputs(f"mix/{repeat}/mixed"))
        assert torch.equal(mask, golden.inputs(f"mix/{repeat}/mask") > 0)
        assert torch.equal(partner, golden.inputs(f"mix/{repeat}/partner"))


def loss_terms_match_the_reference(golden, stepped):
    _, terms = stepped
    golden.close(terms.instance, golden.expected("loss/instance"))
    for repeat in range(golden.repeats):
        golden.close(terms.trimmed[repeat], golden.expected(f"loss/{repeat}/trimmed"))
        golden.close(terms.truncated[repeat], golden.expected(f"loss/{repeat}/truncated"))
    golden.close(terms.mixed, golden.expected("loss/mixed_sum_over_repeats"))
    golden.close(terms.total, golden.expected("loss/total"))


def gradients_match_the_reference(golden, stepped):
    pair, _ = stepped
    expected = golden.group("grad/")
    found = {name: parameter.grad for name, parameter in pair.named_parameters() if parameter.grad is not None}
    assert set(found) == set(expected)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    # In float32 the output of a ReLU with an input near zero differs between processors: up to 2.8e-3 in the gradient.
    tolerance = (5e-3 if golden.dtype == torch.float32 else 1e-9) * largest
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient.to(golden.dtype), rtol=0, atol=tolerance, msg=lambda m, n=name: n + m
        )


def state_after_the_step_matches_the_reference(golden, stepped):
    pair, _ = stepped
    state = pair.state_dict()
    expected = golden.group("after/")
    statistics = {name for name in state if "running" in name}
    assert statistics | {"queue"} <= set(expected)
    for name, value in expected.items():
        if not value.is_floating_point():
            assert torch.equal(state[name], value.reshape(state[name].shape))
        elif name in statistics or name == "queue":
            golden.close(state[name], value)
    assert int(state["pointer"]) == len(golden.inputs("input/query")) % pair.queue.shape[1]


def key_encoder_matches_the_reference(golden, stepped):
    pair, _ = stepped
    start = "after/encoder_k."
    parameters = dict(pair.key.named_parameters())
    compared = set()
    for name in golden.arrays:  # stored only in float32
        own = golden.ours[name.removeprefix("after/")].removeprefix("key.") if name.startswith(start) else ""
        if own in parameters:
            compared.add(own)
            torch.testing.assert_close(parameters[own].float(), golden.tensor(name), rtol=FLOAT32_EPSILON, atol=1e-7)
    assert compared == set(parameters)


CHECKS = (
    state_names_map_one_to_one,
    adjacency_matches_the_reference,
    eval_outputs_match_the_reference,
    mixing_matches_the_reference,
    loss_terms_match_the_reference,
    gradients_match_the_reference,
    state_after_the_step_matches_the_reference,
    key_encoder_matches_the_reference,
)
