"""The gRPC side: messages in and out (decode, encode), the check between them, and the server that carries both."""
