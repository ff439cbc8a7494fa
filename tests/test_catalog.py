"""Model names lead to files, or to one sentence."""

import pytest

from antiphon.catalog.models import BUILTIN, model_id, model_path
from antiphon.errors import StartupError


def test_the_builtin_model_is_in_the_package() -> None:
    assert model_path(BUILTIN).is_file()


@pytest.mark.parametrize(
    "name", ["no/such.gguf", ".", "~nosuchuser/x.gguf", "x" * 300, "", "a\x00b"]
)
def test_what_cannot_be_opened_is_one_sentence(name: str) -> None:
    with pytest.raises(StartupError):
        model_path(name)


def test_a_model_is_listed_by_name_and_never_by_path() -> None:
    assert model_id("/home/me/models/Some-Model-Q4.gguf") == "Some-Model-Q4"
