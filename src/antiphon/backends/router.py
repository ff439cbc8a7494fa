"""Model names to backends: a name or an alias, else the default model under the asked name."""

from collections.abc import AsyncGenerator, Iterator, Mapping

import msgspec

from antiphon.backends.base import Backend, RequestContext
from antiphon.errors import model_not_found
from antiphon.wire.events import Event
from antiphon.wire.messages import CountTokens, CreateMessage, TokenCount
from antiphon.wire.resources import ModelInfo


class Router:
    """Itself a backend, over the backends of several models.

    Programs name models this machine does not have (`claude-sonnet-4-6`); the default model
    answers them, and the answer echoes the name. `strict` turns that off: 404. `aliases` are
    further names of models; they are listed, and stand under `strict` too.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        default: str,
        *,
        strict: bool,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        assert default in backends
        self._backends = backends
        self._default = default
        self._strict = strict
        self._aliases = aliases or {}

    def resolve(self, model: str) -> Backend:
        """
        Raises:
            NotFoundError: strict, and no model has that name.
        """
        name = self._aliases.get(model, model)
        if name in self._backends:
            return self._backends[name]
        if self._strict or not model:
            raise model_not_found(model)
        return self._backends[self._default]

    def stream(self, request: CreateMessage, context: RequestContext) -> AsyncGenerator[Event]:
        return self.resolve(request.model).stream(request, context)

    async def count_tokens(self, request: CountTokens, context: RequestContext) -> TokenCount:
        return await self.resolve(request.model).count_tokens(request, context)

    async def models(self) -> list[ModelInfo]:
        """Every model, the default first, each followed by its aliases."""
        names = [self._default, *(name for name in self._backends if name != self._default)]
        infos = [info for name in names for info in await self._backends[name].models()]
        return [named for info in infos for named in (info, *self._under_aliases(info))]

    def _under_aliases(self, info: ModelInfo) -> Iterator[ModelInfo]:
        for alias, name in self._aliases.items():
            if name == info.id:
                yield msgspec.structs.replace(info, id=alias)

    async def model(self, name: str) -> ModelInfo:
        """One model, by its own name or an alias; the answer carries the asked name."""
        infos = await self.resolve(name).models()
        info = next((info for info in infos if info.id == name), infos[0])
        return msgspec.structs.replace(info, id=name)
