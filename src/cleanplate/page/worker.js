// Worker: the network, in a thread of its own so that the page stays responsive.
//
// What it is asked (see thread.js), and what it answers, one after the other:
//   open    {plate, frame: addresses of the two graphs}          -> {threads, header}
//   plate   {bitmap}                keeps the plate              -> {}
//   look    {bitmap, side}          mask and depth of a frame    -> the answer: height, width, alpha, depth, behind,
//                                                                   front (Float32Array), milliseconds, bitmap
//   finish  {what, answer, bitmap}  a picture to download        -> {png}
// The plate's features are computed once per size at which frames are looked at.

import { env, InferenceSession, Tensor } from "./onnxruntime/ort.wasm.min.mjs";
import { finish } from "./finish.js";
import { header } from "./header.js";
import { shrink, workingSize } from "./pixels.js";
import { serve } from "./thread.js";

const MOST_THREADS = 4;

let graphs = null;
let plate = null; // {bitmap, features: by size}

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
  plate = { bitmap, features: new Map() };
  return {};
}

async function look({ bitmap, side }) {
  if (!graphs) throw new Error("The model is not loaded.");
  if (!plate) throw new Error("There is no plate to compare with.");
  const started = performance.now();
  const [height, width] = workingSize(bitmap.height, bitmap.width, side);
  const features = await featuresAt(height, width);
  const inputs = {
    frame: picture(bitmap, height, width),
    plate_depth: new Tensor("float32", new Float32Array(height * width), [1, height, width]),
  };
  const found = await graphs.frame.run({ ...inputs, ...features });
  const answer = { height, width, bitmap };
  for (const [name, tensor] of Object.entries(found)) answer[name] = tensor.data;
  answer.milliseconds = performance.now() - started;
  return answer;
}

async function featuresAt(height, width) {
  const size = `${height}x${width}`;
  if (!plate.features.has(size)) {
    plate.features.clear();
    plate.features.set(size, await graphs.plate.run({ plate: picture(plate.bitmap, height, width) }));
  }
  return plate.features.get(size);
}

/** A bitmap as the network takes it. */
function picture(bitmap, height, width) {
  return new Tensor("uint8", shrink(bitmap, height, width), [1, height, width, 3]);
}

serve({
  open,
  plate: keep,
  look,
  finish: async ({ what, answer, bitmap }) => ({ png: await finish(what, answer, bitmap, plate?.bitmap) }),
});
