"""`antiphon keys`: make a key, see it, use it, revoke it."""

from pathlib import Path

import pytest

from antiphon.cli.main import main


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_key_is_shown_once_and_listed_by_its_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--data-dir", str(tmp_path)]
    assert main(["keys", "create", "ann", "--requests-per-minute", "50", *place]) == 0
    secret, note = lines(capsys)

    assert main(["keys", "list", *place]) == 0
    (row,) = lines(capsys)

    assert "cannot be shown again" in note
    assert row.startswith(f"ann  {secret[:16]}…  created ")
    assert row.endswith("in use              50 requests/min")
    assert secret not in row


def test_a_revoked_key_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--data-dir", str(tmp_path)]
    main(["keys", "create", "ann", *place])
    assert main(["keys", "revoke", "ann", *place]) == 0
    main(["keys", "list", *place])

    assert "  revoked 20" in lines(capsys)[-1]


def test_without_keys_the_list_says_what_that_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "list", "--data-dir", str(tmp_path)]) == 0

    assert lines(capsys)[0].startswith("There are no keys")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["revoke", "nobody"], "There is no key 'nobody'."),
        (["create", " "], "A key's name has 1 to 64 printable characters."),
        (["create", "x" * 65], "A key's name has 1 to 64 printable characters."),
        (["create", "ann", "--requests-per-minute", "0"], "it must be 1 to"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert main(["keys", *arguments, "--data-dir", str(tmp_path)]) == 1

    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
