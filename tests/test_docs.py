"""The documents tell the truth: every field has its row, every text of a row its code."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from antiphon.backends.support import reject_unsupported
from antiphon.errors import InvalidRequestError
from antiphon.wire.content import ContentBlockParam
from antiphon.wire.messages import CreateMessage
from antiphon.wire.validation import decode

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
MINIMAL = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}

# A value of each rejected field that a client could send.
REJECTED: dict[str, Any] = {
    "output_format": {"type": "json_schema", "schema": {"type": "object"}},
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "thread": {"type": "create"},
    "mcp_servers": [{"type": "url", "url": "https://example.org", "name": "n"}],
    "compaction": {"type": "summarize"},
    "safeguards": {"x": 1},
}


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def field_rows() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ?(.*) ?\|$", section(FIELDS), flags=re.MULTILINE)
    return {name: (status, text) for name, status, text in rows}


FIELDS = "Body fields of `create` and `count_tokens`"


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    assert set(field_rows()) == set(CreateMessage.__struct_fields__)


def test_the_rejected_fields_are_the_ones_with_400() -> None:
    assert {name for name, (status, _) in field_rows().items() if status == "400"} == set(REJECTED)


@pytest.mark.parametrize("name", REJECTED)
def test_a_rejected_field_is_answered_with_the_text_of_its_row(name: str) -> None:
    request = msgspec.structs.replace(
        decode(json.dumps(MINIMAL).encode(), CreateMessage), **{name: REJECTED[name]}
    )
    with pytest.raises(InvalidRequestError) as caught:
        reject_unsupported(request)

    promised = field_rows()[name][1].split("`")[1].removesuffix("…")
    assert caught.value.message.startswith(promised)


def test_ignored_fields_are_accepted() -> None:
    reject_unsupported(decode(json.dumps(MINIMAL).encode(), CreateMessage))


def block_tags() -> set[str]:
    return {str(kind.__struct_config__.tag) for kind in get_args(ContentBlockParam)}


def test_every_block_has_a_row() -> None:
    listed = set(re.findall(r"`(\w+)`", section("Content blocks")))

    assert block_tags() <= listed


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_files_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), f"{page} links to {link}"


def test_the_changelog_knows_this_version() -> None:
    from antiphon import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
