"""`make conformance`: what it reads out of results, and what it calls a failure."""

import dataclasses

from scripts import conformance
from scripts.checkout import table
from scripts.conformance import Outcome

RESULTS = """\
<testsuites><testsuite>
  <testcase classname="tests.api_resources.test_models.TestModels" name="test_list[loose]" />
  <testcase classname="tests.api_resources.beta.test_messages.TestAsyncMessages" name="test_a[b]">
    <failure message="anthropic.BadRequestError: Error code: 400 - {'type': 'error', 'error': \
{'type': 'invalid_request_error', 'message': &quot;tools: it's not there.&quot;}, \
'request_id': 'req_01'}" />
  </testcase>
  <testcase classname="tests.api_resources.test_files.TestFiles" name="test_c">
    <skipped message="no reason" />
  </testcase>
  <testcase classname="tests.api_resources.test_files.TestFiles" name="test_d">
    <error message="AssertionError: first&#10;second" />
  </testcase>
</testsuite></testsuites>
"""
NOT_YET = "400 tools: tools are not supported yet by this server."


def test_results_are_read_with_the_text_of_the_servers_error() -> None:
    assert conformance.read_results(RESULTS) == [
        Outcome("test_models.py", "TestModels::test_list[loose]", "passed"),
        Outcome(
            "beta/test_messages.py",
            "TestAsyncMessages::test_a[b]",
            "failed",
            "400 tools: it's not there.",
        ),
        Outcome("test_files.py", "TestFiles::test_c", "skipped", "no reason"),
        Outcome("test_files.py", "TestFiles::test_d", "failed", "AssertionError: first"),
    ]


def test_only_a_parameter_that_is_not_there_yet_may_fail() -> None:
    expected = Outcome("test_messages.py", "T::test_create_with_all_params[x]", "failed", NOT_YET)

    assert expected.is_expected
    assert not dataclasses.replace(expected, reason="500 Internal server error").is_expected
    assert not dataclasses.replace(expected, test="T::test_create[x]").is_expected
    assert dataclasses.replace(expected, file="test_files.py", reason="404").is_expected


def test_a_suite_that_shrank_is_a_problem() -> None:
    outcomes = [
        Outcome(file, f"T::test_{number}", "passed")
        for file, tests in conformance.REQUIRED.items()
        for number in range(tests)
    ]

    assert conformance.problems(outcomes) == []
    assert conformance.problems(outcomes[1:]) == ["test_messages.py has 64 tests instead of 65"]


def test_the_report_counts_a_test_of_many_clients_once_by_name() -> None:
    failed = [
        Outcome("test_messages.py", f"{side}::test_a[{mode}]", "failed", NOT_YET)
        for side in ("Sync", "Async")
        for mode in ("loose", "strict")
    ]

    text = conformance.report({"default": failed})

    assert (
        "| default     | test_messages.py              | 0      | 4      | 0       | 4  |" in text
    )
    assert text.endswith(f"`{NOT_YET}` (4 tests)\n\n- `test_messages.py`: test_a")


def test_the_page_says_the_command_that_writes_it() -> None:
    assert '`make conformance ARGS="--write"` on' in conformance.page("", [])
    assert "ARGS=\"--write --serve-args='--threads 2'\"" in conformance.page("", ["--threads 2"])


def test_a_table_is_aligned_and_its_cells_stay_cells() -> None:
    assert table([["a", "b"], ["1|2", "x\ny"]]) == (
        "| a    | b   |\n|------|-----|\n| 1\\|2 | x y |"
    )
