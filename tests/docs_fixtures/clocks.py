"""The desk of docs/clocks.md."""

from paydesk import Paydesk


def setup(kit):
    return {"pay": kit.stack.enter_context(Paydesk(background=False))}
