"""Drives Debian's Chromium over its debugging protocol, so that tests need no package beside aiohttp."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).parent / "axe" / "axe.min.js"
SEVERE = ("serious", "critical")
_START_S = 60


def chromium_program() -> str | None:
    """The path of a Chromium on this machine."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@dataclass
class Tab:
    """One page. `problems` are errors of scripts and refusals of the content security policy."""

    socket: aiohttp.ClientWebSocketResponse
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Read what the browser sends, until it closes."""
        async for message in self.socket:
            told = json.loads(message.data)
            if "id" in told:
                waiting = self.answers.pop(told["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
            elif told["method"] == "Page.loadEventFired":
                self.loaded.set()
            elif told["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(told["params"]["exceptionDetails"])[:500])
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.problems.append(told["params"]["entry"]["text"])

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self.numbers)
        waiting = self.answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_str(json.dumps({"id": number, "method": method, "params": params}))
        told = await asyncio.wait_for(waiting, 60)
        assert "error" not in told, (method, told)
        return told["result"]

    async def open(self, url: str) -> None:
        """Load a page and wait for it."""
        await self.leave(self.call("Page.navigate", url=url))

    async def leave(self, action: Any) -> None:
        """Do what loads another page, and wait for that page."""
        self.loaded.clear()
        await action
        await asyncio.wait_for(self.loaded.wait(), 60)

    async def run(self, expression: str) -> Any:
        """The value of an expression of the page, which may be a promise. It is not bound by the policy."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, tries: int = 300) -> None:
        """Poll the page until the expression is true: the browser works on its own."""
        for _ in range(tries):
            if await self.run(f"Boolean({expression})"):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{expression} did not become true; the page is {await self.text()}")

    async def text(self) -> str:
        return await self.run("document.body.innerText")

    async def look(self, width: int, height: int, *, dark: bool) -> None:
        """Set the size of the screen and the colours that the user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def hide_scrollbars(self) -> None:
        """For pictures: a scrollbar is not part of a page."""
        await self.call("Emulation.setScrollbarsHidden", hidden=True)

    async def severe_faults(self) -> list[str]:
        """What axe-core finds on the page that keeps people out."""
        found = await self.run(
            AXE.read_text(encoding="utf-8")
            + ";axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => "
            "[v.impact, v.id, v.nodes.map(n => n.target.join(' ')).join('; ')]))"
        )
        return [f"{impact}: {name}: {where}" for impact, name, where in found if impact in SEVERE]

    async def picture(self, path: Path) -> None:
        found = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    async def press(self, key: str, code: int) -> None:
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            shown = {"text": text} if kind == "keyDown" and text else {}
            event = {"type": kind, "key": key, "windowsVirtualKeyCode": code, **shown}
            await self.call("Input.dispatchKeyEvent", **event)


@contextlib.asynccontextmanager
async def opened_tab(profile: Path) -> AsyncGenerator[Tab]:
    """A tab of a new Chromium with a profile of its own."""
    program = chromium_program()
    assert program is not None
    arguments = [
        "--headless=new",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to start its sandbox as root.
    with (profile.parent / "chromium.log").open("wb") as output:
        process = subprocess.Popen([program, *arguments, "about:blank"], stdout=output, stderr=output)
    try:
        port = await _port(profile / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
            address = pages[0]["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                try:
                    yield tab
                finally:
                    listening.cancel()
    finally:
        process.terminate()
        process.wait(30)


async def _port(file: Path, process: "subprocess.Popen[bytes]") -> str:
    for _ in range(_START_S * 20):
        assert process.poll() is None, "Chromium ended at its start"
        if file.exists() and (lines := file.read_text().splitlines()):
            return lines[0]
        await asyncio.sleep(0.05)
    raise AssertionError("Chromium opened no debugging port")
