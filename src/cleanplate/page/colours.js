// Colours: depth as colours, near = red, far = dark blue, on a scale of ln depth; unknown = grey.
//
// The map is turbo (Mikhailov, 2019, Apache-2.0), reversed: 256 colours of three bytes.

const TABLE =
  "egQDfgUCgQYChQcCiAgCiwkCjgoBkgsBlQ0BmA4Bmw8BnhABoRIBpBMBpxQBqRYBrBcBrxgBshoBtBsBtx0CuR4CvCACviECwSMCwyUDxSYD" +
  "yCgDyioEzCsEzi0E0C8F0jEF1DMF1jUG2DcG2jkH3DsH3T0I3z8I4UEJ4kMK5EUK5UcL50kM6EsM6k4N61AO7FMP7VUQ71gR8FsS8V0T8mAU" +
  "82MV9GYX9WkY9mwZ928a+HIc+XUd+Xge+nsf+34h+4Ei/IQj/Icl/Yom/Y0n/pAp/pMq/pYr/pks/pst/p4v/qEw/qQx/qcy/qkz/aw0/a41" +
  "/LE2/LM2+7Y3+7g4+ro5+bw5+L4598E69sM69cU69Mc68sk68cs678067s867NE669M56dU559c55dk449s44d0339833eA32+I22eQ21+U1" +
  "1Oc10uk10Oo0zew0y+00yO80xvA0w/E0wfM0vvQ0vPU0ufY1t/c1tPg2sfk2r/o3rPs4qfs5p/w6pPw8of09n/0/nP5Amf5Clv5Ekv9Hj/9J" +
  "i/9LiP9OhP9RgP9Tff9Wef5Zdf5ccf5fbf5iaf1mZf1pYfxsXfxvWftzVfp2Uvp6Tvl9SviARviEQ/eHP/aKPPWOOPSRNfOUMvKYL/GbLPCe" +
  "Ku+hJ+6kJeynIuuqIOqsH+mvHeeyHOa0GuS2GeO5GeK7GOC9GN7AGN3CGNvFGNnIGNfKGdXNGtTQGtLSG9DVHM3YHsvaH8ndIMffIsXiI8Pk" +
  "JcDnJ77pKLzrKrnuLLfwLrTyL7L0Ma/1M633Nav4N6j6OKX7OqP8O6D9PZ7+Ppv+QJn/QZb/QpT/Q5H+RI/+RYz9RYr8Rof7RoX6RoL4RoD2" +
  "Rn30R3vyR3jwR3buR3PrR3HpR27mRmvjRmngRmbdRmTaRmHWRV7TRVzPRVnLRFbHRFTDRFG/Q066Qku1QkmxQUasQUOnQECiPz6cPzuXPjiR" +
  "PTWLPDKGOy+AOi15OSpzOCdtNyRmNiFfNR5YNBtRMxhKMhVDMBI7";

const COLOURS = Uint8Array.from(atob(TABLE), (letter) => letter.charCodeAt(0));
const UNKNOWN = [128, 128, 128];

/** Depth in metres as RGBA bytes; near, far: the ends of the scale. */
export function colourDepth(depth, near, far) {
  const pixels = new Uint8ClampedArray(4 * depth.length);
  const scale = 255 / Math.log(far / near);
  const start = Math.log(near);
  for (let i = 0; i < depth.length; i++) {
    const known = Number.isFinite(depth[i]) && depth[i] > 0;
    const entry = 3 * Math.floor(Math.min(255, Math.max(0, (Math.log(depth[i]) - start) * scale)) + 0.5);
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = known ? COLOURS[entry + c] : UNKNOWN[c];
    pixels[4 * i + 3] = 255;
  }
  return pixels;
}

/** The ends of a scale that suits this depth, with room for what comes nearer later. */
export function scaleOf(depth) {
  const sorted = Float32Array.from(depth).sort();
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return [at(0.01) * 0.7, at(0.99) * 1.1];
}
