"""What the portal says, in English, French and Haitian Creole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from paydesk.flows.subscription_payments import PaidFor
from paydesk.notify import formats
from paydesk.notify import invoices as papers
from paydesk.notify.words import LOCALES, locale_of, say
from paydesk.notify.words import WORDS as PAPER_WORDS
from paydesk.pages.offer_words import OFFER_WORDS
from paydesk.pages.pay_words import PAY_WORDS
from paydesk.rules import access

__all__ = ["LOCALES", "Tongue", "locale_of"]

#: What pages call as mails and papers do.
_SHARED = ("account", "amount", "date", "discount", "invoice", "payment", "plan", "receipt",
           "reference", "subtotal", "total")  # fmt: skip
_OF_INVOICES = ("open", "paid", "void", "uncollectible")

#: Key -> sentence by language. Names in braces are filled in; every language has the same ones.
WORDS: dict[str, dict[str, str]] = {
    **{key: PAPER_WORDS[key] for key in _SHARED},
    **{f"state_{name}": PAPER_WORDS[f"status_{name}"] for name in _OF_INVOICES},
    "credits": {"en": "Credits", "fr": "Crédits", "ht": "Kredi"},
    "some_expire": {"en": "Some expire on {day}", "fr": "Certains expirent le {day}",
                    "ht": "Gen ladan yo k ap ekspire nan dat {day}"},
    "credits_word": {"en": "credits", "fr": "crédits", "ht": "kredi"},
    "access": {"en": "Access", "fr": "Accès", "ht": "Aksè"},
    "access_to": {"en": "To", "fr": "À", "ht": "Pou"},
    "status": {"en": "Status", "fr": "État", "ht": "Eta"},
    "until": {"en": "Until", "fr": "Jusqu’au", "ht": "Jiska"},
    "for_good": {"en": "for good", "fr": "sans limite", "ht": "pou tout tan"},
    "from_day": {"en": "From {day}", "fr": "Dès le {day}", "ht": "Apati {day}"},
    "offers": {"en": "Offers", "fr": "Offres", "ht": "Òf"},
    "what": {"en": "What", "fr": "Quoi", "ht": "Kisa"},
    "list_price": {"en": "List price", "fr": "Prix public", "ht": "Pri piblik"},
    "history": {"en": "History", "fr": "Historique", "ht": "Istwa"},
    "payments": {"en": "Payments", "fr": "Paiements", "ht": "Peman"},
    "for": {"en": "For", "fr": "Pour", "ht": "Pou"},
    "when": {"en": "When", "fr": "Date", "ht": "Lè"},
    "no_payments": {"en": "No payments yet", "fr": "Aucun paiement", "ht": "Poko gen peman"},
    "no_payments_why": {"en": "What you buy appears here.", "fr": "Vos achats s’affichent ici.",
                        "ht": "Sa ou achte ap parèt isit la."},
    "powered": {"en": "Powered by Paydesk", "fr": "Propulsé par Paydesk",
                "ht": "Fonksyone ak Paydesk"},
    # Credits
    "no_batches": {"en": "No credits", "fr": "Aucun crédit", "ht": "Pa gen kredi"},
    "no_batches_why": {"en": "Bought and granted credits are kept in batches.",
                       "fr": "Les crédits achetés ou offerts sont gardés par lots.",
                       "ht": "Kredi ou achte oswa yo ba ou rete pa lo."},
    "expires_on": {"en": "expires on {day}", "fr": "expire le {day}", "ht": "ekspire {day}"},
    "never_expires": {"en": "never expires", "fr": "n’expire pas", "ht": "pa janm ekspire"},
    "left_of": {"en": "of {count}", "fr": "sur {count}", "ht": "sou {count}"},
    "balance": {"en": "Balance", "fr": "Solde", "ht": "Balans"},
    "no_history": {"en": "No credits yet", "fr": "Aucun crédit", "ht": "Poko gen kredi"},
    "no_history_why": {"en": "What is bought, given, used and expired appears here.",
                       "fr": "Les crédits achetés, reçus, utilisés et expirés s’affichent ici.",
                       "ht": "Kredi ou achte, resevwa, itilize ak sa ki ekspire ap parèt isit la."},
    "kind_purchased": {"en": "Purchased", "fr": "Achetés", "ht": "Achte"},
    "kind_membership": {"en": "Membership", "fr": "Abonnement", "ht": "Abònman"},
    "kind_promotional": {"en": "Promotional", "fr": "Promotionnels", "ht": "Pwomosyon"},
    "kind_refunded": {"en": "Refunded", "fr": "Remboursés", "ht": "Ranbouse"},
    "line_purchase": {"en": "Purchase", "fr": "Achat", "ht": "Acha"},
    "line_usage": {"en": "Usage", "fr": "Utilisation", "ht": "Itilizasyon"},
    "line_grant": {"en": "Grant", "fr": "Offerts", "ht": "Kado"},
    "line_refund": {"en": "Refund", "fr": "Remboursement", "ht": "Ranbousman"},
    "line_expiry": {"en": "Expired", "fr": "Expirés", "ht": "Ekspire"},
    "line_clawback": {"en": "Taken back", "fr": "Repris", "ht": "Repran"},
    "line_clawback_reversal": {"en": "Given back", "fr": "Rendus", "ht": "Remèt"},
    "line_transfer": {"en": "Transfer", "fr": "Transfert", "ht": "Transfè"},
    "bought_invoice": {"en": "Invoice", "fr": "Facture", "ht": "Fakti"},
    "bought_change": {"en": "Change to {plan}", "fr": "Passage à {plan}",
                      "ht": "Chanjman pou {plan}"},
    "bought_wallet": {"en": "Wallet", "fr": "Portefeuille", "ht": "Pòtfèy"},
    "line_expiration": {"en": "Expiration", "fr": "Expiration", "ht": "Ekspirasyon"},
    "line_membership_payment": {"en": "Membership payment", "fr": "Abonnement",
                                "ht": "Abònman"},
    # The plan
    "no_plan": {"en": "No plan", "fr": "Aucune formule", "ht": "Pa gen plan"},
    "no_plan_why": {"en": "A plan that you subscribe to appears here.",
                    "fr": "La formule à laquelle vous vous abonnez s’affiche ici.",
                    "ht": "Plan ou pran an ap parèt isit la."},
    "every_day": {"en": "a day", "fr": "par jour", "ht": "chak jou"},
    "every_week": {"en": "a week", "fr": "par semaine", "ht": "chak semèn"},
    "every_month": {"en": "a month", "fr": "par mois", "ht": "chak mwa"},
    "every_year": {"en": "a year", "fr": "par an", "ht": "chak ane"},
    "every_days": {"en": "every {count} days", "fr": "tous les {count} jours",
                   "ht": "chak {count} jou"},
    "every_weeks": {"en": "every {count} weeks", "fr": "toutes les {count} semaines",
                    "ht": "chak {count} semèn"},
    "every_months": {"en": "every {count} months", "fr": "tous les {count} mois",
                     "ht": "chak {count} mwa"},
    "every_years": {"en": "every {count} years", "fr": "tous les {count} ans",
                    "ht": "chak {count} an"},
    "next_charge": {"en": "Next charge", "fr": "Prochain paiement", "ht": "Pwochen peman"},
    "charge_on": {"en": "{amount} on {day}", "fr": "{amount} le {day}",
                  "ht": "{amount} nan dat {day}"},
    "before_taxes": {"en": "before taxes and discounts", "fr": "hors taxes et remises",
                     "ht": "san taks ak rabè"},
    "none": {"en": "none", "fr": "aucun", "ht": "okenn"},
    "paid_until": {"en": "Runs until", "fr": "Valable jusqu’au", "ht": "Ap mache jiska"},
    "trial_until": {"en": "Trial until", "fr": "Essai jusqu’au", "ht": "Esè jiska"},
    "seats": {"en": "Seats", "fr": "Places", "ht": "Plas"},
    "card": {"en": "Card", "fr": "Carte", "ht": "Kat"},
    "no_card": {"en": "none saved", "fr": "aucune enregistrée", "ht": "pa gen kat"},
    "ends_on": {"en": "It ends on {day} and is not charged again.",
                "fr": "Elle prend fin le {day} et ne sera plus facturée.",
                "ht": "L ap fini nan dat {day}; yo p ap fè ou peye ankò."},
    "changes_on": {"en": "Changes to {plan} on {day}.", "fr": "Passe à {plan} le {day}.",
                   "ht": "L ap chanje pou {plan} nan dat {day}."},
    "paused_since": {"en": "Paused: nothing is charged and nothing is open.",
                     "fr": "En pause : rien n’est facturé et rien n’est ouvert.",
                     "ht": "Li nan poz: yo pa fè ou peye epi anyen pa louvri."},
    "late": {"en": "{amount} could not be charged. Pay the invoice, or save another card.",
             "fr": "{amount} n’ont pas pu être débités. Réglez la facture ou enregistrez une autre"
                   " carte.",
             "ht": "Yo pa t ka pran {amount}. Peye fakti a, oswa anrejistre yon lòt kat."},
    "pay_now": {"en": "Pay {amount}", "fr": "Payer {amount}", "ht": "Peye {amount}"},
    "change_plan": {"en": "Change plan", "fr": "Changer de formule", "ht": "Chanje plan"},
    "cancel": {"en": "Cancel…", "fr": "Résilier…", "ht": "Anile…"},
    "cancel_what": {
        "en": "Your plan runs until {day}, which is paid for. After that nothing is charged, and"
              " what it opens is closed. Until then you can take this back.",
        "fr": "Votre formule court jusqu’au {day}, déjà réglé. Ensuite, plus rien n’est facturé et"
              " ce qu’elle ouvre est fermé. D’ici là, vous pouvez revenir sur cette décision.",
        "ht": "Plan ou ap mache jiska {day}, ki deja peye. Apre sa yo p ap fè ou peye ankò, epi sa"
              " li louvri ap fèmen. Anvan dat sa a ou ka chanje lide.",
    },
    "cancel_at_once": {
        "en": "It ends at once: nothing more is charged, and what it opens is closed.",
        "fr": "Elle prend fin immédiatement : plus rien n’est facturé et ce qu’elle ouvre est"
              " fermé.",
        "ht": "L ap fini touswit: yo p ap fè ou peye ankò, epi sa li louvri ap fèmen.",
    },
    "cancel_why": {"en": "Why? (optional)", "fr": "Pourquoi ? (facultatif)",
                   "ht": "Poukisa? (si ou vle)"},
    "cancel_plan": {"en": "Cancel my plan", "fr": "Résilier ma formule", "ht": "Anile plan mwen"},
    "keep": {"en": "Keep my plan", "fr": "Garder ma formule", "ht": "Kenbe plan mwen"},
    "why_too_expensive": {"en": "Too expensive", "fr": "Trop cher", "ht": "Twò chè"},
    "why_missing_features": {"en": "Something is missing", "fr": "Il manque quelque chose",
                             "ht": "Gen bagay ki manke"},
    "why_unused": {"en": "I do not use it enough", "fr": "Je ne l’utilise pas assez",
                   "ht": "Mwen pa sèvi avè l ase"},
    "why_switched_service": {"en": "I use something else", "fr": "J’utilise autre chose",
                             "ht": "M ap sèvi ak yon lòt bagay"},
    "why_other": {"en": "Another reason", "fr": "Une autre raison", "ht": "Yon lòt rezon"},
    "update_card": {"en": "Another card…", "fr": "Autre carte…", "ht": "Yon lòt kat…"},
    "card_title": {"en": "Save another card", "fr": "Enregistrer une autre carte",
                   "ht": "Anrejistre yon lòt kat"},
    "card_text": {
        "en": "Card details are entered on the page of our payment provider, never here. From then"
              " on your plan is charged to the new card.",
        "fr": "Les données de la carte sont saisies sur la page de notre prestataire de paiement,"
              " jamais ici. Votre formule sera ensuite débitée sur la nouvelle carte.",
        "ht": "Ou antre enfòmasyon kat la sou paj konpayi peman an, pa janm isit la. Apre sa, se"
              " nouvo kat la k ap peye plan ou.",
    },
    "card_go": {"en": "Go on to the secure page", "fr": "Continuer vers la page sécurisée",
                "ht": "Ale sou paj sekirize a"},
    "back": {"en": "Back to your account", "fr": "Retour à votre compte",
             "ht": "Tounen nan kont ou"},
    # Changing it
    "choose": {"en": "Choose a plan", "fr": "Choisissez une formule", "ht": "Chwazi yon plan"},
    "as_it_is": {"en": "as it is", "fr": "actuelle", "ht": "jan li ye a"},
    "preview": {"en": "See what it costs", "fr": "Voir le prix", "ht": "Gade konbe l koute"},
    "costs": {"en": "What it costs", "fr": "Ce que cela coûte", "ht": "Konbe l koute"},
    "costs_nothing": {"en": "Nothing is charged now.", "fr": "Rien n’est débité maintenant.",
                      "ht": "Ou pa peye anyen kounye a."},
    "due_now": {"en": "Due now", "fr": "À payer maintenant", "ht": "Pou peye kounye a"},
    "to_balance": {"en": "Credited to your balance", "fr": "Porté à votre solde",
                   "ht": "Mete sou balans ou"},
    "from_balance": {"en": "From your balance", "fr": "Pris sur votre solde",
                     "ht": "Soti nan balans ou"},
    "from_then": {"en": "From {day}", "fr": "À partir du {day}", "ht": "Apati {day}"},
    "credits_back": {"en": "Credits taken back", "fr": "Crédits repris", "ht": "Kredi yo repran"},
    "credits_given": {"en": "Credits given", "fr": "Crédits ajoutés", "ht": "Kredi yo ajoute"},
    "charged_to": {"en": "Charged to", "fr": "Débité sur", "ht": "Sou kat"},
    "do_charge": {"en": "Change and pay {amount}", "fr": "Changer et payer {amount}",
                  "ht": "Chanje epi peye {amount}"},
    "do_change": {"en": "Change now", "fr": "Changer maintenant", "ht": "Chanje kounye a"},
    "do_later": {"en": "Change on {day}", "fr": "Changer le {day}", "ht": "Chanje nan dat {day}"},
    "nothing_yet": {"en": "Nothing changes before you confirm it.",
                    "fr": "Rien ne change avant votre confirmation.",
                    "ht": "Anyen p ap chanje anvan ou konfime."},
    "drop": {"en": "Keep the plan as it is", "fr": "Garder la formule actuelle",
             "ht": "Kenbe plan an jan li ye a"},
    "reactivate": {"en": "Reactivate", "fr": "Réactiver", "ht": "Reaktive"},
    # Invoices
    "invoices": {"en": "Invoices", "fr": "Factures", "ht": "Fakti"},
    # What was done
    "done_changed": {"en": "Your plan was changed.", "fr": "Votre formule a été changée.",
                     "ht": "Plan ou chanje."},
    "done_scheduled": {"en": "The change takes effect at the end of the period.",
                       "fr": "Le changement prendra effet à la fin de la période.",
                       "ht": "Chanjman an ap fèt nan fen peryòd la."},
    "done_dropped": {"en": "Your plan stays as it is.", "fr": "Votre formule reste inchangée.",
                     "ht": "Plan ou rete jan li ye a."},
    "done_kept": {"en": "This could not be done: the change waits as before.",
                  "fr": "Cela n’a pas pu être fait : le changement reste prévu.",
                  "ht": "Nou pa t ka fè sa: chanjman an toujou la."},
    "done_asked": {"en": "There is no answer yet: it is tried again by itself. Look again shortly.",
                   "fr": "Pas encore de réponse : une nouvelle tentative aura lieu d’elle-même."
                         " Revenez dans un instant.",
                   "ht": "Poko gen repons: sistèm nan ap eseye ankò poukont li. Tounen gade"
                         " talè."},
    "done_outdated": {"en": "The figures have moved since: these are the new ones. Nothing was"
                            " changed.",
                      "fr": "Les montants ont changé entre-temps : voici les nouveaux. Rien n’a été"
                            " modifié.",
                      "ht": "Chif yo chanje: men nouvo yo. Anyen pa chanje."},
    "done_declined": {"en": "The charge was declined. Nothing was changed.",
                      "fr": "Le paiement a été refusé. Rien n’a été modifié.",
                      "ht": "Yo refize peman an. Anyen pa chanje."},
    "done_no_method": {"en": "There is no card that can be charged. Save one first.",
                       "fr": "Aucune carte ne peut être débitée. Enregistrez-en une d’abord.",
                       "ht": "Pa gen kat yo ka sèvi. Anrejistre youn anvan."},
    "done_will_end": {"en": "Your plan is canceled: it ends with the time that is paid for.",
                      "fr": "Votre formule est résiliée : elle prend fin avec la période payée.",
                      "ht": "Plan ou anile: l ap fini ak tan ki deja peye a."},
    "done_canceled": {"en": "Your plan has ended.", "fr": "Votre formule a pris fin.",
                      "ht": "Plan ou fini."},
    "done_reactivated": {"en": "Your plan goes on as before.",
                         "fr": "Votre formule continue comme avant.",
                         "ht": "Plan ou ap kontinye jan l te ye a."},
    "done_card": {"en": "Your card was saved.", "fr": "Votre carte est enregistrée.",
                  "ht": "Kat ou anrejistre."},
    # States
    "state_active": {"en": "Active", "fr": "Active", "ht": "Aktif"},
    "state_trialing": {"en": "In trial", "fr": "À l’essai", "ht": "An esè"},
    "state_past_due": {"en": "Payment late", "fr": "Paiement en retard", "ht": "Peman an reta"},
    "state_unpaid": {"en": "Unpaid", "fr": "Impayée", "ht": "Pa peye"},
    "state_paused": {"en": "Paused", "fr": "En pause", "ht": "Nan poz"},
    "state_incomplete": {"en": "Not paid yet", "fr": "Pas encore payée", "ht": "Poko peye"},
    "state_succeeded": {"en": "Succeeded", "fr": "Réussi", "ht": "Reyisi"},
    "state_pending": {"en": "Waiting for payment", "fr": "En attente", "ht": "Ap tann peman"},
    "state_processing": {"en": "Processing", "fr": "En cours", "ht": "Ap fèt"},
    "state_requires_action": {"en": "Needs action", "fr": "Action requise",
                              "ht": "Ou gen yon bagay pou fè"},
    "state_authorized": {"en": "Authorized", "fr": "Autorisé", "ht": "Otorize"},
    "state_failed": {"en": "Failed", "fr": "Échoué", "ht": "Pa pase"},
    "state_expired": {"en": "Expired", "fr": "Expiré", "ht": "Ekspire"},
    "state_canceled": {"en": "Canceled", "fr": "Annulé", "ht": "Anile"},
    "state_refunded": {"en": "Refunded", "fr": "Remboursé", "ht": "Ranbouse"},
    "state_partially_refunded": {"en": "Partially refunded", "fr": "Remboursé en partie",
                                 "ht": "Ranbouse an pati"},
    **OFFER_WORDS,
    **PAY_WORDS,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of an invoice that is foretold: `why` has its inputs, as the books keep them."""

    kind: str
    description: str
    amount_minor: int
    currency: str
    period: tuple[datetime, datetime] | None
    why: Mapping[str, Any]


class Tongue:
    """A language: `t("key", name=…)` is a sentence, with money and days as it writes them."""

    def __init__(self, locale: str, zone: str = "UTC") -> None:
        self.locale = locale
        self._zone = ZoneInfo(zone)
        self.amount: Callable[[int, str], str] = partial(formats.amount, locale=locale)

    def __call__(self, key: str, **values: str) -> str:
        return WORDS[key][self.locale].format(**values)

    def has(self, key: str) -> bool:
        return key in WORDS

    def day(self, at: datetime | None) -> str:
        """The day of an instant in the business's time zone."""
        return formats.day(at.astimezone(self._zone), self.locale) if at else "—"

    def hour(self, at: datetime) -> str:
        """`14:05 UTC`: the hour in the business's time zone, which is named."""
        return at.astimezone(self._zone).strftime("%H:%M %Z")

    def count(self, number: int) -> str:
        return formats.number(number, self.locale)

    def state(self, name: str) -> str | None:
        """A state's word; None for one that has none of its own here."""
        told = WORDS.get(f"state_{name}")
        return told[self.locale] if told else None

    def kind(self, name: str) -> str:
        return self(f"kind_{name}")

    def line(self, type: str) -> str:
        """What a line of the credits' history is: `Purchase`."""
        name = type.removeprefix("CREDIT_")
        told = WORDS.get(f"line_{name.lower()}")
        return told[self.locale] if told else name.replace("_", " ").capitalize()

    def resource(self, kind: str, name: str) -> str:
        """What access is to: `Course python`, `Every lab`, `Exports`, `Everything`."""
        told = kind.replace("_", " ")
        if kind == access.PLATFORM:
            return self("resource_all")
        if name != access.ALL:
            return f"{told.capitalize()} {name}"
        if told.endswith("s"):
            return told.capitalize()
        text = self("resource_every", kind=told)
        return text[:1].upper() + text[1:]

    def cost(self, one: Line) -> tuple[str, str]:
        """(what a line of a preview is for, its amount): in the language where the desk itself
        says it. A tax that the price includes has its sum in words, and no amount."""
        amount = self.amount(one.amount_minor, one.currency)
        if one.kind == "tax" and "rate_micros" in one.why:
            told = {"name": papers.isolated(self._own(one.description)),
                    "percent": papers.percent(one.why["rate_micros"], self.locale)}  # fmt: skip
            if not one.why["inclusive"]:
                return say(self.locale, "tax_rate", **told), amount
            inside = self.amount(one.why["tax_minor"], one.currency)
            return say(self.locale, "included", amount=inside, **told), ""
        if one.kind == "discount" and "promo" in one.why:
            return self("code", code=one.description), amount
        return self._own(papers.described(self.locale, one.description, one.kind)), amount

    def _own(self, text: str) -> str:
        """A word that the desk writes by itself where a provider tells no more."""
        key = text.lower()
        return self(key) if key in ("tax", "discount", "adjustment") else text

    def bought(self, text: str | None, plan: PaidFor | None = None) -> str:
        """What a payment is for: a name as it is, a plan or the desk's own words in the
        language."""
        if plan is not None:
            name = plan.plan_name
            return self("bought_change", plan=name) if plan.is_change else name
        if number := re.fullmatch(r"Invoice (\S*\d)", text or ""):
            return f"{self('bought_invoice')} {number[1]}"
        key = f"bought_{(text or '').lower()}"
        return self(key) if key in WORDS else text or self("payment")

    def span(self, start: datetime, end: datetime) -> str:
        """The days of a period, in the business's time zone."""
        return f"{self.day(start)} – {self.day(end)}"

    def every(self, unit: str, count: int) -> str:
        """`a month`, `every 3 months`."""
        if count == 1:
            return self(f"every_{unit}")
        return self(f"every_{unit}s", count=self.count(count))


#: For the dashboard, which speaks English, in UTC.
ENGLISH = Tongue("en", UTC.tzname(None) or "UTC")
