"""What OpenAPI says about bodies: the models of what is answered, and of what is sent."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mien.labels import EMOTIONS
from mien.server.job import RESULTS

DESCRIPTION = """\
Reads the proportions of emotion on every face in pictures, videos and camera frames: an estimate of
how people would label an **apparent expression**. It does not read minds. Not for use at work,
school, hiring, credit, policing or diagnosis. No picture is stored."""

Share = Annotated[float, Field(ge=0, le=1)]
Shares = dict[str, Share]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
File = Annotated[str, Field(json_schema_extra={"format": "binary"})]
Base64 = Annotated[str, Field(json_schema_extra={"format": "byte"})]


FACE: dict[str, Any] = {
    "face_id": 0,
    "box": [178.2, 62.9, 89.9, 113.3],
    "face_confidence": 0.93,
    "emotions": dict(zip(EMOTIONS, (0.0, 0.0, 0.0, 0.98, 0.0, 0.01, 0.01), strict=True)),
    "dominant_emotion": "happy",
    "flags": [],
    "landmarks": [[200.1, 101.8], [247.1, 102.6], [220.4, 124.5], [198.6, 142.8], [239.7, 143.6]],
}


def _example(values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": values})


class Face(BaseModel):
    """One face: box and landmarks in pixels, emotions as shares that sum to 1."""

    model_config = _example(FACE)

    face_id: int
    box: Annotated[list[float], Field(min_length=4, max_length=4)]
    face_confidence: Share
    emotions: Shares
    dominant_emotion: str
    flags: list[str]
    landmarks: list[Point] | None
    smoothed: Shares | None = Field(None, description="In videos and live: smoothed over time.")


class Record(BaseModel):
    """One picture or frame, and its faces."""

    model_config = _example({
        "source": "photo.jpg", "frame": 0, "seconds": 0.0, "width": 512, "height": 512,
        "model": "default", "detector": "yunet", "faces": [FACE],
    })  # fmt: skip

    source: str
    frame: int
    seconds: float
    width: int
    height: int
    model: str
    detector: str
    faces: list[Face]


class Job(BaseModel):
    """How far a video is; `expires_in` seconds it is kept."""

    model_config = _example({
        "id": "Yk3Hq0V8m2xJ4sT7bN1cRw9Z", "name": "clip.mp4", "state": "running", "progress": 0.41,
        "seconds": 4.1, "length": 10.0, "frames": 103, "error": "", "notes": [], "results": [],
        "expires_in": 3587.2,
    })  # fmt: skip

    id: str
    name: str
    state: str
    progress: Share
    seconds: float
    length: float
    frames: int
    error: str
    notes: list[str]
    results: list[str]
    expires_in: float


class Model(BaseModel):
    """A model that requests may name; `means`: what its shares estimate."""

    name: str
    labels: list[str]
    means: str


class Models(BaseModel):
    """What requests may name, and what is used where they name nothing."""

    default: str
    models: list[Model]
    detector: str
    detectors: list[str]


class Status(BaseModel):
    """One word."""

    status: str


class Error(BaseModel):
    """One sentence that says what is wrong."""

    model_config = _example({"error": "the picture is not a picture in a known format."})

    error: str


ERRORS = {
    401: "The bearer token is missing or wrong.",
    403: "A page of elsewhere asked, or an address was given to a service that fetches nothing.",
    404: "There is no such video or result.",
    408: "The body came too slowly.",
    409: "The video is not done yet.",
    413: "The body is too large.",
    415: "The body is of a type that is not read.",
    421: "The service is not called by this name.",
    422: "It cannot be read as a picture or video, or a parameter is wrong; one sentence says why.",
    503: "More is asked than can be done now; Retry-After says when to come again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a path, beyond those of every path."""
    known = (401, 403, 421, *statuses)
    return {status: {"model": Error, "description": ERRORS[status]} for status in known}


class _Pictures(BaseModel, title="a form"):
    image: Annotated[list[File], Field(min_length=1)]


class _Video(BaseModel, title="a form"):
    video: File


class _One(BaseModel, extra="forbid", title="one picture, answered by a record"):
    image: Base64


class _Several(BaseModel, extra="forbid", title="pictures, answered by a list of records"):
    images: Annotated[list[Base64], Field(min_length=1)]


_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)

_BINARY = {"schema": {"type": "string", "format": "binary"}}

PICTURES = {
    "required": True,
    "content": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {"schema": _Pictures.model_json_schema()},
        "application/json": {
            "schema": {"oneOf": [_One.model_json_schema(), _Several.model_json_schema()]},
            "examples": {
                "one": {"value": {"image": _PIXEL}},
                "several": {"value": {"images": [_PIXEL, _PIXEL]}},
            },
        },
    },
}

VIDEO = {
    "required": True,
    "content": {
        "video/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {"schema": _Video.model_json_schema()},
    },
}

EVENTS = {
    "description": "Events `progress`, then `end`.",
    "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/Job"}}},
}

FILE = {
    "description": f"One of {', '.join(RESULTS)}.",
    "content": {"application/octet-stream": _BINARY},
}
