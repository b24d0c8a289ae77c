"""Whisper, by telephone: reads prompts back, alone and in sentences."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import resample_poly

import audio
import prompts
import sentences
from models import Models
from prompts import Prompt
from reading import Reading

NEARLY = 0.75  # of the sounds, in their order
TRIED = 2  # sentences for a word that is misheard alone


def telephone(samples: np.ndarray) -> np.ndarray:
    """Speech after a narrow-band mu-law call, at 16 kHz again."""
    narrow = np.clip(resample_poly(samples, 1, 2), -1, 1)
    compressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    compressed = np.round(compressed * 127) / 127
    return resample_poly(np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256)) / 255, 2, 1)


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


@dataclass(frozen=True)
class Heard:
    said: str
    heard: str
    likeness: float  # 1.0 for the same words

    def __str__(self) -> str:
        return f"said {self.said!r}, heard {self.heard!r}"


class Listener:
    def __init__(self, ear: Ear, language: str):
        self._ear = ear
        self._language = language
        listed = prompts.load(language)
        self._by_name = {prompt.name: prompt for prompt in listed}
        self._reading = Reading(language, listed)
        self._sentences = sentences.load(language)
        self.only_in_sentences = 0

    def misheard(self, prompt: Prompt, samples: np.ndarray) -> tuple[Heard, bool] | None:
        """What was heard instead of a prompt, and whether that is a fault."""
        alone = self._read_back(prompt.text, samples)
        if alone.likeness == 1:
            return None
        is_word = len(prompt.text.split()) == 1
        if is_word and self._language != "en":
            of_it = [names for names in self._sentences if prompt.name in names]
            if any(self.sentence(names).likeness == 1 for names in of_it[:TRIED]):
                self.only_in_sentences += 1
                return None
        return alone, alone.likeness < NEARLY and not is_word

    def sentence(self, names: list[str]) -> Heard:
        parts = [self._by_name[name] for name in names]
        return self._read_back(" ".join(part.text for part in parts), sentences.joined(parts, self._language))

    def sentences(self) -> list[Heard]:
        return [self.sentence(names) for names in self._sentences]

    def _read_back(self, said: str, samples: np.ndarray) -> Heard:
        heard = self._ear.hear(samples)
        return Heard(said, heard, self._reading.likeness(said, heard))
