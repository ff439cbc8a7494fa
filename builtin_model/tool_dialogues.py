"""Dialogues in which the model calls tools: choosing one, copying arguments, using results.

The format is that of chat_template.jinja: calls as JSON between `<tool_call>` tags, results as the
user's turn between `<tool_response>` tags. Names, arguments and values are drawn so widely that
copying them is the only way to be right.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from words import ANIMALS, COLOURS, FOODS, HOBBIES, JOBS, THINGS, Words

Turn = tuple[str, str]
Tool = dict[str, Any]

VERBS = """
get find look_up lookup fetch read check query show search list compute calculate convert count
create add send set update open start stop delete write save load measure test book order move
""".split()
NOUNS = """
weather price stock balance time date score status address phone_number email temperature speed
distance weight size colour name owner author title version length width height age capacity level
rating review menu recipe schedule route flight train bus hotel room table ticket order invoice
account user customer employee project task note message reminder event meeting document file folder
image song album movie book page article word definition translation synonym country city river
mountain planet star animal plant medicine doctor hospital school course grade student teacher
license key password setting option device sensor battery network server database record table_row
""".split()
SKIES = "sunny cloudy rainy windy foggy clear stormy snowy cold warm mild dry".split()
NUMBER_TYPES = ("number", "integer")
ERRORS = [
    "not found", "no such entry", "connection lost", "time is over", "permission denied",
    "unknown value", "service not available", "bad argument", "limit reached",
]  # fmt: skip


@dataclass
class Call:
    """One call that a question asks for, and what comes back."""

    tool: Tool
    arguments: dict[str, Any]
    result: str

    def text(self) -> str:
        body = json.dumps(
            {"name": self.tool["function"]["name"], "arguments": self.arguments},
            ensure_ascii=False,
        )
        return f"<tool_call>\n{body}\n</tool_call>"


@dataclass
class Need:
    """A question, the calls that it needs at once, and the answer when they are done."""

    question: str
    calls: list[Call]
    answer: str


def response(*results: str) -> str:
    return "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in results)


class ToolGenerator:
    """Draws what has to do with tools; `tools` of a dialogue stand in its system turn."""

    def __init__(self, rng: random.Random, words: Words) -> None:
        self._rng = rng
        self._words = words

    def dialogue(self, unneeded: Callable[[], list[Turn]]) -> tuple[list[Tool], list[Turn]]:
        """Tools and turns. `unneeded` makes turns that need no tool."""
        r = self._rng
        draw = r.random()
        if draw < 0.12:
            tools = [self.definition(self._name()) for _ in range(r.choice([1, 2, 3]))]
            return tools, unneeded()
        if draw < 0.27:
            return self._chain()
        need = self._need()
        turns = self._turns(need)
        tools = [call.tool for call in need.calls]
        if r.random() < 0.2:
            again = self._need()
            turns += self._turns(again)
            tools += [call.tool for call in again.calls]
        elif r.random() < 0.15:
            turns += unneeded()
        return self._with_others(tools), turns

    def _turns(self, need: Need) -> list[Turn]:
        called = "\n".join(call.text() for call in need.calls)
        if self._rng.random() < 0.06:
            problem = self._rng.choice(ERRORS)
            return [
                (need.question, need.calls[0].text()),
                (response(f"Error: {problem}"), f"The tool failed: {problem}."),
            ]
        return [
            (need.question, called),
            (response(*(call.result for call in need.calls)), need.answer),
        ]

    def _with_others(self, tools: list[Tool]) -> list[Tool]:
        """The tools once each, among others, in any order."""
        chosen = {tool["function"]["name"]: tool for tool in tools}
        for _ in range(self._rng.choice([0, 0, 1, 1, 2, 3, 4])):
            other = self.definition(self._name())
            chosen.setdefault(other["function"]["name"], other)
        shuffled = list(chosen.values())
        self._rng.shuffle(shuffled)
        return shuffled

    # Definitions ------------------------------------------------------------------------------

    def _name(self) -> str:
        r = self._rng
        noun = r.choice(NOUNS) if r.random() < 0.6 else self._words.invented()
        draw = r.random()
        if draw < 0.7:
            return f"{r.choice(VERBS)}_{noun}"
        return noun if draw < 0.85 else f"{noun}_{r.choice(VERBS)}"

    def _argument(self) -> str:
        r = self._rng
        return r.choice(NOUNS) if r.random() < 0.5 else self._words.invented()

    def definition(
        self, name: str, arguments: dict[str, str] | None = None, description: str = ""
    ) -> Tool:
        """As our renderer hands it to the template. `arguments`: name → JSON type."""
        r = self._rng
        if arguments is None:
            count = r.choice([0, 1, 1, 2, 2, 3])
            arguments = {self._argument(): r.choice(["string", "integer"]) for _ in range(count)}
        spoken = name.replace("_", " ")
        description = description or r.choice(
            [
                f"{spoken.capitalize()}.",
                f"{spoken.capitalize()} for the user.",
                f"Use it to {spoken}.",
            ]
        )
        properties: dict[str, Any] = {}
        for argument, kind in arguments.items():
            properties[argument] = {"type": kind}
            if r.random() < 0.4:
                properties[argument]["description"] = f"The {argument.replace('_', ' ')}"
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if r.random() < 0.8:
            parameters["required"] = list(arguments)
        if r.random() < 0.25:
            parameters["additionalProperties"] = False
        function = {"name": name, "description": description, "parameters": parameters}
        return {"type": "function", "function": function}

    # Questions --------------------------------------------------------------------------------

    def _need(self) -> Need:
        makers = {
            self._weather: 16, self._two_places: 6, self._sum: 12, self._expression: 10,
            self._search: 12, self._message: 8, self._property: 22, self._command: 24,
        }  # fmt: skip
        return self._rng.choices(list(makers), list(makers.values()))[0]()

    def _weather_call(self) -> tuple[str, Call]:
        r, city = self._rng, self._words.city()
        name = r.choice(
            ["get_weather", "weather", "current_weather", "weather_in", "lookup_weather"]
        )
        argument = r.choice(["city", "location", "place", "town", "city", "location"])
        tool = self.definition(name, {argument: "string"}, r.choice([
            "Get the weather in a city.", "The current weather in a given location.",
            "Returns the weather of a place.", "Get current weather.",
        ]))  # fmt: skip
        degrees, sky = r.randint(-9, 38), r.choice(SKIES)
        result = r.choice([
            f"{degrees} degrees, {sky}", f"{sky}, {degrees} degrees", f"{sky}", f"{degrees} C",
            json.dumps({"temperature": degrees, "sky": sky}), f"{degrees}°C and {sky}",
        ])  # fmt: skip
        return city, Call(tool, {argument: city}, result)

    def _weather(self) -> Need:
        city, call = self._weather_call()
        question = self._rng.choice([
            "What is the weather in {c}?", "What's the weather like in {c}?", "Weather in {c}?",
            "How is the weather in {c} today?", "Is it warm in {c} now?",
            "Tell me the weather in {c}.",
            "Do I need an umbrella in {c}?", "I travel to {c}. How is the weather there?",
        ]).format(c=city)  # fmt: skip
        return Need(question, [call], f"The weather in {city}: {call.result}.")

    def _two_places(self) -> Need:
        (one, first), (two, second) = self._weather_call(), self._weather_call()
        argument = next(iter(first.arguments))
        second = Call(first.tool, {argument: two}, second.result)
        question = self._rng.choice([
            "What is the weather in {a} and in {b}?", "Compare the weather in {a} and {b}.",
            "Weather in {a} and {b}?", "How is it in {a}, and how is it in {b}?",
        ]).format(a=one, b=two)  # fmt: skip
        answer = f"The weather in {one}: {first.result}. The weather in {two}: {second.result}."
        return Need(question, [first, second], answer)

    def _sum(self) -> Need:
        r = self._rng
        one, two = r.randint(1, 10 ** r.randint(1, 4)), r.randint(1, 10 ** r.randint(1, 3))
        name, word, result = r.choice([
            ("add", "plus", one + two), ("multiply", "times", one * two),
            ("subtract", "minus", one - two),
        ])  # fmt: skip
        first, second = r.choice([("a", "b"), ("x", "y"), ("left", "right"), ("first", "second")])
        tool = self.definition(
            r.choice([name, f"{name}_numbers", f"{name}_two"]),
            dict.fromkeys((first, second), r.choice(NUMBER_TYPES)),
            f"{name.capitalize()} two numbers.",
        )
        question = r.choice([
            "What is {a} {w} {b}?", "How much is {a} {w} {b}?", "{a} {w} {b}?",
            "Please work out {a} {w} {b}.", "I need {a} {w} {b}.",
        ]).format(a=one, w=word, b=two)  # fmt: skip
        return Need(question, [Call(tool, {first: one, second: two}, str(result))],
                    f"The result is {result}.")  # fmt: skip

    def _expression(self) -> Need:
        r = self._rng
        one, two = r.randint(1, 10 ** r.randint(1, 3)), r.randint(1, 10 ** r.randint(1, 3))
        sign, word = r.choice([("+", "plus"), ("*", "times"), ("-", "minus")])
        shown = r.choice([sign, sign, word])
        expression = f"{one} {sign} {two}"
        result = {"+": one + two, "*": one * two, "-": one - two}[sign]
        name = r.choice(["calculator", "calculate", "compute", "evaluate", "calc"])
        argument = r.choice(["expression", "expr", "formula"])
        tool = self.definition(name, {argument: "string"}, r.choice([
            "Evaluate an arithmetic expression.", "A calculator.",
            "Compute the value of a formula.",
        ]))  # fmt: skip
        question = r.choice([
            "What is {e}?", "Calculate {e}.", "How much is {e}?", "Compute {e}, please.", "{e} = ?",
        ]).format(e=f"{one} {shown} {two}")  # fmt: skip
        return Need(question, [Call(tool, {argument: expression}, str(result))],
                    f"The result is {result}.")  # fmt: skip

    def _search(self) -> Need:
        r, w = self._rng, self._words
        query = " ".join(w.any() for _ in range(r.choice([1, 2, 2, 3])))
        name = r.choice(
            ["search", "web_search", "search_web", "search_docs", "find", "search_files"]
        )
        argument = r.choice(["query", "q", "text", "query", "term"])
        tool = self.definition(name, {argument: "string"}, r.choice([
            "Search for a text.", "Search the web.", "Find documents about something.",
        ]))  # fmt: skip
        question = r.choice([
            "Search for {q}.", "Please search for {q}.", "Find something about {q}.",
            "Look for {q}.", "Can you search {q}?", "Search the web for {q}.",
        ]).format(q=query)  # fmt: skip
        result = self._sentence()
        return Need(question, [Call(tool, {argument: query}, result)], f"I found: {result}")

    def _message(self) -> Need:
        r, person = self._rng, self._words.name()
        text = " ".join(self._words.any() for _ in range(r.choice([1, 2, 3])))
        to, body = r.choice([("to", "text"), ("recipient", "message"), ("name", "body")])
        name = r.choice(["send_message", "send_mail", "send_email", "write_message", "notify"])
        tool = self.definition(name, {to: "string", body: "string"}, "Send a message to somebody.")
        question = r.choice([
            "Send {p} the message: {t}", "Write to {p}: {t}", "Send a message to {p}: {t}",
            "Tell {p}: {t}",
        ]).format(p=person, t=text)  # fmt: skip
        result = r.choice(["sent", "ok", "done", '{"status": "sent"}'])
        return Need(question, [Call(tool, {to: person, body: text}, result)],
                    f"The message to {person} is sent.")  # fmt: skip

    def _property(self) -> Need:
        """A tool whose name holds the word of the question; the rest is drawn."""
        r = self._rng
        noun = r.choice(NOUNS) if r.random() < 0.5 else self._words.invented()
        name = r.choice([f"{r.choice(VERBS[:10])}_{noun}", noun, f"{noun}_of", f"{noun}_lookup"])
        argument, value = self._argument(), self._value()
        tool = self.definition(name, {argument: "string"})
        result = self._words.any()
        spoken = noun.replace("_", " ")
        question = r.choice([
            "What is the {n} of {v}?", "Find the {n} of {v}.", "Tell me the {n} of {v}.",
            "Which {n} does {v} have?", "I need the {n} of {v}.", "Look up the {n} of {v}.",
            "Can you tell me the {n} of {v}?",
        ]).format(n=spoken, v=value)  # fmt: skip
        return Need(question, [Call(tool, {argument: value}, result)],
                    f"The {spoken} of {value} is {result}.")  # fmt: skip

    def _command(self) -> Need:
        """A tool called by its name, with arguments named or in order."""
        r = self._rng
        name = self._name()
        kinds = {self._argument(): r.choice(["string", "string", "integer"])
                 for _ in range(r.choice([0, 1, 1, 2, 2, 3]))}  # fmt: skip
        arguments = {
            key: self._value() if kind == "string" else r.randint(0, 10 ** r.randint(1, 4))
            for key, kind in kinds.items()
        }
        named = ", ".join(f"{key} {value}" for key, value in arguments.items())
        spoken = r.choice([name, name.replace("_", " ")])
        question = r.choice([
            "Use {n}{w}.", "Call {n}{w}.", "Please {n}{w}.", "Run {n}{w}.", "Use the tool {n}{w}.",
        ]).format(n=spoken, w=f" with {named}" if named else "")  # fmt: skip
        result = self._result()
        tool = self.definition(name, kinds)
        return Need(question, [Call(tool, arguments, result)], f"The result is {result}.")

    def _chain(self) -> tuple[list[Tool], list[Turn]]:
        """Two or three calls, each with what came out of the one before."""
        r = self._rng
        if r.random() < 0.4:
            return self._where_somebody_lives()
        names: list[str] = []
        count = r.choice([2, 3])
        while len(names) < count:
            name = self._name()
            names += [] if name in names else [name]
        value = self._value()
        steps = ", then ".join(
            [f"{names[0]} with {value}", *(f"{name} with the result" for name in names[1:])]
        )
        user = r.choice(["First use {s}.", "Use {s}.", "Call {s}.", "Please call {s}."])
        user = user.format(s=steps)
        tools, turns = [], []
        for name in names:
            argument = self._argument()
            tools.append(self.definition(name, {argument: "string"}))
            call = Call(tools[-1], {argument: value}, self._value())
            turns.append((user, call.text()))
            value, user = call.result, response(call.result)
        turns.append((user, f"The result is {value}."))
        return self._with_others(tools), turns

    def _where_somebody_lives(self) -> tuple[list[Tool], list[Turn]]:
        r, person = self._rng, self._words.name()
        city, weather = self._weather_call()
        key = r.choice(["name", "person", "user", "friend"])
        where = self.definition(
            r.choice(["get_city", "find_home", "where_lives", "lookup_address", "get_location"]),
            {key: "string"},
            "The city in which a person lives.",
        )
        question = r.choice([
            "What is the weather where {p} lives?", "How is the weather at {p}'s home?",
            "Find out where {p} lives and tell me the weather there.",
        ]).format(p=person)  # fmt: skip
        first = Call(where, {key: person}, city)
        turns = [
            (question, first.text()),
            (response(city), weather.text()),
            (response(weather.result), f"The weather in {city}: {weather.result}."),
        ]
        return self._with_others([where, weather.tool]), turns

    # Values -----------------------------------------------------------------------------------

    def _value(self) -> str:
        r, w = self._rng, self._words
        lists = [THINGS, FOODS, ANIMALS, COLOURS, JOBS, HOBBIES]
        kinds = [w.name, w.city, w.invented, w.invented, w.code, lambda: w.of(r.choice(lists))]
        words = [r.choice(kinds)() for _ in range(r.choice([1, 1, 1, 2]))]
        return " ".join(words)

    def _result(self) -> str:
        r = self._rng
        if r.random() < 0.3:
            return r.choice(["ok", "done", "true", "42", "finished", "yes"])
        return self._words.number() if r.random() < 0.4 else self._value()

    def _sentence(self) -> str:
        words = [self._words.any() for _ in range(self._rng.randint(2, 7))]
        return " ".join(words) + "."
