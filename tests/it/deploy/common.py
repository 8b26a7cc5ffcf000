"""What the checks of deploy/ have in common."""

import os
import pathlib
import shutil
import subprocess

import yaml

ROOT = pathlib.Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


class Loader(yaml.SafeLoader):
    """YAML with the tags that Compose adds; a node with one is as it would be without."""


def plain(loader, _, node):
    construct = {yaml.MappingNode: loader.construct_mapping, yaml.SequenceNode: loader.construct_sequence}
    return construct.get(type(node), loader.construct_scalar)(node, *([] if isinstance(node, yaml.ScalarNode) else [True]))


Loader.add_multi_constructor("!", plain)


def load(path):
    return yaml.load(path.read_text(), Loader)


def settings(directory, toml, environment=(), verb="check"):
    """Has the program itself judge settings; what it says, when it refuses them."""
    file = pathlib.Path(directory) / "tokenward.toml"
    file.write_text(toml)
    command = [os.environ["TOKENWARD"], "config", verb, "--config", file]
    done = subprocess.run(command, cwd=directory, env=dict(environment), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\n{toml}\n{environment}"
    return done.stdout


def authority(directory):
    """The texts of a private authority, of a certificate of it and of the key: what `compose/init` makes."""
    home = pathlib.Path(directory) / "compose"
    home.mkdir()
    shutil.copy(DEPLOY / "compose/init", home)
    subprocess.run([home / "init"], check=True, stdout=subprocess.DEVNULL)
    return [(home / "secrets/tls" / name).read_text() for name in ("ca.crt", "redis.crt", "redis.key")]


def ok(claim):
    """Counted by the test that runs the check."""
    print("ok:", claim)
