"""Sentences made of prompts, joined as the server joins them (`src/media/phrase.rs`, `src/call/breath.rs`)."""

import numpy as np

import audio
import prompts
from prompts import Prompt

STEP = 0.002  # seconds whose power is measured together
QUIET = 2.5e-5  # of the loudest power: silence
SOFT = 0.005  # seconds of silence that stay at the ends
REST = 0.160  # seconds of breath between sentences


def load(language: str) -> list[list[str]]:
    """The names of the prompts of each sentence; a test of the server's writes the list."""
    lines = (prompts.SOUNDS / "prompts" / "sentences.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [names.split() for code, names in rows if code == language]


def joined(parts: list[Prompt], language: str) -> np.ndarray:
    sounds, ended = [], False
    for part in parts:
        if ended and _begins(part):
            sounds.append(audio.silence(REST))
        ended = part.text[-1] in ".!?"
        sounds.append(_spoken(audio.read(part.path(language))))
    return np.concatenate(sounds)


def _begins(part: Prompt) -> bool:
    """Whether a sentence begins with it: alone, a word with a capital letter may be a noun; a number may be more words."""
    if part.name.startswith(("letters/", "digits/")):
        return False
    first = next((character for character in part.text if character.isalpha()), "a")
    return first.isupper() and (" " in part.text or part.name.startswith("position/"))


def _spoken(samples: np.ndarray) -> np.ndarray:
    step, soft = round(STEP * audio.RATE), round(SOFT * audio.RATE)
    power = np.add.reduceat(samples**2, np.arange(0, len(samples), step))
    loud = np.flatnonzero(power > power.max() * QUIET)
    spoken = samples[max(0, loud[0] * step - soft):(loud[-1] + 1) * step + soft]
    return audio.fade(spoken, audio.RATE)
