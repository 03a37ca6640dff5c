"use strict";
// A stage: skeleton players side by side that share one clock, with controls, keyboard shortcuts and, for mixed clips,
// the encoder's feature cells. Its data is the JSON inside its element.

const SPEEDS = [0.1, 0.25, 0.5, 1, 2];

class Stage {
  constructor(element) {
    const data = JSON.parse(element.querySelector("script[type='application/json']").textContent);
    this.element = element;
    this.view = new View();
    this.clock = new Clock(Math.max(...data.panels.map(({motion}) => motion.shape[1])), data.panels[0].motion.rate);
    const canvases = [...element.querySelectorAll(".panel canvas")];
    this.players = canvases.map((canvas, index) => new SkeletonPlayer(
      canvas, {skeleton: data.skeleton, ...data.panels[index]}, {clock: this.clock, view: this.view},
    ));
    this.skeleton = data.skeleton;
    this.stride = data.stride;
    this.buttons();
    this.keys();
    this.cells();
    this.clock.loop = data.loop;
    this.clock.listeners.push(() => this.update());
    if (data.loop) this.clock.seek(data.loop[0]);
    this.clock.play(!CALM.matches);
  }

  find(name) { return this.element.querySelector(`[data-do="${name}"]`); }

  buttons() {
    const {clock, view} = this;
    this.scrub = this.find("scrub");
    this.scrub.max = clock.frames - 1;
    this.scrub.addEventListener("input", () => this.seek(Number(this.scrub.value)));
    this.find("play").addEventListener("click", () => clock.play(!clock.playing));
    this.find("speed").addEventListener("change", (event) => { clock.speed = Number(event.target.value); });
    this.find("names").addEventListener("click", () => this.toggleNames());
    this.find("reset").addEventListener("click", () => this.reset());
    for (const button of this.element.querySelectorAll("[data-body]")) {
      button.addEventListener("click", () => this.toggleBody(Number(button.dataset.body)));
    }
  }

  toggleNames() {
    this.view.names = !this.view.names;
    this.find("names").setAttribute("aria-pressed", this.view.names);
  }

  toggleBody(body) {
    const button = this.element.querySelector(`[data-body="${body}"]`);
    if (!button) return;
    const {hidden} = this.view;
    if (!hidden.delete(body)) hidden.add(body);
    button.setAttribute("aria-pressed", !hidden.has(body));
  }

  reset() {
    this.view.resetDirection();
    this.find("names").setAttribute("aria-pressed", false);
    for (const button of this.element.querySelectorAll("[data-body]")) button.setAttribute("aria-pressed", true);
  }

  step(frames) {
    this.seek(this.clock.frame + frames);
  }

  seek(frame) {
    Object.assign(this.clock, {playing: false, loop: null});
    this.clock.seek(frame);
  }

  faster(by) {
    const speed = this.find("speed");
    const index = Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(this.clock.speed) + by));
    this.clock.speed = SPEEDS[index];
    speed.value = String(SPEEDS[index]);
  }

  keys() {
    const actions = {
      " ": () => this.clock.play(!this.clock.playing),
      ArrowLeft: (event) => (event.shiftKey ? (this.view.yaw -= 0.1) : this.step(-1)),
      ArrowRight: (event) => (event.shiftKey ? (this.view.yaw += 0.1) : this.step(1)),
      ArrowUp: (event) => event.shiftKey && (this.view.pitch = Math.min(1.5, this.view.pitch + 0.1)),
      ArrowDown: (event) => event.shiftKey && (this.view.pitch = Math.max(-1.5, this.view.pitch - 0.1)),
      Home: () => this.step(-this.clock.frame),
      End: () => this.step(this.clock.frames - 1 - this.clock.frame),
      "+": () => this.faster(1),
      "-": () => this.faster(-1),
      n: () => this.toggleNames(),
      r: () => this.reset(),
    };
    this.element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const isOwn = event.target.matches("button, select, input") && !/^[a-z0-9+-]$/i.test(event.key);
      const act = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      const isVertical = event.key === "ArrowUp" || event.key === "ArrowDown";
      if (/^[1-9]$/.test(event.key)) this.toggleBody(Number(event.key) - 1);
      else if (!act || isOwn || (isVertical && !event.shiftKey)) return;
      else act(event);
      event.preventDefault();
    });
  }

  cells() {
    this.now = this.element.querySelector(".cells .now");
    for (const cell of this.element.querySelectorAll(".cells [data-t]")) {
      cell.addEventListener("click", () => this.seek(Number(cell.dataset.t) * this.stride));
      cell.addEventListener("pointerenter", (event) => {
        const [t, v] = [Number(cell.dataset.t), Number(cell.dataset.v)];
        this.view.joint = v;
        const last = Math.min(this.clock.frames, (t + 1) * this.stride);
        SkeletonPlayer.showTip(`${jointName(this.skeleton, v)}\nframes ${t * this.stride + 1} to ${last}\n${cell.dataset.whose}`, event);
      });
      cell.addEventListener("pointerleave", () => { this.view.joint = -1; SkeletonPlayer.showTip(""); });
    }
  }

  update() {
    const {clock} = this;
    const seconds = (clock.frame / clock.rate).toFixed(2);
    this.scrub.value = clock.frame;
    this.scrub.setAttribute("aria-valuetext", `frame ${clock.frame + 1} of ${clock.frames}`);
    this.find("frame").textContent = `frame ${clock.frame + 1} of ${clock.frames}, ${seconds} s`;
    const play = this.find("play");
    play.textContent = clock.playing ? "Pause" : "Play";
    if (this.now) {
      const cell = Math.floor(clock.frame / this.stride);
      this.now.setAttribute("x", Number(this.now.dataset.left) + cell * Number(this.now.dataset.width));
    }
  }
}

for (const element of document.querySelectorAll(".stage")) element.stage = new Stage(element);
