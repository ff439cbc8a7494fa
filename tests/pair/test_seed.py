"""The program of the Messages API chapter, verbatim, against a real server and a real model.

Both are processes of their own. The program knows nothing but two environment variables.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

FIRST_PROGRAM = """\
import anthropic
client = anthropic.Anthropic() # reads ANTHROPIC_API_KEY from env
response = client.messages.create(
    model="claude-sonnet-4-6",
    max_tokens=1024,
    messages=[
        {"role": "user", "content": "What is a transformer architecture?"}
    ]
)
print(response.content[0].text)
"""

SECOND_PROGRAM = """\
import anthropic
client = anthropic.Anthropic()
messages = []
def chat(user_text):
    messages.append({"role": "user", "content": user_text})
    response = client.messages.create(
        model="claude-sonnet-4-6",
        max_tokens=1024,
        messages=messages
    )
    assistant_text = response.content[0].text
    messages.append({"role": "assistant", "content": assistant_text})
    return assistant_text
print(chat("What is a monad?"))
print(chat("Give me a concrete example in Python."))
"""

RESPONSE_FIELDS = """\
response.id # unique message ID
response.model # model that generated the response
response.stop_reason # "end_turn" | "max_tokens" | "stop_sequence" | "tool_use"
response.content # list of content blocks
response.usage.input_tokens
response.usage.output_tokens
# Extract text from the first content block:
text = response.content[0].text
assert response.stop_reason == "end_turn", response.stop_reason
"""


@contextmanager
def running_server(*arguments: str) -> Iterator[dict[str, str]]:
    """`antiphon serve` as a user starts it; yields the two variables that it says to export."""
    command = [sys.executable, "-m", "antiphon", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline().startswith("Antiphon is ready: http://127.0.0.1:")
            exports = [server.stdout.readline().removeprefix("export ") for _ in range(2)]
            yield dict(line.strip().split("=", 1) for line in exports)
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    with running_server() as variables:
        yield variables


def run(program: str, variables: dict[str, str]) -> str:
    environment = {"PATH": os.environ["PATH"], **variables}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=90
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_first_program_prints_what_a_transformer_is(variables: dict[str, str]) -> None:
    answer = run(FIRST_PROGRAM + RESPONSE_FIELDS, variables)

    assert "attention" in answer
    assert "layer" in answer


def test_chat_remembers_the_first_turn_in_the_second(variables: dict[str, str]) -> None:
    answer = run(SECOND_PROGRAM, variables)

    definition, fence, example = answer.partition("```python")
    assert "monad" in definition.lower()
    assert fence, "the second answer is an example in Python"
    assert "def " in example


def test_the_second_turn_depends_on_the_first(variables: dict[str, str]) -> None:
    other = SECOND_PROGRAM.replace("What is a monad?", "What is a closure?")

    monad, closure = run(SECOND_PROGRAM, variables), run(other, variables)

    assert monad.partition("```python")[2] != closure.partition("```python")[2]
