"""Figures: what each one counts, the periods they are counted over, and how a table leaves us."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from paydesk.errors import InvalidRequest
from paydesk.rules.money import exponent

#: What a row can be about, beside its currency: one period, and any of these.
PERIODS = ("hour", "day", "week", "month", "year")
_DAYS = PERIODS[1:]
PAYMENT_DIMENSIONS = ("method", "provider", "country", "currency", "purpose")
#: The most days that a report looks back, and the most rows it answers.
MAX_DAYS = 36_600
MAX_ROWS = 100_000
EARLIEST, LATEST = date(1970, 1, 2), date(9998, 12, 30)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure's name in words. `unit`: count, money (minor units of the row's currency), usd
    (US cents), credits, ratio (a decimal of four places) or decimal (of two).

    `sums` is false where the figure of a whole is not the sum of its parts.
    """

    definition: str
    unit: str
    source: str
    sums: bool = True


FIGURES: dict[str, Figure] = {
    "payments": Figure(
        "Payments made in the period, whatever became of them; removed drafts are left out.",
        "count", "payments.created_at"),
    "succeeded": Figure(
        "Payments of the period whose money was captured, also where it went back later.",
        "count", "payments.state in succeeded, partially_refunded, refunded"),
    "failed": Figure("Payments of the period that failed for good.", "count",
                     "payments.state = failed"),
    "abandoned": Figure("Payments of the period that nobody paid in time, or that were canceled.",
                        "count", "payments.state in expired, canceled"),
    "open": Figure("Payments of the period that are not settled yet.", "count",
                   "payments.state in pending, processing, requires_action, authorized"),
    "success_rate": Figure("succeeded / (succeeded + failed); empty where there is neither.",
                           "ratio", "payments", sums=False),
    "failure_rate": Figure("failed / (succeeded + failed); empty where there is neither.",
                           "ratio", "payments", sums=False),
    "asked": Figure("What the payments of the period asked for.", "money", "payments.asked_minor"),
    "captured": Figure("What was captured of the payments made in the period.", "money",
                       "payments.captured_minor"),
    "given_back": Figure("What of the payments made in the period was refunded or is on its way"
                         " back, whenever that happened.", "money", "payments.refunded_minor"),
    "average": Figure("captured / succeeded, in whole minor units, cut.", "money", "payments",
                      sums=False),
    "captured_usd": Figure(
        "captured in US cents, at the rate stored with each payment; without those that have"
        " none.", "usd", "payments.usd_minor"),
    "unrated": Figure("Paid payments (captures in the revenue report) for which no exchange rate"
                      " was known; they are missing from the figures in US dollars.", "count",
                      "payments.usd_minor is null"),
    "disputed": Figure("Payments of the period with a dispute that is open or was lost.", "count",
                       "payments.disputed"),
    "credits_sold": Figure("Credits handed over for the payments of the period, bonuses included.",
                           "credits", "payments.credits_to_add where credits_added_at is set"),
    "attempts": Figure("Tries to pay the payments of the period.", "count", "attempts"),
    "declined": Figure("Tries of the payments of the period that failed.", "count",
                       "attempts.state = failed"),
    "gross": Figure("Money that came in from outside in the period.", "money",
                    "transfers: PAYMENT_CAPTURE that debit clearing"),
    "refunds": Figure("Money that went back in the period, less what came back of it.", "money",
                      "transfers: REFUND_PAID and REFUND_LOSS to clearing, less REFUND_RETURNED"),
    "disputes": Figure("Money that disputes withdrew in the period, less what they reinstated.",
                       "money", "transfers: DISPUTE_WITHDRAWN to clearing, less"
                       " DISPUTE_REINSTATED"),
    "fees": Figure("What providers kept: for payments and for disputes, less fees given back.",
                   "money", "transfers: PROVIDER_FEE and DISPUTE_FEE to clearing, less"
                   " DISPUTE_FEE_BACK"),
    "net": Figure("gross - refunds - disputes - fees.", "money", "transfers"),
    "from_wallets": Figure("Orders paid with money of wallets; it came in before, as gross.",
                           "money", "transfers: WALLET_PAYMENT"),
    "to_wallets": Figure("Refunds paid back into wallets.", "money",
                         "transfers: REFUND_PAID that credit wallet"),
    "withdrawn": Figure("Money paid out of wallets.", "money", "transfers: WITHDRAWAL_PAID"),
    "recognized": Figure("The change of the account revenue: sold, less refunded and disputed.",
                         "money", "transfers that credit revenue, less those that debit it"),
    "gross_usd": Figure("gross in US cents, at the rates stored with the payments.", "usd",
                        "transfers, payments.usd_minor"),
    "refunds_usd": Figure("refunds in US cents, at the rates stored with the payments.", "usd",
                          "transfers, payments.usd_minor"),
    "disputes_usd": Figure("disputes in US cents, at the rates stored with the payments.", "usd",
                           "transfers, payments.usd_minor"),
    "fees_usd": Figure("fees in US cents, at the rates stored with the payments.", "usd",
                       "transfers, payments.usd_minor"),
    "net_usd": Figure("gross_usd - refunds_usd - disputes_usd - fees_usd.", "usd",
                      "transfers, payments.usd_minor"),
    "granted": Figure("Credits issued in the period: bought, and given.", "credits",
                      "transfers of CREDIT from issued, without CREDIT_CLAWBACK_REVERSAL"),
    "bought": Figure("Credits issued for money in the period.", "credits",
                     "transfers: CREDIT_PURCHASE, MEMBERSHIP_PAYMENT from issued"),
    "given": Figure("Credits issued for no money in the period.", "credits",
                    "granted - bought"),
    "spent": Figure("Credits used in the period, from balances and from holds.", "credits",
                    "transfers of CREDIT to usage"),
    "refunded": Figure("Used credits that were given back in the period.", "credits",
                       "transfers of CREDIT from usage"),
    "expired": Figure("Credits that ended unused in the period, less those revived.", "credits",
                      "transfers of CREDIT to breakage, less those from it"),
    "taken_back": Figure("Credits that refunds and disputes of payments took back, less what was"
                         " given back of them.", "credits",
                         "transfers of CREDIT to issued, less CREDIT_CLAWBACK_REVERSAL from it"),
    "outstanding": Figure("Credits that customers hold at the end of the period, those set aside"
                          " included.", "credits",
                          "accounts credits and held, all transfers until then", sums=False),
    "burn_rate": Figure("(spent - refunded) / days of the period.", "decimal", "transfers",
                        sums=False),
    "sold": Figure("Paid payments of the period for this product, or with this code.", "count",
                   "payments.captured_minor > 0"),
    "discount": Figure("What promo codes took off the price of these.", "money",
                       "payments.discount_minor"),
    "bonus_credits": Figure("Credits that promo codes put on top.", "credits",
                            "promo_uses.bonus_credits"),
    "customers": Figure("Customers with a paid payment made in the period.", "count",
                        "payments.captured_minor > 0", sums=False),
    "new_customers": Figure("Those whose first paid payment ever was made in the period.",
                            "count", "payments", sums=False),
    "returning_customers": Figure("customers - new_customers.", "count", "payments", sums=False),
    "repeat_customers": Figure("Customers with more than one paid payment in the period.",
                               "count", "payments", sums=False),
    "payments_per_customer": Figure("Paid payments of the period / customers.", "decimal",
                                    "payments", sums=False),
    "days_between": Figure("Mean days between two payments of a customer, over those with more"
                           " than one in the period.", "decimal", "payments", sums=False),
    "first_at": Figure("The customer's first paid payment in the period.", "instant",
                       "payments.created_at", sums=False),
    "last_at": Figure("The customer's last paid payment in the period.", "instant",
                      "payments.created_at", sums=False),
    "assessments": Figure("Payments that the risk rules weighed in the period.", "count",
                          "risk_assessments.created_at"),
    "allowed": Figure("Weighed and let through.", "count", "risk_assessments.decision = allow"),
    "reviewed": Figure("Weighed and put before a person.", "count",
                       "risk_assessments.decision = review"),
    "blocked": Figure("Weighed and refused.", "count", "risk_assessments.decision = block"),
    "accepted": Figure("Put before a person, who accepted it.", "count",
                       "risk_assessments.verdict = accepted"),
    "refused": Figure("Put before a person, who refused it.", "count",
                      "risk_assessments.verdict = refused"),
    "waiting": Figure("Put before a person, who has not decided.", "count",
                      "risk_assessments.decision = review, no verdict"),
    "disputes_opened": Figure("Disputes opened in the period.", "count", "disputes.opened_at"),
    "disputes_won": Figure("Disputes opened in the period that were won.", "count",
                           "disputes.state = won"),
    "disputes_lost": Figure("Disputes opened in the period that were lost.", "count",
                            "disputes.state = lost"),
    "disputed_amount": Figure("What the disputes opened in the period are about.", "money",
                              "disputes.amount_minor"),
    "dispute_rate": Figure("disputes_opened / succeeded; empty where nothing succeeded.", "ratio",
                           "disputes, payments", sums=False),
    "refund_count": Figure("Refunds asked for in the period.", "count", "refunds.created_at"),
    "refund_amount": Figure("What these refunds are about.", "money", "refunds.amount_minor"),
    "paid_back": Figure("What of it the provider has paid back.", "money",
                        "refunds.state = succeeded"),
    "pending": Figure("What of it is on its way or waits for a person.", "money",
                      "refunds.state in requested, pending"),
    "expected": Figure(
        "What net will be in a period to come if it goes on as it did: net of the same period one"
        " season before (7 days, 52 weeks, 12 months), plus the mean change from the last season"
        " but one to the last; with less than two seasons of history, the mean of the last"
        " season's periods.", "money", "transfers, as net"),
    "low": Figure("expected less what four fifths of the same forecasts of the past, each one"
                  " period ahead, were wrong by at most, times the root of how many periods ahead"
                  " this one is; empty where fewer than four can be judged.", "money",
                  "transfers, as net", sums=False),
    "high": Figure("expected plus the same.", "money", "transfers, as net", sums=False),
    "known": Figure("Whole periods of the range, from the first with revenue on, that the forecast"
                    " is made from.", "count", "transfers, as net", sums=False),
    "mrr_opening": Figure(
        "Monthly recurring revenue when the period begins: what all subscriptions that are active"
        " or past due, and were paid for, bring in a month. A yearly price counts a twelfth, a"
        " week's 52 twelfths, a day's 365 twelfths, every n of them the n-th part, rounded half up"
        " for each subscription; less discounts for ever or for so many periods, not those of the"
        " first period; without taxes that come on top. Trials, paused and unpaid ones bring"
        " nothing.", "money", "subscription_history.monthly_minor", sums=False),
    "mrr_new": Figure("Of customers who had none in this currency before.", "money",
                      "subscription_history.movement = new"),
    "mrr_expansion": Figure("Of customers who had some and have more: plans, seats, a further"
                            " subscription, a discount that ended.", "money",
                            "subscription_history.movement = expansion"),
    "mrr_contraction": Figure("Lost of customers who have less, and still some.", "money",
                              "subscription_history.movement = contraction"),
    "mrr_churned": Figure("Lost of customers who have none left: canceled, unpaid or paused.",
                          "money", "subscription_history.movement = churned"),
    "mrr_reactivation": Figure("Of customers who had none left and have some again.", "money",
                               "subscription_history.movement = reactivation"),
    "mrr_net": Figure("mrr_new + mrr_expansion + mrr_reactivation - mrr_contraction -"
                      " mrr_churned.", "money", "subscription_history"),
    "mrr_closing": Figure("mrr_opening + mrr_net: that of the period's end, or of now.", "money",
                          "subscription_history", sums=False),
    "arr": Figure("12 x mrr_closing.", "money", "subscription_history", sums=False),
    "customers_opening": Figure("Customers with recurring revenue when the period begins; one who"
                                " pays in two currencies counts in each.", "count",
                                "subscription_history", sums=False),
    "customers_new": Figure("Those who came to have some for the first time.", "count",
                            "subscription_history.movement = new"),
    "customers_back": Figure("Those who came to have some again.", "count",
                             "subscription_history.movement = reactivation"),
    "customers_churned": Figure("Times that a customer came to have none left.", "count",
                                "subscription_history.movement = churned"),
    "customers_closing": Figure("customers_opening + customers_new + customers_back -"
                                " customers_churned.", "count", "subscription_history",
                                sums=False),
    "customer_churn": Figure("customers_churned / customers_opening; empty where there were none.",
                             "ratio", "subscription_history", sums=False),
    "revenue_churn": Figure("(mrr_churned + mrr_contraction) / mrr_opening; empty where there was"
                            " none.", "ratio", "subscription_history", sums=False),
    "net_revenue_churn": Figure(
        "(mrr_churned + mrr_contraction - mrr_expansion - mrr_reactivation) / mrr_opening; below"
        " zero where customers who were there brought more than was lost.", "ratio",
        "subscription_history", sums=False),
    "trials_started": Figure("Trials that began in the period.", "count",
                             "subscriptions.trial_start"),
    "trials_converted": Figure("Those with an invoice that was paid since, or that asked for"
                               " nothing, whenever that was.", "count",
                               "invoices.state = paid"),
    "trials_lost": Figure("Those that ended without one: canceled, expired or unpaid.", "count",
                          "subscriptions.state in canceled, expired, unpaid"),
    "trials_running": Figure("trials_started - trials_converted - trials_lost: they run still, or"
                             " their first charge is tried again.", "count", "subscriptions.state"),
    "trial_conversion": Figure("trials_converted / (trials_converted + trials_lost): of those that"
                               " are decided; empty where none is.", "ratio",
                               "subscriptions, invoices", sums=False),
    "subscriptions": Figure("Subscriptions that stand so at the period's end.", "count",
                            "subscription_history.state", sums=False),
    "seats": Figure("Their seats.", "count", "subscription_history.quantity", sums=False),
    "mrr": Figure("Their monthly recurring revenue, as in mrr_opening.", "money",
                  "subscription_history.monthly_minor", sums=False),
}  # fmt: skip

#: What payments are counted by, over and over.
_PAID = ("payments", "succeeded", "failed", "abandoned", "open", "success_rate", "failure_rate",
         "captured", "given_back", "average", "captured_usd", "unrated")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A report: what it is about, what its rows can be grouped by, and its figures in order."""

    about: str
    dimensions: tuple[str, ...]
    figures: tuple[str, ...]
    default: tuple[str, ...] = ()
    has_currency: bool = True


REPORTS: dict[str, Kind] = {
    "payments": Kind(
        "Payments made in the range: how many, how they ended, what they brought.",
        (*PERIODS, *PAYMENT_DIMENSIONS, "status", "reason"),
        (*_PAID, "asked", "credits_sold", "disputed"), ("day",)),
    "revenue": Kind(
        "Money that moved in the range, from the books.",
        (*PERIODS, *PAYMENT_DIMENSIONS),
        ("gross", "refunds", "disputes", "fees", "net", "success_rate", "from_wallets",
         "to_wallets", "withdrawn", "recognized", "gross_usd", "refunds_usd", "disputes_usd",
         "fees_usd", "net_usd", "unrated"), ("day",)),
    "credits": Kind(
        "Credits issued, used and gone in the range, from the books.",
        (*PERIODS, "reason"),
        ("granted", "bought", "given", "spent", "refunded", "expired", "taken_back",
         "outstanding", "burn_rate"), ("day",), has_currency=False),
    "packs": Kind(
        "What sold best: packs, items, services, top-ups.",
        (*PERIODS, "product", "purpose", "currency"),
        ("sold", "captured", "given_back", "discount", "captured_usd", "unrated",
         "credits_sold"), ("product",)),
    "promos": Kind(
        "What promo codes brought and cost.",
        (*PERIODS, "promo", "product", "currency"),
        ("sold", "captured", "given_back", "discount", "captured_usd", "unrated",
         "bonus_credits"), ("promo",)),
    "customers": Kind(
        "Who pays: for the first time and again, how often and how much. By customer: the top.",
        ("day", "week", "month", "year", "currency", "customer"),
        ("customers", "new_customers", "returning_customers", "repeat_customers", "succeeded",
         "captured", "average", "captured_usd", "unrated", "payments_per_customer",
         "days_between"), ("month",)),
    "methods": Kind(
        "How well each way to pay works; by reason: why tries were declined.",
        (*PERIODS, *PAYMENT_DIMENSIONS, "reason"),
        ("attempts", "declined", *_PAID), ("method",)),
    "risk": Kind(
        "What the risk rules decided, what people made of it, and disputes.",
        ("day", "week", "month", "year", "currency"),
        ("assessments", "allowed", "reviewed", "blocked", "accepted", "refused", "waiting",
         "succeeded", "disputes_opened", "disputes_won", "disputes_lost", "disputed_amount",
         "dispute_rate"), ("month",)),
    "refunds": Kind(
        "Refunds asked for in the range, and why.",
        ("day", "week", "month", "year", "reason", "status", "provider", "currency", "origin"),
        ("refund_count", "refund_amount", "paid_back", "pending"), ("reason",)),
    "forecast": Kind(
        "What net revenue the next periods will bring if it goes on as in the range.",
        ("day", "week", "month", "currency"), ("expected", "low", "high", "known"), ("month",)),
    "mrr": Kind(
        "Monthly recurring revenue of subscriptions, and what made it more or less.",
        (*_DAYS, "currency"),
        ("mrr_opening", "mrr_new", "mrr_expansion", "mrr_reactivation", "mrr_contraction",
         "mrr_churned", "mrr_net", "mrr_closing", "arr"), ("month",)),
    "churn": Kind(
        "Customers and recurring revenue that were lost.", (*_DAYS, "currency"),
        ("customers_opening", "customers_new", "customers_back", "customers_churned",
         "customers_closing", "customer_churn", "mrr_opening", "mrr_churned", "mrr_contraction",
         "mrr_expansion", "mrr_reactivation", "revenue_churn", "net_revenue_churn"), ("month",)),
    "trials": Kind(
        "What became of trials, by when they began.", (*_DAYS, "plan"),
        ("trials_started", "trials_converted", "trials_lost", "trials_running",
         "trial_conversion"), ("month",), has_currency=False),
    "subscriptions": Kind(
        "Subscriptions by plan and state, as they stood at the end of the range or of each"
        " period.", (*_DAYS, "plan", "status", "currency"), ("subscriptions", "seats", "mrr"),
        ("plan", "status")),
}  # fmt: skip

#: Reports that look back further than 30 days where no range is asked for.
RANGES = {"mrr": "12mo", "churn": "12mo", "trials": "12mo"}

#: How far a forecast looks back where no range is asked for, and how many periods ahead.
FORECAST_RANGES = {"day": "182d", "week": "156w", "month": "48mo"}
FORECAST_PERIODS, MOST_FORECAST = 3, 366


# Ranges -----------------------------------------------------------------------------------------


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises InvalidRequest."""
    if name == "UTC":
        return UTC
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", name) or len(name) > 64:
        raise InvalidRequest(f"{name[:64]!r} is no time zone.", param="tz")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(f"{name[:64]!r} is no time zone.", param="tz") from None


def midnight(zone: tzinfo, day: date) -> datetime:
    """The first instant of a day in a zone; where the clocks skip midnight, the moment they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """From an instant up to another, exclusive, as seen in a time zone."""

    start: datetime
    end: datetime
    time_zone: str

    @property
    def zone(self) -> tzinfo:
        return zone_of(self.time_zone)

    @property
    def first_day(self) -> date:
        return self.start.astimezone(self.zone).date()

    @property
    def last_day(self) -> date:
        return (self.end - timedelta(microseconds=1)).astimezone(self.zone).date()

    @property
    def whole_days(self) -> tuple[date, date]:
        """The first day that lies in it wholly, and the day after the last such one."""
        first = self.first_day
        if midnight(self.zone, first) < self.start:
            first += timedelta(days=1)
        after = self.end.astimezone(self.zone).date()
        return first, max(first, after)


def range_of(
    start: str | date | datetime | None, end: str | date | datetime | None, last: str | None,
    now: datetime, time_zone: str,
) -> Range:  # fmt: skip
    """The range that is asked for. A day as `end` is the last one counted, an instant is not.

    `last`: 24h, 30d, 12w, 6mo or 2y up to now, today included. With nothing: 30 days.
    Raises InvalidRequest.
    """
    zone = zone_of(time_zone)
    if last is not None and (start is not None or end is not None):
        raise InvalidRequest("Send `last`, or `from` and `to`.", param="last")
    today = now.astimezone(zone).date()
    if start is None and end is None:
        return _last(last or "30d", now, today, zone, time_zone)
    until = _edge(end, "to", zone, is_end=True) if end is not None else None
    until = until or midnight(zone, today + timedelta(days=1))
    if start is not None:
        since = _edge(start, "from", zone, is_end=False)
    else:
        since = midnight(zone, until.astimezone(zone).date() - timedelta(days=30))
    if since >= until:
        raise InvalidRequest("`from` lies after `to`.", param="from")
    if (until - since).days > MAX_DAYS:
        raise InvalidRequest(f"At most {MAX_DAYS:,} days at once.", param="from")
    return Range(since, until, time_zone)


def _last(text: str, now: datetime, today: date, zone: tzinfo, name: str) -> Range:
    found = re.fullmatch(r"([1-9][0-9]{0,4})(h|d|w|mo|y)", text)
    if found is None:
        raise InvalidRequest("A span is written like 24h, 30d, 12w, 6mo or 2y.", param="last")
    count, unit = int(found[1]), found[2]
    end = midnight(zone, today + timedelta(days=1))
    if unit == "h":
        return Range(now - timedelta(hours=count), now, name)
    if unit in ("mo", "y"):
        months = today.year * 12 + today.month - count * (12 if unit == "y" else 1)
        year, month = divmod(months, 12)
        if year < EARLIEST.year:
            raise InvalidRequest("That is before 1970.", param="last")
        return Range(midnight(zone, date(year, month + 1, 1)), end, name)
    days = count * (7 if unit == "w" else 1)
    if days > MAX_DAYS or today - EARLIEST < timedelta(days=days):
        raise InvalidRequest(f"At most {MAX_DAYS:,} days at once, from 1970 on.", param="last")
    return Range(midnight(zone, today - timedelta(days=days - 1)), end, name)


def _edge(value: str | date | datetime, name: str, zone: tzinfo, *, is_end: bool) -> datetime:
    found: date | datetime
    if isinstance(value, str):
        try:
            found = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(
                "Send a day such as 2026-01-31, or an instant such as 2026-01-31T12:00:00Z.",
                param=name,
            ) from None
    else:
        found = value
    if not EARLIEST.year <= found.year <= LATEST.year:
        raise InvalidRequest("The year must lie between 1970 and 9998.", param=name)
    if isinstance(found, datetime):
        if found.tzinfo is None:
            raise InvalidRequest("An instant needs an offset, such as Z.", param=name)
        return found.astimezone(UTC)
    found = max(found, EARLIEST)
    return midnight(zone, found + timedelta(days=1) if is_end else found)


# What a row is about ----------------------------------------------------------------------------


def grouping(kind: str, by: str | Sequence[str] | None) -> tuple[str | None, tuple[str, ...]]:
    """(the period or None, the other dimensions) of a report. `by`: names, or commas between
    them; None: the report's own. Raises InvalidRequest."""
    known = REPORTS[kind]
    wanted = known.default if by is None else by
    names = [n.strip() for n in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    names = list(dict.fromkeys(n for n in names if n))
    for name in names:
        if name not in known.dimensions:
            raise InvalidRequest(
                f"{kind} cannot be grouped by {name[:40]!r}, but by"
                f" {', '.join(known.dimensions)}.", param="by",
            )
    periods = [n for n in names if n in PERIODS]
    if len(periods) > 1:
        raise InvalidRequest("Group by one period only.", param="by")
    others = [n for n in names if n not in PERIODS]
    if known.has_currency and "currency" not in others:
        others.append("currency")
    return (periods[0] if periods else None), tuple(others)


def days_in(period: str, start: date) -> int:
    """How many days the period has that begins on this day."""
    if period == "day":
        return 1
    if period == "week":
        return 7
    months = start.year * 12 + start.month - 1 + (12 if period == "year" else 1)
    return (date(months // 12, months % 12 + 1, 1) - start).days


def next_period(period: str, start: date) -> date:
    """The first day of the period after the one that begins on this day."""
    return start + timedelta(days=days_in(period, start))


def next_month(first: date) -> date:
    """The first day of the month after the one that begins on this day."""
    return first + timedelta(days=days_in("month", first))


def days_between(first: date, after: date) -> list[date]:
    """The days from the first one up to another, which is not among them."""
    return [first + timedelta(days=n) for n in range((after - first).days)]


def period_start(period: str, day: date) -> date:
    """The first day of the period that this day lies in. Weeks begin on Monday."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if period == "year" else day


# Numbers ----------------------------------------------------------------------------------------


def ratio(part: int, whole: int, places: int = 4) -> Decimal | None:
    """part / whole with so many decimals, rounded half up; None where the whole is nothing."""
    if whole == 0:
        return None
    scale = 10**places
    units, rest = divmod(abs(part) * scale, abs(whole))
    units += 2 * rest >= abs(whole)
    return Decimal(units if (part < 0) == (whole < 0) else -units).scaleb(-places)


def added(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, int]:
    """The sums of these members over all rows."""
    total = dict.fromkeys(names, 0)
    for row in rows:
        for name in total:
            total[name] += row[name] or 0
    return total


def decimal_text(minor: int, currency: str) -> str:
    """Minor units as an exact decimal text: 4905 cents are 49.05."""
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):.{places}f}"


# CSV --------------------------------------------------------------------------------------------


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header line and a line for each row, as RFC 4180 has it.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    lines = [",".join(_cell(name) for name in columns)]
    lines += [",".join(_cell(row.get(name)) for name in columns) for row in rows]
    return "\r\n".join(lines) + "\r\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | Decimal):
        return str(value).lower() if isinstance(value, bool) else f"{value}"
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    if text.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        text = "'" + text
    if any(sign in text for sign in ',"\r\n') or text != text.strip():
        text = '"' + text.replace('"', '""') + '"'
    return text
