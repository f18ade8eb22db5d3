"""Makes ACIs of one tree in the forms of GNU tar, with odd ends, and one by acbuild where acbuild is installed: `acis.py FOLDER`."""
import os
import shutil
import subprocess
import sys

OUT = os.path.abspath(sys.argv[1])
WORK = OUT + ".work"
LABELS = '[{"name":"version","value":"1"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]'
MANIFEST = '{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/%s","labels":%s}'
# The formats v7 and ustar have no room for these names and times.
LONG = ["*llllllllllllllllllll*", "old", "zlink"]


def path(name):
    return os.fsencode(WORK) + b"/rootfs/" + name


def write(name, content, nanoseconds=None):
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), "wb") as file:
        file.write(content)
    if nanoseconds is not None:
        os.utime(path(name), ns=(nanoseconds, nanoseconds))


ORDERS = {
    "first": ["manifest", "rootfs"],
    "last": ["rootfs", "manifest"],
    "middle": ["rootfs/bin", "manifest", "rootfs/etc"],
    "directories twice": ["manifest", "rootfs", "--no-recursion", "rootfs", "rootfs/etc"],
}


def aci(name, *options, order="first", without=()):
    with open(WORK + "/manifest", "w") as file:
        file.write(MANIFEST % (name, LABELS))
    exclude = ["--exclude=" + part for part in without]
    target = f"{OUT}/{name}.aci"
    subprocess.run(["tar", "-C", WORK, "-cf", target, *options, *exclude, *ORDERS[order]], check=True)


def ends(name, end):
    """The first ACI under another name of the same length, with another end."""
    with open(OUT + "/gnu.aci", "rb") as file:
        tar = file.read().rstrip(b"\0")
    tar += bytes(-len(tar) % 512)
    with open(f"{OUT}/{name}.aci", "wb") as file:
        file.write(tar.replace(b"example.com/gnu", b"example.com/" + name.encode()) + end)


def acbuild():
    os.chdir(WORK)
    for line in [
        "begin", "set-name example.com/acbuild", "label add version 1", "label add os linux", "label add arch amd64",
        "copy-to-dir rootfs/bin rootfs/etc /", "set-exec -- /bin/tool -x", "environment add A b", "port add http tcp 80",
        "mount add data /data", "annotation add authors me", "set-user 1000", "set-group 1000",
    ]:
        subprocess.run(["acbuild", *line.split()], check=True)
    subprocess.run(["acbuild", "write", "built.gz"], check=True)
    subprocess.run("zcat built.gz > %s/acbuild.aci; acbuild end" % OUT, shell=True, check=True)


os.makedirs(WORK + "/rootfs")
os.makedirs(OUT, exist_ok=True)
write(b"etc/old", b"old", -86400 * 10**9 - 5 * 10**8)
write(b"etc/nanoseconds", b"n", 1500000000123456789)
write(b"etc/" + b"l" * 150, b"long")
write(b"bin/tool", b"x" * 3000)
os.chmod(path(b"bin/tool"), 0o4755)
os.link(path(b"etc/old"), path(b"etc/zlink"))
os.symlink(b"old", path(b"etc/symlink"))
if shutil.which("acbuild"):
    acbuild()
os.mkfifo(path(b"etc/fifo"))
with open(path(b"sparse"), "wb") as sparse:
    sparse.truncate(1 << 20)
    for offset in (300000, 700000):
        sparse.seek(offset)
        sparse.write(b"data")
for form in ("gnu", "oldgnu", "pax"):
    aci(form, "--format=" + form)
aci("ustar", "--format=ustar", without=LONG)
aci("v7", "--format=v7", without=[*LONG, "fifo"])
aci("sparse-gnu", "--format=gnu", "--sparse")
for version in ("0.0", "0.1", "1.0"):
    aci("sparse-" + version, "--format=pax", "--sparse", "--sparse-version=" + version)
aci("globals", "--format=pax", "--pax-option=globexthdr.name=/tmp/g,comment=hello")
aci("last", "--format=gnu", order="last")
aci("middle", "--format=pax", order="middle")
aci("directories", "--format=gnu", order="directories twice")
aci("blocking", "--format=gnu", "--blocking-factor=64")
write(b"etc/\xff\xfe\x80name", b"bytes")
aci("bytes-gnu", "--format=gnu")
aci("bytes-pax", "--format=pax")
aci("bytes-ustar", "--format=ustar", without=LONG)
ends("enz", b"")
ends("eno", bytes(512))
ends("ent", bytes(512 * 77))
shutil.rmtree(WORK)
