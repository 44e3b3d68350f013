"""Who pays in docs/wallets.md."""


def setup(kit):
    return {"pays": lambda session: kit.sim.pay(session.payment.provider_session)}
