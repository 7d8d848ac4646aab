"""The state that all routes share."""

from __future__ import annotations

import asyncio
from typing import Any

from mien.onnx_runtime import return_memory
from mien.server.images import ImageAnalysis
from mien.server.job_manager import JobManager
from mien.server.live import LiveAnalysis
from mien.server.metrics import Metrics
from mien.server.micro_batching import AnalyzerCache
from mien.server.settings import Settings

CLEAN_UP_SECONDS = 15.0
"""Time between two deletions of expired videos."""


class Service:
    """Analyzers, image analysis, video jobs, live connections and metrics of one application.

    `stopping` is set on shutdown. The default model and detector are loaded on construction, which
    raises `UserError` if either is unknown.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.stopping = asyncio.Event()
        self.analyzers = AnalyzerCache(settings, self.metrics.batch_faces.observe)
        self.analyzers.get()
        self.images = ImageAnalysis(settings, self.analyzers, self.metrics)
        self.jobs = JobManager(settings, self.analyzers, self.metrics)
        self.live = LiveAnalysis(settings, self.metrics, self.images.memory, self.stopping)
        self._add_gauges()

    def _add_gauges(self) -> None:
        gauge, admission = self.metrics.gauge, self.images.admission
        gauge("mien_images_pending", "Images waiting or being analyzed.", lambda: admission.images)
        gauge(
            "mien_request_body_bytes",
            "Bytes of request bodies in memory.",
            lambda: admission.body_bytes,
        )
        gauge("mien_live_connections", "Open live connections.", lambda: self.live.connections)
        gauge("mien_videos_stored", "Videos stored, in any state.", self.jobs.count)

    def is_ready(self) -> bool:
        """Whether another image would be admitted now."""
        admission = self.images.admission
        return not self.stopping.is_set() and admission.images < admission.max_images

    def close(self) -> None:
        """Finish the images in progress, cancel videos, and remove all files."""
        self.images.close()
        self.live.close()
        self.jobs.close()

    def models(self) -> dict[str, Any]:
        """The models and detectors that requests may name, and the defaults: `schemas.Models`."""
        models = []
        for name in self.analyzers.models:
            spec = self.analyzers.classifier(name).spec
            target = spec.card.get("target", "")
            models.append({"name": name, "labels": list(spec.labels), "target": target})
        return {
            "default": self.analyzers.default_model,
            "models": models,
            "detector": self.analyzers.default_detector,
            "detectors": self.analyzers.detectors(),
        }

    async def clean_up(self) -> None:
        """Delete expired jobs and return memory periodically, until cancelled."""
        while True:
            await asyncio.sleep(CLEAN_UP_SECONDS)
            await asyncio.to_thread(self.jobs.delete_expired)
            await asyncio.to_thread(return_memory)
