"""Files of evidence: uploaded by the SDK, listed, downloaded, named by disputes."""

import io

import httpx
import pytest
import stripe
from simulator_support import make_client
from test_payment_intents import pay

from paydesk.simulator.engine import Upload
from paydesk.simulator.testing import running_simulator

PDF = b"%PDF-1.7\nreceipt of order 1042\n\xff\x00"


def upload(client, content=PDF, name="receipt.pdf", purpose="dispute_evidence", **options):
    file = io.BytesIO(content)
    file.name = name
    return client.v1.files.create({"purpose": purpose, "file": file}, options)


def test_a_file_is_uploaded_listed_and_downloaded(sandbox, client, http):
    file = upload(client)
    assert (file.type, file.size, file.filename) == ("pdf", len(PDF), "receipt.pdf")
    assert client.v1.files.retrieve(file.id).id == file.id
    assert [one.id for one in client.v1.files.list({"purpose": "dispute_evidence"}).data] == [
        file.id
    ]
    assert client.v1.files.list({"purpose": "customer_signature"}).data == []
    assert file.url.startswith(sandbox.url)
    assert http.get(file.url).content == PDF
    assert httpx.get(file.url).status_code == 401
    assert http.get("/v1/files/file_nobody/contents").status_code == 404


@pytest.mark.parametrize(
    ("content", "kind"), [(b"\x89PNG\r\n\x1a\n1", "png"), (b"\xff\xd8\xff\xe01", "jpg")]
)
def test_the_first_bytes_of_a_file_say_what_it_is(client, content, kind):
    assert upload(client, content, "scan").type == kind


@pytest.mark.parametrize(
    ("content", "purpose", "problem"),
    [(b"", "dispute_evidence", "empty|Missing"), (b"MZ program", "dispute_evidence", "pdf, png"),
     (PDF + b"x" * 5_000_001, "dispute_evidence", "too large"),
     (PDF, "identity_document", "does not have"), (PDF, "holiday", "purpose")],
)
def test_a_file_that_cannot_be_evidence_is_refused(client, content, purpose, problem):
    with pytest.raises(stripe.InvalidRequestError, match=problem):
        upload(client, content, purpose=purpose)
    assert client.v1.files.list().data == []


def test_a_repeated_upload_with_its_key_is_one_file(client):
    first = upload(client, idempotency_key="evidence-1")
    again = upload(client, idempotency_key="evidence-1")
    assert again.id == first.id
    with pytest.raises(stripe.IdempotencyError):
        upload(client, PDF + b"other", idempotency_key="evidence-1")


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"Content-Type": "multipart/form-data"}, b"x"),
     ({"Content-Type": "multipart/form-data; boundary=b"}, b"no parts here"),
     ({"Content-Type": "multipart/form-data; boundary=b"},
      b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\ndispute_evidence\r\n--b--'),
     ({"Content-Type": "application/json"}, b"{}")],
)
def test_parts_that_are_none_are_refused(http, headers, body):
    assert http.post("/v1/files", headers=headers, content=body).status_code == 400


def test_a_dispute_names_its_files(sandbox, client):
    dispute = sandbox.dispute(pay(client).id)
    file = upload(client)
    shown = client.v1.disputes.update(
        dispute["id"],
        {"evidence": {"receipt": file.id}, "submit": False, "expand": ["evidence.receipt"]},
    )
    assert shown.evidence.receipt.filename == "receipt.pdf"
    assert shown.evidence_details.has_evidence


def test_files_outlive_the_simulators_process(tmp_path):
    db = str(tmp_path / "simulator.db")
    with running_simulator(db=db) as sandbox:
        file = upload(make_client(sandbox))
    with running_simulator(db=db) as sandbox:
        again = make_client(sandbox).v1.files.retrieve(file.id)
        headers = {"Authorization": f"Bearer {sandbox.secret_key}"}
        assert httpx.get(again.url, headers=headers).content == PDF


def test_a_file_is_uploaded_without_http(sandbox):
    file = sandbox.request(
        "POST", "/v1/files", {"purpose": "dispute_evidence", "file": "receipt"},
        upload=Upload("receipt.pdf", PDF),
    )
    assert sandbox.get(file["id"])["size"] == len(PDF)
