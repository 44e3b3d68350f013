"""HTTP to a provider: deadlines, exact numbers, and every failure told apart by what it means."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from paydesk.errors import OutcomeUnknown, ProviderRefused, ProviderUnavailable
from paydesk.providers import texts
from paydesk.providers.circuit import AnswerUnclear, SlowDown, told_s

if TYPE_CHECKING:
    import ssl

    import httpx

#: Seconds for the connection alone; the whole call has the provider's deadline.
CONNECT_S = 3.0
#: Methods that change nothing: when they fail, nothing happened.
READS = frozenset({"GET", "HEAD"})
#: Where the reason of a refusal stands in an answer, in the order of trust.
_SENTENCES = ("detail", "message", "error_description", "title", "error")
_CODES = ("name", "code", "error")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status and the JSON, with numbers exact (int or Decimal)."""

    status: int
    body: Any

    def __getitem__(self, name: str) -> Any:
        if not isinstance(self.body, dict):
            raise AnswerUnclear("The provider's answer is no JSON object.")
        return self.body[name]


class Rejection(Exception):
    """What a refusal was answered with, for the adapter alone: the cause of the error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(status))
        self.status = status
        self.body = body

    @classmethod
    def of(cls, error: ProviderRefused | ProviderUnavailable) -> Rejection:
        cause = error.__cause__
        return cause if isinstance(cause, cls) else cls(0, None)


class Cause(Exception):
    """The kind of a client's error without its text, which can carry what was sent."""


@cache
def _authorities() -> ssl.SSLContext:
    """Whom we trust, read once for all providers: it takes longer than the call."""
    import httpx

    return httpx.create_ssl_context()


class Http:
    """A client of one provider; safe to use from any thread.

    Raises ProviderUnavailable where nothing happened, OutcomeUnknown where nobody can tell,
    ProviderRefused (caused by a Rejection) where it never will, AnswerUnclear where the answer
    cannot be read. `secrets` are blotted out of every sentence.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        timeout_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.secrets = [s for s in secrets if s]
        self._token: Token | None = None
        self._base_url, self._timeout_s = base_url.rstrip("/"), timeout_s
        self._headers = {"Accept": "application/json", **(headers or {})}

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx  # Only who talks to a provider waits for it.

        return httpx.Client(
            base_url=self._base_url,
            timeout=httpx.Timeout(self._timeout_s, connect=min(CONNECT_S, self._timeout_s)),
            headers=self._headers,
            follow_redirects=False,
            verify=_authorities(),
        )

    def close(self) -> None:
        if "_client" in vars(self):
            self._client.close()
        if self._token is not None:
            self._token.close()

    def authorize(self, token: Token) -> None:
        """Send this token with every request from now on."""
        self._token = token

    def warm(self) -> None:
        """Get the token, where there is one to be got."""
        if self._token is not None:
            self._token.value()

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> Answer:
        return self.request("POST", path, json=json, **more)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: str | None = None,
        form: Mapping[str, str] | None = None,
        params: Any = None,
        headers: Mapping[str, str] | None = None,
        parts: Mapping[str, Any] | None = None,
        reads: bool = False,
    ) -> Answer:
        """Send once. `json` may hold Decimals; `content` is JSON that is written already; `parts`
        of a multipart form are each written as JSON.

        `reads`: it changes nothing, although it is no GET.
        """
        reads = reads or method in READS
        told = dict(headers or {})
        if json is not None:
            content = encode(json)
        if content is not None:
            told["Content-Type"] = "application/json"
        answer = None
        if self._token is not None:
            # A token that the provider has forgotten did nothing: once more with a new one.
            for is_last in (False, True):
                told["Authorization"] = f"Bearer {self._token.value(anew=is_last)}"
                answer = self._send(method, path, content, form, params, told, reads, parts)
                if answer.status_code != 401:
                    break
        else:
            answer = self._send(method, path, content, form, params, told, reads, parts)
        assert answer is not None
        return self._read(answer, reads)

    def _send(
        self, method: str, path: str, content: str | None, form: Any, params: Any,
        headers: Mapping[str, str], reads: bool, parts: Mapping[str, Any] | None,
    ) -> httpx.Response:  # fmt: skip
        import httpx

        files = {name: (None, encode(one), "application/json")
                 for name, one in (parts or {}).items()}  # fmt: skip

        try:
            return self._client.request(
                method, path, content=content, data=form, params=params, headers=headers,
                files=files or None,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise ProviderUnavailable(
                f"{self.name} cannot be reached; nothing was sent.", retry_after_s=5
            ) from _plain(exc)
        except httpx.TransportError as exc:
            raise _lost(reads, f"{self.name} did not answer.") from _plain(exc)
        except httpx.HTTPError as exc:
            raise AnswerUnclear(f"{self.name} answered in a way that cannot be read.") from _plain(
                exc
            )

    def _read(self, answer: httpx.Response, reads: bool) -> Answer:
        status = answer.status_code
        body = decode(answer.content)
        if 200 <= status < 300:
            if body is None and answer.content.strip():
                raise AnswerUnclear(f"{self.name} answered something that is no JSON.")
            return Answer(status, body)
        if status in (401, 403):
            raise ProviderUnavailable(
                f"{self.name} does not accept our credentials."
            ) from Rejection(status, body)
        if status == 429:
            raise SlowDown(f"{self.name} asks us to slow down.", told_s(answer.headers))
        if status in (408, 409, 425):
            raise _lost(reads, f"The same request is under way at {self.name}.")
        if status >= 500:
            raise _lost(reads, f"{self.name} had a fault of its own ({status}).")
        if status >= 400:
            raise ProviderRefused(
                self.blot(_sentence(body) or f"{self.name} refused the request ({status})."),
                provider_code=self.blot(_code(body) or f"http_{status}")[:64],
            ) from Rejection(status, body)
        raise AnswerUnclear(f"{self.name} answered with status {status}.")

    def blot(self, text: str) -> str:
        """The text without any of our secrets, 300 characters at most."""
        known = [*self.secrets, *(self._token.known() if self._token else ())]
        for secret in known:
            text = text.replace(secret, "••••")
        return text[:300]


class Token:
    """An OAuth 2 access token by client credentials, kept until shortly before its end."""

    #: So long before its end a token is not used any more, or for a quarter of its life.
    MARGIN_S = 30.0

    def __init__(self, http: Http, path: str, client_id: str, secret: str, form: Mapping[str, str]):
        self._http, self._path, self._form = http, path, dict(form)
        self._basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        self._lock = threading.Lock()
        self._value = ""
        self._until = 0.0

    def value(self, *, anew: bool = False) -> str:
        """The token; a new one where the kept one is over, or was refused (`anew`)."""
        with self._lock:
            if anew or time.monotonic() >= self._until:
                self._fetch()
            return self._value

    def close(self) -> None:
        self._http.close()

    def known(self) -> list[str]:
        return [one for one in (self._value, self._basic) if one]

    def _fetch(self) -> None:
        try:
            answer = self._http.request(
                "POST", self._path, form=self._form,
                headers={"Authorization": f"Basic {self._basic}"},
            )  # fmt: skip
        except ProviderRefused as exc:
            raise ProviderUnavailable(
                f"{self._http.name} does not accept our credentials."
            ) from _plain(exc)
        except OutcomeUnknown as exc:  # A token changes nothing: whoever asked did not get further.
            raise ProviderUnavailable(exc.detail, retry_after_s=2) from _plain(exc)
        try:
            life_s = float(answer["expires_in"])
            self._value = str(answer["access_token"])
        except (KeyError, TypeError, ValueError) as exc:
            raise ProviderUnavailable(f"{self._http.name} gave no token.") from _plain(exc)
        self._until = time.monotonic() + life_s - min(self.MARGIN_S, life_s / 4)


def authorized(
    name: str, base_url: str, timeout_s: float, path: str, client_id: str, secret: str,
    form: Mapping[str, str], *, headers: Mapping[str, str] | None = None,
) -> Http:  # fmt: skip
    """A client whose requests carry a token of these credentials, asked for at `path`."""
    api = Http(name, base_url, timeout_s, headers=headers, secrets=[secret])
    api.authorize(Token(Http(name, base_url, timeout_s, secrets=[secret]), path, client_id,
                        secret, form))  # fmt: skip
    return api


class AsyncHttp:
    """`Provider.http`: the same client to be awaited, whose answers are the JSON itself."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def get(self, path: str, **more: Any) -> Any:
        return await self.request("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> Any:
        return await self.request("POST", path, json=json, **more)

    async def put(self, path: str, json: Any = None, **more: Any) -> Any:
        return await self.request("PUT", path, json=json, **more)

    async def patch(self, path: str, json: Any = None, **more: Any) -> Any:
        return await self.request("PATCH", path, json=json, **more)

    async def delete(self, path: str, **more: Any) -> Any:
        return await self.request("DELETE", path, **more)

    async def request(self, method: str, path: str, **more: Any) -> Any:
        # In a thread: connections are kept between calls, each of which has a loop of its own.
        answer = await asyncio.to_thread(self._http.request, method, path, **more)
        return answer.body

    def close(self) -> None:
        self._http.close()


def _lost(reads: bool, sentence: str) -> ProviderUnavailable | OutcomeUnknown:
    return (ProviderUnavailable if reads else OutcomeUnknown)(sentence, retry_after_s=2)


def part(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")


def encode(value: Any) -> str:
    """JSON in which a Decimal is a number with its very digits. The same value, the same text,
    whatever the order of its keys: a request that was kept and is repeated must not differ."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        pairs = sorted((str(k), v) for k, v in value.items())
        return "{" + ", ".join(f"{json.dumps(k)}: {encode(v)}" for k, v in pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(encode(one) for one in value) + "]"
    return json.dumps(value, allow_nan=False)


def decode(content: bytes) -> Any:
    """The JSON with exact numbers, in texts that can be kept; None where it is none."""
    try:
        found = json.loads(content, parse_float=Decimal)
        return texts.clean(found) if texts.may_be_odd(content) else found
    except (ValueError, RecursionError):
        return None


def _plain(exc: BaseException) -> BaseException:
    return Cause(type(exc).__name__)


def _sentence(body: Any) -> str | None:
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return None
    details = body.get("details")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        found = details[0].get("description") or details[0].get("issue")
        if isinstance(found, str) and found:
            return found
    return next((body[k] for k in _SENTENCES if isinstance(body.get(k), str) and body[k]), None)


def _code(body: Any) -> str | None:
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return None
    details = body.get("details")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        issue = details[0].get("issue")
        if isinstance(issue, str) and issue:
            return issue
    return next((body[k] for k in _CODES if isinstance(body.get(k), str) and body[k]), None)
