"""A pytest plugin, registered by installing Antiphon: the fixture `antiphon_server`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from antiphon.testing.server import ScriptedServer, scripted_server

StartServer = Callable[[str | Path | Mapping[str, Any]], ScriptedServer]


@pytest.fixture
def antiphon_server() -> Iterator[StartServer]:
    """Call it with a script to start a server that lives as long as the test.

    def test_my_agent(antiphon_server):
        server = antiphon_server({"replies": [{"reply": "Hello!"}]})
        client = Anthropic(base_url=server.url, api_key="test")
    """
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(scripted_server(script))
