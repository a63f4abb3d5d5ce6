"""No caller reaches what is not theirs: a matrix of all routes, built from the service's OpenAPI document.

Callers are other merchants, the other mode, operators of each role, and keys with one scope, expired, revoked
or used from an address that is not theirs.

An unknown route, parameter or body fails the matrix: add a sample value for it here.
"""

import asyncio
import re
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from servers_fixture import fresh_database
from service.in_process import GENEROUS, RunningService, running_service
from service.installation import Answer, call, wait_until
from service.objects import NUMBER, REVIEWED, objects_of
from service.operators import quick_passwords, token_of
from synccash.administration.operators.operators import Operators
from synccash.api.roles import OPERATORS_ONLY, ROUTE_ROLES
from synccash.api.route_scopes import ROUTE_SCOPES
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.payments.access import ADMIN_SCOPES, MERCHANT_SCOPES, AccessScope, OperatorRole
from synccash.payments.api_key import NewApiKey, new_secret, read_networks
from synccash.payments.payer import Msisdn
from synccash.payments.request import Role
from synccash.servers.bundle import Servers
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.operations.operators import PostgresOperators
from synccash.stores.postgres.pool import connect

BASE = "/api/v1"
OPEN = {
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/scalar.js"),
    ("GET", "/docs/problems"),
    ("POST", f"{BASE}/callbacks/{{rail}}/{{token}}"),
    ("PUT", f"{BASE}/callbacks/{{rail}}/{{token}}"),
    ("POST", f"{BASE}/operators/sign-in"),
    ("POST", f"{BASE}/operators/enrol"),
}
"""What anybody may call."""
BODIES: dict[str, Any] = {
    "PaymentBody": {"amount": 100, "currency": "GHS", "payer": {"msisdn": NUMBER}, "reference": "theirs"},
    "PayoutBody": {"amount": 100, "currency": "GHS", "payee": {"msisdn": NUMBER}, "reference": "theirs"},
    "RefundBody": {"amount": 1},
    "OperatorRefundBody": {"amount": 1, "reason": "because"},
    "RoutingRulesBody": {"preferences": "*: mtn_momo"},
    "WebhookRecoveryBody": {"livemode": False, "since": "2026-01-01T00:00:00Z", "reason": "because"},
    "PasswordBody": {"otp": "999999"},
    "DecisionBody": {"reason": "because"},
    "ReasonBody": {"reason": "because"},
    "BlockBody": {"duration": 60, "reason": "because"},
    "ResolutionBody": {"outcome": "failed", "evidence": "statement line 7"},
    "PaymentResolutionBody": {"outcome": "failed", "evidence": "statement line 7"},
    "EndpointBody": {"url": "https://shop.example/hooks"},
    "EndpointChangeBody": {"status": "disabled", "rotate_secret": True},
    "PasswordChangeBody": {"password": "x", "totp": "123456", "new_password": "a long new password"},
    "OperatorBody": {"name": "mallory", "role": "admin", "reason": "because"},
    "OperatorRoleBody": {"role": "admin", "reason": "because"},
    "OperatorTokenBody": {"name": "script", "days": 1},
    "MerchantBody": {"name": "Mallory"},
    "ApiKeyBody": {"merchant_id": "mer_one", "livemode": True},
    "KeyRotationBody": {"overlap_s": 0},
    "CreditBody": {
        "merchant_id": "mer_one",
        "livemode": False,
        "currency": "GHS",
        "amount": 100,
        "reason": "because",
    },
    "CreditConfirmationBody": {
        "merchant_id": "mer_one",
        "livemode": False,
        "currency": "GHS",
        "credit": 100,
        "reason": "because",
    },
}
"""What fits the schema of a request."""
MANY_UNKNOWN = f"{GENEROUS}, unknown_key=100000/60"
STATES = {"/payments/{payment_id}/otp": "waiting", "/payments/{payment_id}/cancel": "reviewed"}
"""Calls that make sense for some payments only; the others get one that succeeded."""
OPERATORS_PARAMETERS = {
    "name": "mtn_momo:collect",
    "key": f"user:{NUMBER}",
    "endpoint": "payment_initiation",
    "merchant_id": "mer_one",
    "order_id": "pay_one",
    "api_key_id": "key_one",
    "token_id": "ot_one",
    "approval_id": "apr_one",
    "reconciliation_id": "rec_one",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One call as it is described."""

    method: str
    path: str
    raw: Any

    @property
    def operators(self) -> bool:
        return self.path.startswith(f"{BASE}/resilience/") or self.raw["description"].startswith("Operator")

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def queries(self) -> list[str]:
        return [one["name"] for one in self.raw.get("parameters", ()) if one["in"] == "query"]

    @property
    def schema(self) -> str | None:
        if "requestBody" not in self.raw:
            return None
        return self.raw["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]

    @property
    def body(self) -> Any:
        if self.schema is None:
            return None
        assert self.schema in BODIES, f"say in BODIES what fits {self.schema}"
        return BODIES[self.schema]


@dataclass(slots=True)
class Matrix:
    """All routes, and one object of the first merchant for every name of a parameter."""

    service: RunningService
    routes: list[Route]
    objects: dict[str, str]
    payments: dict[str, str]
    database_url: str

    def at(self, route: Route) -> str:
        """The route with the first merchant's objects in its path."""
        known = {**self.objects, **OPERATORS_PARAMETERS}
        state = STATES.get(route.path.removeprefix(BASE))
        if state is not None:
            known["payment_id"] = self.payments[state]
        unknown = [name for name in route.parameters if name not in known]
        assert not unknown, f"say how an object for {unknown} of {route.path} is made"
        return route.path.format(**known)

    def ask(self, route: Route, key: str | None, *, query: str = "", idempotency_key: str = "") -> Answer:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        body = None if route.method == "GET" else route.body
        headers["Idempotency-Key"] = idempotency_key or uuid.uuid4().hex
        return call(route.method, self.service.url + self.at(route) + query, body, **headers)

    def those(self, *, operators: bool) -> list[Route]:
        found = [route for route in self.routes if route.operators is operators]
        return sorted(found, key=lambda route: route.method == "DELETE")

    def everything(self) -> dict[str, Any]:
        """All objects of the first merchant, as that merchant sees them."""
        reads = [route for route in self.those(operators=False) if route.method == "GET"]
        return {
            route.path: self.ask(route, self.service.key).body
            for route in reads
            if not route.path.endswith("/timeline")  # inquiries go on all the time
        }

    @property
    def strangers(self) -> dict[str, str]:
        return {"another merchant": self.service.other_key, "his own live key": self.service.live_key}


def described(url: str) -> Iterator[Route]:
    for path, item in call("GET", f"{url}/openapi.json").body["paths"].items():
        for method, raw in item.items():
            if (method.upper(), path) not in OPEN:
                yield Route(method.upper(), path, raw)


def served(url: str) -> set[tuple[str, str]]:
    """Every route that there is, whether it is described or not: each is counted from the start."""
    counted = re.findall(
        r'^http_requests_total\{method="([A-Z]+)",route="(/[^"]*)"',
        call("GET", f"{url}/metrics").raw.decode(),
        re.M,
    )
    return {(method, path) for method, path in counted if method != "OPTIONS"}


@pytest.fixture(scope="module")
def matrix(
    servers: Servers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("rails")
    with (
        fresh_database(servers, migrated_template) as database,
        running_service(database, folder, risk_review_from=REVIEWED, rate_limits=MANY_UNKNOWN) as service,
    ):
        yield Matrix(service, list(described(service.url)), *objects_of(service), database)


@dataclass(frozen=True, slots=True)
class Callers:
    """Credentials by what is special about them. `people` are operators by role; `expired`, `revoked` and
    `elsewhere` are keys of the first merchant and of administration with all scopes."""

    people: dict[str, str]
    expired: dict[str, str]
    revoked: dict[str, str]
    elsewhere: dict[str, str]
    single_scopes: dict[str, str]

    @property
    def strangers(self) -> dict[str, str]:
        """Those that may see nothing of the first merchant."""
        return {**self.expired, **self.revoked, **self.elsewhere, **self.single_scopes}


@pytest.fixture(scope="module")
def callers(matrix: Matrix) -> Callers:
    return asyncio.run(made_callers(matrix.database_url))


async def made_callers(database_url: str) -> Callers:
    pool = await connect(database_url, min_size=0, max_size=2)
    passwords = quick_passwords()
    try:
        database = Database(pool)
        keys = PostgresKeys(database)
        operators = Operators(
            PostgresOperators(database), PostgresAudit(database), passwords, SystemClock(), SystemIdentities()
        )

        async def key(merchant_id: str | None, scopes: frozenset[AccessScope], **more: Any) -> NewApiKey:
            role = Role.ADMIN if merchant_id is None else Role.MERCHANT
            made = NewApiKey(
                secret=new_secret(role, livemode=False),
                role=role,
                merchant_id=merchant_id,
                livemode=False,
                scopes=scopes,
                **more,
            )
            await keys.create_key(made)
            return made

        full = {"the merchant": ("mer_one", MERCHANT_SCOPES), "administration": (None, ADMIN_SCOPES)}
        revoked = {f"a revoked key of {who}": await key(*given) for who, given in full.items()}
        for one in revoked.values():
            assert await keys.revoke(one.id)
        elsewhere = read_networks(["203.0.113.0/24"])
        no_time = timedelta(0)
        return Callers(
            people={
                role.value: await token_of(operators, f"{role}-one", role.value) for role in OperatorRole
            },
            expired={
                f"an expired key of {who}": (await key(*given, expires_in=no_time)).secret
                for who, given in full.items()
            },
            revoked={who: one.secret for who, one in revoked.items()},
            elsewhere={
                f"a key of {who} from elsewhere": (await key(*given, networks=elsewhere)).secret
                for who, given in full.items()
            },
            single_scopes={
                f"another merchant with {scope} alone": (await key("mer_two", frozenset({scope}))).secret
                for scope in sorted(MERCHANT_SCOPES)
            },
        )
    finally:
        passwords.close()
        await pool.close()


CANARY, CANARY_NUMBER = "canary7f3a91", "0247654321"


@pytest.fixture(scope="module")
def canaries(matrix: Matrix) -> set[str]:
    """What is the first merchant's alone: ids, references, free texts and numbers, as they are and masked."""
    headers = {"Authorization": f"Bearer {matrix.service.key}"}

    def send(method: str, path: str, body: Any = None) -> Any:
        answer = call(
            method, f"{matrix.service.url}{BASE}{path}", body, Idempotency_Key=uuid.uuid4().hex, **headers
        )
        assert answer.status < 300, answer.raw
        return answer.body

    texts = {"description": f"{CANARY} text", "metadata": {CANARY: f"{CANARY} value"}}
    payment = send(
        "POST",
        "/payments",
        {
            "amount": 4_321,
            "currency": "GHS",
            "payer": {"msisdn": CANARY_NUMBER},
            "reference": f"{CANARY}-pay",
            **texts,
        },
    )
    ended = f"/payments/{payment['id']}"
    wait_until("the payment has succeeded", lambda: send("GET", ended)["status"] == "succeeded")
    payout = {
        "amount": 321,
        "currency": "GHS",
        "payee": {"msisdn": CANARY_NUMBER},
        "reference": f"{CANARY}-out",
        **texts,
    }
    return {
        CANARY,
        CANARY_NUMBER[1:],
        str(Msisdn.parse(CANARY_NUMBER)),
        payment["id"],
        send("POST", "/payouts", payout)["id"],
        *matrix.objects.values(),
        *matrix.payments.values(),
        *(attempt["reference"] for attempt in send("GET", ended)["attempts"]),
        *(event["id"] for event in send("GET", "/events?limit=100")["data"]),
    }


def test_every_route_is_described_or_declared_public(matrix: Matrix):
    known = {(route.method, route.path) for route in matrix.routes} | OPEN
    assert served(matrix.service.url) == known


@pytest.mark.parametrize("key", [None, "sk_test_of_nobody"])
def test_no_route_is_reached_without_a_valid_key(matrix: Matrix, key: str | None):
    before = matrix.everything()
    answered = {(route.method, route.path): matrix.ask(route, key).status for route in matrix.routes}
    assert {route for route, status in answered.items() if status != 401} == set()
    assert matrix.everything() == before


def test_operator_routes_refuse_merchants_and_merchant_routes_refuse_operators(matrix: Matrix):
    before = matrix.everything()
    merchants = {"the merchant himself": matrix.service.key, **matrix.strangers}
    wrong = [
        (who, route.method, route.path, status)
        for operators, keys in ((True, merchants), (False, {"the operator": matrix.service.admin_key}))
        for route in matrix.those(operators=operators)
        for who, key in keys.items()
        if (status := matrix.ask(route, key).status) != 403
    ]
    assert wrong == []
    assert matrix.everything() == before


def test_another_merchants_object_is_not_found_and_not_changed(matrix: Matrix):
    before = matrix.everything()
    with_ids = [route for route in matrix.those(operators=False) if route.parameters]
    assert with_ids
    for route in with_ids:
        nowhere = call(
            route.method,
            matrix.service.url + re.sub(r"\{\w+\}", "pay_nobody", route.path),
            None if route.method == "GET" else route.body,
            Authorization=f"Bearer {matrix.service.other_key}",
            Idempotency_Key=uuid.uuid4().hex,
        )
        for who, key in matrix.strangers.items():
            answer = matrix.ask(route, key)
            assert (answer.status, who) == (404, who), (route.method, route.path, answer.raw)
            # Another merchant's object gets the same response as an unknown one.
            assert told(answer) == told(nowhere), (route.method, route.path)
    assert matrix.everything() == before


def told(answer: Answer) -> Any:
    return {name: value for name, value in answer.body.items() if name not in ("instance", "request_id")}


def test_lists_show_nothing_of_another_merchant_for_any_filter(matrix: Matrix):
    lists = [
        route
        for route in matrix.those(operators=False)
        if route.method == "GET" and not route.parameters and route.path != f"{BASE}/balance"
    ]
    assert lists
    payment = call(
        "GET",
        f"{matrix.service.url}{BASE}/payments/{matrix.objects['payment_id']}",
        Authorization=f"Bearer {matrix.service.key}",
    ).body
    values = {
        "status": "succeeded",
        "reference": payment["reference"],
        "payer": NUMBER,
        "limit": "100",
    }
    for route in lists:
        first = matrix.ask(
            route, matrix.service.key, query="?limit=1" if "limit" in route.queries else ""
        ).body
        assert len(first["data"]) == 1, "else nothing is proven"
        asked = {"": ""}
        for name in route.queries:
            value = first["next"] if name == "after" else values.get(name)
            assert value is not None, f"say what {name} of {route.path} may be"
            asked[name] = "?" + urllib.parse.urlencode({name: value})
        for name, query in asked.items():
            mine = matrix.ask(route, matrix.service.key, query=query)
            assert mine.body["data"], f"{route.path}{query} shows his own to the merchant"
            for who, key in matrix.strangers.items():
                answer = matrix.ask(route, key, query=query)
                if name == "after" and answer.status == 422:
                    assert [error["field"] for error in answer.body["errors"]] == ["after"]
                    continue
                assert (answer.status, answer.body["data"]) == (200, []), (who, route.path, name)


def test_a_balance_shows_nothing_of_another_merchant(matrix: Matrix):
    url = f"{matrix.service.url}{BASE}/balance"
    mine = call("GET", url, Authorization=f"Bearer {matrix.service.key}").body
    assert (mine["merchant_id"], mine["livemode"], mine["collected"] > 0) == ("mer_one", False, True)
    for who, key in matrix.strangers.items():
        theirs = call("GET", url, Authorization=f"Bearer {key}").body
        assert (theirs["merchant_id"], theirs["livemode"]) != ("mer_one", False), who
        assert {theirs[name] for name in ("collected", "refunded", "paid_out", "reserved")} == {0}, who


def test_keys_and_references_are_separate_per_merchant_and_mode(matrix: Matrix):
    makes = [
        route
        for route in matrix.those(operators=False)
        if not route.parameters
        and any(one["name"] == "Idempotency-Key" for one in route.raw.get("parameters", ()))
    ]
    assert len(makes) >= 2
    for route in makes:
        keys = [matrix.service.key, *matrix.strangers.values()]
        made = [matrix.ask(route, key, idempotency_key="the-same-for-all") for key in keys]
        # No rail account here is live, so a live key is refused and replays no stored response.
        refused = [answer for answer in made if answer.status == 422]
        assert {answer.body["code"] for answer in refused} <= {"no_rail_for_mode"}
        opened = [answer for answer in made if answer.status in (201, 202)]
        assert len(opened) + len(refused) == len(keys), [answer.raw for answer in made]
        assert len({answer.body["id"] for answer in opened}) == len(opened) >= 2
        assert not any("idempotent-replayed" in answer.headers for answer in made)


def leaks(matrix: Matrix, canaries: set[str], callers: dict[str, str]) -> list[tuple[str, str, str, str]]:
    """Which canaries an answer shows, by caller and request, without those that its request named."""
    values = {"limit": "100", "status": "succeeded", "reference": f"{CANARY}-pay", "payer": CANARY_NUMBER}
    found: list[tuple[str, str, str, str]] = []
    for route in matrix.those(operators=False) + matrix.those(operators=True):
        queries = ["", *(f"?{name}={values[name]}" for name in route.queries if name in values)]
        for who, key in callers.items():
            for query in queries:
                answer = matrix.ask(route, key, query=query)
                shown = f"{answer.headers} {answer.raw.decode()}"
                sent = f"{matrix.at(route)}{query} {route.body}"
                found += [
                    (who, route.method, route.path + query, one)
                    for one in canaries
                    if one in shown and one not in sent
                ]
    return found


def test_no_answer_shows_anything_of_another_merchant(matrix: Matrix, callers: Callers, canaries: set[str]):
    """Whatever the route and the query, an answer repeats at most what its own request named."""
    assert leaks(matrix, canaries, {**matrix.strangers, **callers.strangers}) == []


def test_a_key_that_is_not_valid_here_and_now_reaches_no_route(matrix: Matrix, callers: Callers):
    before = matrix.everything()
    expected = {
        **dict.fromkeys((*callers.expired, *callers.revoked), (401, "api_key_unknown")),
        **dict.fromkeys(callers.elsewhere, (403, "address_not_allowed")),
    }
    wrong = [
        (who, route.method, route.path, answer.status, answer.body["code"])
        for route in matrix.routes
        for who, key in {**callers.expired, **callers.revoked, **callers.elsewhere}.items()
        if ((answer := matrix.ask(route, key)).status, answer.body["code"]) != expected[who]
    ]
    assert wrong == []
    assert matrix.everything() == before


def test_a_key_with_one_scope_reaches_the_routes_of_this_scope_alone(matrix: Matrix, callers: Callers):
    wrong: list[Any] = []
    for route in matrix.routes:
        needed = ROUTE_SCOPES[route.method, route.path]
        for who, key in callers.single_scopes.items():
            answer = matrix.ask(route, key)
            refused = answer.status == 403 and answer.body["code"] == "insufficient_scope"
            if refused is (who == f"another merchant with {needed} alone"):
                wrong.append((who, route.method, route.path, answer.status))
    assert wrong == []


def test_an_operator_reaches_the_routes_of_the_role_alone(matrix: Matrix, callers: Callers):
    before = matrix.everything()
    wrong: list[Any] = []
    # The sign-out ends the token that it is called with.
    for route in sorted(matrix.routes, key=lambda one: one.path.endswith("/sign-out")):
        needed = ROUTE_ROLES.get(f"{route.method} {route.path.removeprefix(BASE)}")
        for role, token in callers.people.items():
            # Nothing is found or accepted here, so that nothing is done: permission comes first.
            answer = call(
                route.method,
                matrix.service.url + re.sub(r"\{\w+\}", "nobody", route.path),
                None if route.method == "GET" else {},
                Authorization=f"Bearer {token}",
                Idempotency_Key=uuid.uuid4().hex,
            )
            may = needed is not None and OperatorRole(role).includes(needed)
            if (answer.status in (401, 403)) is may:
                wrong.append((role, route.method, route.path, answer.status))
    assert wrong == []
    assert matrix.everything() == before


def test_an_admin_key_reaches_no_route_for_which_a_person_answers(matrix: Matrix):
    for route in matrix.those(operators=True):
        if f"{route.method} {route.path.removeprefix(BASE)}" in OPERATORS_ONLY:
            answer = matrix.ask(route, matrix.service.admin_key)
            assert (answer.status, answer.body["code"]) == (403, "forbidden"), (route.method, route.path)


def test_the_owner_can_reach_all_its_objects(matrix: Matrix):
    """Shows that the refusals above came from the ownership of the objects, not from malformed requests."""
    for route in matrix.those(operators=False):
        if route.parameters:
            answer = matrix.ask(route, matrix.service.key)
            assert answer.status in (200, 201, 202, 204), (route.method, route.path, answer.body["detail"])


def test_the_owner_sees_what_no_other_merchant_may_see(matrix: Matrix, canaries: set[str]):
    """Shows that the sweep for leaks looks where something is."""
    seen = leaks(matrix, canaries, {"the merchant": matrix.service.key})
    assert {one for *_, one in seen} >= {CANARY, CANARY_NUMBER[1:], matrix.objects["refund_id"]}


def test_sample_bodies_exist_only_for_existing_routes(matrix: Matrix):
    assert {route.schema for route in matrix.routes} - {None} == set(BODIES)
