"""The tracker's own behaviour: settings, credits exactly once, recovery."""

import logging
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from paydesk.testing.store_contract import Clock, Crash, at_once, crash, keys_of
from paydesk.tracker import (
    AlreadyCredited,
    AmountMismatch,
    ConfigError,
    DuplicatePayment,
    NotPaid,
    PaymentNotFound,
    PaymentProvider,
    PaymentStore,
    ProviderReport,
    RecoveryDisabled,
    StoreLacks,
    VerificationExhausted,
    get_payment_tracker,
    load_settings,
)
from paydesk.tracker.tracker import PaymentRecord as FromTracker
from paydesk.tracker.tracker import PaymentStore as StoreFromTracker

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Desk(PaymentProvider):
    """A provider that answers what it is told to, and counts how often it was asked."""

    name = "stripe"

    def __init__(self, **report):
        self.report = {"state": "succeeded", "amount_cents": 999, "currency": "usd", **report}
        self.asked = 0

    def fetch(self, session_id):
        self.asked += 1
        return ProviderReport(session_id=session_id, **self.report)


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def tracker(clock):
    return get_payment_tracker("memory", clock=clock)


@pytest.fixture
def payment(tracker):
    return tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")


def test_the_documented_names_stand_in_tracker_py():
    assert StoreFromTracker is PaymentStore
    assert FromTracker.__name__ == "PaymentRecord"


# S2.3
def test_a_pending_payment_expires_after_the_set_minutes(clock):
    tracker = get_payment_tracker("memory", clock=clock, session_expiry_minutes=45)
    made = tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    assert made.expires_at == NOW + timedelta(minutes=45)
    assert (made.status, made.created_at, made.updated_at) == ("pending", NOW, NOW)


def test_a_known_id_is_a_duplicate(tracker, payment):
    with pytest.raises(DuplicatePayment):
        tracker.create_pending_payment("user_123", 1, 1, "stripe", payment_id=payment.id)


def test_a_session_can_come_after_its_payment(tracker):
    made = tracker.create_pending_payment("user_123", 999, 150, "stripe")
    tracker.attach_session(made.id, "cs_late")
    assert tracker.get_by_session("cs_late").id == made.id


def test_unknown_payments_are_not_found(tracker):
    for look in (
        lambda: tracker.get("no-such-id"),
        lambda: tracker.get_by_session("cs_none"),
        lambda: tracker.mark_completed("no-such-id"),
        lambda: tracker.complete_once("cs_none", crash),
        lambda: tracker.verify("cs_none", Desk()),
    ):
        with pytest.raises(PaymentNotFound):
            look()
    assert tracker.is_duplicate("cs_none") is False


# S2.5
def test_credits_are_not_marked_before_the_money_came(tracker, payment):
    with pytest.raises(NotPaid):
        tracker.mark_credits_added(payment.id)


def test_without_the_duplicate_check_a_second_mark_changes_nothing(clock):
    tracker = get_payment_tracker("memory", clock=clock, check_duplicates_before_credit=False)
    made = tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    tracker.mark_completed(made.id)
    first = tracker.mark_credits_added(made.id)
    clock.advance(hours=1)
    assert tracker.mark_credits_added(made.id) == first


def test_a_payment_marked_the_documented_way_is_not_granted_again(tracker, payment):
    tracker.mark_completed(payment.id)
    tracker.mark_credits_added(payment.id)
    assert tracker.complete_once("cs_1", crash) is False


def test_complete_once_credits_what_mark_completed_left(tracker, payment):
    tracker.mark_completed(payment.id, "pi_1")
    keys = []
    assert tracker.complete_once("cs_1", keys_of(keys)) is True
    stored = tracker.get(payment.id)
    assert (stored.provider_payment_id, stored.credits_added_at) == ("pi_1", NOW)


def test_the_grant_sees_the_stored_key_and_a_completed_payment(tracker, payment):
    seen = []
    tracker.complete_once("cs_1", lambda p: seen.append((p, tracker.get(p.id))))
    given, stored = seen[0]
    assert given.credit_transaction_id == stored.credit_transaction_id is not None
    assert stored.status == "completed" and not stored.credits_added


# I1
def test_a_failed_grant_is_raised_and_repeated_with_the_same_key(tracker, payment):
    keys = []

    def fail(p):
        keys.append(p.credit_transaction_id)
        raise ConnectionError("the credits service is away")

    with pytest.raises(ConnectionError):
        tracker.complete_once("cs_1", fail)
    assert tracker.complete_once("cs_1", keys_of(keys)) is True
    assert len(keys) == 2 and len(set(keys)) == 1


def test_a_refund_during_the_grant_does_not_lose_the_mark(tracker, payment):
    assert tracker.complete_once("cs_1", lambda p: tracker.mark_refunded(p.id)) is True
    stored = tracker.get(payment.id)
    assert (stored.status, stored.credits_added) == ("refunded", True)


def test_a_payment_refunded_in_part_is_granted_and_stays_refunded_in_part(tracker, payment):
    tracker.mark_completed(payment.id)
    tracker.mark_refunded(payment.id, 100)
    seen = []
    assert tracker.complete_once("cs_1", lambda p: seen.append(p.refunded_cents)) is True
    assert (seen, tracker.get(payment.id).status) == ([100], "partially_refunded")


def test_a_slow_caller_that_lost_its_lease_is_not_the_one_who_credited(tracker, payment, clock):
    keys = []

    def slow(p):
        keys.append(p.credit_transaction_id)
        clock.advance(minutes=6)
        assert [r.id for r in tracker.recover(keys_of(keys))] == [payment.id]

    assert tracker.complete_once("cs_1", slow) is False
    assert len(keys) == 2 and len(set(keys)) == 1


def test_a_process_that_dies_at_any_of_the_steps_grants_by_one_key(clock):
    # I1: death before, within and after the grant, once and twice, then recovery.
    for deaths in ((crash,), (crash, crash), ("after",), ("after", crash)):
        tracker = get_payment_tracker("memory", clock=clock)
        tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
        granted: set[str] = set()

        def after(p, granted=granted):
            granted.add(p.credit_transaction_id)
            raise Crash

        for death in deaths:
            with pytest.raises(Crash):
                tracker.complete_once("cs_1", after if death == "after" else crash)
            clock.advance(minutes=6)
        recovered = tracker.recover(lambda p, granted=granted: granted.add(p.credit_transaction_id))
        assert len(recovered) == len(granted) == 1
        assert tracker.recover(crash) == []


def test_recover_passes_over_a_grant_that_fails_and_says_so(tracker, clock, caplog):
    for number in (1, 2):
        tracker.create_pending_payment("user_123", 999, 150, "stripe", f"cs_{number}")
        with pytest.raises(Crash):
            tracker.complete_once(f"cs_{number}", crash)
    clock.advance(minutes=6)

    def grant(p):
        if p.session_id == "cs_1":
            raise ConnectionError("away")

    with caplog.at_level(logging.ERROR):
        assert [p.session_id for p in tracker.recover(grant)] == ["cs_2"]
    assert "could not be granted" in caplog.text
    assert [p.session_id for p in tracker.recover(lambda p: None)] == ["cs_1"]


def test_webhook_success_page_and_verify_together_grant_once(tracker, payment):
    # I1 S2.10
    keys = []
    grant = keys_of(keys)
    ways = [
        lambda: tracker.complete_once("cs_1", grant),
        lambda: tracker.verify_on_success_page("cs_1", Desk(), grant=grant),
        lambda: tracker.verify("cs_1", Desk(), grant=grant),
        lambda: tracker.mark_processing(payment.id),
        lambda: tracker.mark_expired(payment.id),
    ]
    calls = ways[:1] * 6 + ways[1:3] + ways[3:] * 2
    random.Random(7).shuffle(calls)
    at_once(calls)
    stored = tracker.get(payment.id)
    assert (len(keys), stored.status, stored.credits_added) == (1, "completed", True)


# S2.15
def test_verify_completes_and_credits_a_payment_whose_webhook_never_came(tracker, payment):
    keys, desk = [], Desk(provider_payment_id="pi_1")
    answer = tracker.verify("cs_1", desk, grant=keys_of(keys))
    assert (answer.success, answer.payment_verified, answer.credits_added) == (True, True, True)
    assert answer.payment.provider_payment_id == "pi_1"
    assert tracker.verify("cs_1", desk, grant=keys_of(keys)).credits_added
    assert (desk.asked, len(keys)) == (1, 1)


def test_verify_without_a_grant_only_completes(tracker, payment):
    answer = tracker.verify("cs_1", Desk())
    assert (answer.payment_verified, answer.credits_added) == (True, False)
    assert tracker.verify("cs_1", Desk(), grant=lambda p: None).credits_added


@pytest.mark.parametrize(
    "report", [{"amount_cents": 1}, {"currency": "eur"}, {"amount_cents": None}]
)
def test_other_money_than_was_asked_completes_nothing(tracker, payment, report):
    # I35
    with pytest.raises(AmountMismatch):
        tracker.verify("cs_1", Desk(**report), grant=crash)
    assert tracker.get(payment.id).status == "pending"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("pending", "pending"),
        ("processing", "processing"),
        ("requires_action", "pending"),
        ("failed", "failed"),
        ("expired", "expired"),
        ("canceled", "cancelled"),
        ("refunded", "pending"),
    ],
)
def test_verify_records_what_the_provider_says(tracker, payment, state, status):
    answer = tracker.verify("cs_1", Desk(state=state, error_code="card_declined"), grant=crash)
    assert (answer.success, answer.payment.status) == (False, status)


# S2.19
def test_verify_asks_at_most_as_often_as_set(tracker, payment):
    desk = Desk(state="processing")
    for _ in range(3):
        tracker.verify("cs_1", desk)
    with pytest.raises(VerificationExhausted):
        tracker.verify("cs_1", desk)
    assert desk.asked == 3
    assert tracker.complete_once("cs_1", lambda p: None) is True


def test_recovery_can_be_turned_off(clock):
    tracker = get_payment_tracker("memory", clock=clock, recovery_enabled=False)
    tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    with pytest.raises(RecoveryDisabled):
        tracker.verify("cs_1", Desk())
    with pytest.raises(RecoveryDisabled):
        tracker.recover(crash)
    assert not tracker.verify_on_success_page("cs_1", Desk()).success


def test_the_success_page_can_be_kept_from_asking(clock):
    tracker = get_payment_tracker("memory", clock=clock, auto_verify_on_success_page=False)
    tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    desk = Desk()
    assert not tracker.verify_on_success_page("cs_1", desk, grant=crash).success
    assert desk.asked == 0


def test_the_shipped_settings_are_the_documented_ones():
    settings = load_settings().model_dump()
    assert settings["payment_tracking"]["session_expiry_minutes"] == 30
    assert settings["payment_tracking"]["check_duplicates_before_credit"] is True
    assert settings["recovery"] == {
        "enabled": True,
        "auto_verify_on_success_page": True,
        "max_verification_attempts": 3,
    }


def test_the_page_shows_the_shipped_settings():
    page = Path(__file__).resolve().parents[2] / "docs" / "tracker.md"
    shown = page.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    assert yaml.safe_load(shown) == load_settings().model_dump()


def test_a_file_changes_what_it_names_and_an_argument_wins(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("payment_tracking:\n  session_expiry_minutes: 10\n", encoding="utf-8")
    settings = load_settings(path, max_verification_attempts=9)
    assert settings.payment_tracking.session_expiry_minutes == 10
    assert settings.payment_tracking.check_duplicates_before_credit is True
    assert settings.recovery.max_verification_attempts == 9
    tracker = get_payment_tracker("memory", config_path=path, session_expiry_minutes=20)
    assert tracker.settings.payment_tracking.session_expiry_minutes == 20


@pytest.mark.parametrize(
    "text",
    [
        "payment_tracking:\n  session_expiry_minutes: soon\n",
        "payment_tracking:\n  session_expiry_minutes: 0\n",
        "payment_tracking:\n  sesion_expiry_minutes: 30\n",
        "recovery: true\n",
        "recovry:\n  enabled: true\n",
        "- a list\n",
        "recovery: [\n",
        None,
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path, text):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load_settings(path)


def test_an_unknown_argument_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="colour"):
        load_settings(colour="red")
    with pytest.raises(ConfigError, match="colour"):
        get_payment_tracker("memory", colour="red")


def test_the_second_mark_names_the_payment(tracker, payment):
    tracker.complete_once("cs_1", lambda p: None)
    with pytest.raises(AlreadyCredited, match=payment.id):
        tracker.mark_credits_added(payment.id)


def test_history_needs_a_store_that_can_list():
    class Small(PaymentStore):
        def create(self, payment):
            return payment

        def get_by_id(self, payment_id):
            return None

        def get_by_session_id(self, session_id):
            return None

        def update(self, payment):
            return payment

    with pytest.raises(StoreLacks, match="Small has no method"):
        get_payment_tracker(store=Small()).history("user_123")


def test_pages_out_of_range_are_refused(tracker):
    for page in ({"page": 0}, {"page_size": 0}, {"page_size": 501}):
        with pytest.raises(ValueError):
            tracker.history("user_123", **page)
