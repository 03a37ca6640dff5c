import numpy as np
import torch

from pipeline.skeleton.layout import KINECT_V2
from tests.support import reference
from trainer.data.streams import derive_stream


def test_streams_match_their_reference_and_keep_their_input():
    x = torch.randn(3, 3, 9, 25, 2, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    assert torch.equal(derive_stream(x, "joint", KINECT_V2), x)
    motion, bone = derive_stream(x, "motion", KINECT_V2), derive_stream(x, "bone", KINECT_V2)
    for clip, moved, hung in zip(x.numpy(), motion.numpy(), bone.numpy(), strict=True):
        np.testing.assert_array_equal(moved, reference.motion(clip))
        np.testing.assert_array_equal(hung, reference.bone(clip, KINECT_V2))
    assert torch.equal(x, before)


def test_bones_add_up_to_the_position_relative_to_the_root():
    x = torch.randn(1, 3, 2, 25, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bone = derive_stream(x, "bone", KINECT_V2)
    for joint in range(25):
        total, at = torch.zeros(1, 3, 2, 1, dtype=torch.float64), joint
        while KINECT_V2.parents[at] != -1:
            total, at = total + bone[:, :, :, at], KINECT_V2.parents[at]
        assert torch.allclose(total + x[:, :, :, at], x[:, :, :, joint])
