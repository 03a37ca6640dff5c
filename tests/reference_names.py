"""What the reference calls its state (czhaneva/SkeleMixCLR at 4538d6c) and what ours is called."""

import re

_RULES = [
    (r"^queue$", "queue"),
    (r"^queue_ptr$", "pointer"),
    (r"\.A$", ".adjacency"),
    (r"\.data_bn\.", ".input_norm."),
    (r"\.edge_importance\.(\d+)$", r".blocks.\1.edge_importance"),
    (r"\.st_gcn_networks\.(\d+)\.gcn\.conv\.", r".blocks.\1.spatial."),
    (r"\.st_gcn_networks\.(\d+)\.tcn\.0\.", r".blocks.\1.spatial_norm."),
    (r"\.st_gcn_networks\.(\d+)\.tcn\.2\.", r".blocks.\1.temporal."),
    (r"\.st_gcn_networks\.(\d+)\.tcn\.3\.", r".blocks.\1.temporal_norm."),
    (r"\.st_gcn_networks\.(\d+)\.residual\.", r".blocks.\1.shortcut."),
    (r"\.fc\.", ".head."),
]


def ours(name: str) -> str:
    """Our name for one of the reference's; exactly one rule must know it."""
    side = re.sub(r"^encoder_([qk])\.", lambda found: {"q": "query.", "k": "key."}[found[1]], name)
    renamed = [re.sub(pattern, replacement, side) for pattern, replacement in _RULES if re.search(pattern, side)]
    if len(renamed) != 1:
        raise KeyError(f"{name}: {len(renamed)} rules know this name, expected one")
    return renamed[0]
