"""Parses the version strings of Milvus and compares releases."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import total_ordering

_RELEASE = re.compile(r"(?i)(?:^|milvus[ _-]*(?:lite[ _-]*)?)v?(\d+)\.(\d+)(?:\.(\d+))?")

ReleaseNumber = tuple[int, int, int]

HEAD = 10**6
"""The patch number of a version that names only a line ("2.6-20260404"): above every release."""


@total_ordering
@dataclass(frozen=True)
class Version:
    """A server's version; compared by number, not by its spelling.

    An unknown version (a managed service hides it) has no number.

    >>> parse("v2.3.22.6"), parse("Zilliz Cloud Vector Database(Compatible with Milvus 2.6)")
    (Version('2.3.22'), Version('2.6'))
    """

    text: str = field(compare=False)
    number: ReleaseNumber | None = None

    @property
    def known(self) -> bool:
        """Whether the server reported its release."""
        return self.number is not None

    @property
    def lite(self) -> bool:
        """Whether it is milvus-lite, which differs from Milvus in many details."""
        return "lite" in self.text.lower() and "milvus_lite" in self.text.lower()

    @property
    def files(self) -> bool:
        """Whether it is not a server, but a folder of Parquet files."""
        return "(Parquet)" in self.text

    @property
    def product(self) -> str:
        """The product and its version, for messages."""
        return "files in Parquet" if self.files else f"Milvus {self}"

    def __lt__(self, other: Version) -> bool:
        return (self.number or (0, 0, 0)) < (other.number or (0, 0, 0))

    def __str__(self) -> str:
        if self.number is None:
            return f"unknown ({self.text!r})" if self.text else "unknown"
        if self.files:
            return "Parquet"
        major, minor, patch = self.number
        release = f"{major}.{minor}" if patch == HEAD else f"{major}.{minor}.{patch}"
        return f"{release} (milvus-lite)" if self.lite else release

    def __repr__(self) -> str:
        return f"Version({str(self)!r})"


def parse(*texts: str) -> Version:
    """Returns the best of several answers: a release, otherwise a line, otherwise unknown.

    A server reports its version twice, by GetVersion and by Connect, and a managed one hides it in
    one of them. milvus-backup's client tests list the existing forms.

    >>> parse("unknown-20260608-7ea6e3526", "Milvus 2.6").number == (2, 6, HEAD)
    True
    >>> parse("master-20260226-abcdef").known
    False
    """
    read = [version for version in map(_read, texts) if version.known]
    releases = [version for version in read if version.number and version.number[2] != HEAD]
    unknown = Version(next((text for text in texts if text), ""))
    return next(iter([*releases, *read]), unknown)


def _read(text: str) -> Version:
    release = _RELEASE.search(text)
    if not release:
        return Version(text)
    major, minor, patch = release.groups()
    return Version(text, (int(major), int(minor), HEAD if patch is None else int(patch)))


def has(version: Version, *since: ReleaseNumber) -> bool:
    """Returns whether a server has what came with the releases `since`; True for unknown versions.

    What also came to an older line has one release for each line, in ascending order.

    >>> [has(parse(text), (2, 5, 18), (2, 6, 3)) for text in ("2.5.17", "2.5.18", "2.6.0", "3.0.0")]
    [False, True, False, True]
    """
    if version.number is None:
        return True
    started = [release for release in since if release[:2] <= version.number[:2]]
    return bool(started) and version.number >= started[-1]


def named(*since: ReleaseNumber) -> str:
    """Returns releases as text.

    >>> named((2, 5, 18), (2, 6, 3))
    '2.5.18 or 2.6.3'
    """
    return " or ".join(".".join(map(str, release)) for release in since)


def release(text: str) -> Version:
    """Returns a release named in this code base, such as ``release("2.3.7")``."""
    version = parse(text)
    if not version.known:
        raise ValueError(f"not a release: {text!r}")
    return version


def returns_newest(version: Version) -> bool:
    """Returns whether a server returns the newest of several rows with one key, every time.

    Older ones return another one after a load (versions before 2.3.21 and 2.4.8).
    """
    if not version.known or version.lite or version.files:
        return False
    return version >= release("2.4.8") or release("2.3.21") <= version < release("2.4.0")
