#!/usr/bin/env python3
"""Checks sounds/<language>/ against sounds/prompts/<language>.tsv.

Always: every file is there, its format, level, peak and silences. With --models also: each prompt is
brought to telephone quality (8 kHz, mu-law) and read back by Whisper. A prompt of several words, and
some sentences made of prompts, must be heard word for word; a single word, which no recogniser can be
sure of, is only flagged. Other languages than English, which a small recogniser knows less well, are
compared by their sounds, as espeak-ng would say them: what sounds alike (`nouveau message`, `nouveaux
messages`) was heard, what sounds nearly so is flagged, and all else is a fault.
"""

import argparse
import difflib
import re
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

import audio
import espeak
import prompts
from models import Models
from prompts import Prompt

# Prompts one after the other, as callers hear them; a number stands for its digits.
SENTENCES = [
    *(f"vm-theperson {number} vm-isunavail" for number in ("1234", "5678", "9026", "6262", "3975")),
    "vm-theperson 4201 vm-isonphone",
    "vm-extension 7803",
    "2128560149",
    "vm-youhave digits/mid-2 counts/new vm-and digits/mid-1 counts/old-one",
    "position/first vm-received digits/today digits/at digits/mid-3 digits/15 digits/p-m",
    "vm-duration digits/mid-1 vm-minute vm-and digits/20 vm-seconds",
]

NEARLY = 0.75  # of the sounds, in their order
LEVEL_TOLERANCE = 0.5  # dB
LEAD, TAIL = 0.070, 0.120  # seconds of silence at most

# What a recogniser may write for the same sounds.
SAME = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "hundred": "100", "to": "2", "too": "2", "for": "4", "won": "1", "ate": "8",
    "be": "b", "bee": "b", "see": "c", "sea": "c", "eff": "f", "gee": "g", "eye": "i", "jay": "j", "kay": "k",
    "el": "l", "em": "m", "en": "n", "oh": "o", "pee": "p", "pea": "p", "cue": "q", "queue": "q", "are": "r",
    "tea": "t", "tee": "t", "you": "u", "ex": "x", "why": "y", "eh": "a", "hey": "a", "ay": "a",
}


def words(text: str) -> str:
    """Text as a recogniser's and a prompt's can be compared: words, with digits written together."""
    plain = re.sub(r"[^\w ]", " ", text.lower().replace("didn't", "did not"))
    plain = " ".join(SAME.get(word, word) for word in re.sub(r"(\d)(?=\d)", r"\1 ", plain).split())
    return re.sub(r"(?<=\d) (?=\d)", "", plain)


def telephone(samples: np.ndarray) -> np.ndarray:
    """Speech after a narrow-band mu-law call, at 16 kHz again."""
    narrow = np.clip(resample_poly(samples, 1, 2), -1, 1)
    compressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    compressed = np.round(compressed * 127) / 127
    return resample_poly(np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256)) / 255, 2, 1)


# espeak-ng's voice of a language.
VOICES = {"es": "es", "fr": "fr-fr", "it": "it", "pt": "pt-br", "de": "de"}


def sounds(text: str, language: str, numbers: dict[str, str]) -> str:
    """What is compared of a text: its words, or, where they are not English, its phonemes."""
    if language == "en":
        return words(text)
    spelled = re.sub(r"\d+", lambda found: " " + in_words(found[0], numbers) + " ", text)
    plain = re.sub(r"[^\w ']", " ", spelled.lower().replace("’", "'"))
    phonemes = espeak.ipa(plain, VOICES[language])
    return re.sub(r"[^\w\u0303]|[ˈˌː]", "", phonemes)


def in_words(number: str, numbers: dict[str, str]) -> str:
    """A recogniser writes `42` for what the prompt has in words."""
    if number in numbers:
        return numbers[number]
    return " ".join(numbers.get(digit, digit) for digit in number)


class Ear:
    """Whisper, on one thread."""

    def __init__(self, models: Models, size: str, language: str):
        from faster_whisper import WhisperModel

        self._model = WhisperModel(str(models.whisper(size)), device="cpu", compute_type="int8", cpu_threads=1)
        self._language = language

    def hear(self, samples: np.ndarray) -> str:
        quiet = np.zeros(audio.RATE // 2)
        sound = np.concatenate([quiet, telephone(samples), quiet]).astype(np.float32)
        segments, _ = self._model.transcribe(
            sound, language=self._language, beam_size=5, without_timestamps=True,
            condition_on_previous_text=False, chunk_length=max(8, len(sound) // audio.RATE + 4),
        )
        return " ".join(segment.text.strip() for segment in segments)


def faults(samples: np.ndarray) -> list[str]:
    """What is wrong with a prompt's sound."""
    begin, end = audio.speech_span(samples, audio.RATE)
    tail = len(samples) / audio.RATE - end
    level, peak = audio.active_level(samples, audio.RATE), audio.db(np.abs(samples).max())
    found = []
    if begin > LEAD:
        found.append(f"{begin * 1000:.0f} ms of silence before")
    if tail > TAIL:
        found.append(f"{tail * 1000:.0f} ms of silence after")
    if peak > audio.PEAK + 0.05:
        found.append(f"peak {peak:.1f} dBFS")
    if abs(level - audio.ACTIVE_LEVEL) > LEVEL_TOLERANCE:
        found.append(f"level {level:.1f} dBFS")
    return found


def signal_faults(language: str) -> list[str]:
    """What is wrong with the sounds without words."""
    found = []
    if language == "en":
        for name, expected in {"beep": audio.beep(), "silence/1": audio.silence(1.0)}.items():
            samples = audio.read(prompts.SOUNDS / "en" / f"{name}.wav")
            if len(samples) != len(expected) or np.abs(samples - expected).max() > 1 / 32767:
                found.append(f"{name}: differs from what generate.py makes")
    return found


def check(
    prompt: Prompt, language: str, ear: Ear | None, numbers: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Faults, which fail the check, and flags, which do not."""
    try:
        samples = audio.read(prompt.path(language))
    except (OSError, ValueError) as error:
        return [str(error)], []
    wrong, flags = faults(samples), []
    if ear:
        heard = ear.hear(samples)
        said, understood = (sounds(text, language, numbers) for text in (prompt.text, heard))
        if said != understood:
            nearly = language != "en" and difflib.SequenceMatcher(None, said, understood).ratio() >= NEARLY
            mild = nearly or len(prompt.text.split()) == 1
            (flags if mild else wrong).append(f"said {prompt.text!r}, heard {heard!r}")
    return wrong, flags


def sentence_faults(listed: list[Prompt], language: str, ear: Ear) -> list[str]:
    """What is not understood of the sentences made of prompts."""
    by_name = {prompt.name: prompt for prompt in listed}
    found = []
    for sentence in SENTENCES:
        names = [
            part for word in sentence.split()
            for part in ([f"digits/{digit}" for digit in word] if word.isdigit() else [word])
        ]
        heard = ear.hear(np.concatenate([audio.read(by_name[name].path(language)) for name in names]))
        said = " ".join(by_name[name].text for name in names)
        if words(heard) != words(said):
            found.append(f"{sentence}: said {said!r}, heard {heard!r}")
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("language")
    arguments.add_argument("--models", type=Path, help="folder for the recogniser's packages; without it nothing is read back")
    arguments.add_argument("--only", nargs="+", metavar="NAME", help="check only these prompts, and no sentences")
    arguments.add_argument("--ear", choices=["base", "tiny.en"], default="base", help="Whisper's size")
    options = arguments.parse_args()

    ear = options.models and Ear(Models(options.models.resolve()), options.ear, options.language)
    listed = prompts.load(options.language)
    numbers = {
        prompt.name.removeprefix("digits/"): prompt.text.strip(".,")
        for prompt in listed if re.fullmatch(r"digits/\d+", prompt.name)
    }
    failed = signal_faults(options.language)
    flagged = []
    for prompt in listed:
        if options.only and prompt.name not in options.only:
            continue
        wrong, flags = check(prompt, options.language, ear, numbers)
        failed += [f"{prompt.name}: {fault}" for fault in wrong]
        flagged += [f"{prompt.name}: {flag}" for flag in flags]
    if ear and not failed and not options.only and options.language == "en":
        failed = sentence_faults(listed, options.language, ear)
    print("\n".join([f"FLAG {line}" for line in flagged] + [f"FAIL {line}" for line in failed]))
    print(f"{options.language}: {len(listed)} prompts, {len(failed)} faults, {len(flagged)} flags")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
