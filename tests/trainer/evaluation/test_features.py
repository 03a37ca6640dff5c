import pytest
import torch

from pipeline.errors import ArtifactError
from pipeline.skeleton.layout import KINECT_V2
from trainer.config.model import EncoderConfig
from trainer.evaluation import features
from trainer.models.encoder import Encoder

SMALL = EncoderConfig(hidden_channels=2, hidden_dim=8, feature_dim=4)


def clips(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 16, 25, 2, generator=torch.Generator().manual_seed(0))


def test_a_clips_features_do_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, x = Encoder(KINECT_V2, SMALL), clips(7)
    whole = features.extract(encoder, x)
    monkeypatch.setattr(features, "MAX_CPU_BATCH_CLIPS", 2)
    torch.testing.assert_close(features.extract(encoder, x), whole)
    torch.testing.assert_close(features.extract(encoder, x.flip(0)).flip(0), whole)
    assert whole.shape == (7, 8)
    assert whole.dtype == torch.float32


def test_head_features_equal_the_projection_of_the_encoder() -> None:
    encoder, x = Encoder(KINECT_V2, SMALL), clips(3)
    with torch.no_grad():
        torch.testing.assert_close(features.extract(encoder, x, "head"), encoder.eval()(x))


def test_recalibration_weights_all_clips_equally_and_never_uses_a_batch_of_one() -> None:
    x = clips(7) * torch.arange(1, 8).view(7, 1, 1, 1, 1)
    whole = x.permute(0, 4, 3, 1, 2).reshape(14, 75, 16).mean((0, 2))
    for batch in (2, 3, 6):  # 7 = 2 + 2 + 2 + 1: a block of one would have no variance
        encoder = Encoder(KINECT_V2, SMALL)
        features.recalibrate(encoder, x, batch)
        torch.testing.assert_close(encoder.input_norm.running_mean, whole)
    with pytest.raises(ArtifactError, match="at least 2 training clips, found 1"):
        features.recalibrate(Encoder(KINECT_V2, SMALL), x[:1])


def test_recalibration_includes_the_variance_between_neighbours_in_a_store() -> None:
    x = clips(64) + 10.0 * (torch.arange(64) // 32).view(64, 1, 1, 1, 1)  # two subjects, one after the other
    encoder = Encoder(KINECT_V2, SMALL)
    features.recalibrate(encoder, x, batch_clips=32)
    rows = x.permute(0, 4, 3, 1, 2).reshape(128, 75, 16)
    torch.testing.assert_close(encoder.input_norm.running_var, rows.transpose(0, 1).flatten(1).var(1), rtol=0.1, atol=0)


def test_recalibrated_statistics_are_the_mean_over_all_clips() -> None:
    encoder, x = Encoder(KINECT_V2, SMALL), clips(6) * 3 + 1
    features.recalibrate(encoder, x, batch_clips=6)
    rows = x.permute(0, 4, 3, 1, 2).reshape(12, 75, 16)
    torch.testing.assert_close(encoder.input_norm.running_mean, rows.mean((0, 2)))
    torch.testing.assert_close(encoder.input_norm.running_var, rows.transpose(0, 1).flatten(1).var(1))
    assert not any(module.training for module in encoder.modules())
    assert encoder.input_norm.momentum == 0.1


def test_extraction_does_not_change_the_encoder() -> None:
    encoder = Encoder(KINECT_V2, SMALL)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    features.extract(encoder, clips(4))
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
