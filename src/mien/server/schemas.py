"""OpenAPI schemas of the request and response bodies."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mien.labels import EMOTIONS
from mien.server.job import RESULT_FILES

DESCRIPTION = """\
Estimates the shares of emotions for every face in images, videos and camera frames: how people
would label an **apparent expression**. It does not detect what a person feels. Not for use in
employment, education, hiring, credit, policing or diagnosis. Images are not stored."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Shares = dict[str, Fraction]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
File = Annotated[str, Field(json_schema_extra={"format": "binary"})]
Base64 = Annotated[
    str,
    Field(
        description="Standard or URL-safe Base64, with or without padding and line breaks, or a "
        "data URL.",
        json_schema_extra={"format": "byte"},
    ),
]


FACE_EXAMPLE: dict[str, Any] = {
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
    """A face: box (x, y, width, height) and landmarks (x, y) in pixels; shares that sum to 1.

    `landmarks` is null if the detector, such as `whole`, finds none.
    """

    model_config = _example(FACE_EXAMPLE)

    face_id: int
    box: Annotated[list[float], Field(min_length=4, max_length=4)]
    face_confidence: Fraction
    emotions: Shares
    dominant_emotion: str
    flags: list[str]
    landmarks: list[Point] | None
    smoothed: Shares | None = Field(
        None, description="Shares averaged over time; only in videos and live frames."
    )


class FrameRecord(BaseModel):
    """An image or frame and its faces.

    `seconds` is the time of a frame in its video, or since the live connection was opened; 0 for an
    image. `frame` counts the frames of a video or live connection from 0.
    """

    model_config = _example({
        "source": "photo.jpg", "frame": 0, "seconds": 0.0, "width": 512, "height": 512,
        "model": "default", "detector": "yunet", "faces": [FACE_EXAMPLE],
    })  # fmt: skip

    source: str
    frame: int
    seconds: float
    shot: int | None = Field(
        None, description="Number of the shot, from 0; only in videos and live frames."
    )
    width: int
    height: int
    model: str
    detector: str
    faces: list[Face]


class ImageError(BaseModel):
    """Entry of an image that cannot be read, in a list of records."""

    model_config = _example({
        "source": "notes.txt",
        "error": "Cannot read notes.txt: it is not an image in a supported format. "
                 "Save it as JPEG or PNG.",
    })  # fmt: skip

    source: str
    error: str


class Job(BaseModel):
    """State, progress and result files of a video.

    `state` is `receiving`, `queued`, `running`, `done`, `failed` or `deleted`. `progress` is from 0
    to 1. `position_seconds` and `duration_seconds` count from the start of the analyzed part; the
    duration is 0 while it is unknown. `error` is empty unless the state is `failed`. A job that has
    ended is deleted after `expires_in_seconds`.
    """

    model_config = _example({
        "id": "Yk3Hq0V8m2xJ4sT7bN1cRw9Z", "name": "clip.mp4", "state": "running", "progress": 0.41,
        "position_seconds": 4.1, "duration_seconds": 10.0, "frames": 103, "error": "",
        "warnings": [], "result_files": [], "expires_in_seconds": 3587.2,
    })  # fmt: skip

    id: str
    name: str
    state: str
    progress: Fraction
    position_seconds: float
    duration_seconds: float
    frames: int
    error: str
    warnings: list[str]
    result_files: list[str]
    expires_in_seconds: float


class Model(BaseModel):
    """An available model; `target` describes what its shares estimate."""

    name: str
    labels: list[str]
    target: str


class Models(BaseModel):
    """Available models and detectors; `default` and `detector` are the names of the defaults."""

    default: str
    models: list[Model]
    detector: str
    detectors: list[str]


class Status(BaseModel):
    """Status of the server: `alive` or `ready`."""

    status: str


class Error(BaseModel):
    """Error message, which says what is wrong, then what to do."""

    model_config = _example(
        {"error": "Cannot read the image: it is not base64. Encode the file as base64."}
    )

    error: str


ERROR_DESCRIPTIONS = {
    400: "The Host header is missing or invalid.",
    401: "The bearer token is missing or wrong.",
    403: "The origin of the web page is not allowed.",
    404: "The video or result file does not exist.",
    408: "The body arrived too slowly or with too long a pause.",
    409: "The video is not analyzed yet.",
    413: "The body is too large or has too many images.",
    415: "The content type is not supported.",
    421: "The host name is not accepted.",
    422: "The body is invalid, none of its images can be read, or a parameter is invalid.",
    503: "The server is busy, its disk is full, or it is shutting down; Retry-After is the time to "
    "wait in seconds.",
}


def error_statuses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: these error statuses and those of `SecurityMiddleware`."""
    return {
        status: {"model": Error, "description": ERROR_DESCRIPTIONS[status]}
        for status in (400, 401, 403, 421, *statuses)
    }


class _ImageForm(BaseModel, title="form"):
    image: Annotated[list[File], Field(min_length=1)]


class _VideoForm(BaseModel, title="form"):
    video: File


class _SingleImage(BaseModel, extra="forbid", title="one image; the response is a record"):
    image: Base64


class _ImageList(BaseModel, extra="forbid", title="images; the response is a list of records"):
    images: Annotated[list[Base64], Field(min_length=1)]


# An image of one pixel.
_PNG_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)

_BINARY = {"schema": {"type": "string", "format": "binary"}}

IMAGE_BODY = {
    "required": True,
    "content": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {"schema": _ImageForm.model_json_schema()},
        "application/json": {
            "schema": {"oneOf": [_SingleImage.model_json_schema(), _ImageList.model_json_schema()]},
            "examples": {
                "one": {"value": {"image": _PNG_BASE64}},
                "several": {"value": {"images": [_PNG_BASE64, _PNG_BASE64]}},
            },
        },
    },
}

VIDEO_BODY = {
    "required": True,
    "content": {
        "video/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {"schema": _VideoForm.model_json_schema()},
    },
}

EVENT_STREAM = {
    "description": "`progress` events, then one `end` event; the data of each event is the job.",
    "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/Job"}}},
}

RESULT_FILE = {
    "description": f"One of {', '.join(RESULT_FILES)}.",
    "content": {"application/octet-stream": _BINARY},
}
