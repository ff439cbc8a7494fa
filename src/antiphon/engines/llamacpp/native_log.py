"""What llama.cpp says while it works, of which nobody else sees anything."""

import re
from collections import deque

LINES_KEPT = 200
DEBUG, WARNING, CONTINUES = 1, 3, 5  # levels
GPU_FREE = re.compile(r"using device .* - (\d+) MiB free")


class NativeLog:
    """The last lines, and what is to be known of the GPUs only from them."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=LINES_KEPT)
        self.gpu_free_bytes: int | None = None  # of all together, before a model was loaded

    def __call__(self, level: int, text: str) -> None:
        if level == CONTINUES and self._lines:
            level, line = self._lines.pop()
            text = line + text
        if level > DEBUG:  # hundreds of lines a context
            self._lines.append((level, text))
            if free := GPU_FREE.search(text):
                self.gpu_free_bytes = (self.gpu_free_bytes or 0) + (int(free[1]) << 20)

    def complaints(self, count: int = 2) -> str:
        """The last warnings and errors as one line."""
        lines = [" ".join(text.split()) for level, text in self._lines if level >= WARNING]
        return "; ".join(lines[-count:])

    def contains(self, words: str) -> bool:
        return any(words in " ".join(text.split()) for _, text in self._lines)

    def clear(self) -> None:
        self._lines.clear()

    def begin_load(self) -> None:
        self.clear()
        self.gpu_free_bytes = None


native_log = NativeLog()
