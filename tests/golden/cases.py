"""Requests whose whole answers stand byte for byte in tests/golden/NAME.txt.

The engine behind them is the stub; what it answers is part of the case. After a change that is
meant, `make test ARGS=--update-golden` writes the files anew, and the diff shows what clients see.
"""

from dataclasses import dataclass, field
from typing import Any

HELLO = [{"role": "user", "content": "Hello"}]
MINIMAL = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": HELLO}


@dataclass(frozen=True)
class Case:
    body: dict[str, Any] | bytes | None = None
    method: str = "POST"
    path: str = "/v1/messages"
    reply: str = "Hello there."
    headers: dict[str, str] = field(default_factory=dict)
    api_keys: tuple[str, ...] = ()
    strict_models: bool = False
    context_len: int = 8192
    is_closing: bool = False
    fails_after: int | None = None  # tokens after which the engine breaks
    request_timeout: int | None = None
    is_busy: bool = False  # somebody else has the only slot


CASES = {
    "minimal": Case(MINIMAL),
    "stream": Case({**MINIMAL, "stream": True}, reply="Hé!"),
    "stop_sequence": Case({**MINIMAL, "stop_sequences": ["END"]}, reply="one END two"),
    "stop_sequence_stream": Case(
        {**MINIMAL, "stop_sequences": ["o t"], "stream": True}, reply="one two three"
    ),
    "max_tokens": Case({**MINIMAL, "max_tokens": 3}),
    "max_tokens_stream": Case({**MINIMAL, "max_tokens": 3, "stream": True}),
    "max_tokens_zero": Case({**MINIMAL, "max_tokens": 0}),
    "empty_answer": Case(MINIMAL, reply=""),
    "context_window_full": Case({**MINIMAL, "max_tokens": 99_999}, context_len=30),
    "count_tokens": Case({"model": "m", "messages": HELLO}, path="/v1/messages/count_tokens"),
    "models": Case(method="GET", path="/v1/models"),
    "model_alias": Case(method="GET", path="/v1/models/claude-sonnet-4-6"),
    "error_missing_field": Case({"model": "m", "messages": HELLO}),
    "error_no_messages": Case({**MINIMAL, "messages": []}),
    "error_not_json": Case(b'{"model": "m",'),
    "error_not_an_object": Case(b"[1, 2]"),
    "error_wrong_content_type": Case(b"model=m", headers={"content-type": "text/plain"}),
    "error_prompt_too_long": Case(
        {**MINIMAL, "messages": [{"role": "user", "content": "x" * 60}]}, context_len=64
    ),
    "error_server_tool_not_supported": Case(
        {**MINIMAL, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    ),
    "error_image_not_supported": Case(
        {
            **MINIMAL,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "look"},
                        {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
                    ],
                }
            ],
        }
    ),
    "thread_created": Case({**MINIMAL, "thread": {"type": "create"}}),
    "error_thread_continued": Case(
        {**MINIMAL, "thread": {"type": "continue", "previous_message_id": "msg_1"}}
    ),
    "error_unknown_path": Case(method="GET", path="/v1/nothing"),
    "error_v1_twice": Case(MINIMAL, path="/v1/v1/messages"),
    "error_method": Case(method="GET", path="/v1/messages"),
    "error_model_strict": Case(MINIMAL, strict_models=True),
    "error_no_key": Case(MINIMAL, api_keys=("sk-1",)),
    "error_wrong_key": Case(MINIMAL, api_keys=("sk-1",), headers={"x-api-key": "sk-2"}),
    "error_wrong_bearer": Case(
        MINIMAL, api_keys=("sk-1",), headers={"authorization": "Bearer sk-2"}
    ),
    "error_stopping": Case(MINIMAL, is_closing=True),
    "error_engine": Case(MINIMAL, fails_after=0),
    "error_mid_stream": Case({**MINIMAL, "stream": True}, fails_after=2),
    "error_timeout_waiting": Case({**MINIMAL, "stream": True}, request_timeout=0, is_busy=True),
    "error_timeout_mid_stream": Case({**MINIMAL, "stream": True}, request_timeout=0),
}
