"""The official SDK, unmodified, sync and async, against the server over a real socket."""

from collections.abc import Iterator

import anthropic
import pytest

from antiphon.engines.stub import StubEngine
from tests.serving import Served, answering, serving_in_thread

ASK: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Hello"}]


def text_of(message: anthropic.types.Message) -> str:
    block = message.content[0]
    assert block.type == "text"
    return block.text


@pytest.fixture
def client(stub_server: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stub_server.url, api_key="any", max_retries=0) as client:
        yield client


def test_create(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="claude-sonnet-4-6", max_tokens=100, messages=ASK)

    assert text_of(message) == "Hello there."
    assert message.model == "claude-sonnet-4-6"
    assert message.stop_reason == "end_turn"
    assert message.id.startswith("msg_01")
    assert message._request_id is not None
    assert message._request_id.startswith("req_01")
    assert message.usage.output_tokens == len("Hello there.") + 1  # and the end of the turn


def test_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="m", max_tokens=100, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert text == "Hello there."
    assert text_of(final) == "Hello there."
    assert final.stop_reason == "end_turn"


def test_the_streamed_message_is_the_message(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model="m", max_tokens=5, messages=ASK)
    with client.messages.stream(model="m", max_tokens=5, messages=ASK) as stream:
        streamed = stream.get_final_message()

    exclude = {"id", "parsed_output"}
    assert streamed.to_dict().keys() == whole.to_dict().keys()
    assert streamed.model_dump(exclude=exclude)["usage"] == whole.model_dump()["usage"]
    assert text_of(streamed) == text_of(whole)
    assert streamed.stop_reason == whole.stop_reason == "max_tokens"


def test_raw_stream_events(client: anthropic.Anthropic) -> None:
    with client.messages.create(model="m", max_tokens=2, messages=ASK, stream=True) as events:
        kinds = [event.type for event in events]

    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_stop_sequence(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model="m", max_tokens=100, messages=ASK, stop_sequences=["there"]
    )

    assert text_of(message) == "Hello "
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "there")


def test_count_tokens(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="m", max_tokens=1, messages=ASK, system="Be kind.")
    count = client.messages.count_tokens(model="m", messages=ASK, system="Be kind.")

    assert count.input_tokens == message.usage.input_tokens


def test_models(client: anthropic.Anthropic) -> None:
    listed = list(client.models.list())

    assert [model.id for model in listed] == ["stub", "claude-local-stub"]
    assert client.models.retrieve("claude-sonnet-4-6").id == "claude-sonnet-4-6"
    assert client.models.retrieve("stub") == listed[0]


def test_errors_are_the_sdks_own_classes(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="m", max_tokens=-1, messages=ASK)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id is not None

    with pytest.raises(anthropic.NotFoundError):
        client.get("/v1/nothing", cast_to=object)


def test_sampling_parameters_through_extra_body(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model="m", max_tokens=100, messages=ASK, extra_body={"temperature": 0.2, "top_p": 0.9}
    )

    assert message.stop_reason == "end_turn"


def test_a_thread_begins_and_is_then_not_found(client: anthropic.Anthropic) -> None:
    def ask(thread: dict[str, str]) -> anthropic.types.Message:
        body = {"thread": thread}
        return client.messages.create(model="m", max_tokens=5, messages=ASK, extra_body=body)

    first = ask({"type": "create"})
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask({"type": "continue", "previous_message_id": first.id})
    assert "thread_not_found" in str(caught.value.body)


async def test_async(stub_server: Served) -> None:
    async with anthropic.AsyncAnthropic(base_url=stub_server.url, api_key="any") as client:
        message = await client.messages.create(model="m", max_tokens=100, messages=ASK)
        async with client.messages.stream(model="m", max_tokens=100, messages=ASK) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        count = await client.messages.count_tokens(model="m", messages=ASK)
        models = [model.id async for model in client.models.list()]

    assert text_of(message) == text == text_of(final) == "Hello there."
    assert count.input_tokens == message.usage.input_tokens
    assert models == ["stub", "claude-local-stub"]


def test_what_takes_too_long_is_the_sdks_own_timeout() -> None:
    with (
        serving_in_thread(StubEngine, request_timeout=0) as served,
        anthropic.Anthropic(base_url=served.url, api_key="any", max_retries=0) as client,
        pytest.raises(anthropic.GatewayTimeoutError, match="not complete within"),
    ):
        client.messages.create(model="m", max_tokens=10, messages=ASK)


def test_an_error_mid_stream_reaches_the_program() -> None:
    endless = "word " * 100_000

    def make_engine() -> StubEngine:
        return StubEngine(context_len=1_000_000, reply=answering(endless))

    with (
        serving_in_thread(make_engine) as served,
        anthropic.Anthropic(base_url=served.url, api_key="any", max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=500_000, messages=ASK) as stream,
    ):
        pieces = iter(stream.text_stream)
        next(pieces)
        served.close_engine()
        with pytest.raises(anthropic.APIStatusError, match="shutting down"):
            for _ in pieces:
                pass
