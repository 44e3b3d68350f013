"""What mails about subscriptions and invoices say, in English, French and Haitian Creole."""

from __future__ import annotations

#: Key -> sentence by language, as `words.WORDS`, which has them too.
BILLING_WORDS: dict[str, dict[str, str]] = {
    "plan": {"en": "Plan", "fr": "Formule", "ht": "Plan"},
    "plan_before": {"en": "Before", "fr": "Auparavant", "ht": "Anvan"},
    "trial_ends": {"en": "Trial ends", "fr": "Fin de l’essai", "ht": "Esè a fini"},
    "renews_on": {
        "en": "Next renewal", "fr": "Prochain renouvellement", "ht": "Pwochen renouvèlman",
    },
    "ends_on": {"en": "Ends on", "fr": "Prend fin le", "ht": "Ap fini"},
    "ended_on": {"en": "Ended on", "fr": "A pris fin le", "ht": "Li fini"},
    "resumes_on": {"en": "Goes on", "fr": "Reprise", "ht": "Ap rekòmanse"},
    "takes_effect": {"en": "From", "fr": "À partir du", "ht": "Apati"},
    "to_charge": {"en": "Will be charged", "fr": "Sera débité", "ht": "N ap pran"},
    "price": {"en": "Price", "fr": "Prix", "ht": "Pri"},
    "next_try": {"en": "Next attempt", "fr": "Prochaine tentative", "ht": "Pwochen esè"},
    "pay_until": {"en": "Pay by", "fr": "À payer avant le", "ht": "Peye anvan"},
    "expires": {"en": "Expires", "fr": "Expire", "ht": "Ekspire"},
    "manage_account": {
        "en": "You can cancel it or change your plan in your account, at any time.",
        "fr": "Vous pouvez résilier ou changer de formule dans votre compte, à tout moment.",
        "ht": "Ou ka anile li oswa chanje plan nan kont ou, nenpòt lè.",
    },
    "manage_mail": {
        "en": "To cancel it or to change your plan, write to {contact}.",
        "fr": "Pour résilier ou changer de formule, écrivez à {contact}.",
        "ht": "Pou anile li oswa chanje plan, ekri {contact}.",
    },
    "manage_business": {
        "en": "To cancel it or to change your plan, contact {business}.",
        "fr": "Pour résilier ou changer de formule, contactez {business}.",
        "ht": "Pou anile li oswa chanje plan, kontakte {business}.",
    },
    "manage": {"en": "Manage subscription", "fr": "Gérer l’abonnement", "ht": "Jere abònman an"},
    "update_method": {
        "en": "Update payment method",
        "fr": "Changer de moyen de paiement",
        "ht": "Chanje mwayen peman an",
    },
    "add_method": {
        "en": "Add a payment method",
        "fr": "Ajouter un moyen de paiement",
        "ht": "Ajoute yon mwayen peman",
    },
    "subscribe_again": {
        "en": "Subscribe again", "fr": "S’abonner à nouveau", "ht": "Abòne ankò",
    },
    "view_invoice": {"en": "See the invoice", "fr": "Voir la facture", "ht": "Gade fakti a"},
    "method_at": {
        "en": "You can also add another way to pay in your account: {url}",
        "fr": "Vous pouvez aussi ajouter un autre moyen de paiement dans votre compte : {url}",
        "ht": "Ou ka ajoute yon lòt mwayen peman nan kont ou tou: {url}",
    },
    # trial_ending
    "trial_ending_subject": {
        "en": "Your trial of {plan} ends on {date}",
        "fr": "Votre essai de {plan} se termine le {date}",
        "ht": "Esè {plan} ou a ap fini {date}",
    },
    "trial_ending_heading": {
        "en": "Your trial ends soon",
        "fr": "Votre essai se termine bientôt",
        "ht": "Esè ou a prèt pou fini",
    },
    "trial_ending_text": {
        "en": "Your trial of {plan} ends on {date}. Your subscription begins then, and {amount}"
              " will be charged. If you do not want that, cancel before that day and nothing is"
              " charged.",
        "fr": "Votre essai de {plan} se termine le {date}. Votre abonnement commence alors et"
              " {amount} seront débités. Si vous ne le souhaitez pas, résiliez avant ce jour :"
              " rien ne sera débité.",
        "ht": "Esè {plan} ou a ap fini {date}. Se lè sa a abònman ou ap kòmanse, epi n ap pran"
              " {amount}. Si ou pa vle sa, anile anvan jou sa a: nou p ap pran anyen.",
    },
    "trial_ending_free": {
        "en": "Your trial of {plan} ends on {date}. Your subscription begins then; nothing will be"
              " charged for its first period.",
        "fr": "Votre essai de {plan} se termine le {date}. Votre abonnement commence alors ; rien"
              " ne sera débité pour la première période.",
        "ht": "Esè {plan} ou a ap fini {date}. Se lè sa a abònman ou ap kòmanse; nou p ap pran"
              " anyen pou premye peryòd la.",
    },
    "trial_ending_no_method": {
        "en": "Your trial of {plan} ends on {date}. There is no payment method yet: add one before"
              " that day to go on for {amount}. Otherwise it simply ends, and nothing is charged.",
        "fr": "Votre essai de {plan} se termine le {date}. Aucun moyen de paiement n’est"
              " enregistré : ajoutez-en un avant ce jour pour continuer, pour {amount}. Sinon"
              " l’essai prend fin et rien n’est débité.",
        "ht": "Esè {plan} ou a ap fini {date}. Poko gen mwayen peman: ajoute youn anvan jou sa a"
              " pou ou kontinye, pou {amount}. Sinon l ap fini, e nou p ap pran anyen.",
    },
    # trial_ended
    "trial_ended_subject": {
        "en": "Your trial of {plan} has ended",
        "fr": "Votre essai de {plan} est terminé",
        "ht": "Esè {plan} ou a fini",
    },
    "trial_ended_heading": {
        "en": "Your trial has ended", "fr": "Votre essai est terminé", "ht": "Esè ou a fini",
    },
    "trial_ended_text": {
        "en": "Your trial of {plan} ended on {date}. There was no payment method, so nothing was"
              " charged and your subscription did not begin. You can subscribe at any time.",
        "fr": "Votre essai de {plan} s’est terminé le {date}. Aucun moyen de paiement n’était"
              " enregistré : rien n’a été débité et l’abonnement n’a pas commencé. Vous pouvez"
              " vous abonner à tout moment.",
        "ht": "Esè {plan} ou a fini {date}. Pa t gen mwayen peman, kidonk nou pa pran anyen e"
              " abònman an pa kòmanse. Ou ka abòne nenpòt lè.",
    },
    # renewal_upcoming
    "renewal_upcoming_subject": {
        "en": "Your subscription to {plan} renews on {date}",
        "fr": "Votre abonnement {plan} se renouvelle le {date}",
        "ht": "Abònman {plan} ou a ap renouvle {date}",
    },
    "renewal_upcoming_heading": {
        "en": "Your subscription renews soon",
        "fr": "Votre abonnement se renouvelle bientôt",
        "ht": "Abònman ou a prèt pou renouvle",
    },
    "renewal_upcoming_text": {
        "en": "Your subscription to {plan} renews on {date}, and {amount} will be charged. If you"
              " do not want that, cancel before that day.",
        "fr": "Votre abonnement {plan} se renouvelle le {date} et {amount} seront débités. Si vous"
              " ne le souhaitez pas, résiliez avant ce jour.",
        "ht": "Abònman {plan} ou a ap renouvle {date}, epi n ap pran {amount}. Si ou pa vle sa,"
              " anile anvan jou sa a.",
    },
    # renewal_failed
    "renewal_failed_subject": {
        "en": "We could not charge {amount} for {plan}",
        "fr": "Nous n’avons pas pu débiter {amount} pour {plan}",
        "ht": "Nou pa t ka pran {amount} pou {plan}",
    },
    "renewal_failed_heading": {
        "en": "Your payment did not go through",
        "fr": "Votre paiement n’a pas abouti",
        "ht": "Peman ou an pa pase",
    },
    "renewal_failed_text": {
        "en": "We could not charge {amount} for your subscription to {plan}.",
        "fr": "Nous n’avons pas pu débiter {amount} pour votre abonnement {plan}.",
        "ht": "Nou pa t ka pran {amount} pou abònman {plan} ou a.",
    },
    "renewal_failed_retry": {
        "en": "We will try again on {date}. To be sure that your subscription goes on, pay now,"
              " with this card or another.",
        "fr": "Nous réessaierons le {date}. Pour être sûr que votre abonnement continue, payez dès"
              " maintenant, avec cette carte ou une autre.",
        "ht": "N ap eseye ankò {date}. Pou ou sèten abònman ou ap kontinye, peye kounye a, ak kat"
              " sa a oswa yon lòt.",
    },
    "renewal_failed_wait": {
        "en": "We will not charge this payment method again. Please pay in another way by {date},"
              " so that your subscription goes on.",
        "fr": "Nous ne débiterons plus ce moyen de paiement. Payez autrement avant le {date} pour"
              " que votre abonnement continue.",
        "ht": "Nou p ap eseye mwayen peman sa a ankò. Tanpri peye yon lòt fason anvan {date} pou"
              " abònman ou kontinye.",
    },
    # renewal_action
    "renewal_action_subject": {
        "en": "Please confirm your payment of {amount} for {plan}",
        "fr": "Confirmez votre paiement de {amount} pour {plan}",
        "ht": "Tanpri konfime peman {amount} ou a pou {plan}",
    },
    "renewal_action_heading": {
        "en": "Your bank wants you to confirm this payment",
        "fr": "Votre banque vous demande de confirmer ce paiement",
        "ht": "Bank ou mande ou konfime peman sa a",
    },
    "renewal_action_text": {
        "en": "Your bank asks for your confirmation before it pays {amount} for your subscription"
              " to {plan}. It takes a minute.",
        "fr": "Votre banque demande votre confirmation avant de payer {amount} pour votre"
              " abonnement {plan}. Cela prend une minute.",
        "ht": "Bank ou bezwen konfimasyon ou anvan li peye {amount} pou abònman {plan} ou a. Sa"
              " ap pran yon minit.",
    },
    "confirm_payment": {
        "en": "Confirm payment", "fr": "Confirmer le paiement", "ht": "Konfime peman an",
    },
    # card_expiring
    "card_expiring_subject": {
        "en": "Your card expires before your next payment",
        "fr": "Votre carte expire avant votre prochain paiement",
        "ht": "Kat ou ap ekspire anvan pwochen peman ou",
    },
    "card_expiring_heading": {
        "en": "Your card expires soon",
        "fr": "Votre carte expire bientôt",
        "ht": "Kat ou prèt pou ekspire",
    },
    "card_expiring_text": {
        "en": "Your subscription to {plan} renews on {date}. The card {card} will have expired by"
              " then: add another one so that your subscription goes on.",
        "fr": "Votre abonnement {plan} se renouvelle le {date}. La carte {card} aura expiré :"
              " ajoutez-en une autre pour que votre abonnement continue.",
        "ht": "Abònman {plan} ou a ap renouvle {date}. Kat {card} ap gentan ekspire: ajoute yon"
              " lòt pou abònman ou kontinye.",
    },
    # subscription_ending
    "subscription_ending_subject": {
        "en": "Your subscription to {plan} ends on {date}",
        "fr": "Votre abonnement {plan} prend fin le {date}",
        "ht": "Abònman {plan} ou a ap fini {date}",
    },
    "subscription_ending_heading": {
        "en": "Your subscription will end",
        "fr": "Votre abonnement va prendre fin",
        "ht": "Abònman ou a pral fini",
    },
    "subscription_ending_text": {
        "en": "As you asked, your subscription to {plan} ends on {date}. Until then everything"
              " stays as it is, and nothing more is charged. If you change your mind before that"
              " day, you can keep it.",
        "fr": "Comme demandé, votre abonnement {plan} prend fin le {date}. D’ici là rien ne change"
              " et plus rien ne sera débité. Si vous changez d’avis avant ce jour, vous pouvez le"
              " garder.",
        "ht": "Jan ou mande l la, abònman {plan} ou a ap fini {date}. Jiska lè sa a anyen pa"
              " chanje, e nou p ap pran anyen ankò. Si ou chanje lide anvan jou sa a, ou ka kenbe"
              " li.",
    },
    # subscription_kept
    "subscription_kept_subject": {
        "en": "Your subscription to {plan} goes on",
        "fr": "Votre abonnement {plan} continue",
        "ht": "Abònman {plan} ou a ap kontinye",
    },
    "subscription_kept_heading": {
        "en": "Your subscription goes on",
        "fr": "Votre abonnement continue",
        "ht": "Abònman ou a ap kontinye",
    },
    "subscription_kept_text": {
        "en": "Your subscription to {plan} will not end. It renews on {date} as before.",
        "fr": "Votre abonnement {plan} ne prendra pas fin. Il se renouvelle le {date} comme"
              " auparavant.",
        "ht": "Abònman {plan} ou a p ap fini. L ap renouvle {date} tankou anvan.",
    },
    # subscription_canceled
    "subscription_canceled_subject": {
        "en": "Your subscription to {plan} has ended",
        "fr": "Votre abonnement {plan} a pris fin",
        "ht": "Abònman {plan} ou a fini",
    },
    "subscription_canceled_heading": {
        "en": "Your subscription has ended",
        "fr": "Votre abonnement a pris fin",
        "ht": "Abònman ou a fini",
    },
    "subscription_canceled_text": {
        "en": "Your subscription to {plan} ended on {date}. Nothing more will be charged.",
        "fr": "Votre abonnement {plan} a pris fin le {date}. Plus rien ne sera débité.",
        "ht": "Abònman {plan} ou a fini {date}. Nou p ap pran anyen ankò.",
    },
    # subscription_gave_up
    "subscription_gave_up_subject": {
        "en": "Your subscription to {plan} has stopped: it could not be paid",
        "fr": "Votre abonnement {plan} est arrêté : il n’a pas pu être payé",
        "ht": "Abònman {plan} ou a kanpe: nou pa t ka jwenn peman an",
    },
    "subscription_gave_up_heading": {
        "en": "Your subscription could not be paid",
        "fr": "Votre abonnement n’a pas pu être payé",
        "ht": "Nou pa t ka jwenn peman abònman ou a",
    },
    "gave_up_canceled": {
        "en": "We could not charge your payment method for {plan}, so your subscription ended on"
              " {date}. Nothing more will be tried. You can subscribe again at any time.",
        "fr": "Nous n’avons pas pu débiter votre moyen de paiement pour {plan} : votre abonnement a"
              " pris fin le {date}. Plus rien ne sera tenté. Vous pouvez vous réabonner à tout"
              " moment.",
        "ht": "Nou pa t ka pran lajan sou mwayen peman ou a pou {plan}, kidonk abònman ou a fini"
              " {date}. Nou p ap eseye ankò. Ou ka abòne ankò nenpòt lè.",
    },
    "gave_up_unpaid": {
        "en": "We could not charge your payment method for {plan}, so your subscription stands"
              " still since {date}. As soon as the open invoice is paid it goes on.",
        "fr": "Nous n’avons pas pu débiter votre moyen de paiement pour {plan} : votre abonnement"
              " est suspendu depuis le {date}. Dès que la facture ouverte est payée, il reprend.",
        "ht": "Nou pa t ka pran lajan sou mwayen peman ou a pou {plan}, kidonk abònman ou a kanpe"
              " depi {date}. Depi fakti ki poko peye a peye, l ap kontinye.",
    },
    "gave_up_downgraded": {
        "en": "We could not charge your payment method for {was}, so you have the plan {plan} from"
              " {date} on.",
        "fr": "Nous n’avons pas pu débiter votre moyen de paiement pour {was} : vous avez la"
              " formule {plan} à partir du {date}.",
        "ht": "Nou pa t ka pran lajan sou mwayen peman ou a pou {was}, kidonk ou gen plan {plan}"
              " apati {date}.",
    },
    # subscription_paused
    "subscription_paused_subject": {
        "en": "Your subscription to {plan} is paused",
        "fr": "Votre abonnement {plan} est en pause",
        "ht": "Abònman {plan} ou a sou poz",
    },
    "subscription_paused_heading": {
        "en": "Your subscription is paused",
        "fr": "Votre abonnement est en pause",
        "ht": "Abònman ou a sou poz",
    },
    "subscription_paused_text": {
        "en": "Your subscription to {plan} is paused. Nothing is charged meanwhile, and what is"
              " left of the period you paid for waits for you. It stays so until it is resumed.",
        "fr": "Votre abonnement {plan} est en pause. Rien n’est débité pendant ce temps et le reste"
              " de la période payée vous attend. Il le reste jusqu’à sa reprise.",
        "ht": "Abònman {plan} ou a sou poz. Nou p ap pran anyen pandan tan sa a, e rès peryòd ou"
              " peye a ap tann ou. L ap rete konsa jiskaske yo relanse li.",
    },
    "subscription_paused_until": {
        "en": "Your subscription to {plan} is paused. Nothing is charged meanwhile, and what is"
              " left of the period you paid for waits for you. It goes on by itself on {date}.",
        "fr": "Votre abonnement {plan} est en pause. Rien n’est débité pendant ce temps et le reste"
              " de la période payée vous attend. Il reprend de lui-même le {date}.",
        "ht": "Abònman {plan} ou a sou poz. Nou p ap pran anyen pandan tan sa a, e rès peryòd ou"
              " peye a ap tann ou. L ap kontinye poukont li {date}.",
    },
    # subscription_resumed
    "subscription_resumed_subject": {
        "en": "Your subscription to {plan} goes on again",
        "fr": "Votre abonnement {plan} reprend",
        "ht": "Abònman {plan} ou a rekòmanse",
    },
    "subscription_resumed_heading": {
        "en": "Your subscription goes on again",
        "fr": "Votre abonnement reprend",
        "ht": "Abònman ou a rekòmanse",
    },
    "subscription_resumed_text": {
        "en": "The pause of {plan} is over. It renews on {date}, later by as much as it was"
              " paused.",
        "fr": "La pause de {plan} est terminée. Il se renouvelle le {date}, plus tard d’autant que"
              " la pause a duré.",
        "ht": "Poz {plan} lan fini. L ap renouvle {date}, menm kantite tan pita ak poz la.",
    },
    # subscription_changed
    "subscription_changed_subject": {
        "en": "Your subscription was changed to {plan}",
        "fr": "Votre abonnement est passé à {plan}",
        "ht": "Abònman ou a chanje: {plan}",
    },
    "subscription_changed_heading": {
        "en": "Your subscription was changed",
        "fr": "Votre abonnement a changé",
        "ht": "Abònman ou a chanje",
    },
    "subscription_changed_text": {
        "en": "You have {plan} from now on. It renews on {date}.",
        "fr": "Vous avez désormais {plan}. Il se renouvelle le {date}.",
        "ht": "Kounye a ou gen {plan}. L ap renouvle {date}.",
    },
    "changed_at_end": {
        "en": "Your subscription changes to {plan} on {date}. Until then everything stays as it"
              " is.",
        "fr": "Votre abonnement passera à {plan} le {date}. D’ici là rien ne change.",
        "ht": "Abònman ou a ap chanje pou {plan} {date}. Jiska lè sa a anyen pa chanje.",
    },
    "changed_credit": {
        "en": "{amount} is on your balance now, and pays your next invoices first.",
        "fr": "{amount} sont maintenant sur votre solde et paieront d’abord vos prochaines"
              " factures.",
        "ht": "{amount} sou balans ou kounye a; se li k ap peye pwochen fakti ou yo anvan.",
    },
    # invoice
    "invoice_subject": {
        "en": "Invoice from {business}: {amount}",
        "fr": "Facture de {business} : {amount}",
        "ht": "Fakti nan men {business}: {amount}",
    },
    "invoice_heading": {
        "en": "You have a new invoice", "fr": "Vous avez une nouvelle facture",
        "ht": "Ou gen yon nouvo fakti",
    },
    "invoice_text": {
        "en": "Your invoice of {amount} is due on {date}. It is attached as a PDF; you can pay it"
              " online.",
        "fr": "Votre facture de {amount} est à payer avant le {date}. Elle est jointe en PDF ; vous"
              " pouvez la payer en ligne.",
        "ht": "Fakti {amount} ou a dwe peye anvan {date}. Li tache nan mesaj la an PDF; ou ka peye"
              " li sou entènèt.",
    },
    # invoice_paid
    "invoice_paid_subject": {
        "en": "Your balance paid an invoice of {amount} from {business}",
        "fr": "Votre solde a payé une facture de {amount} de {business}",
        "ht": "Balans ou peye yon fakti {amount} nan men {business}",
    },
    "invoice_paid_heading": {
        "en": "Your balance paid this invoice",
        "fr": "Votre solde a payé cette facture",
        "ht": "Balans ou peye fakti sa a",
    },
    "invoice_paid_text": {
        "en": "Your invoice of {date} over {amount} is paid from your balance: nothing was"
              " charged. It is attached as a PDF.",
        "fr": "Votre facture du {date} de {amount} est payée par votre solde : rien n’a été débité."
              " Elle est jointe en PDF.",
        "ht": "Balans ou peye fakti {amount} ki gen dat {date} a: nou pa pran anyen sou kat ou. Li"
              " tache nan mesaj la an PDF.",
    },
    # credit_note
    "credit_note_subject": {
        "en": "Credit note from {business}: {amount}",
        "fr": "Avoir de {business} : {amount}",
        "ht": "Nòt kredi nan men {business}: {amount}",
    },
    "credit_note_heading": {
        "en": "You got a credit note", "fr": "Vous avez reçu un avoir",
        "ht": "Ou resevwa yon nòt kredi",
    },
    "credit_note_text": {
        "en": "{amount} of your invoice is credited. The credit note is attached as a PDF.",
        "fr": "{amount} de votre facture sont crédités. L’avoir est joint en PDF.",
        "ht": "Nou kredite {amount} sou fakti ou a. Nòt kredi a tache nan mesaj la an PDF.",
    },
    # credit_note_voided
    "credit_note_voided_subject": {
        "en": "Credit note from {business} taken back: {amount}",
        "fr": "Avoir de {business} annulé : {amount}",
        "ht": "{business} anile yon nòt kredi: {amount}",
    },
    "credit_note_voided_heading": {
        "en": "A credit note was taken back", "fr": "Un avoir a été annulé",
        "ht": "Nou anile yon nòt kredi",
    },
    "credit_note_voided_text": {
        "en": "The credit note of {amount} that we sent you does not stand any more, because its"
              " refund did not go through.",
        "fr": "L’avoir de {amount} que nous vous avons envoyé n’est plus valable, car son"
              " remboursement n’a pas abouti.",
        "ht": "Nòt kredi {amount} nou te voye ba ou a pa valab ankò, paske ranbousman an pa t"
              " pase.",
    },
    "credit_note_voided_stays": {
        "en": "Your invoice stands as it did before. Please keep the attached PDF, which says so.",
        "fr": "Votre facture reste telle qu’elle était. Conservez le PDF joint, qui l’indique.",
        "ht": "Fakti ou rete jan l te ye anvan an. Tanpri kenbe PDF ki tache a, ki di sa.",
    },
    # Why a charge failed, beyond what other mails say
    "no_method": {
        "en": "There is no payment method that can be charged.",
        "fr": "Aucun moyen de paiement ne peut être débité.",
        "ht": "Pa gen okenn mwayen peman nou ka itilize.",
    },
    "bank_declined": {
        "en": "The bank declined the payment.",
        "fr": "La banque a refusé le paiement.",
        "ht": "Bank la refize peman an.",
    },
    "bank_unreachable": {
        "en": "The bank could not be reached.",
        "fr": "La banque n’a pas pu être jointe.",
        "ht": "Nou pa t ka jwenn bank la.",
    },
    "card_details": {
        "en": "The card’s details are not right.",
        "fr": "Les données de la carte ne sont pas correctes.",
        "ht": "Enfòmasyon kat la pa bon.",
    },
    "not_allowed": {
        "en": "The bank does not allow further payments to us.",
        "fr": "La banque n’autorise plus de paiements envers nous.",
        "ht": "Bank la pa pèmèt peman ba nou ankò.",
    },
    # Lines of changes
    "line_unused": {
        "en": "Unused time on {name}", "fr": "Temps non utilisé de {name}",
        "ht": "Tan ki rete sou {name}",
    },
    "line_remaining": {
        "en": "Remaining time on {name}", "fr": "Temps restant de {name}",
        "ht": "Rès tan sou {name}",
    },
    "line_discount": {
        "en": "Discount on {name}", "fr": "Remise sur {name}", "ht": "Rabè sou {name}",
    },
}  # fmt: skip
