"""What invoices and credit notes say, in English, French and Haitian Creole."""

from __future__ import annotations

#: Key -> sentence by language, as `words.WORDS`, which has them too.
INVOICE_WORDS: dict[str, dict[str, str]] = {
    "invoice": {"en": "Invoice", "fr": "Facture", "ht": "Fakti"},
    "credit_note": {"en": "Credit note", "fr": "Avoir", "ht": "Nòt kredi"},
    "invoice_number": {
        "en": "Invoice number", "fr": "Numéro de facture", "ht": "Nimewo fakti a",
    },
    "note_number": {
        "en": "Credit note number", "fr": "Numéro de l’avoir", "ht": "Nimewo nòt kredi a",
    },
    "issued": {"en": "Date of issue", "fr": "Date d’émission", "ht": "Dat li fèt"},
    "due_date": {"en": "Date due", "fr": "Échéance", "ht": "Dat pou peye"},
    "paid_date": {"en": "Date paid", "fr": "Date de paiement", "ht": "Dat li peye"},
    "period": {"en": "Billing period", "fr": "Période", "ht": "Peryòd"},
    "span": {"en": "{start} – {end}", "fr": "{start} – {end}", "ht": "{start} – {end}"},
    "due_on": {
        "en": "{amount} due on {date}",
        "fr": "{amount} à payer le {date}",
        "ht": "{amount} pou peye nan dat {date}",
    },
    "nothing_due": {
        "en": "Nothing to pay", "fr": "Rien à payer", "ht": "Pa gen anyen pou peye",
    },
    "voided": {"en": "Void: nothing is due", "fr": "Annulée : rien n’est dû",
               "ht": "Anile: pa gen anyen pou peye"},
    "credited_on": {
        "en": "{amount} credited on {date}",
        "fr": "{amount} crédités le {date}",
        "ht": "{amount} kredite nan dat {date}",
    },
    "included": {
        "en": "{name} {percent} (included: {amount})",
        "fr": "{name} {percent} (inclus : {amount})",
        "ht": "{name} {percent} (ladan l: {amount})",
    },
    "tax_rate": {
        "en": "{name} {percent}", "fr": "{name} {percent}", "ht": "{name} {percent}",
    },
    "tax_in_it": {"en": "of which tax", "fr": "dont taxes", "ht": "ladan l taks"},
    "from_balance": {
        "en": "Paid from your balance", "fr": "Payé par votre solde", "ht": "Peye ak balans ou",
    },
    "to_balance": {
        "en": "Added to your balance", "fr": "Ajouté à votre solde", "ht": "Ajoute nan balans ou",
    },
    "credited": {"en": "Credited", "fr": "Crédité", "ht": "Kredite"},
    "not_asked": {
        "en": "No longer due", "fr": "N’est plus dû", "ht": "Pa bezwen peye ankò",
    },
    "amount_due": {"en": "Amount due", "fr": "Montant dû", "ht": "Montan pou peye"},
    "note_line": {
        "en": "Credit for invoice {number}",
        "fr": "Avoir sur la facture {number}",
        "ht": "Kredi sou fakti {number}",
    },
    "note_void": {
        "en": "Taken back: nothing was credited", "fr": "Repris : rien n’a été crédité",
        "ht": "Reprann: anyen pa kredite",
    },
}  # fmt: skip
