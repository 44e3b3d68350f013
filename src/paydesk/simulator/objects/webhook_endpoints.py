"""Webhook endpoints: where events are sent and what signs them."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..config import Webhook
from ..engine import Call, operation
from ..errors import StripeError
from . import listing

MAX_ENDPOINTS = 16


def make(call: Call, given: dict[str, Any], secret: str) -> dict[str, Any]:
    return call.save(
        {
            "id": ids.new("webhook_endpoint"),
            "object": "webhook_endpoint",
            "api_version": given.get("api_version"),
            "application": None,
            "created": call.now,
            "description": given.get("description") or None,
            "enabled_events": list(given["enabled_events"]),
            "livemode": False,
            "metadata": listing.merged_metadata({}, given.get("metadata")),
            "status": "enabled",
            "url": listing.check_url(given["url"], "url"),
            "_secret": secret,
        }
    )


def register_configured(call: Call, webhooks: tuple[Webhook, ...]) -> None:
    """Bring the endpoints given by configuration up to date: one each, never a second one.

    One that was given before and is not any more goes; those made through the API stay.
    """
    known = {
        item["url"]: item for item in call.tx.scan("webhook_endpoint") if item.get("_configured")
    }
    for webhook in webhooks:
        item = known.pop(webhook.url, None)
        given = {
            "url": webhook.url, "enabled_events": webhook.enabled_events,
            "api_version": webhook.api_version,
        }
        item = item or make(call, given, webhook.secret)
        item |= {
            "_secret": webhook.secret, "_configured": True, "status": "enabled",
            "enabled_events": list(webhook.enabled_events), "api_version": webhook.api_version,
        }
        call.save(item)
    for item in known.values():
        call.tx.remove(item["id"])


@operation("POST /v1/webhook_endpoints")
def create(call: Call) -> dict[str, Any]:
    """The signing secret is shown in this answer alone."""
    if sum(1 for _ in call.tx.scan("webhook_endpoint")) >= MAX_ENDPOINTS:
        raise StripeError("You have reached the maximum of 16 test webhook endpoints.")
    if not call.params["enabled_events"]:
        raise StripeError("You must list at least one event.", param="enabled_events")
    endpoint = make(call, call.params, "whsec_" + ids.token(32))
    return {**endpoint, "secret": endpoint["_secret"]}


@operation("GET /v1/webhook_endpoints/{webhook_endpoint}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


@operation("POST /v1/webhook_endpoints/{webhook_endpoint}")
def update(call: Call) -> dict[str, Any]:
    endpoint, params = _found(call), call.params
    listing.assign(endpoint, params, ("description", "enabled_events"))
    if "url" in params:
        endpoint["url"] = listing.check_url(params["url"], "url")
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    endpoint["metadata"] = listing.merged_metadata(endpoint["metadata"], params.get("metadata"))
    return call.save(endpoint)


@operation("DELETE /v1/webhook_endpoints/{webhook_endpoint}")
def delete(call: Call) -> dict[str, Any]:
    endpoint = _found(call)
    call.tx.remove(endpoint["id"])
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


@operation("GET /v1/webhook_endpoints")
def list_all(call: Call) -> dict[str, Any]:
    return listing.page(call, "webhook_endpoint", "/v1/webhook_endpoints")


def _found(call: Call) -> dict[str, Any]:
    return call.find("webhook_endpoint", call.path["webhook_endpoint"], "id")
