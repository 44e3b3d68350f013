"""Webhooks in: four paths, one inbox. Verified, stored, committed, and only then acknowledged.

No provider is asked about an event before it is acknowledged: what needs that is taken up after.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paydesk.errors import InvalidSignature, NotFound, PaydeskError
from paydesk.flows import inbox
from paydesk.http.batches import Batcher
from paydesk.http.fields import reply
from paydesk.http.routes import PUBLIC, cell, enter, env_of
from paydesk.http.v1.models import Out, Received

if TYPE_CHECKING:
    from paydesk.env import Env

#: Groups under way at once: one whose customer is held elsewhere holds up only its own.
THREADS = 3
#: A sender waits so long for its acknowledgment, above the provider's own limit.
PATIENCE_S = 15.0
#: The documents' own paths; all of them are Stripe's.
PATHS = {
    "/api/credits/webhook": {"status": "success"},
    "/payment/webhooks/stripe": {"received": True},
    "/api/webhooks/stripe": {"received": True},
    "/payments/stripe/webhook": {"received": True},
}
V1_PATH = "/v1/webhooks/{provider}"


class Success(Out):
    """The credits family's answer."""

    status: str


async def compat(request: Request) -> Response:
    path = request.url.path
    enter(request.scope, frozenset({PUBLIC}), path)
    await receive(request, "stripe")
    return reply(PATHS[path])


async def v1(request: Request) -> Response:
    enter(request.scope, frozenset({PUBLIC}), V1_PATH)
    name = request.path_params["provider"]
    if name not in env_of(request).providers:
        raise NotFound("No such provider.", param="provider")
    await receive(request, name)
    return reply({"received": True})


async def receive(request: Request, provider: str) -> None:
    """Raises InvalidSignature, and Unavailable when it could not be stored: the sender repeats."""
    body = await request.body()
    inboxes: Inboxes = request.app.state.inboxes
    answer = await inboxes.of(provider).ask((body, _headers(request)), timeout_s=PATIENCE_S)
    if isinstance(answer, PaydeskError):
        raise answer


class Inboxes:
    """What arrives at a provider's inbox while a group is being stored is the next group."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._by_provider: dict[str, Batcher[inbox.Delivery, Any]] = {}
        self.takers = inbox.Takers(env)

    def of(self, provider: str) -> Batcher[inbox.Delivery, Any]:
        if provider not in self._by_provider:
            self._by_provider[provider] = Batcher(
                f"inbox-{provider}",
                partial(inbox.receive_many, self._env, provider,
                        hand_over=partial(self.takers.wake, provider)),
                max_group=inbox.GROUP, threads=THREADS,
            )  # fmt: skip
        return self._by_provider[provider]

    def close(self) -> None:
        for one in self._by_provider.values():
            one.close()
        self.takers.close()


def _headers(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if name in found and name.endswith("signature"):
            raise InvalidSignature("The signature header came twice.")
        found[name] = value
    return found


def _operation(summary: str, answer: Any) -> dict[str, Any]:
    return {
        "summary": summary, "tags": ["webhooks"], **cell(PUBLIC)["openapi_extra"],
        "answer": answer, "signed": True,
        "description": "Signed by the provider. 2xx means stored, not yet applied. A wrong"
        " signature is a 400 `webhook_signature_invalid` (PAY005).",
    }  # fmt: skip


OPERATIONS: dict[tuple[str, str], dict[str, Any]] = {
    (V1_PATH, "post"): _operation("Receive a provider's webhook", Received),
    **{
        (path, "post"): _operation(
            "Receive a Stripe webhook", Success if "status" in answer else Received
        )
        for path, answer in PATHS.items()
    },
}
ROUTES = [
    Route(V1_PATH, v1, methods=["POST"]),
    *(Route(path, compat, methods=["POST"]) for path in PATHS),
]
