"""What OpenAPI says of the service beyond its paths: the record, the bodies, the refusals."""

from __future__ import annotations

from typing import Any

from mien.labels import EMOTIONS
from mien.server.job import RESULTS

DESCRIPTION = """\
Reads the proportions of emotion on every face in pictures, videos and camera frames: an estimate of
how people would label an **apparent expression**. It does not read minds. Not for use at work,
school, hiring, credit, policing or diagnosis. No picture is stored."""

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SHARES = {"type": "object", "additionalProperties": _SHARE}

FACE = {
    "face_id": 0,
    "box": [178.2, 62.9, 89.9, 113.3],
    "face_confidence": 0.93,
    "emotions": dict(zip(EMOTIONS, (0.0, 0.0, 0.0, 0.98, 0.0, 0.01, 0.01), strict=True)),
    "dominant_emotion": "happy",
    "flags": [],
    "landmarks": [[200.1, 101.8], [247.1, 102.6], [220.4, 124.5], [198.6, 142.8], [239.7, 143.6]],
}

RECORD = {
    "source": "photo.jpg", "frame": 0, "seconds": 0.0, "width": 512, "height": 512,
    "model": "default", "detector": "yunet", "faces": [FACE],
}  # fmt: skip

JOB = {
    "id": "Yk3Hq0V8m2xJ4sT7bN1cRw9Z", "name": "clip.mp4", "state": "running", "progress": 0.41,
    "seconds": 4.1, "length": 10.0, "frames": 103, "error": "", "notes": [], "results": [],
    "expires_in": 3587.2,
}  # fmt: skip

_KINDS: dict[type, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    list: {"type": "array"},
}


def shaped(example: dict[str, Any], **known: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a dictionary that has these keys, of the kinds that they have here."""
    properties = {
        key: known.get(key, _KINDS.get(type(value), {})) for key, value in example.items()
    }
    return {
        "type": "object",
        "required": list(example),
        "properties": properties,
        "example": example,
    }


_FACE = shaped(
    FACE,
    box={"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    face_confidence=_SHARE,
    emotions=_SHARES,
    flags={"type": "array", "items": {"type": "string"}},
    landmarks={
        "anyOf": [
            {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            {"type": "null"},
        ]
    },
)
_FACE["properties"]["smoothed"] = _SHARES

SCHEMAS = {
    "Face": _FACE,
    "Record": shaped(
        RECORD, faces={"type": "array", "items": {"$ref": "#/components/schemas/Face"}}
    ),
    "Job": shaped(JOB),
    "Error": shaped({"error": "the picture is not a picture in a known format."}),
}


def named(schema: str, description: str, media: str = "application/json") -> dict[str, Any]:
    """A response of one of `SCHEMAS`."""
    content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals that a path may answer, beyond those of every path."""
    return {status: named("Error", REFUSALS[status]) for status in (401, 403, 421, *statuses)}


REFUSALS = {
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

_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _form(field: str, *, several: bool) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    value = {"type": "array", "items": file, "minItems": 1} if several else file
    return {"schema": {"type": "object", "required": [field], "properties": {field: value}}}


_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)

PICTURES = {
    "required": True,
    "content": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": _form("image", several=True),
        "application/json": {
            "schema": {
                "oneOf": [
                    {
                        "type": "object",
                        "required": ["image"],
                        "additionalProperties": False,
                        "properties": {"image": {"type": "string", "format": "byte"}},
                    },
                    {
                        "type": "object",
                        "required": ["images"],
                        "additionalProperties": False,
                        "properties": {
                            "images": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "string", "format": "byte"},
                            }
                        },
                    },
                ]
            },
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
        "multipart/form-data": _form("video", several=False),
    },
}

RECORDS = {
    "description": "The record of the picture; of several pictures, a list of records.",
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {"$ref": "#/components/schemas/Record"},
                    {"type": "array", "items": {"$ref": "#/components/schemas/Record"}},
                ]
            }
        }
    },
}

FILE = {
    "description": f"One of {', '.join(RESULTS)}.",
    "content": {"application/octet-stream": _BINARY},
}
