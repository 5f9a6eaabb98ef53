// Main: the page's own flow. Pictures or a camera come in, the model looks, the view draws, the doctor speaks.

import { Camera } from "./camera.js";
import { Doctor } from "./doctor.js";
import { Model } from "./model.js";
import { onFile, picture, thumbnail } from "./picker.js";
import { Pointer } from "./pointer.js";
import { Speed } from "./speed.js";
import { LONGEST, View } from "./view.js";
import { colourDepth } from "./colours.js";

const CONSULT_MS = 4000; // so often the doctor looks at a running camera

const at = (id) => document.getElementById(id);
const side = () => Number(at("side").value);

const model = new Model();
const doctor = new Doctor();
const camera = new Camera(at("video"));
const speed = new Speed();
const view = new View({ mask: at("mask"), cutout: at("cutout"), depth: at("depth") });
const pointer = new Pointer(at("plan"), at("cross"), at("metres"), (x, y) => distance(view.depthAt(x, y)));

let about = { threads: 1, header: {} };
let plate = null;
let frame = null;
let name = "frame";
let shown = null; // the answer on the page
let turn = 0; // counts what was asked for, so that what is overtaken is not shown
let consulted = 0;

function say(text, bad = false) {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
}

/** Runs what a user asked for; what goes wrong is said. */
async function attempt(task) {
  try {
    await task();
  } catch (error) {
    say(error.message, true);
  }
}

function distance(depth) {
  if (depth === null) return "point at it";
  const text = depth < 10 ? depth.toFixed(2) : depth.toFixed(1);
  return about.header.depth && about.header.depth !== "metric" ? `${text} (relative)` : `${text} m`;
}

function show(answer) {
  if (shown && shown.bitmap !== answer.bitmap) shown.bitmap.close();
  shown = answer;
  at("results").hidden = false;
  const scale = view.show(answer);
  at("depth-figure").hidden = !scale;
  if (scale) [at("near").textContent, at("far").textContent] = scale.map(distance);
  pointer.refresh();
  const words = speed.add(answer.milliseconds, camera.running);
  if (words) at("speed").textContent = `${words}, ${about.threads === 1 ? "1 thread" : `${about.threads} threads`}`;
  globalThis.cleanplate = { answer, about }; // for the console, and for tests
}

async function setPlate(bitmap) {
  plate?.close();
  plate = bitmap;
  thumbnail(at("plate-picture"), bitmap);
  at("plate-text").textContent = `${bitmap.width} × ${bitmap.height}`;
  view.forget();
  await model.plate(bitmap);
}

/** The pair of pictures, if both are there. */
async function lookOnce() {
  const mine = ++turn;
  if (!plate || !frame) return say(plate ? "Now choose a frame." : "Now choose a plate.");
  say("Looking.");
  view.forget();
  const answer = await model.look(await createImageBitmap(frame), side(), LONGEST, false);
  if (mine !== turn) return answer.bitmap.close();
  show(answer);
  const share = answer.alpha.reduce((sum, value) => sum + (value >= 0.5), 0) / answer.alpha.length;
  say(`Done: ${(100 * share).toFixed(1)} % of the frame stands in front.`);
  await consult(frame);
}

/** Frame after frame of the camera; while the network looks at one, the last one is drawn. */
async function lookOn() {
  const mine = ++turn;
  let before = null;
  while (mine === turn && camera.running) {
    const now = model.look(await camera.next(), side(), LONGEST, true);
    now.catch(() => {}); // awaited in the next round
    if (before) {
      const answer = await before;
      if (mine === turn) show(answer);
      if (performance.now() - consulted > CONSULT_MS) consult(answer.bitmap).catch(() => {});
    }
    before = now;
  }
}

async function consult(bitmap) {
  consulted = performance.now();
  const words = await doctor.examine(plate, bitmap, camera.running);
  const items = words.map((text) => Object.assign(document.createElement("li"), { textContent: text }));
  if (words.join() !== [...at("words").children].map((item) => item.textContent).join()) {
    at("words").replaceChildren(...items);
  }
  at("care").hidden = false;
}

async function choose(kind, file) {
  const bitmap = await picture(file);
  stop();
  if (kind === "plate") await setPlate(bitmap);
  else {
    frame?.close();
    frame = bitmap;
    name = file.name.replace(/\.[^.]*$/, "") || "frame";
    thumbnail(at("frame-picture"), bitmap);
    at("frame-text").textContent = `${bitmap.width} × ${bitmap.height}`;
  }
  await lookOnce();
}

async function example() {
  for (const kind of ["plate", "frame"]) {
    const response = await fetch(`example/${kind}.jpg`);
    if (!response.ok) throw new Error("The server has no example.");
    await choose(kind, new File([await response.blob()], `${kind}.jpg`));
  }
}

async function start() {
  say("Starting the camera.");
  await camera.start(at("device").value);
  const cameras = await camera.list();
  const current = at("video").srcObject.getVideoTracks()[0].getSettings().deviceId;
  at("device").replaceChildren(...cameras.map(({ id, name: label }) => new Option(label, id, false, id === current)));
  at("devices").hidden = cameras.length < 2;
  at("stage").hidden = false;
  at("take").disabled = false;
  at("start").textContent = "Stop the camera";
  speed.reset();
  say("The camera is on. Step out of its picture and take the plate.");
}

function stop() {
  if (!camera.running) return;
  camera.stop();
  turn++;
  at("stage").hidden = true;
  at("take").disabled = true;
  at("start").textContent = "Start the camera";
}

async function take() {
  at("take").disabled = true;
  try {
    for (let left = Number(at("wait").value); left > 0; left--) {
      say(`Step out of the picture: ${left}`);
      at("count").textContent = left;
      at("count").hidden = false;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (!camera.running) return;
    }
    say("Taking the plate.");
    await setPlate(await camera.plate());
  } finally {
    at("count").hidden = true;
    at("take").disabled = !camera.running;
  }
  name = "camera";
  consulted = performance.now() - CONSULT_MS / 2;
  say("The plate is taken. Step in.");
  await lookOn();
}

async function download(what) {
  const answer = shown;
  const png = await model.finish(what, answer);
  const link = Object.assign(document.createElement("a"), { download: `${name}_${what}.png` });
  link.href = URL.createObjectURL(png);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function setBackground() {
  const kind = at("background").value;
  at("colour-choice").hidden = kind !== "colour";
  at("picture-choice").hidden = kind !== "picture";
  if (kind === "picture" && !view.background.bitmap) return;
  view.background = { kind, colour: at("colour").value, bitmap: view.background.bitmap };
  view.cutout();
}

async function setPicture(file) {
  const bitmap = await picture(file);
  view.background.bitmap?.close();
  view.background.bitmap = bitmap;
  setBackground();
}

function wire() {
  // A picture dropped beside its place must not replace the page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  for (const kind of ["plate", "frame"]) {
    const input = at(`${kind}-file`);
    onFile(input, input.closest(".drop"), (file) => attempt(() => choose(kind, file)));
  }
  onFile(at("picture"), at("picture-choice"), (file) => attempt(() => setPicture(file)));
  at("example").onclick = () => attempt(example);
  at("start").onclick = () => (camera.running ? (stop(), say("The camera is off.")) : attempt(start));
  at("device").onchange = () => attempt(start);
  at("take").onclick = () => attempt(take);
  at("side").onchange = () => {
    speed.reset();
    if (!camera.running && plate && frame) attempt(lookOnce);
  };
  at("background").onchange = setBackground;
  at("colour").oninput = setBackground;
  for (const button of document.querySelectorAll("[data-what]")) {
    button.onclick = () => attempt(() => download(button.dataset.what));
  }
  const ramp = Float32Array.from({ length: 256 }, (_, i) => Math.exp(i / 255));
  const pixels = new ImageData(colourDepth(ramp, 1, Math.E), 256, 1);
  at("ramp").getContext("2d").putImageData(pixels, 0, 0);
}

wire();
attempt(async () => {
  about = await model.open(new URL("model/", document.baseURI));
  if (!plate && !camera.running) say("Ready. Choose a plate and a frame, or start the camera.");
});
