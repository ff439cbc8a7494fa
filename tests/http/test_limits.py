"""Rate limits: what is admitted, what is charged, what the headers say. Time is a number here."""

import contextlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from antiphon.backends.base import Account
from antiphon.config import Limits
from antiphon.errors import RateLimitError
from antiphon.http.auth import Principal
from antiphon.http.limits import Admission, RateLimiter

NOON = 1_800_000_000.0  # 2027-01-15T08:00:00Z


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def request(
    limiter: RateLimiter, limits: Limits, *, input: int = 0, output: int = 0, name: str = "ann"
) -> Iterator[Admission]:
    account = Account()
    admission = limiter.admit(Principal(name, limits), account)
    account.input_tokens, account.output_tokens = input, output
    yield admission
    admission.release()


def test_without_limits_everything_is_admitted_and_no_header_is_sent(clock: Clock) -> None:
    limiter = RateLimiter(clock)

    with request(limiter, Limits(), input=10**9) as first:
        assert first.headers() == {}
    with request(limiter, Limits()):
        pass


def test_requests_a_minute(clock: Clock) -> None:
    limiter, limits = RateLimiter(clock), Limits(requests_per_minute=2)
    for _ in range(2):
        with request(limiter, limits):
            pass

    with pytest.raises(RateLimitError) as caught, request(limiter, limits):
        pass

    assert caught.value.message == (
        "This request would exceed the rate limit of 2 requests per minute (key: ann). "
        "Try again in 30 s."
    )
    assert caught.value.headers["retry-after"] == "30"
    clock.now += 30
    with request(limiter, limits):
        pass


def test_tokens_are_charged_as_they_become_known_and_debts_are_paid_first(clock: Clock) -> None:
    limiter, limits = RateLimiter(clock), Limits(output_tokens_per_minute=60)
    with request(limiter, limits, output=90):
        pass  # nobody knew how long the answer would be

    with pytest.raises(RateLimitError, match="60 output tokens per minute") as caught:
        limiter.admit(Principal("ann", limits), Account())

    assert caught.value.headers["retry-after"] == "31"  # 30 s of debt, one for the next token
    assert caught.value.headers["anthropic-ratelimit-output-tokens-remaining"] == "0"
    clock.now += 31
    with request(limiter, limits):
        pass


def test_the_headers_say_what_is_left_and_when_it_will_be_whole(clock: Clock) -> None:
    limiter = RateLimiter(clock)
    limits = Limits(
        requests_per_minute=60, input_tokens_per_minute=1000, output_tokens_per_minute=600
    )

    with request(limiter, limits, input=100, output=120) as admission:
        headers = admission.headers()

    prefix = "anthropic-ratelimit-"
    assert {name.removeprefix(prefix): value for name, value in headers.items()} == {
        "requests-limit": "60",
        "requests-remaining": "59",
        "requests-reset": "2027-01-15T08:00:01Z",
        "input-tokens-limit": "1000",
        "input-tokens-remaining": "900",
        "input-tokens-reset": "2027-01-15T08:00:06Z",
        "output-tokens-limit": "600",
        "output-tokens-remaining": "480",
        "output-tokens-reset": "2027-01-15T08:00:12Z",
        "tokens-limit": "600",  # the tighter one of the two
        "tokens-remaining": "480",
        "tokens-reset": "2027-01-15T08:00:12Z",
    }


def test_requests_at_the_same_time(clock: Clock) -> None:
    limiter, limits = RateLimiter(clock), Limits(concurrent_requests=1)
    with request(limiter, limits), pytest.raises(RateLimitError, match="1 requests at the same"):
        limiter.admit(Principal("ann", limits), Account())

    with request(limiter, limits):
        pass


def test_keys_do_not_share_what_they_have(clock: Clock) -> None:
    limiter, limits = RateLimiter(clock), Limits(requests_per_minute=1)
    with request(limiter, limits, name="ann"):
        pass
    with request(limiter, limits, name="bob"):
        pass


def test_a_key_whose_limits_change_starts_anew(clock: Clock) -> None:
    limiter = RateLimiter(clock)
    with request(limiter, Limits(requests_per_minute=1)):
        pass
    with request(limiter, Limits(requests_per_minute=2)) as admission:
        assert admission.headers()["anthropic-ratelimit-requests-remaining"] == "1"


@pytest.mark.parametrize("seed", range(20))
def test_over_any_stretch_no_more_passes_than_the_limit(clock: Clock, seed: int) -> None:
    """A bucket may be full at first, so a stretch of m minutes lets limit * (m + 1) through."""
    rng = random.Random(seed)
    limits = Limits(requests_per_minute=rng.randint(1, 50))
    limiter, admitted = RateLimiter(clock), 0
    for _ in range(2000):
        clock.now += rng.expovariate(1.0)
        with contextlib.suppress(RateLimitError), request(limiter, limits):
            admitted += 1
    minutes = (clock.now - NOON) / 60
    assert limits.requests_per_minute is not None
    assert admitted <= limits.requests_per_minute * (minutes + 1)
    assert admitted >= min(2000, limits.requests_per_minute * (minutes - 1)) * 0.9


def test_a_clock_that_goes_back_gives_nothing_away(clock: Clock) -> None:
    limiter, limits = RateLimiter(clock), Limits(requests_per_minute=1)
    with request(limiter, limits):
        pass
    clock.now -= 3600
    with pytest.raises(RateLimitError):
        limiter.admit(Principal("ann", limits), Account())
