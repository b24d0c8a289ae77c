"""Samples: f64 arrays in -1..1, in and out of WAV files, and the measures that prompts must keep."""

import struct
from pathlib import Path

import numpy as np
from scipy.ndimage import minimum_filter1d
from scipy.signal import butter, resample_poly, sosfiltfilt

RATE = 16_000
ACTIVE_LEVEL = -20.0  # dBFS, of the frames that hold speech
PEAK = -3.0  # dBFS
LEAD, TAIL = 0.020, 0.060  # seconds kept before and after the speech
FADE = 0.005
HOLD = 0.030  # seconds over which the limiter holds and smooths its gain
SPEECH_FLOOR = -45.0  # dB below the loudest frame
ACTIVE_FLOOR = -25.0


def db(amplitude: float) -> float:
    return 20 * np.log10(max(amplitude, 1e-9))


def amplitude(level: float) -> float:
    return 10 ** (level / 20)


def frames_rms(samples: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    size = round(rate * seconds)
    padded = np.pad(samples, (0, -len(samples) % size))
    return np.sqrt(np.mean(padded.reshape(-1, size) ** 2, axis=1))


def speech_span(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Where speech begins and ends, in seconds."""
    frame = 0.005
    rms = frames_rms(samples, rate, frame)
    loud = np.flatnonzero(rms > rms.max() * amplitude(SPEECH_FLOOR))
    return loud[0] * frame, min((loud[-1] + 1) * frame, len(samples) / rate)


def active_level(samples: np.ndarray, rate: int) -> float:
    """The RMS level of the frames that hold speech. (EBU R128 needs 400 ms; many prompts are shorter.)"""
    rms = frames_rms(samples, rate, 0.020)
    return db(np.sqrt(np.mean(rms[rms > rms.max() * amplitude(ACTIVE_FLOOR)] ** 2)))


def fade(samples: np.ndarray, rate: int) -> np.ndarray:
    """Raised-cosine fades at both ends."""
    size = round(rate * FADE)
    ramp = (1 - np.cos(np.pi * (np.arange(size) + 0.5) / size)) / 2
    faded = samples.copy()
    faded[:size] *= ramp
    faded[-size:] *= ramp[::-1]
    return faded


def master(speech: np.ndarray, rate: int) -> np.ndarray:
    """A synthesiser's output as a prompt: no rumble, no long silences, at `RATE` and at our level."""
    speech = sosfiltfilt(butter(2, 90, "highpass", fs=rate, output="sos"), speech)
    begin, end = speech_span(speech, rate)
    speech = speech[max(0, round((begin - LEAD) * rate)):round((end + TAIL) * rate)]
    return levelled(fade(resample_poly(speech, RATE, rate, window=("kaiser", 8.6)), RATE))


def levelled(speech: np.ndarray) -> np.ndarray:
    """A prompt at our level: its highest peaks are held down, so that they do not keep it quieter than others."""
    for _ in range(20):
        missing = ACTIVE_LEVEL - active_level(limited(speech), RATE)
        if abs(missing) < 0.02:
            break
        speech = speech * amplitude(missing)
    return limited(speech)


def limited(speech: np.ndarray) -> np.ndarray:
    """With no peak above `PEAK`: the gain goes down before a peak and comes back after it, without a click."""
    size = round(RATE * HOLD) | 1
    gain = np.minimum(1.0, amplitude(PEAK) / np.maximum(np.abs(speech), 1e-9))
    held = minimum_filter1d(gain, size, mode="nearest")
    window = np.hanning(size + 2)[1:-1]
    return speech * np.convolve(np.pad(held, size // 2, mode="edge"), window / window.sum(), mode="valid")


def beep() -> np.ndarray:
    """The tone before a recording: 0.4 s, steady between its fades, so that test tools can detect it."""
    time = np.arange(round(0.4 * RATE)) / RATE
    return fade(amplitude(-12.0) * np.sin(2 * np.pi * 1000 * time), RATE)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


def header(data_bytes: int) -> bytes:
    """The plain 44-byte header of PCM16 mono at `RATE`."""
    return HEADER.pack(b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16, b"data", data_bytes)


def write(path: Path, samples: np.ndarray) -> None:
    data = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header(len(data)) + data)


class NotAPrompt(ValueError):
    pass


def read(path: Path) -> np.ndarray:
    """The samples of a file that `write` could have written; any other file is `NotAPrompt`."""
    content = path.read_bytes()
    data = content[HEADER.size:]
    if content[:HEADER.size] != header(len(data)):
        raise NotAPrompt(f"{path} is not mono PCM16 at 16 kHz with a 44-byte header")
    return np.frombuffer(data, "<i2") / 32767
