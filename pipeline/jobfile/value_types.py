"""The types of the values in a job file, and the message for each wrong value.

A message never quotes text that could be a misplaced token.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from dateutil.relativedelta import relativedelta
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from pipeline.jobfile.locations import check_ledger_uri
from pipeline.jobfile.patterns import is_pattern
from pipeline.jobfile.spelling import similar, suggestion
from transforms.errors import ConfigError
from transforms.milvus.endpoint import FILES, Endpoint

SCHEMES = ("http", "https", "tcp", "tls")

ACCEPTABLE = {
    "source-version": "copy from a server older than 2.3.7",
    "target-version": "copy into a server older than the source",
    "over-limit": "exceed a default limit, because the target's configuration raises it",
    "unreadable-key": "leave out rows that the source never returns (key 2^63-1)",
    "target-in-use": "write to a collection that an unfinished job has marked, and remove its mark",
    "same-collection": "write to a collection with the same id as the source's, on another server",
    "unreadable-rows": "leave out rows that the source counts but returns to no query",
    "vanished-rows": "end with exit code 0 although rows of the snapshot were gone before reading",
    "lost:COLLECTION.FEATURE": "copy without what the target cannot store; `*` matches any name",
}
"""The codes of findings that `accept` allows, and what accepting each of them does."""

_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _kind(value: object) -> str:
    """Returns the kind of a value, without the value: it may be a misplaced secret."""
    kinds: list[tuple[type, str]] = [
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a block"),
        (type(None), "null"),
    ]
    # HOCON reads `10 s`, and an unquoted `10m` too, as a duration.
    return next((name for kind, name in kinds if isinstance(value, kind)), "a duration")


def _shown(value: object) -> str:
    return json.dumps(value) if isinstance(value, str | int | float) else _kind(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in double quotes, not {_kind(value)}")
    if len(value) > 1 and value[0] == value[-1] == "'":
        raise ValueError("is in single quotes, which HOCON does not remove; use double quotes")
    if "${" in value:
        raise ValueError(
            "contains ${...} in quotes, where HOCON does not replace it; remove the quotes, or set "
            "it with -i NAME=VALUE"
        )
    if re.search(r"\\u[0-9a-fA-F]{4}", value):
        raise ValueError("contains a \\u escape, which is not decoded; write the character itself")
    return value


def _filled(value: object) -> str:
    text = _text(value).strip()
    if not text:
        raise ValueError("is empty; set a value or remove the key")
    return text


def _count(value: object) -> int:
    number = value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", value):
        number = int(value)
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"must be a whole number, not {_shown(value)}")
    if number < 1:
        raise ValueError(f"must be at least 1, not {number}")
    return number


def _number(value: object) -> int:
    return 0 if value in (0, "0") and not isinstance(value, bool) else _count(value)


_UNIT_S = {"": 1, "ms": 0.001, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
_UNIT_S |= {"h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Longer than any job, and within the range of clocks and calendars.
_LONGEST_DAYS = 3650

# As in HOCON: kB is 1,000 bytes; k, K, Ki and KiB are 1,024 bytes, as in Java's -Xmx.
_UNIT_BYTES = {"": 1, "b": 1}
_UNIT_BYTES |= {
    f"{letter}{ending}": (1_000 if ending == "b" else 1_024) ** power
    for power, letter in enumerate("kmgt", start=1)
    for ending in ("", "b", "i", "ib")
}


def _span(value: object) -> float:
    seconds = _seconds(value)
    if seconds > _LONGEST_DAYS * _UNIT_S["day"]:
        raise ValueError(f"must be at most {_LONGEST_DAYS} days")
    return seconds


def seconds_of(value: timedelta | relativedelta) -> float:
    """Returns the seconds of a duration that HOCON has parsed."""
    try:
        return float((_EPOCH + value - _EPOCH).total_seconds())
    except (OverflowError, ValueError):  # Beyond the last year of the calendar.
        return math.inf


def _seconds(value: object) -> float:
    """Returns seconds. HOCON has already parsed `15m` as a duration, but not `15 min`."""
    if isinstance(value, timedelta | relativedelta):
        return seconds_of(value)
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", str(value).lower())
    word = match[2] if match else "none"
    unit = word if word in _UNIT_S else word.removesuffix("s")
    if isinstance(value, bool) or not match or unit not in _UNIT_S:
        raise ValueError(f"must be seconds, or text such as 15 min, not {_shown(value)}")
    return float(match[1]) * _UNIT_S[unit]


def _size(value: object) -> int:
    """Returns bytes. HOCON has already parsed an unquoted `512m` as minutes."""
    if isinstance(value, timedelta | relativedelta):
        raise ValueError('is a duration in HOCON; write the size in double quotes: "512m"')
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]+)?)\s*([a-z]*)\s*", str(value).lower())
    if isinstance(value, bool) or not match or match[2] not in _UNIT_BYTES:
        wrong = f"not {_shown(value)}"
        raise ValueError(f'must be bytes, or text such as "512m", "10 MB" or "2g", {wrong}')
    return int(float(match[1]) * _UNIT_BYTES[match[2]])


def _flag(value: object) -> bool:
    flag = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return flag


def _one_of(words: object) -> BeforeValidator:
    """Accepts the words of a Literal, in any case as SeaTunnel does."""
    allowed: tuple[str, ...] = get_args(words)
    listed = allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
    by_fold = {word.casefold(): word for word in allowed}

    def check(value: object) -> str:
        word = value if isinstance(value, str) else ""
        if word.casefold() in by_fold:
            return by_fold[word.casefold()]
        wrong = f"must be {listed}, not {_shown(value)}"
        raise ValueError(wrong + suggestion(word, allowed))

    return BeforeValidator(check)


def _flag_or(*words: str) -> BeforeValidator:
    """Accepts true and false, and these words in any case."""
    by_fold = {word.casefold(): word for word in words}
    *others, last = ("true", "false", *(f'"{word}"' for word in words))
    listed = f"{', '.join(others)} or {last}"

    def check(value: object) -> bool | str:
        try:
            return by_fold.get(str(value).casefold()) or _flag(value)
        except ValueError:
            wrong = f"must be {listed}, not {_shown(value)}"
            raise ValueError(wrong + suggestion(str(value), words)) from None

    return BeforeValidator(check)


def _mode(value: object) -> object:
    if isinstance(value, str) and value.upper() == "STREAMING":
        raise ValueError('STREAMING is not supported: a job copies once, then ends; use "BATCH"')
    return value


def _codes(value: object) -> tuple[str, ...]:
    """Returns the codes of a list, or of text with commas, without duplicates."""
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(code for item in value for code in _codes(item)))
    codes = tuple(filter(None, (word.strip() for word in _text(value).split(","))))
    for code in codes:
        if code not in ACCEPTABLE and not code.startswith("lost:"):
            hint = suggestion(code, ACCEPTABLE) or similar(code, ACCEPTABLE, "codes")
            raise ValueError(f"{code} is not a code that can be accepted{hint}")
    return codes


def read_names(value: object) -> tuple[str, ...]:
    """Returns the names of a list; refuses an empty list, and a name that is there twice."""
    if not isinstance(value, list | tuple):
        raise ValueError(f'must be a list such as ["name"], not {_kind(value)}')
    if not value:
        raise ValueError("is empty; add a name, or remove the key")
    names: list[str] = []
    for position, item in enumerate(value, start=1):
        try:
            names.append(_filled(item))
        except ValueError as error:
            raise ValueError(f"item {position} {error}") from None
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"contains {', '.join(duplicates)} more than once")
    return tuple(names)


def _databases(value: object) -> str | tuple[str, ...]:
    """Returns the name of one database, or a selection of databases."""
    names = read_names(value) if isinstance(value, list | tuple) else (_filled(value),)
    return names if len(names) > 1 or is_pattern(names[0]) else names[0]


def _by_name(value: object) -> dict[str, str]:
    """Returns texts by name.

    HOCON may have kept the quotes around a name, and splits one without quotes at its dots.
    """
    if not isinstance(value, dict):
        raise ValueError(f'must be a block such as {{ "name" = "text" }}, not {_kind(value)}')
    texts: dict[str, str] = {}
    for name, item in value.items():
        plain = str(name).strip('"')
        try:
            parts = _by_name(item) if isinstance(item, dict) and item else {"": _filled(item)}
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
        texts |= {f"{plain}.{rest}" if rest else plain: text for rest, text in parts.items()}
    return texts


def _renames(value: object) -> dict[str, str]:
    renames = _by_name(value)
    for old, new in renames.items():
        if old.count("*") > 1 or new.count("*") != old.count("*"):
            raise ValueError(f'has {old} = {new}; write one * on each side: "a_*" = "b_*"')
        if not re.fullmatch(r"[A-Za-z_*][\w*]*", new):
            raise ValueError(f"{new} is not a valid Milvus name; use letters, digits and _")
    return renames


def _folder(value: object) -> str:
    name = _filled(value)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            "is not a valid folder name; use at most 100 letters, digits, _, - and ., and do not "
            "start with - or ."
        )
    return name


def _files(url: str) -> str:
    """Checks the folder, or the URI, of files that replace a server."""
    parts = urlsplit(url.removeprefix(FILES))
    if "@" in parts.netloc:
        raise ValueError("contains credentials; set them in the environment (AWS_ACCESS_KEY_ID)")
    if not parts.path.strip("/"):
        raise ValueError("has no folder; write s3://bucket/folder")
    return url


def _url(value: object) -> str:
    url = _filled(value)
    if url.startswith(FILES):
        return _files(url)
    if "@" in url:
        raise ValueError('contains credentials; remove them and set token = "user:password"')
    if "://" not in url:
        shown = url if re.fullmatch(r"[\w.-]+(:[0-9]{1,5})?", url) else "host:19530"
        raise ValueError(f"has no scheme; write http://{shown}")
    try:
        parts = urlsplit(url)
        port_is_bad = parts.port == 0 or parts.netloc.endswith(":")
    except ValueError:
        raise ValueError("has an invalid host or port; write http://host:19530") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"has the scheme {parts.scheme}; use http, or https for TLS")
    if port_is_bad:
        raise ValueError("has an invalid port; use a port from 1 to 65535")
    if not re.fullmatch(r"[\w.:%-]+", parts.hostname or ""):
        raise ValueError("has no host; write http://host:19530")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("has text after the port; remove it, and set the database with database")
    return f"{parts.scheme}://{parts.netloc}"


_GCP_SECRET = re.compile(r"gcp-secret:projects/[\w:.-]+/secrets/[\w-]+/versions/\w+")


def must_exist(info: ValidationInfo) -> bool:
    """Whether files, variables and functions must exist: not if only the job's ledger is needed."""
    return not (info.context or {}).get("ledger_only")


def _token(value: object, info: ValidationInfo) -> str:
    """Returns the token unchanged; checks that the variable or file it refers to exists."""
    token = _text(value)
    if token.startswith("env:") and not re.fullmatch(r"env:\w+", token):
        raise ValueError("must be env:NAME, where NAME is an environment variable")
    if token.startswith("gcp-secret:") and not _GCP_SECRET.fullmatch(token):
        raise ValueError("must be gcp-secret:projects/PROJECT/secrets/NAME/versions/latest")
    try:
        if must_exist(info):
            Endpoint(url="", token=token).secret()
    except ConfigError as error:
        raise ValueError(error.problems[0].partition(": ")[2]) from None
    except (OSError, UnicodeError):
        raise ValueError("refers to a file that cannot be read; check its permissions") from None
    return token


def _pem(value: object, info: ValidationInfo) -> str:
    """Returns the path unchanged; checks that the file can be read."""
    path = _filled(value)
    if not must_exist(info):
        return path
    try:
        if not Path(path).is_file():
            raise ValueError(f"no such file: {path}")
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"cannot be read: {path} ({error.strerror})") from None
    return path


_Selection = str | tuple[str, ...]
_Modes = Literal["BATCH"]
_Cases = Literal["UPPER", "LOWER"]
_Proofs = Literal["full", "sample", "count", "none"]
_Outputs = Literal["copy", "recompute"]
_Levels = Literal["Strong", "Session", "Bounded", "Eventually"]
_SchemaSaveModes = Literal[
    "CREATE_SCHEMA_WHEN_NOT_EXIST", "ERROR_WHEN_SCHEMA_NOT_EXIST", "RECREATE_SCHEMA", "IGNORE"
]
_DataSaveModes = Literal["ERROR_WHEN_DATA_EXISTS", "APPEND_DATA", "DROP_DATA"]

# The title is the type in docs/configuration.md.
Text = Annotated[str, BeforeValidator(_filled), Field(title="text")]
LedgerUri = Annotated[
    str, BeforeValidator(_filled), AfterValidator(check_ledger_uri), Field(title="text")
]
Count = Annotated[int, BeforeValidator(_count), Field(title="whole number")]
WholeNumber = Annotated[int, BeforeValidator(_number), Field(title="whole number or 0")]
Duration = Annotated[float, BeforeValidator(_span), Field(title="duration")]
ByteSize = Annotated[int, BeforeValidator(_size), Field(title="number of bytes")]
Flag = Annotated[bool, BeforeValidator(_flag), Field(title="true, false")]
Url = Annotated[str, BeforeValidator(_url), Field(title="url")]
Token = Annotated[SecretStr, BeforeValidator(_token), Field(title="text")]
Pem = Annotated[str, BeforeValidator(_pem), Field(title="path of a PEM file")]
FolderName = Annotated[str, BeforeValidator(_folder), Field(title="name")]
Codes = Annotated[tuple[str, ...], BeforeValidator(_codes), Field(title="list of codes")]
ByName = Annotated[dict[str, str], BeforeValidator(_by_name), Field(title="text by name")]
Renames = Annotated[dict[str, str], BeforeValidator(_renames), Field(title="names by name")]
Maybe = Annotated[int | None, BeforeValidator(_count), Field(title="whole number")]
MaybeFlag = Annotated[bool | None, BeforeValidator(_flag), Field(title="true, false")]
Level = Annotated[_Levels | None, _one_of(_Levels)]
Case = Annotated[_Cases | None, _one_of(_Cases)]
Verbatim = Annotated[str, BeforeValidator(_text), Field(title="text")]
FunctionOutputs = Annotated[_Outputs, _one_of(_Outputs)]
NameList = Annotated[
    tuple[str, ...] | None, BeforeValidator(read_names), Field(title="list of names")
]
Databases = Annotated[_Selection, BeforeValidator(_databases), Field(title="name or list of names")]
Mode = Annotated[_Modes, _one_of(_Modes), BeforeValidator(_mode)]
VerifySetting = Annotated[_Proofs, _one_of(_Proofs)]
SchemaSaveMode = Annotated[_SchemaSaveModes, _one_of(_SchemaSaveModes)]
DataSaveMode = Annotated[_DataSaveModes, _one_of(_DataSaveModes)]
CreateIndex = Annotated[bool | Literal["before", "AUTOINDEX"], _flag_or("before", "AUTOINDEX")]
LoadCollection = Annotated[bool | Literal["as_source"], _flag_or("as_source")]
