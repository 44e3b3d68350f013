"""The desk of docs/subscriptions.md."""

from paydesk import USD, Paydesk


def setup(kit):
    return {"pay": kit.stack.enter_context(Paydesk(background=False)), "USD": USD}
