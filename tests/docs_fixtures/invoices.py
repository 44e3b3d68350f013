"""Who pays in docs/invoices.md."""


def setup(kit):
    return {"pays": lambda session: kit.sim.pay(session.payment.provider_session)}
