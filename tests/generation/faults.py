"""A loopback HTTP proxy before a real server that records requests and breaks chosen ones: the faults of real servers, on demand.

    with FaultProxy.before(server.base_url) as proxy:
        proxy.next(status(503), status(503))     # the two requests to come; those after them pass
        proxy.always = slow(0.1)                 # every request for which no fault was put in line

A fault is a function of the exchange: it may reply itself, or pass the request on and change what comes back.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Fault = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request to the proxy."""

    protocol_version = "HTTP/1.1"
    server: _Server
    fields: dict[str, Any]

    def do_POST(self) -> None:
        self.raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.fields = json.loads(self.raw) if self.raw else {}
        proxy = self.server.proxy
        with proxy.counting():
            proxy.take(self)(self)

    do_GET = do_POST

    def upstream(self, fields: dict[str, Any] | None = None) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The request passed on, with other fields if they are given."""
        body = self.raw if fields is None else json.dumps(fields).encode()
        there = self.server.proxy.upstream
        connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=60)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        connection.request(self.command, self.path, body if self.command == "POST" else None, headers)
        return connection, connection.getresponse()

    def reply(self, status: int, body: bytes, kind: str = "application/json", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the proxy keeps its own record."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what some tests are about; anything else is a fault of the proxy, raised at its end."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.proxy.own_faults.append(error)


class FaultProxy:
    """See the module. requests: the fields of every POST; most: the most requests that were under way at once."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.always: Fault = passed
        self.lists: Fault = passed  # for GET, as of the list of models
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.authorizations: list[str | None] = []
        self.most = self.under_way = 0
        self.hung_up = threading.Event()
        self.own_faults: list[BaseException] = []
        self._line: deque[Fault] = deque()
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def before(cls, upstream: str) -> Iterator[FaultProxy]:
        """A proxy before the server at this address, while the block runs."""
        made = cls(upstream)
        server = _Server(("127.0.0.1", 0), Exchange)
        server.proxy = made
        made.base_url = f"http://127.0.0.1:{server.server_address[1]}{made.upstream.path}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        if made.own_faults:
            raise made.own_faults[0]

    base_url = ""

    def next(self, *faults: Fault) -> None:
        """Faults for the requests to come, one each."""
        self._line.extend(faults)

    def take(self, exchange: Exchange) -> Fault:
        with self._lock:
            if exchange.command != "POST":
                return self.lists
            self.requests.append(exchange.fields)
            self.times.append(time.monotonic())
            self.authorizations.append(exchange.headers.get("authorization"))
            return self._line.popleft() if self._line else self.always

    @contextmanager
    def counting(self) -> Iterator[None]:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= 1


def passed(x: Exchange) -> None:
    """The real reply as it is, event by event where it is a stream."""
    _stream(x, None)


def status(code: int, body: Any = None, headers: Mapping[str, str] | None = None, kind: str = "application/json") -> Fault:
    """An error's status; body as JSON, or as it stands where it is text."""
    said = body if body is not None else {"error": {"message": f"fault {code}"}}
    return lambda x: x.reply(code, (said if isinstance(said, str) else json.dumps(said)).encode(), kind, headers)


def page(text: str, kind: str = "text/html") -> Fault:
    """Something else than an API's reply, with status 200."""
    return status(200, text, kind=kind)


def slow(seconds: float) -> Fault:
    """The real reply, late."""

    def fault(x: Exchange) -> None:
        time.sleep(seconds)
        passed(x)

    return fault


def reset(x: Exchange) -> None:
    """The connection is reset before any reply."""
    x.close_connection = True
    x.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    x.connection.close()


def cut(events: int, *, midway: bool = False) -> Fault:
    """A stream that ends after so many events; midway: within a chunk, as when a process dies, else as if it had been all."""
    return lambda x: _stream(x, events, midway)


def edited(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Fault:
    """The real reply as JSON, changed; change gets the request's fields and the reply. Streams pass as they are."""

    def fault(x: Exchange) -> None:
        if x.fields.get("stream"):
            passed(x)
            return
        connection, response = x.upstream()
        with closing(connection):
            reply = json.loads(response.read())
        x.reply(response.status, json.dumps(change(x.fields, reply)).encode())

    return fault


def sent(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Fault:
    """The request changed, the reply as it is."""

    def fault(x: Exchange) -> None:
        connection, response = x.upstream(change(x.fields))
        with closing(connection):
            x.reply(response.status, response.read(), response.headers.get("content-type", ""))

    return fault


def refusing(field: str, message: str, param: str | None = None, code: int = 400) -> Fault:
    """Requests with this field are refused, others pass."""

    def fault(x: Exchange) -> None:
        if field in x.fields:
            x.reply(code, json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": param}}).encode())
        else:
            passed(x)

    return fault


def trickling(seconds: float) -> Fault:
    """A stream with a pause after each event; `proxy.hung_up` is set once the client has gone."""

    def fault(x: Exchange) -> None:
        try:
            _stream(x, None, pause=seconds)
        except OSError:
            x.server.proxy.hung_up.set()
            x.close_connection = True

    return fault


def telling_logprobs(folder: Path) -> Fault:
    """The real reply with what the server leaves out: log-probabilities, computed by transformers from the same weights.

    They stand in the reply in OpenAI's form: of the first token written (chat API: `logprobs.content[0].top_logprobs`, completions API:
    `logprobs.top_logprobs[0]`), and for `echo` of the prompt's tokens and the first one written, with the prompt before the text.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, dtype=torch.float32)
    alone = threading.Lock()

    def change(fields: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        if not fields.get("logprobs") or "choices" not in reply:
            return reply
        if "messages" in fields:
            ids = tokenizer.apply_chat_template(fields["messages"], add_generation_prompt=True, return_dict=True)["input_ids"]
        else:
            ids = tokenizer(fields["prompt"])["input_ids"]
        with alone, torch.no_grad():
            known = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        top = known[-1].topk(fields.get("top_logprobs") or int(fields["logprobs"]))
        best = [(tokenizer.decode([i]), v) for i, v in zip(top.indices.tolist(), top.values.tolist(), strict=True)]
        choice = reply["choices"][0]
        if "messages" in fields:
            told = [{"token": t, "bytes": list(t.encode()), "logprob": v} for t, v in best]
            choice["logprobs"] = {"content": [{**told[0], "top_logprobs": told}]}
            return reply
        tokens, values = [best[0][0]], [best[0][1]]
        if fields.get("echo"):
            tokens = [tokenizer.decode([i]) for i in ids] + tokens
            values = [None, *(known[at, i].item() for at, i in enumerate(ids[1:])), *values]
            choice["text"] = fields["prompt"] + choice["text"]
        offsets = [sum(map(len, tokens[:n])) for n in range(len(tokens))]
        tops = [None] * (len(tokens) - 1) + [dict(best)]
        choice["logprobs"] = {"tokens": tokens, "token_logprobs": values, "text_offset": offsets, "top_logprobs": tops}
        return reply

    return edited(change)


def _stream(x: Exchange, events: int | None, midway: bool = False, pause: float = 0.0) -> None:
    connection, response = x.upstream()
    try:
        kind = response.headers.get("content-type", "")
        if "event-stream" not in kind:
            x.reply(response.status, response.read(), kind)
            return
        x.send_response(response.status)
        x.send_header("Content-Type", kind)
        x.send_header("Transfer-Encoding", "chunked")
        x.end_headers()
        for n, event in enumerate(_events(response)):
            if n == events:
                if midway:
                    x.wfile.write(b"40\r\ndata: {")
                    x.wfile.flush()
                    x.close_connection = True
                    x.connection.shutdown(socket.SHUT_RDWR)
                    return
                break
            x.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            x.wfile.flush()
            time.sleep(pause)
        x.wfile.write(b"0\r\n\r\n")
    finally:
        connection.close()


def _events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    held = b""
    while line := response.readline():
        held += line
        if line in (b"\n", b"\r\n"):
            yield held
            held = b""
