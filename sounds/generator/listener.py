"""Tells how prompts are understood by telephone: alone, in sentences, by their words, among all."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

import audio
import prompts
import sentences
from grammar import Grammar, Vocabulary, is_short
from prompts import Prompt
from reading import Reading

if TYPE_CHECKING:
    from ear import Ear

TRIED = 2  # sentences for a prompt that is misheard alone


@dataclass(frozen=True)
class Heard:
    said: str
    heard: str
    likeness: float  # 1.0 for the same words

    def __str__(self) -> str:
        return f"said {self.said!r}, heard {self.heard!r}"


class How(Enum):
    """How a prompt was understood."""

    ALONE = "alone"
    IN_SENTENCE = "in a sentence"
    BY_WORDS = "among all words"
    AMONG_ALL = "among all prompts"
    NOT = "not"


class Listener:
    def __init__(self, ear: "Ear", language: str):
        self._ear = ear
        self._language = language
        listed = prompts.load(language)
        self._by_name = {prompt.name: prompt for prompt in listed}
        self._reading = Reading(language, listed)
        self._grammar = Grammar(listed, self._reading, ear.tokens, ear.end)
        self._vocabulary = Vocabulary(listed, ear.tokens, ear.end)
        self._sentences = sentences.load(language)

    def understood(self, prompt: Prompt, samples: np.ndarray) -> tuple[How, Heard]:
        """How a prompt was understood, and what was heard of it alone."""
        alone = self._read_back(prompt.text, samples)
        if alone.likeness == 1:
            return How.ALONE, alone
        of_it = [names for names in self._sentences if prompt.name in names][:TRIED]
        if any(self.sentence(names).likeness == 1 for names in of_it):
            return How.IN_SENTENCE, alone
        following = self._ear.following(samples)
        if self._reading.likeness(prompt.text, self._ear.text(self._vocabulary.likeliest(following))) == 1:
            return How.BY_WORDS, alone
        if is_short(prompt) and (self._grammar.accepts(prompt, following)
                                 or any(self._accepted(prompt, names) for names in of_it)):
            return How.AMONG_ALL, alone
        return How.NOT, alone

    def _accepted(self, prompt: Prompt, names: list[str]) -> bool:
        """Whether it is the likeliest there, the sentence being heard as far as the prompt, or the one after a first."""
        at = names.index(prompt.name)
        names = names[:max(at + 1, 2)]
        before, after = (" ".join(part.text for part in self._parts(some))
                         for some in (names[:at], names[at + 1:]))
        sound = sentences.joined(self._parts(names), self._language)
        return self._grammar.accepts(prompt, self._ear.following(sound), (before, after))

    def _parts(self, names: list[str]) -> list[Prompt]:
        return [self._by_name[name] for name in names]

    def sentence(self, names: list[str]) -> Heard:
        parts = self._parts(names)
        return self._read_back(" ".join(part.text for part in parts), sentences.joined(parts, self._language))

    def sentences(self) -> list[Heard]:
        return [self.sentence(names) for names in self._sentences]

    def _read_back(self, said: str, samples: np.ndarray) -> Heard:
        heard = self._ear.hear(samples)
        return Heard(said, heard, self._reading.likeness(said, heard))
