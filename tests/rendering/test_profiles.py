"""A template is tried once to see where it keeps system turns."""

import pytest

from antiphon.rendering.chat_template import CHATML, ChatTemplate
from antiphon.rendering.profiles import SystemTurns, probe

FIRST_ONLY = (
    "{% if messages[0].role == 'system' %}[{{ messages[0].content }}]{% endif %}"
    "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
REFUSING = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHATML, SystemTurns.ANYWHERE),
        (FIRST_ONLY, SystemTurns.FIRST),
        (REFUSING, SystemTurns.NEVER),
        ("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}", "never"),
    ],
)
def test_probe(source: str, expected: SystemTurns) -> None:
    assert probe(ChatTemplate(source)).system_turns == expected
