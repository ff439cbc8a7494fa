"""`GET /v1/models` and `GET /v1/models/{id}` (spec §8.11)."""

import re

from starlette.requests import Request
from starlette.responses import Response

from antiphon.backends.router import Router
from antiphon.errors import InvalidRequestError
from antiphon.http.messages import json_response
from antiphon.wire.resources import ModelPage

LIMIT_DEFAULT = 20
LIMIT_MAX = 1000


class ModelEndpoints:
    def __init__(self, router: Router) -> None:
        self._router = router

    async def page(self, request: Request) -> Response:
        """A page of models: `limit`, `after_id`, `before_id`, `lifecycle[]` as in the API."""
        limit = _limit(request.query_params.get("limit"))
        models = await self._router.models()
        if wanted := request.query_params.getlist("lifecycle[]"):
            models = [model for model in models if model.lifecycle in wanted]
        ids = [model.id for model in models]
        after, before = (request.query_params.get(key) for key in ("after_id", "before_id"))
        start = ids.index(after) + 1 if after in ids else 0
        end = ids.index(before) if before in ids else len(models)
        if before is not None:  # a page before an id ends right before it
            start = max(start, end - limit)
        window = models[start:end]
        shown = window[:limit]
        has_more = start > 0 if before is not None else len(window) > limit
        return json_response(
            ModelPage(
                data=shown,
                has_more=has_more,
                first_id=shown[0].id if shown else None,
                last_id=shown[-1].id if shown else None,
            )
        )

    async def retrieve(self, request: Request) -> Response:
        return json_response(await self._router.model(request.path_params["model_id"]))


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise InvalidRequestError(f"limit: Input should be an integer between 1 and {LIMIT_MAX}")
    return int(text)
