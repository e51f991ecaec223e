"""Files: temporary ones, databases, archives, locks, maps, time zones and what else is kept."""
import bz2
import ctypes
import dbm.dumb
import errno
import fcntl
import glob
import gzip
import hashlib
import json
import lzma
import mmap
import os
import pathlib
import pickle
import secrets
import shelve
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import threading
import time
import zipfile
import zoneinfo
from datetime import datetime, timedelta, timezone

# Temporary ones, of every kind.
assert tempfile.gettempdir() == "/tmp"
with tempfile.NamedTemporaryFile("w+") as named, tempfile.TemporaryFile() as unnamed:
    named.write("text"), named.flush(), unnamed.write(b"bytes")
    assert pathlib.Path(named.name).read_text() == "text"
    assert stat.S_IMODE(os.stat(named.name).st_mode) == 0o600
with tempfile.SpooledTemporaryFile(max_size=10) as spooled:
    spooled.write(b"more than ten bytes"), spooled.seek(0)
    assert spooled.read(4) == b"more"
with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/b/c/file").write_bytes(b"x" * 1000)
    (root / "link").symlink_to("a/b")
    os.link(root / "a/b/c/file", root / "hard")
    assert os.stat(root / "hard").st_nlink == 2 and os.path.realpath(root / "link") == str(root / "a/b")
    shutil.copytree(root / "a", root / "copy")
    assert sorted(p.name for p in root.rglob("file")) == ["file"] * 2
    shutil.make_archive(str(root / "all"), "gztar", root / "copy")
    shutil.unpack_archive(str(root / "all.tar.gz"), root / "out")
    assert (root / "out/b/c/file").stat().st_size == 1000
    os.rename(root / "out", root / "moved")
    assert len(glob.glob(f"{folder}/[acm]*/**/file", recursive=True)) == 3
    assert shutil.disk_usage(folder).total > 0 and shutil.which("sh")
    os.utime(root / "hard", (1, 2))
    assert os.stat(root / "hard").st_mtime == 2
assert not os.path.exists(folder)
fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
os.link(f"/proc/self/fd/{fd}", "from-nowhere", src_dir_fd=0, follow_symlinks=True)
os.posix_fallocate(fd, 0, 4096)
with open("sparse", "wb") as file:
    file.truncate(1 << 29)
assert os.stat("sparse").st_blocks == 0
with open("from", "wb") as file:
    file.write(b"copied" * 1000)
with open("from", "rb") as source, open("to", "wb") as target:
    assert os.copy_file_range(source.fileno(), target.fileno(), 6000) == 6000
with open("from", "rb") as source, open("to2", "wb") as target:
    assert os.sendfile(target.fileno(), source.fileno(), 0, 6000) == 6000
memory = os.memfd_create("memory")
os.write(memory, b"x" * 5000)
assert os.fstat(memory).st_size == 5000

# Maps and locks.
with open("map", "w+b") as file:
    file.truncate(1 << 16)
    with mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:5] = b"hello"
        mapped.flush()
        assert mapped.find(b"llo") == 2
    assert file.read(5) == b"hello"
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10)
    if os.fork() == 0:
        try:
            fcntl.lockf(open("map", "r+b"), fcntl.LOCK_EX | fcntl.LOCK_NB)
            os._exit(0)
        except OSError as e:
            os._exit(e.errno)
    assert os.waitstatus_to_exitcode(os.wait()[1]) in (errno.EACCES, errno.EAGAIN)
shared = mmap.mmap(-1, 4096)
if os.fork() == 0:
    shared[:4] = b"seen"
    os._exit(0)
os.wait()
assert shared[:4] == b"seen"
libc = ctypes.CDLL(None, use_errno=True)
watch = libc.inotify_init1(os.O_CLOEXEC)
assert libc.inotify_add_watch(watch, b".", 0x100) > 0
open("watched", "w").close()
assert b"watched" in os.read(watch, 4096)
with open("readonly", "w") as file:
    os.fchmod(file.fileno(), 0o400)
try:
    open("readonly", "a")
    raise AssertionError("written")
except PermissionError:
    pass
try:
    open("/usr/written", "w")
    raise AssertionError("the root can be written")
except OSError as e:
    assert e.errno in (errno.EROFS, errno.EACCES)

# Databases.
base = sqlite3.connect("base.db", timeout=30, check_same_thread=False)
assert base.execute("pragma journal_mode=wal").fetchone() == ("wal",)
base.execute("create table t (id integer primary key, name text unique, n real)")
base.executemany("insert into t (name, n) values (?, ?)", [(f"name {n}", n / 7) for n in range(2000)])
base.commit()
base.create_function("half", 1, lambda n: n / 2)
assert base.execute("select count(*), max(half(id)) from t where n < 100").fetchone() == (700, 350.0)
try:
    base.execute("insert into t (name) values ('name 1')")
    raise AssertionError("twice")
except sqlite3.IntegrityError:
    base.rollback()


def insert(n):
    with sqlite3.connect("base.db", timeout=30) as own:
        own.execute("insert into t (name) values (?)", (f"thread {n}",))


threads = [threading.Thread(target=insert, args=(n,)) for n in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
assert base.execute("select count(*) from t").fetchone() == (2008,)
copy = sqlite3.connect(":memory:")
base.backup(copy)
assert copy.execute("pragma integrity_check").fetchone() == ("ok",)
copy.execute("create virtual table words using fts5(text)")
copy.execute("insert into words values ('the quick brown fox')")
assert copy.execute("select * from words where words match 'quick'").fetchone()
assert copy.execute("select json_extract('{\"a\":[1,2]}', '$.a[1]')").fetchone() == (2,)
with shelve.open("shelf") as shelf:
    shelf["key"] = {"nested": [1, 2]}
with shelve.open("shelf") as shelf:
    assert shelf["key"] == {"nested": [1, 2]}
with dbm.dumb.open("dumb", "c") as table:
    table[b"k"] = b"v"
    assert table[b"k"] == b"v"

# Archives and digests.
data = json.dumps(list(range(20_000))).encode()
for module in (gzip, bz2, lzma):
    assert module.decompress(module.compress(data)) == data
with zipfile.ZipFile("z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("data.json", data)
with zipfile.ZipFile("z.zip") as archive:
    assert archive.testzip() is None and archive.read("data.json") == data
with tarfile.open("t.tar.xz", "w:xz") as archive:
    archive.add("from"), archive.add("base.db")
with tarfile.open("t.tar.xz") as archive:
    assert archive.getnames() == ["from", "base.db"]
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442") and hashlib.scrypt(b"x", salt=b"y", n=2, r=8, p=1)
assert len(secrets.token_bytes(32)) == 32 and len(os.getrandom(16)) == 16
assert pickle.loads(pickle.dumps(data)) == data

# Time and where it is.
assert len(zoneinfo.available_timezones()) > 400
berlin, york = zoneinfo.ZoneInfo("Europe/Berlin"), zoneinfo.ZoneInfo("America/New_York")
noon = datetime(2024, 7, 1, 12, tzinfo=timezone.utc)
assert (noon.astimezone(berlin).hour, noon.astimezone(york).hour) == (14, 8)
before = datetime(2024, 3, 31, 1, 30, tzinfo=berlin)
assert before.utcoffset() == timedelta(hours=1) and datetime(2024, 3, 31, 3, 30, tzinfo=berlin).utcoffset() == timedelta(hours=2)
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()
assert time.strftime("%H %Z", time.localtime(0)) == "09 JST"
assert abs(time.time() - os.stat("z.zip").st_mtime) < 120 and time.clock_gettime(time.CLOCK_BOOTTIME) > 0
print("all right")
