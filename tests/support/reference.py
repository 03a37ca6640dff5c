"""Slow, simple twins of the package's fast functions."""

import json
import math
import re
from itertools import combinations, pairwise

import numpy as np

# --- NTU skeleton text ---

NUMBER = re.compile(rb"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf|infinity)", re.IGNORECASE)


class BrokenTextError(Exception):
    """The text breaks the grammar in a line, numbered from 1."""

    def __init__(self, line):
        super().__init__(f"line {line}")
        self.line = line


def parse_skeleton(text, joints=25):
    """Frames, then a list of rows (frame, slot, body id, xyz (V, 3) float32, tracking states (V,))."""
    lines = text.split(b"\n")
    at = 0

    def check(holds):
        if not holds:
            raise BrokenTextError(min(at, len(lines)))

    def readline():
        nonlocal at
        at += 1
        check(at <= len(lines))
        fields = lines[at - 1].removesuffix(b"\r").replace(b"\t", b" ").split(b" ")
        return [field for field in fields if field]

    def read_count():
        fields = readline()
        check(len(fields) == 1 and re.fullmatch(rb"0*[0-9]{1,9}", fields[0]))
        return int(fields[0].lstrip(b"0") or b"0")

    rows = []
    frames = read_count()
    for frame in range(frames):
        for slot in range(read_count()):
            header = readline()
            check(len(header) == 10 and re.fullmatch(rb"[+-]?0*[0-9]{1,19}", header[0]))
            body = int(re.sub(rb"^([+-]?)0*(?=[0-9])", rb"\1", header[0]))
            check(abs(body) < 2**63)
            check(all(NUMBER.fullmatch(field) for field in header[1:]))
            check(read_count() == joints)
            xyz, tracking = [], []
            for _ in range(joints):
                row = readline()
                check(len(row) == 12 and all(NUMBER.fullmatch(field) for field in row[:11]))
                check(row[11] in (b"0", b"1", b"2"))
                with np.errstate(over="ignore"):
                    xyz.append([np.float32(float(field)) for field in row[:3]])
                tracking.append(int(row[11]))
            rows.append((frame, slot, body, np.array(xyz, np.float32), np.array(tracking, np.int8)))
    while at < len(lines):
        check(readline() == [])
    return frames, rows


def parse_pku_rows(text, fields=150):
    """(T, fields) float32 of a PKU-MMD recording."""
    lines = text.split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        found = [field for field in line.removesuffix(b"\r").replace(b"\t", b" ").split(b" ") if field]
        if not found:
            if b"".join(lines[number - 1 :]).strip(b" \t\r"):
                raise BrokenTextError(number)
            if any(b"\r" in later.removesuffix(b"\r") for later in lines[number - 1 :]):
                raise BrokenTextError(number)
            break
        if len(found) != fields or not all(NUMBER.fullmatch(field) for field in found):
            raise BrokenTextError(number)
        with np.errstate(over="ignore"):
            rows.append([np.float32(float(field)) for field in found])
    if not rows:
        raise BrokenTextError(1)
    if not re.search(rb"(\n|\.[0-9]{6})[ \t\r]*\Z", text):
        raise BrokenTextError(len(rows))
    return np.array(rows, np.float32)


LABEL_ROW = re.compile(
    rb"\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*(?:,\s*((?:[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)?)\s*)?"
)


def parse_label_rows(text, classes=51):
    """Return, for each line that is not blank, its number and (action, start, end, confidence), or None if invalid."""
    text = text[3:] if text[:3] == b"\xef\xbb\xbf" else text
    rows = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if not re.fullmatch(rb"\s*", line):
            found = LABEL_ROW.fullmatch(line)
            is_good = found and 1 <= int(found[1]) <= classes
            rows.append((number, (*map(int, found.groups()[:3]), (found[4] or b"").decode()) if is_good else None))
    return rows


def parse_split_names(text):
    """Return the training and test names of a list, or None if it is ambiguous."""
    text = text[3:] if text[:3] == b"\xef\xbb\xbf" else text
    sections, side = {}, None
    for line in re.split(rb"\r\n|\n|\r", text):
        if header := re.match(rb"\s*(train|val|test)[a-z]*( +[a-z]+)?\s*:", line, re.IGNORECASE):
            side = "train" if header[1].lower() == b"train" else "test"
            if side in sections:
                return None
            sections[side] = []
            line = line[header.end() :]
        for name in filter(None, map(bytes.strip, line.split(b","))):
            if side is None or not re.fullmatch(rb"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
                return None
            sections[side].append(name.decode())
    names = [name for held in sections.values() for name in held]
    if len(set(names)) < len(names) or not (sections.get("train") and sections.get("test")):
        return None
    return tuple(sections["train"]), tuple(sections["test"])


def read_safetensors(content):
    """Return the type, shape and bytes of every tensor according to the header."""
    length = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + length])
    about.pop("__metadata__", None)
    body = content[8 + length :]
    return {
        name: (held["dtype"], tuple(held["shape"]), body[slice(*held["data_offsets"])]) for name, held in about.items()
    }


def log_lines(text):
    """Return the events of a log, without its damaged lines."""
    events = []
    for line in text.split(b"\n"):
        try:
            event = json.loads(line.decode())
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and type(event.get("step")) is int and 0 <= event["step"] < 2**63:
            events.append(event)
    return events


# Recipe steps ---------------------------------------------------------------------------------------------------------


def naive_resized(xyz, frames):
    """(M, T, V, 3) to another number of frames, one frame at a time, in float64."""
    T = xyz.shape[1]
    out = []
    for t in range(frames):
        at = min(max((t + 0.5) * T / frames - 0.5, 0), T - 1)
        low = int(at)
        high = min(low + 1, T - 1)
        out.append(xyz[:, low].astype(np.float64) * (1 - (at - low)) + xyz[:, high] * (at - low))
    return np.stack(out, axis=1)


def naive_is_spike(path, t, min_height, motion_factor):
    """Whether frame t of (T, 3) is a spike, as `despike` describes it."""

    def gap(one, other):
        inside = 0 <= one < len(path) and 0 <= other < len(path)
        return np.linalg.norm(path[one] - path[other]) if inside else np.nan

    out, back = gap(t - 1, t), gap(t + 1, t)
    sides = [side for side in (out, back) if not np.isnan(side)]
    if np.isnan(path[t]).any() or not sides or min(sides) <= min_height:
        return False
    pairs = [gap(middle - 1, middle + 1) / 2 for middle in (t - 2, t, t + 2)]
    pairs = [pair for pair in pairs if not np.isnan(pair)]
    limit = min_height + motion_factor * (np.median(pairs) if pairs else 0)
    near = path[max(0, t - 2) : t + 3]
    off = np.linalg.norm(path[t] - np.median(near[~np.isnan(near).any(axis=1)], axis=0))
    if len(sides) == 2:
        return out**2 + back**2 > gap(t - 1, t + 1) ** 2 and off > limit
    step = 1 if np.isnan(out) else -1
    if np.isnan(gap(t + step, t + 2 * step)):
        return False
    return min(off, np.linalg.norm(path[t] - 2 * path[t + step] + path[t + 2 * step]) / 2) > limit


def naive_noise(path):
    """Variance of jitter in (T, 3), from typical fourth and second differences."""
    fourth = (np.diff(path.astype(np.float64), n=4, axis=0) ** 2).sum(axis=1)  # of frames 2 .. T - 3
    second = (np.diff(path.astype(np.float64), n=2, axis=0)[1:-1] ** 2).sum(axis=1)
    known = ~np.isnan(fourth)
    return max(0.0, np.median(fourth[known]) - np.median(second[known])) / 64 / 2.366 if known.any() else 0.0


def naive_is_pair(path, t, min_height, motion_factor):
    """Whether frames t and t + 1 of (T, 3) are a spike of two, as `despike` describes it."""

    def at(n):
        return path[n] if 0 <= n < len(path) else np.full(3, np.nan)

    before, one, two, after = (at(t + step) for step in (-1, 0, 1, 2))
    out, back, across = (np.linalg.norm(way) for way in (one - before, after - two, after - before))
    if np.isnan([out, back, across]).any():
        return False
    pace = [np.linalg.norm(at(t - 2) - before), np.linalg.norm(at(t + 3) - after), across / 3]
    limit = min_height + motion_factor * np.nanmedian(pace)
    off = [np.linalg.norm(one - (2 * before + after) / 3), np.linalg.norm(two - (before + 2 * after) / 3)]
    return min(out, back) > limit and out**2 + back**2 > across**2 and min(off) > limit


def naive_is_stretched(body, t, v, around, parents, min_stretch):
    """Whether a bone of joint v of (T, V, 3) differs at t from both frames around, as far as they are known."""
    compared = False
    for other in range(body.shape[1]):
        if other != parents[v] and parents[other] != v:
            continue
        lengths = np.linalg.norm(body[:, v] - body[:, other], axis=-1)
        apart = [abs(lengths[at] - lengths[t]) for at in around if 0 <= at < len(body)]
        apart = [value for value in apart if not np.isnan(value)]
        compared = compared or bool(apart)
        if apart and min(apart) > min_stretch:
            return True
    return not compared


def naive_despike(xyz, parents, min_height, motion_factor, min_stretch, noise_factor):
    """(M, T, V, 3) without spikes."""
    out = xyz.copy()
    for m in range(len(xyz)):
        jitter = noise_factor * np.sqrt(np.median([naive_noise(xyz[m, :, v]) for v in range(xyz.shape[2])]))
        height, stretch = min_height + jitter, min_stretch + jitter
        for _ in range(2):
            body = out[m].astype(np.float64)
            for t, v in np.ndindex(body.shape[:2]):
                path = body[:, v]
                if np.isnan(path[t]).any():
                    continue
                if naive_is_spike(path, t, height, motion_factor):
                    if naive_is_stretched(body, t, v, (t - 1, t + 1), parents, stretch):
                        out[m, t, v] = np.nan
                elif naive_is_pair(path, t, height, motion_factor) and all(
                    naive_is_stretched(body, at, v, (t - 1, t + 2), parents, stretch) for at in (t, t + 1)
                ):
                    out[m, t : t + 2, v] = np.nan
    return out


def naive_fill(xyz, max_gap):
    """(M, T, V, 3) with short gaps filled by the cubic that matches positions and slopes at both rims."""
    out = xyz.astype(np.float64)
    for m, v, axis in np.ndindex(xyz.shape[0], xyz.shape[2], 3):
        path = xyz[m, :, v, axis].astype(np.float64)
        known = np.flatnonzero(~np.isnan(path))
        for a, b in pairwise(known):
            if not 1 < b - a <= max_gap + 1:
                continue
            slopes = []
            for rim, far, outward in ((a, b, -1), (b, a, 1)):
                behind = [rim + outward * reach for reach in (2, 1)]
                behind = [at for at in behind if 0 <= at < len(path) and not np.isnan(path[at])]
                points = np.array([behind[0], rim, far] if behind else [rim, far])
                parabola = np.polyfit(points - rim, path[points], len(points) - 1)
                slopes.append(np.polyval(np.polyder(parabola), 0))
            span = b - a
            rows = [[0, 0, 0, 1], [span**3, span**2, span, 1], [0, 0, 1, 0], [3 * span**2, 2 * span, 1, 0]]
            cubic = np.linalg.solve(np.array(rows, float), [path[a], path[b], *slopes])
            out[m, a + 1 : b, v, axis] = np.polyval(cubic, np.arange(1, span))
    return out


def naive_smooth(xyz, min_noise, max_ratio, max_move):
    """(M, T, V, 3) with each path moved towards local parabolas, as far as the noise of its body justifies."""
    out = xyz.astype(np.float64)
    for m, v in np.ndindex(xyz.shape[0], xyz.shape[2]):
        path = xyz[m, :, v].astype(np.float64)
        T = len(path)
        excess = [naive_noise(xyz[m, :, joint]) - min_noise**2 for joint in range(xyz.shape[2])]
        noise = min(excess[v], max_ratio**2 * np.median(excess))
        misfits, left = np.zeros((T, 3)), np.zeros(T)
        for t in range(T):
            for side, share in ((3, 14 / 21), (2, 18 / 35)):
                around = path[t - side : t + side + 1] if side <= t < T - side else path[:0]
                if len(around) and not np.isnan(around).any():
                    misfits[t] = np.polyfit(np.arange(-side, side + 1), around, 2)[-1] - path[t]
                    left[t] = share * noise * 3
                    break
        for t in range(T):
            near = slice(max(0, t - 7), t + 8)
            actual = (misfits[near] ** 2).sum()
            length = np.linalg.norm(misfits[t])
            if noise > 0 and length > 0:
                out[m, t, v] += min(1, left[near].sum() / actual, max_move / length) * misfits[t]
    return out


def naive_motion(xyz):
    """(M,) variance over time of each joint less a sixth of the mean squared second difference, joints averaged."""
    out = []
    for body in xyz.astype(np.float64):
        total = 0.0
        for v, axis in np.ndindex(body.shape[1], 3):
            path = body[:, v, axis]
            bends = np.diff(path, n=2)
            bends = bends[~np.isnan(bends)]
            known = path[~np.isnan(path)]
            if len(known) > 1:
                total += known.var() - (np.mean(bends**2) / 6 if len(bends) else 0)
        out.append(max(0.0, total / body.shape[1]))
    return np.array(out)


def naive_tremble(xyz):
    """(M,) metres: the median size of second differences, as white noise would have it."""
    out = []
    for body in xyz.astype(np.float64):
        bends = np.abs(np.diff(body, n=2, axis=0))
        bends = bends[~np.isnan(bends)]
        out.append(np.median(bends) / 0.6745 / 6**0.5 if len(bends) else 0.0)
    return np.array(out)


def naive_handover(one, other, max_gap, max_overlap, max_distance, pace, pose_gap):
    """Return the distance of two bodies (T, V, 3) at their handovers; infinite if they cannot be one person."""

    def mean_of_known(rows):
        rows = rows[~np.isnan(rows).any(axis=-1)]
        return rows.mean(axis=0) if len(rows) else None

    def apart(pose, next_pose):
        mean = mean_of_known(np.linalg.norm(pose - next_pose, axis=-1)[:, None])
        return np.inf if mean is None else mean[0]

    def velocity(body, t, span):
        mean = mean_of_known((body[t] - body[t - span]) / span) if 0 <= t - span < len(body) else None
        return np.zeros(3) if mean is None else mean

    one, other = one.astype(np.float64), other.astype(np.float64)
    there = [[t for t in range(len(body)) if not np.isnan(body[t]).all()] for body in (one, other)]
    shared = set(there[0]) & set(there[1])
    if len(shared) > max_overlap:
        return np.inf
    distances = [apart(one[t], other[t]) for t in shared]
    if max(distances, default=0) > max_distance:
        return np.inf
    for left, came in pairwise(sorted({*there[0], *there[1]})):
        if left in shared or came in shared or (left in there[0]) == (came in there[0]):
            continue
        if came - left - 1 > max_gap:
            return np.inf
        first, second = (one, other) if left in there[0] else (other, one)
        ahead = (velocity(first, left, 4) + velocity(second, came, -4)) / 2 * (came - left)
        way = min(apart(first[left], second[came]), apart(first[left] + ahead, second[came]))
        if came - left - 1 > pose_gap:
            middle = mean_of_known(second[came] - first[left])
            way = min(way, np.inf if middle is None else np.hypot(middle[0], middle[2]))
        if way > max_distance + pace * (came - left - 1):
            return np.inf
        distances.append(way)
    return max(distances, default=0.0)


def naive_rejoined(xyz, max_gap, max_overlap, max_distance, pace, pose_gap):
    """(M', T, V, 3) after merging the two nearest bodies until none are near; recomputes all distances."""
    bodies, rule = list(xyz), (max_gap, max_overlap, max_distance, pace, pose_gap)
    while True:
        pairs = list(combinations(range(len(bodies)), 2))
        ways = [naive_handover(bodies[a], bodies[b], *rule) for a, b in pairs]
        if np.isinf(min(ways, default=np.inf)):
            return np.array(bodies)
        kept, merged = pairs[int(np.argmin(ways))]
        there = ~np.isnan(bodies[kept]).all(axis=(1, 2))
        bodies[kept] = np.where(there[:, None, None], bodies[kept], bodies[merged])
        del bodies[merged]


def naive_one_origin(xyz, centre):
    """(M, T, V, 3) less the first body's centre joint in the first frame that has it."""
    first = next(pose[centre] for pose in xyz[0] if np.isfinite(pose[centre, 0]))
    return np.array([[pose - first for pose in body] for body in xyz])


def naive_one_turn(xyz, left, right, min_agreement):
    """(M, T, V, 3) turned about y so that the first body's mean shoulder line, or its first, lies along +x."""
    ways = [np.delete(pose[right].astype(np.float64) - pose[left], 1) for pose in xyz[0]]
    ways = [way for way in ways if np.isfinite(way).all()]
    lengths = [np.linalg.norm(way) for way in ways]
    mean = np.sum(ways, axis=0)
    if np.linalg.norm(mean) < min_agreement * sum(lengths):
        mean = next(way for way, length in zip(ways, lengths, strict=True) if length > 0)
    angle = np.arctan2(mean[1], mean[0])
    x, y, z = np.moveaxis(xyz.astype(np.float64), -1, 0)
    turned = x * np.cos(angle) + z * np.sin(angle), y, z * np.cos(angle) - x * np.sin(angle)
    return np.stack(turned, axis=-1)


# Training: draws, augmentation, streams, mixing, pooling, loss.


def hashed_uniforms(seed, epoch, sample, view, count):
    """Twin of trainer.data.counter_rng.uniform for one sample, in Python's own integers."""
    word = 2**64

    def absorb(state, value):
        bits = (state + (value + 1) * 0x9E3779B97F4A7C15) % word
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) % word
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) % word
        return bits ^ (bits >> 31)

    state = 0
    for part in (seed, epoch, view, sample):
        state = absorb(state, part)
    return [(absorb(state, index) >> 40) / 2**24 for index in range(count)]


def cropped(clip, uniform, ratio):
    """Twin of trainer.data.augment.crop for one clip (C, T, V, M): mirror both ends for real, then cut."""
    frames = clip.shape[1]
    pad = frames // ratio
    front = [clip[:, t] for t in range(pad)][::-1]
    back = [clip[:, t] for t in range(frames - pad, frames)][::-1]
    long = front + [clip[:, t] for t in range(frames)] + back
    start = math.floor(uniform * (2 * pad + 1))
    return np.stack(long[start : start + frames], axis=1)


def sheared(clip, uniforms, amplitude):
    """Twin of trainer.data.augment.shear for one clip (3, T, V, M): point by point."""
    a, b, c, d, e, f = [amplitude * (2 * u - 1) for u in uniforms]
    matrix = np.array([[1, a, b], [c, 1, d], [e, f, 1]])
    result = np.empty_like(clip)
    for place in np.ndindex(clip.shape[1:]):
        result[(slice(None), *place)] = matrix @ clip[(slice(None), *place)]
    return result


def motion(clip):
    """Twin of the motion stream for one clip (C, T, V, M)."""
    result = np.zeros_like(clip)
    for t in range(clip.shape[1] - 1):
        result[:, t] = clip[:, t + 1] - clip[:, t]
    return result


def bone(clip, layout):
    """Twin of the bone stream for one clip (C, T, V, M)."""
    result = np.zeros_like(clip)
    for joint, parent in enumerate(layout.parents):
        if parent != -1:
            result[:, :, joint] = clip[:, :, joint] - clip[:, :, parent]
    return result


def mixed(clips, region, stride):
    """Twin of trainer.methods.skelemix.mix for (N, C, T, V, M): clips, mask of each sample (N, T', V), partners."""
    samples, coordinates, frames, joints, bodies = clips.shape
    result = clips.copy()
    mask = np.zeros((samples, math.ceil(frames / stride), joints), dtype=bool)
    partners = []
    for sample in range(samples):
        shift = region.shift if isinstance(region.shift, int) else int(region.shift[sample])
        partners.append((sample + shift) % samples)
        noise = np.array(gaussians(region.noise, sample, clips[0].size)) if region.fill == "noise" else np.zeros(1)
        for t in range(frames):
            for joint in range(joints):
                if not is_pasted(region, sample, t // stride, joint):
                    continue
                mask[sample, t // stride, joint] = True
                if region.fill == "swap":
                    result[sample, :, t, joint] = clips[partners[-1], :, t, joint]
                elif region.fill == "zeros":
                    result[sample, :, t, joint] = 0
                else:
                    result[sample, :, t, joint] = noise.reshape(coordinates, frames, joints, bodies)[:, t, joint]
    return result, mask, partners


def is_pasted(region, sample, step, joint):
    """Whether a region takes a joint of a sample at a frame of the encoder's output."""
    if isinstance(region.shift, int):
        return region.start <= step < region.start + region.frames and joint in region.joints
    return bool(region.pasted[sample, step, joint])


def gaussians(seed, sample, count):
    """Twin of trainer.data.counter_rng.normal for one sample."""
    half = math.ceil(count / 2)
    uniforms = hashed_uniforms(seed, 0, sample, 0, 2 * half)
    pairs = list(zip(uniforms[:half], uniforms[half:], strict=True))
    radii = [math.sqrt(-2 * math.log(1 - radius)) for radius, _ in pairs]
    cosines = [radius * math.cos(2 * math.pi * turn) for radius, (_, turn) in zip(radii, pairs, strict=True)]
    sines = [radius * math.sin(2 * math.pi * turn) for radius, (_, turn) in zip(radii, pairs, strict=True)]
    return (cosines + sines)[:count]


def own_regions(groups, amount, length, batch, frames_out, uniforms):
    """Twin of a draw for each sample, from its numbers: for each its shift, and what it pastes as {(t', joint)}."""
    found = []
    for numbers in uniforms:
        shift = 1 + int(numbers[0] * max(batch - 2, 1))
        count = amount[0] + int(numbers[1] * (amount[1] - amount[0] + 1))
        frames = min(length[0] + int(numbers[2] * (length[1] - length[0] + 1)), frames_out)
        start = int(numbers[3] * (frames_out - frames + 1))
        lowest = sorted(range(len(groups)), key=lambda group: numbers[4 + group])[:count]
        joints = [joint for group in lowest for joint in groups[group]]
        found.append((shift, {(t, joint) for t in range(start, start + frames) for joint in joints}))
    return found


def masked_means(features, mask, bodies):
    """Twin of trainer.pooling.pool_masked: features (N*M, D, T', V), mask (N, T', V)."""
    inside, outside = [], []
    for sample in range(len(features) // bodies):
        one = features[sample * bodies : (sample + 1) * bodies]
        inside.append(np.mean([[channel[mask[sample]].mean() for channel in body] for body in one], axis=0))
        outside.append(np.mean([[channel[~mask[sample]].mean() for channel in body] for body in one], axis=0))
    return np.array(inside), np.array(outside)


def nce(query, key, queue, temperature, extra=None, decoupled=False):
    """Twin of trainer.losses.info_nce, by the formula."""
    losses = []
    for i in range(len(query)):
        positive = math.exp(query[i] @ key[i] / temperature)
        below = (0 if decoupled else positive) + sum(
            math.exp(query[i] @ negative / temperature) for negative in queue.T
        )
        if extra is not None:
            below += math.exp(query[i] @ extra[i] / temperature)
        losses.append(-math.log(positive / below))
    return sum(losses) / len(losses)
