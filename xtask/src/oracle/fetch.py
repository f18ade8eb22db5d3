"""Fetches every file of a layer by its table of contents, as a runtime does that starts a container
before it has the layer: `fetch.py BLOB ANNOTATIONS TAR`. Prints how many files there are."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zlib


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def unzstd(data):
    return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout


def first_member(data):
    return zlib.decompressobj(wbits=31).decompress(data)


def main():
    blob = open(sys.argv[1], "rb").read()
    said = json.loads(sys.argv[2])
    zstd = "io.github.containers.zstd-chunked."
    chunked = zstd + "manifest-position" in said
    if chunked:
        at, size, plain, kind = map(int, said[zstd + "manifest-position"].split(":"))
        assert kind == 1 and sha256(blob[at : at + size]) == said[zstd + "manifest-checksum"]
        table = unzstd(blob[at : at + size])
        assert len(table) == plain
    else:
        assert blob[-19:-13] == b"STARGZ"
        at = int(blob[-35:-19], 16)
        with tarfile.open(fileobj=io.BytesIO(first_member(blob[at:]))) as last:
            table = last.extractfile("stargz.index.json").read()
        assert sha256(table) == said["containerd.io/snapshot/stargz/toc.digest"]
    rows = json.loads(table)["entries"]
    files = {}
    for row, after in zip(rows, rows[1:] + [{}]):
        if row["type"] == "reg":
            file = row
            files[row["name"]] = b""
        if row["type"] not in ("reg", "chunk") or not row.get("offset"):
            continue
        if chunked:
            end = after["offset"] if after.get("type") == "chunk" else file["endOffset"]
            chunk = unzstd(blob[row["offset"] : end])
        else:
            left = file["size"] - row.get("chunkOffset", 0)
            chunk = first_member(blob[row["offset"] :])[: row.get("chunkSize", left)]
        assert row.get("chunkDigest", sha256(chunk)) == sha256(chunk), row
        files[row["name"]] += chunk
        if after.get("type") != "chunk":
            content = files[row["name"]]
            assert file["digest"] == sha256(content) and file["size"] == len(content), file
    files.pop(".no.prefetch.landmark", None)
    with tarfile.open(sys.argv[3]) as tar:
        for member in tar:
            assert files.pop(member.name) == tar.extractfile(member).read(), member
            main.count += 1
    assert not files, files
    print(main.count)


main.count = 0
main()
