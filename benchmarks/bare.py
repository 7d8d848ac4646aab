"""The yardstick: YuNet and the classifier in ONNX Runtime, Pillow, and nothing else.

    python benchmarks/bare.py PICTURE YUNET MODEL REPEATS

YUNET is the prepared graph of the package, (height, width, 3) uint8 RGB. Default threads, 640
pixels as in mien, resized as in mien. Of overlapping boxes only the most confident is kept.
"""

import os
import sys

import numpy as np
from PIL import Image

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

picture, yunet, model, repeats = *sys.argv[1:4], int(sys.argv[4])
detector = onnxruntime.InferenceSession(yunet, providers=["CPUExecutionProvider"])
classifier = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
names = [f"{kind}_{stride}" for stride in (8, 16, 32) for kind in ("cls", "obj", "bbox")]
for _ in range(repeats):
    image = Image.open(picture).convert("RGB")
    scale = min(1.0, 640 / max(image.size))
    size = [round(n * scale) for n in image.size]
    small = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0) if scale < 1 else image
    padded = np.zeros((-(-size[1] // 32) * 32, -(-size[0] // 32) * 32, 3), np.uint8)
    padded[: size[1], : size[0]] = np.asarray(small)
    found = []
    answers = detector.run(names, {"pixels": padded})
    for level, stride in enumerate((8, 16, 32)):
        classes, objects, boxes = (a[0] for a in answers[3 * level : 3 * level + 3])
        confidence = np.sqrt(classes * objects)[:, 0]
        for cell in np.nonzero(confidence > 0.7)[0]:
            row, column = divmod(int(cell), padded.shape[1] // stride)
            x, y = (column + boxes[cell, 0]) * stride, (row + boxes[cell, 1]) * stride
            w, h = np.exp(boxes[cell, 2:]) * stride
            found.append((confidence[cell], x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    kept = []
    for face in sorted(found, reverse=True):
        if all(abs(face[1] - k[1]) + abs(face[2] - k[2]) > 0.5 * (k[3] - k[1]) for k in kept):
            kept.append(face)
    grey = image.convert("L")
    for face in kept:
        box = [float(v) / scale for v in face[1:]]
        crop = np.asarray(grey.resize((48, 48), Image.Resampling.BOX, box=box))
        print(classifier.run(None, {"faces": crop[None, None]})[0].argmax())
