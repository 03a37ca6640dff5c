"""Table of the supported tools: how their files are found and read, and which options apply to each."""

from collections.abc import Mapping
from functools import partial

from pipeline.convert.readers import azure_kinect, bvh, coco, kinect_v1, mediapipe, openpose
from pipeline.convert.tool import Tool, find_by_suffix

TOOLS: Mapping[str, Tool] = {
    "mediapipe": Tool(
        find=partial(find_by_suffix, suffixes=(".json", ".jsonl", ".ndjson", ".csv")),
        read=mediapipe.read,
        takes=".json, .jsonl or .csv, one a video",
    ),
    "openpose": Tool(find=openpose.find, read=openpose.read, takes="*_keypoints.json, one a frame"),
    "coco": Tool(
        find=partial(find_by_suffix, suffixes=(".json", ".jsonl", ".ndjson")),
        read=coco.read,
        takes=".json or .jsonl, one a video",
    ),
    "azure-kinect": Tool(
        find=partial(find_by_suffix, suffixes=(".json",)), read=azure_kinect.read, takes=".json of offline_processor"
    ),
    "kinect-v1": Tool(
        find=kinect_v1.find,
        read=kinect_v1.read,
        takes="*_skeleton3D.txt, .json or *_skeleton.mat",
        grammar=kinect_v1.GRAMMAR,
        classes=kinect_v1.CLASSES,
    ),
    "bvh": Tool(find=partial(find_by_suffix, suffixes=(".bvh",)), read=bvh.read, takes=".bvh"),
}
FOLDER = "folder"
"""The name for input that is an existing folder data set instead of a tool's files."""
OPTION_TOOLS: Mapping[str, tuple[str, ...]] = {
    "units": ("bvh",),
    "up": ("bvh",),
    "skeleton": ("bvh",),
    "aspect": ("mediapipe",),
    "labels": tuple(TOOLS),
    "pattern": tuple(TOOLS),
}
"""The tools to which each option of a `ConvertRequest` applies."""
