"""Who pays in docs/disputes.md, whose bank takes it back, and how Stripe tells."""

DISPUTED_CARD = "4000000000000259"


def setup(kit):
    from paydesk import Paydesk
    from paydesk.flows import inbox

    desk = Paydesk(background=False)
    kit.stack.callback(desk.close)

    def webhooks(session):
        for one in kit.sim.deliveries():
            inbox.receive(desk.env, "stripe", one.body, one.headers)

    def pays(session, disputed=False):
        card = {"card": DISPUTED_CARD} if disputed else {}
        kit.sim.pay(session.payment.provider_session, **card)
        webhooks(session)

    def refunded_silently(session, amount_minor):
        intent = desk.payments.get(session.payment.id).provider_payment
        kit.sim.refund(intent, amount_minor, silent=True)

    return {"pays": pays, "webhooks": webhooks, "refunded_silently": refunded_silently}
