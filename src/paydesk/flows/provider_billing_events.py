"""News of subscriptions and invoices that a provider bills: it is asked how they stand.

What is asked for is laid down whole, so that the order of events, repeats and losses change
nothing. Only where the provider does not have the object any more does a signed event speak for
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from paydesk import crash
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Busy, NotFound, ProviderRefused
from paydesk.flows import heads, subscription_promos
from paydesk.flows import provider_billing_books as books
from paydesk.flows import provider_billing_invoices as mirror
from paydesk.flows import provider_billing_items as items
from paydesk.flows import provider_prices as prices
from paydesk.flows import subscription_steps as steps
from paydesk.flows.provider_billing_invoices import Heard, Whose
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.sweeps import SET_BACK, each, one_row
from paydesk.providers.base import Charge, ProviderEvent
from paydesk.providers.billing import RemoteInvoice, RemotePage, RemoteSubscription
from paydesk.rules import subscriptions as rules
from paydesk.rules.money import Money

#: How often the provider is asked anew because something changed here meanwhile.
MAX_ASKS = 4
#: Invoices are asked for from so long before the oldest that is not settled.
OVERLAP = timedelta(days=2)
#: How the provider's names of what is to come begin.
SCHEDULE = "sub_sched_"
#: What an invoice that stands so can become no more.
SETTLED = frozenset({"paid", "void"})


def apply_event(
    env: Env, *, provider: str, account: str, owner: tuple[UUID, UUID], event: ProviderEvent,
    path: str, wait_s: float,
) -> None:  # fmt: skip
    """A provider says that something of a subscription changed.

    Raises NotFound where it stands for no plan of ours: the event waits, and can be replayed.
    """
    assert event.ref is not None
    _check_still(env, owner[0])
    try:
        if event.kind == "invoice.updated":
            _invoice(env, provider, owner[0], event.ref, path, wait_s)
        elif event.ref.startswith("cs_"):
            _page(env, provider, owner[0], event.ref, path, wait_s)
        elif event.ref.startswith(SCHEDULE):
            _schedule(env, provider, account, owner[0], event, path, wait_s)
        else:
            sync(env, provider, owner[0], event.ref, path=path, wait_s=wait_s)
    except ProviderRefused:
        if event.ref.startswith(SCHEDULE):
            return  # It says nothing by itself: what comes of it has events of its own.
        told = env.providers[provider].billing_told(event.body)
        if told is None or not (env.settings.events_are_proof
                                and env.providers[provider].events_are_proof):  # fmt: skip
            raise
        _believe(env, provider, owner[0], told.what, told.at, path, wait_s)


def apply_about(
    env: Env, *, provider: str, account: str, owner: tuple[UUID, UUID], about: str, path: str,
    wait_s: float,
) -> None:  # fmt: skip
    """`apply_event` for any number of events of one subscription: the answer settles them all."""
    _check_still(env, owner[0])
    sync(env, provider, owner[0], about, path=path, wait_s=wait_s)


def _check_still(env: Env, customer_id: UUID) -> None:
    """Raises Busy while the customer's clock is being advanced: the provider is ahead of the desk,
    which looks itself once it has come there."""
    with env.db.read() as tx:
        if heads.is_on_its_way(tx, customer_id):
            raise Busy("The customer's clock is being advanced.")


def _invoice(
    env: Env, name: str, customer_id: UUID, ref: str, path: str, wait_s: float
) -> None:
    found = env.providers.call(name, "fetch_invoice", ref)
    if found.subscription_ref is not None:
        sync(env, name, customer_id, found.subscription_ref, path=path, wait_s=wait_s)
        return
    heard = ask_about(env, name, [found])
    with env.db.transaction(customer_id, wait_s=wait_s) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        whose = Whose(customer_id=customer_id, provider=name,
                      account=env.providers[name].account)  # fmt: skip
        mirror.lay(env, tx, now, whose, heard, {}, path)
    heard.check()


def _page(
    env: Env, name: str, customer_id: UUID, ref: str, path: str, wait_s: float
) -> None:
    found = env.providers.call(name, "fetch_page", ref)
    if found.subscription_ref is not None:
        sync(env, name, customer_id, found.subscription_ref, path=path, wait_s=wait_s)
    elif found.status == "expired":
        page_ended(env, name, customer_id, found)


def _schedule(
    env: Env, name: str, account: str, customer_id: UUID, event: ProviderEvent, path: str,
    wait_s: float,
) -> None:  # fmt: skip
    """What is to come of a subscription was changed; a thin event does not say of which."""
    ref = event.about
    if ref is None:
        assert event.ref is not None
        with env.db.read() as tx:
            sub_id = books.named(tx, customer_id, name, account, event.ref)
            ref = sub_id and steps.read(tx, customer_id, sub_id).provider_ref
    if ref is not None:
        sync(env, name, customer_id, ref, path=path, wait_s=wait_s)


def page_ended(env: Env, name: str, customer_id: UUID, page: RemotePage) -> None:
    """Nobody subscribed on the page in time: what waited for it is given up."""
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = books.find(tx, customer_id, name, env.providers[name].account, page.id,
                         page.subscription_id)  # fmt: skip
        if sub is not None and sub.state == "incomplete" and sub.provider_ref is None:
            give_up(tx, now, sub, "lapsed", "not_paid")


def give_up(tx: Tx, now: datetime, sub: Sub, event: str, reason: str) -> None:
    """One that never began is over."""
    subscription_promos.release(tx, sub, now)
    sub.told = {k: v for k, v in sub.told.items() if k != "page"}
    steps.end(tx, now, sub, event, reason)
    steps.save(tx, now, sub)
    books.look_again(tx, sub, heads.real(tx, now, sub.customer_id))


# Asking ----------------------------------------------------------------------------------------


def sync(
    env: Env, name: str, customer_id: UUID, ref: str, *, path: str, wait_s: float | None = None,
    whole: bool = False,
) -> UUID:  # fmt: skip
    """Ask how a subscription and its invoices stand, and lay it down; answers our id of it.

    `whole`: all its invoices, however old. Asked anew where something was laid down meanwhile, so
    that an older answer never stands above a newer one. Raises NotFound (no plan has its price),
    Busy, and what the provider raises.
    """
    account = env.providers[name].account
    for _ in range(MAX_ASKS):
        with env.db.read() as tx:
            seen = books.find(tx, customer_id, name, account, ref)
            since = None if whole or seen is None else _since(tx, seen)
        remote = env.providers.call(name, "fetch_subscription", ref)
        if seen is None:  # Others' are not read whole.
            with env.db.read() as tx:
                if books.find(tx, customer_id, name, account, ref, remote.subscription_id) is None:
                    books.sold_by(tx, name, account, remote)
        heard = ask_about(env, name, env.providers.call(name, "list_invoices", ref, since))
        heard.is_listed = True
        crash.at("apply_after_fetch")
        with env.db.transaction(customer_id, wait_s=wait_s) as tx:
            now = heads.decide(tx, env.now(), customer_id)
            sub = books.find(tx, customer_id, name, account, ref, remote.subscription_id)
            if seen is not None and (sub is None or sub.version != seen.version):
                continue
            if seen is None and sub is not None and sub.provider_ref is not None:
                continue
            done = lay(env, tx, now, name, customer_id, sub, remote, heard, path)
            crash.at("apply_before_commit")
        crash.at("apply_after_commit")
        heard.check()
        return done
    raise Busy("This subscription changes too often.")


def _since(tx: Tx, sub: Sub) -> datetime | None:
    if "refused" in sub.told:
        return None
    row = tx.one(
        "select min(created_at) filter (where state not in ('paid', 'void')) as oldest,"
        " max(created_at) as newest from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s",
        {"customer_id": sub.customer_id, "id": sub.id},
    )
    if row is None or row["newest"] is None:
        return None
    return min(one for one in (row["oldest"], row["newest"]) if one) - OVERLAP


def ask_about(env: Env, name: str, found: list[RemoteInvoice]) -> Heard:
    """The invoices, with the charges of those that are not settled here yet."""
    heard = Heard(invoices=found)
    with env.db.read() as tx:
        known = mirror.standing(
            tx, name, env.providers[name].account, [one.id for one in found]
        )
    for one in found:
        if one.state == "draft" or known.get(one.id) in SETTLED or one.is_outside:
            continue
        heard.charges |= _claimed(one)
        for part in one.parts:
            if part.is_charge or not (one.attempts or one.paid):
                continue
            assert part.ref is not None, "a part has a name"
            heard.charges[part.ref] = env.providers.call(name, "fetch", part.ref)
            if one.attempts > 1 or not part.paid:
                heard.tries[part.ref] = env.providers.call(name, "list_tries", part.ref)
    return heard


# Laying down -----------------------------------------------------------------------------------


def lay(
    env: Env, tx: Tx, now: datetime, name: str, customer_id: UUID, sub: Sub | None,
    remote: RemoteSubscription, heard: Heard, path: str, told_at: datetime | None = None,
) -> UUID:  # fmt: skip
    """Lay a subscription and what was heard of its invoices down; answers our id of it."""
    account = env.providers[name].account
    item = items.chosen(tx, name, account, sub, remote)
    remote = items.with_period(remote, item)
    if sub is None:
        sub = books.take_up(tx, now, name, account, customer_id, remote)
    books.attach(tx, sub, remote)
    heard.invoices = items.own_lines(tx, sub, item.id, remote, heard.invoices)
    numbers = books.number_periods(tx, sub, remote, heard.invoices)
    books.lay(tx, now, sub, remote, numbers, told_at)
    steps.save(tx, now, sub)
    _lay_invoices(env, tx, now, sub, remote.latest_invoice, heard, numbers, path,
                  is_asked=told_at is None and heard.is_listed)  # fmt: skip
    return sub.id


def _lay_invoices(
    env: Env, tx: Tx, now: datetime, sub: Sub, latest: str | None, heard: Heard,
    numbers: dict[datetime, int], path: str, *, is_asked: bool = False,
) -> None:  # fmt: skip
    """`is_asked`: the provider itself said that `latest` is what it billed last, and listed all."""
    whose = Whose(customer_id=sub.customer_id, provider=sub.provider,
                  account=sub.provider_account, sub=sub)  # fmt: skip
    mirror.lay(env, tx, now, whose, heard, numbers, path)
    after = steps.read(tx, *sub.key)
    after.told = {name: one for name, one in after.told.items() if name != "refused"}
    if heard.refused:  # However old it is, it is asked for again.
        after.told["refused"] = repr(heard.refused[0])[:200]
    newest = _invoice_id(tx, sub, latest)
    if newest is not None:
        after.latest_invoice_id = newest
    books.come_home(tx, after)
    is_draft = any(
        one.state == "draft" and one.period and items.is_period(one)
        and items.begins(one) >= after.period_start for one in heard.invoices
    )  # fmt: skip
    books.open_access(tx, now, after, latest, is_asked=is_asked, is_draft=is_draft)
    steps.save(tx, now, after)
    books.look_again(tx, after, heads.real(tx, now, sub.customer_id))


def _invoice_id(tx: Tx, sub: Sub, latest: str | None) -> UUID | None:
    """Ours of what the provider billed last; the newest that is final where that is a draft."""
    found = latest and tx.value(
        "select object_id from provider_refs where provider = %(provider)s"
        " and account = %(account)s and ref = %(ref)s",
        {"provider": sub.provider, "account": sub.provider_account, "ref": latest},
    )
    return found or tx.value(
        "select id from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s order by created_at desc, id desc limit 1",
        {"customer_id": sub.customer_id, "id": sub.id},
    )


# What only an event says -------------------------------------------------------------------------


def _believe(
    env: Env, name: str, customer_id: UUID, what: object, at: datetime, path: str, wait_s: float
) -> None:
    """Lay down what a signed event carries, where the provider has nothing to be asked about."""
    account = env.providers[name].account
    if isinstance(what, RemotePage):
        if what.status == "expired":
            page_ended(env, name, customer_id, what)
        return
    heard = Heard()
    with env.db.transaction(customer_id, wait_s=wait_s) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        if isinstance(what, RemoteSubscription):
            sub = books.find(tx, customer_id, name, account, what.id, what.subscription_id)
            lay(env, tx, now, name, customer_id, sub, what, heard, path, at)
            return
        assert isinstance(what, RemoteInvoice)
        sub = None
        if what.subscription_ref is not None:
            sub = books.find(tx, customer_id, name, account, what.subscription_ref,
                             what.subscription_id)  # fmt: skip
            if sub is None:
                raise NotFound("Its subscription is not known yet.")
        heard.invoices, heard.charges = [what], _claimed(what)
        if sub is None:
            whose = Whose(customer_id=customer_id, provider=name, account=account)
            mirror.lay(env, tx, now, whose, heard, {}, path)
        else:
            item = sub.told.get("item")
            heard.invoices = items.own_lines(tx, sub, item, None, heard.invoices)
            numbers = books.number_periods(tx, sub, None, heard.invoices)
            steps.save(tx, now, sub)
            _lay_invoices(env, tx, now, sub, what.id, heard, numbers, path)
    heard.check()


def _claimed(one: RemoteInvoice) -> dict[str, Charge]:
    """The charges that a paid invoice stands for: by its payments' names where it says them, else
    one by its own. Where its payments were listed there are no others."""
    if one.is_outside:
        return {}
    found = {part.ref: (part.paid, part.ref) for part in one.parts if part.ref and part.paid}
    if not one.payments and not one.is_listed and one.state == "paid" and one.paid > 0:
        found = {one.id: (one.paid, None)}
    return {ref: Charge(
        ref=ref, status="succeeded", amount=Money(paid, one.currency, minor=True),
        fact=ref, ended=True, payment_ref=name, livemode=one.livemode,
    ) for ref, (paid, name) in found.items()}  # fmt: skip


# Sweeps ----------------------------------------------------------------------------------------

#: Subscriptions begun at a provider are looked for so far back.
DISCOVER = timedelta(days=3)


def look_due(env: Env, limit: int = 50) -> int:
    """Sweep: look at subscriptions whose time has come; lost events are made up for."""
    with env.db.read() as tx:
        found = tx.all(
            "select customer_id, id from subscriptions where look_at <= %(now)s"
            " and (clock_id is null or not exists (select from clocks c"
            "  where c.id = subscriptions.clock_id and c.advancing_to is not null"
            "  and c.error is null))"
            " order by look_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    return _each(env, "provider_billing", found, look)


def _each(
    env: Env, sweep: str, rows: list[dict[str, UUID]], do: Callable[[Env, UUID, UUID], object]
) -> int:
    def one(customer_id: UUID, sub_id: UUID) -> int:
        do(env, customer_id, sub_id)
        return 1

    def set_back(customer_id: UUID, sub_id: UUID) -> None:
        with env.db.transaction(customer_id) as tx:
            tx.run(
                "update subscriptions set look_at = %(at)s"
                " where customer_id = %(customer_id)s and id = %(id)s",
                {"customer_id": customer_id, "id": sub_id, "at": env.now() + SET_BACK},
            )

    return each(sweep, rows, one, set_back)


def look(env: Env, customer_id: UUID, sub_id: UUID) -> None:
    """Ask the provider how a subscription that it runs stands, and lay it down.

    Raises NotFound and what the provider raises.
    """
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
    if sub.runner != "provider" or sub.provider not in env.providers:
        return
    if sub.provider_ref is not None:
        sync(env, sub.provider, customer_id, sub.provider_ref, path="sweep")
        return
    page = (sub.told.get("page") or {}).get("session")
    if page is not None:
        _page(env, sub.provider, customer_id, page, "sweep", 5.0)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if sub.provider_ref is None:
            books.look_again(tx, sub, heads.real(tx, now, customer_id))


def discover(env: Env) -> int:
    """Sweep: subscriptions that were begun at a provider and never heard of are taken up; answers
    how many. Those of unknown customers or prices are others': they are left alone."""
    found = 0
    for name in env.providers:
        known = env.providers[name]
        if "billing" not in known.can or not _is_used(env, name, known.account):
            continue
        cursor: str | None = None
        while True:
            page, cursor = env.providers.call(
                name, "list_subscriptions", env.now() - DISCOVER, cursor
            )
            found += sum(_take_up(env, name, known.account, one) for one in page)
            if cursor is None:
                break
    return found


def _is_used(env: Env, name: str, account: str) -> bool:
    """Whether anything was ever sold by its prices."""
    with env.db.read() as tx:
        return bool(tx.value(
            "select exists (select 1 from plan_prices where provider = %(provider)s"
            " and account = %(account)s) or exists (select 1 from catalog_refs"
            " where provider = %(provider)s and account = %(account)s and kind = 'plan')",
            {"provider": name, "account": account},
        ))  # fmt: skip


def _take_up(env: Env, name: str, account: str, one: RemoteSubscription) -> bool:
    with env.db.read() as tx:
        owner = books.owner_of(
            tx, name, account, ref=one.id, provider_customer=one.provider_customer,
            subscription_id=one.subscription_id, customer_id=one.customer_id,
        )
        sub = owner and books.find(tx, owner, name, account, one.id, one.subscription_id)
        is_sold = bool(sub) or prices.sold(tx, name, account, one.items) is not None
    if owner is None or (sub is not None and sub.provider_ref is not None):
        return False
    if sub is None and (one.state in rules.ENDED or not is_sold):
        return False
    with one_row("provider_subscriptions", one.id):
        sync(env, name, owner, one.id, path="sweep")
        return True
    return False

