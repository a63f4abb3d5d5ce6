"""The one place that builds clients of Valkey (or Redis >= 7)."""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

UNREACHABLE = (RedisError, OSError, TimeoutError)
"""What a client raises when Valkey does not do what it was told."""

_DEADLINE_S = 0.05


def build_client(url: str, *, deadline_s: float = _DEADLINE_S) -> Redis:
    """Return a client that connects at its first command, and again after a loss at the next one.

    A command is sent once and answered within `deadline_s` seconds, or raises one of UNREACHABLE: redis-py's
    own ten retries would keep a request waiting for seconds, and count it more than once.
    Raises ValueError for a URL that is none of `redis://`, `rediss://` and `unix://`.
    """
    try:
        return Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=deadline_s,
            socket_connect_timeout=deadline_s,
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as error:
        # The URL may hold a password: only what is wrong with it is told.
        raise ValueError(f"SYNCCASH_VALKEY_URL cannot be used: {error}") from None


async def ping(client: Redis) -> bool:
    """Whether Valkey answers within the client's deadline."""
    try:
        return bool(await client.ping())
    except UNREACHABLE:
        return False
