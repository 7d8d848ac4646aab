"""Query parameters of the routes; unknown names are rejected."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from mien.errors import UserError
from mien.io.frame_selection import FrameSelection
from mien.server import request_bodies
from mien.server.job import RESULT_FILES, JobOptions
from mien.tracking.smoothing import TIME_CONSTANT

ResultFileName = Literal[*RESULT_FILES]  # type: ignore[valid-type]  # mypy does not support unpacking here
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Smoothing = Annotated[Seconds, Field(le=60)]


class ImageQuery(BaseModel, extra="forbid"):
    """Parameters of `POST /analyze`."""

    model: str = Field("", description="Name of a model from /models; the default model if empty.")
    detector: str = Field(
        "",
        description="Name of a detector from /models, such as yunet, or whole to analyze the "
        "central square of the image as one face; the default detector if empty.",
    )
    contempt: bool = Field(
        False, description="Estimate the eighth emotion, contempt, if the model has it."
    )

    def analyzer_key(self) -> tuple[str, str, bool]:
        """Return the arguments of `AnalyzerCache.get`."""
        return self.model, self.detector, self.contempt


class LiveQuery(ImageQuery):
    """Parameters of `WS /live`."""

    smooth: Smoothing = Field(
        TIME_CONSTANT, description="Time constant of smoothing in seconds; 0 disables smoothing."
    )


class VideoQuery(LiveQuery):
    """Parameters of `POST /videos`."""

    every: int = Field(1, ge=1, le=10_000, description="Analyze every n-th frame.")
    seconds: Seconds = Field(
        0.0, description="Seconds between analyzed frames; 0 to use `every` instead."
    )
    start: Seconds = Field(0.0, description="Time at which the analysis starts, in seconds.")
    end: Seconds = Field(
        0.0, description="Time at which the analysis ends, in seconds; 0 for the end of the video."
    )
    name: str = Field("", description="File name of a video that is sent as raw bytes.")
    to: list[ResultFileName] = Field(
        default=list(RESULT_FILES), description="Result files to write."
    )

    def file_name(self) -> str:
        """Return the file name without folders and unprintable characters."""
        return request_bodies.clean_file_name(self.name)

    def job_options(self) -> JobOptions:
        """Return the parameters as options of a job.

        Raises:
            UserError: Both `every` and `seconds` are given, or the end is before the start.
        """
        end = self.end or math.inf
        if end < self.start:
            raise UserError(f"end={end:g} is before start={self.start:g}; give a later end.")
        selection = FrameSelection(self.every, self.seconds, self.start, end)
        result_files = tuple(dict.fromkeys(self.to))
        return JobOptions(
            model=self.model,
            detector=self.detector,
            contempt=self.contempt,
            selection=selection,
            smoothing=self.smooth,
            result_files=result_files,
        )
