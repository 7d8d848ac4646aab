"""Query parameters of the routes; unknown names are rejected."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from mien.io.frame_selection import FrameSelection
from mien.server import request_bodies
from mien.server.job import RESULTS, JobOptions
from mien.tracking.smoothing import TIME_CONSTANT

ResultName = Literal[*RESULTS]  # type: ignore[valid-type]  # mypy does not support unpacking here
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Smoothing = Annotated[Seconds, Field(le=60)]


class ImageQuery(BaseModel, extra="forbid"):
    """Parameters of `POST /analyze`."""

    model: str = Field("", description="A model name from /models; the default model if empty.")
    detector: str = Field("", description="yunet, or whole (the whole image is one face).")
    contempt: bool = Field(False, description="Keep the eighth emotion, if the model has it.")

    def analyzer_key(self) -> tuple[str, str, bool]:
        """The arguments of `AnalyzerCache.get`."""
        return self.model, self.detector, self.contempt


class LiveQuery(ImageQuery):
    """Parameters of `WS /live`."""

    smooth: Smoothing = Field(
        TIME_CONSTANT, description="Time constant of smoothing in seconds; 0 disables it."
    )


class VideoQuery(LiveQuery):
    """Parameters of `POST /videos`."""

    every: int = Field(1, ge=1, le=10_000, description="Analyze every n-th frame.")
    seconds: Seconds = Field(0.0, description="Seconds between analyzed frames.")
    start: Seconds = Field(0.0, description="Where to start, in seconds.")
    end: Seconds = Field(0.0, description="Where to end, in seconds; 0 is the end of the video.")
    name: str = Field("", description="File name of the video, unless the form has one.")
    to: list[ResultName] = Field(default=list(RESULTS), description="Result files to write.")

    def file_name(self) -> str:
        """The name without folders and unprintable characters."""
        return request_bodies.clean_file_name(self.name)

    def job_options(self) -> JobOptions:
        """The parameters as the options of a job."""
        selection = FrameSelection(self.every, self.seconds, self.start, self.end or math.inf)
        results = tuple(dict.fromkeys(self.to))
        return JobOptions(*self.analyzer_key(), selection, self.smooth, results)
