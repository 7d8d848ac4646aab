"""Estimates of the memory that images require, and the order in which it is granted."""

import asyncio
import io
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import UserError
from mien.server.error_responses import ClientDisconnected
from mien.server.memory import (
    MAX_ALL_SMALL_BYTES,
    MAX_IMAGE_BYTES,
    MAX_SMALL_BYTES,
    MIB,
    MemoryBudget,
    required_bytes,
)
from tests.server import serving


def image_file(width, height, mode="RGBA", image_format="PNG", **options):
    file = io.BytesIO()
    if mode == "I;16":
        Image.fromarray(np.zeros((height, width), np.uint16)).save(file, image_format)
    else:
        Image.new(mode, (width, height)).save(file, image_format, **options)
    return file.getvalue()


def test_a_photograph_is_small_and_no_acceptable_image_exceeds_the_limit():
    assert required_bytes(image_file(2000, 1500, "RGB", "JPEG"), "a.jpg") <= MAX_SMALL_BYTES
    assert MAX_SMALL_BYTES < required_bytes(image_file(6000, 4000), "a.png") <= MAX_IMAGE_BYTES
    assert required_bytes(image_file(3000, 3000, "RGB", "WEBP"), "a.webp") > MAX_SMALL_BYTES


@pytest.mark.parametrize(
    "arguments",
    [(8000, 8000), (5000, 5000, "RGB", "WEBP"), (5000, 4000, "I;16")],
)
def test_an_image_that_needs_too_much_memory_is_rejected_by_its_header(arguments):
    body = image_file(*arguments)
    started_at = time.perf_counter()
    with pytest.raises(UserError, match=rf"{arguments[0]} x {arguments[1]} pixels\. The limit"):
        required_bytes(body, "the image")
    assert time.perf_counter() - started_at < 0.2


def test_a_progressive_jpeg_needs_more_than_a_baseline_one():
    needed = [
        required_bytes(image_file(4000, 4000, "RGB", "JPEG", progressive=progressive), "a.jpg")
        for progressive in (False, True)
    ]
    assert needed[0] < needed[1] == 14 * 4000 * 4000


def test_a_large_jpeg_is_decoded_at_a_reduced_size(tiny_model):
    body = image_file(8000, 6000, "RGB", "JPEG")
    assert required_bytes(body, "a.jpg") == 4000 * 3000 * 7 + 90 * MIB
    with serving.in_process(tiny_model) as client:
        record = client.post("/analyze", content=body).json()
    assert (record["width"], record["height"]) == (8000, 6000)
    assert record["faces"][0]["box"] == [1000, 0, 6000, 6000]


def test_a_jpeg_without_an_end_needs_more():
    """It is decoded three times."""
    body = image_file(3000, 3000, "RGB", "JPEG")
    assert required_bytes(body[:-2], "a.jpg") == 20 * 3000 * 3000
    assert required_bytes(body, "a.jpg") < 20 * 3000 * 3000


def test_icons_are_not_opened():
    """Pillow decodes the image in an icon, of any size, to read the header of the icon."""
    with pytest.raises(UserError, match="icons"):
        required_bytes(image_file(64, 64, "RGBA", "ICO"), "a.ico")


def test_three_large_pngs_at_once_neither_wait_nor_block_others(tiny_model):
    body = image_file(8000, 8000)
    with serving.in_process(tiny_model) as client:
        started_at = time.perf_counter()
        for _ in range(3):
            response = client.post("/analyze", content=body)
            assert response.status_code == 422
            assert "8000 x 8000" in response.json()["error"]
        assert time.perf_counter() - started_at < 2


def test_small_images_do_not_wait_for_large_ones():
    async def run():
        budget, order, stay = MemoryBudget(), [], asyncio.Event()
        never = asyncio.get_running_loop().create_future()

        async def use(name, count, event=None):
            async with budget.reserve(count, never):
                order.append(name)
                await (event or asyncio.Event()).wait()

        tasks = [asyncio.create_task(use(f"large {k}", MAX_IMAGE_BYTES, stay)) for k in range(2)]
        await asyncio.sleep(0)
        small = MAX_ALL_SMALL_BYTES // MAX_SMALL_BYTES
        tasks += [asyncio.create_task(use(f"small {k}", MAX_SMALL_BYTES)) for k in range(small)]
        await asyncio.sleep(0.01)
        assert order == ["large 0", *(f"small {k}" for k in range(small))]
        stay.set()
        await asyncio.sleep(0.01)
        assert order[-1] == "large 1"
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def test_memory_is_released_by_clients_that_leave():
    async def run():
        budget = MemoryBudget()
        gone = asyncio.get_running_loop().create_future()
        async with budget.reserve(MAX_IMAGE_BYTES):
            asyncio.get_running_loop().call_later(0.01, gone.set_result, None)
            with pytest.raises(ClientDisconnected):
                async with budget.reserve(100 * MIB, gone):
                    pass
        async with asyncio.timeout(1), budget.reserve(MAX_IMAGE_BYTES):
            pass

    asyncio.run(run())


def test_large_images_count_as_several(tiny_model):
    with serving.in_process(tiny_model, max_images_in_progress=4) as client:
        assert client.post("/analyze", content=image_file(6000, 4000)).status_code == 200
        assert serving.backend(client).images.admission.images_in_progress == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_peak_is_below_one_gigabyte_on_many_cores(monkeypatch):
    """`benchmarks/attack/memory.py` measures more kinds of requests for longer."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks" / "attack")
    from service import served

    bodies = [
        image_file(4896, 4896),
        image_file(3600, 3600, "RGBA", "WEBP"),
        image_file(2400, 2400),
        image_file(4800, 4800, "RGB", "JPEG"),
        bytes(2**25),
    ]
    with served(cores=64) as service:
        until = time.monotonic() + 3

        def attack(body):
            while time.monotonic() < until:
                service.post(body, "image/png")

        threads = [threading.Thread(target=attack, args=[body]) for body in 2 * bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 200 < service.memory_mb("VmHWM") < 1000
