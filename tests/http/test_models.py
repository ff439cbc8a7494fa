"""`GET /v1/models` in pages, as the API cuts them."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from antiphon.backends.router import Router
from antiphon.http.app import create_app
from antiphon.ids import generator
from antiphon.wire.resources import ModelInfo
from tests.serving import EPOCH, serving

NAMES = ["a", "b", "c", "d", "e"]


class Listing:
    """A backend that only lists itself."""

    def __init__(self, name: str) -> None:
        self._info = ModelInfo(id=name, display_name=name, created_at=EPOCH)

    async def models(self) -> list[ModelInfo]:
        return [self._info]


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    backends = {name: Listing(name) for name in NAMES}
    router = Router(backends, default="a", strict=True)  # type: ignore[arg-type]
    async with (
        serving(create_app(router, new_id=generator())) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ("", NAMES, False),
        ("?limit=2", ["a", "b"], True),
        ("?limit=2&after_id=b", ["c", "d"], True),
        ("?limit=2&after_id=d", ["e"], False),
        ("?limit=2&before_id=d", ["b", "c"], True),
        ("?limit=3&before_id=c", ["a", "b"], False),
        ("?after_id=e", [], False),
        ("?limit=1000&lifecycle[]=active", NAMES, False),
        ("?lifecycle[]=deprecated&lifecycle[]=retired", [], False),
    ],
)
async def test_pages(
    client: httpx2.AsyncClient, query: str, ids: list[str], has_more: bool
) -> None:
    page = (await client.get("/v1/models" + query)).json()

    assert [model["id"] for model in page["data"]] == ids
    assert page["has_more"] is has_more
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("limit", ["0", "1001", "many", "-1", "٣", "9" * 5000])
async def test_a_limit_out_of_range_is_refused(client: httpx2.AsyncClient, limit: str) -> None:
    response = await client.get(f"/v1/models?limit={limit}")

    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("limit: ")


async def test_strict_answers_an_unknown_model_with_404(client: httpx2.AsyncClient) -> None:
    response = await client.get("/v1/models/org/nothing")

    assert response.status_code == 404
    assert response.json()["error"]["message"] == "model: org/nothing"
