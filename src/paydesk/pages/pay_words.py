"""What the pages say on which a customer pays, or confirms a payment at the bank, in English,
French and Haitian Creole."""

from __future__ import annotations

#: Key -> sentence by language. Names in braces are filled in; every language has the same ones.
PAY_WORDS: dict[str, dict[str, str]] = {
    # Confirming at the bank
    "bank_title": {"en": "Confirm with your bank", "fr": "Confirmez auprès de votre banque",
                   "ht": "Konfime ak bank ou"},
    "bank_text": {
        "en": "Your bank wants to be sure that it is you who pays {amount} for {plan}. You confirm"
              " it on the bank’s page and come back here.",
        "fr": "Votre banque veut s’assurer que c’est bien vous qui payez {amount} pour {plan}. Vous"
              " confirmez sur la page de la banque, puis vous revenez ici.",
        "ht": "Bank ou vle asire l se ou menm k ap peye {amount} pou {plan}. Ou konfime sa sou paj"
              " bank la, epi ou tounen isit la.",
    },
    "bank_keeps": {
        "en": "Nothing changes and nothing is owed before that.",
        "fr": "D’ici là, rien ne change et vous ne devez rien.",
        "ht": "Anvan sa, anyen pa chanje epi ou pa dwe anyen.",
    },
    "bank_go": {"en": "Go to the bank’s page", "fr": "Aller sur la page de la banque",
                "ht": "Ale sou paj bank la"},
    "bank_waits": {
        "en": "The change to {plan} waits: your bank asks you to confirm {amount}.",
        "fr": "Le passage à {plan} est en attente : votre banque vous demande de confirmer"
              " {amount}.",
        "ht": "Chanjman pou {plan} an ap tann: bank ou mande ou konfime {amount}.",
    },
    "bank_begins": {
        "en": "{plan} begins once you have confirmed {amount} with your bank.",
        "fr": "{plan} commence dès que vous aurez confirmé {amount} auprès de votre banque.",
        "ht": "{plan} ap kòmanse lè ou konfime {amount} ak bank ou.",
    },
    "money_waits": {
        "en": "The change to {plan} waits for its payment of {amount}.",
        "fr": "Le passage à {plan} attend son paiement de {amount}.",
        "ht": "Chanjman pou {plan} an ap tann peman {amount} lan.",
    },
    "done_unconfirmed": {
        "en": "Your bank did not confirm the payment. Nothing was changed and nothing is owed.",
        "fr": "Votre banque n’a pas confirmé le paiement. Rien n’a été modifié et vous ne devez"
              " rien.",
        "ht": "Bank ou pa konfime peman an. Anyen pa chanje epi ou pa dwe anyen.",
    },
    "done_on_its_way": {
        "en": "The payment is on its way and cannot be stopped: the change is made when it"
              " arrives.",
        "fr": "Le paiement est en cours et ne peut plus être arrêté : le changement sera fait à son"
              " arrivée.",
        "ht": "Peman an deja sou wout, yo pa ka kanpe l: chanjman an ap fèt lè l rive.",
    },
    "invoice_bank": {
        "en": "Your bank asks you to confirm this payment.",
        "fr": "Votre banque vous demande de confirmer ce paiement.",
        "ht": "Bank ou mande ou konfime peman sa a.",
    },
}  # fmt: skip
