// The emotion network of @vladmandic/human on faces from standard input; used by peers.py.
//
// node peers.js PACKAGE_FOLDER < faces.f32 > probabilities.f32
// stdin: (N, 64, 64) float32 in [-1, 1]; stdout: (N, 7) float32. Needs @tensorflow/tfjs and
// @tensorflow/tfjs-backend-wasm.

const fs = require("node:fs");
const path = require("node:path");
const tf = require("@tensorflow/tfjs");
require("@tensorflow/tfjs-backend-wasm");

const SIDE = 64;
const CLASSES = 7;
const BATCH = 32;

async function loadModel(folder) {
  const model = JSON.parse(fs.readFileSync(path.join(folder, "models", "emotion.json"), "utf8"));
  const weights = fs.readFileSync(path.join(folder, "models", "emotion.bin"));
  return tf.loadGraphModel({
    load: async () => ({
      modelTopology: model.modelTopology,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: weights.buffer.slice(
        weights.byteOffset,
        weights.byteOffset + weights.byteLength,
      ),
    }),
  });
}

async function main() {
  await tf.setBackend("wasm");
  const model = await loadModel(process.argv[2]);
  const bytes = fs.readFileSync(0);
  const faces = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const pixels = SIDE * SIDE;
  const count = faces.length / pixels;
  const probabilities = new Float32Array(count * CLASSES);
  for (let start = 0; start < count; start += BATCH) {
    const end = Math.min(start + BATCH, count);
    const output = tf.tidy(() => {
      const batch = faces.slice(start * pixels, end * pixels);
      return model.execute(tf.tensor4d(batch, [end - start, SIDE, SIDE, 1]));
    });
    probabilities.set(await output.data(), start * CLASSES);
    output.dispose();
  }
  fs.writeFileSync(1, Buffer.from(probabilities.buffer));
}

main();
