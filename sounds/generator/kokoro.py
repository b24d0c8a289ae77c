"""Kokoro-82M on onnxruntime: phonemes to speech.

Kokoro adds a vowel before and after an utterance of a syllable or two ("in sex" for "six"). So a short
prompt is spoken as the middle one of three sentences, and cut out at the pauses. Other voices than the
English one make none: theirs is the second of two sentences, with a pause that we make between them.
"""

import json
import re
import sys

import numpy as np
import onnx
import onnxruntime

import audio
from models import Models

SPEED = 0.95
OWN_SPEED = re.compile(r"(?:(\d\.\d+) ?)?(.*)")  # a prompt's
SHORT = 12  # phonemes; a prompt with no more needs its neighbours
PAUSE = 0.15  # seconds; the least that must part it from them
PAUSE_WITHIN = 0.09  # where its voice stays up
PAUSE_FLOOR = -38.0  # dB below the loudest frame

DURATIONS = "/encoder/Clip_output_0"  # of each token, within the model
UNIT = 600  # samples, of a duration
MADE_PAUSE = 12  # units


STRETCHED = "stretched"


def stretchable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with one input more, which lengthens tokens, and with their durations as an output."""
    graph = model.graph
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name == DURATIONS:
                node.input[at] = STRETCHED
    (at,) = [at for at, node in enumerate(graph.node) if DURATIONS in node.output]
    graph.node.insert(at + 1, onnx.helper.make_node("Add", [DURATIONS, "more"], [STRETCHED]))
    shape = [1, "tokens"]
    graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, shape))
    graph.output.append(onnx.helper.make_tensor_value_info(STRETCHED, onnx.TensorProto.FLOAT, shape))
    return model


class EnglishG2P:
    """American English text to Kokoro's phonemes."""

    before, after = "Please listen to the number.", "Thank you for calling."

    def __init__(self, models: Models):
        sys.path.insert(0, str(models.english_g2p()))
        from hibari.g2p import G2P

        self._g2p = G2P()

    def __call__(self, text: str) -> str:
        return self._g2p(text)


class Kokoro:
    rate = 24_000

    def __init__(self, models: Models, voice: str, g2p, short: int = SHORT):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = stretchable(onnx.load(models.kokoro())).SerializeToString()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._vocabulary = json.loads(models.kokoro_vocabulary())["vocab"]
        self._models = models
        self._voice = voice
        self._g2p = g2p
        self._short = short
        self._speed = SPEED
        self._styles = {}

    def say(self, text: str, phonemes: str | None = None, voice: str | None = None) -> np.ndarray:
        """The third column holds a speed, phonemes, or both."""
        speed, phonemes = OWN_SPEED.fullmatch(phonemes or "").groups()
        self._speed = float(speed or SPEED)
        phonemes = phonemes or self._g2p(text)
        if phonemes[-1] not in ".,?!":
            phonemes += text[-1] if text[-1] in ".,?!" else "."
        style = self._style(voice or self._voice)
        if len(phonemes) > self._short:
            return self._speak(phonemes, style)
        before = self._g2p(self._g2p.before)
        if self._g2p.after is None:
            return self._after(before, phonemes, style)
        after = self._g2p(self._g2p.after)
        body, mark = phonemes[:-1], phonemes[-1]
        if mark == ",":
            # A semicolon keeps the voice up as a comma does, and leaves a longer pause.
            middle = self._middle(self._speak(f"{before} {body}; {after}", style), PAUSE_WITHIN)
            if middle is not None:
                return middle
            mark = "."
        middle = self._middle(self._speak(f"{before} {body}{mark} {after}", style), PAUSE)
        if middle is None:
            raise ValueError(f"no pauses around {text!r}")
        return middle

    def _after(self, before: str, phonemes: str, style: np.ndarray) -> np.ndarray:
        """The end of an utterance, from a pause that is made before it."""
        pause = len(before) - 1
        speech, ends = self._timed(f"{before} {phonemes}", style, pause)
        return speech[ends[pause + 1] - UNIT * 2:]

    def _speak(self, phonemes: str, style: np.ndarray) -> np.ndarray:
        return self._timed(phonemes, style)[0]

    def _timed(self, phonemes: str, style: np.ndarray, pause: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Speech, and where each phoneme ends in it; one may be made longer."""
        unknown = set(phonemes) - self._vocabulary.keys()
        if unknown:
            raise ValueError(f"Kokoro has no phonemes {sorted(unknown)} ({phonemes})")
        tokens = [self._vocabulary[phoneme] for phoneme in phonemes]
        more = np.zeros((1, len(tokens) + 2), np.float32)
        if pause is not None:
            more[0, pause + 1] = MADE_PAUSE
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[len(tokens)],
            "speed": np.array([self._speed], np.float32),
            "more": more,
        }
        speech, durations = self._session.run(["audio", STRETCHED], inputs)
        ends = np.cumsum(durations.ravel())[1:-1] * UNIT
        return speech.ravel().astype(np.float64), ends.astype(int)

    def _middle(self, speech: np.ndarray, pause: float) -> np.ndarray | None:
        """What is spoken between the two longest pauses, if they are long enough."""
        frame = 0.005
        rms = audio.frames_rms(speech, self.rate, frame)
        loud = np.flatnonzero(rms > rms.max() * audio.amplitude(PAUSE_FLOOR))
        pauses = np.diff(loud)
        first, second = sorted(np.argsort(pauses)[-2:])
        if min(pauses[first], pauses[second]) * frame < pause:
            return None
        begin, end = loud[first + 1] * frame - 0.05, loud[second] * frame + 0.08
        return speech[round(begin * self.rate):round(end * self.rate)]

    def _style(self, voice: str) -> np.ndarray:
        """A voice: one style vector for each length of utterance, in tokens."""
        if voice not in self._styles:
            data = self._models.kokoro_voice(voice)
            self._styles[voice] = np.frombuffer(data, "<f4").reshape(-1, 1, 256)
        return self._styles[voice]
