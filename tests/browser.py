"""A real Chromium, driven over its debugging protocol; with a camera that plays a file."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import websockets

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}
"""Keys of which a browser wants to know more: their number, and what they write."""


class Browser:
    """A page in a browser: `async with Browser(address) as page`."""

    def __init__(self, address="about:blank", camera=None, size=(1200, 900), dark=False):
        self.address, self.camera, self.size, self.dark = address, camera, size, dark
        self.complaints, self._number, self._chooser = [], 0, None

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
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.command("Page.setInterceptFileChooserDialog", enabled=True)
        if self.address != "about:blank":
            await self.visit(self.address, self.size, self.dark)
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
            if told.get("method") == "Page.fileChooserOpened":
                self._chooser = told["params"]["backendNodeId"]

    async def visit(self, address, size=(1200, 900), dark=False):
        """Go to a page, seen in a window of that size, or on a phone if it is narrow."""
        await self.resize(*size)
        await self.scheme(dark)
        await self.command("Page.navigate", url=address)
        await self.until(
            f"document.readyState === 'complete' && location.href.startsWith('{address}')"
        )
        self.complaints.clear()

    async def resize(self, wide, high):
        """Another size of the window."""
        await self.command("Emulation.setDeviceMetricsOverride", width=wide, height=high,
                           deviceScaleFactor=1, mobile=wide < 500)  # fmt: skip

    async def scheme(self, dark):
        """Whether the person prefers dark pages."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])

    async def offline(self, is_gone):
        """Whether nothing answers."""
        await self.command("Network.emulateNetworkConditions", offline=is_gone, latency=0,
                           downloadThroughput=-1, uploadThroughput=-1)  # fmt: skip

    async def js(self, code):
        """What some JavaScript comes to."""
        found = await self.command("Runtime.evaluate", expression=code, awaitPromise=True,
                                   returnByValue=True, userGesture=True)  # fmt: skip
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, code, seconds=60):
        """The same, asked again until it is something; an element comes as `{}`."""
        end = time.monotonic() + seconds
        while (found := await self.js(code)) in (None, False, 0, ""):
            assert time.monotonic() < end, f"never: {code}"
            await asyncio.sleep(0.05)
        return found

    async def choose(self, selector, *files):
        """Choose files in an input, as a person would."""
        document = await self.command("DOM.getDocument")
        node = await self.command("DOM.querySelector", nodeId=document["root"]["nodeId"],
                                  selector=selector)  # fmt: skip
        await self.command("DOM.setFileInputFiles", files=list(map(str, files)),
                           nodeId=node["nodeId"])  # fmt: skip

    async def chosen(self, *files):
        """Choose files in the dialog that has opened, or is about to."""
        end = time.monotonic() + 10
        while self._chooser is None:
            assert time.monotonic() < end, "no dialog has opened"
            await self.js("0")  # events come with answers
        node, self._chooser = self._chooser, None
        await self.command("DOM.setFileInputFiles", files=list(map(str, files)),
                           backendNodeId=node)  # fmt: skip

    async def press(self, key, times=1):
        """Press and release a key."""
        number, text = KEYS.get(key, (0, ""))
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                await self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                                   windowsVirtualKeyCode=number, text=text)  # fmt: skip

    async def point(self, selector, click=False):
        """Move the mouse to the middle of an element, and perhaps click there."""
        x, y = await self.js(
            "((one) => { one.scrollIntoView({block: 'nearest'});"
            "const {x, y, width, height} = one.getBoundingClientRect();"
            "return [x + width / 2, y + height / 2] })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
            await self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                               clickCount=1)  # fmt: skip

    async def violations(self):
        """What axe finds wrong with the page for people who do not see, or use no mouse."""
        if not await self.js("'axe' in window"):
            source = Path(find_spec("axe_core_python").origin).with_name("axe.min.js")
            await self.command("Runtime.evaluate", expression=source.read_text(encoding="utf-8"))
        return await self.js(
            "axe.run({resultTypes: ['violations']}).then(({violations}) => violations.map((one) =>"
            "`${one.id}, ${one.impact}: ${one.nodes.map((node) => node.html).join(' ')}`))"
        )

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
