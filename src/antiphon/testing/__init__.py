"""For tests of your own agents: the real server on a free port, with scripted replies.

    from antiphon.testing import scripted_server

    with scripted_server({"replies": [{"reply": "Hello!"}]}) as server:
        client = anthropic.Anthropic(base_url=server.url, api_key="test")

With pytest there is a fixture for it, `antiphon_server` (see `plugin.py`).
"""

from antiphon.testing.server import ScriptedServer, scripted_server

__all__ = ["ScriptedServer", "scripted_server"]
