"""The members of tars by Python's tarfile, as lines of JSON like those of `differ.rs`.

Usage: members.py FILE-WITH-PATHS
"""

import hashlib
import json
import math
import sys
import tarfile

KINDS = {
    tarfile.LNKTYPE: "HardLink", tarfile.SYMTYPE: "Symlink", tarfile.CHRTYPE: "CharDevice",
    tarfile.BLKTYPE: "BlockDevice", tarfile.DIRTYPE: "Directory", tarfile.FIFOTYPE: "Fifo",
}


def hexadecimal(text):
    return text.encode("utf-8", "surrogateescape").hex()


class Header(tarfile.TarInfo):
    """A header that is read by its magic, as Go and GNU tar read it.

    `tarfile` reads device numbers and a prefix in every header. A header without a magic has no device numbers; other
    bytes there look like the end of the tar. A GNU header has two times in the place of the prefix.
    """

    @classmethod
    def frombuf(cls, header, encoding, errors):
        return super().frombuf(without_other_fields(header), encoding, errors)


def without_other_fields(header):
    if len(header) != tarfile.BLOCKSIZE or number(header[148:156]) not in tarfile.calc_chksums(header):
        return header
    magic = header[257:265]
    if magic == b"ustar  \0":
        are_times = number(header[345:357]) is not None and number(header[357:369]) is not None
        start, end = (345, 369) if are_times else (0, 0)
    elif magic[:6] == b"ustar\0":
        start, end = 0, 0
    else:
        start, end = 329, 345
    blank = header[:start] + bytes(end - start) + header[end:]
    return blank[:148] + b"%07o\0" % tarfile.calc_chksums(blank)[0] + blank[156:]


def number(field):
    """The value of a field, or None."""
    try:
        return tarfile.nti(field)
    except tarfile.HeaderError:
        return None


def members(path):
    found = []
    options = {"encoding": "utf-8", "errors": "surrogateescape", "tarinfo": Header}
    with tarfile.open(path, "r:", **options) as archive:
        for member in archive:
            # The label of a volume (GNU) is no file.
            if member.type == b"V":
                continue
            kind = KINDS.get(member.type, "Regular" if member.isreg() else f"type {member.type!r}")
            body = hashlib.sha256()
            size = 0
            if kind == "Regular":
                source = archive.extractfile(member)
                while piece := source.read(1 << 16):
                    body.update(piece)
                    size += len(piece)
            link = member.linkname if kind in ("HardLink", "Symlink") else ""
            found.append([
                hexadecimal(member.name), kind, member.mode & 0o7777, member.uid, member.gid,
                math.floor(member.mtime), size, hexadecimal(link), body.hexdigest(),
            ])
        refuse_early_end(archive)
    return found


def refuse_early_end(archive):
    """Refuses a tar whose next header `tarfile` can't read: it passes over such a header as over the end of the tar."""
    archive.fileobj.seek(archive.offset)
    header = archive.fileobj.read(tarfile.BLOCKSIZE)
    if len(header) == tarfile.BLOCKSIZE and any(header):
        Header.frombuf(header, "utf-8", "surrogateescape")


for line in open(sys.argv[1]):
    file = line.rstrip("\n")
    try:
        result = {"file": file, "members": members(file), "error": ""}
    except Exception as error:  # Any error counts as a refusal.
        result = {"file": file, "members": [], "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
