"""What PostgreSQL's texts cannot hold: NUL, and what is no Unicode."""


def is_storable(text: str) -> bool:
    """Whether a text can stand in the database as it is; one that cannot is in no row either."""
    return "\0" not in text and (text.isascii() or _encoded(text) == text)


def storable(text: str) -> str:
    """The text with signs in the place of what cannot be kept: a record for humans is never refused for one character."""
    return _encoded(text).replace("\0", "\N{SYMBOL FOR NULL}")


def kept(value: object) -> object:
    """A column's value, `storable` where it is a text."""
    return storable(value) if isinstance(value, str) else value


def lower_bound(text: str) -> str:
    """A storable text above which lie the same storable texts, byte by byte, as above `text`."""
    return _encoded(text.partition("\0")[0])


def escaped(text: str) -> str:
    r"""The text with `\0` for NUL, and so `\\` for a backslash: nothing is lost."""
    return text.replace("\\", "\\\\").replace("\0", "\\0") if "\0" in text or "\\" in text else text


def unescaped(text: str) -> str:
    """The text that was `escaped`."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))


def _encoded(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
