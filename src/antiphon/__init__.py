"""Antiphon: a self-hosted implementation of the Messages API."""

__version__ = "0.1.0"
