"""An agent tested without a model: `pytest examples/test_agent.py`."""

import anthropic

from antiphon import Conversation
from antiphon.testing.plugin import StartServer

SCRIPT = {
    "replies": [
        {"match": {"text": "weather"}, "reply": [
            {"tool_use": {"name": "get_weather", "input": {"city": "Paris"}}},
        ]},
        {"match": {"tool_result": "storm"}, "reply": "Stay at home."},
        {"match": {"tool_result": "sunny"}, "reply": "Take sunglasses."},
    ]
}  # fmt: skip


def agent(client: anthropic.Anthropic, sky: str) -> Conversation:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"{sky} in {city}"

    return Conversation("any", client, tools=[get_weather])


def test_it_looks_before_it_advises(antiphon_server: StartServer) -> None:
    server = antiphon_server(SCRIPT)
    with anthropic.Anthropic(base_url=server.url, api_key="test") as client:
        assert agent(client, "storm").say("How is the weather?").text == "Stay at home."
        assert agent(client, "sunny").say("How is the weather?").text == "Take sunglasses."

    first = server.requests[0]
    assert first["tools"][0]["name"] == "get_weather"
    results = server.requests[1]["messages"][-1]["content"]
    assert results[0]["content"] == "storm in Paris"
