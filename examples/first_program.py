"""The smallest conversation by hand: the list of messages grows, and the server keeps nothing."""

import anthropic

client = anthropic.Anthropic()  # reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY
messages: list[anthropic.types.MessageParam] = []


def chat(user_text: str) -> str:
    messages.append({"role": "user", "content": user_text})
    response = client.messages.create(model="claude-sonnet-4-6", max_tokens=1024, messages=messages)
    if response.stop_reason == "max_tokens":
        raise RuntimeError("the answer was cut: raise max_tokens")
    block = response.content[0]
    assert block.type == "text"
    messages.append({"role": "assistant", "content": block.text})
    return block.text


print(chat("What is a monad?"))
print(chat("Give me a concrete example in Python."))
