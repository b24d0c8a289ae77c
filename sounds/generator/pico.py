"""SVOX Pico, for languages that Kokoro has no voice for. It is clear, quick, and a little dull.

Its voice falls at the end of an utterance, whatever mark stands there. So what shall keep the voice up is
spoken as the first of two parts, and cut out at the first long pause.
"""

import sys

import numpy as np

import audio
from models import Models

AFTER = "und danach kommt mehr."
FRAME = 0.005
PAUSE = 0.15  # seconds
PAUSE_FLOOR = -45  # dB below the loudest frame


class Pico:
    rate = 16_000

    def __init__(self, models: Models, voice: str):
        sys.path.insert(0, str(models.pico()))
        from py_nanotts import NanoTTS

        self._engine = NanoTTS()
        self._voice = voice

    def say(self, text: str, phonemes: str | None = None, voice: str | None = None) -> np.ndarray:
        """The third column holds another spelling."""
        text = phonemes or text
        if text[-1] in ".:?!":
            return self._speak(text)
        return self._before_pause(self._speak(f"{text.removesuffix(',')}, {AFTER}"), text)

    def _before_pause(self, speech: np.ndarray, text: str) -> np.ndarray:
        """Up to the last long pause: `AFTER` has none of its own."""
        rms = audio.frames_rms(speech, self.rate, FRAME)
        loud = np.flatnonzero(rms > rms.max() * audio.amplitude(PAUSE_FLOOR))
        pauses = np.flatnonzero(np.diff(loud) * FRAME >= PAUSE)
        if not len(pauses):
            raise ValueError(f"no pause after {text!r}")
        return speech[:round((loud[pauses[-1]] * FRAME + 0.06) * self.rate)]

    def _speak(self, text: str) -> np.ndarray:
        return np.frombuffer(self._engine.speak(text, voice=self._voice), "<i2") / 32768
