// Header: what a model file says of itself, read from its ONNX bytes.
//
// An ONNX file is a protocol buffer; its metadata are field 14 of the outermost message, pairs of a key (field 1) and
// a value (field 2). Ours has the key "cleanplate" and JSON: the kind of depth, whether the model sees grey only, ...
// https://protobuf.dev/programming-guides/encoding, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

const METADATA = 14;
const WORDS = new TextDecoder();

/** The JSON under "cleanplate", or {} of a file that has none. */
export function header(bytes) {
  for (const [number, pair] of fields(bytes)) {
    if (number !== METADATA || !(pair instanceof Uint8Array)) continue;
    const parts = Object.fromEntries(fields(pair));
    if (parts[1] && WORDS.decode(parts[1]) === "cleanplate") return JSON.parse(WORDS.decode(parts[2]));
  }
  return {};
}

/** The fields of one message: [number, bytes of it]; numbers, which we don't need, come as undefined. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (!(byte & 128)) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key % 8;
    if (wire === 2) {
      const length = varint();
      yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
      at += length;
    } else if (wire === 0) varint();
    else at += wire === 1 ? 8 : 4;
  }
}
