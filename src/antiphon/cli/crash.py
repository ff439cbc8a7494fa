"""What is said when native code crashes: one line on stderr, and the stack in a file.

A process that has failed an assertion or touched memory that is not its own cannot be trusted to
run Python any more, so two others speak for it. The interpreter's fault handler, which is C, writes
the stack of the thread that crashed; and a shell, which waits at the other end of a pipe, says that
there is one when the pipe ends without a word. The process ends by the signal, and its supervisor
starts it again.

Of the other threads nothing is written: they go on running, since native code is called without
the interpreter's lock, and reading a stack that moves can be a crash of its own.
"""

import faulthandler
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

FILE, EARLIER = "crash.log", "crash.log.1"
# The first line of the file is "Fatal Python error: Segmentation fault", or Aborted, and so on.
WATCH = """
if ! read -r end && [ -s "$1" ] && read -r line < "$1"; then
    echo "antiphon: the engine has crashed: ${line#Fatal Python error: };" \\
        "restart the server; details in $1" >&2
fi
"""


@contextmanager
def reported(folder: Path) -> Iterator[None]:
    """While the context lasts, a crash leaves its stack in a file in `folder`, and one line on
    stderr. That of an earlier crash is kept beside it, since a supervisor starts the server again
    at once. Where no file can be made, the stack goes to stderr."""
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / FILE
            if path.exists() and path.stat().st_size:
                path.replace(folder / EARLIER)
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            file = stack.enter_context(open(descriptor, "wb"))
            stack.enter_context(_watched(path))
            faulthandler.enable(file, all_threads=False)
        except OSError:
            faulthandler.enable(all_threads=False)
        stack.callback(faulthandler.enable, all_threads=False)
        yield


@contextmanager
def _watched(file: Path) -> Iterator[None]:
    """Let a shell read the first line of the file, should this process end before the context. In a
    session of its own, since Ctrl-C is for the server."""
    watcher = subprocess.Popen(
        ["sh", "-c", WATCH, "sh", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
    assert watcher.stdin is not None
    try:
        yield
    finally:
        with suppress(OSError):  # it has been ended together with this process
            watcher.stdin.write(b"end\n")
        watcher.stdin.close()
        watcher.wait()
