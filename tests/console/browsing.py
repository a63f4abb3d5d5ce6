"""A browser without a screen: keeps cookies, follows no redirects, and sends forms as pages hold them."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx

from api.served import Served
from service.operators import PASSWORD, Person, enrolled

ORIGIN = "http://console.test"


@dataclass
class Browser:
    """One browser. `client` keeps the cookies."""

    client: httpx.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def page(self, path: str) -> str:
        """The text of a page that has to be there."""
        found = await self.get(path)
        assert found.status_code == 200, (path, found.status_code, found.headers.get("location"), found.text)
        return found.text

    async def submit(self, path: str, form_on: str | None = None, **fields: Any) -> httpx.Response:
        """Fill in the form on a page and send it to `path`."""
        page = await self.page(form_on or path)
        return await self.post(path, csrf=csrf_in(page), **fields)

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        return await self.client.post(path, data=fields, headers=headers)

    async def sign_in(self, person: Person, at: float) -> httpx.Response:
        fields = {"name": person.name, "password": PASSWORD, "totp": person.code(at), "next": ""}
        return await self.submit("/console/sign-in", **fields)


def csrf_in(page: str) -> str:
    match = re.search(r'name="csrf" value="([^"]+)"', page)
    assert match, page
    return unescape(match[1])


def browser_of(api: Served) -> Browser:
    transport = httpx.ASGITransport(app=api.app)  # pyright: ignore
    return Browser(httpx.AsyncClient(transport=transport, base_url=ORIGIN))


async def signed_in(api: Served, name: str, role: str) -> Browser:
    """A browser in which a new operator with this role is signed in."""
    person = await enrolled(api.operators, name, role)
    browser = browser_of(api)
    answer = await browser.sign_in(person, api.operators.clock.now().timestamp())
    assert answer.status_code == 303, answer.text
    return browser
