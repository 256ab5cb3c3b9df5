"""Commands as they are sent."""

from hiredis import pack_command


def packed(*parts: bytes | str | int) -> bytes:
    """A command in Redis's protocol, ready to be sent."""
    command: bytes = pack_command(parts)  # type: ignore[arg-type] # its stub says a tuple of exactly one
    return command
