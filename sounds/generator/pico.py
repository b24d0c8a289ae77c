"""SVOX Pico, for languages that Kokoro has no voice for. It is quick, and less clear than Kokoro.

Its voice falls at the end of an utterance, whatever mark stands there. So what shall keep the voice up is
spoken as the first of two parts, and cut out at the first long pause.
"""

import sys

import numpy as np

import audio
from models import Models

PITCH = 1.1  # a little higher and slower it is better understood by telephone
SPEED = 0.92
SHORT, SLOW = 2, 0.8  # words; a prompt with no more is spoken slowly
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
        speed = SLOW if len(text.split()) <= SHORT else SPEED
        if text[-1] in ".:?!":
            return self._speak(text, speed)
        return self._before_pause(self._speak(f"{text.removesuffix(',')}, {AFTER}", speed), text)

    def _before_pause(self, speech: np.ndarray, text: str) -> np.ndarray:
        """Up to the last long pause: `AFTER` has none of its own."""
        rms = audio.frames_rms(speech, self.rate, FRAME)
        loud = np.flatnonzero(rms > rms.max() * audio.amplitude(PAUSE_FLOOR))
        pauses = np.flatnonzero(np.diff(loud) * FRAME >= PAUSE)
        if not len(pauses):
            raise ValueError(f"no pause after {text!r}")
        return speech[:round((loud[pauses[-1]] * FRAME + 0.06) * self.rate)]

    def _speak(self, text: str, speed: float) -> np.ndarray:
        speech = self._engine.speak(text, voice=self._voice, speed=speed, pitch=PITCH)
        return np.frombuffer(speech, "<i2") / 32768
