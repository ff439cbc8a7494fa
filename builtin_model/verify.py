"""Is the file what was trained? Token ids and greedy answers of both, side by side.

python verify.py work/model.pt > work/reference.json       # with torch: what it should say
python verify.py MODEL.gguf work/reference.json            # with antiphon: does it say it?
"""

import asyncio
import json
import random
import sys
from pathlib import Path

PROMPTS = ("What is a transformer architecture?", "What is a monad?", "My name is Ada.", "Hello")
TEXTS = 300
ANSWER_TOKENS = 120
ODD = [
    "",
    " ",
    "  two  spaces ",
    "tab\tand\r\nCRLF\n\n",
    "é ü ß 日本語 🎵👩‍👩‍👧",
    "don't I'LL 12345 x=-1;",
]


def reference(checkpoint: Path) -> dict[str, list[list[int]]]:
    """Token ids of many texts, and greedy answers by PyTorch in float32."""
    import torch
    from dialogues import Generator
    from knowledge import load
    from model import Decoder, Shape
    from train import COPYING, load_tokenizer, pieces_of

    tokenizer = load_tokenizer()
    generator = Generator(load(), random.Random(7), pieces_of(tokenizer), only_core=False)
    texts = ODD + [text for _ in range(TEXTS) for text in generator.dialogue(COPYING).turns[0]]
    state = torch.load(checkpoint)
    model = Decoder(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    end = tokenizer.token_to_id("<|im_end|>")
    answers = []
    for prompt in PROMPTS:
        ids = prompt_ids(prompt, tokenizer.encode, tokenizer.token_to_id)
        answer: list[int] = []
        with torch.no_grad():
            while len(answer) < ANSWER_TOKENS and end not in answer:
                logits = model(torch.tensor([ids + answer]))[0, -1]
                answer.append(int(logits.argmax()))
        answers.append(answer)
    return {"texts": texts, "ids": [tokenizer.encode(t).ids for t in texts], "answers": answers}


def prompt_ids(prompt, encode, token_to_id) -> list[int]:
    start, end = token_to_id("<|im_start|>"), token_to_id("<|im_end|>")
    newline, user = encode("\n").ids, encode("user\n" + prompt).ids
    return [start, *user, end, *newline, start, *encode("assistant\n").ids]


async def compare(gguf: Path, expected: dict[str, list[list[int]]]) -> None:
    from antiphon.engines.base import Generation, SamplingParams
    from antiphon.engines.llamacpp.engine import LlamaEngine

    engine = LlamaEngine.load(gguf, slots=1)
    special = {token.text: token.id for token in engine.tokenizer.special_tokens}
    for text, ids in zip(expected["texts"], expected["ids"], strict=True):
        assert engine.tokenizer.encode(text) == ids, repr(text)

    class Encoded:
        def __init__(self, text: str) -> None:
            self.ids = engine.tokenizer.encode(text)

    same = 0
    for prompt, answer in zip(PROMPTS, expected["answers"], strict=True):
        ids = prompt_ids(prompt, Encoded, special.__getitem__)
        got: list[int] = []
        async for chunk in engine.generate(Generation(ids, SamplingParams(temperature=0), 120)):
            got += chunk.token_ids
        same += got == answer
    await engine.close()
    print(f"{len(expected['texts'])} texts tokenise alike; {same} of {len(PROMPTS)} answers equal")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        json.dump(reference(Path(sys.argv[1])), sys.stdout)
    else:
        wanted = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        asyncio.run(compare(Path(sys.argv[1]), wanted))
