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


def members(path):
    found = []
    with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
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
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")


for line in open(sys.argv[1]):
    file = line.rstrip("\n")
    try:
        result = {"file": file, "members": members(file), "error": ""}
    except Exception as error:  # Any error counts as a refusal.
        result = {"file": file, "members": [], "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
