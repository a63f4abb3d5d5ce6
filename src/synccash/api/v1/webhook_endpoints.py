"""`/webhook-endpoints`: manages the URLs that get a merchant's events. A signing secret is shown once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from litestar import Router, delete, get, patch, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody

from synccash.api.calls import AnyRequest, Id, Json, answers, json, principal_of
from synccash.api.hints import unknown_value
from synccash.api.ports import Endpoints
from synccash.api.problem import invalid
from synccash.api.route_scopes import BASE
from synccash.api.schemas.answers import EndpointPage, EndpointShown
from synccash.api.schemas.requests import EndpointBody, EndpointChangeBody
from synccash.payments.audit import AuditNote
from synccash.payments.document import moment
from synccash.payments.errors import ObjectNotFoundError
from synccash.payments.ports import Clock, Identities
from synccash.payments.request import Tenant
from synccash.payments.webhook import (
    DISABLED_BY_MERCHANT,
    EVENT_TYPES,
    ROTATION,
    Challenge,
    EndpointStatus,
    WebhookEndpoint,
    WebhookSecret,
)
from synccash.webhooks.address import AddressRefusedError, check_url
from synccash.webhooks.challenge import new_challenge
from synccash.webhooks.signature import new_secret

_ERRORS = (400, 415, 422)


@dataclass(frozen=True, slots=True)
class EndpointMaker:
    """Creates and changes endpoints. `private` allows private network addresses."""

    clock: Clock
    identities: Identities
    private: bool

    def new(self, tenant: Tenant, body: EndpointBody) -> WebhookEndpoint:
        """Return a new endpoint with a new signing secret. Raises ProblemError 422."""
        self.check(body.url, body.types)
        now = self.clock.now()
        return WebhookEndpoint(
            id=self.identities.new("we"),
            merchant_id=tenant.merchant_id,
            livemode=tenant.livemode,
            url=body.url,
            types=None if body.types is None else tuple(body.types),
            secrets=(WebhookSecret(new_secret()),),
            status=EndpointStatus.PENDING,
            created_at=now,
            updated_at=now,
        )

    def challenge(self) -> Challenge:
        """Return a new challenge."""
        return new_challenge(self.identities)

    def changed(self, endpoint: WebhookEndpoint, body: EndpointChangeBody) -> WebhookEndpoint:
        """Return the endpoint with the changes of the body. Raises ProblemError 422.

        After a rotation the former secret still signs for a day.
        """
        self.check(body.url, body.types)
        secrets = endpoint.secrets
        if body.rotate_secret:
            former = WebhookSecret(secrets[0].text, self.clock.now() + ROTATION)
            secrets = (WebhookSecret(new_secret()), former)
        return replace(
            endpoint,
            url=body.url or endpoint.url,
            types=endpoint.types if body.types is None else tuple(body.types),
            status=endpoint.status if body.status is None else EndpointStatus(body.status),
            disabled_reason=DISABLED_BY_MERCHANT if body.status == "disabled" else endpoint.disabled_reason,
            secrets=secrets,
        )

    def check(self, url: str | None, types: list[str] | None) -> None:
        """Raise ProblemError with all invalid fields."""
        errors: list[tuple[str, str]] = []
        if url is not None:
            try:
                check_url(url, private=self.private)
            except AddressRefusedError as error:
                errors.append(("url", str(error)))
        unknown = sorted(set(types or ()) - set(EVENT_TYPES))
        if unknown:
            errors.append(("types", unknown_value(unknown[0], EVENT_TYPES)))
        if errors:
            raise invalid(*errors)


def _note(
    request: AnyRequest, tenant: Tenant, what: str, endpoint_id: str, details: Mapping[str, Any] | None = None
) -> AuditNote:
    """Return the audit entry of a merchant's change, in the name of the key of the request."""
    return AuditNote(
        actor=principal_of(request).actor_id,
        action=f"endpoint_{what}",
        target=endpoint_id,
        merchant_id=tenant.merchant_id,
        details={"livemode": tenant.livemode, **(details or {})},
    )


def _url_details(url: str) -> dict[str, str]:
    """Return a URL for the audit log: its host, and a digest, because the rest may hold a secret."""
    return {"host": urlsplit(url).hostname or "", "url_sha256": sha256(url.encode()).hexdigest()}


@post("/", status_code=201, responses=answers({201: EndpointShown}, 409, *_ERRORS))
async def create_endpoint(
    request: AnyRequest,
    data: JSONBody[EndpointBody],
    endpoints: Given[Endpoints],
    endpoint_maker: Given[EndpointMaker],
    tenant: Given[Tenant],
) -> Json:
    """Create an endpoint. Only this response shows its signing secret.

    The endpoint is `pending` until its server answers a challenge: a signed event `endpoint.verification`.
    Answer it with 200 and `{"challenge": "…"}`, the `challenge` of its object. It is sent again for 72 hours,
    and events are kept meanwhile.

    A merchant has at most 16 endpoints in each mode, disabled ones included: one more gets 409
    `webhook_endpoint_limit`.
    """
    new = endpoint_maker.new(tenant, data)
    note = _note(request, tenant, "create", new.id, {**_url_details(new.url), "types": data.types})
    made = await endpoints.add(new, endpoint_maker.challenge(), note=note)
    return json(_document(made, secret=True), 201)


@get("/", responses=answers({200: EndpointPage}))
async def list_endpoints(endpoints: Given[Endpoints], tenant: Given[Tenant]) -> Json:
    """List all endpoints, oldest first."""
    found = await endpoints.endpoints(tenant)
    return json({"data": [_document(endpoint) for endpoint in found], "has_more": False, "next": None})


@get("/{endpoint_id:str}", responses=answers({200: EndpointShown}))
async def get_endpoint(endpoint_id: Id, endpoints: Given[Endpoints], tenant: Given[Tenant]) -> Json:
    """Return one endpoint."""
    return json(_document(await _found(endpoints, tenant, endpoint_id)))


@patch("/{endpoint_id:str}", responses=answers({200: EndpointShown}, *_ERRORS))
async def change_endpoint(
    request: AnyRequest,
    endpoint_id: Id,
    data: JSONBody[EndpointChangeBody],
    endpoints: Given[Endpoints],
    endpoint_maker: Given[EndpointMaker],
    tenant: Given[Tenant],
) -> Json:
    """Change the members that are present. A new secret is shown once.

    A new `url` has to be verified: the endpoint is `pending` and gets a challenge. The status `enabled` sends
    a pending endpoint a new challenge at once.
    """
    endpoint = await _found(endpoints, tenant, endpoint_id)
    challenged = data.url is not None or data.status == "enabled"
    challenge = endpoint_maker.challenge() if challenged else None
    details: dict[str, Any] = {} if data.url is None else _url_details(data.url)
    details |= {"types": data.types, "status": data.status}
    what = "rotate_secret" if data.rotate_secret else "change"
    note = _note(request, tenant, what, endpoint_id, {k: v for k, v in details.items() if v is not None})
    written = await endpoints.change(tenant, endpoint_maker.changed(endpoint, data), challenge, note=note)
    if written is None:
        raise ObjectNotFoundError("webhook endpoint", endpoint_id)
    return json(_document(written, secret=data.rotate_secret))


@delete("/{endpoint_id:str}", status_code=204, responses=answers({}))
async def remove_endpoint(
    request: AnyRequest, endpoint_id: Id, endpoints: Given[Endpoints], tenant: Given[Tenant]
) -> None:
    """Remove an endpoint; nothing more is sent to it."""
    note = _note(request, tenant, "remove", endpoint_id)
    if not await endpoints.remove(tenant, endpoint_id, note=note):
        raise ObjectNotFoundError("webhook endpoint", endpoint_id)


async def _found(endpoints: Endpoints, tenant: Tenant, endpoint_id: str) -> WebhookEndpoint:
    endpoint = await endpoints.endpoint(tenant, endpoint_id)
    if endpoint is None:
        raise ObjectNotFoundError("webhook endpoint", endpoint_id)
    return endpoint


def _document(endpoint: WebhookEndpoint, *, secret: bool = False) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "url": endpoint.url,
        "types": None if endpoint.types is None else list(endpoint.types),
        "status": endpoint.status.value,
        "disabled_reason": endpoint.disabled_reason,
        "created_at": moment(endpoint.created_at),
        "updated_at": moment(endpoint.updated_at),
        "livemode": endpoint.livemode,
        "secret": endpoint.secrets[0].text if secret else None,
    }


WEBHOOK_ENDPOINTS = Router(
    f"{BASE}/webhook-endpoints",
    tags=["webhook endpoints"],
    route_handlers=[create_endpoint, list_endpoints, get_endpoint, change_endpoint, remove_endpoint],
)
