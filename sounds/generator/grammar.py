"""What a telephone recogniser is held to: the words of the prompts, or what the prompts say."""

import re
from collections.abc import Callable, Iterable
from heapq import heappop, heappush, nlargest
from math import inf

from prompts import Prompt
from reading import Reading

MARKS = ".,:;?!¿¡ "
SHORT = 2  # words; what a sentence may be given in place of a prompt with no more
BATCH = 8  # beginnings that are looked at together
BEAM = 4  # beginnings that are followed
LONGEST = 80  # tokens

Tokens = tuple[int, ...]


class Vocabulary:
    """The words of a language's prompts, in any order."""

    def __init__(self, listed: list[Prompt], tokens: Callable[[str], Tokens], end: int):
        words = {word.strip(MARKS) for prompt in listed for word in prompt.text.split()} - {""}
        forms = {form for word in words for form in (word, word[0].lower() + word[1:], word[0].upper() + word[1:])}
        self._words = {tokens(f" {form}") for form in forms}
        self._within: dict[Tokens, set[int]] = {}
        for word in self._words:
            for at, token in enumerate(word):
                self._within.setdefault(word[:at], set()).add(token)
        self._marks = {tokens(mark)[-1] for mark in ",.?!"}
        self._end = end

    def likeliest(self, following: Callable) -> Tokens:
        """What a recogniser writes that knows no other words. `following` as for `Grammar.accepts`."""
        begun, best = [(0.0, (), ())], (-inf, ())
        while begun and begun[0][0] > best[0] and len(begun[0][1]) < LONGEST:
            longer = []
            for (score, text, word), logs in zip(begun, following([text for _, text, _ in begun]), strict=True):
                after = logs[len(text)]
                longer += [(score + after[token], (*text, token), state) for token, state in self._after(word)]
                if text and (not word or word in self._words):
                    best = max(best, (score + after[self._end], text))
            begun = nlargest(BEAM, longer)
        return best[1]

    def _after(self, word: Tokens) -> Iterable[tuple[int, Tokens]]:
        """Each token that may follow, and what of a word there is with it."""
        for token in self._within.get(word, ()):
            yield token, (*word, token)
        if word in self._words:
            yield from ((token, (token,)) for token in self._within[()])
            yield from ((mark, ()) for mark in self._marks)


class Grammar:
    """Texts by their sounds, as prompts that sound alike cannot be told apart, with the spellings of each."""

    def __init__(self, listed: list[Prompt], reading: Reading, tokens: Callable[[str], Tokens], end: int):
        self._reading, self._tokens, self._end = reading, tokens, end
        self._all, self._short = {}, {}
        for prompt in listed:
            for texts in [self._all] + [self._short] * is_short(prompt):
                texts.setdefault(reading.sounds(prompt.text), set()).update(_spellings(prompt))

    def accepts(self, prompt: Prompt, following: Callable, around: tuple[str, str] = ("", "")) -> bool:
        """Whether the likeliest text is its own: of all prompts' alone, of all short ones' in its sentence.

        `following` tells of beginnings, given the sound, how likely each token is after each of theirs.
        """
        before, after = around
        sounds_of = {
            (*self._tokens(form), self._end): sounds
            for sounds, spellings in (self._short if before or after else self._all).items()
            for spelling in spellings
            for form in _forms(before, spelling, after)
        }
        return sounds_of[likeliest(sounds_of, following)] == self._reading.sounds(prompt.text)


def likeliest(texts: Iterable[Tokens], following: Callable) -> Tokens:
    """The likeliest of all texts: none is likelier than its beginning, so the less likely need no look."""
    after: dict[Tokens, set[int]] = {}
    for text in texts:
        for at, token in enumerate(text):
            after.setdefault(text[:at], set()).add(token)
    begun = [(0.0, ())]
    while (best := begun[0][1]) in after:
        looked_at = [heappop(begun) for _ in range(min(BATCH, len(begun)))]
        whole = [each for each in looked_at if each[1] not in after]
        looked_at = [each for each in looked_at if each[1] in after]
        paths = [_only_way(text, after) for _, text in looked_at]
        for (cost, text), path, logs in zip(looked_at, paths, following(paths), strict=True):
            cost -= sum(logs[at][path[at]] for at in range(len(text), len(path)))
            for token in after[path]:
                heappush(begun, (cost - logs[len(path)][token], (*path, token)))
        for each in whole:
            heappush(begun, each)
    return best


def _only_way(text: Tokens, after: dict[Tokens, set[int]]) -> Tokens:
    """As far as it goes on without a choice, but for its end."""
    while len(after[text]) == 1:
        longer = (*text, *after[text])
        if longer not in after:
            break
        text = longer
    return text


def is_short(prompt: Prompt) -> bool:
    return sum(bool(word.strip(MARKS)) for word in prompt.text.split()) <= SHORT


def _spellings(prompt: Prompt) -> set[str]:
    bare = prompt.text.strip(MARKS)
    return {bare, bare[0].lower() + bare[1:]}


def _forms(before: str, text: str, after: str) -> set[str]:
    """As a sentence, with a full stop and without."""
    sentence = re.sub(f"[{MARKS}]+", " ", f"{before} {text} {after}") if before or after else text
    sentence = sentence.strip(MARKS)
    sentence = f" {sentence[0].upper()}{sentence[1:]}"
    return {sentence, f"{sentence}."}
