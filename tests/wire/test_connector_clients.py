"""Third-party clients that call an upstream through a tenant's connector."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic
from notion_client import APIResponseError
from notion_client import AsyncClient as Notion
from notion_client.errors import RequestTimeoutError
from openai import AsyncOpenAI

from pandium import AsyncPandium, ConnectionLost
from pandium.emulator import UpstreamFailure
from support import KEY
from support.servers import Misbehaving, reset, stall_before_the_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anthropic.types import MessageParam
    from openai.types.chat import ChatCompletionUserMessageParam

    from pandium.emulator import Emulator
    from support.upstreams import Upstream

pytestmark = pytest.mark.anyio

TOKEN = "a token that is dropped"


@pytest.fixture
async def http2(client: AsyncPandium, upstream: Upstream) -> AsyncIterator[httpx2.AsyncClient]:
    transport = client.connectors.transport(1, "crm")
    async with httpx2.AsyncClient(transport=transport) as http:
        yield http


# notion-client, which is built on httpx


@pytest.fixture
async def notion(client: AsyncPandium, upstream: Upstream) -> AsyncIterator[Notion]:
    transport = client.connectors.transport(1, "crm")
    notion_client = Notion(
        auth=TOKEN,
        client=httpx.AsyncClient(transport=transport),
        logger=logging.getLogger("tests"),
        timeout_ms=200,
    )
    yield notion_client
    await notion_client.aclose()


async def test_a_library_reads_and_writes_through_the_proxy(
    notion: Notion, upstream: Upstream
) -> None:
    """A library built on httpx reads and writes through the proxy."""
    upstream.data = {"object": "page", "id": "7"}
    assert await notion.pages.create(parent={"page_id": "1"}, properties={}) == upstream.data
    assert upstream.last.url == "https://api.notion.com/v1/pages"
    assert upstream.last.body == {"parent": {"page_id": "1"}, "properties": {}}
    assert "notion-version" in dict(upstream.last.headers or {})
    await notion.users.list(page_size=2)
    assert upstream.last.query_params == {"page_size": "2"}


async def test_a_library_raises_its_own_errors(notion: Notion, upstream: Upstream) -> None:
    """An upstream error becomes an error of the library."""
    upstream.data = UpstreamFailure(404, {"code": "object_not_found", "message": "no page 7"})
    with pytest.raises(APIResponseError, match="no page 7") as caught:
        await notion.pages.retrieve("7")
    assert caught.value.code == "object_not_found"


async def test_a_library_recognizes_its_own_timeout() -> None:
    """A request that exceeds the library's timeout raises a timeout error of the library."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            http = httpx.AsyncClient(transport=client.connectors.transport(1, "crm"))
            notion = Notion(client=http, logger=logging.getLogger("tests"), timeout_ms=50)
            with pytest.raises(RequestTimeoutError):
                await notion.pages.retrieve("7")
            await notion.aclose()


async def test_notion_cannot_upload_files(notion: Notion, emulator: Emulator) -> None:
    """A rejected upload states what the proxy does not support. Nothing is sent."""
    with pytest.raises(httpx.UnsupportedProtocol, match="multipart/form-data"):
        await notion.file_uploads.send("7", file=("a.txt", b"a", "text/plain"))
    assert not list(emulator.requests)


# openai, which is built on httpx2

CHUNKS = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Hel", "lo")]
QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "Hi"}


@pytest.fixture
def gpt(http2: httpx2.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=TOKEN, http_client=http2, max_retries=0)


async def test_openai_reads_and_writes_through_the_proxy(
    gpt: AsyncOpenAI, upstream: Upstream
) -> None:
    """The client of OpenAI sends and reads JSON through the proxy, without its own credentials."""
    upstream.data = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}
    completion = await gpt.chat.completions.create(model="m", messages=[QUESTION])
    assert completion.choices[0].message.content == "Hi"
    assert upstream.last.url == "https://api.openai.com/v1/chat/completions"
    assert upstream.last.body == {"model": "m", "messages": [QUESTION]}
    assert TOKEN not in repr(upstream.requests)


async def test_openai_reads_a_stream_of_text(gpt: AsyncOpenAI, upstream: Upstream) -> None:
    """Server-sent events that the proxy returns as text are read as a stream."""
    upstream.data = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS) + "data: [DONE]\n"
    stream = await gpt.chat.completions.create(model="m", messages=[QUESTION], stream=True)
    assert [chunk.choices[0].delta.content async for chunk in stream] == ["Hel", "lo"]


async def test_openai_raises_its_own_errors(gpt: AsyncOpenAI, upstream: Upstream) -> None:
    """An upstream error becomes an error of OpenAI's client."""
    upstream.data = UpstreamFailure(429, {"error": {"message": "slow down", "code": "rate"}})
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        await gpt.models.list()
    assert caught.value.code == "rate"


async def test_openai_cannot_upload_files(
    gpt: AsyncOpenAI, upstream: Upstream, emulator: Emulator
) -> None:
    """The cause of a rejected upload states what the proxy does not support. Nothing is sent."""
    with pytest.raises(openai.APIConnectionError) as caught:
        await gpt.files.create(file=b"a", purpose="batch")
    assert type(caught.value.__cause__) is httpx2.UnsupportedProtocol
    assert "multipart/form-data" in str(caught.value.__cause__)
    assert not list(emulator.requests)


async def test_openai_reports_a_lost_response_once() -> None:
    """A lost response is an error of OpenAI's client, and the request is not repeated."""
    with Misbehaving(otherwise=reset("all")) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            http = httpx2.AsyncClient(transport=client.connectors.transport(1, "crm"))
            async with AsyncOpenAI(api_key=TOKEN, http_client=http, max_retries=0) as gpt:
                with pytest.raises(openai.APIConnectionError) as caught:
                    await gpt.chat.completions.create(model="m", messages=[QUESTION])
    cause = caught.value.__cause__
    assert type(cause) is httpx2.ReadError
    assert isinstance(cause.__cause__, ConnectionLost)
    assert server.seen == 1


async def test_a_transport_is_not_a_client(client: AsyncPandium) -> None:
    """A library that gets the transport in place of a client raises an error that says so."""
    transport: Any = client.connectors.transport(1, "crm")
    with pytest.raises(AttributeError, match=r"pass httpx.AsyncClient\(transport=…\)"):
        AsyncOpenAI(api_key=TOKEN, http_client=transport)
    with pytest.raises(TypeError, match="http_client"):
        AsyncAnthropic(api_key=TOKEN, http_client=transport)


# anthropic, which is built on httpx2

MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "Hello"}],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
TEXT = {"type": "text", "text": ""}
DELTA = {"type": "text_delta", "text": "Hello"}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": TEXT},
    {"type": "content_block_delta", "index": 0, "delta": DELTA},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_stop"},
]
PROMPT: MessageParam = {"role": "user", "content": "Hi"}


@pytest.fixture
def claude(http2: httpx2.AsyncClient) -> AsyncAnthropic:
    return AsyncAnthropic(api_key=TOKEN, http_client=http2, max_retries=0)


async def test_anthropic_reads_and_writes_through_the_proxy(
    claude: AsyncAnthropic, upstream: Upstream
) -> None:
    """The client of Anthropic sends and reads JSON through the proxy, without its credentials."""
    upstream.data = MESSAGE
    message = await claude.messages.create(model="m", max_tokens=9, messages=[PROMPT])
    assert message.content[0].to_dict() == MESSAGE["content"][0]  # type: ignore[index]  # JSON
    assert upstream.last.url == "https://api.anthropic.com/v1/messages"
    assert upstream.last.body == {"model": "m", "max_tokens": 9, "messages": [PROMPT]}
    assert TOKEN not in repr(upstream.requests)


async def test_anthropic_reads_a_stream_of_text(claude: AsyncAnthropic, upstream: Upstream) -> None:
    """Server-sent events that the proxy returns as text are read as a stream."""
    events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS]
    upstream.data = "".join(events)
    async with claude.messages.stream(model="m", max_tokens=9, messages=[PROMPT]) as stream:
        assert [text async for text in stream.text_stream] == ["Hello"]


async def test_anthropic_raises_its_own_errors(claude: AsyncAnthropic, upstream: Upstream) -> None:
    """An upstream error becomes an error of Anthropic's client."""
    error = {"type": "invalid_request_error", "message": "no such model"}
    upstream.data = UpstreamFailure(400, {"type": "error", "error": error})
    with pytest.raises(anthropic.BadRequestError, match="no such model"):
        await claude.messages.create(model="m", max_tokens=9, messages=[PROMPT])


async def test_anthropic_cannot_upload_files(
    claude: AsyncAnthropic, upstream: Upstream, emulator: Emulator
) -> None:
    """The cause of a rejected upload states what the proxy does not support. Nothing is sent."""
    with pytest.raises(anthropic.APIConnectionError) as caught:
        await claude.beta.files.upload(file=("a.txt", b"a", "text/plain"))
    assert type(caught.value.__cause__) is httpx2.UnsupportedProtocol
    assert "multipart/form-data" in str(caught.value.__cause__)
    assert not list(emulator.requests)
