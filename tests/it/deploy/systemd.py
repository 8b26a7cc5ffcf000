"""The command by which deploy/README.md migrates for the unit: it works on the tables that the settings name."""

import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile

from common import DEPLOY, ok


def migrated(schema):
    """The tables after the command, and whether it went well."""
    block = re.search(r"## systemd\n\n```sh\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)[1]
    command = re.search(r"(?m)^(?:TOKENWARD_.*\\\n)*.*tokenward migrate up.*$", block)[0]
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        (home / "bin").mkdir()
        (home / "bin/tokenward").symlink_to(os.path.abspath(os.environ["TOKENWARD"]))
        shutil.copytree(DEPLOY / "systemd", home / "etc")
        credentials = home / "etc/credentials"
        credentials.mkdir()
        (credentials / "database-url").write_text(f"sqlite://{home}/t.db?mode=rwc")
        (credentials / "redis-password").write_text("p")
        (credentials / "cache-mac-key").write_text("0123456789abcdef" * 4)
        with (home / "etc/tokenward.toml").open("a") as settings:
            settings.write(f'\n[database]\nschema = "{schema}"\n')
        shell = ["/bin/sh", "-ec", command.replace("/etc/tokenward", f"{home}/etc")]
        environment = {"PATH": f"{home}/bin"}
        done = subprocess.run(shell, env=environment, cwd=home, capture_output=True, text=True)
        with sqlite3.connect(home / "t.db") as database:
            names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return done, names


def main():
    done, names = migrated("native")
    assert done.returncode == 0 and "tokenward_token" in names, done.stderr
    done, names = migrated("knox")
    # Django has not made its tables here, which it is told.
    assert done.returncode != 0 and "knox" in done.stderr and "tokenward_token" not in names, (done, names)
    ok("deploy/README.md migrates what the settings name")


sys.exit(main())
