"""What mails and receipts say, in English, French and Haitian Creole."""

from __future__ import annotations

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
    "item": {"en": "Item", "fr": "Article", "ht": "Atik"},
    "price": {"en": "Price", "fr": "Prix", "ht": "Pri"},
    "discount": {"en": "Discount", "fr": "Remise", "ht": "Rabè"},
    "paid": {"en": "Paid", "fr": "Payé", "ht": "Peye"},
    "refunded": {"en": "Refunded", "fr": "Remboursé", "ht": "Ranbouse"},
    "amount": {"en": "Amount", "fr": "Montant", "ht": "Montan"},
    "method": {"en": "Paid with", "fr": "Payé par", "ht": "Peye ak"},
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
    # credits_low
    "credits_low_subject": {
        "en": "You have {balance} credits left",
        "fr": "Il vous reste {balance} crédits",
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
    "add_credits": {"en": "Add credits", "fr": "Ajouter des crédits", "ht": "Achte kredi"},
    # credits_expiring
    "credits_expiring_subject": {
        "en": "{credits} credits expire on {date}",
        "fr": "{credits} crédits expirent le {date}",
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
    # dispute_opened, to staff
    "dispute_opened_subject": {
        "en": "Dispute opened: {amount}, {customer}",
        "fr": "Litige ouvert : {amount}, {customer}",
        "ht": "Yo louvri yon dispit: {amount}, {customer}",
    },
    "dispute_opened_heading": {
        "en": "A customer's bank disputes a payment",
        "fr": "La banque d’un client conteste un paiement",
        "ht": "Bank yon kliyan konteste yon peman",
    },
    "dispute_opened_text": {
        "en": "{amount} is disputed. Send evidence in time, or the dispute is lost.",
        "fr": "{amount} est contesté. Envoyez les preuves à temps, sinon le litige est perdu.",
        "ht": "Yo konteste {amount}. Voye prèv yo alè, sinon n ap pèdi dispit la.",
    },
    "due": {"en": "Evidence due by", "fr": "Preuves avant le", "ht": "Prèv anvan"},
    "open_payment": {"en": "Open the payment", "fr": "Ouvrir le paiement", "ht": "Louvri peman an"},
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
    "card": {"en": "Card", "fr": "Carte", "ht": "Kat"},
    "cash": {"en": "Cash", "fr": "Espèces", "ht": "Lajan kach"},
    "bank_transfer": {"en": "Bank transfer", "fr": "Virement", "ht": "Transfè labank"},
    "wallet": {"en": "Wallet", "fr": "Portefeuille", "ht": "Bous"},
}  # fmt: skip


def say(locale: str, key: str, **values: str) -> str:
    """A sentence in a language, with its names filled in."""
    return WORDS[key][locale].format(**values)


def known(key: str) -> bool:
    return key in WORDS


def locale_of(text: str | None, otherwise: str) -> str:
    """The language that we have for a tag such as `fr-CA` or `ht_HT`."""
    language = (text or "").replace("_", "-").partition("-")[0].strip().lower()
    return language if language in LOCALES else otherwise
