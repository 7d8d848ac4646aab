"""What the queries of requests may say; what one mistypes, it is told."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from mien.io.frame_selection import FrameSelection
from mien.server import request_bodies
from mien.server.job import RESULTS, Wanted
from mien.tracking.smoothing import TIME_CONSTANT

Result = Literal[*RESULTS]  # type: ignore[valid-type]  # mypy knows no unpacked names
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Smooth = Annotated[Seconds, Field(le=60)]


class Pictures(BaseModel, extra="forbid"):
    """Of `POST /analyze`."""

    model: str = Field("", description="A name from /models; the usual one if it is left out.")
    detector: str = Field("", description="yunet, or whole (the picture is one face).")
    contempt: bool = Field(False, description="Keep the eighth emotion of the models that know it.")

    def by(self) -> tuple[str, str, bool]:
        """Who is to look, as `Analyzers.take` wants it."""
        return self.model, self.detector, self.contempt


class Live(Pictures):
    """Of `WS /live`."""

    smooth: Smooth = Field(TIME_CONSTANT, description="In seconds.")


class Video(Live):
    """Of `POST /videos`."""

    every: int = Field(1, ge=1, le=10_000, description="Analyze every n-th frame.")
    seconds: Seconds = Field(0.0, description="One frame in so many seconds.")
    start: Seconds = Field(0.0, description="Where to start, in seconds.")
    end: Seconds = Field(0.0, description="Where to end, in seconds; 0 is its end.")
    name: str = Field("", description="What the video is called, if the body does not say.")
    to: list[Result] = Field(default=list(RESULTS), description="What is to be made of it.")

    def wanted(self) -> tuple[str, Wanted]:
        """The same as a job understands it, after its name."""
        selection = FrameSelection(self.every, self.seconds, self.start, self.end or math.inf)
        results = tuple(dict.fromkeys(self.to))
        return request_bodies.name(self.name), Wanted(*self.by(), selection, self.smooth, results)
