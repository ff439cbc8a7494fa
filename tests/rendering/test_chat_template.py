"""Chat templates run in a sandbox: they see the conversation and nothing else."""

import pytest

from antiphon.errors import InvalidRequestError, StartupError
from antiphon.rendering.chat_template import CHATML, ChatTemplate

HELLO = [{"role": "user", "content": "Hello"}]


def test_chatml() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Bye"},
    ]

    assert ChatTemplate(CHATML).render(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi.<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_what_templates_of_model_families_use_is_there() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}"
        "{{ m['content'] | trim }}{% endfor %}{{ {'a': 'é<'} | tojson }}{{ eos_token }}"
        "{{ strftime_now('%Y') | length }}{{ enable_thinking }}{{ tools is none }}"
    )
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")

    assert template.render([*HELLO, {"role": "user", "content": " x "}]) == (
        '<s>x{"a": "é<"}</s>4FalseTrue'
    )


def test_methods_of_a_message_go_before_its_items_as_in_jinja() -> None:
    source = (
        "{% for m in messages %}{{ m.get('role') }} {{ m.items() | length }}{{ m.no }}{% endfor %}"
    )
    message = {"role": "user", "items": 7, "content": "x"}
    assert ChatTemplate(source).render([message]) == "user 3"


def test_a_template_that_refuses_gives_its_reason_to_the_client() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")

    with pytest.raises(InvalidRequestError, match="roles must alternate"):
        template.render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'content': 'x'}) }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{{ 'x' * 100000000 }}",
        "{{ 10 ** 100000000 }}",
        "{% for i in range(90000) %}{{ 'x' * 999999 }}{% endfor %}",
        "{{ messages.nothing.at.all }}",
        "{{ 1 / 0 }}",
        "{{ messages[7]['role'] + 1 }}",
    ],
)
def test_a_hostile_or_broken_template_is_an_error_and_nothing_else(source: str) -> None:
    with pytest.raises(InvalidRequestError, match="chat template"):
        ChatTemplate(source).render(HELLO)


def test_a_template_that_does_not_parse_keeps_the_server_from_starting() -> None:
    with pytest.raises(StartupError, match="chat template in the model file is not valid"):
        ChatTemplate("{% for %}")
