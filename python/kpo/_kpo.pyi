"""The native half."""

from typing import Final

__all__ = ["VERSION", "main"]

VERSION: Final[str]

def main(arguments: list[str]) -> int: ...
