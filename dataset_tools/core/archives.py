"""Archives as untrusted input: zip, tar and tar.gz, read member by member, never unpacked to disk.

Nothing is ever written under a name from an archive, so `extractall` and its filters have no part here. A
member is referred to by where its bytes lie, so that reading one does not walk the archive again.
"""

from __future__ import annotations

import bz2
import gzip
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import IO, Protocol, cast

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.published import Content, Fault, Held
from dataset_tools.core.reasons import Reason
from dataset_tools.core.text import printable

MEMBER_MAX_BYTES = 64 * 1024 * 1024
MAX_RATIO = 200  # inflated bytes for each packed byte; a photo stays below 2
RATIO_FLOOR_BYTES = 1024 * 1024  # below that much output no ratio can do harm
HEADER_MAX_BYTES = 1024 * 1024  # a tar header may claim any length for the name that follows
WINDOW_BYTES = 32 * 1024 * 1024

_BLOCK = 1024 * 1024
_TAR_BLOCK = 512
_NESTED_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_NESTED_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_ZIP_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive that is not a folder.

    Attributes:
        name: as the archive has it, printable, without a leading "./".
        content: how to read it; None when `fault` is set.
        fault: why it must not be read.
    """

    name: str
    content: Content | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class ZipContent:
    """Bytes of one zip member.

    Attributes:
        path: of the archive.
        offset: of the member's local header.
        method: 0 stored, 8 deflate, 12 bzip2.
        packed, size: bytes before and after inflating, as the directory states them.
        crc: CRC-32 of the content.
    """

    path: str
    offset: int
    method: int
    packed: int
    size: int
    crc: int

    def read(self, max_bytes: int) -> bytes:
        """The content, checked against its stated size and CRC.

        Raises:
            FetchFault: too_many_bytes, truncated, corrupt, archive_bomb (more than stated),
                nested_archive, format_not_allowed (another method).
        """
        _check_size(self.size, max_bytes)
        with _opened(self.path) as stream:
            stream.seek(self.offset)
            header = stream.read(_ZIP_LOCAL_HEADER.size)
            if len(header) < _ZIP_LOCAL_HEADER.size:
                raise FetchFault(Reason.TRUNCATED, "the archive ends before this member")
            signature, name_length, extra_length = _ZIP_LOCAL_HEADER.unpack(header)
            if signature != b"PK\x03\x04":
                raise FetchFault(Reason.CORRUPT, "no zip member where the directory says there is one")
            stream.seek(name_length + extra_length, 1)
            data = self._inflated(stream)
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise FetchFault(Reason.CORRUPT, "content differs from its stated size or checksum")
        return _not_nested(data)

    def _inflated(self, stream: IO[bytes]) -> bytes:
        decoder = _decoder(self.method)
        data, left = bytearray(), self.packed
        while left > 0:
            block = stream.read(min(left, _BLOCK))
            if not block:
                raise FetchFault(Reason.TRUNCATED, "the archive ends inside this member")
            left -= len(block)
            try:
                # One byte more than stated tells a lying size from an honest one.
                data += block if decoder is None else decoder.decompress(block, self.size + 1 - len(data))
            except (zlib.error, OSError, EOFError) as error:
                raise FetchFault(Reason.CORRUPT, f"cannot inflate: {error}") from error
            if len(data) > self.size:
                raise FetchFault(Reason.ARCHIVE_BOMB, f"holds more than the {self.size} bytes it states")
        return bytes(data)


@dataclass(frozen=True, slots=True)
class TarContent:
    """Bytes of one tar member.

    Attributes:
        path: of the archive.
        offset, size: of the content.
    """

    path: str
    offset: int
    size: int

    def read(self, max_bytes: int) -> bytes:
        """The content.

        Raises:
            FetchFault: too_many_bytes, truncated, nested_archive.
        """
        _check_size(self.size, max_bytes)
        with _opened(self.path) as stream:
            stream.seek(self.offset)
            return _whole(stream.read(self.size), self.size)


@dataclass(frozen=True, slots=True)
class PackedTarContent:
    """Bytes of one member of a tar inside a gzip file, which cannot be entered midway.

    Attributes:
        path: of the archive.
        offset, size: of the content in the inflated tar.
    """

    path: str
    offset: int
    size: int

    def read(self, max_bytes: int) -> bytes:
        """The content; costs one pass over the archive when members are read in about their order.

        Raises:
            FetchFault: too_many_bytes, truncated, corrupt, nested_archive.
        """
        _check_size(self.size, max_bytes)
        return _whole(_inflated_file(self.path).read(self.offset, self.size), self.size)

    def held(self, max_bytes: int) -> Held:
        """The content in memory, ready for any process.

        Raises:
            FetchFault: as `read`.
        """
        return Held(self.read(max_bytes))


class _Decoder(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _decoder(method: int) -> _Decoder | None:
    if method == zipfile.ZIP_STORED:
        return None
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor()
    raise FetchFault(Reason.FORMAT_NOT_ALLOWED, f"packed with zip method {method}, known are 0, 8 and 12")


def _opened(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise FetchFault(Reason.MISSING_IMAGE, f"cannot open the archive: {error.strerror}") from error


def _check_size(size: int, max_bytes: int) -> None:
    most = min(max_bytes, MEMBER_MAX_BYTES)
    if size > most:
        raise FetchFault(Reason.TOO_MANY_BYTES, f"{size} bytes, at most {most} allowed")


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise FetchFault(Reason.TRUNCATED, "the archive ends inside this member")
    return _not_nested(data)


def _not_nested(data: bytes) -> bytes:
    if data.startswith(_NESTED_SIGNATURES) or data[257:262] == b"ustar":
        raise FetchFault(Reason.NESTED_ARCHIVE, "an archive inside an archive is not opened")
    return data


class _InflatedFile:
    """A gzip file read by position of its content, going forward; a little is kept for latecomers."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._stream = gzip.GzipFile(path, "rb")
        self._kept = bytearray()
        self._start = 0

    def close(self) -> None:
        self._stream.close()

    def read(self, offset: int, size: int) -> bytes:
        with self._lock:
            if offset < self._start or self._stream.closed:
                self._stream.close()
                self._stream = gzip.GzipFile(self._path, "rb")
                self._kept, self._start = bytearray(), 0
            try:
                return self._forward(offset, size)
            except EOFError as error:
                raise FetchFault(Reason.TRUNCATED, f"the archive is cut: {error}") from error
            except (OSError, zlib.error) as error:
                raise FetchFault(Reason.CORRUPT, f"cannot inflate the archive: {error}") from error

    def _forward(self, offset: int, size: int) -> bytes:
        end = self._start + len(self._kept)
        while end < offset + size and (block := self._stream.read(_BLOCK)):
            self._kept += block
            end += len(block)
            spare = min(offset, end - WINDOW_BYTES) - self._start
            if spare > 0:
                del self._kept[:spare]
                self._start += spare
        at = offset - self._start
        return bytes(self._kept[at : at + size])


_inflated_files: OrderedDict[str, _InflatedFile] = OrderedDict()
_inflated_lock = Lock()


def _inflated_file(path: str) -> _InflatedFile:
    with _inflated_lock:
        if path not in _inflated_files:
            try:
                _inflated_files[path] = _InflatedFile(path)
            except OSError as error:
                raise FetchFault(Reason.MISSING_IMAGE, f"cannot open: {error.strerror}") from error
            # Two: at the border of two archives, readers are in both.
            if len(_inflated_files) > 2:
                _inflated_files.popitem(last=False)[1].close()
        return _inflated_files[path]


def read_members(path: Path, max_total_bytes: int) -> Iterator[Member]:
    """All members of an archive but its folders, in the archive's order, good and faulty.

    An archive that cannot be read (further) gives one last faulty member with the empty name.

    Args:
        path: a file; its content says whether it is zip, tar or gzip.
        max_total_bytes: of all members together; what comes after is refused as `archive_bomb`.
    """
    seen: set[str] = set()
    total = 0
    for member, size in _members(path):
        if member.fault is None:
            fault = _name_fault(member.name, seen)
            total += size if fault is None else 0
            if fault is None and total > max_total_bytes:
                fault = Fault(Reason.ARCHIVE_BOMB, f"the archive holds more than {max_total_bytes} bytes")
            member = replace(member, fault=fault, content=None if fault else member.content)
        shown = printable(member.name.encode("utf-8", "backslashreplace").decode())
        yield replace(member, name=shown.removeprefix("./"))


def _members(path: Path) -> Iterator[tuple[Member, int]]:
    try:
        with path.open("rb") as stream:
            head = stream.read(_TAR_BLOCK)
            stream.seek(0)
            if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                yield from _zip_members(str(path), stream)
            elif head.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=stream) as inflated:
                    guard = _Guarded(cast(IO[bytes], inflated), stream)
                    yield from _tar_members(str(path), guard, is_packed=True)
            elif head[257:262] == b"ustar" or head == bytes(_TAR_BLOCK):
                yield from _tar_members(str(path), _Guarded(stream, None), is_packed=False)
            else:
                raise FetchFault(Reason.FORMAT_NOT_ALLOWED, "neither zip nor tar nor tar.gz")
    except FetchFault as fault:
        yield Member("", fault=Fault(fault.reason, str(fault))), 0
    except EOFError as error:
        yield Member("", fault=Fault(Reason.TRUNCATED, f"the archive is cut: {error}")), 0
    except OSError as error:
        reason = Reason.PERMISSION if isinstance(error, PermissionError) else Reason.CORRUPT
        yield Member("", fault=Fault(reason, f"cannot read the archive: {error}")), 0
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        is_cut = "not a zip file" in str(error) or "unexpected end" in str(error)
        reason = Reason.TRUNCATED if is_cut else Reason.CORRUPT
        yield Member("", fault=Fault(reason, f"cannot read the archive: {error}")), 0
    except (zlib.error, struct.error, ValueError, NotImplementedError, OverflowError) as error:
        yield Member("", fault=Fault(Reason.CORRUPT, f"cannot read the archive: {error}")), 0


def _zip_members(path: str, stream: IO[bytes]) -> Iterator[tuple[Member, int]]:
    with zipfile.ZipFile(stream) as archive:
        infos, end = archive.infolist(), archive.start_dir
    starts = sorted(info.header_offset for info in infos)
    following = dict(zip(starts, [*starts[1:], end], strict=True))
    for info in infos:
        if info.is_dir():
            continue
        content = ZipContent(
            path, info.header_offset, info.compress_type, info.compress_size, info.file_size, info.CRC
        )
        room = following[info.header_offset] - info.header_offset - _ZIP_LOCAL_HEADER.size
        fault = _zip_fault(info, room)
        yield Member(info.orig_filename, None if fault else content, fault), info.file_size


def _zip_fault(info: zipfile.ZipInfo, room: int) -> Fault | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return Fault(Reason.SPECIAL_FILE, "a link or device")
    if info.flag_bits & _ENCRYPTED_FLAGS:
        return Fault(Reason.ENCRYPTED, "needs a password")
    if info.header_offset < 0:
        return Fault(Reason.CORRUPT, "the directory says that it begins before the archive")
    if info.compress_size > room:
        return Fault(Reason.ARCHIVE_BOMB, "its bytes overlap those of another member")
    if info.file_size > MEMBER_MAX_BYTES:
        return Fault(Reason.TOO_MANY_BYTES, f"{info.file_size} bytes, at most {MEMBER_MAX_BYTES} allowed")
    if info.file_size > max(MAX_RATIO * info.compress_size, RATIO_FLOOR_BYTES):
        return Fault(
            Reason.ARCHIVE_BOMB,
            f"{info.compress_size} bytes inflate to {info.file_size}, more than {MAX_RATIO} times",
        )
    return None


class _Guarded:
    """The bytes of a tar for `tarfile`, which would read any length a header claims at once."""

    def __init__(self, stream: IO[bytes], packed: IO[bytes] | None) -> None:
        self._stream = stream
        self._packed = packed

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_MAX_BYTES:
            raise FetchFault(Reason.ARCHIVE_BOMB, f"a header of {size} bytes")
        return self._stream.read(size)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        assert whence == 0
        if self._packed is None:
            return self._stream.seek(position)
        while (here := self._stream.tell()) < position and self._skip(self._packed, position - here):
            pass
        return self._stream.seek(position) if here > position else self._stream.tell()

    def drain(self) -> None:
        """Read a packed tar to its end, where its checksum is."""
        while self._packed is not None and self._skip(self._packed, _BLOCK):
            pass

    def _skip(self, packed: IO[bytes], size: int) -> bool:
        is_more = bool(self._stream.read(min(size, _BLOCK)))
        if self._stream.tell() > max(MAX_RATIO * packed.tell(), 64 * _BLOCK):
            raise FetchFault(Reason.ARCHIVE_BOMB, f"inflates to more than {MAX_RATIO} times its bytes")
        return is_more


def _tar_members(path: str, stream: _Guarded, *, is_packed: bool) -> Iterator[tuple[Member, int]]:
    position = 0
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or all headers stay in memory
            if info.size < 0 or archive.offset <= position:
                raise FetchFault(Reason.CORRUPT, "a member with an impossible size")
            position = archive.offset
            if info.isdir():
                continue
            fault = _tar_fault(info)
            kind = PackedTarContent if is_packed else TarContent
            content = None if fault else kind(path, info.offset_data, info.size)
            yield Member(info.name, content, fault), info.size
        # tarfile ends in silence at garbage and at a missing end mark.
        stream.seek(archive.offset)
        mark = stream.read(_TAR_BLOCK)
    if len(mark) < _TAR_BLOCK:
        raise FetchFault(Reason.TRUNCATED, "the archive ends without its end mark: it may have been cut")
    if mark.strip(b"\0"):
        raise FetchFault(Reason.CORRUPT, f"no tar header at byte {archive.offset}; the rest is not read")
    stream.drain()


def _tar_fault(info: tarfile.TarInfo) -> Fault | None:
    if not info.isreg() or info.issparse():
        return Fault(Reason.SPECIAL_FILE, "a link, device, pipe or sparse file")
    if info.size > MEMBER_MAX_BYTES:
        return Fault(Reason.TOO_MANY_BYTES, f"{info.size} bytes, at most {MEMBER_MAX_BYTES} allowed")
    return None


def _name_fault(name: str, seen: set[str]) -> Fault | None:
    parts = PurePosixPath(name).parts
    is_odd = not parts or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name) is not None
    if is_odd or name.startswith("/") or ".." in parts:
        return Fault(Reason.UNSAFE_PATH, "its name leads outside the archive or is none")
    # Names that some file systems take for one are one; upper and lower case stay apart.
    same = unicodedata.normalize("NFC", name.removeprefix("./"))
    if same in seen:
        return Fault(Reason.DUPLICATE_MEMBER, "a member of that name came before")
    seen.add(same)
    if name.lower().endswith(_NESTED_SUFFIXES):
        return Fault(Reason.NESTED_ARCHIVE, "an archive inside an archive is not opened")
    return None
