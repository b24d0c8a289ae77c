"""Whisper, by telephone, on one thread."""

from collections.abc import Callable, Iterable

import numpy as np
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from scipy.signal import resample_poly
from scipy.special import log_softmax

import audio
from models import Models

LONGEST = 30  # seconds, with the silence; what Whisper takes


def telephone(samples: np.ndarray) -> np.ndarray:
    """Speech after a narrow-band mu-law call, at 16 kHz again."""
    narrow = np.clip(resample_poly(samples, 1, 2), -1, 1)
    compressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    compressed = np.round(compressed * 127) / 127
    return resample_poly(np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256)) / 255, 2, 1)


class Ear:
    def __init__(self, models: Models, size: str, language: str):
        self._model = WhisperModel(str(models.whisper(size)), device="cpu", compute_type="int8", cpu_threads=1)
        self._tokenizer = Tokenizer(self._model.hf_tokenizer, size == "base", task="transcribe", language=language)
        self._start = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]

    def hear(self, samples: np.ndarray) -> str:
        (found,) = self._model.model.generate(self._encoded(samples), [self._start], beam_size=5, max_length=200)
        return self.text(token for token in found.sequences_ids[0] if token < self.end)

    def text(self, tokens: Iterable[int]) -> str:
        return self._tokenizer.decode(list(tokens)).strip()

    def tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text))

    @property
    def end(self) -> int:
        """The token after a text."""
        return self._tokenizer.eot

    def following(self, samples: np.ndarray) -> Callable:
        """Given the sound, how likely each token is at each place of a beginning and after it, as logarithms."""
        encoded = np.array(self._encoded(samples))

        def of(begun: list[tuple[int, ...]]) -> list[np.ndarray]:
            steps = max(map(len, begun)) + 1
            found = self._model.model.generate(
                StorageView.from_array(np.repeat(encoded, len(begun), axis=0)), [[*self._start, *each] for each in begun],
                beam_size=1, max_length=max(steps * 2, steps + len(self._start)),
                suppress_blank=False, suppress_tokens=[], return_logits_vocab=True,
            )
            return [log_softmax(np.stack([np.array(step).ravel() for step in each.logits[0][:len(text) + 1]]), axis=1)
                    for each, text in zip(found, begun, strict=True)]

        return of

    def _encoded(self, samples: np.ndarray) -> StorageView:
        """By telephone, with silence around: without any after it, Whisper says a word again and again."""
        before, after = np.zeros(audio.RATE // 2), np.zeros(8 * audio.RATE)
        sound = np.concatenate([before, telephone(samples), after])[:LONGEST * audio.RATE].astype(np.float32)
        return self._model.encode(self._model.feature_extractor(sound, padding=0))
