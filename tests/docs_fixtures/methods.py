"""Where tokens come from in docs/methods.md: the provider's form in a browser."""


def setup(kit):
    def token(name):
        made = kit.sim.request(
            "POST", "/v1/payment_methods", {"type": "card", "card": {"token": name}}
        )
        return made["id"]

    return {"token": token}
