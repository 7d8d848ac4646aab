"""State that all routes share."""

from __future__ import annotations

import asyncio
from typing import Any

from mien.onnx_runtime import return_memory
from mien.server.analyzer_cache import AnalyzerCache
from mien.server.images import ImageAnalysis
from mien.server.job_manager import JobManager
from mien.server.live import LiveAnalysis
from mien.server.metrics import Metrics
from mien.server.settings import Settings

CLEANUP_INTERVAL_SECONDS = 15.0
"""Interval at which expired jobs are deleted and freed memory is returned to the system."""


class Backend:
    """Analyzers, image analysis, video jobs, live connections and metrics of one application.

    The constructor loads the default model and detector.

    Attributes:
        shutdown_event: Event that is set when the server starts to shut down.

    Raises:
        UserError: The default model or detector is unknown, or the model cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.shutdown_event = asyncio.Event()
        self.analyzers = AnalyzerCache(settings, self.metrics.batch_faces.observe)
        self.analyzers.get()
        self.images = ImageAnalysis(settings, self.analyzers, self.metrics)
        self.jobs = JobManager(settings, self.analyzers, self.metrics)
        self.live = LiveAnalysis(settings, self.metrics, self.images.memory, self.shutdown_event)
        self._add_gauges()

    def _add_gauges(self) -> None:
        add_gauge, admission = self.metrics.add_gauge, self.images.admission
        add_gauge(
            "mien_images_in_progress",
            "Images that are queued or being analyzed.",
            lambda: admission.images_in_progress,
        )
        add_gauge(
            "mien_request_body_bytes",
            "Memory of all request bodies and their copies, in bytes.",
            lambda: admission.total_body_bytes,
        )
        add_gauge("mien_live_connections", "Open live connections.", lambda: self.live.connections)
        add_gauge("mien_videos_stored", "Stored videos in any state.", self.jobs.count)

    def is_ready(self) -> bool:
        """Return whether another image would be admitted now."""
        admission = self.images.admission
        has_capacity = admission.images_in_progress < admission.max_images_in_progress
        return has_capacity and not self.shutdown_event.is_set()

    def close(self) -> None:
        """Cancel queued images and live frames and all video jobs; delete the files of the jobs."""
        self.images.close()
        self.live.close()
        self.jobs.close()

    def models(self) -> dict[str, Any]:
        """Return the available models and detectors, and the defaults, as in `schemas.Models`."""
        models = []
        for name in self.analyzers.models:
            spec = self.analyzers.classifier(name).spec
            target = str(spec.card.get("target", ""))
            models.append({"name": name, "labels": list(spec.labels), "target": target})
        return {
            "default": self.analyzers.default_model,
            "models": models,
            "detector": self.analyzers.default_detector,
            "detectors": self.analyzers.detectors(),
        }

    async def clean_up(self) -> None:
        """Periodically delete expired jobs and return freed memory to the operating system."""
        while True:
            await asyncio.sleep(CLEANUP_INTERVAL_SECONDS)
            await asyncio.to_thread(self.jobs.delete_expired)
            await asyncio.to_thread(return_memory)
