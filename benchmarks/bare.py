"""The bare dozen lines that mien is measured against: YuNet and ONNX Runtime, nothing else."""

import sys

import cv2

from mien.onnx_runtime import onnxruntime

picture, yunet, model, repeats = *sys.argv[1:4], int(sys.argv[4])
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
detector = cv2.FaceDetectorYN.create(yunet, "", (0, 0), 0.7)
for _ in range(repeats):
    pixels = cv2.imread(picture)
    detector.setInputSize((pixels.shape[1], pixels.shape[0]))
    faces = detector.detect(pixels)[1]
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    for x, y, w, h in faces[:, :4].astype(int):
        crop = cv2.resize(grey[y : y + h, x : x + w], (48, 48), interpolation=cv2.INTER_AREA)
        print(session.run(None, {"faces": crop[None, None]})[0].argmax())
