#!/usr/bin/env python3
"""Checks sounds/<language>/ against sounds/prompts/<language>.tsv.

Always: every file is there, its format, level, peak and silences. With --models also: each prompt is
brought to telephone quality (8 kHz, mu-law) and given to Whisper, and must be understood, in the first
of four ways that succeeds:

alone: Whisper, which may write whatever it likes, writes its words. English is compared word for word,
other languages by their sounds, as espeak-ng would say them (`nouveau message`, `nouveaux messages`).
in a sentence: as callers hear it, in a sentence that the server joins; Whisper must write the whole
sentence.
among all words: as a telephone recogniser is given a vocabulary, Whisper is held to the words of the
language's prompts, in any order, and must write those of this one.
among all prompts: only what has one or two words. As a telephone recogniser is given a grammar, Whisper is
held to what the prompts say, and its own text must be the likeliest, end included: alone, or, among those of
one or two words, in a sentence, heard as far as the prompt, or the one after a first.

So a caller who knows what may come can tell each word of a longer prompt from every other word, and a short
prompt from every other prompt. That it sounds well is not proved: what was not understood alone is told, so that somebody
listens.

--sentences reads back sentences of each kind that the server joins, until every prompt is in one
(sounds/prompts/sentences.tsv), and tells how many are heard word for word. They fail nothing.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import audio
import prompts
from listener import How, Listener
from models import Models
from prompts import Prompt
from reading import Reading

if TYPE_CHECKING:
    from ear import Ear

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

LEVEL_TOLERANCE = 0.5  # dB
LEAD, TAIL = 0.070, 0.120  # seconds of silence at most


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


def check(prompt: Prompt, language: str, listener: Listener | None) -> tuple[list[str], How | None]:
    """What is wrong with a prompt, and how it was understood."""
    try:
        samples = audio.read(prompt.path(language))
        wrong = faults(samples)
        if listener is None:
            return wrong, None
        how, heard = listener.understood(prompt, samples)
    except (OSError, audio.NotAPrompt) as error:
        return [str(error)], None
    if how is not How.ALONE:
        print(f"{how.value}: {prompt.name}: {heard}", flush=True)
    return wrong + [f"not understood: {heard}"] * (how is How.NOT), how


def sentence_faults(listed: list[Prompt], language: str, ear: "Ear") -> list[str]:
    """What is not understood of the sentences made of prompts."""
    by_name = {prompt.name: prompt for prompt in listed}
    reading = Reading(language, listed)
    found = []
    for sentence in SENTENCES:
        names = [
            part for word in sentence.split()
            for part in ([f"digits/{digit}" for digit in word] if word.isdigit() else [word])
        ]
        heard = ear.hear(np.concatenate([audio.read(by_name[name].path(language)) for name in names]))
        said = " ".join(by_name[name].text for name in names)
        if reading.likeness(said, heard) < 1:
            found.append(f"{sentence}: said {said!r}, heard {heard!r}")
    return found


def tell_sentences(listener: Listener, language: str) -> None:
    try:
        heard = listener.sentences()
    except (OSError, audio.NotAPrompt) as error:
        raise SystemExit(f"FAIL {error}") from error
    for each in heard:
        if each.likeness < 1:
            print(f"{each.likeness:.2f} {each}")
    exact, near = (sum(each.likeness >= least for each in heard) for least in (1, 0.9))
    print(f"{language}: {len(heard)} sentences, {exact} heard word for word, {near} at 0.9 of their sounds")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("language")
    arguments.add_argument("--models", type=Path, help="folder for the recogniser's packages; without it nothing is read back")
    arguments.add_argument("--only", nargs="+", metavar="NAME", help="check only these prompts, and no sentences")
    arguments.add_argument("--sentences", action="store_true", help="read back the server's sentences instead of the prompts")
    arguments.add_argument("--ear", choices=["base", "tiny.en"], default="base", help="Whisper's size")
    options = arguments.parse_args()

    language = options.language
    if options.sentences and not options.models:
        arguments.error("--sentences needs --models")
    if options.models:
        from ear import Ear
    ear = options.models and Ear(Models(options.models.resolve()), options.ear, language)
    listener = ear and Listener(ear, language)
    if options.sentences:
        return tell_sentences(listener, language)
    listed = prompts.load(language)
    failed, understood = signal_faults(language), Counter()
    for prompt in listed:
        if options.only and prompt.name not in options.only:
            continue
        wrong, how = check(prompt, language, listener)
        failed += [f"{prompt.name}: {fault}" for fault in wrong]
        understood[how] += 1
    if ear and not failed and not options.only and language == "en":
        failed = sentence_faults(listed, language, ear)
    for line in failed:
        print("FAIL", line)
    told = "; understood: " + ", ".join(f"{understood[how]} {how.value}" for how in How) if listener else ""
    print(f"{language}: {understood.total()} prompts, {len(failed)} faults{told}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
