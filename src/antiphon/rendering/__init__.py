"""Messages to prompt: chat template, prompt safety, tokens. No I/O."""
