// Worker: the network, in a thread of its own so that the page stays responsive.
//
// What it is asked (see thread.js), and what it answers, one after the other:
//   open    {plate, frame: addresses of the two graphs}          -> {threads, header}
//   plate   {bitmap}                keeps the plate              -> {}
//   look    {bitmap, side, shown, live}  of a frame              -> the answer: height, width, alpha, depth, behind,
//                                        front (Float32Array); mask; exposure (exposure.js); milliseconds, bitmap
//   finish  {what, answer, bitmap}  a picture to download        -> {png}
// side and shown: pixels on the longer side, of what the network sees, and of mask: alpha along the frame's edges, bytes.
// live: of a camera, whose frames come one after the other.
// What the network remembers of the plate is computed once per size at which frames are looked at.

import { env, InferenceSession, Tensor } from "./onnxruntime/ort.wasm.min.mjs";
import { Care, fitted } from "./care.js";
import { bytesOf, finish } from "./finish.js";
import { header } from "./header.js";
import { Rows, shrink, workingSize } from "./pixels.js";
import { serve } from "./thread.js";
import { enlargeAlpha } from "./upsample.js";

const MOST_THREADS = 4;

let graphs = null;
let plate = null; // {bitmap, care, known: by size}

async function open({ plate: plateAddress, frame: frameAddress }) {
  const cores = (navigator.hardwareConcurrency || 2) - 1; // one is left to the page itself
  env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, Math.max(1, cores)) : 1;
  env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;
  const [plateBytes, frameBytes] = await Promise.all([fetched(plateAddress), fetched(frameAddress)]);
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  graphs = {
    plate: await InferenceSession.create(plateBytes, options),
    frame: await InferenceSession.create(frameBytes, options),
  };
  return { threads: env.wasm.numThreads, header: header(frameBytes) };
}

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`The server has no model at ${address} (answer ${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

function keep({ bitmap }) {
  plate?.bitmap.close();
  plate = { bitmap, care: new Care(bitmap), known: new Map() };
  return {};
}

async function look({ bitmap, side, shown, live }) {
  if (!graphs) throw new Error("The model is not loaded.");
  if (!plate) throw new Error("There is no plate to compare with.");
  const started = performance.now();
  const [size, larger] = [side, shown].map((longest) => workingSize(bitmap.height, bitmap.width, longest));
  const known = await knownAt(size);
  const exposure = plate.care.exposure(new Rows(bitmap), live);
  const whole = fitted(bitmap, plate.bitmap, exposure);
  const frame = larger[0] === whole.height ? whole : fitted(bitmap, plate.bitmap, exposure, larger);
  const small = shrink(whole, ...size);
  const found = await graphs.frame.run({ frame: picture(small, size), ...known.features });
  const answer = { height: size[0], width: size[1], bitmap, exposure };
  for (const [name, tensor] of Object.entries(found)) answer[name] = tensor.data;
  answer.mask = bytesOf(enlargeAlpha(answer.alpha, size, frame, small, known.small));
  answer.milliseconds = performance.now() - started;
  return answer;
}

/** The plate at this size, and what the network remembers of it. */
async function knownAt(size) {
  const [height, width] = size;
  const key = `${height}x${width}`;
  if (!plate.known.has(key)) {
    plate.known.clear();
    const small = shrink(new Rows(plate.bitmap), height, width);
    const depth = new Tensor("float32", new Float32Array(height * width), [1, height, width]); // 0: unknown
    plate.known.set(key, { small, features: await graphs.plate.run({ plate: picture(small, size), plate_depth: depth }) });
  }
  return plate.known.get(key);
}

/** RGB bytes as the network takes them. */
function picture(bytes, [height, width]) {
  return new Tensor("uint8", bytes, [1, height, width, 3]);
}

serve({
  open,
  plate: keep,
  look,
  finish: async ({ what, answer, bitmap }) => ({ png: await finish(what, answer, bitmap, plate?.bitmap) }),
});
