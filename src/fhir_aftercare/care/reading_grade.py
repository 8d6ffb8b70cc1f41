"""How hard a text is to read: years of school by Flesch and Kincaid, and sentences that are too long.

Patients' words need no more than six years of school and have at most 15 words in a sentence (``care.wording``;
clinical §4.4 allows seven). The formula is made for English: no other language is graded. Which texts patients read is
said by the protocol.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_GRADE: Final = 6
MAX_WORDS: Final = 15

_SENTENCE_END = re.compile(r"[.!?:]+")
_WORD = re.compile(r"[A-Za-z0-9'-]+")
_VOWELS = re.compile(r"[aeiouy]+")


def sentences(text: str) -> list[list[str]]:
    """Give the sentences of a text, each as its words; a colon ends one too."""
    return [words for part in _SENTENCE_END.split(text) if (words := _WORD.findall(part))]


def syllables(word: str) -> int:
    """Give about how many syllables an English word has: groups of vowels, without a silent e; at least 1."""
    lower = word.lower()
    groups = _VOWELS.findall(lower)
    silent = lower.endswith("e") and not lower.endswith("le") and len(groups) > 1
    return max(1, len(groups) - silent)


def grade(texts: Iterable[str]) -> float:
    """Give the Flesch-Kincaid grade of English texts together, in years of school; 0 if they hold no words."""
    said = [words for text in texts for words in sentences(text)]
    count = sum(map(len, said))
    if not count:
        return 0.0
    spoken = sum(syllables(word) for words in said for word in words)
    return 0.39 * count / len(said) + 11.8 * spoken / count - 15.59


def too_long(text: str) -> list[str]:
    """Give the sentences of a text that have more than 15 words."""
    return [" ".join(words) for words in sentences(text) if len(words) > MAX_WORDS]
