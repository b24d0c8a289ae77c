"""What a recogniser wrote, compared with what a prompt says.

English is compared word for word. Other languages, which a small recogniser knows less well, are
compared by their sounds, as espeak-ng would say them.
"""

import difflib
import re
from functools import partial

import espeak
from prompts import Prompt

# What a recogniser may write for the same sounds.
SAME = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "hundred": "100", "to": "2", "too": "2", "for": "4", "won": "1", "ate": "8",
    "be": "b", "bee": "b", "see": "c", "sea": "c", "eff": "f", "gee": "g", "eye": "i", "jay": "j", "kay": "k",
    "el": "l", "em": "m", "en": "n", "oh": "o", "pee": "p", "pea": "p", "cue": "q", "queue": "q", "are": "r",
    "tea": "t", "tee": "t", "you": "u", "ex": "x", "why": "y", "eh": "a", "hey": "a", "ay": "a",
}

# espeak-ng's voice of a language.
VOICES = {"es": "es", "fr": "fr-fr", "it": "it", "pt": "pt-br", "de": "de"}

# Alone, espeak-ng spells such a letter (`é` as "e agudo"); with a silent h it is said.
ACCENTED = re.compile(r" *([à-öø-ÿ]) *")

# How a recogniser writes a time of day, and what stands between hours and minutes when it is said.
TIME = re.compile(r"\b(\d{1,2})(?:[.:,](\d\d)( Uhr)?| ?h ?(\d\d)?)(?!\d)")
HOURS = {"de": " Uhr ", "fr": " heures "}


class Reading:
    """Of one language, with its prompts' words for numbers: a recogniser writes `42` for `zweiundvierzig`."""

    def __init__(self, language: str, listed: list[Prompt]):
        self._language = language
        texts = {prompt.name: prompt.text.strip(".,") for prompt in listed}
        self._numbers = {name.removeprefix("digits/"): text for name, text in texts.items()
                         if re.fullmatch(r"digits/\d+", name)}
        self._before_noun = {
            gender: {name[len("digits/"):-1]: text for name, text in texts.items()
                     if re.fullmatch(rf"digits/\d+{gender}", name)}
            for gender in "MF"
        }
        self._ordinals = {name.removeprefix("digits/h-"): text for name, text in texts.items()
                          if name.startswith("digits/h-")}
        self._thousand = texts.get("digits/thousand", "")

    def likeness(self, said: str, heard: str) -> float:
        """1.0 for the same words, or, where they are not English, the same sounds in their order."""
        if self._language == "en":
            return float(words(said) in (words(heard), words(self._in_english(heard))))
        sounds = self._sounds(said, str)
        reads = (self._cardinal, self._digits, self._clock, partial(self._counted, "M"), partial(self._counted, "F"))
        readings = (self._sounds(heard, read) for read in reads)
        return max(1.0 if sounds == other else min(0.999, difflib.SequenceMatcher(None, sounds, other).ratio())
                   for other in readings)

    def sounds(self, said: str) -> str:
        """The same for texts that cannot be told apart."""
        return words(said) if self._language == "en" else self._sounds(said, str)

    def _in_english(self, text: str) -> str:
        """With `14th`, `28` and `pm` as they are said."""
        text = re.sub(r"\b([ap])m\b", r"\1 m", text)
        ordinals = re.sub(r"(\d+)(?:st|nd|rd|th)\b", lambda found: self._ordinals.get(found[1], found[0]), text)
        return re.sub(r"\d+", lambda found: f" {self._numbers.get(found[0], found[0])} ", ordinals)

    def _sounds(self, text: str, read) -> str:
        """The phonemes of a text, with its figures read by `read`."""
        plain = re.sub(r"[^\w ']", " ", read(text).lower().replace("’", "'"))
        if alone := ACCENTED.fullmatch(plain):
            plain = f"{alone[1]}h"
        return re.sub(r"[^\w\u0303]|[ˈˌː]", "", espeak.ipa(plain, VOICES[self._language]))

    def _cardinal(self, text: str) -> str:
        return re.sub(r"\d+", lambda found: f" {self._in_words(found[0])} ", text)

    def _digits(self, text: str) -> str:
        return re.sub(r"\d", lambda found: f" {self._numbers[found[0]]} ", text)

    def _counted(self, gender: str, text: str) -> str:
        """With numbers as they are said before a noun: `51 minutos` is heard for `cincuenta y un minutos`."""
        own = self._before_noun[gender]
        return self._cardinal(re.sub(r"\d+", lambda found: own.get(found[0], found[0]), text))

    def _clock(self, text: str) -> str:
        """With times of day and, where a language says them of days, with ordinals."""
        def time(found: re.Match) -> str:
            minutes = found[2] or found[4] or ""
            return f"{found[1]}{HOURS.get(self._language, ' ')}{'' if minutes == '00' else minutes.lstrip('0')}"

        text = TIME.sub(time, text)
        if self._language == "de":
            text = re.sub(r"\b(\d{1,2})\. ?(?=[^\W\d])", lambda found: self._ordinals.get(found[1], "") + " ", text)
        return self._cardinal(text)

    def _in_words(self, number: str) -> str:
        if number in self._numbers:
            return self._numbers[number]
        value = int(number)
        if number[0] == "0" or value > 9_999:
            return " ".join(self._numbers[digit] for digit in number)
        if value >= 1_000:
            thousands = "" if value < 2_000 else self._in_words(str(value // 1_000))
            return f"{thousands} {self._thousand} {self._rest(value % 1_000)}"
        hundreds, ten = str(value // 100 * 100), value // 10 * 10
        if hundreds in self._numbers:
            return f"{self._numbers[hundreds]} {self._rest(value % 100)}"
        if value < 100 and str(ten) in self._numbers:
            return f"{self._numbers[str(ten)]} {self._rest(value % 10)}"
        return " ".join(self._numbers[digit] for digit in number)

    def _rest(self, value: int) -> str:
        return self._in_words(str(value)) if value else ""


def words(text: str) -> str:
    """Text as a recogniser's and a prompt's can be compared: words, with digits written together."""
    plain = re.sub(r"[^\w ]", " ", text.lower().replace("didn't", "did not"))
    plain = " ".join(SAME.get(word, word) for word in re.sub(r"(\d)(?=\d)", r"\1 ", plain).split())
    return re.sub(r"(?<=\d) (?=\d)", "", plain)
