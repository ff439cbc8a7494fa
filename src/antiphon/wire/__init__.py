"""What goes over the socket: the Messages API as types, stream rules and validation.

Imports nothing of ours but the leaf `errors`. Spec sections cited here are those of the
wire-level specification of the API.
"""
