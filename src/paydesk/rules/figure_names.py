"""What each figure of a report counts, in words, and which figures each report has."""

from __future__ import annotations

from dataclasses import dataclass

#: What a row can be about, beside its currency: one period, and any of these.
PERIODS = ("hour", "day", "week", "month", "year")
_DAYS = PERIODS[1:]
PAYMENT_DIMENSIONS = ("method", "provider", "country", "currency", "purpose")


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
                       "payments.discount_minor, and invoices.discount_minor of those"
                       " that they paid for subscriptions with a code"),
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
    "mrr_opening_usd": Figure(
        "mrr_opening in US cents, at the rate that was known when the period began.", "usd",
        "subscription_history, rates", sums=False),
    "mrr_new_usd": Figure("mrr_new in US cents, at the rate that was known when the period ended,"
                          " or is known now.", "usd", "subscription_history, rates"),
    "mrr_expansion_usd": Figure("mrr_expansion, as mrr_new_usd.", "usd",
                                "subscription_history, rates"),
    "mrr_reactivation_usd": Figure("mrr_reactivation, as mrr_new_usd.", "usd",
                                   "subscription_history, rates"),
    "mrr_contraction_usd": Figure("mrr_contraction, as mrr_new_usd.", "usd",
                                  "subscription_history, rates"),
    "mrr_churned_usd": Figure("mrr_churned, as mrr_new_usd.", "usd",
                              "subscription_history, rates"),
    "mrr_rates_usd": Figure(
        "What exchange rates made of it: mrr_closing_usd - mrr_opening_usd - mrr_new_usd -"
        " mrr_expansion_usd - mrr_reactivation_usd + mrr_contraction_usd + mrr_churned_usd; cents"
        " of rounding are in it.", "usd", "rates"),
    "mrr_closing_usd": Figure(
        "mrr_closing in US cents, at the rate that was known when the period ended, or is known"
        " now.", "usd", "subscription_history, rates", sums=False),
    "arr_usd": Figure("12 x mrr_closing_usd.", "usd", "subscription_history, rates", sums=False),
    "mrr_unrated": Figure(
        "Currencies for which no exchange rate was known when one was needed; they are missing from"
        " the figures in US dollars.", "count", "rates", sums=False),
    "cohort_customers": Figure(
        "Customers who came to have recurring revenue in this currency for the first time in the"
        " cohort's period (and in the range): those whose first paid period began then. Whoever"
        " only tries is in none, whoever comes back stays in the first one, and who goes over to"
        " another currency joins a cohort of that one.", "count",
        "subscription_history.movement = new", sums=False),
    "customers_kept": Figure(
        "Those of them who have recurring revenue so many periods later, when that period ends (or"
        " now); at age 0 when their first one ends.", "count", "subscription_history.movement",
        sums=False),
    "customer_retention": Figure("customers_kept / cohort_customers.", "ratio",
                                 "subscription_history", sums=False),
    "cohort_mrr": Figure("The monthly recurring revenue with which they came: mrr_new of the"
                         " cohort's period.", "money", "subscription_history.movement = new",
                         sums=False),
    "mrr_kept": Figure("The monthly recurring revenue of all of them so many periods later, with"
                       " what they took more, or less, or again.", "money",
                       "subscription_history.monthly_minor", sums=False),
    "net_revenue_retention": Figure("mrr_kept / cohort_mrr; more than 1 where those who stayed"
                                    " took more than was lost.", "ratio", "subscription_history",
                                    sums=False),
    "cohort_mrr_usd": Figure("cohort_mrr in US cents, at the rate that was known when the cohort's"
                             " period ended, or is known now.", "usd",
                             "subscription_history, rates", sums=False),
    "mrr_kept_usd": Figure("mrr_kept in US cents, at the rate that was known when that period"
                           " ended, or is known now.", "usd", "subscription_history, rates",
                           sums=False),
    "net_revenue_retention_usd": Figure(
        "mrr_kept_usd / cohort_mrr_usd: what exchange rates did is in it.", "ratio",
        "subscription_history, rates", sums=False),
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
    """A report: what it is about, what its rows can be grouped by, and its figures in order.

    `is_rated`: it can tell all currencies together, in US dollars.
    """

    about: str
    dimensions: tuple[str, ...]
    figures: tuple[str, ...]
    default: tuple[str, ...] = ()
    has_currency: bool = True
    is_rated: bool = False


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
         "mrr_churned", "mrr_net", "mrr_closing", "arr", "mrr_opening_usd", "mrr_new_usd",
         "mrr_expansion_usd", "mrr_reactivation_usd", "mrr_contraction_usd", "mrr_churned_usd",
         "mrr_rates_usd", "mrr_closing_usd", "arr_usd", "mrr_unrated"), ("month",),
        is_rated=True),
    "churn": Kind(
        "Customers and recurring revenue that were lost.", (*_DAYS, "currency"),
        ("customers_opening", "customers_new", "customers_back", "customers_churned",
         "customers_closing", "customer_churn", "mrr_opening", "mrr_churned", "mrr_contraction",
         "mrr_expansion", "mrr_reactivation", "revenue_churn", "net_revenue_churn"), ("month",)),
    "cohorts": Kind(
        "Customers by the period in which they first paid, and what is left of them and of their"
        " recurring revenue period by period.", ("week", "month", "year", "currency", "age"),
        ("cohort_customers", "customers_kept", "customer_retention", "cohort_mrr", "mrr_kept",
         "net_revenue_retention", "cohort_mrr_usd", "mrr_kept_usd", "net_revenue_retention_usd",
         "mrr_unrated"), ("month",), is_rated=True),
    "trials": Kind(
        "What became of trials, by when they began.", (*_DAYS, "plan"),
        ("trials_started", "trials_converted", "trials_lost", "trials_running",
         "trial_conversion"), ("month",), has_currency=False),
    "subscriptions": Kind(
        "Subscriptions by plan and state, as they stood at the end of the range or of each"
        " period.", (*_DAYS, "plan", "status", "currency"), ("subscriptions", "seats", "mrr"),
        ("plan", "status")),
}  # fmt: skip
