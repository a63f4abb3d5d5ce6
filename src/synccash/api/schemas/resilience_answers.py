"""The schemas of answers under `/resilience`: breakers, limits, idempotency, floats, health and routes."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from synccash.api.schemas.fields import CurrencyCode, Moment, RailId, described
from synccash.payments.health import HealthAspect
from synccash.payments.payer import Network
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.breaker_statistics import BOUNDS_S

_State = Annotated[BreakerState, described("forced_open lasts until an operator resets the breaker")]
_RetryAfter = Annotated[
    float | None, described("Seconds until calls may be allowed; null: they are, or it is forced open")
]
_Count = Annotated[int, Meta(ge=0)]
_Seconds = float
_BUCKETS = len(BOUNDS_S) + 1


class LastFailureShown(msgspec.Struct):
    """The latest failure; personal data in it is masked."""

    type: Annotated[str, described("The code of the cause, such as timeout; of an exception its type")]
    message: Annotated[str, described("The cause in words")]
    at: Annotated[Moment, described("When it happened")]
    action: Annotated[str | None, described("What to do about it; null: the list of causes has no such code")]


class BreakerStatisticsShown(msgspec.Struct):
    """Counts of a breaker since its process was started; `window_…` are those of its window."""

    name: Annotated[str, described("service:operation")]
    state: _State
    reason: Annotated[str, described("Why it is in this state; empty: closed from the start")]
    retry_after: _RetryAfter
    successes: Annotated[_Count, described("Calls that succeeded")]
    failures: Annotated[_Count, described("Calls that failed")]
    ignored: Annotated[_Count, described("Calls whose result says nothing about the rail")]
    blocked: Annotated[_Count, described("Calls that were refused")]
    in_a_row: Annotated[_Count, described("Failures since the latest success")]
    window_calls: Annotated[_Count, described("Calls in the window")]
    window_failures: Annotated[_Count, described("Failures in the window")]
    window_slow: Annotated[_Count, described("Slow calls in the window")]
    opened: Annotated[_Count, described("How often it opened")]
    rounds: Annotated[_Count, described("How often it opened since it was last closed")]
    probes_running: Annotated[_Count, described("Probes that are under way while it is half open")]
    probes_succeeded: Annotated[_Count, described("Probes that succeeded since it became half open")]
    durations: Annotated[
        list[_Count],
        Meta(
            min_length=_BUCKETS,
            max_length=_BUCKETS,
            description=f"Calls by duration: up to {', '.join(f'{bound:g}' for bound in BOUNDS_S)} s, longer",
        ),
    ]
    seconds: Annotated[float, Meta(ge=0, description="The sum of all durations in seconds")]
    last_failure: Annotated[LastFailureShown | None, described("null: none failed")]
    version: Annotated[_Count, described("The number of the latest action of an operator")]


class BreakerInstanceShown(msgspec.Struct):
    """A breaker as one process has it."""

    instance: Annotated[str, described("The id of the process")]
    age_s: Annotated[float, described("Seconds since the process reported")]
    state: _State
    retry_after: _RetryAfter
    reason: Annotated[str | None, described("Why it is in this state")]
    statistics: Annotated[BreakerStatisticsShown, described("The counts of this process")]


class BreakerShown(msgspec.Struct):
    """A circuit breaker over all processes: the state of the worst one, and the sums of the counts."""

    name: Annotated[str, described("service:operation, such as mtn_momo:collect")]
    service: Annotated[str, described("What it protects calls of, such as a rail")]
    operation: Annotated[str | None, described("The operation of the service")]
    state: _State
    retry_after: _RetryAfter
    reason: Annotated[str | None, described("Why it is in this state")]
    statistics: Annotated[BreakerStatisticsShown, described("The counts of all processes")]
    instances: Annotated[list[BreakerInstanceShown], described("Each process that has reported")]


class BreakerResetShown(BreakerShown):
    """A breaker after a reset."""

    reset: Annotated[list[str], described("The names of all breakers that were reset")]


class BreakerList(msgspec.Struct):
    """All circuit breakers."""

    data: Annotated[list[BreakerShown], described("The breakers, by name")]


class RateLimitShown(msgspec.Struct):
    """One limit of a key."""

    policy: Annotated[str, described("The name of the limit, as in RateLimit-Policy")]
    key: Annotated[str, described("scope:id of what is counted")]
    algorithm: Annotated[str, described("How requests are counted, such as token_bucket")]
    limit: Annotated[int, described("Requests that are allowed at once: quota and burst")]
    quota: Annotated[int, described("Requests that are allowed in a period")]
    period: Annotated[float, described("The period in seconds")]
    burst: Annotated[int, described("Requests that are allowed beyond the quota")]
    remaining: Annotated[int, described("Requests that are allowed now")]
    reset: Annotated[float, described("Seconds until the limit is unused again")]
    blocked_until: Annotated[Moment | None, described("When the block of the key ends; null: not blocked")]
    shadow: Annotated[bool, described("true: it counts, and refuses nothing")]


class RateLimitsShown(msgspec.Struct):
    """The limits of a key at an endpoint."""

    key: Annotated[str, described("The key of the request: scope:id")]
    endpoint: Annotated[str, described("The endpoint of the request")]
    degraded: Annotated[bool, described("true: in one process only, because Valkey is unreachable")]
    data: Annotated[list[RateLimitShown], described("The limits that apply")]


class BlockedKeyShown(msgspec.Struct):
    """A key that is blocked after too many refusals, or by an operator."""

    key: Annotated[str, described("scope:id; key and endpoint together unblock it")]
    endpoint: Annotated[str, described("An endpoint where the limit applies")]
    policy: Annotated[str, described("The name of the limit")]
    blocked_until: Annotated[Moment, described("When the block ends")]


class BlockedKeyList(msgspec.Struct):
    """Keys that are blocked now."""

    degraded: Annotated[bool, described("true: of one process only, because Valkey is unreachable")]
    data: Annotated[list[BlockedKeyShown], described("The keys, those that stay blocked longest first")]


class ClaimStatisticsShown(msgspec.Struct):
    """The claims of Idempotency-Keys in PostgreSQL."""

    completed: Annotated[_Count, described("Keys whose answer is stored")]
    processing: Annotated[_Count, described("Keys whose first request has no answer yet")]
    overdue: Annotated[_Count, described("Keys whose first request lost its lease")]
    oldest_processing_s: Annotated[
        float | None, described("Seconds since the oldest of them began; null: none is processing")
    ]


class IdempotencyCountsShown(msgspec.Struct):
    """What became of requests with an Idempotency-Key in this process."""

    new_request: Annotated[_Count, described("First requests")]
    cache_hit: Annotated[_Count, described("Repeats that were answered from Valkey")]
    joined: Annotated[_Count, described("Repeats that waited for the first request")]
    store_hit: Annotated[_Count, described("Repeats that were answered from PostgreSQL")]
    key_conflict: Annotated[_Count, described("Refused: the key has another request")]
    in_progress: Annotated[_Count, described("Refused: the first request was still running")]
    taken_over: Annotated[_Count, described("Claims of a process that stopped, taken over")]
    fenced_off: Annotated[_Count, described("Answers not stored: another process had taken over")]
    replayed_bytes: Annotated[_Count, described("Bytes of repeated answers")]


class IdempotencyStatsShown(msgspec.Struct):
    """What became of Idempotency-Keys."""

    window_s: Annotated[float, described("Seconds that `claims` looks back")]
    claims: Annotated[ClaimStatisticsShown, described("All processes, within the window")]
    process: Annotated[IdempotencyCountsShown, described("This process, since its start")]


class FloatShown(msgspec.Struct):
    """What a rail's account can pay out."""

    rail: RailId
    currency: CurrencyCode
    float: Annotated[int | None, described("Pesewas that any network shares; null: not known")]
    by_network: Annotated[
        dict[Network, int], described("Pesewas of the networks that have a wallet of their own")
    ]
    alarm_below: Annotated[int | None, described("Pesewas below which the float is low; null: no alarm")]
    is_low: Annotated[bool, described("true: the float is below alarm_below")]
    read_at: Annotated[Moment | None, described("When the rail reported the float")]
    age_s: Annotated[_Seconds | None, described("Seconds since then")]
    error: Annotated[str | None, described("Why the latest reading failed")]
    is_reported: Annotated[bool, described("Whether the rail reports its float at all")]


class FloatList(msgspec.Struct):
    """The floats of all rails that pay out."""

    data: Annotated[list[FloatShown], described("One for each rail")]


class TroubleShown(msgspec.Struct):
    """One trouble."""

    what: Annotated[str, described("The part of the service")]
    state: Annotated[str, described("Its state, such as open, low, away or warning")]
    detail: Annotated[str | None, described("What happened and what to do")]
    retry_after: Annotated[float | None, described("Seconds until it is tried again; null: not known")]
    cause: Annotated[str | None, described("The code of the cause, such as timeout; null: no code fits")]
    action: Annotated[str | None, described("What to do, where the cause has a code")]
    since: Annotated[Moment | None, described("The latest failure; null: not known")]


class NoticeShown(msgspec.Struct):
    """What an operator should know although nothing is wrong."""

    what: Annotated[str, described("The part of the service")]
    state: Annotated[str, described("Its state, such as off")]
    detail: Annotated[str, described("What that means")]


class DurabilityShown(msgspec.Struct):
    """The settings of PostgreSQL that decide whether a commit survives a failure."""

    synchronous_commit: Annotated[str, described("PostgreSQL's synchronous_commit")]
    fsync: Annotated[bool, described("PostgreSQL's fsync")]
    synchronous_standby_names: Annotated[str, described("PostgreSQL's synchronous_standby_names")]
    synchronous_standbys: Annotated[
        int, Meta(ge=0, description="Connected standbys; 0 also if the role may not see them")
    ]
    weaknesses: Annotated[list[str], described("What a failure could lose, and what to do about it")]


class ResilienceHealthShown(msgspec.Struct):
    """The state of the service, with each trouble and what to do about it."""

    status: Annotated[
        Literal["ok", "degraded", "unavailable"], described("unavailable: no request is accepted")
    ]
    troubles: Annotated[list[TroubleShown], described("The troubles, the worst first")]
    breakers: Annotated[dict[str, BreakerState], described("The state of each breaker")]
    notices: Annotated[list[NoticeShown], described("What an operator should know; no troubles")]
    durability: Annotated[DurabilityShown | None, described("null: PostgreSQL does not answer")]
    floats: Annotated[list[FloatShown], described("What each rail's account can pay out")]


class RouteCandidateShown(msgspec.Struct):
    """One rail that routing considered."""

    rail: RailId
    score: Annotated[float, Meta(ge=0, le=1, description="From 0 to 1: health less cost and preference")]
    health: Annotated[float, Meta(ge=0, le=1, description="From 0 (nothing works) to 1 (no fault)")]
    seen: Annotated[
        dict[HealthAspect, float], described("The share of good samples of each aspect, from 0 to 1")
    ]
    cost_percent: Annotated[float | None, described("The cost in percent of the amount; null: not set")]
    preferred: Annotated[int | None, described("The place in the operator's order, from 1; null: not in it")]
    share_percent: Annotated[float | None, described("The share of a split in percent; null: not in it")]
    skipped: Annotated[str | UnsetType, described("Why it cannot take the order now; absent: it can")] = UNSET


class RouteShown(msgspec.Struct):
    """The rail that an order would use now, and why."""

    chosen: Annotated[str | None, described("The id of the rail; null: none can take the order now")]
    reason: Annotated[str, described("Why this rail, such as best_score, only_able or split")]
    considered: Annotated[list[RouteCandidateShown], described("All rails, the available ones first")]


class RoutingMoveShown(msgspec.Struct):
    """Orders of the last hour that would have used another rail."""

    operation: Annotated[Literal["collect", "payout"], described("collect: payments")]
    former: Annotated[RailId, described("The rail that was used")]
    new: Annotated[RailId, described("The rail that would have been used")]
    orders: Annotated[int, Meta(ge=1, description="The number of orders")]
    amount: Annotated[int, Meta(ge=0, description="Pesewas of these orders together")]


class RoutingReplayShown(msgspec.Struct):
    """What other routing rules would have done with the orders of the last hour."""

    orders: Annotated[int, Meta(ge=0, description="The orders that were compared")]
    unrouted: Annotated[int, Meta(ge=0, description="Orders without a rail, which were not compared")]
    moved: Annotated[int, Meta(ge=0, description="The orders that would have used another rail")]
    moves: Annotated[list[RoutingMoveShown], described("From which rail to which, the most orders first")]
    cost_used: Annotated[float, described("Pesewas of cost of the rails used, by the new costs")]
    cost_new: Annotated[float, described("Pesewas of cost under the new rules")]
