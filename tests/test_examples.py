"""The examples in the docstrings of the public API run."""

import inspect
import re
import textwrap
import types

import av
import numpy as np
import pytest
from PIL import Image

import mien
from mien import distributed, pipeline, writers
from tests.server import serving

SERVER_URL = "http://127.0.0.1:8000"

NOT_RUNNABLE = {
    "VideoSession": "needs a camera",
}
"""Examples that are not run, each with the reason."""


def public_objects():
    """Yield the name and value of every class, function and method of the public API.

    These are the objects in `mien.__all__`, and those of other modules that the guides mention.
    """
    objects = {name: getattr(mien, name) for name in mien.__all__}
    objects |= {"pipeline.run": pipeline.run, "writers.open_writer": writers.open_writer,
                "distributed.Faces": distributed.Faces}  # fmt: skip
    for name, value in objects.items():
        if inspect.isroutine(value) or inspect.isclass(value):
            yield name, value
        if inspect.isclass(value) and not issubclass(value, Exception):
            for method in vars(value):
                function = inspect.getattr_static(value, method)
                is_method = isinstance(function, types.FunctionType | staticmethod | classmethod)
                if is_method and not method.startswith("_"):
                    yield f"{name}.{method}", getattr(value, method)


OBJECTS = dict(public_objects())


def example_of(value):
    """Return the code in the `Example:` section of a docstring; empty if there is none."""
    section = (inspect.getdoc(value) or "").partition("Example:\n")[2]
    match = re.search(r"^( *)```python\n(.*?)^\1```", section, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(match[2]) if match else ""


def write_clip(path, image):
    """Write a video of 20 frames that all show this PIL image."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", 10, width=image.width, height=image.height)
        video.pix_fmt = "yuv420p"
        for _ in range(20):
            file.mux(video.encode(av.VideoFrame.from_image(image)))
        file.mux(video.encode())


@pytest.fixture(scope="module")
def folder(photo, tmp_path_factory):
    """A folder with photo.jpg, clip.mp4, and a folder of images."""
    path = tmp_path_factory.mktemp("examples")
    (path / "holiday").mkdir()
    with Image.open(photo) as image:
        image.save(path / "photo.jpg")
        image.save(path / "holiday" / "beach.jpg")
        write_clip(path / "clip.mp4", image.convert("RGB").crop((80, 0, 400, 256)))
    return path


@pytest.fixture(scope="module")
def server_url():
    with serving.on_loopback("default", detector="yunet") as (url, _):
        yield url


def test_every_public_object_has_an_example():
    assert [name for name, value in OBJECTS.items() if not example_of(value)] == []


@pytest.mark.parametrize("name", [name for name in OBJECTS if name not in NOT_RUNNABLE])
def test_the_example_runs(name, folder, monkeypatch, request):
    code = example_of(OBJECTS[name])
    # An example that calls a private name of mien would run, too; `dir(mien)` has the public names.
    assert set(re.findall(r"\bmien\.(\w+)\(", code)) <= set(dir(mien))
    if "pandas" in code:
        pytest.importorskip("pandas")
    if SERVER_URL in code:
        code = code.replace(SERVER_URL, request.getfixturevalue("server_url"))
    monkeypatch.chdir(folder)
    exec(compile(code, f"example of {name}", "exec"), {"mien": mien, "np": np})
