import pytest
import torch

from pipeline.skeleton.layout import KINECT_V2
from trainer.config.model import EncoderConfig, PairConfig
from trainer.models.encoder import Encoder
from trainer.models.momentum_pair import MomentumPair


def pair(queue_size=10, momentum=0.9, seed=0, start="copy", init="torch"):
    torch.manual_seed(seed)
    config = EncoderConfig(hidden_channels=2, hidden_dim=8, feature_dim=4, init=init)
    return MomentumPair(
        Encoder(KINECT_V2, config),
        PairConfig(queue_size=queue_size, momentum=momentum, start=start),
        torch.Generator().manual_seed(seed),
    )


def clips(count=3):
    return torch.randn(count, 3, 8, 25, 2, generator=torch.Generator().manual_seed(1))


def test_the_key_encoder_is_initially_an_exact_copy_without_shared_memory():
    both = pair()
    theirs = both.key.state_dict()
    for name, value in both.query.state_dict().items():
        assert torch.equal(value, theirs[name])
        assert value.data_ptr() != theirs[name].data_ptr()


@pytest.mark.parametrize("init", ["torch", "reference"])
def test_an_independent_key_encoder_equals_a_second_encoder(init):
    both = pair(start="apart", init=init)
    torch.manual_seed(0)
    query, key = (Encoder(KINECT_V2, both.query.config).state_dict() for _ in range(2))
    for name, value in both.query.state_dict().items():
        assert torch.equal(value, query[name])
        assert torch.equal(both.key.state_dict()[name], key[name]), name
    weight = "blocks.3.temporal.weight"
    assert not torch.equal(query[weight], key[weight])
    assert torch.equal(pair(init=init).query.state_dict()[weight], query[weight])


def test_keys_have_length_one_and_no_gradient():
    both = pair()
    keys = both.keys(clips())
    assert not keys.requires_grad
    assert torch.allclose(keys.norm(dim=1), torch.ones(3))
    assert not any(parameter.requires_grad for parameter in both.key.parameters())


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.999, 1.0])
def test_update_key_encoder_averages_parameters_and_keeps_statistics(momentum):
    both = pair(momentum=momentum)
    with torch.no_grad():
        for parameter in both.query.parameters():
            parameter.add_(1.0)
    both.query(clips())
    before = {name: value.clone() for name, value in both.key.state_dict().items()}
    both.update_key_encoder()
    query, parameters = both.query.state_dict(), dict(both.key.named_parameters())
    for name, value in both.key.state_dict().items():
        if name not in parameters or momentum == 1.0:
            assert torch.equal(value, before[name])
        else:
            torch.testing.assert_close(value, momentum * before[name] + (1 - momentum) * query[name])


@pytest.mark.parametrize("size", [1, 3, 7, 10, 16])
@pytest.mark.parametrize("batch", [1, 3, 7, 10, 23])
def test_the_queue_wraps_around(size, batch):
    both = pair(queue_size=size)
    expected, pointer = list(both.queue.T.clone()), 0
    for step in range(5):
        keys = torch.randn(batch, 4, generator=torch.Generator().manual_seed(step))
        both.enqueue(keys)
        for key in keys:
            expected[pointer], pointer = key, (pointer + 1) % size
        assert torch.equal(both.queue.T, torch.stack(expected))
        assert int(both.pointer) == pointer


def test_the_queue_is_initially_noise_of_length_one_and_part_of_the_state():
    both = pair(seed=3)
    assert torch.allclose(both.queue.norm(dim=0), torch.ones(10))
    assert torch.equal(both.queue, pair(seed=3).queue)
    assert not torch.equal(both.queue, pair(seed=4).queue)
    assert {"queue", "pointer"} <= set(both.state_dict())
