"""The model's own Jinja chat template, run in a sandbox with limits on what it can produce.

Templates come from the operator's model file only, never from a request; the sandbox is there
because model files are downloaded from strangers. The environment is the one of Hugging Face
transformers, for which these templates are written.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from antiphon.errors import InvalidRequestError, StartupError

OUTPUT_CHARS_MAX = 64 * 1024 * 1024  # twice the largest request body
TEMPLATE_ERRORS = (  # what a template that was written for other inputs can raise
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
DICT_ATTRIBUTES = frozenset(dir(dict))
REPEAT_MAX = 1_000_000  # characters or items that `*` may make inside a template

CHATML = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""  # for model files without a template


class ChatTemplate:
    """Renders messages to text. Safe to use from several threads."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        """
        Raises:
            StartupError: `source` is not a valid template.
        """
        self.source = source
        self._globals = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = _environment().from_string(source)
            # Every rendering copies them, and from the chain of maps that they are that is slow.
            self._template.globals = dict(self._template.globals)
        except TemplateSyntaxError as error:
            raise StartupError(
                f"The chat template in the model file is not valid: {error}."
            ) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        thinking: bool = False,
    ) -> str:
        """Render `messages` and the opening of the next answer. A message has `role` and string
        `content`, an assistant's perhaps `tool_calls`, a tool's `name` and `tool_call_id`.

        Raises:
            InvalidRequestError: the template refuses this conversation, or grows over a limit.
        """
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(
                messages=[dict(message) for message in messages],
                tools=None if tools is None else [dict(tool) for tool in tools],
                add_generation_prompt=True,
                enable_thinking=thinking,
                thinking=thinking,  # as some families call it
                **self._globals,
            ):
                size += len(piece)
                if size > OUTPUT_CHARS_MAX:
                    raise SecurityError("the rendered prompt is too large")
                pieces.append(piece)
        except TEMPLATE_ERRORS as error:
            raise InvalidRequestError(
                f"messages: the model's chat template cannot render this conversation: {error}"
            ) from error
        return "".join(pieces)


class _Environment(ImmutableSandboxedEnvironment):
    """`range` is limited by jinja2 itself; `*` and `**` are limited here."""

    intercepted_binops = frozenset(["*", "**"])

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A dictionary's item, where it has no such attribute: without trying that first, which is
        most of what rendering a long conversation takes."""
        if type(obj) is dict and attribute in obj and attribute not in DICT_ATTRIBUTES:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("powers are not allowed in a chat template")
        for text, times in ((left, right), (right, left)):
            is_repeat = isinstance(text, str | list | tuple) and isinstance(times, int)
            if is_repeat and len(text) * times > REPEAT_MAX:
                raise SecurityError("the chat template repeats a text too often")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Environment:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    """As transformers does it: readable text, not jinja2's HTML-safe escapes."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)
