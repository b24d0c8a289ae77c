"""Reads the letters of a directory as a mail program does, and tells of each as a line of JSON."""

import email
import email.policy
import email.utils
import io
import json
import pathlib
import sys
import wave


def part_of(part):
    told = {"type": part.get_content_type(), "disposition": part.get_content_disposition()}
    if part.is_multipart():
        return told | {"parts": [part_of(inner) for inner in part.iter_parts()]}
    if part.get_content_maintype() == "text":
        return told | {"charset": part.get_content_charset(), "text": part.get_content()}
    content = part.get_content()
    told |= {"name": part.get_filename(), "bytes": len(content), "opens": content[:4].decode("latin-1")}
    if part.get_content_type() == "audio/wav":
        with wave.open(io.BytesIO(content)) as audio:
            told["seconds"] = audio.getnframes() / audio.getframerate()
            told["samples"] = len(audio.readframes(audio.getnframes())) // audio.getsampwidth()
    return told


def letter_of(path):
    letter = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    defects = [str(defect) for part in letter.walk() for defect in part.defects]
    headers = {}
    for name, value in letter.items():
        defects += [f"{name}: {defect}" for defect in value.defects]
        headers[name.lower()] = str(value)
    at = int(email.utils.parsedate_to_datetime(headers["date"]).timestamp())
    return {"headers": headers, "defects": defects, "at": at, "body": part_of(letter)}


for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    print(json.dumps(letter_of(path)))
