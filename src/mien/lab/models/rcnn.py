"""Faster R-CNN with VGG16, as a classifier of face crops and as a detector in larger images.

Paper: Yamsani et al. 2023, "Facial Emotional Recognition Using Faster Regional Convolutional Neural
Network with VGG16 Feature Extraction Model", https://doi.org/10.1109/ICMNWC60182.2023.10435819;
Faster R-CNN is by Ren et al. 2015, https://arxiv.org/abs/1506.01497, VGG16 by Simonyan & Zisserman
2015, https://arxiv.org/abs/1409.1556.

Claims on FER2013: accuracy 78.22 %, precision 75.40 %, recall 80.20 %, specificity 85.90 % and F1
71.40 %. An F1 below both precision and recall is impossible for a single class.

The source states (as cited by Abdulkadir et al.): Faster R-CNN with VGG16, and these numbers.
Widths, image size, initial weights, boxes and training are unknown to us, and no code is public.
FER2013 has no boxes. Every image is the crop of a face, so the only true box is the whole image.

Our choices, where Ren et al. do not determine them:

- VGG16 up to its thirteenth convolution (conv5_3). The output sizes of poolings are rounded up, as
  in Caffe, so that the last feature map is 3 x 3 for faces of 33 to 48 pixels. Theirs has ImageNet
  weights and no batch norm; ours has random weights and therefore batch norm.
- RoI max pooling of the whole image to 7 x 7, and two dense layers of 4096 with ReLU and `dropout`.
- torchvision's region proposal network is trained with the whole image as the box. The sum of its
  two losses is `auxiliary`. Anchors have sides of 24, 48 and 96 pixels and three aspect ratios.
  Exported model files do not contain this network.
- `detector` makes a complete Faster R-CNN from a network. `benchmarks/canvases.py` trains and
  evaluates one on images with several faces.
- `slim` has a quarter of the widths of the convolutions and dense layers of 256, for CPUs.

Accuracy on PublicTest's labels: `slim` 57.1 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes; the multiply-adds do not include the region proposal network:

| variant | parameters | multiply-adds |
|---------|-----------:|--------------:|
| `full`  |   136.68 M |         822 M |
| `slim`  |     2.75 M |          46 M |
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VARIANTS = {"full": (64, 4096), "slim": (16, 256)}
"""Width of the first block, and of the two dense layers."""

BLOCKS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Per block: width relative to the first block, and number of convolutions."""

STRIDE = 16
"""Stride of the last feature map, in pixels."""

CELLS = 7
"""Width and height of the result of RoI pooling."""

ANCHOR_SIZES = (24, 48, 96)
"""Sides of the square anchors in pixels; the other anchors have the same areas."""

ASPECT_RATIOS = (0.5, 1.0, 2.0)
"""Height / width of the anchors."""


class RCNN(nn.Module):
    """Faster R-CNN as a classifier: the only box is the whole image."""

    def __init__(self, width: int, dense: int, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.features = vgg16(width, channels)
        self.rpn = proposal_network(8 * width)
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width * CELLS**2, dense), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(dense, dense), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.head = nn.Linear(dense, classes)
        self.auxiliary: Tensor | float = 0.0

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, and reset the additional loss."""
        self.auxiliary = 0.0
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        features = self.features(x)
        if self.training:
            self.auxiliary = proposal_loss(self.rpn, features, x.shape[3])
        return self.head(self.dense(roi_pool_image(features)))


class Features(nn.Sequential):
    """A backbone with the attribute `out_channels`, which torchvision requires."""

    out_channels: int


def vgg16(width: int, channels: int) -> Features:
    """VGG16 up to conv5_3: (N, channels, H, W) -> (N, 8 width, H / 16, W / 16), rounded up."""
    layers = Features()
    for number, (factor, depth) in enumerate(BLOCKS):
        if number:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        for _ in range(depth):
            layer = nn.Conv2d(channels, width * factor, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            layers.extend([layer, nn.BatchNorm2d(width * factor), nn.ReLU()])
            channels = width * factor
    layers.out_channels = channels
    return layers


def proposal_network(width: int) -> Any:
    """Region proposal network for `width` channels, with our anchors and torchvision's defaults."""
    from torchvision.models.detection import rpn

    anchors = rpn.AnchorGenerator((ANCHOR_SIZES,), (ASPECT_RATIOS,))
    return rpn.RegionProposalNetwork(
        anchors,
        rpn.RPNHead(width, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=256, positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": 1000}, nms_thresh=0.7,
    )  # fmt: skip


def proposal_loss(rpn: Any, features: Tensor, side: int) -> Tensor:
    """Loss of objectness plus loss of boxes, where the only box is the whole image.

    Ren et al. sample 256 anchors per image. Face crops have fewer (81 at 48 pixels), so all anchors
    with a label are used.

    Args:
        rpn: The region proposal network.
        features: (N, C, h, w) feature maps of the images.
        side: Width and height of the images in pixels.

    Returns:
        The loss, a scalar.
    """
    from torchvision.models.detection.rpn import concat_box_prediction_layers

    count = len(features)
    objectness, boxes = concat_box_prediction_layers(*rpn.head([features]))
    labels, targets = anchor_targets(tuple(features.shape[2:]), side, features.device)
    labels, targets = labels.repeat(count), targets.repeat(count, 1)
    used, positive = (labels >= 0).float(), (labels == 1).float()
    objectness_loss = F.binary_cross_entropy_with_logits(
        objectness.float().flatten(), labels.clamp(min=0), reduction="none"
    )
    # torchvision's beta, and its division of both losses by the number of used anchors.
    box_loss = F.smooth_l1_loss(boxes.float(), targets, beta=1 / 9, reduction="none").sum(1)
    return (objectness_loss * used + box_loss * positive).sum() / used.sum()


@lru_cache(maxsize=8)
def anchor_targets(
    map_size: tuple[int, int], side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Match the anchors of an image with its only box, the whole image.

    The targets depend only on the sizes, so they are cached. They are computed on the CPU, because
    matching would synchronize with a GPU.

    Args:
        map_size: Height and width of the feature map.
        side: Width and height of the image in pixels.
        device: Device of the result.

    Returns:
        labels: (A,) float32; 1 for a face, 0 for background, -1 for anchors that are not used.
        targets: (A, 4) float32; the box, encoded relative to each anchor.
    """
    from torchvision.models.detection.image_list import ImageList

    rpn = proposal_network(1)  # anchors do not depend on the number of channels
    image = ImageList(torch.empty(1, 1, side, side), [(side, side)])
    anchors = rpn.anchor_generator(image, [torch.empty(1, 1, *map_size)])
    truth = torch.tensor([[0.0, 0.0, side, side]])
    labels, matched = rpn.assign_targets_to_anchors(anchors, [{"boxes": truth}])
    targets = rpn.box_coder.encode(matched, anchors)
    return labels[0].float().to(device), targets[0].to(device)


def roi_pool_image(x: Tensor) -> Tensor:
    """RoI max pooling of the whole image: (N, C, h, w) -> (N, C, CELLS, CELLS).

    The result equals that of adaptive max pooling, which ONNX lacks. On maps of up to CELLS x CELLS
    points, a cell covers one or two points per axis: its first and its last.
    """
    if max(x.shape[2:]) > CELLS:
        return F.adaptive_max_pool2d(x, CELLS)
    for dim in (2, 3):
        size = x.shape[dim]
        starts = [k * size // CELLS for k in range(CELLS)]
        ends = [math.ceil((k + 1) * size / CELLS) - 1 for k in range(CELLS)]
        first, last = torch.tensor([starts, ends], device=x.device)
        x = torch.maximum(x.index_select(dim, first), x.index_select(dim, last))
    return x


class RoIPooling(nn.Module):
    """RoI max pooling of boxes in images, with the interface of torchvision's detectors."""

    # Maps (N, C, h, w); per image, boxes (K, 4) in pixels -> (sum of all K, C, CELLS, CELLS)
    def forward(
        self, maps: dict[str, Tensor], boxes: list[Tensor], _: list[tuple[int, int]]
    ) -> Tensor:
        from torchvision.ops import roi_pool

        return roi_pool(maps["0"].float(), boxes, CELLS, 1 / STRIDE)


def detector(model: RCNN, side: int, classes: int = 7) -> Any:
    """Make a complete Faster R-CNN with the features, proposals and dense layers of a network.

    Args:
        model: The network, whose layers are shared, not copied.
        side: Longer side in pixels to which images are resized.
        classes: Number of emotions.

    Returns:
        A torchvision `FasterRCNN`, called with a list of (C, H, W) standardized images:

        - In training mode it also takes a list of targets, one per image with F faces: `{"boxes":
          (F, 4), "labels": (F,)}`. Boxes are left, top, right and bottom in pixels of the image.
          Labels are from 1, since 0 is the background. It returns losses by name, over 128 boxes
          per image.
        - In evaluation mode it returns `boxes`, `labels` and `scores` of each image, from 300
          proposals.
    """
    from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor

    channels = cast("nn.Conv2d", model.features[0]).in_channels
    faster_rcnn = FasterRCNN(
        model.features,
        min_size=side, max_size=side, image_mean=[0.0] * channels, image_std=[1.0] * channels,
        rpn_anchor_generator=model.rpn.anchor_generator, rpn_head=model.rpn.head,
        box_head=model.dense, box_predictor=FastRCNNPredictor(model.head.in_features, classes + 1),
        box_batch_size_per_image=128, rpn_post_nms_top_n_test=300,
    )  # fmt: skip
    faster_rcnn.roi_heads.box_roi_pool = RoIPooling()
    return faster_rcnn


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant as a classifier."""
    return RCNN(*VARIANTS[variant], channels, classes, dropout)
