"""What one operator may not do alone waits for a second one, and is then done exactly once."""

import asyncio
import contextlib
import uuid

import pytest

from api.served import served
from encryption_samples import ENCRYPTION
from service.operators import PASSWORD, token_of
from service.test_canary import CANARY, LOCAL, NAME, in_database
from service.test_operators import audit_of, opened_operators
from synccash.administration.service import Administration
from synccash.payments.access import AccessScope, OperatorRole
from synccash.payments.api_key import NewApiKey, new_secret
from synccash.payments.approval import Execution, ExecutionEndedError
from synccash.payments.request import Role
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.pool import connect

OPERATOR = OperatorRole.OPERATOR
PEOPLE = {"ama": "admin", "kofi": "operator", "esi": "operator", "yaw": "viewer"}


class Installation:
    """A service with operators, each with a token."""

    def __init__(self, api, pool, tokens):
        self.api, self.pool, self.tokens = api, pool, tokens

    async def send(self, who, method, path, body=None):
        return await self.api.send(method, path, body, key=self.tokens.get(who, self.api.admin_key))

    async def parked(self):
        """A payment under review. The raised fence stops the work on it that is still under way."""
        payment = (await self.api.pay()).json()["id"]
        await self.pool.execute(
            "UPDATE payments SET status = 'processing', status_detail = 'under_review', fence = fence + 1, "
            "version = version + 1, lease_until = NULL, due_at = now() + interval '1 day' WHERE id = $1",
            payment,
        )
        return payment

    async def resolve(self, who, payment):
        body = {"outcome": "failed", "evidence": "statement line 7"}
        return await self.send(who, "POST", f"/payments/{payment}/resolve", body)

    async def credit(self, who, amount, **more):
        body = {
            "merchant_id": "mer_test",
            "livemode": False,
            "currency": "GHS",
            "amount": amount,
            "reason": "prefunded",
            **more,
        }
        return await self.send(who, "POST", "/admin/balances/credit", body)

    async def approve(self, who, approval, reason="looked at it"):
        return await self.send(who, "POST", f"/approvals/{approval}/approve", {"reason": reason})

    async def granted(self):
        return await self.pool.fetchval(
            "SELECT coalesce(sum(amount), 0)::bigint FROM balance_entries WHERE source LIKE 'credit:%:apr_%'"
        )

    async def status(self, payment):
        return await self.pool.fetchval("SELECT status FROM payments WHERE id = $1", payment)

    async def timeline(self, payment):
        return (await self.send("yaw", "GET", f"/admin/orders/{payment}")).json()["timeline"]


@contextlib.asynccontextmanager
async def installed(database_url, people=PEOPLE, **settings):
    async with served(database_url, **settings) as api:
        async with opened_operators(database_url) as store:
            tokens = {name: await token_of(store, name, role) for name, role in people.items()}
        pool = await connect(database_url, min_size=0, max_size=2)
        try:
            yield Installation(api, pool, tokens)
        finally:
            await pool.close()


async def test_a_second_operator_approves_what_the_first_one_asked_for(database_url):
    async with installed(database_url) as service:
        payment = await service.parked()
        asked = await service.resolve("kofi", payment)
        assert asked.status_code == 202, asked.text
        approval = asked.json()
        assert (approval["status"], approval["action"], approval["target"], approval["requested_by"]) == (
            "pending",
            "payment_resolve",
            payment,
            "operator:kofi",
        )
        assert await service.status(payment) == "processing"
        for who, code in (("kofi", 403), ("yaw", 403), ("an admin key", 403)):
            assert (await service.approve(who, approval["id"])).status_code == code, who
        assert await service.status(payment) == "processing"
        done = await service.approve("esi", approval["id"])
        assert done.status_code == 200, done.text
        assert (done.json()["approval"]["status"], done.json()["result"]["status"]) == ("executed", "failed")
        assert (await service.approve("ama", approval["id"])).status_code == 409
        resolved = [one for one in await service.timeline(payment) if one["kind"] == "resolved"]
        assert len(resolved) == 1
        assert "operator:kofi and operator:esi" in resolved[0]["by"]
        entries = await audit_of(database_url)
        assert {(one.actor, one.action) for one in entries if one.target == payment} >= {
            ("operator:kofi", "payment_resolve_request"),
            ("operator:esi", "payment_resolve_approve"),
        }


async def test_an_admin_key_cannot_do_alone_what_needs_two_people(database_url):
    async with installed(database_url) as service:
        payment = await service.parked()
        refused = await service.resolve("an admin key", payment)
        assert (refused.status_code, refused.json()["code"]) == (403, "second_operator_needed")
        assert await service.status(payment) == "processing"


@pytest.mark.parametrize(
    ("people", "settings", "word"),
    [({"ama": "admin", "yaw": "viewer"}, {}, "Fewer than two"), (PEOPLE, {"four_eyes": "off"}, "setting")],
)
async def test_one_operator_acts_alone_where_there_is_no_second_and_health_says_so(
    database_url, people, settings, word
):
    async with installed(database_url, people, **settings) as service:
        payment = await service.parked()
        assert (await service.resolve("ama", payment)).json()["status"] == "failed"
        (notice,) = (await service.send("yaw", "GET", "/resilience/health")).json()["notices"]
        assert (notice["what"], notice["state"]) == ("four_eyes", "off")
        assert word in notice["detail"]


async def test_with_two_operators_health_has_no_notice(database_url):
    async with installed(database_url) as service:
        assert (await service.send("yaw", "GET", "/resilience/health")).json()["notices"] == []


async def test_many_approvals_at_once_execute_an_action_once(database_url):
    async with installed(database_url) as service:
        approval = (await service.credit("ama", 2500)).json()["id"]
        assert await service.granted() == 0
        tries = [service.approve(who, approval) for who in ("kofi", "esi") * 5]
        codes = [one.status_code for one in await asyncio.gather(*tries)]
        assert codes.count(200) == 1, codes
        assert set(codes) == {200, 409}
        assert await service.granted() == 2500


async def test_an_action_waits_once_and_a_lower_credit_needs_nobody(database_url):
    async with installed(database_url) as service:
        first = (await service.credit("ama", 2500)).json()["id"]
        again = await service.credit("ama", 2500)
        assert (again.status_code, again.json()["approval_id"]) == (409, first)
        assert (await service.credit("kofi", 100)).status_code == 403, "only an admin grants credit"
        lowered = await service.credit("ama", -100)
        assert (lowered.status_code, lowered.json()["granted"]) == (200, -100)


@pytest.mark.parametrize("was_executed", [False, True])
async def test_an_approved_action_is_executed_after_its_process_has_died(database_url, was_executed):
    async with installed(database_url) as service:
        payment = await service.parked()
        approval = (await service.resolve("kofi", payment)).json()["id"]
        # The process of the first approval died: before the action, or after it and before the end.
        approvals = PostgresApprovals(Database(service.pool, encryption=ENCRYPTION))
        assert await approvals.approve(
            approval, by="operator:esi", reason="seen", execute_s=0.0, role=OPERATOR
        )
        if was_executed:
            await service.approve("ama", approval)
            await service.pool.execute(
                "UPDATE approvals SET status = 'approved', execute_until = now() WHERE id = $1", approval
            )
        done = await service.approve("ama", approval)
        assert done.status_code == 200, done.text
        assert (done.json()["approval"]["status"], done.json()["result"]["status"]) == ("executed", "failed")
        assert done.json()["approval"]["decided_by"] == "operator:esi"
        assert [one["kind"] for one in await service.timeline(payment)].count("resolved") == 1


async def test_while_an_approved_action_runs_nobody_else_runs_it(database_url):
    async with installed(database_url) as service:
        approval = (await service.credit("ama", 2500)).json()["id"]
        approvals = PostgresApprovals(Database(service.pool, encryption=ENCRYPTION))
        assert await approvals.approve(
            approval, by="operator:esi", reason="seen", execute_s=60.0, role=OPERATOR
        )
        refused = await service.approve("kofi", approval)
        assert (refused.status_code, "being executed" in refused.json()["detail"]) == (409, True)


MADE = "SELECT (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM operators)"
"""How many keys and operators there are."""
REFUSE_THE_RECORD = """
CREATE FUNCTION refuse_the_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER refuse_the_record BEFORE UPDATE ON approvals FOR EACH ROW WHEN (NEW.status = 'executed')
    EXECUTE FUNCTION refuse_the_record();
"""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/api-keys", {"merchant_id": "mer_test", "livemode": True, "scopes": ["payouts:write"]}),
        ("/admin/api-keys/{key}/rotate", {"overlap_s": 60}),
        ("/operators", {"name": "abena", "role": "viewer", "reason": "hired"}),
    ],
)
async def test_a_secret_is_made_once_though_its_first_execution_was_not_recorded(database_url, path, body):
    async with installed(database_url) as service:
        new = NewApiKey(
            secret=new_secret(Role.MERCHANT, livemode=True),
            role=Role.MERCHANT,
            merchant_id="mer_test",
            livemode=True,
            scopes=frozenset({AccessScope.PAYOUTS_WRITE}),
        )
        key = (await Administration(Database(service.pool)).create_key(new, by="test"))["id"]
        approval = (await service.send("ama", "POST", path.format(key=key), body)).json()["id"]
        before = await service.pool.fetchval(MADE)
        await service.pool.execute(REFUSE_THE_RECORD)
        assert (await service.approve("kofi", approval)).status_code == 503
        assert await service.pool.fetchval(MADE) == before
        await service.pool.execute("DROP TRIGGER refuse_the_record ON approvals")
        await service.pool.execute("UPDATE approvals SET execute_until = now() WHERE id = $1", approval)
        done = await service.approve("kofi", approval)
        assert (done.status_code, done.json()["approval"]["status"]) == (200, "executed"), done.text
        assert {"secret", "enrolment_code_half"} & set(done.json()["result"])
        assert await service.pool.fetchval(MADE) == before + 1


async def test_an_execution_that_was_taken_over_changes_nothing(database_url):
    async with installed(database_url) as service:
        approval = (await service.send("ama", "POST", "/admin/api-keys", LIVE_PAYOUTS)).json()["id"]
        database = Database(service.pool, encryption=ENCRYPTION)
        slow = await PostgresApprovals(database).approve(
            approval, by="operator:esi", reason="seen", execute_s=0.0, role=OPERATOR
        )
        assert (await service.approve("kofi", approval)).status_code == 200
        made = await service.pool.fetchval(MADE)
        new = NewApiKey(
            secret=new_secret(Role.MERCHANT, livemode=True),
            role=Role.MERCHANT,
            merchant_id="mer_test",
            livemode=True,
            scopes=frozenset({AccessScope.PAYOUTS_WRITE}),
        )
        execution = Execution(approval, slow.execute_until)
        with pytest.raises(ExecutionEndedError):
            await Administration(database).create_key(new, by="slow", execution=execution)
        assert await service.pool.fetchval(MADE) == made


@pytest.mark.parametrize("was_executed", [False, True])
async def test_an_approved_action_that_does_not_end_can_be_declined(database_url, was_executed):
    async with installed(database_url) as service:
        payment = await service.parked()
        approval = (await service.resolve("kofi", payment)).json()["id"]
        approvals = PostgresApprovals(Database(service.pool, encryption=ENCRYPTION))
        assert await approvals.approve(
            approval, by="operator:esi", reason="seen", execute_s=60.0, role=OPERATOR
        )
        path, body = f"/approvals/{approval}/decline", {"reason": "it keeps failing"}
        assert (await service.send("ama", "POST", path, body)).status_code == 409, "it is being executed"
        await service.pool.execute("UPDATE approvals SET execute_until = now()")
        if was_executed:
            await service.approve("ama", approval)
            # The process died after the commit of the order and before the record of the execution.
            await service.pool.execute("UPDATE approvals SET status = 'approved', execute_until = now()")
        answer = await service.send("ama", "POST", path, body)
        assert answer.status_code == (409 if was_executed else 200), answer.text
        shown = (await service.send("ama", "GET", f"/approvals/{approval}")).json()["status"]
        assert shown == ("executed" if was_executed else "declined")
        declined = [one for one in await audit_of(database_url) if one.action == "payment_resolve_decline"]
        assert [one.actor for one in declined] == ([] if was_executed else ["operator:ama"])
        assert (await service.approve("esi", approval)).status_code == 409
        again = await service.resolve("kofi", payment)
        assert again.status_code == (409 if was_executed else 202), again.text


async def test_a_declined_an_expired_and_an_orphaned_action_are_never_executed(database_url):
    async with installed(database_url) as service:
        declined = (await service.credit("ama", 1)).json()["id"]
        told = await service.send("kofi", "POST", f"/approvals/{declined}/decline", {"reason": "no contract"})
        assert told.json()["status"] == "declined"
        expired = (await service.credit("ama", 2)).json()["id"]
        await service.pool.execute("UPDATE approvals SET expires_at = now() WHERE id = $1", expired)
        for approval in (declined, expired):
            assert (await service.approve("kofi", approval)).status_code == 409
        payment = await service.parked()
        orphaned = (await service.resolve("kofi", payment)).json()["id"]
        off = await service.send("ama", "POST", "/operators/kofi/disable", {"reason": "left"})
        assert off.status_code == 200, off.text
        # Not even after the operator is back.
        await service.pool.execute("UPDATE operators SET disabled_at = NULL")
        assert (await service.approve("esi", orphaned)).status_code == 409
        assert (await service.granted(), await service.status(payment)) == (0, "processing")
        listed = (await service.send("yaw", "GET", "/approvals?status=expired")).json()["data"]
        assert {one["id"] for one in listed} == {expired, orphaned}


async def test_what_was_requested_by_an_operator_who_is_reset_is_not_executed(database_url):
    async with installed(database_url) as service:
        payment = await service.parked()
        stolen = (await service.resolve("kofi", payment)).json()["id"]
        async with opened_operators(database_url) as operators:
            await operators.reset("kofi", by="operator:ama", reason="stolen laptop")
        assert (await service.approve("esi", stolen)).status_code == 409
        assert await service.status(payment) == "processing"


@pytest.mark.parametrize("former", ["ama", "kofi"])
async def test_who_has_lost_the_role_neither_requests_nor_approves(database_url, former):
    async with installed(database_url) as service:
        approval = (await service.credit("ama", 2500)).json()["id"]
        # The processes that have the token in their cache know the former role for 5 s more.
        await service.send(former, "GET", "/approvals")
        role = "operator" if former == "ama" else "viewer"
        await service.pool.execute("UPDATE operators SET role = $2 WHERE name = $1", former, role)
        assert (await service.approve("kofi", approval)).status_code == 409
        assert await service.granted() == 0


async def test_a_reset_of_the_only_other_operator_lets_nobody_act_alone(database_url):
    async with installed(database_url, {"ama": "admin", "kofi": "operator"}) as service:
        path = "/operators/kofi/reset"
        reset = await service.send("ama", "POST", path, {"reason": "lost phone"})
        assert (await service.approve("kofi", reset.json()["id"])).status_code == 200
        assert (await service.credit("ama", 2500)).status_code == 202
        assert (await service.send("ama", "POST", path, {"reason": "again"})).status_code == 202
        await service.pool.execute("UPDATE operators SET enrolment_expires_at = now() WHERE name = 'kofi'")
        assert (await service.credit("ama", 2600, key="later")).status_code == 200


async def test_an_action_that_became_impossible_fails_and_says_why(database_url):
    async with installed(database_url) as service:
        payment = await service.parked()
        approval = (await service.resolve("kofi", payment)).json()["id"]
        await service.pool.execute(
            "UPDATE payments SET status_detail = 'outcome_unknown' WHERE id = $1", payment
        )
        assert (await service.approve("esi", approval)).status_code == 409
        shown = (await service.send("yaw", "GET", f"/approvals/{approval}")).json()
        assert shown["status"] == "failed"
        assert "outcome_unknown" in shown["failure"]


async def test_the_database_shows_nothing_of_what_operators_write_about_an_action(database_url):
    async with installed(database_url) as service:
        texts = {"reason": f"{NAME} called from {LOCAL}", "key": f"receipt of {CANARY}"}
        credit = (await service.credit("ama", 2500, **texts)).json()["id"]
        payment = await service.parked()
        evidence = {"outcome": "failed", "evidence": f"{LOCAL} was not debited"}
        resolve = (await service.send("kofi", "POST", f"/payments/{payment}/resolve", evidence)).json()["id"]
        decision = {"reason": f"asked {CANARY}"}
        declined = await service.send("kofi", "POST", f"/approvals/{credit}/decline", decision)
        done = await service.send("esi", "POST", f"/approvals/{resolve}/approve", decision)
        assert (declined.status_code, done.status_code) == (200, 200), done.text
        shown = (await service.send("yaw", "GET", "/approvals")).json()["data"]
        assert [one["decision_reason"] for one in shown] == [decision["reason"]] * 2
        assert [one["reason"] for one in shown] == [evidence["evidence"], texts["reason"]]
        assert shown[1]["parameters"]["key"] == texts["key"]
    # The names that operators write are in the audit log, which masks numbers only.
    found = await asyncio.to_thread(in_database, database_url)
    assert [one for one in found if NAME not in one or not one.startswith("table audit")] == []


async def test_a_payout_needs_a_second_operator_above_the_limit_only(database_url):
    limits = {"payout_review_from": 1, "four_eyes_payout_above": 5000}
    async with installed(database_url, **limits) as service:
        await service.pool.execute(
            "INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source) "
            "VALUES ('mer_test', false, 'GHS', 'credit', 1000000, 'test')"
        )
        for amount, code in ((5000, 200), (5001, 202)):
            body = {
                "amount": amount,
                "currency": "GHS",
                "payee": {"msisdn": "0241234567"},
                "reference": uuid.uuid4().hex,
            }
            made = await service.api.send("POST", "/payouts", body, Idempotency_Key=uuid.uuid4().hex)
            assert made.json()["status_detail"] == "risk_review", made.text
            path = f"/payouts/{made.json()['id']}/approve"
            answer = await service.send("kofi", "POST", path, {"reason": "wages"})
            assert answer.status_code == code, answer.text
        expected = {"amount": 5001, "currency": "GHS", "livemode": False}
        assert answer.json()["parameters"] == expected, "the second operator sees what is paid out"


async def test_a_new_operator_needs_a_second_one_and_each_has_half_of_the_code(database_url):
    async with installed(database_url) as service:
        body = {"name": "abena", "role": "admin", "reason": "hired"}
        asked = await service.send("ama", "POST", "/operators", body)
        assert asked.status_code == 202
        first = asked.json()["enrolment_code_half"]
        done = (await service.approve("kofi", asked.json()["id"])).json()
        second = done["result"]["enrolment_code_half"]
        shown = await service.send("ama", "GET", f"/approvals/{asked.json()['id']}")
        assert first not in shown.text
        assert second not in shown.text
        digest = shown.json()["parameters"]["code_half_sha256"]
        for code in (first, second, f"{second}.{first}", f"{digest}.{second}", f"{first}.{second}"):
            body = {"name": "abena", "code": code, "password": PASSWORD}
            answer = await service.api.client.post("/api/v1/operators/enrol", json=body)
            assert (answer.status_code == 200) == (code == f"{first}.{second}"), answer.text


async def test_who_approves_a_reset_cannot_be_that_operator(database_url):
    async with installed(database_url) as service:
        asked = await service.send("ama", "POST", "/operators/esi/reset", {"reason": "lost phone"})
        done = (await service.approve("kofi", asked.json()["id"])).json()
        code = done["result"]["enrolment_code_half"]
        body = {"name": "esi", "code": code, "password": PASSWORD}
        answer = await service.api.client.post("/api/v1/operators/enrol", json=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_refused")


async def test_an_admin_who_disables_all_others_still_needs_a_second_operator_for_a_day(database_url):
    async with installed(database_url) as service:
        for other in ("kofi", "esi"):
            off = await service.send("ama", "POST", f"/operators/{other}/disable", {"reason": "x"})
            assert off.status_code == 200, off.text
        assert (await service.credit("ama", 2500)).status_code == 202
        await service.pool.execute("UPDATE operators SET disabled_at = disabled_at - interval '25 hours'")
        assert (await service.credit("ama", 2600, key="later")).json()["granted"] == 2600


LIVE_PAYOUTS = {"merchant_id": "mer_test", "livemode": True, "scopes": ["payouts:write"]}


async def test_a_live_key_that_pays_out_needs_a_second_operator_who_gets_its_secret(database_url):
    async with installed(database_url) as service:
        refused = await service.send("an admin key", "POST", "/admin/api-keys", LIVE_PAYOUTS)
        assert (refused.status_code, refused.json()["code"]) == (403, "second_operator_needed")
        before = await service.pool.fetchval("SELECT count(*) FROM api_keys")
        asked = await service.send("ama", "POST", "/admin/api-keys", LIVE_PAYOUTS)
        assert (asked.status_code, "sk_live" in asked.text) == (202, False), asked.text
        assert await service.pool.fetchval("SELECT count(*) FROM api_keys") == before
        done = await service.approve("kofi", asked.json()["id"])
        assert done.status_code == 200, done.text
        made = done.json()["result"]
        assert made["secret"].startswith("sk_live_")
        assert made["scopes"] == ["payouts:write"]
        shown = await service.send("ama", "GET", f"/approvals/{asked.json()['id']}")
        assert made["secret"] not in shown.text
        path = f"/admin/api-keys/{made['id']}/rotate"
        assert (await service.send("an admin key", "POST", path, {})).status_code == 403
        asked = await service.send("ama", "POST", path, {"overlap_s": 60})
        assert (asked.status_code, "sk_live" in asked.text) == (202, False), asked.text
        done = await service.approve("kofi", asked.json()["id"])
        assert done.json()["result"]["secret"].startswith("sk_live_"), done.text


@pytest.mark.parametrize("harmless", [{"livemode": False}, {"scopes": ["payments:write"]}, {"scopes": None}])
async def test_another_key_needs_one_admin_only(database_url, harmless):
    async with installed(database_url) as service:
        made = await service.send("ama", "POST", "/admin/api-keys", {**LIVE_PAYOUTS, **harmless})
        assert made.status_code == 201, made.text
        rotated = await service.send("ama", "POST", f"/admin/api-keys/{made.json()['id']}/rotate", {})
        assert rotated.status_code == 200, rotated.text


ADMIN_KEY = {"merchant_id": None, "livemode": False}


async def test_an_admin_key_makes_and_replaces_no_admin_key(database_url):
    async with installed(database_url, {"ama": "admin"}) as service:
        made = await service.send("ama", "POST", "/admin/api-keys", {**ADMIN_KEY, "scopes": ["admin:read"]})
        assert made.status_code == 201, made.text
        rotate = f"/admin/api-keys/{made.json()['id']}/rotate"
        before = await service.pool.fetchval(MADE)
        for path, body in (("/admin/api-keys", ADMIN_KEY), (rotate, {})):
            refused = await service.send("an admin key", "POST", path, body)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), refused.text
        assert await service.pool.fetchval(MADE) == before
        assert (await service.send("ama", "POST", rotate, {})).status_code == 200


async def test_an_admin_key_outlives_who_made_it_so_it_needs_a_second_operator(database_url):
    async with installed(database_url) as service:
        asked = await service.send("ama", "POST", "/admin/api-keys", ADMIN_KEY)
        assert (asked.status_code, "sk_admin" in asked.text) == (202, False), asked.text
        done = await service.approve("kofi", asked.json()["id"])
        made = done.json()["result"]
        assert made["secret"].startswith("sk_admin_"), done.text
        asked = await service.send("ama", "POST", f"/admin/api-keys/{made['id']}/rotate", {})
        assert asked.status_code == 202, asked.text
