"""Tokens to tokens: the engines, which know no message."""
