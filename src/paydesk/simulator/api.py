"""The API over HTTP: keys, routes, forms, replays; the work is done in the store's thread."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from . import forms, ids, objects, shapes
from .engine import OPERATIONS, Answer, Simulator, Upload, encode
from .errors import StripeError, missing_object

MAX_BODY = 1_000_000
MAX_UPLOAD = 6_000_000
MAX_KEY = 255
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[a-z]+)?(; .*)?\Z")

assert objects.__all__  # importing them registers their operations


def _compile() -> dict[tuple[str, int], list[tuple[str, list[str]]]]:
    """Operations by method and number of path parts; those with fewer `{}` come first."""
    routes: dict[tuple[str, int], list[tuple[str, list[str]]]] = {}
    for key in OPERATIONS:
        method, path = key.split(" ")
        parts = path.strip("/").split("/")
        routes.setdefault((method, len(parts)), []).append((key, parts))
    for choices in routes.values():
        choices.sort(key=lambda choice: sum(part[0] == "{" for part in choice[1]))
    return routes


ROUTES = _compile()


def route(method: str, path: str) -> tuple[str, dict[str, str]]:
    """The operation and the values of its path; raises Stripe's 404."""
    parts = path.strip("/").split("/")
    for key, wanted in ROUTES.get((method, len(parts)), ()):
        values = {}
        for have, want in zip(parts, wanted, strict=True):
            if want[0] == "{":
                values[want[1:-1]] = have
            elif have != want:
                break
        else:
            return key, values
    if path.startswith("/v1/") and any(
        _same(parts, key) for key in shapes.table()["operations"] if key.startswith(f"{method} ")
    ):
        raise StripeError(f"The simulator does not have {method} {path}.", status=404)
    raise StripeError(
        f"Unrecognized request URL ({method}: {path[:200]}).", status=404
    )


def _same(parts: list[str], key: str) -> bool:
    wanted = key.split(" ")[1].strip("/").split("/")
    return len(wanted) == len(parts) and all(
        want[0] == "{" or want == have for want, have in zip(wanted, parts, strict=True)
    )


class Api:
    """The endpoint of everything under /v1, and of the contents of files."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        #: Idempotency keys of calls that are being answered right now.
        self._in_progress: set[str] = set()

    async def __call__(self, request: Request) -> Response:
        request_id = ids.new("request")
        self.sim.count("calls")
        try:
            answer = await self._answer(request, request_id)
        except StripeError as error:
            answer = Answer(error.status, encode(error.body(request_id)))
        return self._response(request, request_id, answer)

    async def contents(self, request: Request) -> Response:
        """`GET /v1/files/{file}/contents`: the bytes as they were uploaded."""
        request_id, file_id = ids.new("request"), request.path_params["file"]
        try:
            check_key(request.headers.get("authorization"), self.sim.config.secret_key)
            content = await asyncio.wrap_future(
                self.sim.store.submit(lambda tx: tx.content(file_id))
            )
            if content is None:
                raise missing_object("file", file_id, "file")
        except StripeError as error:
            answer = Answer(error.status, encode(error.body(request_id)))
            return self._response(request, request_id, answer)
        return Response(content, media_type="application/octet-stream")

    def _response(self, request: Request, request_id: str, answer: Answer) -> Response:
        headers = {
            "Request-Id": request_id,
            "Stripe-Version": request.headers.get("stripe-version", shapes.version()).strip(),
            "Cache-Control": "no-cache, no-store",
        }
        key = request.headers.get("idempotency-key")
        if key and key.isascii() and key.isprintable():
            headers["Idempotency-Key"] = key
        if answer.replayed is not None:
            headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.replayed}
        if answer.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Stripe"'
        return Response(
            answer.body, answer.status, headers=headers, media_type="application/json"
        )

    async def _answer(self, request: Request, request_id: str) -> Answer:
        check_key(request.headers.get("authorization"), self.sim.config.secret_key)
        _check_version(request.headers.get("stripe-version"))
        method = request.method
        key, path = route(method, request.url.path)
        given, upload = await _form(request)
        params = forms.cast(key, given)
        idempotency_key = request.headers.get("idempotency-key") if method == "POST" else None
        work = self.sim.api_work(
            key, params, path=path, request_id=request_id, idempotency_key=idempotency_key,
            base_url=base_url(self.sim, request), upload=upload,
        )
        if idempotency_key is None:
            return await asyncio.wrap_future(self.sim.store.submit(work))
        if not 0 < len(idempotency_key) <= MAX_KEY:
            raise StripeError(
                f"Idempotency keys can be at most {MAX_KEY} characters long.",
                type="idempotency_error",
            )
        if idempotency_key in self._in_progress:
            raise StripeError(
                "There is currently another in-progress request using this Idempotency-Key: the "
                "same call was sent twice and the first one is not answered yet.",
                status=409, type="idempotency_error", code="idempotency_key_in_use",
            )
        self._in_progress.add(idempotency_key)
        try:
            # Shielded: a caller who hangs up does not undo or repeat what was begun.
            return await asyncio.shield(asyncio.wrap_future(self.sim.store.submit(work)))
        finally:
            self._in_progress.discard(idempotency_key)


def base_url(sim: Simulator, request: Request) -> str:
    """Where links point at: the configured address, else the one this call came to."""
    return sim.config.base_url or f"{request.url.scheme}://{request.url.netloc}"


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The body, refused as soon as it is larger than the limit."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise StripeError("The request's body is too large.", status=413)
        chunks.append(chunk)
    return b"".join(chunks)


async def _form(request: Request) -> tuple[dict[str, Any], Upload | None]:
    """The parameters, from the query and from the form, not yet cast, and the file if any."""
    if request.method == "GET":
        return forms.parse(request.scope["query_string"]), None
    uploading = request.url.path == "/v1/files"
    body = await read_body(request, MAX_UPLOAD if uploading else MAX_BODY)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if uploading and kind == "multipart/form-data":
        return await _parts(request, body)
    if body and kind != "application/x-www-form-urlencoded":
        raise StripeError(
            "Invalid request (check that your POST content type is "
            "application/x-www-form-urlencoded)."
        )
    # The SDK puts the parameters of a deletion into the address, others into the form.
    query = request.scope["query_string"] if request.method == "DELETE" and not body else b""
    return forms.parse(body or query), None


async def _parts(request: Request, body: bytes) -> tuple[dict[str, Any], Upload | None]:
    """The fields of a form in parts; its file stands among them as a hash of what is in it."""

    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await MultiPartParser(
            request.headers, stream(), max_files=1, max_fields=forms.MAX_FIELDS
        ).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise StripeError("The request's form could not be read as parts.") from error
    pairs, upload = [], None
    for name, value in form.multi_items():
        if isinstance(value, str):
            pairs.append((name, value))
        elif name == "file":
            upload = Upload(value.filename or "", await value.read())
            pairs.append((name, hashlib.sha256(upload.content).hexdigest()))
    return forms.parse(urlencode(pairs).encode()), upload


def check_key(header: str | None, secret_key: str | None) -> None:
    """Refuse a call without the key: as a bearer token or as the user of basic authentication."""
    kind, _, value = (header or "").partition(" ")
    key = value.strip()
    if kind.lower() == "basic":
        try:
            key = base64.b64decode(key, validate=True).decode("ascii").partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    elif kind.lower() != "bearer":
        key = ""
    if not key:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization "
            "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    fits = key == secret_key if secret_key else key.startswith(("sk_test_", "rk_test_"))
    if not fits:
        raise StripeError(f"Invalid API Key provided: {key[:8]}****{key[-4:]}"
                          if len(key) > 20 else "Invalid API Key provided", status=401)


def _check_version(version: str | None) -> None:
    if version is not None and not _VERSION.match(version.strip()):
        raise StripeError(f"Invalid Stripe API version: {version[:40]}")


