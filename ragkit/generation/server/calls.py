"""Calls of a server: how many run side by side, which are sent again and when, and what was learned of the server's ways."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ragkit.errors import ReplyError
from ragkit.generation.server import errors, replies, retry
from ragkit.generation.server.where import Where

if TYPE_CHECKING:
    from openai import APIError

T = TypeVar("T")


@dataclass(frozen=True)
class Dialect:
    """How this server wants what servers want differently."""

    limit: str = "max_tokens"  # first: a server that doesn't know max_completion_tokens may ignore it and write on
    usage_in_streams: bool = True
    top: int = 20

    def after(self, refusal: APIError) -> Dialect | None:
        """The form to try next; None where the refusal is about something else."""
        if errors.refuses_field(refusal, self.limit):
            return replace(self, limit="max_completion_tokens" if self.limit == "max_tokens" else "max_tokens")
        if self.usage_in_streams and errors.refuses_field(refusal, "stream_options"):
            return replace(self, usage_in_streams=False)
        top = errors.lower_limit(refusal, "logprobs", self.top)
        return None if top is None else replace(self, top=top)


class Calls:
    """Sends requests through a client of OpenAI's; safe to share between threads.

    client       an `openai.OpenAI` without retries of its own
    concurrency  requests under way at most; one that waits to be sent again keeps its place, so that an overloaded server is spared
    """

    def __init__(self, client: Any, where: Where, *, retries: int, backoff: float, concurrency: int) -> None:
        from openai import APIError

        self.client, self.where = client, where
        self._failed = APIError
        self._retries, self._backoff, self._concurrency = retries, backoff, concurrency
        self._slots = threading.BoundedSemaphore(concurrency)
        self._dialect = Dialect()

    def each(self, work: Callable[[int, threading.Event], T], n: int) -> list[T]:
        """work(0..n-1) side by side, in order; the first failure is raised, and what has not begun by then never does."""
        halt = threading.Event()
        if n == 1:
            return [work(0, halt)]
        pool = ThreadPoolExecutor(min(n, self._concurrency) or 1, thread_name_prefix="ragkit-openai")
        try:
            futures = [pool.submit(work, i, halt) for i in range(n)]
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((f for f in futures if f.done() and f.exception() is not None), None)
            return [f.result() for f in ([failed] if failed is not None else futures)]
        finally:
            halt.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def reply(self, send: Callable[[Dialect], Any], halt: threading.Event, prompt: str) -> tuple[dict[str, Any], int]:
        """The reply to a request as JSON, and how often it was repeated; send returns the client's raw response."""
        with self._slots:
            if halt.is_set():
                raise CancelledError
            raw, repeats = self.repeated(send, halt, prompt)
        return replies.parsed(raw.http_response.text, self.where), repeats

    def repeated(self, send: Callable[[Dialect], T], halt: threading.Event, prompt: str) -> tuple[T, int]:
        """What send returns, and how often it was called again."""
        dialect, tried, failures, repeats = self._dialect, {self._dialect}, 0, 0
        while True:
            try:
                got = send(dialect)
            except self._failed as exc:
                error: Any = exc
                other = dialect.after(error)
                if other is not None and other not in tried:
                    dialect = other
                    tried.add(other)
                else:
                    failures += 1
                    seconds = self._pause(error, failures)
                    if seconds is None or halt.wait(seconds):
                        blacken_client(error, self.where)
                        raise errors.explained(error, self.where, prompt=prompt, tries=failures, models=self.models) from exc
                repeats += 1
            else:
                if dialect is not self._dialect:
                    self._dialect = dialect
                return got, repeats

    def _pause(self, error: APIError, failures: int) -> float | None:
        """Seconds until the request is sent again; None where it is given up."""
        status = errors.status_of(error)
        hopeless = getattr(error, "code", None) == "insufficient_quota" or errors.offline_cause(error) is not None
        if failures > self._retries or hopeless or not (status == 0 or retry.may_pass(status)) or errors.overflow(error, ""):
            return None
        response = getattr(error, "response", None)
        asked = None if response is None else retry.asked_pause(response.headers)
        return None if (asked or 0) > retry.PATIENCE else retry.pause(failures, self._backoff, asked)

    def models(self) -> list[str]:
        """Names of the server's models; empty where it doesn't tell."""
        try:
            body = self.client.models.with_raw_response.list(timeout=min(self.where.timeout, 5.0)).http_response.text
            listed = replies.parsed(body, self.where).get("data")
        except (self._failed, ReplyError):
            return []
        return sorted(str(m.get("id")) for m in listed if isinstance(m, dict)) if isinstance(listed, list) else []


def blacken_client(error: APIError, where: Where) -> None:
    """The client's own error stays in the chain of causes, and a server may have repeated the key in it."""
    error.message = where.blacken(error.message)
    error.args = _blackened(error.args, where)
    error.body = _blackened(error.body, where)  # before it is cut short to be quoted: part of a key would be left


def _blackened(value: Any, where: Where) -> Any:
    match value:
        case str():
            return where.blacken(value)
        case dict():
            return {_blackened(k, where): _blackened(v, where) for k, v in value.items()}
        case list() | tuple():
            return type(value)(_blackened(v, where) for v in value)
    return value
