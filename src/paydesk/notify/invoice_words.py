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
    "reason_duplicate": {
        "en": "Charged twice", "fr": "Débité deux fois", "ht": "Peye de fwa",
    },
    "reason_requested_by_customer": {
        "en": "Requested by the customer", "fr": "À la demande du client",
        "ht": "Kliyan an mande l",
    },
    "reason_fraudulent": {"en": "Fraud", "fr": "Fraude", "ht": "Fwod"},
    "reason_too_small_to_charge": {
        "en": "Too small to be charged", "fr": "Montant trop faible pour être débité",
        "ht": "Montan an twò piti pou pran",
    },
    # The hosted page
    "powered_by": {"en": "Powered by", "fr": "Propulsé par", "ht": "Fonksyone ak"},
    "is_due": {"en": "Due {date}", "fr": "À payer avant le {date}", "ht": "Pou peye anvan {date}"},
    "was_due": {
        "en": "Was due {date}", "fr": "Était à payer le {date}", "ht": "Te dwe peye {date}",
    },
    "not_issued": {
        "en": "Not issued yet", "fr": "Pas encore émise", "ht": "Li poko soti",
    },
    "pay_amount": {"en": "Pay {amount}", "fr": "Payer {amount}", "ht": "Peye {amount}"},
    "status_draft": {"en": "Draft", "fr": "Brouillon", "ht": "Bouyon"},
    "status_open": {"en": "Open", "fr": "À payer", "ht": "Pou peye"},
    "status_past_due": {"en": "Past due", "fr": "En retard", "ht": "An reta"},
    "status_paid": {"en": "Paid", "fr": "Payée", "ht": "Peye"},
    "status_void": {"en": "Void", "fr": "Annulée", "ht": "Anile"},
    "status_uncollectible": {
        "en": "Written off", "fr": "Abandonnée", "ht": "Abandone",
    },
    "page_lines": {
        "en": "Invoice details", "fr": "Détails de la facture", "ht": "Detay fakti a",
    },
    "page_details": {"en": "Details", "fr": "Détails", "ht": "Detay"},
    "page_from": {"en": "From", "fr": "De", "ht": "Nan men"},
    "page_pdf": {
        "en": "Download invoice", "fr": "Télécharger la facture", "ht": "Telechaje fakti a",
    },
    "page_receipt": {
        "en": "Download receipt", "fr": "Télécharger le reçu", "ht": "Telechaje resi a",
    },
    "page_notes": {"en": "Credit notes", "fr": "Avoirs", "ht": "Nòt kredi"},
    "page_language": {"en": "Language", "fr": "Langue", "ht": "Lang"},
    "page_draft": {
        "en": "This invoice is being prepared: there is nothing to pay yet.",
        "fr": "Cette facture est en préparation : il n’y a encore rien à payer.",
        "ht": "Y ap prepare fakti sa a: poko gen anyen pou peye.",
    },
    "page_paid": {
        "en": "This invoice is paid. Thank you.",
        "fr": "Cette facture est payée. Merci.",
        "ht": "Fakti sa a peye. Mèsi.",
    },
    "page_void": {
        "en": "This invoice is void: nothing is due.",
        "fr": "Cette facture est annulée : rien n’est dû.",
        "ht": "Fakti sa a anile: pa gen anyen pou peye.",
    },
    "page_uncollectible": {
        "en": "This invoice is no longer asked for. You may still pay it.",
        "fr": "Cette facture n’est plus réclamée. Vous pouvez encore la payer.",
        "ht": "Nou pa mande peye fakti sa a ankò. Ou ka toujou peye li.",
    },
    "page_past_due": {
        "en": "This invoice is past due. Please pay it now.",
        "fr": "Cette facture est en retard. Merci de la payer maintenant.",
        "ht": "Fakti sa a an reta. Tanpri peye li kounye a.",
    },
    "page_failed": {
        "en": "The last payment did not go through, and nothing was charged. You can pay here,"
              " with the same card or another.",
        "fr": "Le dernier paiement n’a pas abouti et rien n’a été débité. Vous pouvez payer ici,"
              " avec la même carte ou une autre.",
        "ht": "Dènye peman an pa pase, e nou pa pran anyen. Ou ka peye isit la, ak menm kat la"
              " oswa yon lòt.",
    },
    "page_under_way": {
        "en": "A payment for this invoice is under way. You need not pay again: the page shows it"
              " once it is confirmed.",
        "fr": "Un paiement de cette facture est en cours. Inutile de payer à nouveau : la page"
              " l’affichera dès qu’il sera confirmé.",
        "ht": "Gen yon peman k ap fèt pou fakti sa a. Ou pa bezwen peye ankò: paj la ap montre l"
              " depi li konfime.",
    },
}  # fmt: skip
