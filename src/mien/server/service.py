"""What the paths share."""

from __future__ import annotations

import asyncio
from typing import Any

from mien.server.images import Pictures
from mien.server.jobs import Jobs
from mien.server.live import Live
from mien.server.metrics import Metrics
from mien.server.micro_batching import Analyzers
from mien.server.settings import Settings

SWEEP = 15.0
"""Seconds between two looks for videos whose time is over."""


class Service:
    """What the paths share: the analyzers, what is being done with them, and whether it ends."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.stopping = asyncio.Event()
        self.analyzers = Analyzers(settings, self.metrics.batch_faces.observe)
        self.analyzers.take()
        self.pictures = Pictures(settings, self.analyzers, self.metrics)
        self.jobs = Jobs(settings, self.analyzers, self.metrics)
        self.live = Live(settings, self.metrics, self.stopping)
        room, gauge = self.pictures.room, self.metrics.gauge
        gauge("mien_pictures_waiting", "Pictures that wait or are analysed.", lambda: room.taken)
        gauge("mien_body_bytes", "Bytes of request bodies in memory.", lambda: room.held)
        gauge("mien_live_connections", "Live connections.", lambda: self.live.connections)
        gauge("mien_videos", "Videos kept, whatever their state.", self.jobs.count)

    def close(self) -> None:
        """Finish what has begun, stop the videos, and leave nothing on disk."""
        self.pictures.close()
        self.live.close()
        self.jobs.close()

    def models(self) -> dict[str, Any]:
        """What can be asked for, and what is used when nothing is said."""
        analyzers, found = self.analyzers, []
        for name in analyzers.models:
            spec = analyzers.classifier(name).spec
            means = spec.card.get("means", "")
            found.append({"name": name, "labels": list(spec.labels), "means": means})
        return {
            "default": analyzers.model,
            "models": found,
            "detector": analyzers.detector,
            "detectors": analyzers.detectors(),
        }

    async def sweep(self) -> None:
        """Remove videos whose time is over, again and again."""
        while True:
            await asyncio.sleep(SWEEP)
            await asyncio.to_thread(self.jobs.expire)
