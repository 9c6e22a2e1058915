"""Downloads of open data sets, for `python -m bench.data fetch` only; a sweep never downloads."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from bench.contracts import InputError
from bench.loading.archives import leaves_its_folder
from bench.loading.files import Remote, first_line

RETRIES = 3
TIMEOUT = 60  # seconds without an answer


def sha256(path: Path) -> str:
    """The SHA-256 of a file as it is stored."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(path: Path) -> Path:
    """The note beside a downloaded file: its address or query, the date and the SHA-256."""
    return path.with_name(f"{path.name}.source.json")


def fetch(remote: Remote, folder: Path) -> Path:
    """Download, check, and only then put a file in its place; one that is there with the right hash stays.

    Raises InputError for an address that does not answer, a web page in place of data, a wrong hash, a zip archive
    with a path that leaves its folder.
    """
    target = folder / remote.path
    if target.is_file() and _expected(remote, target) == sha256(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as place:
            got = _download(remote.url, Path(place), "" if remote.member else remote.sha256)
            if remote.member:
                got = _unpack(got, remote)
            _check(got, remote)
            note = {
                "url": remote.url,
                "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
                "sha256": sha256(got),
                "bytes": got.stat().st_size,
            }
            os.replace(got, target)
            record(target).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None
    return target


def _expected(remote: Remote, target: Path) -> str:
    return remote.sha256 or recorded(target)


def recorded(path: Path) -> str:
    """The SHA-256 noted when the file was fetched; empty where there is no note."""
    try:
        return str(json.loads(record(path).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _download(url: str, folder: Path, known: str) -> Path:
    import pooch  # only a download needs it
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel(logging.WARNING)
    http = pooch.HTTPDownloader(timeout=TIMEOUT)

    def download(address: str, output: str, pup: object) -> None:
        http(address, output, pup)
        with open(output, "rb") as file:
            begin = file.read(512).lstrip().lower()
        if begin.startswith((b"<!doctype html", b"<html")):
            raise InputError(f"{url}: answered with a web page (HTML) in place of data")

    try:
        files = pooch.create(folder, "", registry={"file": known or None}, urls={"file": url}, retry_if_failed=RETRIES)
        return Path(files.fetch("file", downloader=download))
    except RequestException as error:
        raise InputError(f"{url}: cannot be fetched: {first_line(error)}") from None
    except ValueError as error:  # what pooch raises for a hash that does not match
        raise InputError(f"{url}: {first_line(error)}") from None


def _unpack(archive: Path, remote: Remote) -> Path:
    try:
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                if leaves_its_folder(name):
                    raise InputError(f"{remote.url}: member '{name}' of the archive leaves its folder: refused")
            if remote.member not in content.namelist():
                found = ", ".join(content.namelist())
                raise InputError(f"{remote.url}: no member '{remote.member}' in the archive, found {found}")
            member = archive.with_name("member")
            member.write_bytes(content.read(remote.member))
            return member
    except zipfile.BadZipFile as error:
        raise InputError(f"{remote.url}: expected a zip archive: {first_line(error)}") from None


def _check(path: Path, remote: Remote) -> None:
    found = sha256(path)
    if remote.sha256 and found != remote.sha256:
        raise InputError(f"{remote.url}: SHA-256 of {remote.path} is {found}, expected {remote.sha256}: refused")
    with path.open("rb") as file:
        begin = file.read(len(remote.begins))
    if begin != remote.begins:
        raise InputError(f"{remote.url}: the file begins with {begin!r}, expected {remote.begins!r}: refused")
