"""The ASGI application: sockets on one side, backends on the other. HTTP never sees a token."""
