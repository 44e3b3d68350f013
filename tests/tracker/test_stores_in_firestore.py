"""The store in Firestore passes the contract, by Google's own client over gRPC."""

from __future__ import annotations

from uuid import uuid4

import pytest
from firestore_server import FirestoreServer
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore

from paydesk.testing import StoreContract
from paydesk.testing.store_contract import at_once
from paydesk.tracker import DuplicatePayment, PaymentNotFound, get_payment_tracker
from paydesk.tracker.stores.firestore import FirestorePaymentStore


@pytest.fixture(scope="module")
def client():
    server = FirestoreServer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRESTORE_EMULATOR_HOST", server.host)
        made = firestore.Client(project="paydesk-tests", credentials=AnonymousCredentials())
        yield made
        made.close()
    server.close()


@pytest.fixture
def tracker(client):
    return get_payment_tracker("firestore", client=client, collection=f"c{uuid4().hex}")


def pending(tracker, session_id="cs_1", **more):
    return tracker.create_pending_payment("user_123", 999, 150, "stripe", session_id, **more)


# S2.7 S2.8 C9
class TestFirestoreStore(StoreContract):
    @pytest.fixture
    def store(self, client):
        return FirestorePaymentStore(client)


# S2.8
def test_a_change_of_session_holds_the_new_one_and_keeps_the_old(tracker):
    payment = pending(tracker)
    tracker.attach_session(payment.id, "cs_2")
    for session_id in ("cs_1", "cs_2"):
        assert tracker.store.get_by_session_id(session_id).id == payment.id
    with pytest.raises(DuplicatePayment):
        pending(tracker, "cs_2")


def test_a_session_of_another_payment_cannot_be_attached(tracker):
    pending(tracker)
    second = pending(tracker, "cs_2")
    with pytest.raises(DuplicatePayment):
        tracker.attach_session(second.id, "cs_1")
    assert tracker.get(second.id).session_id == "cs_2"


@pytest.mark.parametrize("session_id", ["a/b", "..", "__x__", "é" * 300, " "])
def test_a_session_may_have_any_name(tracker, session_id):
    payment = pending(tracker, session_id)
    assert tracker.store.get_by_session_id(session_id).id == payment.id


@pytest.mark.parametrize("payment_id", ["", "a/b", "..", "é", f"{0:032}"])
def test_an_unknown_id_finds_nothing(tracker, payment_id):
    assert tracker.store.get_by_id(payment_id) is None


def test_free_metadata_comes_back_as_it_was(tracker):
    told = {"deep": [[1, [2]], {"a.b/c": None}], "large": 2**70, "": {}, "text": "é\n"}
    payment = pending(tracker, metadata=told)
    assert tracker.get(payment.id).metadata == told


def test_a_payment_that_is_not_there_cannot_be_updated(tracker):
    payment = pending(tracker)
    absent = payment.model_copy(update={"id": str(uuid4())})
    with pytest.raises(PaymentNotFound):
        tracker.store.update(absent)
    assert tracker.store.compare_and_set(absent, 0) is False


def test_of_many_creators_of_one_session_one_succeeds(tracker):
    def create():
        try:
            return bool(pending(tracker))
        except DuplicatePayment:
            return False

    assert sorted(at_once([create] * 8)) == [False] * 7 + [True]
