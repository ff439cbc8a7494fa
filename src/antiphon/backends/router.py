"""Model names to backends: exact name, else the default model answers under the asked name."""

from collections.abc import AsyncGenerator, Mapping

import msgspec

from antiphon.backends.base import Backend, RequestContext
from antiphon.errors import model_not_found
from antiphon.wire.events import Event
from antiphon.wire.messages import CountTokens, CreateMessage, TokenCount
from antiphon.wire.resources import ModelInfo


class Router:
    """Itself a backend, over the backends of several models.

    Programs name models this machine does not have (`claude-sonnet-4-6`); the default model
    answers them, and the answer echoes the name. `strict` turns that off: 404.
    """

    def __init__(self, backends: Mapping[str, Backend], default: str, *, strict: bool) -> None:
        assert default in backends
        self._backends = backends
        self._default = default
        self._strict = strict

    def resolve(self, model: str) -> Backend:
        """
        Raises:
            NotFoundError: strict, and no model has that name.
        """
        if model in self._backends:
            return self._backends[model]
        if self._strict or not model:
            raise model_not_found(model)
        return self._backends[self._default]

    def stream(self, request: CreateMessage, context: RequestContext) -> AsyncGenerator[Event]:
        return self.resolve(request.model).stream(request, context)

    async def count_tokens(self, request: CountTokens, context: RequestContext) -> TokenCount:
        return await self.resolve(request.model).count_tokens(request, context)

    async def models(self) -> list[ModelInfo]:
        """Every model once, the default first."""
        names = [self._default, *(name for name in self._backends if name != self._default)]
        return [info for name in names for info in await self._backends[name].models()]

    async def model(self, name: str) -> ModelInfo:
        """One model, by its own name or an alias; the answer carries the asked name."""
        infos = await self.resolve(name).models()
        info = next((info for info in infos if info.id == name), infos[0])
        return msgspec.structs.replace(info, id=name)
