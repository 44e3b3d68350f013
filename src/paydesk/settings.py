"""Settings: every value Paydesk can be told, with its default and the names it goes by.

Order: argument > environment > `.env` > `paydesk.yaml` > default (`sources.load`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from paydesk.sources import Loaded


def _named(
    default: Any,
    *names: str,
    doc: str,
    secret: bool = False,
    least: int | None = None,
    most: int | None = None,
    choices: tuple[str, ...] = (),
):
    meta = {"names": names, "doc": doc, "secret": secret}
    meta |= {"least": least, "most": most, "choices": choices}
    return field(default=default, metadata=meta)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One frozen set of values. Field metadata: environment names, a sentence, secret or not."""

    # Where things are
    port: int = _named(8000, "PAYDESK_PORT", "PAYMENT_SERVICE_PORT", least=0, most=65_535,
                       doc="Port of the service; development takes the next free one.")
    host: str = _named("127.0.0.1", "PAYDESK_HOST", doc="Address the service listens on.")
    public_url: str = _named("", "PAYDESK_PUBLIC_URL", doc="Address that customers reach it by.")
    service_name: str = _named("paydesk", "PAYDESK_SERVICE_NAME", "PAYMENT_SERVICE_NAME",
                               doc="Name shown in health answers and logs.")
    business_name: str = _named("Northwind Labs", "PAYDESK_BUSINESS_NAME",
                                doc="Name that customers see on hosted pages.")
    business_address: str = _named("", "PAYDESK_BUSINESS_ADDRESS",
                                   doc="Address on receipts; a semicolon ends a line.")
    business_email: str = _named("", "PAYDESK_BUSINESS_EMAIL",
                                 doc="Where customers may ask; on receipts, and answers to mails go"
                                     " there.")
    business_tax_id: str = _named("", "PAYDESK_BUSINESS_TAX_ID", doc="Tax number on receipts.")
    business_logo: str = _named("", "PAYDESK_BUSINESS_LOGO",
                                doc="Path of a PNG or JPEG for mails and receipts, at most 256 kB;"
                                    " empty: the name's first letter.")
    brand_color: str = _named("#2f5be7", "PAYDESK_BRAND_COLOR",
                              doc="Color of buttons in mails and of the mark, such as #0b7a4b;"
                                  " white text must be readable on it.")
    account_url: str = _named("", "PAYDESK_ACCOUNT_URL",
                              doc="Where mails send customers, such as your billing page; empty:"
                                  " mails have no button.")
    data_dir: str = _named(".paydesk", "PAYDESK_DATA_DIR",
                           doc="Folder of the embedded database and the simulator.")
    database_url: str = _named("", "DATABASE_URL", "PAYDESK_DATABASE_URL", secret=True,
                               doc="PostgreSQL to use; empty: the embedded one.")
    redis_url: str = _named("", "REDIS_URL", "PAYDESK_REDIS_URL", secret=True,
                            doc="Redis or Valkey for caches, limits and push; empty: PostgreSQL.")
    log_level: str = _named("info", "PAYDESK_LOG_LEVEL", "LOG_LEVEL",
                            choices=("debug", "info", "warning", "error"),
                            doc="debug, info, warning or error.")

    # Stripe
    stripe_secret_key: str = _named("", "STRIPE_SECRET_KEY", secret=True,
                                    doc="Empty: the simulator stands in.")
    stripe_publishable_key: str = _named("", "STRIPE_PUBLISHABLE_KEY",
                                        doc="Kept for front ends that call Stripe themselves.")
    stripe_webhook_secret: str = _named("", "STRIPE_WEBHOOK_SECRET", secret=True,
                                        doc="Signing secrets, newest first, comma-separated.")
    stripe_api_version: str = _named("", "STRIPE_API_VERSION",
                                     doc="Empty: the version of the installed SDK.")
    stripe_return_url: str = _named("", "STRIPE_RETURN_URL",
                                    doc="Where our success page leads to when a checkout names"
                                        " no success_url.")
    simulator_url: str = _named("", "PAYDESK_SIMULATOR_URL",
                                doc="A simulator that runs already; empty: one is started.")
    webhook_tolerance_s: int = _named(300, "PAYDESK_WEBHOOK_TOLERANCE_S", least=1,
                                      doc="Seconds a webhook's time stamp may differ, either way.")
    events_are_proof: bool = _named(True, "PAYDESK_EVENTS_ARE_PROOF",
                                    doc="A signed event that says paid needs no further look.")
    provider_timeout_s: int = _named(10, "PAYDESK_PROVIDER_TIMEOUT_S", least=1, most=30,
                                     doc="Seconds a provider may take to answer; 30 at most.")
    provider_concurrency: int = _named(16, "PAYDESK_PROVIDER_CONCURRENCY", least=1,
                                       doc="Provider calls under way at once in a process.")
    provider_options: str = _named("", "PAYDESK_PROVIDER_OPTIONS", secret=True,
                                   doc="Settings of installed providers, as JSON:"
                                       ' {"teller": {"base": "https://…"}}.')

    # PayPal, BTCPay Server, MonCash: what is not configured is not offered
    paypal_client_id: str = _named("", "PAYPAL_CLIENT_ID", doc="Id of the REST app at PayPal.")
    paypal_client_secret: str = _named("", "PAYPAL_CLIENT_SECRET", secret=True,
                                       doc="Secret of the REST app at PayPal.")
    paypal_webhook_id: str = _named("", "PAYPAL_WEBHOOK_ID",
                                    doc="Id of the webhook at PayPal; without it its events are"
                                        " refused.")
    paypal_url: str = _named("https://api-m.paypal.com", "PAYPAL_URL",
                             doc="PayPal's API; https://api-m.sandbox.paypal.com to try it.")
    btcpay_url: str = _named("", "BTCPAY_URL", doc="Address of the BTCPay Server.")
    btcpay_api_key: str = _named("", "BTCPAY_API_KEY", secret=True,
                                 doc="API key that may create and view the store's invoices.")
    btcpay_store_id: str = _named("", "BTCPAY_STORE_ID", doc="The store that is paid.")
    btcpay_webhook_secret: str = _named("", "BTCPAY_WEBHOOK_SECRET", secret=True,
                                        doc="Secret of the store's webhook.")
    btcpay_live: bool = _named(True, "BTCPAY_LIVE",
                               doc="Off where the store's coins are a test network's.")
    moncash_client_id: str = _named("", "MONCASH_CLIENT_ID", doc="Client id of the business.")
    moncash_client_secret: str = _named("", "MONCASH_CLIENT_SECRET", secret=True,
                                        doc="Client secret of the business.")
    moncash_url: str = _named("https://moncashbutton.digicelgroup.com", "MONCASH_URL",
                              doc="MonCash; https://sandbox.moncashbutton.digicelgroup.com to try"
                                  " it.")

    # Who may
    jwt_secret: str = _named("", "JWT_SECRET", "PAYDESK_JWT_SECRET", secret=True,
                             doc="HS256 secret that customers' tokens are signed with.")
    jwt_refresh_secret: str = _named("", "JWT_REFRESH_SECRET", "PAYDESK_JWT_REFRESH_SECRET",
                                     secret=True,
                                     doc="Signs refresh tokens; set, this desk issues tokens.")
    jwt_jwks_file: str = _named("", "JWT_JWKS_FILE", "PAYDESK_JWT_JWKS_FILE",
                                doc="File of public keys (JWK Set), each with `kid` and `alg`.")
    access_token_minutes: int = _named(15, "PAYDESK_ACCESS_TOKEN_MINUTES", least=1, most=1440,
                                       doc="Life of an access token that this desk issues.")
    refresh_token_days: int = _named(30, "PAYDESK_REFRESH_TOKEN_DAYS", least=1, most=365,
                                     doc="Life of a refresh token.")
    jwt_algorithm: str = _named("HS256", "JWT_ALGORITHM", "PAYDESK_JWT_ALGORITHM",
                                doc="The one algorithm accepted.")
    jwt_audience: str = _named("", "JWT_AUDIENCE", doc="Audience a token must name, if any.")
    jwt_issuer: str = _named("", "JWT_ISSUER", doc="Issuer a token must name, if any.")
    secret_key: str = _named("", "PAYDESK_SECRET_KEY", secret=True,
                             doc="API key of role admin that always works; development makes one.")
    cors_origins: str = _named("", "PAYDESK_CORS_ORIGINS", doc="Comma-separated origins.")
    trusted_hosts: str = _named("*", "PAYDESK_TRUSTED_HOSTS",
                                doc="Comma-separated host names; `*.example.com` is any below it.")
    max_body_bytes: int = _named(262_144, "PAYDESK_MAX_BODY_BYTES", least=1024,
                                 doc="Largest request body.")
    require_idempotency: bool = _named(False, "PAYDESK_REQUIRE_IDEMPOTENCY",
                                       doc="Refuse money-moving POSTs without Idempotency-Key.")
    rate_limit: int = _named(600, "PAYDESK_RATE_LIMIT", least=1,
                             doc="Requests a caller may make in a window.")
    rate_limit_money: int = _named(120, "PAYDESK_RATE_LIMIT_MONEY", least=1,
                                   doc="Requests that move money a caller may make in a window;"
                                       " servers ten times as many.")
    rate_limit_sign_in: int = _named(10, "PAYDESK_RATE_LIMIT_SIGN_IN", least=1,
                                     doc="Sign-ins and refreshes of an address in a window.")
    rate_window_s: int = _named(60, "PAYDESK_RATE_WINDOW_S", least=1, doc="The window in seconds.")

    # Payments
    default_currency: str = _named("usd", "PAYDESK_DEFAULT_CURRENCY", doc="ISO 4217, lower case.")
    price_item: str = _named("", "PAYDESK_PRICE_ITEM",
                             doc="module:callable of yours that may set the price of an item.")
    premium_membership_item: str = _named("premium_membership", "PAYDESK_PREMIUM_MEMBERSHIP_ITEM",
                                          doc="Key of the service that the services family sells"
                                              " as its premium membership.")
    session_expiry_minutes: int = _named(30, "PAYDESK_SESSION_EXPIRY_MINUTES", least=1,
                                         doc="Minutes a checkout can be paid.")
    check_duplicates_before_credit: bool = _named(True, "PAYDESK_CHECK_DUPLICATES_BEFORE_CREDIT",
                                                  doc="Read by a tracker on its own; the service"
                                                      " always looks before it grants.")
    recovery_enabled: bool = _named(True, "PAYDESK_RECOVERY_ENABLED",
                                    doc="Off: the success page asks no provider; verify-payment"
                                        " and the worker still do.")
    recovery_auto_verify_on_success_page: bool = _named(
        True, "PAYDESK_RECOVERY_AUTO_VERIFY_ON_SUCCESS_PAGE",
        doc="The success page asks the provider where no webhook came.")
    recovery_max_verification_attempts: int = _named(
        3, "PAYDESK_RECOVERY_MAX_VERIFICATION_ATTEMPTS", least=1,
        doc="How often the success page asks for one checkout.")

    # Credits
    default_credit_price: Decimal = _named(Decimal("1.00"), "DEFAULT_CREDIT_PRICE",
                                           doc="Price of a credit in the default currency.")
    credit_expiry_days: int = _named(365, "CREDIT_EXPIRY_DAYS", least=1,
                                     doc="Days that bought credits last where a pack says none.")
    min_credit_purchase: int = _named(10, "MIN_CREDIT_PURCHASE", least=1,
                                      doc="Fewest credits in a purchase by number.")
    max_credit_balance: int = _named(10_000, "MAX_CREDIT_BALANCE", least=1,
                                     doc="Highest balance that a purchase may lead to.")
    max_daily_transactions: int = _named(100, "MAX_DAILY_TRANSACTIONS", least=1,
                                         doc="Purchases, spends and transfers a UTC day.")
    max_transaction_amount: int = _named(5_000, "MAX_TRANSACTION_AMOUNT", least=1,
                                         doc="Credits, or major units of the default currency;"
                                             " others by their worth where a rate is known.")
    credit_transfer_policy: str = _named("same_owner", "CREDIT_TRANSFER_POLICY",
                                         choices=("none", "same_owner", "organization", "any"),
                                         doc="none, same_owner, organization or any.")
    credit_order: str = _named("fifo", "CREDIT_ORDER", choices=("fifo", "expiring_first"),
                               doc="Which batch is spent first: fifo or expiring_first.")
    refund_grace_days: int = _named(0, "CREDIT_REFUND_GRACE_DAYS", least=0,
                                    doc="Days that credits refunded after their expiry last.")
    promo_percent_min: int = _named(10, "PROMO_PERCENT_MIN", least=1, doc="Least percentage.")
    promo_percent_max: int = _named(50, "PROMO_PERCENT_MAX", least=1, doc="Highest percentage.")
    promo_fixed_min: Decimal = _named(Decimal("5"), "PROMO_FIXED_MIN", doc="Least fixed discount.")
    promo_fixed_max: Decimal = _named(Decimal("50"), "PROMO_FIXED_MAX",
                                      doc="Highest fixed discount.")

    offline_expiry_days: int = _named(7, "PAYDESK_OFFLINE_EXPIRY_DAYS", least=1, most=365,
                                      doc="Days in which cash and transfers may come.")
    manual_instructions: str = _named(
        "Pay at any of our distributors, or by bank transfer, with the reference below.",
        "PAYDESK_MANUAL_INSTRUCTIONS", doc="What payers of cash and transfers are told.")
    natcash_number: str = _named("", "NATCASH_NUMBER", "PAYDESK_NATCASH_NUMBER",
                                 doc="Number that NatCash payments go to; empty: not offered.")

    # The ways back
    refund_window_days: int = _named(30, "PAYDESK_REFUND_WINDOW_DAYS", least=0,
                                     doc="Days after payment in which it can be refunded; 0: no"
                                         " end.")
    refund_approval_threshold: Decimal = _named(
        Decimal("0"), "PAYDESK_REFUND_APPROVAL_THRESHOLD",
        doc="Refunds of a payment above it, in the default currency, need another person; 0: none.")
    clawback_policy: str = _named("debt", "PAYDESK_CLAWBACK_POLICY",
                                  choices=("debt", "clamp", "block"),
                                  doc="Goods used up before a refund: owed, forgiven, or none.")

    dispute_due_soon_hours: int = _named(
        72, "PAYDESK_DISPUTE_DUE_SOON_HOURS", least=1,
        doc="Hours before a dispute's deadline that staff are reminded of its evidence.")
    reconcile_days: int = _named(3, "PAYDESK_RECONCILE_DAYS", least=0,
                                 doc="Days that are compared with providers' books each night; 0:"
                                     " none are.")
    reconcile_fix: bool = _named(True, "PAYDESK_RECONCILE_FIX",
                                 doc="What the night finds missing is recorded at once.")

    # Wallets and holds
    wallets_currency: str = _named("htg", "PAYDESK_WALLETS_CURRENCY",
                                   doc="Currency of the wallets family's routes.")
    wallet_transfer_policy: str = _named("same_owner", "WALLET_TRANSFER_POLICY",
                                         choices=("none", "same_owner", "organization", "any"),
                                         doc="none, same_owner, organization or any.")
    withdrawal_approval_threshold: Decimal = _named(
        Decimal("0"), "PAYDESK_WITHDRAWAL_APPROVAL_THRESHOLD",
        doc="Withdrawals of a day above it, in the default currency, need another person; 0: all.")
    transfer_approval_threshold: Decimal = _named(
        Decimal("0"), "PAYDESK_TRANSFER_APPROVAL_THRESHOLD",
        doc="Transfers of a day above it, in the default currency, need another person; 0: none.")
    conversion_margin: str = _named(
        "0", "PAYDESK_CONVERSION_MARGIN_BPS",
        doc="Basis points of converted money that you keep: one number, or also by pair, such as"
            " 100, usd/htg=250.")
    rate_max_age_days: int = _named(7, "PAYDESK_RATE_MAX_AGE_DAYS", least=1,
                                    doc="Days after which an exchange rate is too old to use.")
    hold_expiry_minutes: int = _named(60, "PAYDESK_HOLD_EXPIRY_MINUTES", least=1,
                                      doc="Minutes that a hold lasts where none are said.")

    # Risk
    risk_review_score: int = _named(50, "PAYDESK_RISK_REVIEW_SCORE", least=1, most=101,
                                    doc="From this score on a payment is reviewed; 101: never.")
    risk_block_score: int = _named(80, "PAYDESK_RISK_BLOCK_SCORE", least=1, most=101,
                                   doc="From this score on a payment is refused; 101: never.")
    country_header: str = _named("", "PAYDESK_COUNTRY_HEADER",
                                 doc="Header in which the proxy in front names the caller's"
                                     " country, such as CF-IPCountry; empty: none is believed.")
    max_daily_amount: Decimal = _named(
        Decimal("0"), "MAX_DAILY_AMOUNT", "PAYDESK_MAX_DAILY_AMOUNT",
        doc="Most that a customer may pay on a UTC day, in major units of each currency; 0: no"
            " limit.")

    # What goes out
    outgoing_loopback: bool = _named(False, "PAYDESK_OUTGOING_LOOPBACK",
                                     doc="Also call this machine's own addresses, without TLS and"
                                         " on any port; never where real money moves.")
    outgoing_ports: str = _named("443,8443", "PAYDESK_OUTGOING_PORTS",
                                 doc="Comma-separated ports that outgoing calls may go to.")
    encryption_key: str = _named("", "PAYDESK_ENCRYPTION_KEY", secret=True,
                                 doc="Seals stored signing secrets, newest first, comma-separated;"
                                     " empty: JWT_SECRET does.")
    webhook_timeout_s: int = _named(15, "PAYDESK_WEBHOOK_TIMEOUT_S", least=1, most=30,
                                    doc="Seconds that a receiver of our webhooks may take.")
    webhook_disable_days: int = _named(5, "PAYDESK_WEBHOOK_DISABLE_DAYS", least=1,
                                       doc="Days without a success until an endpoint is disabled.")
    webhook_keep_days: int = _named(30, "PAYDESK_WEBHOOK_KEEP_DAYS", least=4,
                                    doc="Days that the history of deliveries is kept.")
    user_validator: str = _named("", "PAYDESK_USER_VALIDATOR", secret=True,
                                 doc="URL or module:callable asked before a customer is made.")
    user_validator_fallback: str = _named("refuse", "PAYDESK_USER_VALIDATOR_FALLBACK",
                                          choices=("refuse", "allow"),
                                          doc="refuse or allow while it does not answer.")
    smtp_url: str = _named("", "SMTP_URL", "PAYDESK_SMTP_URL", secret=True,
                           doc="smtp://user:password@host:587 or smtps://…; empty: SMTP_HOST.")
    smtp_host: str = _named("", "SMTP_HOST", "PAYDESK_SMTP_HOST",
                            doc="Mail server; empty as SMTP_URL is: mails are kept, not sent.")
    smtp_port: int = _named(587, "SMTP_PORT", "PAYDESK_SMTP_PORT", least=1, most=65_535,
                            doc="465 speaks TLS at once, others after STARTTLS.")
    smtp_user: str = _named("", "SMTP_USER", "PAYDESK_SMTP_USER", doc="Name at the mail server.")
    smtp_password: str = _named("", "SMTP_PASSWORD", "PAYDESK_SMTP_PASSWORD", secret=True,
                                doc="Password at the mail server.")
    smtp_from: str = _named("", "SMTP_FROM", "PAYDESK_SMTP_FROM",
                            doc="Sender of mails; empty: no-reply at the host of the public URL.")
    staff_email: str = _named("", "PAYDESK_STAFF_EMAIL",
                              doc="Comma-separated addresses of notices to staff.")
    notifications_off: str = _named("", "PAYDESK_NOTIFICATIONS_OFF",
                                    doc="Comma-separated kinds of mail that are not sent; all:"
                                        " none is.")
    default_locale: str = _named("en", "PAYDESK_DEFAULT_LOCALE", choices=("en", "fr", "ht"),
                                 doc="Language of mails and the portal where the customer has"
                                     " none.")
    portal_self_service: str = _named("all", "PAYDESK_PORTAL_SELF_SERVICE",
                                      choices=("all", "cancel", "view"),
                                      doc="What customers may do to their plan in the portal: all;"
                                          " cancel: all but change it; view: look and pay.")
    credits_low: int = _named(0, "PAYDESK_CREDITS_LOW", least=0,
                              doc="A mail goes out when a balance falls below it; 0: none does.")
    credits_expiring_days: int = _named(7, "PAYDESK_CREDITS_EXPIRING_DAYS", least=0,
                                        doc="Days before their expiry that a mail tells of credits;"
                                            " 0: none does.")
    payment_reminder_days: int = _named(3, "PAYDESK_PAYMENT_REMINDER_DAYS", least=0, most=365,
                                        doc="Days after which a mail reminds of what a person has"
                                            " yet to pay, and again after as many; 0: none does.")
    payment_reminder_most: int = _named(2, "PAYDESK_PAYMENT_REMINDER_MOST", least=1, most=20,
                                        doc="Most reminders of one payment or invoice.")

    renewal_notice_days: int = _named(14, "PAYDESK_RENEWAL_NOTICE_DAYS", least=0, most=90,
                                      doc="Days before a period of three months or longer is"
                                          " renewed that a mail tells so; 0: none does.")
    card_notice_days: int = _named(7, "PAYDESK_CARD_NOTICE_DAYS", least=0, most=90,
                                   doc="Days before a renewal that a mail tells of a card which"
                                       " will have expired by then; 0: none does.")
    provider_subscription_mails: str = _named(
        "paydesk", "PAYDESK_PROVIDER_SUBSCRIPTION_MAILS", choices=("paydesk", "provider"),
        doc="Who writes to customers about subscriptions that the provider bills: paydesk or"
            " provider.")

    # Invoices
    tax_rounding: str = _named("line", "PAYDESK_TAX_ROUNDING", choices=("line", "rate"),
                               doc="Taxes of an invoice are rounded for each line, or once for each"
                                   " rate.")

    # Figures
    time_zone: str = _named("UTC", "PAYDESK_TIME_ZONE",
                            doc="IANA name of the business's time zone: the days of reports, such"
                                " as America/Port-au-Prince.")

    # Inner workings
    lanes: int = _named(2, "PAYDESK_LANES", least=1, doc="Connections that groups commit on.")
    pool_size: int = _named(12, "PAYDESK_POOL_SIZE", least=2, doc="Other connections a process.")
    inbox_max_tries: int = _named(8, "PAYDESK_INBOX_MAX_TRIES", least=1,
                                  doc="Tries before an event is parked.")

    @property
    def base_url(self) -> str:
        """Where customers and providers find this service, without a slash at the end."""
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")

    @property
    def live(self) -> bool:
        """Whether real money moves: a live Stripe key is set."""
        return self.stripe_secret_key.startswith(("sk_live_", "rk_live_"))

    @property
    def simulated(self) -> bool:
        """Whether the simulator stands in for Stripe."""
        return not self.stripe_secret_key


def all_fields() -> list[Any]:
    """The dataclass fields, for documentation and the command line."""
    return list(fields(Settings))


def load(
    argv_overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Loaded:
    """`sources.load`: the settings of this process and where each came from."""
    from paydesk import sources

    return sources.load(argv_overrides, environ, cwd)
