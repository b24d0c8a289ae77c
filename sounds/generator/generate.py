#!/usr/bin/env python3
"""Makes sounds/<language>/**/*.wav from sounds/prompts/<language>.tsv. See sounds/README.md."""

import argparse
from pathlib import Path

import audio
import prompts
from espeak import EspeakG2P
from kokoro import EnglishG2P, Kokoro
from models import Models
from pico import Pico

# One line per language: what makes its engine. An engine has `rate` and `say(text, phonemes, voice)`.
ENGINES = {
    "en": lambda models: Kokoro(models, "af_heart", EnglishG2P(models)),
    # Alone, these voices swallow vowels of `trente et un` or `carpeta ocho` too.
    "es": lambda models: Kokoro(models, "ef_dora", EspeakG2P("es", "Escuche bien el número."), short=20),
    "fr": lambda models: Kokoro(models, "ff_siwis", EspeakG2P("fr-fr", "Écoutez bien le numéro."), short=20),
    "it": lambda models: Kokoro(models, "if_sara", EspeakG2P("it", "Ascolti bene il numero.")),
    "pt": lambda models: Kokoro(models, "pf_dora", EspeakG2P("pt-br", "Escute bem o número.")),
    "de": lambda models: Pico(models, "de-DE"),
}

# Sounds without words. They live in English, the language that every other one falls back to.
SIGNALS = {
    "beep": audio.beep,
    "silence/1": lambda: audio.silence(1.0),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("language", choices=ENGINES)
    arguments.add_argument("--models", type=Path, required=True, help="folder for the model packages (about 200 MB)")
    arguments.add_argument("--only", nargs="+", metavar="NAME", help="make only these prompts")
    options = arguments.parse_args()

    if options.language == "en":
        for name, signal in SIGNALS.items():
            audio.write(prompts.SOUNDS / "en" / f"{name}.wav", signal())

    engine = ENGINES[options.language](Models(options.models.resolve()))
    for prompt in prompts.load(options.language):
        if options.only and prompt.name not in options.only:
            continue
        samples = audio.master(engine.say(prompt.text, prompt.phonemes, prompt.voice), engine.rate)
        audio.write(prompt.path(options.language), samples)
        print(f"{prompt.name:24}{len(samples) / audio.RATE:6.2f} s  {prompt.text}", flush=True)


if __name__ == "__main__":
    main()
