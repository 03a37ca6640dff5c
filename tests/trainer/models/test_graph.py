import numpy as np
import pytest
import torch

from pipeline.skeleton.layout import KINECT_V2
from tests.support import released_checkpoints
from trainer.models.graph import build_adjacency


def test_each_joint_receives_from_itself_its_parent_and_its_children():
    itself, inward, outward = build_adjacency(KINECT_V2)
    for joint, parent in enumerate(KINECT_V2.parents):
        children = [child for child, its in enumerate(KINECT_V2.parents) if its == joint]
        assert itself[:, joint].nonzero().flatten().tolist() == [joint]
        assert inward[:, joint].nonzero().flatten().tolist() == ([] if parent == -1 else [parent])
        assert outward[:, joint].nonzero().flatten().tolist() == children
        assert torch.allclose(outward[children, joint], torch.full((len(children),), 1 / max(len(children), 1)))


def test_spatial_is_st_gcns_graph_with_distances_limited_to_one_bone():
    found = build_adjacency(KINECT_V2, "spatial")
    np.testing.assert_allclose(found.numpy(), released_checkpoints.spatial_graph(), atol=1e-7)
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(dim=(0, 1)), torch.ones(25))
    nearer = found[2].nonzero().tolist()
    assert {source for source, _ in nearer} == {20, 1, 2, 4, 8}, "farther joints are all equally far"
    assert found[1, 3, 2] > 0 == found[1, 2, 3]


@pytest.mark.parametrize("graph", ["agcn", "spatial"])
def test_every_joint_receives_only_from_itself_and_its_neighbours(graph):
    heard = build_adjacency(KINECT_V2, graph).sum(0) > 0
    for joint, parent in enumerate(KINECT_V2.parents):
        children = [child for child, its in enumerate(KINECT_V2.parents) if its == joint]
        assert set(heard[:, joint].nonzero().flatten().tolist()) == {joint, parent, *children} - {-1}
