"""The "is this a face?" gate of the detector `haar`: trains it, and measures what it gains.

    python benchmarks/gate.py train --data fer2013/     # writes src/mien/weights/_gate.onnx
    python benchmarks/gate.py measure --data fer2013/   # prints the table, writes results/

Faces: FER2013's Training faces (without those on which FER+ raters saw none), jittered as the
cascade's boxes are. Others: pieces of faces (shifted, too close, too far), scrambled faces, and
what the cascade itself takes for faces in photographs without people. Measured on PublicTest
faces in scenes over photographs that training did not see.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import scenes
from sklearn.datasets import load_sample_image

from mien.contract import crop
from mien.detectors import haar, yunet
from mien.lab import data, runs
from mien.lab.data import Samples

ROOT = Path(__file__).parent.parent

SIDE = 24
CARD = {
    "means": "how likely a 24 x 24 grey crop is a face",
    "data": "FER2013 Training faces; photographs without people from scikit-image and scikit-learn",
    "made_by": "benchmarks/gate.py train, seed 0",
}
HELD_OUT = ("chelsea", "coffee", "rocket", "motorcycle_left", "brick")
CASCADE = "haarcascade_frontalface_default.xml"


def grounds(held_out: bool) -> list[np.ndarray]:
    """The photographs for measuring, or for training."""
    named = dict(zip(scenes.BACKGROUNDS, scenes.backgrounds(), strict=True))
    chosen = [pixels for name, pixels in named.items() if (name in HELD_OUT) == held_out]
    return [*chosen, load_sample_image("china.jpg" if held_out else "flower.jpg")]


def around(picture: np.ndarray, centre: np.ndarray, side: float) -> np.ndarray:
    """A square of an RGB picture, cut as the detector cuts it: (SIDE, SIDE) uint8."""
    x, y = centre - side / 2
    return crop(picture, (x, y, side, side), SIDE, 1)[0]


def coloured(grey: np.ndarray) -> np.ndarray:
    """Grey faces as RGB: (N, H, W) -> (N, H, W, 3)."""
    return grey[..., None].repeat(3, -1)


def positives(faces: np.ndarray, count: int, dice: np.random.Generator) -> np.ndarray:
    """Faces, moved and scaled as the cascade's boxes are: (count, SIDE, SIDE)."""
    crops = []
    for face in coloured(faces[dice.integers(0, len(faces), count)]):
        centre = 24 + dice.normal(0, 2.5, 2)
        cut = around(face, centre, 48 * np.exp(dice.normal(0, 0.1)))
        crops.append(cut[:, ::-1] if dice.random() < 0.5 else cut)
    return np.stack(crops)


def pieces(faces: np.ndarray, count: int, dice: np.random.Generator) -> np.ndarray:
    """What is not a face though it is made of one: shifted, too close, too far, scrambled."""
    crops = []
    for face in coloured(faces[dice.integers(0, len(faces), count)]):
        kind = dice.integers(0, 4)
        if kind == 0:
            angle, far = dice.uniform(0, 2 * np.pi), dice.uniform(20, 30)
            cut = around(face, 24 + far * np.array([np.cos(angle), np.sin(angle)]), 48)
        elif kind == 1:
            cut = around(face, dice.uniform(8, 40, 2), dice.uniform(8, 20))
        elif kind == 2:
            cut = around(face, dice.uniform(0, 48, 2), dice.uniform(130, 200))
        else:
            tiles = face.reshape(4, 12, 4, 12, 3).swapaxes(1, 2).reshape(16, 12, 12, 3)
            mixed = dice.permutation(tiles).reshape(4, 4, 12, 12, 3).swapaxes(1, 2)
            mixed = np.ascontiguousarray(mixed.reshape(48, 48, 3))
            cut = around(mixed, np.array([24.0, 24.0]), 48)
        crops.append(cut)
    return np.stack(crops)


def fooled(cascade: cv2.CascadeClassifier, count: int, dice: np.random.Generator) -> np.ndarray:
    """What the cascade takes for faces where there are none, and anything: (N, SIDE, SIDE)."""
    crops: list[np.ndarray] = []
    pictures = grounds(held_out=False)
    for _ in range(300):
        picture = pictures[dice.integers(len(pictures))]
        spin = cv2.getRotationMatrix2D(
            (picture.shape[1] / 2, picture.shape[0] / 2), dice.uniform(0, 360), dice.uniform(0.5, 2)
        )
        turned = cv2.warpAffine(picture, spin, (480, 480), borderMode=cv2.BORDER_REFLECT_101)
        turned = np.clip(turned * dice.uniform(0.6, 1.5) + dice.uniform(-40, 40), 0, 255)
        turned = turned.astype(np.uint8)
        grey = cv2.cvtColor(turned, cv2.COLOR_RGB2GRAY)
        found = cascade.detectMultiScale(grey, 1.2, 0, minSize=(24, 24))
        for x, y, w, h in dice.permutation(found)[:40]:
            crops.append(around(turned, np.array([x + w / 2, y + h / 2]), w))
        for _ in range(len(found[:35]) + 20):
            side = float(np.exp(dice.uniform(np.log(24), np.log(300))))
            crops.append(around(turned, dice.uniform(0, 480, 2), side))
    return np.stack(crops)[dice.permutation(len(crops))[:count]]


def collect(train: Samples, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Crops (N, SIDE, SIDE) uint8 and whether each is a face (N,)."""
    nobody = train.votes[:, 9] >= 5
    faces = train.faces[train.votes[:, 9] == 0]
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / CASCADE))
    yes = positives(faces, 40_000, dice)
    no = [pieces(faces, 20_000, dice), fooled(cascade, 20_000, dice)]
    no.append(positives(train.faces[nobody], 1000, dice))
    others = np.concatenate(no)
    return np.concatenate([yes, others]), np.repeat([1.0, 0.0], [len(yes), len(others)])


def train(root: Path, out: Path, epochs: int = 8) -> None:
    """Train the gate and write it."""
    import onnx
    import torch
    from torch import nn
    from torch.nn import functional as F

    from mien.contract import INPUT, OUTPUT

    torch.manual_seed(0)
    dice = np.random.default_rng(0)
    crops, target = collect(data.load(root)["train"], dice)
    faces = torch.as_tensor(crops)[:, None]
    truth = torch.as_tensor(target, dtype=torch.float32)

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for before, after in ((1, 16), (16, 32), (32, 64)):
                layers += [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)]
                layers += [nn.ReLU(), nn.MaxPool2d(2)]
            self.features, self.head = nn.Sequential(*layers), nn.Linear(64 * 9, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """(N, 1, 24, 24) uint8 -> (N, 1) how likely each is a face."""
            x = x.float()
            x = x - x.mean((2, 3), keepdim=True)
            x = x / (x.pow(2).mean((2, 3), keepdim=True).sqrt() + 8)
            return self.head(F.dropout(self.features(x).flatten(1), 0.3, self.training)).sigmoid()

    gate = Gate()
    steps = epochs * (len(faces) // 256)
    optimizer = torch.optim.AdamW(gate.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        order = torch.randperm(len(faces))[: len(faces) // 256 * 256]
        for which in order.split(256):
            said = gate(faces[which])[:, 0]
            loss = F.binary_cross_entropy(said, truth[which] * 0.98 + 0.01)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * 256 / len(order)
        print(f"epoch {epoch + 1}: loss {total:.4f}", flush=True)
    program = torch.onnx.export(
        gate.eval(), (faces[:2],), dynamo=True, input_names=[INPUT], output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("N", min=1)},), verbose=False,
    )  # fmt: skip
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]
    onnx.helper.set_model_props(proto, {"mien.card": json.dumps(CARD)})
    onnx.save(proto, out)
    print(f"{out}: {out.stat().st_size:,} bytes")


class Raw:
    """The cascade as everybody uses it."""

    def __init__(self, longest: int, neighbours: int) -> None:
        self.cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / CASCADE))
        self.longest, self.neighbours = longest, neighbours

    def __call__(self, pixels: np.ndarray) -> list:
        """(H, W, 3) uint8 RGB -> boxes, all with confidence 1."""
        scale = min(1.0, self.longest / max(pixels.shape[:2]))
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = self.cascade.detectMultiScale(small, 1.1, self.neighbours, minSize=(24, 24))
        return [(tuple(np.asarray(box) / scale), 1.0) for box in found]


def measure(root: Path, out: Path) -> None:
    """Recall, false boxes and time of the detectors on scenes, and false boxes without faces."""
    dice = np.random.default_rng(1)
    val = data.load(root)["val"]
    faces = val.faces[val.votes[:, 9] == 0]
    made = []
    for pixels in grounds(held_out=True):
        # Photographs as cameras give them are larger than these.
        large = cv2.resize(pixels, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
        for count in (0, 1, 2, 4, 4, 9, 9, 9):
            which = dice.integers(0, len(faces), count)
            made.append(scenes.compose(faces, which, large, dice) if count else
                        scenes.Scene(large, np.zeros((0, 4)), which))  # fmt: skip
    detectors = {
        "haar, as it comes (1.1, 5), full size": Raw(10_000, 5),
        f"haar, {haar.LONGEST} pixels (1.1, {haar.NEIGHBOURS})": Raw(haar.LONGEST, haar.NEIGHBOURS),
        "haar, the same and the gate (mien)": haar.load(),
        "yunet": yunet.load(),
    }
    rows = {}
    for name, detect in detectors.items():
        found = false = total = 0
        began = time.perf_counter()
        for scene in made:
            hit: set[int] = set()
            for box, _ in detect(scene.pixels):
                overlaps = scenes.overlap(np.asarray(box), scene.squares)
                if len(overlaps) and overlaps.max() > 0.3:
                    hit.add(int(overlaps.argmax()))
                else:
                    false += 1
            found += len(hit)
            total += len(scene.squares)
        spent = (time.perf_counter() - began) / len(made)
        rows[name] = {"recall": found / total, "false_boxes": false, "ms": 1000 * spent}
        print(f"{name:40s} recall {found / total:.3f}  false {false:4d}  {1000 * spent:6.1f} ms")
    runs.write_json(out, {
        "what": "detectors on composed scenes", "scenes": len(made), "faces": total,
        "data": "PublicTest faces over photographs without people", "rows": rows,
        "measured": runs.about(),
    })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("train", "measure"))
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    if options.do == "train":
        train(options.data, haar.GATE)
    else:
        measure(options.data, ROOT / "results" / "detectors.json")
