"""The backend for servers, against a real one, and against one whose replies a proxy breaks in every way that servers break them."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragkit
from ragkit.errors import ContextOverflow, GenerationError, InputError, OfflineError, ReplyError, ServerError
from ragkit.generation import Choices, Message, llm
from ragkit.generation.server import replies
from ragkit.generation.server import retry as retries_of
from ragkit.generation.server.openai_model import OpenAIModel
from ragkit.generation.server.where import Where
from tests.generation import faults
from tests.generation.faults import Fault, FaultProxy
from tests.generation.loopback import Server

LACKS = ("next_token", "schema", "logprobs")  # of the server behind the proxy
PROMPT = "The std::vector"
KEYS = ["choices", "message", "delta", "text", "content", "refusal", "finish_reason", "logprobs", "top_logprobs", "tokens"]
KEYS += ["token_logprobs", "text_offset", "token", "bytes", "logprob", "prompt_tokens", "completion_tokens", "prompt_tokens_details"]
TURNS = [Message("system", "Be short."), Message("user", "Why?")]


@pytest.fixture
def make(proxy: FaultProxy, transformers_server: Server) -> Callable[..., OpenAIModel]:
    def made(**settings: Any) -> OpenAIModel:
        settings = {"base_url": proxy.base_url, "api_key": "sk-secret", "backoff": 0.01, "without": LACKS} | settings
        return OpenAIModel(transformers_server.model, **settings)

    return made


Make = Callable[..., OpenAIModel]


@pytest.mark.parametrize(
    ("broken", "repeats"),
    [
        ([faults.status(429, headers={"Retry-After": "0"})], 1),
        ([faults.status(500)] * 2, 2),
        ([faults.status(502, "<html><h1>Bad Gateway</h1></html>", kind="text/html"), faults.status(503)], 2),
        ([faults.status(408), faults.status(409)], 2),
        ([faults.reset], 1),
        ([faults.slow(3.0)], 1),
    ],
    ids=["429", "500 twice", "502 page and 503", "408 and 409", "reset", "timeout"],
)
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_what_may_pass_is_sent_again_and_counted(make: Make, proxy: FaultProxy, broken: list[Fault], repeats: int, api: str) -> None:
    wanted = make(api=api).generate([PROMPT], max_tokens=4)[0]
    assert wanted.text
    assert wanted.usage.retries == 0
    proxy.next(*broken)
    got = make(api=api, timeout=2.0).generate([PROMPT], max_tokens=4)[0]
    assert (got.text, got.usage.retries, got.usage.calls) == (wanted.text, repeats, 1)


def test_a_server_that_asks_for_a_pause_gets_it(make: Make, proxy: FaultProxy) -> None:
    proxy.next(faults.status(429, headers={"Retry-After": "0.4"}))
    assert make().generate([PROMPT], max_tokens=1)[0].usage.retries == 1
    assert proxy.times[1] - proxy.times[0] >= 0.4


def test_a_pause_that_is_too_long_is_not_waited_for(make: Make, proxy: FaultProxy) -> None:
    proxy.next(faults.status(429, headers={"Retry-After": "4000"}))
    with pytest.raises(ServerError, match="HTTP 429"):
        make().generate([PROMPT])
    assert len(proxy.requests) == 1


def test_pauses_grow_and_are_spread() -> None:
    for failures, bound in ((1, 0.5), (2, 1.0), (4, 4.0), (20, retries_of.LONGEST)):
        drawn = [retries_of.pause(failures, 0.5) for _ in range(300)]
        assert 0 <= min(drawn) < 0.1 * bound  # full jitter: anything from 0 on
        assert 0.9 * bound < max(drawn) <= bound
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert retries_of.asked_pause({"retry-after": date}) == pytest.approx(60, abs=2)
    assert 7 <= retries_of.pause(1, 0.5, 7.0) <= 7.5


def test_it_gives_up_after_the_retries_and_says_so(make: Make, proxy: FaultProxy) -> None:
    proxy.always = faults.status(503, {"error": {"message": "the engine is starting"}})
    with pytest.raises(ServerError, match=r"127\.0\.0\.1.*failed for prompt 0 with HTTP 503, 3 times: 'the engine is starting'") as error:
        make(retries=2).generate([PROMPT])
    assert error.value.status == 503
    assert error.value.__cause__ is not None
    assert len(proxy.requests) == 3


def test_a_server_that_is_not_there() -> None:
    model = OpenAIModel("m", base_url="http://127.0.0.1:9/v1", retries=1, backoff=0.01)
    with pytest.raises(ServerError, match=r"can't be reached for prompt 0, 2 times .*is it running"):
        model.generate(["x"])
    with pytest.raises(ServerError, match="can't be reached"):
        list(model.stream("x"))


def test_a_server_that_is_too_slow(make: Make, proxy: FaultProxy) -> None:
    proxy.always = faults.slow(1.0)
    with pytest.raises(ServerError, match=r"did not answer for prompt 0 within 0\.2 s, 2 times; raise `timeout`"):
        make(timeout=0.2, retries=1).generate([PROMPT], max_tokens=1)


def quota(x: faults.Exchange) -> None:
    faults.status(429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}})(x)


TOO_LONG = (
    "This model's maximum context length is 512 tokens. However, you requested 3019 tokens (3011 in the messages, 8 in the completion)."
)


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        (
            faults.status(401, {"error": {"message": "Incorrect API key provided: sk-secret"}}),
            ServerError,
            "refused the key .*OPENAI_API_KEY",
        ),
        (faults.status(403), ServerError, "refused the key"),
        (faults.status(404, {"error": {"message": "no such model"}}), ServerError, "no such model.*but has: big, small$"),
        (faults.status(400, {"error": {"message": "top_k is bad"}}), ServerError, "refused the request for prompt 0 .*top_k is bad"),
        (faults.status(400, {"error": {"message": TOO_LONG}}), ContextOverflow, "prompt 0 is longer than the model reads"),
        (faults.status(400, {"error": {"message": "no", "code": "context_length_exceeded"}}), ContextOverflow, "prompt 0 is longer"),
        (faults.status(400, {"error": {"message": "max_tokens is too large"}}), ServerError, "max_tokens is too large"),
        (quota, ServerError, "no quota left"),
        (
            faults.page("<!DOCTYPE html><title>Login</title><p>Please log in, sk-secret"),
            ReplyError,
            r"HTML page, not JSON: 'Login .*, \*\*\*'",
        ),
        (faults.page('{"choices": ["sk-secret', "application/json"), ReplyError, r"not JSON: '{\"choices\": \[\"\*\*\*'"),
        (faults.page('["sk-secret", 2]', "application/json"), ReplyError, r"JSON of another form: '\[\"\*\*\*\", 2\]'"),
        (faults.page("", "text/plain"), ReplyError, "replied with nothing"),
        (faults.page('{"error": {"message": "out of memory"}}', "application/json"), ReplyError, "out of memory"),
        (
            faults.page('{"error": {"message": "Incorrect API key provided: sk-secret"}}', "application/json"),
            ReplyError,
            r"Incorrect API key provided: \*\*\*",
        ),
        *(  # cut short within the key
            (faults.page(body, kind), ReplyError, said)
            for body, kind, said in [
                ("x" * 290 + "sk-secret" + "x" * 20, "text/plain", r"x\*\*\*xx+\.\.\.'"),
                ('["' + "x" * 113 + 'sk-secret"]', "application/json", r"x\*\*\*"),
                ('{"error": "' + "x" * 290 + 'sk-secret, again sk-secret"}', "application/json", r"x\*\*\*,"),
            ]
        ),
        (faults.status(400, {"error": {"message": "x" * 290 + "sk-secret, again sk-secret"}}), ServerError, r"x\*\*\*,"),
        (faults.page('{"sk-secret": 1}', "application/json"), ReplyError, r"returned no choices; the reply holds \['\*\*\*'\]"),
        (
            faults.edited(lambda _, reply: with_choice(reply, message={"content": None}, finish_reason="sk-secret")),
            ReplyError,
            r"returned no text \(finish_reason '\*\*\*'\)",
        ),
        (faults.edited(lambda _, reply: reply | {"choices": []}), ReplyError, "returned no choices"),
        (faults.edited(lambda _, reply: {k: v for k, v in reply.items() if k != "choices"}), ReplyError, "returned no choices"),
        (faults.edited(lambda _, reply: with_choice(reply, message={"content": None})), ReplyError, "returned no text"),
        (
            faults.edited(lambda _, reply: with_choice(reply, message={"content": None}, finish_reason="length")),
            ReplyError,
            "used up max_tokens for its reasoning",
        ),
    ],
)
def test_what_can_not_pass_is_told_at_once(make: Make, proxy: FaultProxy, fault: Fault, kind: type[Exception], sentence: str) -> None:
    proxy.lists = faults.page('{"data": [{"id": "small"}, {"id": "big"}]}', "application/json")
    proxy.always = fault
    with pytest.raises(GenerationError, match=sentence) as error:
        make().generate([PROMPT], max_tokens=2)
    assert type(error.value) is kind
    assert "sk-s" not in "".join(traceback.format_exception(error.value))
    assert len(proxy.requests) == 1
    if "3019" in str(error.value):
        assert isinstance(error.value, ContextOverflow)
        assert (error.value.tokens, error.value.limit) == (3019, 512)


def with_choice(reply: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return reply | {"choices": [reply["choices"][0] | changes]}


def test_real_refusals_are_told(transformers_server: Server) -> None:
    """The server's own: another model than the one it serves, a wrong path, a field that it doesn't know, no log-probabilities."""
    url = transformers_server.base_url
    with pytest.raises(ServerError, match=r"HTTP 400: .*pinned to.*requested 'other'"):
        OpenAIModel("other", base_url=url).generate([PROMPT])
    with pytest.raises(ServerError, match=r"answered 404.*does base_url end as the server wants it, as in /v1"):
        OpenAIModel(transformers_server.model, base_url=url.removesuffix("/v1")).generate([PROMPT])
    with pytest.raises(ServerError, match=r"HTTP 422: .*best_of_all"):
        OpenAIModel(transformers_server.model, base_url=url, extra={"best_of_all": 1}).generate([PROMPT])
    for api in ("chat", "completions"):
        model = OpenAIModel(transformers_server.model, base_url=url, api=api)  # type: ignore[arg-type]
        with pytest.raises(ReplyError, match="returned no log-probabilities"):
            model.next_token_logprobs([PROMPT], [["A"]])
        with pytest.raises(ReplyError, match="returned no log-probabilities"):
            model.generate([PROMPT], max_tokens=2, logprobs=True)
    with pytest.raises(ReplyError, match="returned no log-probabilities"):
        model.continuation_logprobs([PROMPT], [" is"])


@pytest.mark.parametrize(
    "changes",
    [
        {"message": {"content": None}, "finish_reason": "content_filter"},
        {"message": {"content": None, "refusal": "I can't help with that"}},
        {"message": {"content": ""}, "finish_reason": "content_filter"},
    ],
)
def test_a_refusal_is_a_filtered_completion(make: Make, proxy: FaultProxy, changes: dict[str, Any]) -> None:
    proxy.always = faults.edited(lambda _, reply: with_choice(reply, **changes))
    made = make().generate([PROMPT], max_tokens=2)[0]
    assert (made.text, made.finish) == ("", "filtered")


@pytest.mark.parametrize(
    "refusal",
    [
        faults.refusing(
            "max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        ),
        faults.refusing("max_tokens", "Unsupported parameter", param="max_tokens"),
        faults.refusing("max_tokens", "[{'loc': ['body', 'max_tokens'], 'msg': 'Extra inputs are not permitted'}]", code=422),
    ],
)
def test_the_other_name_of_the_limit_is_found_and_remembered(make: Make, proxy: FaultProxy, refusal: Fault) -> None:
    proxy.always = refusal
    model = make()
    assert model.generate([PROMPT], max_tokens=3)[0].usage.retries == 1
    assert model.generate([PROMPT], max_tokens=3)[0].usage.retries == 0
    limits = [[name for name in ("max_tokens", "max_completion_tokens") if name in r] for r in proxy.requests]
    assert limits == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


def test_a_server_that_refuses_both_names_of_the_limit_is_told(make: Make, proxy: FaultProxy) -> None:
    proxy.always = faults.status(400, {"error": {"message": "unknown fields max_tokens, max_completion_tokens"}})
    with pytest.raises(ServerError, match="unknown fields"):
        make().generate([PROMPT])
    assert len(proxy.requests) == 2


def test_stream_options_are_left_out_where_refused(make: Make, proxy: FaultProxy) -> None:
    proxy.always = faults.refusing("stream_options", "Unknown parameter: 'stream_options'")
    model = make()
    streams = [model.stream(PROMPT, max_tokens=3) for _ in range(2)]
    assert len({"".join(s) for s in streams}) == 1
    assert [s.completion.usage.retries for s in streams] == [1, 0]


def test_a_lower_limit_of_top_logprobs_is_kept_to(make: Make, proxy: FaultProxy, transformers_server: Server) -> None:
    tell = faults.telling_logprobs(transformers_server.folder)
    refusal = faults.status(400, {"error": {"message": "Invalid value: 'top_logprobs' must be less than or equal to 5."}})
    proxy.always = lambda x: refusal(x) if x.fields["top_logprobs"] > 5 else tell(x)
    model = make(without=())
    for repeats in (1, 0):
        scored = model.next_token_logprobs([PROMPT], [["\n", " the"], ["zebra"]])
        assert scored.usage.retries == repeats
        assert scored.logprobs[0, 1] == -np.inf
    assert [r["top_logprobs"] for r in proxy.requests] == [20, 5, 5]


def test_next_tokens_are_matched_by_their_text(make: Make, proxy: FaultProxy, transformers_server: Server, reference: Reference) -> None:
    """The server tells no log-probabilities: the proxy adds those of the same weights, in OpenAI's form."""
    proxy.always = faults.telling_logprobs(transformers_server.folder)
    wanted = reference.logprobs(f"User: {PROMPT}\n\nAssistant:")[1][-1]
    best = [reference.tokenizer.decode([i]) for i in wanted.topk(3).indices.tolist()]
    model = make(without=(), tokenizer=transformers_server.folder)
    got = model.next_token_logprobs([PROMPT, PROMPT], [[best[0]], [best[2], best[1]], [" zebra", "qu"]]).logprobs
    np.testing.assert_allclose(got[0, :2], wanted.topk(2).values.numpy(), atol=1e-5)
    assert got[0, 2] == -np.inf  # beyond the 20 most probable
    assert got.shape == (2, 3)
    with pytest.raises(InputError, match="no spelling of the candidate \\['qqqq zzzz'\\] is one token"):
        model.next_token_logprobs([PROMPT], [["qqqq zzzz"]])
    with pytest.raises(InputError, match="list of spellings"):
        model.next_token_logprobs([PROMPT], ["AB"])


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_first_token_of_a_reply_that_ended_at_once_is_unknown(make: Make, proxy: FaultProxy, api: str) -> None:
    empty = {"content": []} if api == "chat" else {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    proxy.always = faults.edited(lambda _, reply: with_choice(reply, logprobs=empty))
    assert make(without=(), api=api).next_token_logprobs([PROMPT], [["A"]]).logprobs.tolist() == [[-np.inf]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"choices": st.just([]) | st.lists(json_values, max_size=2) | json_values, "usage": json_values}))
def test_any_reply_is_read_or_refused(reply: dict[str, Any]) -> None:
    """Whatever JSON a server sends: a value of the right kind, or ReplyError."""
    where = Where("s", "m", 1.0, str)
    assert replies.parsed(json.dumps(reply), where).keys() == {"choices", "usage"}
    assert all(n is None or n >= 0 for n in replies.counted(reply))
    text, reason = replies.piece_of(reply)
    assert isinstance(text, str)
    assert reason is None or isinstance(reason, str)
    with contextlib.suppress(ReplyError):
        choice = replies.choice_of(reply, where)
        for read in (
            lambda: replies.text_of(choice, where),
            lambda: replies.written_logprobs(choice, where),
            lambda: replies.next_logprobs(choice, where),
            lambda: replies.echoed_mean(choice, "a", "b", where),
        ):
            with contextlib.suppress(ReplyError):
                read()


@pytest.mark.parametrize("midway", [False, True])
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_stream_that_is_cut_raises(make: Make, proxy: FaultProxy, api: str, midway: bool) -> None:
    model = make(api=api)
    whole = list(model.stream(PROMPT, max_tokens=8))
    assert len(whole) > 3
    proxy.next(faults.cut(4, midway=midway))
    stream, got = model.stream(PROMPT, max_tokens=8), []
    with pytest.raises(ServerError) as error:
        got.extend(stream)
    assert got == whole[: 3 if api == "chat" else 4]  # the chat API's first event names the role alone
    assert f"broke off after {len(''.join(got))} characters" in str(error.value)
    assert next(stream, None) is None
    with pytest.raises(GenerationError, match="was broken off"):
        _ = stream.completion
    assert len(proxy.requests) == 2  # what has begun is not sent again


def test_a_stream_is_sent_again_until_it_is_answered(make: Make, proxy: FaultProxy) -> None:
    model = make()
    wanted = "".join(model.stream(PROMPT, max_tokens=4))
    proxy.next(faults.status(500), faults.reset)
    stream = model.stream(PROMPT, max_tokens=4)
    assert "".join(stream) == wanted
    assert stream.completion.usage.retries == 2
    assert stream.completion.finish == "length"


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        (faults.page("<html>Login</html>"), ReplyError, "HTML page, not a stream"),
        (faults.page("data: {\n\n", "text/event-stream"), ReplyError, "not JSON, after 0 characters"),
        (faults.page('data: ["sk-secret"]\n\n', "text/event-stream"), ReplyError, r"event of another form: \['\*\*\*'\]"),
        (faults.page('data: ["' + "x" * 113 + 'sk-secret"]\n\n', "text/event-stream"), ReplyError, r"event of another form: .*x\*\*\*"),
        (faults.page('data: {"error": "sk-secret: no"}\n\n', "text/event-stream"), ServerError, r"broke off after 0 .*\*\*\*: no"),
        (faults.page('data: {"error": "the worker died"}\n\n', "text/event-stream"), ServerError, "broke off after 0 .*the worker died"),
        (faults.status(400, {"error": {"message": TOO_LONG}}), ContextOverflow, "the prompt is longer"),
    ],
)
def test_a_stream_of_something_else_raises(make: Make, proxy: FaultProxy, fault: Fault, kind: type[Exception], sentence: str) -> None:
    proxy.always = fault
    with pytest.raises(GenerationError, match=sentence) as error:
        list(make().stream(PROMPT))
    assert type(error.value) is kind
    assert "sk-s" not in "".join(traceback.format_exception(error.value))


def test_closing_a_stream_closes_the_connection(make: Make, proxy: FaultProxy) -> None:
    proxy.always = faults.trickling(0.05)
    stream = make().stream(PROMPT, max_tokens=200)
    assert next(stream)
    assert not proxy.hung_up.is_set()
    stream.close()
    assert proxy.hung_up.wait(10)
    assert next(stream, None) is None
    assert len(proxy.requests) == 1


def test_never_more_requests_than_allowed(make: Make, proxy: FaultProxy) -> None:
    """Of one object, also where several threads call it; and those that are allowed do run side by side."""
    proxy.always = faults.slow(0.1)
    model = make(concurrency=3)
    wanted = [c.text for c in make(concurrency=1).generate([PROMPT, "A pump"], max_tokens=1)]
    assert proxy.most == 1
    got: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: got.append([c.text for c in model.generate([PROMPT, "A pump"] * 4, max_tokens=1)]))
        for _ in range(2)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert proxy.most == 3
    assert got == [wanted * 4] * 2


def test_replies_keep_the_prompts_order(make: Make, proxy: FaultProxy) -> None:
    prompts = ["The std::vector", "A pump", "Once upon a time", "#include <"]
    wanted = [c.text for c in make(api="completions", concurrency=1).generate(prompts, max_tokens=4)]
    assert len(set(wanted)) == 4
    proxy.always = lambda x: faults.slow(0.1 * (3 - prompts.index(x.fields["prompt"])))(x)
    made = make(api="completions").generate(prompts, max_tokens=4)
    assert [c.text for c in made] == wanted
    assert [c.usage.seconds > 0 for c in made] == [True, False, False, False]


def test_the_first_failure_cancels_what_has_not_begun(make: Make, proxy: FaultProxy) -> None:
    def second_fails(x: faults.Exchange) -> None:
        (faults.status(400) if x.fields["messages"][0]["content"] == "1" else faults.slow(0.1))(x)

    proxy.always = second_fails
    with pytest.raises(ServerError, match="prompt 1"):
        make(concurrency=2).generate([str(i) for i in range(40)], max_tokens=1)
    time.sleep(0.4)
    assert len(proxy.requests) <= 4


def test_usage_and_cost(make: Make, proxy: FaultProxy) -> None:
    counts = {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 600}}
    proxy.always = faults.edited(lambda _, reply: reply | {"usage": counts})
    used = make(prices=(2.0, 8.0, 0.5)).generate([PROMPT], max_tokens=1)[0].usage
    assert (used.prompt_tokens, used.cached_tokens, used.generated_tokens, used.calls, used.passes) == (1000, 600, 200, 1, 0)
    assert used.cost == pytest.approx((400 * 2.0 + 600 * 0.5 + 200 * 8.0) / 1e6)
    assert make(prices=(2.0, 8.0)).generate([PROMPT], max_tokens=1)[0].usage.cost == pytest.approx((1000 * 2.0 + 200 * 8.0) / 1e6)
    assert make().generate([PROMPT], max_tokens=1)[0].usage.cost == 0


def test_counts_are_estimated_where_the_server_tells_none(make: Make, proxy: FaultProxy) -> None:
    proxy.always = faults.edited(lambda _, reply: {k: v for k, v in reply.items() if k != "usage"})
    model = make()
    used = model.generate([PROMPT], max_tokens=5)[0].usage
    assert used.prompt_tokens == model.count_tokens(PROMPT) == 11  # 5 words and marks x 1.3, rounded up, and 4 for the turn
    assert 1 <= used.generated_tokens <= 5


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_local_tokenizer_counts_as_the_server_does(make: Make, transformers_server: Server, api: str) -> None:
    model = make(api=api, tokenizer=transformers_server.folder)
    for prompt in (PROMPT, "Ein Ventil öffnet sich. 阀门打开", "x"):
        assert model.count_tokens(prompt) == model.generate([prompt], max_tokens=1)[0].usage.prompt_tokens
    if api == "chat":
        assert model.count_tokens(TURNS) == model.generate([TURNS], max_tokens=1)[0].usage.prompt_tokens


def test_the_key_is_sent_and_never_shown(make: Make, proxy: FaultProxy, caplog: pytest.LogCaptureFixture) -> None:
    model = make()
    with caplog.at_level(logging.DEBUG):
        assert model.generate([PROMPT], max_tokens=1)
        list(make().stream(PROMPT, max_tokens=1))
        proxy.always = faults.status(500, {"error": {"message": "key sk-secret made me fail"}})
        with pytest.raises(ServerError) as error:
            make(retries=0).generate([PROMPT])
    assert "Bearer sk-secret" in proxy.authorizations
    assert "key *** made me fail" in str(error.value)
    shown = "".join([repr(model), str(model), model.name, model.fingerprint, *traceback.format_exception(error.value), caplog.text])
    assert "HTTP Request: POST" in shown  # the client's own log was heard
    assert "sk-secret" not in shown
    with pytest.raises(InputError) as refused:
        make(base_url=proxy.base_url.replace("://", "://me:hush@"))
    assert "must not hold a user" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_beginning_is_refused_unless_it_was_promised(make: Make, proxy: FaultProxy) -> None:
    begun = [*TURNS, Message("assistant", "Because")]
    for call in (lambda m: m.generate([begun]), lambda m: m.stream(begun), lambda m: m.next_token_logprobs([begun], [["A"]])):
        with pytest.raises(InputError, match=r"lacks the feature 'prefill'.*give prefill=True"):
            call(make(without=()))
    assert proxy.requests == []
    extra = ("continue_final_message", "add_generation_prompt")
    proxy.always = faults.sent(lambda fields: {k: v for k, v in fields.items() if k not in extra})  # this server knows neither
    model = make(prefill=True)
    assert "prefill" in model.features
    model.generate([begun, TURNS], max_tokens=1)
    by_turns = {len(r["messages"]): r for r in proxy.requests}
    assert by_turns[3]["messages"][-1] == {"role": "assistant", "content": "Because"}
    assert (by_turns[3]["continue_final_message"], by_turns[3]["add_generation_prompt"]) == (True, False)
    assert not set(extra) & set(by_turns[2])


def test_turns_are_flattened_for_the_completions_api(make: Make, proxy: FaultProxy) -> None:
    model = make(api="completions", concurrency=1)
    model.generate([PROMPT, TURNS, [*TURNS, Message("assistant", "Because")]], max_tokens=1)
    assert [r["prompt"] for r in proxy.requests] == [
        PROMPT,
        "System: Be short.\n\nUser: Why?\n\nAssistant:",
        "System: Be short.\n\nUser: Why?\n\nAssistant: Because",
    ]


def test_what_a_request_holds(make: Make, proxy: FaultProxy) -> None:
    proxy.always = faults.sent(lambda fields: {k: v for k, v in fields.items() if k != "response_format"})
    model = make(without=(), extra={"temperature": 0.5})
    stops = ["\u2603", "\u2604", "\u2605", "\u2606", " std"]
    text = model.generate([PROMPT], max_tokens=9, temperature=0.7, top_p=0.9, seed=3, stop=stops, schema={"type": "object"})[0].text
    sent = proxy.requests[0]
    assert (sent["temperature"], sent["top_p"], sent["seed"], sent["max_tokens"]) == (0.5, 0.9, 3, 9)  # extra wins
    assert sent["stop"] == stops[:4]  # OpenAI takes no more; the fifth is applied to the reply
    assert " std" not in text
    assert sent["messages"] == [{"role": "user", "content": PROMPT}]
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}
    model.generate([PROMPT], max_tokens=1)
    assert not {"top_p", "seed", "stop", "response_format", "logprobs"} & set(proxy.requests[1])


def test_servers_elsewhere_are_refused_at_once_while_offline() -> None:
    with ragkit.offline():
        for address in ("http://192.0.2.1/v1", "https://example.org/v1"):
            model = OpenAIModel("m", base_url=address, backoff=30.0)
            begun = time.perf_counter()
            with pytest.raises(OfflineError, match=r"is not on this machine: network access to .* was refused: ragkit is offline"):
                model.generate(["x", "y"])
            with pytest.raises(OfflineError, match="not on this machine"):
                list(model.stream("x"))
            assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base_url": None}, "no key for https://api.openai.com/v1: set OPENAI_API_KEY"),
        ({"base_url": "localhost:8000"}, "base_url must be an address"),
        ({"api": "responses"}, "api must be one of chat, completions"),
        ({"timeout": 0}, "timeout must be > 0"),
        ({"concurrency": 0}, "concurrency >= 1"),
        ({"prices": (1.0,)}, "prices must be"),
        ({"without": "seed"}, "without must be a list of features"),
        ({"without": ["colour"]}, "without must be a list of features"),
        ({"extra": {"a": object()}}, "extra must be plain JSON"),
        ({"tokenizer": "nowhere"}, "tokenizer must be a folder"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        OpenAIModel("m", **({"base_url": "http://127.0.0.1:9/v1"} | settings))
    with pytest.raises(InputError, match="name on the server is empty"):
        OpenAIModel("", base_url="http://127.0.0.1:9/v1")


def test_wrong_calls() -> None:
    model = OpenAIModel("m", base_url="http://127.0.0.1:9/v1", without=["seed"])
    for prompt in ([], [("user", "x")], Message("user", "x"), 3, [Message("tool", "x")]):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="prompt 1 must be text or a list of Message"):
            model.generate(["x", prompt])  # type: ignore[list-item]
    with pytest.raises(InputError, match="stop must be a list of texts"):
        model.generate(["x"], stop="END")
    told = OpenAIModel("m", base_url="http://127.0.0.1:9/v1", api="completions")
    for single in ("Why?", Message("user", "x"), [Message("user", "x")], 3):
        for ask in (told.generate, lambda p: told.next_token_logprobs(p, [["A"]]), lambda p: told.continuation_logprobs(p, [" y"] * 4)):
            with pytest.raises(InputError, match="must be a list of prompts; put a single one into a list"):
                ask(single)  # type: ignore[operator]
    with pytest.raises(InputError, match="'constraint'"):
        model.generate(["x"], constraint=Choices(("a",)))
    with pytest.raises(InputError, match="'seed'"):
        model.stream("x", seed=1)
    with pytest.raises(InputError, match="'continuation'"):
        model.continuation_logprobs(["x"], ["y"])


def test_fingerprints_tell_models_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(model: str = "m", **settings: Any) -> str:
        return OpenAIModel(model, **({"base_url": "http://127.0.0.1:9/v1"} | settings)).fingerprint

    assert made() == made(api_key="k", timeout=1.0, retries=0, prices=(1, 1)) == made(base_url="http://127.0.0.1:9/v1/")
    others = [made("n"), made(base_url="http://127.0.0.1:8/v1"), made(api="completions"), made(extra={"top_k": 1}), made(prefill=True)]
    assert len({made(), *others}) == 6
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:7/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert OpenAIModel("m").base_url == "http://127.0.0.1:7/v1"
    assert llm("openai:m") is llm("openai:m")
    assert llm("openai:m").name == "openai:m"


class Reference:
    """The same weights in this process."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        self.model = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, dtype=torch.float32)

    def logprobs(self, text: str) -> tuple[list[int], Any]:
        """Tokens of a text, and the log-probabilities (L, V) of what follows each."""
        import torch

        ids = self.tokenizer(text)["input_ids"]
        with torch.no_grad():
            return ids, self.model(torch.tensor([ids])).logits[0].log_softmax(-1)


@pytest.fixture(scope="module")
def reference(served_folder: Path) -> Reference:
    return Reference(served_folder)


PROMPTS = ["The std::vector class", "The pump has two gaskets. The outer gasket"]


def test_log_probabilities_of_a_real_server_are_those_of_the_weights(llama_server: Server, reference: Reference) -> None:
    """llama.cpp over HTTP against transformers in this process: two implementations of one model."""
    spellings = [[" is", "is"], [" the", "the"], [" template"]]
    finite = 0
    for api, begin in (("completions", "{}"), ("chat", "User: {}\n\nAssistant:")):
        model = OpenAIModel("docs-7m", base_url=llama_server.base_url, api=api)  # type: ignore[arg-type]
        for p, row in zip(PROMPTS, model.next_token_logprobs(PROMPTS, spellings).logprobs, strict=True):
            last = reference.logprobs(begin.format(p))[1][-1]
            top = {reference.tokenizer.decode([i]): last[i].item() for i in last.topk(20).indices.tolist()}
            for c, got in zip(spellings, row, strict=True):
                assert got == pytest.approx(max(top.get(s, -np.inf) for s in c), abs=2e-3)
                finite += np.isfinite(got)
        written = model.generate(PROMPTS[:1], max_tokens=6, logprobs=True)[0]
        assert "".join(t.token for t in written.logprobs) == written.text
        ids, values = reference.logprobs(begin.format(PROMPTS[0]) + written.text)
        assert written.logprobs[-1].logprob == pytest.approx(values[-2, ids[-1]].item(), abs=2e-3)
    assert finite >= 3


def test_continuations_are_read_from_the_echo(make: Make, proxy: FaultProxy, reference: Reference, served_folder: Path) -> None:
    """The server tells no log-probabilities: the proxy adds those of the same weights, in OpenAI's form."""
    proxy.always = faults.telling_logprobs(served_folder)
    after = [" is a container that holds objects.", "s were replaced"]  # the second goes on within a word
    scored = make(api="completions", without=()).continuation_logprobs(PROMPTS, after)
    for p, c, got in zip(PROMPTS, after, scored.logprobs[:, 0], strict=True):
        ids, values = reference.logprobs(p + c)
        ends = np.cumsum([len(reference.tokenizer.decode([i])) for i in ids])
        wanted = np.mean([values[i - 1, ids[i]].item() for i in range(1, len(ids)) if ends[i] > len(p)])
        assert got == pytest.approx(wanted, abs=1e-4)
    assert (scored.usage.calls, scored.usage.generated_tokens) == (2, 2)


def test_shifted_log_probabilities_are_refused(llama_server: Server) -> None:
    """llama-cpp-python's own fault: it tells each echoed token's probability after the token itself."""
    model = OpenAIModel("docs-7m", base_url=llama_server.base_url, api="completions")
    with pytest.raises(ReplyError, match="one token too late"):
        model.continuation_logprobs(PROMPTS, [" is a container", " was replaced"])


def test_a_real_prompt_that_is_too_long(llama_server: Server) -> None:
    model = OpenAIModel("docs-7m", base_url=llama_server.base_url, api="completions")
    with pytest.raises(ContextOverflow, match="prompt 1 is longer than the model reads") as error:
        model.generate(["short", "a b c " * 400], max_tokens=10)
    assert (error.value.tokens > 1000, error.value.limit) == (True, 512)
