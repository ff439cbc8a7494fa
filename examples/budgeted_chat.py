"""A chat that never outgrows the model's window and is kept in a file:

python examples/budgeted_chat.py [FILE [ID]]     # a line in, an answer out
"""

import sys
from typing import Any

from antiphon import Budget, Conversation, ConversationError

file = sys.argv[1] if len(sys.argv) > 1 else "chats.sqlite3"
id = sys.argv[2] if len(sys.argv) > 2 else None
options: dict[str, Any] = {
    "budget": Budget(policy="summarise"),  # when 90 % are full, down to 60 %
    "on_truncated": "continue",
    "max_tokens": 300,
}
if id:
    chat = Conversation.resume(id, file, **options)
else:
    chat = Conversation("claude-sonnet-4-6", system="Be brief.", store=file, **options)

for line in sys.stdin:
    try:
        for piece in chat.stream(line):
            if isinstance(piece, str):
                print(piece, end="", flush=True)
            else:
                left = len(chat.transcript) - len(chat.messages)
                print(f"\n[{piece.usage['output_tokens']} tokens; {left} messages condensed]")
    except ConversationError as error:  # nothing has been said
        print(f"\n[{error}]")
print(f"Go on with: {file} {chat.id}")
