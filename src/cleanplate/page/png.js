// PNG: pictures encoded by hand, because a canvas knows neither 16 bits nor colours under a low alpha.
//
// png(width, height, channels, values) -> Blob. channels: 1 = grey, 4 = RGBA, not premultiplied. values: Uint8Array, or
// Uint16Array for 16 bits. Each row is stored as its difference from the one above (filter 2), then deflated.
// https://www.w3.org/TR/png-3

const COLOUR_TYPE = { 1: 0, 3: 2, 4: 6 };
const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const UP = 2;

const REMAINDERS = new Uint32Array(256).map((_, n) => {
  let remainder = n;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  return remainder;
});

/** The file of a picture. */
export async function png(width, height, channels, values) {
  const bits = values.BYTES_PER_ELEMENT * 8;
  const start = new DataView(new ArrayBuffer(13));
  start.setUint32(0, width);
  start.setUint32(4, height);
  start.setUint8(8, bits);
  start.setUint8(9, COLOUR_TYPE[channels]);
  const rows = filtered(bits === 16 ? bigEndian(values) : values, (width * channels * bits) / 8, height);
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const parts = [
    SIGNATURE,
    chunk("IHDR", new Uint8Array(start.buffer)),
    chunk("IDAT", data),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Blob(parts, { type: "image/png" });
}

function bigEndian(values) {
  const view = new DataView(new ArrayBuffer(2 * values.length));
  values.forEach((value, i) => view.setUint16(2 * i, value));
  return new Uint8Array(view.buffer);
}

function filtered(bytes, stride, height) {
  const rows = new Uint8Array((stride + 1) * height);
  for (let y = 0; y < height; y++) {
    const [from, to] = [y * stride, y * (stride + 1)];
    rows[to] = UP;
    for (let x = 0; x < stride; x++) rows[to + 1 + x] = bytes[from + x] - (y ? bytes[from + x - stride] : 0);
  }
  return rows;
}

function chunk(name, data) {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(data, 8);
  let remainder = 0xffffffff;
  for (let i = 4; i < bytes.length - 4; i++) remainder = REMAINDERS[(remainder ^ bytes[i]) & 255] ^ (remainder >>> 8);
  view.setUint32(bytes.length - 4, ~remainder >>> 0);
  return bytes;
}
