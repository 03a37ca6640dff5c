"""Registry of recipe steps: the names that recipes use and the functions behind them."""

from collections.abc import Callable, Mapping

from pipeline.recipes.reference import agcn, ctrgcn, mamp, pyskl, skelemixclr, stgcn
from pipeline.recipes.steps import confidence, denoise, normalise, resample, selection, tracking
from pipeline.skeleton.recording import Clip, Recording

STEPS: Mapping[str, Callable[..., Clip | Recording]] = {
    "bodies_by_slot": stgcn.bodies_by_slot,
    "bodies_by_energy": agcn.bodies_by_energy,
    "bodies_by_motion": ctrgcn.bodies_by_motion,
    "bodies_as_pyskl": pyskl.bodies_as_pyskl,
    "drop_uncertain": confidence.drop_uncertain,
    "follow_ids": tracking.follow_ids,
    "rejoin": tracking.rejoin,
    "drop_shaky": selection.drop_shaky,
    "drop_short": selection.drop_short,
    "drop_furniture": selection.drop_furniture,
    "pick_actors": selection.pick_actors,
    "limit_people": selection.limit_people,
    "copy_missing_second": ctrgcn.copy_missing_second,
    "refuse_zeros": mamp.refuse_zeros,
    "trim": selection.trim,
    "counted_frames": skelemixclr.counted_frames,
    "despike": denoise.despike,
    "fill_gaps": denoise.fill_gaps,
    "smooth": denoise.smooth,
    "one_origin": normalise.one_origin,
    "one_turn": normalise.one_turn,
    "origin_at_start": ctrgcn.origin_at_start,
    "centre_each_frame": skelemixclr.centre_each_frame,
    "turn_each_frame": skelemixclr.turn_each_frame,
    "repeat_frames": agcn.repeat_frames,
    "centre_on_first": agcn.centre_on_first,
    "spine_to_z": agcn.spine_to_z,
    "shoulders_to_x": agcn.shoulders_to_x,
    "resize": resample.resize,
}
