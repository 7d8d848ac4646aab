"""The memory that images require by their headers, and the order in which it is granted."""

import asyncio
import io
import sys
import threading
import time

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
    if mode in ("I;16", "I;16B"):
        dtype = ">u2" if mode == "I;16B" else "<u2"
        Image.fromarray(np.zeros((height, width), dtype)).save(file, image_format)
    else:
        Image.new(mode, (width, height)).save(file, image_format, **options)
    return file.getvalue()


def test_a_jpeg_of_3_megapixels_counts_as_small_and_larger_images_as_large():
    assert required_bytes(image_file(2000, 1500, "RGB", "JPEG"), "a.jpg") <= MAX_SMALL_BYTES
    assert MAX_SMALL_BYTES < required_bytes(image_file(6000, 4000), "a.png") <= MAX_IMAGE_BYTES
    assert required_bytes(image_file(3000, 3000, "RGB", "WEBP"), "a.webp") > MAX_SMALL_BYTES


@pytest.mark.parametrize(
    "arguments",
    [
        (8000, 8000),
        (5000, 5000, "RGB", "WEBP"),
        (5000, 4000, "I;16"),
        (5000, 4000, "I;16B", "TIFF"),
    ],
)
def test_an_image_that_requires_too_much_memory_is_rejected_without_decoding(arguments):
    body = image_file(*arguments)
    started_at = time.perf_counter()
    with pytest.raises(UserError, match=rf"{arguments[0]} x {arguments[1]} "):
        required_bytes(body, "the image")
    assert time.perf_counter() - started_at < 0.2


def test_a_progressive_jpeg_requires_more_memory_than_a_baseline_jpeg():
    baseline_bytes, progressive_bytes = (
        required_bytes(image_file(4000, 4000, "RGB", "JPEG", progressive=progressive), "a.jpg")
        for progressive in (False, True)
    )
    # 8 bytes per pixel for decoding, and 6 for the coefficients.
    assert baseline_bytes < progressive_bytes == 14 * 4000 * 4000


def test_a_large_jpeg_is_decoded_at_a_reduced_size(tiny_model):
    body = image_file(8000, 6000, "RGB", "JPEG")
    # The analysis takes 7 bytes per pixel of the reduced image, and 90 MiB for tiled detection.
    assert required_bytes(body, "a.jpg") == 4000 * 3000 * 7 + 90 * MIB
    with serving.in_process(tiny_model) as client:
        record = client.post("/analyze", content=body).json()
    assert (record["width"], record["height"]) == (8000, 6000)
    # The detector `whole` returns the central square of the image as the only face.
    assert record["faces"][0]["box"] == [1000, 0, 6000, 6000]


def test_a_jpeg_without_an_end_marker_requires_more_memory():
    """It is decoded three times, which takes 20 bytes per pixel."""
    body = image_file(3000, 3000, "RGB", "JPEG")
    assert required_bytes(body[:-2], "a.jpg") == 20 * 3000 * 3000
    assert required_bytes(body, "a.jpg") < 20 * 3000 * 3000


@pytest.mark.parametrize(
    ("progressive", "limit"), [(False, 250), (True, 19)], ids=["baseline", "progressive"]
)
def test_a_jpeg_with_the_stated_number_of_megapixels_is_accepted(progressive, limit):
    body = image_file(64, 64, "RGB", "JPEG", progressive=progressive)

    def with_height(height):
        """Return the file with other dimensions in its header: 10,000 x `height` pixels."""
        start = body.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
        dimensions = height.to_bytes(2, "big") + (10_000).to_bytes(2, "big")
        return body[:start] + dimensions + body[start + 4 :]

    with pytest.raises(UserError, match=f" {limit} million"):
        required_bytes(with_height(30_000), "a.jpg")
    assert required_bytes(with_height(100 * limit), "a.jpg") <= MAX_IMAGE_BYTES


def test_icons_are_rejected():
    """To read the header of an icon, Pillow decodes its image, which may have any size."""
    with pytest.raises(UserError, match="icons"):
        required_bytes(image_file(64, 64, "RGBA", "ICO"), "a.ico")


def test_too_large_pngs_are_rejected_quickly(tiny_model):
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
        budget, order, large_may_end = MemoryBudget(), [], asyncio.Event()
        disconnected = asyncio.get_running_loop().create_future()  # never done

        async def use_memory(name, count, may_end):
            async with budget.reserve(count, disconnected):
                order.append(name)
                await may_end.wait()

        tasks = [
            asyncio.create_task(use_memory(f"large {k}", MAX_IMAGE_BYTES, large_may_end))
            for k in range(2)
        ]
        await asyncio.sleep(0)
        small_count = MAX_ALL_SMALL_BYTES // MAX_SMALL_BYTES
        tasks += [
            asyncio.create_task(use_memory(f"small {k}", MAX_SMALL_BYTES, asyncio.Event()))
            for k in range(small_count)
        ]
        await asyncio.sleep(0.01)
        assert order == ["large 0", *(f"small {k}" for k in range(small_count))]
        large_may_end.set()
        await asyncio.sleep(0.01)
        assert order[-1] == "large 1"
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def test_a_client_that_disconnects_while_it_waits_does_not_hold_memory():
    async def run():
        budget = MemoryBudget()
        disconnected = asyncio.get_running_loop().create_future()
        async with budget.reserve(MAX_IMAGE_BYTES):
            asyncio.get_running_loop().call_later(0.01, disconnected.set_result, None)
            with pytest.raises(ClientDisconnected):
                async with budget.reserve(100 * MIB, disconnected):
                    pass
        async with asyncio.timeout(1), budget.reserve(MAX_IMAGE_BYTES):
            pass

    asyncio.run(run())


def test_a_large_image_counts_as_several(tiny_model):
    large, small = image_file(6000, 4000), image_file(60, 40)
    assert required_bytes(large, "a.png") > 3 * MAX_SMALL_BYTES
    with serving.in_process(tiny_model, max_images_in_progress=2) as client:
        admission = serving.client_backend(client).images.admission
        with admission.admit() as other_request:
            other_request.add_images(1)
            assert client.post("/analyze", content=large).status_code == 503
            assert client.post("/analyze", content=small).status_code == 200
        # It counts as four images, but is accepted if there is no other one.
        assert client.post("/analyze", content=large).status_code == 200
        assert admission.images_in_progress == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_peak_is_below_one_gigabyte_on_many_cores():
    """`benchmarks/attack/memory.py` measures more kinds of requests for longer."""
    from benchmarks.attack.service import served

    # Images just below the limits of their formats, and the largest body, which is not an image.
    bodies = [
        image_file(4896, 4896),
        image_file(3600, 3600, "RGBA", "WEBP"),
        image_file(2400, 2400),
        image_file(4800, 4800, "RGB", "JPEG"),
        bytes(2**25),
    ]
    with served(cores=64) as service:
        ends_at = time.monotonic() + 3

        def attack(body):
            while time.monotonic() < ends_at:
                service.post(body, "image/png")

        threads = [threading.Thread(target=attack, args=[body]) for body in 2 * bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Below 200 MB, the requests would have had no effect.
        assert 200 < service.memory_mb("VmHWM") < 1000
