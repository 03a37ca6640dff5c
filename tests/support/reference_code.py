"""Slow twins of the reference implementations' preprocessing (ST-GCN, CTR-GCN, PYSKL, 2s-AGCN), step by step.

Each keeps the order of operations, the row-by-row bookkeeping and the memory order of the original, because float32
sums that should cancel depend on them. A twin raises the exception that the original code raises.
"""

import math

import numpy as np


def naive_slots(recording, count):
    """ST-GCN: (count, T, V, 3), body m of the file's frame t in [m, t]."""
    out = np.zeros((count, recording.frames, *recording.xyz.shape[1:]), np.float32)
    for frame, slot, xyz in zip(recording.frame, recording.slot, recording.xyz, strict=True):
        if slot < count:
            out[slot, frame] = xyz
    return out


def naive_by_energy(recording):
    """2s-AGCN's reader: (2, T, V, 3)."""
    slots = naive_slots(recording, 4).astype(np.float64)
    energies = []
    for slot in slots:
        filled = [frame for frame in slot if frame.sum(axis=1).sum() != 0]
        energies.append(sum(np.array(filled)[:, :, axis].std() for axis in range(3)) if filled else 0.0)
    ascending = []  # by insertion; NaN is greater than any number
    for slot in range(4):
        place = len(ascending)
        while place > 0 and (
            energies[slot] < energies[ascending[place - 1]]
            or (math.isnan(energies[ascending[place - 1]]) and not math.isnan(energies[slot]))
        ):
            place -= 1
        ascending.insert(place, slot)
    return slots[[ascending[3], ascending[2]]].astype(np.float32)


def naive_denoised(recording):
    """CTR-GCN's get_raw_skes_data and get_raw_denoised_data: (T', V * 3) or (T', 2 * V * 3)."""
    width = 3 * recording.xyz.shape[1]
    # The first script.
    bodies, valid = {}, -1
    for frame in range(recording.frames):
        rows = [row for row in range(len(recording.frame)) if recording.frame[row] == frame]
        if not rows:
            continue
        valid += 1
        for row in rows:
            name = str(recording.body[row])
            if name in bodies:
                bodies[name]["poses"].append(recording.xyz[row])
                bodies[name]["when"].append(bodies[name]["when"][-1] + 1)
            else:
                bodies[name] = {"poses": [recording.xyz[row]], "when": [valid]}
    frames = valid + 1
    assert frames > 0
    for body in bodies.values():
        body["motion"] = np.sum(np.var(np.concatenate(body["poses"]), axis=0))

    # The second script.
    def put(joints, body, columns):
        for index, (when, pose) in enumerate(zip(body["when"], body["poses"], strict=True)):
            if when >= frames:
                raise ValueError(f"{len(body['when'])} poses, and room for {index}")
            joints[when, columns : columns + width] = pose.reshape(-1)

    if len(bodies) == 1:
        joints = np.zeros((frames, width), np.float32)
        put(joints, *bodies.values(), 0)
        return joints
    for name in list(bodies):
        if len(bodies[name]["when"]) <= 11:
            del bodies[name]
    for name in list(bodies):
        if len(bodies) <= 1:
            break
        poses = bodies[name]["poses"]
        extents = [(np.ptp(pose[:, 0]), np.ptp(pose[:, 1])) for pose in poses]
        good = [pose for pose, (x, y) in zip(poses, extents, strict=True) if x <= np.float32(0.8) * y]
        if (len(poses) - len(good)) / len(poses) >= 0.69754:
            del bodies[name]
        elif len(good) < len(poses):
            again = np.sum(np.var(np.concatenate(good), axis=0))
            if again < bodies[name]["motion"]:
                bodies[name]["motion"] = again
    ranked = sorted(bodies.values(), key=lambda body: body["motion"], reverse=True)
    first = ranked.pop(0)
    if not ranked:
        joints = np.zeros((frames, width), np.float32)
        put(joints, first, 0)
    else:
        joints = np.zeros((frames, 2 * width), np.float32)
        put(joints, first, 0)
        start1, end1, start2, end2 = first["when"][0], first["when"][-1], 0, 0
        for body in ranked:
            start, end = body["when"][0], body["when"][-1]
            if min(end1, end) - max(start1, start) <= 0:
                put(joints, body, 0)
                start1, end1 = min(start, start1), max(end, end1)
            elif min(end2, end) - max(start2, start) <= 0:
                put(joints, body, width)
                start2, end2 = min(start, start2), max(end, end2)
    return joints[[t for t in range(frames) if joints[t].sum() != 0]]


def naive_pyskl(recording):
    """PYSKL's parse_skeleton_file and gen_keypoint_array: (1 or 2, T', V, 3)."""
    bodies, index = {}, 0
    for frame in range(recording.frames):
        rows = [row for row in range(len(recording.frame)) if recording.frame[row] == frame]
        for row in rows:
            body = bodies.setdefault(int(recording.body[row]), {"poses": [], "start": index})
            body["poses"].append(recording.xyz[row])
        index += bool(rows)
    for body in bodies.values():
        body["motion"] = np.sum(np.var(np.vstack(body["poses"]), axis=0))
        body["poses"] = np.stack(body["poses"])
    ranked = sorted(bodies.values(), key=lambda body: -body["motion"])
    assert ranked
    if len(ranked) == 1:
        return ranked[0]["poses"][None]
    ranked = [body for body in ranked if len(body["poses"]) > 11]
    if len(ranked) == 1:
        return ranked[0]["poses"][None]
    kept = []
    for body in ranked:
        good = []
        for t, pose in enumerate(body["poses"]):
            if (pose[:, 0].max() - pose[:, 0].min()) <= 0.8 * (pose[:, 1].max() - pose[:, 1].min()):
                good.append(t)
        if len(good) < len(body["poses"]):
            if 1 - len(good) / len(body["poses"]) >= 0.69754:
                continue
            again = np.sum(np.var(body["poses"][good].reshape(-1, 3), axis=0))
            body["motion"] = min(body["motion"], again)
        kept.append(body)
    assert kept
    kept.sort(key=lambda body: -body["motion"])
    if len(kept) == 1:
        return kept[0]["poses"][None]
    out = np.zeros((2, max(body["start"] + len(body["poses"]) for body in kept), *recording.xyz.shape[1:]), np.float32)
    first = kept[0]
    taken = [[first["start"], first["start"] + len(first["poses"])], [0, 0]]
    out[0, taken[0][0] : taken[0][1]] = first["poses"]
    for body in kept[1:]:
        start, end = body["start"], body["start"] + len(body["poses"])
        for actor in range(2):
            if max(taken[actor][0], start) >= min(taken[actor][1], end):
                out[actor, start:end] = body["poses"]
                taken[actor] = [min(start, taken[actor][0]), max(end, taken[actor][1])]
                break
    start, end = 0, out.shape[1]
    while np.sum(np.abs(out[:, start])) < 1e-3:  # IndexError where every frame is zero
        start += 1
    while np.sum(np.abs(out[:, end - 1])) < 1e-3:
        end -= 1
    out = out[:, start:end]
    if np.sum(np.abs(out[0, 0, 1])) < 1e-3 and np.sum(np.abs(out[1, 0, 1])) > 1e-3:
        out = out[::-1]
    return out


def naive_translated(joints, width):
    """CTR-GCN's seq_translation of (T', width) or (T', 2 * width)."""
    two = joints.shape[1] == 2 * width
    missing = [[t for t in range(len(joints)) if joints[t, c : c + width].sum() == 0] for c in (0, width)]
    start = 0
    while not any(number != 0 for number in joints[start, :width]):  # IndexError where there is no such frame
        start += 1
    origin = joints[start, 3:6].copy()
    out = joints.copy()
    for t in range(len(out)):
        for first in range(0, out.shape[1], 3):
            out[t, first : first + 3] -= origin
    if two:
        out[missing[0], :width] = 0
        out[missing[1], width:] = 0
    return out


def naive_agcn(bodies, frames):
    """2s-AGCN's pre_normalization of (M, T, V, 3), with room for so many frames: (M, frames, V, 3)."""
    stored = np.zeros((3, frames, bodies.shape[2], len(bodies)), np.float32)
    stored[:, : bodies.shape[1]] = bodies.transpose(3, 1, 2, 0)
    people = stored.transpose(3, 1, 2, 0)  # a view: how the numbers lie in memory decides how numpy adds them
    for person in people:
        if person.sum() == 0:
            continue
        if person[0].sum() == 0:
            kept = [t for t in range(frames) if person[t].sum(axis=-1).sum() != 0]
            moved = person[kept]
            for t in range(frames):
                person[t] = person[t] * 0
            for t, frame in enumerate(moved):
                person[t] = frame
        for t in range(frames):
            if person[t].sum() == 0 and person[t:].sum() == 0:
                for later in range(t, frames):
                    person[later] = person[(later - t) % t]  # ZeroDivisionError where t is 0
                break
    if people.sum() != 0:
        middle = people[0, :, 1].copy()
        for person in people:
            if person.sum() != 0:
                for t, v in np.ndindex(person.shape[:2]):
                    x, y, z = person[t, v]
                    person[t, v] = (person[t, v] - middle[t]) * (x + y + z != 0)
    for tail, head, target in ((0, 1, (0, 0, 1)), (4, 8, (1, 0, 0))):
        if people.sum() == 0:
            continue
        bone, target = people[0, 0, head] - people[0, 0, tail], np.array(target, np.float64)
        axis = np.cross(bone, target)
        angle = 0.0
        if not np.abs(bone).sum() < 1e-6:
            angle = np.arccos(np.clip((bone / np.linalg.norm(bone)).astype(np.float64).dot(target), -1, 1))
        matrix = np.eye(3)
        if not (np.abs(axis).sum() < 1e-6 or abs(angle) < 1e-6):
            axis = axis / np.linalg.norm(axis)
            for unit in matrix:  # where x, y and z go
                along = unit.dot(axis) * axis
                unit[:] = along + np.cos(angle) * (unit - along) + np.sin(angle) * np.cross(axis, unit)
        for person in people:
            if person.sum() == 0:
                continue
            for t in range(frames):
                if person[t].sum() != 0:
                    for v, (x, y, z) in enumerate(person[t].astype(np.float64)):
                        person[t, v] = x * matrix[0] + y * matrix[1] + z * matrix[2]
    return people
