"""The prompt lists, `sounds/prompts/<language>.tsv`."""

from dataclasses import dataclass
from pathlib import Path

SOUNDS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Prompt:
    name: str  # may hold a slash: "digits/0"
    text: str
    phonemes: str | None  # overrides what the G2P makes of the text
    voice: str | None  # overrides the language's voice

    def path(self, language: str) -> Path:
        return SOUNDS / language / f"{self.name}.wav"


def load(language: str) -> list[Prompt]:
    prompts = []
    for line in (SOUNDS / "prompts" / f"{language}.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, text, phonemes, voice, *rest = line.split("\t") + [""] * 2
            if any(rest):
                raise SystemExit(f"{language}.tsv: {name}: too many columns")
            prompts.append(Prompt(name, text, phonemes or None, voice or None))
    return prompts
