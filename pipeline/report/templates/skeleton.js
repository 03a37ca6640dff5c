"use strict";
// Moving skeletons on canvases: they can be turned by mouse or finger and played; they show a joint's name and path.
//
// new SkeletonPlayer(canvas, {skeleton, motion, owner}, {controls, clock, view}) draws one clip. Players with the
// same clock and view move together. A clock has `frames` and `rate`. A skeleton is drawn only while it is on screen.

class Clock {
  constructor(frames, rate) {
    // `loop` is the part that is played until the user chooses a frame: [first, after the last].
    Object.assign(this, {frames, rate, at: 0, speed: 1, playing: false, loop: null, listeners: []});
  }
  get frame() { return Math.min(this.frames - 1, Math.floor(this.at)); }
  seek(at) {
    this.at = ((at % this.frames) + this.frames) % this.frames;
    this.notify();
  }
  play(playing) {
    this.playing = playing;
    this.notify();
  }
  notify() { for (const listener of this.listeners) listener(this); }
  advance(seconds) {
    if (!this.playing || this.frames < 2) return;
    let at = this.at + seconds * this.rate * this.speed;
    if (this.loop && at >= this.loop[1]) at = this.loop[0];
    this.seek(at);
  }
}

class View {
  constructor() { this.reset(); }
  reset() { Object.assign(this, {yaw: -0.35, pitch: 0.16, zoom: 1, radius: 0, joint: -1, path: -1, names: false, hidden: new Set()}); }
  resetDirection() { const {radius} = this; this.reset(); this.radius = radius; }
}

const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const MISSING = -32768;

function bytes(text) { return Uint8Array.from(atob(text), (character) => character.charCodeAt(0)); }

function unpack({shape: [M, T, V], step, turn, data}) {
  // Positions in metres as stored, and rotated so that y is up and z points to the viewer; NaN where missing.
  const raw = bytes(data), values = new DataView(raw.buffer);
  const stored = new Float32Array(M * T * V * 3), turned = new Float32Array(M * T * V * 3);
  for (let point = 0; point < M * T * V; point++) {
    const p = [0, 1, 2].map((c) => values.getInt16(2 * (3 * point + c), true));
    const present = p[0] !== MISSING;
    for (let c = 0; c < 3; c++) {
      stored[3 * point + c] = present ? p[c] * step : NaN;
      turned[3 * point + c] = present ? step * (turn[3 * c] * p[0] + turn[3 * c + 1] * p[1] + turn[3 * c + 2] * p[2]) : NaN;
    }
  }
  return {M, T, V, stored, turned};
}

function jointName(skeleton, joint) { return skeleton.joints[joint].replaceAll("_", " "); }

function extent(clip) {
  // Centre, floor and radius of nearly all joints, so that a distant false detection does not shrink the people.
  const axes = [[], [], []];
  for (let i = 0; i < clip.turned.length; i += 3) {
    if (!Number.isNaN(clip.turned[i])) for (let c = 0; c < 3; c++) axes[c].push(clip.turned[i + c]);
  }
  if (!axes[0].length) return {middle: [0, 0, 0], floor: 0, radius: 1};
  for (const axis of axes) axis.sort((a, b) => a - b);
  const low = axes.map((axis) => axis[Math.floor(0.005 * (axis.length - 1))]);
  const high = axes.map((axis) => axis[Math.ceil(0.995 * (axis.length - 1))]);
  const size = high.map((value, c) => value - low[c]);
  return {
    middle: high.map((value, c) => (value + low[c]) / 2),
    floor: low[1],
    radius: Math.max(0.2, size[1] / 2, Math.hypot(size[0], size[2]) / 2),
  };
}

class SkeletonPlayer {
  constructor(canvas, {skeleton, motion, owner = null}, {controls = true, clock = null, view = null} = {}) {
    Object.assign(this, {canvas, skeleton, controls, clip: unpack(motion), owner: owner && bytes(owner), ringed: motion.ringed && bytes(motion.ringed)});
    this.clock = clock || new Clock(motion.shape[1], motion.rate);
    this.view = view || new View();
    this.extent = extent(this.clip);
    this.view.radius = Math.max(this.view.radius, this.extent.radius);
    this.spots = [];
    this.isSeen = false;
    SkeletonPlayer.all.push(this);
    SkeletonPlayer.watcher.observe(canvas);
    canvas.skeletonPlayer = this;
    this.draw();
    if (controls) this.listen();
    else if (!clock) this.clock.play(!CALM.matches);
  }

  listen() {
    const {canvas, view} = this;
    let last = null, moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      moved = 0;
      canvas.setPointerCapture(event.pointerId);
      canvas.classList.add("turning");
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) {
        this.point(event);
        return;
      }
      const dx = event.clientX - last[0], dy = event.clientY - last[1];
      moved += Math.abs(dx) + Math.abs(dy);
      view.yaw += dx * 0.01;
      if (event.pointerType !== "touch") view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + dy * 0.01));
      last = [event.clientX, event.clientY];
    });
    const release = (event) => {
      canvas.classList.remove("turning");
      if (last && moved < 4 && event.type === "pointerup") {
        this.point(event);
        view.path = view.path === view.joint ? -1 : view.joint;
      }
      last = null;
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => { if (!last) this.unpoint(); });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !canvas.closest(".stage")?.contains(document.activeElement)) return;
      event.preventDefault();
      view.zoom = Math.max(0.4, Math.min(8, view.zoom * Math.exp(-event.deltaY * 0.002)));
    }, {passive: false});
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = 14;
    for (const spot of this.spots) {
      const away = Math.hypot(spot.x - x, spot.y - y);
      if (away < least) [best, least] = [spot, away];
    }
    this.view.joint = best ? best.joint : -1;
    if (!best) return this.unpoint();
    const at = [0, 1, 2].map((c) => this.clip.stored[3 * best.place + c].toFixed(3));
    const who = this.clip.M > 1 ? `person ${best.body + 1}\n` : "";
    SkeletonPlayer.showTip(`${jointName(this.skeleton, best.joint)}\n${who}x ${at[0]}  y ${at[1]}  z ${at[2]} m`, event);
  }

  unpoint() {
    this.view.joint = -1;
    SkeletonPlayer.showTip("");
  }

  static showTip(text, event) {
    let tip = document.querySelector(".tip");
    if (!tip) {
      tip = document.body.appendChild(Object.assign(document.createElement("div"), {className: "tip"}));
      tip.setAttribute("role", "status");
    }
    tip.hidden = !text;
    tip.textContent = text;
    if (text) {
      tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 6)}px`;
      tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 6)}px`;
    }
  }

  project(x, y, z) {
    const {view, extent: {middle}, width, height} = this;
    const cos = Math.cos(view.yaw), sin = Math.sin(view.yaw), up = Math.cos(view.pitch), tilt = Math.sin(view.pitch);
    x -= middle[0]; y -= middle[1]; z -= middle[2];
    const across = cos * x + sin * z, depth = -sin * x + cos * z;
    const deep = tilt * y + up * depth;
    const away = 5 * view.radius;
    const scale = (view.zoom * 0.41 * Math.min(width, height) * away) / view.radius / Math.max(0.2 * away, away - deep);
    return {x: width / 2 + scale * across, y: height / 2 - scale * (up * y - tilt * depth), deep, scale};
  }

  picture() {
    // Everything that the picture depends on: it is drawn again only when this changes.
    const {canvas, view, clock} = this;
    return [clock.frame, canvas.clientWidth, canvas.clientHeight, devicePixelRatio, ...Object.values(view).map((value) => value instanceof Set ? [...value] : value)].join();
  }

  draw() {
    const {canvas, clip, view} = this;
    const ratio = Math.min(3, devicePixelRatio || 1);
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    if (canvas.width !== Math.round(this.width * ratio) || canvas.height !== Math.round(this.height * ratio)) {
      canvas.width = Math.round(this.width * ratio);
      canvas.height = Math.round(this.height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.lineCap = "round";
    const colours = SkeletonPlayer.colours();
    this.drawFloor(pen, colours);
    const frame = Math.min(clip.T - 1, Math.floor((this.clock.frame * clip.T) / this.clock.frames));
    if (view.path >= 0) this.drawPath(pen, colours, frame);
    this.spots = [];
    const strokes = [];
    for (let body = 0; body < clip.M; body++) {
      if (view.hidden.has(body)) continue;
      const spots = [];
      for (let joint = 0; joint < clip.V; joint++) {
        const place = (body * clip.T + frame) * clip.V + joint;
        const [x, y, z] = clip.turned.subarray(3 * place, 3 * place + 3);
        if (Number.isNaN(x)) continue;
        spots[joint] = {...this.project(x, y, z), joint, body, place, colour: this.colour(colours, frame, joint)};
        this.spots.push(spots[joint]);
      }
      for (const [joint, parent] of this.skeleton.bones) {
        const [a, b] = [spots[joint], spots[parent]];
        if (a && b) strokes.push({a, b, deep: (a.deep + b.deep) / 2, colour: a.colour, body});
      }
    }
    const thick = Math.max(1.2, this.width / 110);
    for (const {a, b, colour, body} of strokes.sort((one, other) => one.deep - other.deep)) {
      pen.strokeStyle = colour;
      pen.lineWidth = body ? thick * 0.55 : thick;
      pen.beginPath();
      pen.moveTo(a.x, a.y);
      pen.lineTo(b.x, b.y);
      pen.stroke();
    }
    for (const spot of this.spots.sort((one, other) => one.deep - other.deep)) {
      const isPointed = spot.joint === view.joint || spot.joint === view.path;
      pen.beginPath();
      pen.arc(spot.x, spot.y, thick * (isPointed ? 1.5 : 0.75), 0, 7);
      pen.fillStyle = spot.body ? colours.raised : spot.colour;
      pen.fill();
      if (spot.body || isPointed) {
        pen.strokeStyle = isPointed ? colours.ink : spot.colour;
        pen.lineWidth = isPointed ? 2 : thick * 0.35;
        pen.stroke();
      }
    }
    for (const spot of this.spots) {
      if (!this.ringed?.[spot.place]) continue;
      pen.beginPath();
      pen.arc(spot.x, spot.y, thick * 2.2, 0, 7);
      pen.strokeStyle = colours.warm;
      pen.lineWidth = Math.max(1.5, thick * 0.6);
      pen.stroke();
    }
    if (view.names) {
      pen.font = "13px system-ui, sans-serif";
      pen.fillStyle = colours.ink;
      for (const spot of this.spots) pen.fillText(jointName(this.skeleton, spot.joint), spot.x + thick + 2, spot.y - 2);
    }
  }

  colour(colours, frame, joint) {
    if (!this.owner) return colours.parts[this.skeleton.part_of[joint] % colours.parts.length];
    return this.owner[frame * this.clip.V + joint] ? colours.partner : colours.host;
  }

  drawFloor(pen, colours) {
    const {middle, floor, radius} = this.extent;
    const step = radius > 4 ? 2 : 0.5, lines = Math.ceil((1.3 * radius) / step);
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    pen.beginPath();
    for (let k = -lines; k <= lines; k++) {
      for (const ends of [[[k, -lines], [k, lines]], [[-lines, k], [lines, k]]]) {
        const [from, to] = ends.map(([x, z]) => this.project(middle[0] + x * step, floor, middle[2] + z * step));
        pen.moveTo(from.x, from.y);
        pen.lineTo(to.x, to.y);
      }
    }
    pen.stroke();
  }

  drawPath(pen, colours, now) {
    const {clip, view} = this;
    pen.lineWidth = 1.5;
    for (let body = 0; body < clip.M; body++) {
      if (view.hidden.has(body)) continue;
      let before = null;
      for (let frame = 0; frame < clip.T; frame++) {
        const place = (body * clip.T + frame) * clip.V + view.path;
        const [x, y, z] = clip.turned.subarray(3 * place, 3 * place + 3);
        const spot = Number.isNaN(x) ? null : this.project(x, y, z);
        if (spot && before) {
          pen.strokeStyle = frame <= now ? colours.accent : colours.faint;
          pen.globalAlpha = frame <= now ? 1 : 0.45;
          pen.beginPath();
          pen.moveTo(before.x, before.y);
          pen.lineTo(spot.x, spot.y);
          pen.stroke();
        }
        before = spot;
      }
    }
    pen.globalAlpha = 1;
  }

  static colours() {
    if (!SkeletonPlayer.palette) {
      const style = getComputedStyle(document.documentElement);
      const of = (name) => style.getPropertyValue(`--${name}`).trim();
      const named = Object.fromEntries(["ink", "faint", "line", "raised", "accent", "warm", "host", "partner"].map((name) => [name, of(name)]));
      SkeletonPlayer.palette = {...named, parts: [0, 1, 2, 3, 4, 5].map((part) => of(`part-${part}`))};
    }
    return SkeletonPlayer.palette;
  }

  static loop(now) {
    const seconds = Math.min(0.1, (now - (SkeletonPlayer.then ?? now)) / 1000);
    SkeletonPlayer.then = now;
    const seen = SkeletonPlayer.all.filter((player) => player.isSeen);
    for (const clock of new Set(seen.map((player) => player.clock))) clock.advance(seconds);
    for (const player of seen) {
      const picture = player.picture();
      if (picture !== player.drawn) player.draw();
      player.drawn = picture;
    }
    requestAnimationFrame(SkeletonPlayer.loop);
  }
}

SkeletonPlayer.all = [];
SkeletonPlayer.watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.skeletonPlayer.isSeen = entry.isIntersecting;
});
for (const query of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(query).addEventListener("change", () => {
    SkeletonPlayer.palette = null;
    for (const player of SkeletonPlayer.all) player.draw();
  });
}
addEventListener("beforeprint", () => {
  SkeletonPlayer.palette = null;
  for (const player of SkeletonPlayer.all) player.draw();
});
requestAnimationFrame(SkeletonPlayer.loop);
