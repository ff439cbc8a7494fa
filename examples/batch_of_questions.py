"""Many questions at once that share a beginning, which an Antiphon server computes once."""

import asyncio

import anthropic

from antiphon import AsyncConversation, Reply

QUESTIONS = ["What is a token?", "What is a monad?", "What is a closure?", "What is recursion?"]
AT_ONCE = 8


async def main() -> None:
    async with anthropic.AsyncAnthropic() as client:
        beginning = AsyncConversation(
            "claude-sonnet-4-6", client, system="Answer in one sentence.", on_truncated="return"
        )
        await beginning.say("I am going to ask you something.")
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(question: str) -> Reply:
            async with slots:
                return await beginning.fork().say(question)

        replies = await asyncio.gather(*map(ask, QUESTIONS), return_exceptions=True)
    for question, reply in zip(QUESTIONS, replies, strict=True):
        print(f"{question} {reply.text if isinstance(reply, Reply) else repr(reply)}\n")


asyncio.run(main())
