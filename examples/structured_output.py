"""Data instead of prose: the answer fits a schema, because a grammar holds it to it."""

import anthropic
from pydantic import BaseModel

from antiphon import Conversation


class Answer(BaseModel):
    word: str
    is_noun: bool
    letters: int


chat = Conversation(
    "claude-sonnet-4-6",
    max_tokens=500,
    output_config={"format": {"type": "json_schema", "schema": anthropic.transform_schema(Answer)}},
)
answer = Answer.model_validate_json(chat.say("Tell me about the word 'token'.").text)
print(f"{answer.word}: {'a noun' if answer.is_noun else 'no noun'}, {answer.letters} letters")
