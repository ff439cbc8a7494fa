"""Answers that a grammar holds are valid by another judge: the jsonschema library."""

import json
import random
from typing import Any

import jsonschema
import pytest

from antiphon.engines.stub import SPECIAL_TOKENS, ByteTokenizer
from antiphon.errors import InvalidRequestError
from antiphon.grammar.answers import json_only
from antiphon.grammar.json_schema import enforceable, rule
from antiphon.grammar.matcher import GrammarError, Vocabulary

VOCABULARY = Vocabulary(ByteTokenizer(), 256 + len(SPECIAL_TOKENS), [256, 258])
LENGTH_MAX = 3000
CLOSING = tuple(b'"]}')
INTEGER_A = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def written(schema: Any, draw: random.Random) -> str:
    """What a model without any sense writes within the grammar: bytes at random, but inclined to
    come to an end."""
    lark = json_only(json.dumps(rule(enforceable(schema, "schema", closed=True))))
    matcher = VOCABULARY.compile(lark)
    tokens: list[int] = []
    while len(tokens) < LENGTH_MAX:
        allowed = matcher.allowed()
        assert all(matcher.allows(token) for token in draw.sample(allowed, min(5, len(allowed))))
        closing = [token for token in allowed if token in CLOSING or token >= 256]
        printable = [token for token in allowed if 32 <= token < 127]
        token = draw.choice(closing if closing and draw.random() < 0.4 else printable or allowed)
        matcher.advance([token])
        if token >= 256:
            return bytes(tokens).decode()
        tokens.append(token)
    raise AssertionError("it does not end")


def random_schema(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const"]
    if depth < 3:
        kinds += ["object", "object", "array", "anyOf"]
    match draw.choice(kinds):
        case "string":
            bounds = {"minLength": draw.randint(0, 3), "maxLength": draw.randint(3, 12)}
            return {"type": "string", **(bounds if draw.random() < 0.5 else {})}
        case "integer":
            low = draw.randint(-50, 50)
            bounds = {"minimum": low, "maximum": low + draw.randint(0, 100)}
            return {"type": "integer", **(bounds if draw.random() < 0.5 else {})}
        case "enum":
            return {"enum": draw.sample(["a", "b c", 5, None, True, 1.5], draw.randint(1, 4))}
        case "const":
            return {"const": draw.choice(["x", 7, False])}
        case "object":
            names = draw.sample(["a", "b", "c d", "é", "id"], draw.randint(0, 4))
            properties = {name: random_schema(draw, depth + 1) for name in names}
            required = [name for name in names if draw.random() < 0.5]
            return {"type": "object", "properties": properties, "required": required}
        case "array":
            low = draw.randint(0, 2)
            bounds = {"minItems": low, "maxItems": low + draw.randint(0, 3)}
            return {"type": "array", "items": random_schema(draw, depth + 1), **bounds}
        case "anyOf":
            return {"anyOf": [random_schema(draw, depth + 1) for _ in range(draw.randint(1, 3))]}
        case kind:
            return {"type": kind}


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_written_fits_the_schema(seed: int) -> None:
    draw = random.Random(seed)
    schema = random_schema(draw)
    for _ in range(3):
        value = json.loads(written(schema, draw))
        jsonschema.validate(value, schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": "^[a-c]{2,4}$"},
        {"$ref": "#/$defs/node", "$defs": {"node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["next"],
        }}},
        {"allOf": [INTEGER_A]},
        {"type": ["string", "null"], "maxLength": 4},
        {
            "$schema": "http://json-schema.org/draft-07/schema#", "title": "T", "type": "object",
            "properties": {"a": {"type": "string", "maxLength": 3, "description": "d"}},
        },
    ],
)  # fmt: skip
def test_shapes_that_clients_send(schema: dict[str, Any]) -> None:
    for seed in range(10):
        value = json.loads(written(schema, random.Random(seed)))
        jsonschema.validate(value, schema)


def test_required_properties_come_first_and_no_others_are_made_up() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "required": ["b"],
    }
    answers = {written(schema, random.Random(seed)) for seed in range(30)}

    assert {json.dumps(json.loads(answer)) for answer in answers} == {
        '{"b": null}', '{"b": null, "a": null}',
    }  # fmt: skip


def test_an_integer_without_bounds_ends_somewhere() -> None:
    for seed in range(20):
        assert abs(json.loads(written({"type": "integer"}, random.Random(seed)))) <= 2**53


def test_what_is_no_schema_allows_everything_and_unknown_keywords_are_left_out() -> None:
    assert enforceable("text", "s", closed=True) is True
    assert enforceable({"x-mine": 1, "type": "null", "examples": [1]}, "s", closed=True) == {
        "type": "null"
    }
    assert enforceable({"type": "string", "format": "phone"}, "s", closed=True) == {
        "type": "string"
    }


@pytest.mark.parametrize("keyword", ["not", "if", "contains", "dependentRequired"])
def test_known_keywords_that_cannot_be_enforced_are_named(keyword: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"s.items.{keyword}: '{keyword}' cannot be"):
        enforceable({"items": {keyword: {"type": "null"}}}, "s", closed=True)


def test_a_grammar_that_does_not_compile_says_why() -> None:
    with pytest.raises(GrammarError, match="lexer error"):
        VOCABULARY.compile('start: "')


def test_forced_tokens_are_the_only_ones_and_the_end_is_one_of_them() -> None:
    matcher = VOCABULARY.compile('start: "abc"')

    assert matcher.forced() == list(b"abc")
    matcher.advance(b"abc")
    assert matcher.forced() == [256]
    assert matcher.allows(258)  # any end of generation will do
    assert not matcher.allows(ord("d"))
    assert set(matcher.allowed()) == {256, 258}


def test_two_answers_do_not_share_their_place() -> None:
    one = VOCABULARY.compile('start: "ab"')
    two = one.fresh()
    one.advance(b"a")

    assert two.allows(ord("a"))
    assert one.allows(ord("b"))
