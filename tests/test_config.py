"""One configuration: flag over environment over file over default, each value with its source."""

import os
from pathlib import Path
from typing import Any

import pytest

from antiphon import config
from antiphon.errors import StartupError


def env(path: Path = Path(os.devnull), /, **values: str) -> dict[str, str]:
    return {"ANTIPHON_CONFIG": str(path), **values}


def test_defaults() -> None:
    loaded = config.load({}, env())

    assert (loaded.model, loaded.host, loaded.port) == ("antiphon-demo", "127.0.0.1", 8642)
    assert loaded.sources == {}


def test_the_order_of_the_layers(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('port = 1\nslots = 1\nhost = "::1"\napi_keys = ["a", "b"]\n')
    loaded = config.load({"port": 3}, env(file, ANTIPHON_PORT="2", ANTIPHON_SLOTS="2"))

    assert (loaded.port, loaded.slots, loaded.host) == (3, 2, "::1")
    assert loaded.api_keys == ("a", "b")
    assert loaded.sources == {
        "port": "command line",
        "slots": "ANTIPHON_SLOTS",
        "host": str(file),
        "api_keys": str(file),
    }


def test_texts_of_the_environment_are_parsed() -> None:
    values = {
        "ANTIPHON_NO_AUTH": "true",
        "ANTIPHON_STRICT_MODELS": "0",
        "ANTIPHON_CONTEXT": "4096",
        "ANTIPHON_API_KEYS": "one, two",
    }
    loaded = config.load({}, env(**values))

    assert loaded.no_auth is True
    assert loaded.strict_models is False
    assert loaded.context == 4096
    assert loaded.api_keys == ("one", "two")


@pytest.mark.parametrize("name", config.AUTOMATIC)
def test_automatic_values_can_be_asked_for_by_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'{name} = "auto"\n')

    def loaded(flags: dict[str, Any], **variables: str) -> object:
        return getattr(config.load(flags, env(file, **variables)), name)

    assert loaded({}) is None
    assert loaded({}, **{f"ANTIPHON_{name.upper()}": "100"}) == 100
    assert loaded({name: "auto"}, **{f"ANTIPHON_{name.upper()}": "100"}) is None
    assert loaded({name: "100"}) == 100
    assert loaded({}, **{f"ANTIPHON_{name.upper()}": "auto"}) is None


@pytest.mark.parametrize(
    ("flags", "variables", "text"),
    [
        ({}, {"ANTIPHON_PORT": "http"}, "ANTIPHON_PORT sets port to 'http', but a whole number"),
        ({"port": 70_000}, {}, "command line sets port to 70000; it must be 0 to 65535"),
        ({"request_timeout": 0}, {}, "command line sets request_timeout to 0; it must be 1 to"),
        ({}, {"ANTIPHON_SLOTS": "0"}, "ANTIPHON_SLOTS sets slots to 0; it must be 1 to 128"),
        (
            {},
            {"ANTIPHON_ENGINE": "magic"},
            "ANTIPHON_ENGINE sets engine to 'magic'; choose llamacpp or stub",
        ),
        ({}, {"ANTIPHON_NO_AUTH": "maybe"}, "true or false is needed"),
        ({}, {"ANTIPHON_HOST": ""}, "a text is needed"),
        ({"gpu_layers": "some"}, {}, "to 'some', but a whole number is needed, or auto"),
        ({"batch": 16}, {}, "command line sets batch to 16; it must be 32 to 8192"),
        ({"slots": "auto"}, {}, "to 'auto', but a whole number is needed."),
    ],
)
def test_a_wrong_value_names_its_source(
    flags: dict[str, Any], variables: dict[str, str], text: str
) -> None:
    with pytest.raises(StartupError, match=text):
        config.load(flags, env(**variables))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("port = ", "cannot be read"),
        ("prot = 1", "sets 'prot', which is not a setting"),
        ("port = true", "a whole number is needed"),
        ("api_keys = [1]", "a list of texts is needed"),
        ('sources = "x"', "which is not a setting"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(content)

    with pytest.raises(StartupError, match=text) as caught:
        config.load({}, env(file))
    assert str(file) in str(caught.value)


def test_only_this_machine_is_loopback() -> None:
    hosts = ["127.0.0.1", "127.0.0.2", "::1", "localhost", "0.0.0.0", "192.168.1.5", "a.b"]

    assert [config.Config(host=host).is_loopback for host in hosts] == [True] * 4 + [False] * 3


def test_a_file_that_is_named_must_exist() -> None:
    with pytest.raises(StartupError, match="there is no such file"):
        config.load({}, env(Path("/nowhere/config.toml")))
