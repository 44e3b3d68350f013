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
    # The order
    "co_title": {"en": "Pay {business}", "fr": "Payer {business}", "ht": "Peye {business}"},
    "co_once": {"en": "One-time payment · {currency}", "fr": "Paiement unique · {currency}",
                "ht": "Yon sèl peman · {currency}"},
    "co_details": {"en": "Order details", "fr": "Détails de la commande",
                   "ht": "Detay kòmand lan"},
    "co_included": {"en": "included", "fr": "incluse", "ht": "ladan l"},
    "co_due": {"en": "Total due", "fr": "Total à payer", "ht": "Total pou peye"},
    "co_contact": {"en": "Contact", "fr": "Contact", "ht": "Kontak"},
    "co_method": {"en": "Payment method", "fr": "Moyen de paiement", "ht": "Mwayen peman"},
    "co_entered": {"en": "Entered on {provider}’s secure page",
                   "fr": "Saisi sur la page sécurisée de {provider}",
                   "ht": "Ou antre l sou paj sekirize {provider}"},
    "co_goes": {
        "en": "You continue on the payment page of {provider} and come back here. This order can"
              " be paid until",
        "fr": "Vous continuez sur la page de paiement de {provider}, puis revenez ici. Cette"
              " commande peut être payée jusqu’à",
        "ht": "W ap kontinye sou paj peman {provider}, epi w ap tounen isit la. Ou ka peye kòmand"
              " sa a jiska",
    },
    "co_cancel": {"en": "Cancel and go back", "fr": "Annuler et revenir",
                  "ht": "Anile epi tounen"},
    "co_sandbox": {"en": "Sandbox: no real money moves.",
                   "fr": "Bac à sable : aucun argent réel ne circule.",
                   "ht": "Bak asab: pa gen vrè lajan ki deplase."},
    "co_test_card": {"en": "Pay with test card {card}.",
                     "fr": "Payez avec la carte de test {card}.",
                     "ht": "Peye ak kat tès {card}."},
    "co_bonus": {"en": "+{count} credits", "fr": "+{count} crédits", "ht": "+{count} kredi"},
    "co_credits": {"en": "{count} credits · valid for {time}",
                   "fr": "{count} crédits · valables {time}",
                   "ht": "{count} kredi · valab pou {time}"},
    "co_credits_ever": {"en": "{count} credits · valid for ever",
                        "fr": "{count} crédits · valables sans limite",
                        "ht": "{count} kredi · valab pou tout tan"},
    "co_year": {"en": "12 months", "fr": "12 mois", "ht": "12 mwa"},
    "co_pieces": {"en": "{count} pieces", "fr": "{count} pièces", "ht": "{count} moso"},
    "means_card": {"en": "Card", "fr": "Carte", "ht": "Kat"},
    "means_payment": {"en": "Payment", "fr": "Paiement", "ht": "Peman"},
    "means_bitcoin": {"en": "Bitcoin", "fr": "Bitcoin", "ht": "Bitcoin"},
    "means_cash_or_bank_transfer": {"en": "Cash or bank transfer",
                                    "fr": "Espèces ou virement",
                                    "ht": "Lajan kach oswa transfè labank"},
    "means_moncash_account": {"en": "MonCash account", "fr": "Compte MonCash",
                              "ht": "Kont MonCash"},
    "means_natcash_account": {"en": "NatCash account", "fr": "Compte NatCash",
                              "ht": "Kont NatCash"},
    "means_paypal_account_or_card": {"en": "PayPal account or card",
                                     "fr": "Compte PayPal ou carte",
                                     "ht": "Kont PayPal oswa kat"},
    # What became of it
    "co_paid_title": {"en": "Payment received", "fr": "Paiement reçu",
                      "ht": "Nou resevwa peman an"},
    "co_paid_text": {
        "en": "Thank you. Keep the payment number below for your records.",
        "fr": "Merci. Conservez le numéro de paiement ci-dessous.",
        "ht": "Mèsi. Kenbe nimewo peman ki anba a.",
    },
    "co_failed_title": {"en": "Payment failed", "fr": "Paiement échoué", "ht": "Peman an pa pase"},
    "co_failed_text": {
        "en": "The card was declined and nothing was charged. You can try again.",
        "fr": "La carte a été refusée et rien n’a été débité. Vous pouvez réessayer.",
        "ht": "Yo refize kat la epi yo pa pran anyen. Ou ka eseye ankò.",
    },
    "co_expired_title": {"en": "This checkout has expired", "fr": "Cette commande a expiré",
                         "ht": "Kòmand sa a ekspire"},
    "co_expired_text": {
        "en": "Nothing was charged. Start again where you came from.",
        "fr": "Rien n’a été débité. Recommencez depuis la page d’où vous venez.",
        "ht": "Yo pa pran anyen. Rekòmanse kote ou te soti a.",
    },
    "co_canceled_title": {"en": "This checkout was canceled", "fr": "Cette commande a été annulée",
                          "ht": "Kòmand sa a anile"},
    "co_canceled_text": {"en": "Nothing was charged.", "fr": "Rien n’a été débité.",
                         "ht": "Yo pa pran anyen."},
    "co_pending_title": {"en": "Confirming your payment", "fr": "Confirmation de votre paiement",
                         "ht": "N ap konfime peman ou"},
    "co_pending_text": {
        "en": "This takes a moment. The page goes on by itself.",
        "fr": "Cela prend un instant. La page continue d’elle-même.",
        "ht": "Sa ap pran yon ti moman. Paj la ap kontinye pou kont li.",
    },
    "co_declined_title": {"en": "The payment did not go through",
                          "fr": "Le paiement n’a pas abouti", "ht": "Peman an pa pase"},
    "co_declined_text": {
        "en": "Nothing was charged. Go back to the payment page to try again or to pay otherwise.",
        "fr": "Rien n’a été débité. Revenez à la page de paiement pour réessayer ou payer"
              " autrement.",
        "ht": "Yo pa pran anyen. Tounen sou paj peman an pou eseye ankò oswa peye yon lòt jan.",
    },
    "co_action_title": {"en": "One more step", "fr": "Encore une étape", "ht": "Yon dènye etap"},
    "co_action_text": {
        "en": "Your payment needs you: go back to the payment page to finish it.",
        "fr": "Votre paiement a besoin de vous : revenez à la page de paiement pour le terminer.",
        "ht": "Peman ou bezwen ou: tounen sou paj peman an pou fini l.",
    },
    "co_slow_title": {"en": "Your payment is on its way", "fr": "Votre paiement est en cours",
                      "ht": "Peman ou sou wout"},
    "co_slow_text": {
        "en": "The provider has not confirmed it yet. You need not wait: it is added when it"
              " arrives.",
        "fr": "Le prestataire ne l’a pas encore confirmé. Inutile d’attendre : il sera ajouté à"
              " son arrivée.",
        "ht": "Konpayi peman an poko konfime l. Ou pa bezwen tann: n ap ajoute l lè l rive.",
    },
    "co_back_title": {"en": "You are back from {provider}", "fr": "Vous revenez de {provider}",
                      "ht": "Ou tounen soti nan {provider}"},
    "co_back_text": {
        "en": "What you paid is added when it is confirmed: you need not wait. Go back to where you"
              " started, or open your order's own link, to see how it stands.",
        "fr": "Ce que vous avez payé sera ajouté une fois confirmé : inutile d’attendre. Revenez à"
              " votre point de départ, ou ouvrez le lien de votre commande, pour voir où elle en"
              " est.",
        "ht": "N ap ajoute sa ou peye a lè l konfime: ou pa bezwen tann. Tounen kote ou te kòmanse"
              " a, oswa louvri lyen kòmand ou, pou wè kote l ye.",
    },
    "co_paid": {"en": "Paid", "fr": "Payé", "ht": "Peye"},
    "co_added": {"en": "Credits added", "fr": "Crédits ajoutés", "ht": "Kredi yo ajoute"},
    "co_on_way": {"en": "on their way", "fr": "en route", "ht": "sou wout"},
    "co_continue": {"en": "Continue", "fr": "Continuer", "ht": "Kontinye"},
    "co_again": {"en": "Try again", "fr": "Réessayer", "ht": "Eseye ankò"},
    "co_go_back": {"en": "Go back", "fr": "Revenir", "ht": "Tounen"},
    "co_to_page": {"en": "Back to the payment page", "fr": "Retour à la page de paiement",
                   "ht": "Tounen sou paj peman an"},
    "co_check": {"en": "Check now", "fr": "Vérifier maintenant", "ht": "Verifye kounye a"},
    # What is paid by cash, transfer or agent
    "by_hand_way": {
        "en": "Pay at any of our distributors, or by bank transfer, with the reference below.",
        "fr": "Payez chez l’un de nos distributeurs ou par virement, avec la référence ci-dessous.",
        "ht": "Peye nan nenpòt nan distribitè nou yo, oswa ak yon transfè labank, ak referans ki"
              " anba a.",
    },
    "by_hand_natcash": {
        "en": "Send the amount by NatCash to {number}.",
        "fr": "Envoyez le montant par NatCash au {number}.",
        "ht": "Voye montan an ak NatCash nan {number}.",
    },
    "by_hand_title": {"en": "How to pay", "fr": "Comment payer", "ht": "Kijan pou peye"},
    "by_hand_until": {"en": "Pay until", "fr": "À payer avant le", "ht": "Pou peye anvan"},
    "by_hand_how": {
        "en": "Write the reference beside the money, or say it at the counter: by it the payment"
              " is found. You need not wait here; your order is completed when the money has come.",
        "fr": "Indiquez la référence avec le versement ou donnez-la au guichet : c’est elle qui"
              " permet de retrouver le paiement. Inutile d’attendre ici ; votre commande est"
              " validée dès réception de l’argent.",
        "ht": "Ekri referans lan ak lajan an, oswa di l nan kontwa a: se ak li yo jwenn peman an."
              " Ou pa bezwen tann isit la; kòmand ou ap konplè lè lajan an rive.",
    },
    "by_hand_number": {
        "en": "Paid already? The number on your receipt",
        "fr": "Déjà payé ? Le numéro figurant sur votre reçu",
        "ht": "Ou peye deja? Nimewo ki sou resi ou a",
    },
    "by_hand_send": {"en": "Send the number", "fr": "Envoyer le numéro", "ht": "Voye nimewo a"},
    "by_hand_given": {"en": "Number you gave", "fr": "Numéro indiqué",
                      "ht": "Nimewo ou te bay la"},
    "by_hand_noted": {"en": "The reference was noted.", "fr": "La référence a été notée.",
                      "ht": "Nou note referans lan."},
    "by_hand_again": {
        "en": "Another number was given for this payment before.",
        "fr": "Un autre numéro a déjà été indiqué pour ce paiement.",
        "ht": "Yo te bay yon lòt nimewo pou peman sa a deja.",
    },
    "by_hand_wrong": {"en": "This number cannot be taken.", "fr": "Ce numéro n’est pas valable.",
                      "ht": "Nimewo sa a pa bon."},
    "by_hand_come": {"en": "Has it come?", "fr": "Est-il arrivé ?", "ht": "Èske li rive?"},
    "invoice_bank": {
        "en": "Your bank asks you to confirm this payment.",
        "fr": "Votre banque vous demande de confirmer ce paiement.",
        "ht": "Bank ou mande ou konfime peman sa a.",
    },
}  # fmt: skip
