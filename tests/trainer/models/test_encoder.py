import pytest
import torch
from pydantic import ValidationError

from pipeline.skeleton.layout import KINECT_V2
from tests.support.people import CHAIN
from trainer.config.model import EncoderConfig
from trainer.models.encoder import Encoder

NARROW = EncoderConfig(hidden_channels=4, hidden_dim=24, feature_dim=8)
JOINTS = len(KINECT_V2.joints)


def test_the_default_encoder_has_the_published_size():
    encoder = Encoder(KINECT_V2, EncoderConfig())
    head = sum(parameter.numel() for parameter in encoder.head.parameters())
    whole = sum(parameter.numel() for parameter in encoder.parameters())
    assert (whole - head, whole) == (821_380, 920_580)


@pytest.mark.parametrize("frames", [1, 7, 32, 50, 60, 62, 63, 64])
def test_any_length_passes_and_the_feature_map_has_the_promised_frames(frames):
    encoder = Encoder(KINECT_V2, NARROW)
    x = torch.randn(3, 3, frames, JOINTS, 2)
    features = encoder.feature_map(x)
    assert features.shape == (6, 24, encoder.frames_out(frames), JOINTS)
    mask = torch.zeros(encoder.frames_out(frames), JOINTS, dtype=torch.bool)
    mask[0, :5] = True
    assert [half.shape for half in encoder.encode_masked_halves(x, mask)] == [(3, 8), (3, 8)]


def test_other_layouts_and_a_single_body_are_supported():
    assert Encoder(CHAIN, NARROW)(torch.randn(2, 3, 9, 3, 1)).shape == (2, 8)


def test_samples_are_independent_in_evaluation_mode():
    encoder = Encoder(KINECT_V2, NARROW).eval()
    x = torch.randn(4, 3, 16, JOINTS, 2)
    with torch.no_grad():
        assert torch.allclose(encoder(x)[2:3], encoder(x[2:3]), atol=1e-6)


def test_the_mean_over_bodies_can_exclude_absent_bodies():
    everyone = Encoder(KINECT_V2, NARROW).eval()
    present = Encoder(KINECT_V2, NARROW.model_copy(update={"body_mean": "present"})).eval()
    present.load_state_dict(everyone.state_dict())
    x = torch.randn(4, 3, 16, JOINTS, 2, generator=torch.Generator().manual_seed(0))
    x[1, ..., 1] = 0
    x[2, ..., 0] = 0
    x[3] = 0
    mask = torch.zeros(4, JOINTS, dtype=torch.bool)
    mask[1:3, :6] = True
    each = mask.expand(4, -1, -1)
    with torch.no_grad():
        for sample, bodies in enumerate(([0, 1], [0], [1], [0, 1])):
            alone = x[sample : sample + 1, ..., bodies]
            torch.testing.assert_close(present.backbone(x)[sample], everyone.backbone(alone)[0])
            for found in (present.encode_masked_halves(x, mask), present.encode_masked_halves(x, each)):
                for half, expected in zip(found, everyone.encode_masked_halves(alone, mask), strict=True):
                    torch.testing.assert_close(half[sample], expected[0])
        assert not torch.allclose(everyone.backbone(x)[1], present.backbone(x)[1])


def test_joints_pasted_into_an_absent_body_count_only_in_the_pasted_half():
    encoder = Encoder(KINECT_V2, NARROW.model_copy(update={"body_mean": "present"})).eval()
    x = torch.randn(1, 3, 16, JOINTS, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(4, JOINTS, dtype=torch.bool)
    mask[1:3, :6] = True
    x[..., 1] *= mask.repeat_interleave(4, dim=0)  # the host's second body is absent, the partner's is not
    with torch.no_grad():
        features = encoder.feature_map(x)
        trimmed, truncated = encoder.encode_masked_halves(x, mask)
        torch.testing.assert_close(trimmed, encoder.head(features[:, :, mask].mean(dim=(0, 2))[None]))
        torch.testing.assert_close(truncated, encoder.head(features[:1, :, ~mask].mean(dim=(0, 2))[None]))


def test_dropout_is_active_in_every_block_but_the_first():
    rates = [block.dropout.p for block in Encoder(KINECT_V2, NARROW).blocks]
    assert rates == [0.0] + [0.5] * 9


def test_reference_initialisation_has_its_deviation_and_zero_biases():
    torch.manual_seed(0)
    encoder = Encoder(KINECT_V2, EncoderConfig(init="reference"))
    weight = encoder.blocks[-1].temporal.weight
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.01)
    assert float(encoder.input_norm.weight.detach().mean()) == pytest.approx(1, abs=0.02)
    biases = [value for name, value in encoder.named_parameters() if name.endswith("bias")]
    assert all(not bias.any() for bias in biases)


def test_the_head_can_have_no_batch_norm():
    encoder = Encoder(KINECT_V2, NARROW.model_copy(update={"head_norm": False}))
    assert not any(isinstance(layer, torch.nn.BatchNorm1d) for layer in encoder.head)


@pytest.mark.parametrize("wrong", [{"temporal_kernel": 8}, {"hidden": 3}, {"dropout": 1.0}, {"init": "zeros"}])
def test_an_impossible_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        EncoderConfig(**wrong)
