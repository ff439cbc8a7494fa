"""An agent: plain functions are tools, a person allows what they do."""

import sys
from datetime import date, timedelta

from antiphon import Conversation


def days_from_today(days: int) -> str:
    """The date so many days from today.

    Args:
        days: How many days; negative ones are in the past.
    """
    return str(date.today() + timedelta(days=days))


def get_weather(city: str) -> dict[str, object]:
    """The weather in a city now."""
    if not city.strip():
        raise ValueError("which city?")  # the model is told, and may try again
    return {"city": city, "sky": "clear", "degrees": 21}


def confirm(name: str, input: object) -> bool:
    print(f"[{name} {input}]", file=sys.stderr)
    return True  # or ask somebody; a text says why not


agent = Conversation(
    "claude-sonnet-4-6",
    tools=[days_from_today, get_weather],
    confirm=confirm,
    tool_rounds=5,
    tool_seconds=30,
)
print(agent.say("What is the weather in Paris?").text)
