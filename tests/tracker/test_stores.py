"""Every store that comes along passes the contract, and so does the documented one for Mongo."""

import threading
import warnings

import pytest

from paydesk.testing import StoreContract
from paydesk.tracker import (
    ConfigError,
    PaymentRecord,
    PaymentStore,
    SingleWriterWarning,
    UnknownStore,
    get_payment_tracker,
    register_store,
)
from paydesk.tracker.stores.memory import MemoryPaymentStore
from paydesk.tracker.stores.sqlite import SQLitePaymentStore


class Documents:
    """A collection with the four calls of a document database that the sample store makes."""

    def __init__(self):
        self._lock = threading.Lock()
        self._documents = []

    def insert_one(self, document):
        with self._lock:
            self._documents.append({"_id": len(self._documents), **document})

    def find_one(self, query):
        with self._lock:
            found = [d for d in self._documents if query.items() <= _flat(d).items()]
            return dict(found[0], metadata=dict(found[0]["metadata"])) if found else None

    def replace_one(self, query, document):
        with self._lock:
            for index, stored in enumerate(self._documents):
                if query.items() <= _flat(stored).items():
                    self._documents[index] = {"_id": index, **document}
                    return Replaced(1)
        return Replaced(0)


class Replaced:
    def __init__(self, modified_count):
        self.modified_count = modified_count


def _flat(document):
    return {k: v for k, v in document.items() if not isinstance(v, dict | list)}


class SimpleStore(PaymentStore):
    """The four methods that a store must have, and no more."""

    def __init__(self, collection):
        self.c = collection

    def create(self, payment: PaymentRecord) -> PaymentRecord:
        self.c.insert_one(payment.to_dict())
        return payment

    def get_by_id(self, payment_id: str) -> PaymentRecord | None:
        found = self.c.find_one({"id": payment_id})
        return found and PaymentRecord.from_dict(found)

    def get_by_session_id(self, session_id: str) -> PaymentRecord | None:
        found = self.c.find_one({"session_id": session_id})
        return found and PaymentRecord.from_dict(found)

    def update(self, payment: PaymentRecord) -> PaymentRecord:
        self.c.replace_one({"id": payment.id}, payment.to_dict())
        return payment


class MongoStore(SimpleStore):
    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        q = {"id": payment.id, "version": expect_version}
        return self.c.replace_one(q, payment.to_dict()).modified_count == 1


# S2.7 S2.8 C9
class TestMemoryStore(StoreContract):
    def make_store(self):
        return MemoryPaymentStore()


class TestMongoStore(StoreContract):
    def make_store(self):
        return MongoStore(Documents())


@pytest.mark.filterwarnings("ignore::paydesk.tracker.SingleWriterWarning")
class TestSingleWriterStore(StoreContract):
    def make_store(self):
        return SimpleStore(Documents())


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = SQLitePaymentStore(tmp_path / "payments.db")
        yield store
        store.close()


class TestSQLiteInMemory(StoreContract):
    def make_store(self):
        return SQLitePaymentStore(":memory:")


def test_the_contract_reports_a_single_writer():
    from paydesk.testing import store_contract

    with (
        pytest.warns(SingleWriterWarning, match="single writer"),
        pytest.raises(pytest.skip.Exception, match="single writer"),
    ):
        store_contract.need_compare_and_set(SimpleStore(Documents()))


def test_complete_once_warns_of_a_store_that_cannot_compare_and_set():
    tracker = get_payment_tracker(store=SimpleStore(Documents()))
    payment = tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    with pytest.warns(SingleWriterWarning, match="one writing process"):
        assert tracker.complete_once(payment.session_id, lambda p: None) is True


def test_one_process_may_call_complete_once_from_many_threads_even_so():
    from paydesk.testing.store_contract import at_once, keys_of

    tracker, keys = get_payment_tracker(store=SimpleStore(Documents())), []
    tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingleWriterWarning)
        answers = at_once([lambda: tracker.complete_once("cs_1", keys_of(keys))] * 16)
    assert (answers.count(True), len(keys)) == (1, 1)


# S2.7
def test_a_registered_store_is_made_by_its_name():
    register_store("documents", lambda collection: MongoStore(collection))
    tracker = get_payment_tracker("documents", collection=Documents(), session_expiry_minutes=5)
    assert isinstance(tracker.store, MongoStore)
    payment = tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    assert (payment.expires_at - payment.created_at).total_seconds() == 300


def test_an_unknown_store_names_the_known_ones():
    with pytest.raises(UnknownStore) as refused:
        get_payment_tracker("firebird")
    # Stores of other tests may be registered beside them.
    for name in ("memory", "postgres", "sqlite", "supabase"):
        assert name in str(refused.value)


def test_a_store_without_its_options_says_what_it_needs():
    with pytest.raises(ConfigError, match="supabase_client"):
        get_payment_tracker("supabase")
    with pytest.raises(ConfigError, match="dsn"):
        get_payment_tracker("postgres")
    with pytest.raises(ConfigError, match="colour"):
        get_payment_tracker(store=MemoryPaymentStore(), colour="red")
