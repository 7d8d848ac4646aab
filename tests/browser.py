"""A real Chromium, driven over its debugging protocol; with a camera that plays a file."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import websockets

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """A page in a browser: `async with Browser(address) as page`."""

    def __init__(self, address, camera=None, size=(1200, 900), dark=False):
        self.address, self.camera, self.size, self.dark = address, camera, size, dark
        self.complaints, self._number = [], 0

    async def __aenter__(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        if self.camera:
            camera.append(f"--use-file-for-fake-video-capture={self.camera}")
        self._process = subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--remote-debugging-port=0", f"--user-data-dir={self._folder.name}", *camera,
             "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        said = Path(self._folder.name) / "DevToolsActivePort"
        await self._wait(lambda: said.exists() and said.read_text().count("\n") >= 1)
        port = said.read_text().splitlines()[0]

        def pages():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                return [page for page in json.load(answer) if page["type"] == "page"]

        await self._wait(pages)
        self._socket = await websockets.connect(pages()[0]["webSocketDebuggerUrl"], max_size=None)
        for domain in ("Page", "Runtime", "DOM", "Log"):
            await self.command(f"{domain}.enable")
        wide, high = self.size
        await self.command("Emulation.setDeviceMetricsOverride", width=wide, height=high,
                           deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])
        await self.command("Page.navigate", url=self.address)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return self

    async def __aexit__(self, *_):
        await self._socket.close()
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()

    async def command(self, method, **parameters):
        """One command of the protocol, and what it answers."""
        self._number += 1
        mine = self._number
        await self._socket.send(json.dumps({"id": mine, "method": method, "params": parameters}))
        while True:
            told = json.loads(await asyncio.wait_for(self._socket.recv(), 60))
            if told.get("id") == mine:
                assert "error" not in told, told
                return told["result"]
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(told["params"])[:500])

    async def js(self, code):
        """What some JavaScript comes to."""
        found = await self.command("Runtime.evaluate", expression=code, awaitPromise=True,
                                   returnByValue=True)  # fmt: skip
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, code, seconds=60):
        """The same, asked again until it is something."""
        end = time.monotonic() + seconds
        while not (found := await self.js(code)):
            assert time.monotonic() < end, f"never: {code}"
            await asyncio.sleep(0.1)
        return found

    async def choose(self, selector, *files):
        """Choose files in an input, as a person would."""
        document = await self.command("DOM.getDocument")
        node = await self.command("DOM.querySelector", nodeId=document["root"]["nodeId"],
                                  selector=selector)  # fmt: skip
        await self.command("DOM.setFileInputFiles", files=list(map(str, files)),
                           nodeId=node["nodeId"])  # fmt: skip

    async def press(self, key):
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            await self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    async def shot(self, path):
        """A picture of the whole page."""
        shot = await self.command("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    @staticmethod
    async def _wait(ready, seconds=60):
        end = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except OSError:
                pass
            assert time.monotonic() < end, "the browser does not start"
            await asyncio.sleep(0.1)
