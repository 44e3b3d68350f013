"""The catalogue at a provider over HTTP and from the library."""

from __future__ import annotations

from http_support import problem_of

from paydesk import USD, Paydesk


def test_an_admin_pushes_and_finance_looks(http, make, env, sim):  # S4.1 C22
    make.pack("creator", price=USD("9.99"), credits=150)
    admin, finance = http.as_user("boss", role="admin"), http.as_user("fin", role="finance")
    (one,) = finance.get("/v1/catalog/drift").json()["data"]
    assert (one["type"], one["key"], one["changed"]) == ("only_here", "creator", "here")
    problem_of(finance.post("/v1/catalog/sync", json={}), 403, "not_permitted")
    dry = admin.post("/v1/catalog/sync", json={"dry_run": True}).json()
    assert dry["changes"][0]["actions"] == ["create", "price"]
    done = admin.post("/v1/catalog/sync", json={})
    assert done.status_code == 200, done.text
    assert done.json()["changes"][0]["product"].startswith("prod_")
    assert admin.post("/v1/catalog/sync", json={}).json()["unchanged"] == 1
    assert finance.get("/v1/catalog/drift").json()["data"] == []
    problem_of(admin.post("/v1/catalog/sync", json={"adopt": "nobody"}), 404, "not_found")
    problem_of(admin.get("/v1/catalog/drift?provider=manual"), 422, "not_supported")
    pay = Paydesk(env=env, background=False)
    assert pay.catalog.drift() == [] and pay.catalog.sync().changes == ()
