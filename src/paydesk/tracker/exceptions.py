"""Every error the tracker raises on purpose, each with a stable code.

PaymentTrackerError
  PaymentNotFound        no such payment or session
  DuplicatePayment       a payment of this id or session is already recorded
  AlreadyCredited        the credits of this payment were added before
  NotPaid                credits cannot be marked as added before the payment is completed
  IllegalTransition      the payment cannot go from its state to that one
  VersionConflict        somebody else changed the payment in the meantime
  AmountMismatch         the provider reports another amount or currency than was asked
  AmountTooLarge         the store's column cannot hold the amount
  RefundTooLarge         more would be given back than was captured
  RecoveryDisabled       `recovery.enabled` is off
  VerificationExhausted  `recovery.max_verification_attempts` is used up
  StoreLacks             the store has no such optional method
  UnknownStore           no store is registered under that name
  ConfigError            the settings cannot be used
"""


class PaymentTrackerError(Exception):
    """Base of all expected errors; `code` is stable and fit for machines."""

    code = "payment_tracker_error"


class PaymentNotFound(PaymentTrackerError, LookupError):
    """No such payment or session."""

    code = "payment_not_found"


class DuplicatePayment(PaymentTrackerError):
    """A payment of this id, session or key is already recorded.

    `constraint` names the database's constraint where one refused the row.
    """

    code = "duplicate_payment"

    def __init__(self, message: str, *, constraint: str | None = None) -> None:
        super().__init__(message)
        self.constraint = constraint


class AlreadyCredited(PaymentTrackerError):
    """The credits of this payment were added before."""

    code = "already_credited"


class NotPaid(PaymentTrackerError):
    """Credits cannot be marked as added before the payment is completed."""

    code = "not_paid"


class IllegalTransition(PaymentTrackerError):
    """The payment cannot go from its state to that one."""

    code = "illegal_transition"

    def __init__(self, payment_id: str, from_state: str, to_state: str) -> None:
        super().__init__(f"payment {payment_id} cannot go from {from_state} to {to_state}")
        self.payment_id = payment_id
        self.from_state = from_state
        self.to_state = to_state


class VersionConflict(PaymentTrackerError):
    """Somebody else changed the payment in the meantime: read it again and decide anew."""

    code = "version_conflict"


class AmountMismatch(PaymentTrackerError):
    """The provider reports another amount or currency than was asked."""

    code = "amount_mismatch"


class AmountTooLarge(PaymentTrackerError, ValueError):
    """The store's column cannot hold the amount; nothing was written."""

    code = "amount_too_large"


class RefundTooLarge(PaymentTrackerError, ValueError):
    """More would be given back than was captured."""

    code = "refund_too_large"


class RecoveryDisabled(PaymentTrackerError):
    """`recovery.enabled` is off in the settings."""

    code = "recovery_disabled"


class VerificationExhausted(PaymentTrackerError):
    """`recovery.max_verification_attempts` is used up for this payment."""

    code = "verification_exhausted"


class StoreLacks(PaymentTrackerError):
    """The store has no such optional method."""

    code = "store_lacks"


class UnknownStore(PaymentTrackerError, LookupError):
    """No store is registered under that name."""

    code = "unknown_store"


class ConfigError(PaymentTrackerError, ValueError):
    """The settings cannot be used; the message names the key."""

    code = "config_error"


class SingleWriterWarning(UserWarning):
    """The store cannot compare and set: safe with one writing process only."""
