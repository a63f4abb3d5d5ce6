"""Converts the settings of the process to those of the engine, the dispatch and the webhook dispatcher."""

from dataclasses import replace

from synccash.engine.dispatch.policy_dispatch import DispatchSettings
from synccash.engine.settings import EngineSettings
from synccash.payments.inquiry_schedule import PRODUCTION, SANDBOX
from synccash.resilience.profiles import Profile
from synccash.settings.loader import Settings, SettingsError
from synccash.webhooks.dispatcher import WebhookDispatcherSettings


def engine_settings(settings: Settings) -> EngineSettings:
    """Return the engine's settings. Raises SettingsError when they contradict each other."""
    try:
        return EngineSettings(
            public_url=settings.public_url.rstrip("/"),
            request_deadline_s=settings.request_deadline_s,
            attempt_timeout_s=settings.attempt_timeout_s,
            lease_s=settings.lease_s,
            heartbeat_s=settings.heartbeat_s,
            settle_s=settings.settle_s,
            resend_pause_max_s=settings.resend_pause_max_s,
            queue_retry_s=settings.queue_retry_s,
            recovery_depth=settings.recovery_search_attempts,
            surplus_refund=settings.surplus_refund,
            schedule=SANDBOX if settings.ladder == "sandbox" else PRODUCTION,
            worker_concurrency=settings.worker_concurrency,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error


def dispatch_settings(settings: Settings) -> DispatchSettings:
    """Return the timeouts of a call to a rail."""
    return DispatchSettings(
        attempt_timeout_s=settings.attempt_timeout_s, inquiry_timeout_s=settings.attempt_timeout_s
    )


def dispatcher_settings(settings: Settings, profile: Profile) -> WebhookDispatcherSettings:
    """Return the webhook dispatcher's settings. The lease of a delivery, and the hold of a breaker's probe,
    last longer than the longest post."""
    timeout_s, breaker = settings.webhook_timeout_s, profile.breaker
    return WebhookDispatcherSettings(
        timeout_s=timeout_s,
        lease_s=max(30.0, 2 * timeout_s),
        concurrency=settings.webhook_concurrency,
        merchant_concurrency=settings.webhook_merchant_concurrency,
        merchant_per_s=settings.webhook_merchant_per_s,
        breaker=replace(breaker, probe_hold_s=max(breaker.probe_hold_s, 2 * timeout_s)),
    )
