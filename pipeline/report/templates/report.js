"use strict";
// The small moving skeletons of a report. Scenes that show the same frames twice share one clock and one view.

const {skeleton, clips} = JSON.parse(document.getElementById("film").textContent);
const clocks = [];

for (const scene of document.querySelectorAll(".scene")) {
  const together = "together" in scene.dataset ? {clock: null, view: new View()} : null;
  for (const canvas of scene.querySelectorAll("canvas[data-clip]")) {
    const motion = clips[canvas.dataset.clip];
    const clock = together?.clock ?? new Clock(motion.shape[1], motion.rate);
    if (together) together.clock = clock;
    if (!clocks.includes(clock)) clocks.push(clock);
    new SkeletonPlayer(canvas, {skeleton, motion}, {controls: false, clock, view: together?.view});
  }
}

function play(playing) {
  for (const clock of clocks) clock.play(playing);
  for (const button of document.querySelectorAll("button.motion")) button.textContent = playing ? "Pause all skeletons" : "Play all skeletons";
}

for (const section of document.querySelectorAll("section")) {
  const first = section.querySelector(".scene");
  if (!first) continue;
  const button = Object.assign(document.createElement("button"), {type: "button", className: "motion controls"});
  button.addEventListener("click", () => play(!clocks[0].playing));
  section.querySelector("h2").after(button);
}
play(!CALM.matches);
