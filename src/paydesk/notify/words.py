"""What mails and receipts say, in English, French and Haitian Creole."""

from __future__ import annotations

from babel import Locale

from paydesk.notify.billing_words import BILLING_WORDS
from paydesk.notify.invoice_words import INVOICE_WORDS

LOCALES = ("en", "fr", "ht")

#: Key -> sentence by language. Names in braces are filled in; every language has the same ones.
WORDS: dict[str, dict[str, str]] = {
    "hello": {"en": "Hello {name},", "fr": "Bonjour {name},", "ht": "Bonjou {name},"},
    "hello_you": {"en": "Hello,", "fr": "Bonjour,", "ht": "Bonjou,"},
    "footer": {
        "en": "You get this mail as a customer of {business}.",
        "fr": "Vous recevez ce message en tant que client de {business}.",
        "ht": "Ou resevwa mesaj sa a paske ou se kliyan {business}.",
    },
    "footer_staff": {
        "en": "Notice to the staff of {business}.",
        "fr": "Avis au personnel de {business}.",
        "ht": "Avi pou pèsonèl {business}.",
    },
    "account": {"en": "Your account", "fr": "Votre compte", "ht": "Kont ou"},
    "description": {"en": "Description", "fr": "Description", "ht": "Deskripsyon"},
    "quantity": {"en": "Qty", "fr": "Qté", "ht": "Kantite"},
    "unit_price": {"en": "Unit price", "fr": "Prix unitaire", "ht": "Pri chak"},
    "subtotal": {"en": "Subtotal", "fr": "Sous-total", "ht": "Sou-total"},
    "price_rules": {"en": "Your price", "fr": "Tarif appliqué", "ht": "Pri pou ou"},
    "discount": {"en": "Discount", "fr": "Remise", "ht": "Rabè"},
    "discount_code": {
        "en": "Discount ({code})",
        "fr": "Remise ({code})",
        "ht": "Rabè ({code})",
    },
    "total": {"en": "Total", "fr": "Total", "ht": "Total"},
    "paid": {"en": "Paid", "fr": "Payé", "ht": "Peye"},
    "paid_on": {
        "en": "{amount} paid on {date}",
        "fr": "{amount} payés le {date}",
        "ht": "{amount} peye nan dat {date}",
    },
    "refunded_on": {
        "en": "Refunded on {date}",
        "fr": "Remboursé le {date}",
        "ht": "Ranbouse nan dat {date}",
    },
    "after_refunds": {
        "en": "Paid after refunds",
        "fr": "Payé après remboursements",
        "ht": "Rete apre ranbousman",
    },
    "billed_to": {"en": "Billed to", "fr": "Facturé à", "ht": "Pou"},
    "tax_id": {
        "en": "Tax ID: {number}", "fr": "Numéro fiscal\u00a0: {number}",
        "ht": "Nimewo fiskal: {number}",
    },
    "page": {
        "en": "Page {page} of {pages}",
        "fr": "Page {page} sur {pages}",
        "ht": "Paj {page} sou {pages}",
    },
    "questions": {
        "en": "Questions? Write to {contact}.",
        "fr": "Une question ? Écrivez à {contact}.",
        "ht": "Si ou gen kesyon, ekri {contact}.",
    },
    "refunded": {"en": "Refunded", "fr": "Remboursé", "ht": "Ranbouse"},
    "amount": {"en": "Amount", "fr": "Montant", "ht": "Montan"},
    "method": {"en": "Paid with", "fr": "Payé par", "ht": "Peye ak"},
    "method_tried": {"en": "Tried with", "fr": "Moyen de paiement", "ht": "Eseye ak"},
    "date": {"en": "Date", "fr": "Date", "ht": "Dat"},
    "number": {"en": "Receipt number", "fr": "Numéro du reçu", "ht": "Nimewo resi a"},
    "payment": {"en": "Payment", "fr": "Paiement", "ht": "Peman"},
    "reference": {"en": "Reference", "fr": "Référence", "ht": "Referans"},
    "credits": {"en": "Credits added", "fr": "Crédits ajoutés", "ht": "Kredi ki ajoute"},
    "customer": {"en": "Customer", "fr": "Client", "ht": "Kliyan"},
    "reason": {"en": "Reason", "fr": "Motif", "ht": "Rezon"},
    "receipt": {"en": "Receipt", "fr": "Reçu", "ht": "Resi"},
    "test": {
        "en": "Test: no real money moved.",
        "fr": "Essai : aucun argent réel n’a circulé.",
        "ht": "Esè: pa gen okenn lajan reyèl ki pase.",
    },
    # receipt
    "receipt_subject": {
        "en": "Your receipt from {business}: {amount}",
        "fr": "Votre reçu de {business} : {amount}",
        "ht": "Resi ou nan men {business}: {amount}",
    },
    "receipt_heading": {
        "en": "Thank you for your payment",
        "fr": "Merci pour votre paiement",
        "ht": "Mèsi pou peman ou",
    },
    "receipt_text": {
        "en": "We received your payment of {amount} on {date}. The receipt is attached as a PDF.",
        "fr": "Nous avons reçu votre paiement de {amount} le {date}. Le reçu est joint en PDF.",
        "ht": "Nou resevwa peman {amount} ou a nan dat {date}. Resi a tache nan mesaj la an PDF.",
    },
    # refund
    "refund_subject": {
        "en": "Your refund from {business}: {amount}",
        "fr": "Votre remboursement de {business} : {amount}",
        "ht": "Ranbousman ou nan men {business}: {amount}",
    },
    "refund_heading": {
        "en": "Your money is on its way back",
        "fr": "Votre argent vous est rendu",
        "ht": "Lajan ou ap tounen jwenn ou",
    },
    "refund_text": {
        "en": "We sent {amount} back to the way you paid. Banks may take some days to show it.",
        "fr": "Nous avons renvoyé {amount} vers votre moyen de paiement. Les banques mettent"
              " parfois quelques jours à l’afficher.",
        "ht": "Nou voye {amount} tounen menm kote ou te peye a. Bank yo ka pran kèk jou anvan yo"
              " montre li.",
    },
    # payment_failed
    "payment_failed_subject": {
        "en": "Your payment to {business} did not go through",
        "fr": "Votre paiement à {business} n’a pas abouti",
        "ht": "Peman ou bay {business} pa pase",
    },
    "payment_failed_heading": {
        "en": "The payment did not go through",
        "fr": "Le paiement n’a pas abouti",
        "ht": "Peman an pa pase",
    },
    "payment_failed_text": {
        "en": "Your payment of {amount} did not go through, and nothing was charged. You can try"
              " again or use another way to pay.",
        "fr": "Votre paiement de {amount} n’a pas abouti et rien n’a été débité. Vous pouvez"
              " réessayer ou choisir un autre moyen de paiement.",
        "ht": "Peman {amount} ou a pa pase, e nou pa pran anyen. Ou ka eseye ankò oswa chwazi yon"
              " lòt fason pou peye.",
    },
    "try_again": {"en": "Try again", "fr": "Réessayer", "ht": "Eseye ankò"},
    "card_declined": {
        "en": "The card was declined.",
        "fr": "La carte a été refusée.",
        "ht": "Yo refize kat la.",
    },
    "insufficient_funds": {
        "en": "There was not enough money on the card.",
        "fr": "Le solde de la carte était insuffisant.",
        "ht": "Pa te gen ase lajan sou kat la.",
    },
    "expired_card": {
        "en": "The card has expired.",
        "fr": "La carte a expiré.",
        "ht": "Kat la ekspire.",
    },
    "incorrect_cvc": {
        "en": "The card’s security code was wrong.",
        "fr": "Le code de sécurité de la carte était incorrect.",
        "ht": "Kòd sekirite kat la pa t bon.",
    },
    "not_authenticated": {
        "en": "The bank could not confirm that it was you.",
        "fr": "La banque n’a pas pu confirmer que c’était bien vous.",
        "ht": "Bank la pa t kapab konfime se ou menm.",
    },
    # credits_low
    "credits_low_subject": {
        "en": "You have {balance} credits left",
        "fr": "Il vous reste {balance} crédits",
        "ht": "Ou rete {balance} kredi",
    },
    "credits_low_subject_one": {
        "en": "You have {balance} credit left",
        "fr": "Il vous reste {balance} crédit",
        "ht": "Ou rete {balance} kredi",
    },
    "credits_low_heading": {
        "en": "Your credits are running low",
        "fr": "Vos crédits diminuent",
        "ht": "Kredi ou yo ap fini",
    },
    "credits_low_text": {
        "en": "You have {balance} credits left at {business}. Add more to go on without a break.",
        "fr": "Il vous reste {balance} crédits chez {business}. Ajoutez-en pour continuer sans"
              " interruption.",
        "ht": "Ou rete {balance} kredi lakay {business}. Achte plis pou ou kontinye san rete.",
    },
    "credits_low_text_one": {
        "en": "You have {balance} credit left at {business}. Add more to go on without a break.",
        "fr": "Il vous reste {balance} crédit chez {business}. Ajoutez-en pour continuer sans"
              " interruption.",
        "ht": "Ou rete {balance} kredi lakay {business}. Achte plis pou ou kontinye san rete.",
    },
    "add_credits": {"en": "Add credits", "fr": "Ajouter des crédits", "ht": "Achte kredi"},
    # credits_expiring
    "credits_expiring_subject": {
        "en": "{credits} credits expire on {date}",
        "fr": "{credits} crédits expirent le {date}",
        "ht": "{credits} kredi ap ekspire {date}",
    },
    "credits_expiring_subject_one": {
        "en": "{credits} credit expires on {date}",
        "fr": "{credits} crédit expire le {date}",
        "ht": "{credits} kredi ap ekspire {date}",
    },
    "credits_expiring_heading": {
        "en": "Some of your credits end soon",
        "fr": "Certains de vos crédits expirent bientôt",
        "ht": "Gen kredi ou ki prèt pou ekspire",
    },
    "credits_expiring_text": {
        "en": "{credits} of your credits at {business} can be used until {date} (UTC).",
        "fr": "{credits} de vos crédits chez {business} sont utilisables jusqu’au {date} (UTC).",
        "ht": "Ou ka sèvi ak {credits} nan kredi ou yo lakay {business} jiska {date} (UTC).",
    },
    "credits_expiring_text_one": {
        "en": "{credits} of your credits at {business} can be used until {date} (UTC).",
        "fr": "{credits} de vos crédits chez {business} est utilisable jusqu’au {date} (UTC).",
        "ht": "Ou ka sèvi ak {credits} nan kredi ou yo lakay {business} jiska {date} (UTC).",
    },
    # dispute_opened and dispute_due_soon, to staff
    "dispute_opened_subject": {
        "en": "Dispute opened: {amount}, {customer}",
        "fr": "Litige ouvert : {amount}, {customer}",
        "ht": "Yo louvri yon dispit: {amount}, {customer}",
    },
    "dispute_opened_heading": {
        "en": "A customer’s bank disputes a payment",
        "fr": "La banque d’un client conteste un paiement",
        "ht": "Bank yon kliyan konteste yon peman",
    },
    "dispute_opened_text": {
        "en": "{amount} is disputed. Send evidence in time, or the dispute is lost.",
        "fr": "{amount} est contesté. Envoyez les preuves à temps, sinon le litige est perdu.",
        "ht": "Yo konteste {amount}. Voye prèv yo alè, sinon n ap pèdi dispit la.",
    },
    "dispute_due_soon_subject": {
        "en": "Evidence is due by {date}: {amount}, {customer}",
        "fr": "Preuves à envoyer avant le {date} : {amount}, {customer}",
        "ht": "Prèv yo dwe rive anvan {date}: {amount}, {customer}",
    },
    "dispute_due_soon_heading": {
        "en": "Evidence for a dispute is due soon",
        "fr": "Les preuves d’un litige sont bientôt dues",
        "ht": "Lè pou voye prèv yo prèske fini",
    },
    "dispute_due_soon_text": {
        "en": "Nothing was sent for the dispute of {amount} yet. Without evidence it is lost.",
        "fr": "Rien n’a encore été envoyé pour le litige de {amount}. Sans preuves, il est perdu.",
        "ht": "Nou poko voye anyen pou dispit {amount} lan. San prèv n ap pèdi li.",
    },
    "fraudulent": {
        "en": "Fraudulent: the cardholder did not pay",
        "fr": "Fraude : le titulaire n’a pas payé",
        "ht": "Fwod: mèt kat la di se pa li ki peye",
    },
    "product_not_received": {
        "en": "Not received",
        "fr": "Non reçu",
        "ht": "Li pa resevwa anyen",
    },
    "product_unacceptable": {
        "en": "Not as described",
        "fr": "Non conforme",
        "ht": "Se pa sa yo te pwomèt",
    },
    "duplicate": {"en": "Charged twice", "fr": "Débité deux fois", "ht": "Peye de fwa"},
    "credit_not_processed": {
        "en": "Refund not received",
        "fr": "Remboursement non reçu",
        "ht": "Li pa jwenn ranbousman",
    },
    "unrecognized": {
        "en": "Not recognized",
        "fr": "Paiement non reconnu",
        "ht": "Li pa rekonèt peman an",
    },
    "subscription_canceled": {
        "en": "Canceled before",
        "fr": "Annulé auparavant",
        "ht": "Li te anile anvan",
    },
    # refund_failed, to staff
    "refund_failed_subject": {
        "en": "A refund did not arrive: {amount}, {customer}",
        "fr": "Un remboursement n’est pas arrivé : {amount}, {customer}",
        "ht": "Yon ranbousman pa rive: {amount}, {customer}",
    },
    "refund_failed_heading": {
        "en": "A refund did not arrive",
        "fr": "Un remboursement n’est pas arrivé",
        "ht": "Yon ranbousman pa rive",
    },
    "refund_failed_text": {
        "en": "{amount} could not go back to the customer, and the books stand as before. Return"
              " the money another way.",
        "fr": "{amount} n’ont pas pu être rendus au client ; les comptes sont comme avant."
              " Remboursez-le d’une autre manière.",
        "ht": "{amount} pa t kapab tounen jwenn kliyan an; kont yo rete jan yo te ye a. Remèt li"
              " lajan an yon lòt jan.",
    },
    "due": {"en": "Evidence due by", "fr": "Preuves avant le", "ht": "Prèv anvan"},
    "open_payment": {"en": "Open the payment", "fr": "Ouvrir le paiement", "ht": "Louvri peman an"},
    # refill_paused
    "refill_credits": {"en": "credits", "fr": "crédits", "ht": "kredi"},
    "refill_wallet": {"en": "wallet", "fr": "portefeuille", "ht": "bous"},
    "refill_paused_subject": {
        "en": "Automatic refills of your {what} have paused",
        "fr": "La recharge automatique de vos fonds est suspendue ({what})",
        "ht": "Rechaj otomatik la kanpe ({what})",
    },
    "refill_paused_heading": {
        "en": "Automatic refills have paused",
        "fr": "La recharge automatique est suspendue",
        "ht": "Rechaj otomatik la kanpe",
    },
    "refill_paused_method": {
        "en": "Your payment method could not be charged, so nothing was refilled. As soon as you"
              " add another one, refills go on by themselves.",
        "fr": "Votre moyen de paiement n’a pas pu être débité : rien n’a été rechargé. Dès que"
              " vous en ajoutez un autre, la recharge reprend d’elle-même.",
        "ht": "Nou pa t ka pran lajan sou mwayen peman ou a, kidonk anyen pa rechaje. Depi ou"
              " ajoute yon lòt, rechaj la ap kontinye poukont li.",
    },
    "refill_paused_text": {
        "en": "Your payment method could not be charged, so nothing was refilled. No more is tried"
              " until you turn automatic refills on again.",
        "fr": "Votre moyen de paiement n’a pas pu être débité : rien n’a été rechargé. Plus rien"
              " n’est tenté jusqu’à ce que vous réactiviez la recharge automatique.",
        "ht": "Nou pa t ka pran lajan sou mwayen peman ou a, kidonk anyen pa rechaje. Nou p ap"
              " eseye ankò jiskaske ou remete rechaj otomatik la.",
    },
    "refill_again": {
        "en": "See your account", "fr": "Voir votre compte", "ht": "Gade kont ou",
    },
    # payment_reminder, invoice_reminder
    "payment_reminder_subject": {
        "en": "Reminder: your payment of {amount} to {business}",
        "fr": "Rappel : votre paiement de {amount} à {business}",
        "ht": "Rapèl: peman {amount} ou a bay {business}",
    },
    "payment_reminder_heading": {
        "en": "Your payment has not arrived yet",
        "fr": "Votre paiement ne nous est pas encore parvenu",
        "ht": "Peman ou an poko rive",
    },
    "payment_reminder_text": {
        "en": "We have been waiting for your payment of {amount} since {date}. If you have paid,"
              " you need do nothing: it may take some days to arrive.",
        "fr": "Nous attendons votre paiement de {amount} depuis le {date}. Si vous avez déjà payé,"
              " vous n’avez rien à faire : il peut mettre quelques jours à arriver.",
        "ht": "N ap tann peman {amount} ou a depi {date}. Si ou peye deja, ou pa bezwen fè anyen:"
              " li ka pran kèk jou pou l rive.",
    },
    "invoice_reminder_subject": {
        "en": "Reminder: an invoice of {amount} from {business} is open",
        "fr": "Rappel : une facture de {amount} de {business} est à payer",
        "ht": "Rapèl: gen yon fakti {amount} nan men {business} ki poko peye",
    },
    "invoice_reminder_heading": {
        "en": "An invoice is still open",
        "fr": "Une facture reste à payer",
        "ht": "Gen yon fakti ki poko peye",
    },
    "invoice_reminder_text": {
        "en": "Your invoice of {date} is still open: {amount} is to be paid. If you have paid, you"
              " need do nothing.",
        "fr": "Votre facture du {date} reste ouverte : {amount} à payer. Si vous avez déjà payé,"
              " vous n’avez rien à faire.",
        "ht": "Fakti ou a ki gen dat {date} poko peye: gen {amount} pou peye. Si ou peye deja, ou"
              " pa bezwen fè anyen.",
    },
    "pay_now": {"en": "Pay now", "fr": "Payer maintenant", "ht": "Peye kounye a"},
    # endpoint_disabled, to staff
    "endpoint_disabled_subject": {
        "en": "Webhooks to {host} were stopped",
        "fr": "Les webhooks vers {host} ont été arrêtés",
        "ht": "Nou sispann webhook yo ki t ap ale sou {host}",
    },
    "endpoint_disabled_heading": {
        "en": "A webhook endpoint was disabled",
        "fr": "Un point de réception de webhooks a été désactivé",
        "ht": "Nou dezaktive yon adrès webhook",
    },
    "endpoint_gone": {
        "en": "It answered 410: it wants no more events. Nothing is sent to it until somebody"
              " enables it again.",
        "fr": "Il a répondu 410 : il ne veut plus d’événements. Rien ne lui est envoyé jusqu’à"
              " ce que quelqu’un le réactive.",
        "ht": "Li reponn 410: li pa vle resevwa evènman ankò. Nou p ap voye anyen ba li jiskaske"
              " yon moun reaktive li.",
    },
    "endpoint_failing": {
        "en": "Nothing got through to it for {days} days. Nothing is sent to it until somebody"
              " enables it again; then `paydesk webhooks redeliver` sends what it missed.",
        "fr": "Rien ne lui est parvenu depuis {days} jours. Rien ne lui est envoyé jusqu’à ce que"
              " quelqu’un le réactive ; `paydesk webhooks redeliver` renvoie alors ce qu’il a"
              " manqué.",
        "ht": "Anyen pa rive jwenn li depi {days} jou. Nou p ap voye anyen ba li jiskaske yon moun"
              " reaktive li; apre sa `paydesk webhooks redeliver` voye sa li te manke yo.",
    },
    "address": {"en": "Address", "fr": "Adresse", "ht": "Adrès"},
    "credits_item": {
        "en": "{credits} credits",
        "fr": "{credits} crédits",
        "ht": "{credits} kredi",
    },
    "credits_item_one": {
        "en": "{credits} credit",
        "fr": "{credits} crédit",
        "ht": "{credits} kredi",
    },
    "months": {"en": "{months} months", "fr": "{months} mois", "ht": "{months} mwa"},
    "months_one": {"en": "{months} month", "fr": "{months} mois", "ht": "{months} mwa"},
    "wallet_item": {
        "en": "Wallet top-up",
        "fr": "Recharge du portefeuille",
        "ht": "Lajan pou mete nan bous la",
    },
    # Ways to pay that have a word of their own
    "method_card": {"en": "Card", "fr": "Carte", "ht": "Kat"},
    "method_cash": {"en": "Cash", "fr": "Espèces", "ht": "Lajan kach"},
    "method_bank_transfer": {"en": "Bank transfer", "fr": "Virement", "ht": "Transfè labank"},
    "method_wallet": {"en": "Wallet", "fr": "Portefeuille", "ht": "Pòtfèy"},
    "method_manual": {
        "en": "Cash or bank transfer",
        "fr": "Espèces ou virement",
        "ht": "Lajan kach oswa transfè labank",
    },
    **INVOICE_WORDS,
    **BILLING_WORDS,
}  # fmt: skip

#: Names that are the same in every language: cards, wallets, providers.
NAMES = {
    "visa": "Visa", "mastercard": "Mastercard", "amex": "American Express",
    "discover": "Discover", "diners": "Diners Club", "jcb": "JCB", "unionpay": "UnionPay",
    "apple_pay": "Apple Pay", "google_pay": "Google Pay", "link": "Link", "stripe": "Stripe",
    "paypal": "PayPal", "moncash": "MonCash", "natcash": "NatCash", "bitcoin": "Bitcoin",
    "btcpay": "Bitcoin", "sepa_debit": "SEPA", "us_bank_account": "ACH", "ideal": "iDEAL",
}  # fmt: skip


def say(locale: str, key: str, **values: str) -> str:
    """A sentence in a language, with its names filled in."""
    return WORDS[key][locale].format(**values)


def counted(locale: str, key: str, count: int) -> str:
    """The key for so many: `{key}_one` where the language says one of them another way."""
    one = f"{key}_one"
    return one if one in WORDS and Locale.parse(locale).plural_form(count) == "one" else key


def name_of(locale: str, method: str) -> str:
    """A way to pay, or what stands on a card, as people call it."""
    if f"method_{method}" in WORDS:
        return say(locale, f"method_{method}")
    return NAMES.get(method) or method.replace("_", " ").capitalize()


def locale_of(text: str | None, otherwise: str) -> str:
    """The language that we have for a tag such as `fr-CA` or `ht_HT`."""
    language = (text or "").replace("_", "-").partition("-")[0].strip().lower()
    return language if language in LOCALES else otherwise
