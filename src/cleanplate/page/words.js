// Words: a diagnosis in plain sentences, the gravest first; those of `cleanplate doctor`, less what it corrects.
//
// The limits are those from which a finding has a visible effect on masks; below them nothing is said.

const [GAIN, BALANCE, BLUR, NOISE, LIGHT, CLIPPED, SHIFT, MUCH, UNLIKE] = [0.03, 0.04, 0.6, 5, 0.2, 0.1, 1, 0.5, 0.75];

const share = (value) => `${Math.round(100 * value)} %`;

/** What is wrong and what to do: at least one sentence. */
export function words(found) {
  const asked = [otherScene, sizes, moved, exposure, light, clipped, soft, noisy, crowded];
  const said = asked.map((ask) => ask(found)).filter(Boolean);
  return said.length ? said : ["The plate fits the frame: nothing is wrong."];
}

function otherScene({ foreground }) {
  if (foreground < UNLIKE) return "";
  return (
    `${share(foreground)} of the picture differs, and neither motion nor exposure explains it: the plate seems to ` +
    "show another scene, or the camera was turned. Take a new plate."
  );
}

function sizes({ plateSize, frameSize }) {
  const [plate, frame] = [plateSize, frameSize].map(([height, width]) => `${width}x${height}`);
  if (plate === frame) return "";
  const [a, b] = [plateSize, frameSize].map(([height, width]) => width / height);
  if (Math.abs(a / b - 1) > 0.02) {
    return (
      `The plate is ${plate} and the frame is ${frame}, which is another shape: the plate is stretched, which bends ` +
      "the scene. Crop it to what the frame shows, or take it with the same camera and settings."
    );
  }
  return `The plate is ${plate} and the frame is ${frame}. The plate is resized.`;
}

function moved({ shift: [right, down], frameSize }) {
  if (Math.hypot(right, down) < SHIFT) return "";
  const far = Math.max(Math.abs(right), Math.abs(down)) > 0.03 * Math.max(...frameSize);
  const [x, y] = [right, down].map((value) => `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(1)}`);
  return (
    `The camera has moved: the frame must go ${x} px right and ${y} px down to lie on the plate. Not corrected on ` +
    `this page; cleanplate predict does. ${far ? "It has moved far: take a new plate." : "Fix the camera firmly."}`
  );
}

function exposure({ gain }) {
  if (Math.max(...gain.map((value) => Math.abs(value - 1))) < GAIN) return "";
  const balance = Math.max(...gain) / Math.max(Math.min(...gain), 1e-3) - 1 > BALANCE;
  const what = balance ? "Exposure and white balance differ" : "Exposure differs";
  const gains = gain.map((value) => value.toFixed(2)).join(" ");
  return (
    `${what}: the frame's red, green and blue are multiplied by ${gains} before the network looks. ` +
    `Lock the camera's ${balance ? "exposure and white balance" : "exposure"} if you can.`
  );
}

function light({ lightChange }) {
  if (lightChange < LIGHT) return "";
  return (
    `The light falls differently: one corner has changed by ${share(lightChange)} more than another. Take the plate ` +
    "at the same time of day and with the same lamps."
  );
}

function clipped({ clipped: white }) {
  if (white < CLIPPED) return "";
  return (
    `${share(white)} of the frame's values are white: things in front of white places can't be told from them by ` +
    "brightness. Expose less."
  );
}

function soft({ blur }) {
  if (Math.abs(blur) < BLUR) return "";
  const [what, other] = blur > 0 ? ["plate", "frame"] : ["frame", "plate"];
  return (
    `The ${what} is softer than the ${other}, as if blurred by ${Math.abs(blur).toFixed(1)} px. Use one focus, one ` +
    "lens setting and one resolution for both."
  );
}

function noisy({ plateNoise, frameNoise }) {
  if (Math.max(plateNoise, frameNoise) < NOISE) return "";
  return (
    `Noise: ${plateNoise.toFixed(1)} in the plate, ${frameNoise.toFixed(1)} in the frame (of 255). More light helps; ` +
    "a plate taken with this page's camera is the mean of several frames and has little."
  );
}

function crowded({ foreground }) {
  if (foreground < MUCH || foreground >= UNLIKE) return "";
  return (
    `${share(foreground)} of the picture differs from the plate. If nothing so large stands in front, the scene has ` +
    "changed: take a new plate."
  );
}
