"""Control a headless Chromium over its debugging protocol, with a video file as camera."""

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
"""Key code and typed text of the keys for which Chromium needs them."""

MAX_ERROR_LENGTH = 500


class Browser:
    """A page in a browser: `async with Browser() as page`, then `page.goto(url)`.

    Args:
        camera: Video file (Y4M) that the camera plays; by default, Chromium's test pattern.

    Attributes:
        errors: Uncaught exceptions, and entries of the browser's log such as failed requests, since
            `goto` has loaded the page; each as JSON, cut to `MAX_ERROR_LENGTH` characters.
    """

    def __init__(self, camera=None):
        self.camera = camera
        self.errors, self._last_id, self._file_input = [], 0, None

    async def __aenter__(self):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        if self.camera:
            camera.append(f"--use-file-for-fake-video-capture={self.camera}")
        self._process = subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}", *camera,
             "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        # The file is written in parts; its first line is complete once a line break follows.
        await self._poll(lambda: port_file.exists() and "\n" in port_file.read_text())
        port = port_file.read_text().splitlines()[0]

        def pages():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as response:
                return [page for page in json.load(response) if page["type"] == "page"]

        await self._poll(pages)
        self._socket = await websockets.connect(pages()[0]["webSocketDebuggerUrl"], max_size=None)
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.command("Page.setInterceptFileChooserDialog", enabled=True)
        return self

    async def __aexit__(self, *_):
        await self._socket.close()
        self._process.terminate()
        self._process.wait(20)
        self._profile.cleanup()

    async def command(self, method, **parameters):
        """Send one command of the protocol and return its result."""
        self._last_id += 1
        command_id = self._last_id
        command = {"id": command_id, "method": method, "params": parameters}
        await self._socket.send(json.dumps(command))
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.recv(), 60))
            if message.get("id") == command_id:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(message["params"])[:MAX_ERROR_LENGTH])
            if message.get("method") == "Page.fileChooserOpened":
                self._file_input = message["params"]["backendNodeId"]

    async def goto(self, url, size=(1200, 900), dark=False):
        """Load a page in a window of this size, with a dark or light color scheme.

        Errors while it is loaded are not kept in `errors`.
        """
        await self.resize(*size)
        await self.set_color_scheme(dark)
        await self.command("Page.navigate", url=url)
        await self.wait_for(
            f"document.readyState === 'complete' && location.href.startsWith('{url}')"
        )
        self.errors.clear()

    async def resize(self, width, height):
        """Change the size of the window; windows narrower than 500 pixels emulate a phone."""
        await self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                           deviceScaleFactor=1, mobile=width < 500)  # fmt: skip

    async def set_color_scheme(self, dark):
        """Emulate a preference for dark or light pages."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])

    async def set_offline(self, offline):
        """Disconnect or reconnect the network."""
        await self.command("Network.emulateNetworkConditions", offline=offline, latency=0,
                           downloadThroughput=-1, uploadThroughput=-1)  # fmt: skip

    async def evaluate(self, script):
        """Return the value of a JavaScript expression."""
        response = await self.command("Runtime.evaluate", expression=script, awaitPromise=True,
                                      returnByValue=True, userGesture=True)  # fmt: skip
        assert "exceptionDetails" not in response, response
        return response["result"].get("value")

    async def wait_for(self, script, seconds=60):
        """Evaluate a JavaScript expression until its value is truthy, and return the value."""
        deadline = time.monotonic() + seconds
        while (value := await self.evaluate(script)) in (None, False, 0, ""):
            assert time.monotonic() < deadline, f"timeout: {script}"
            await asyncio.sleep(0.05)
        return value

    async def set_files(self, selector, *files):
        """Select files in a file input."""
        document = await self.command("DOM.getDocument")
        node = await self.command("DOM.querySelector", nodeId=document["root"]["nodeId"],
                                  selector=selector)  # fmt: skip
        await self.command("DOM.setFileInputFiles", files=list(map(str, files)),
                           nodeId=node["nodeId"])  # fmt: skip

    async def set_files_in_dialog(self, *files):
        """Select files in a file dialog; wait until it is open."""
        deadline = time.monotonic() + 10
        while self._file_input is None:
            assert time.monotonic() < deadline, "no dialog has opened"
            await self.evaluate("0")  # receives the events before the response
        node, self._file_input = self._file_input, None
        await self.command("DOM.setFileInputFiles", files=list(map(str, files)),
                           backendNodeId=node)  # fmt: skip

    async def press(self, key):
        """Press and release a key."""
        code, text = KEYS.get(key, (0, ""))
        for event in ("keyDown", "keyUp"):
            await self.command("Input.dispatchKeyEvent", type=event, key=key, code=key,
                               windowsVirtualKeyCode=code, text=text)  # fmt: skip

    async def hover(self, selector, click=False):
        """Move the mouse to the center of an element; click there if `click`."""
        x, y = await self.evaluate(
            "((element) => { element.scrollIntoView({block: 'nearest'});"
            "const {x, y, width, height} = element.getBoundingClientRect();"
            "return [x + width / 2, y + height / 2] })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        await self.move_mouse(x, y, click)

    async def move_mouse(self, x, y, click=False):
        """Move the mouse to a point of the window; click there if `click`."""
        for event in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
            await self.command("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left",
                               clickCount=1)  # fmt: skip

    async def accessibility_violations(self):
        """Return the violations that axe-core reports, each as `rule, impact: elements`."""
        if not await self.evaluate("'axe' in window"):
            source = Path(find_spec("axe_core_python").origin).with_name("axe.min.js")
            await self.command("Runtime.evaluate", expression=source.read_text(encoding="utf-8"))
        return await self.evaluate(
            "axe.run({resultTypes: ['violations']}).then(({violations}) => violations.map((rule) =>"
            "`${rule.id}, ${rule.impact}: ${rule.nodes.map((node) => node.html).join(' ')}`))"
        )

    async def screenshot(self, path):
        """Write a PNG of the whole page."""
        response = await self.command("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(response["data"]))

    @staticmethod
    async def _poll(is_ready, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            try:
                if is_ready():
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, "the browser does not start"
            await asyncio.sleep(0.1)
