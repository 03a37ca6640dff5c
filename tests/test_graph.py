import torch

from pipeline.layout import KINECT_V2
from trainer.graph import adjacency


def test_each_joint_takes_from_itself_its_parent_and_its_children():
    itself, inward, outward = adjacency(KINECT_V2)
    for joint, parent in enumerate(KINECT_V2.parents):
        children = [child for child, its in enumerate(KINECT_V2.parents) if its == joint]
        assert itself[:, joint].nonzero().flatten().tolist() == [joint]
        assert inward[:, joint].nonzero().flatten().tolist() == ([] if parent == -1 else [parent])
        assert outward[:, joint].nonzero().flatten().tolist() == children
        assert torch.allclose(outward[children, joint], torch.full((len(children),), 1 / max(len(children), 1)))
