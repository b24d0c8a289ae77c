"""Text to Kokoro's phonemes by `espeak-ng`, for the languages that Kokoro learnt from it."""

import re
import subprocess

# espeak-ng ties the letters of one sound together; Kokoro has one sign for some of those.
TIED = {
    "a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "s^s": "S",
    "t^s": "ʦ", "t^ʃ": "ʧ", "ɔ^ɪ": "Y",
}
# Signs that Kokoro does not know, and can do without.
DROPPED = re.compile("[\u032a\u0329^-]")
MARKS = re.compile(r"\s*([.,:;!?])\s*")


def ipa(text: str, voice: str) -> str:
    """One clause, without punctuation."""
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", voice, "--", text]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Where it believes a word to be foreign, it tells the language in brackets.
    return re.sub(r"\([a-z^-]+\)", "", " ".join(output.split()))


class EspeakG2P:
    after = None

    def __init__(self, voice: str, before: str):
        self._voice = voice
        self.before = before

    def __call__(self, text: str) -> str:
        # espeak-ng drops the punctuation that Kokoro speaks by.
        *clauses, rest = MARKS.split(re.sub("[¿¡]", "", text).strip())
        spoken = [
            self._clause(clause) + mark for clause, mark in zip(clauses[::2], clauses[1::2], strict=True)
        ]
        # What breaks off goes on in the next prompt.
        return " ".join(spoken + ([self._clause(rest) + ","] if rest else []))

    def _clause(self, text: str) -> str:
        phonemes = ipa(text, self._voice)
        for tied, sign in TIED.items():
            phonemes = phonemes.replace(tied, sign)
        return DROPPED.sub("", phonemes)
