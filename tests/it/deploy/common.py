"""What the checks of deploy/ have in common."""

import os
import pathlib
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


def ok(claim):
    """Counted by the test that runs the check."""
    print("ok:", claim)
