"""The compose files: each by itself, each overlay on the base, and what the containers would run with."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

import compose_spec

from common import DEPLOY, ROOT, load, ok, settings

OVERLAYS = [None, "sentinel", "cluster", "tls"]
# Lists that an overlay replaces (Compose Specification, "Merge and override"); it appends to others.
REPLACED = {"command", "entrypoint", "test"}


def merge(base, over, key=None):
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {name: merge(base[name], value, name) if name in base else value for name, value in over.items()}
    if isinstance(base, list) and isinstance(over, list) and key not in REPLACED:
        return base + [it for it in over if it not in base]
    return over


def interpolated(node, variables):
    """As Compose does it; `:?` refuses a variable that is not set."""
    if isinstance(node, dict):
        return {key: interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [interpolated(it, variables) for it in node]
    if not isinstance(node, str):
        return node
    return re.sub(r"\$\{(\w+):\?[^}]*\}|\$\$", lambda it: variables[it[1]] if it[1] else "$", node)


def project(home, overlay):
    lines = (home / ".env").read_text().split()
    variables = dict(line.split("=", 1) for line in lines)
    base = interpolated(load(home / "compose.yaml"), variables)
    if overlay is None:
        return base
    whole = merge(base, interpolated(load(home / f"compose.{overlay}.yaml"), variables))
    for service in whole["services"].values():
        extends = service.pop("extends", None)
        if extends:
            assert extends["file"] == "compose.yaml"
            service |= merge(base["services"][extends["service"]], service)
    return whole


def is_whole(home, overlay, whole):
    compose_spec.PyCompose.from_json(json.dumps(whole)).validate()
    services = whole["services"]
    replicas = services["tokenward"]
    assert replicas["deploy"]["replicas"] == 2 and "ports" not in replicas, f"{overlay}: two, without a port"
    assert replicas["depends_on"]["migrate"]["condition"] == "service_completed_successfully", replicas["depends_on"]
    for name, service in services.items():
        for kind in ("secrets", "configs"):
            for use in service.get(kind, []):
                source = use["source"] if isinstance(use, dict) else use
                assert (home / whole[kind][source]["file"]).is_file(), f"{overlay}: {name}: {source}"
        for dependency, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            image = services[dependency]["image"] == "tokenward"
            assert not healthy or image or "healthcheck" in services[dependency], f"{name}: {dependency}"
        assert "SSL_CERT_FILE" not in service.get("environment", {}), f"{name}: tls_ca says whom to trust"
        for word in words(service):
            path = re.match(r"/run/secrets/([\w.-]+)", str(word))
            assert not path or path[1] in targets(service), f"{overlay}: {name}: no secret {word}"
        assert name == "postgres" or (service["read_only"] and service["cap_drop"] == ["ALL"]), name
    ok(f"{overlay}: every secret, file and service that is named is there")


def targets(service):
    return [it if isinstance(it, str) else it["source"] for it in service.get("secrets", [])]


def words(service):
    """Whatever of a service may be the path of a secret."""
    test = service.get("healthcheck", {}).get("test", [])
    return [*service.get("environment", {}).values(), *service.get("command", []), *test]


def the_program_accepts(home, overlay, whole):
    """The settings of the replicas and of the migrating job, with the secrets that these containers have."""
    for name in ("tokenward", "migrate"):
        service = whole["services"][name]
        with tempfile.TemporaryDirectory() as directory:
            run = pathlib.Path(directory) / "secrets"
            run.mkdir()
            for secret in service["secrets"]:
                shutil.copy(home / whole["secrets"][secret]["file"], run / secret)
            places = [("/run/secrets", str(run)), ("/etc/tokenward/callers.toml", f"{directory}/callers.toml")]
            texts = {file: (home / file).read_text() for file in ("tokenward.toml", "callers.toml")}
            environment = {key: str(value) for key, value in service.get("environment", {}).items()}
            for old, new in places:
                texts = {file: text.replace(old, new) for file, text in texts.items()}
                environment = {key: value.replace(old, new) for key, value in environment.items()}
            (pathlib.Path(directory) / "callers.toml").write_text(texts["callers.toml"])
            # As they are, the database's TLS among them.
            printed = tomllib.loads(settings(directory, texts["tokenward.toml"], environment, verb="print"))
            is_encrypted(name, overlay, printed, str(run))
            # With the callers, the certificates and a database of its own: no server is asked here.
            (run / "database-url").write_text(f"sqlite://{directory}/t.db")
            environment.pop("TOKENWARD_DATABASE__TLS_CA", None)
            settings(directory, texts["tokenward.toml"], environment)
    ok(f"{overlay}: the program accepts its settings, callers and certificates")


def is_encrypted(name, overlay, printed, run):
    """Whom the replicas and the job trust; the URL of a database says nothing of it, else the program refuses it."""
    wanted = {"database": f"{run}/ca.crt"} if overlay == "tls" else {}
    wanted |= {"redis": f"{run}/ca.crt"} if overlay == "tls" and name == "tokenward" else {}
    trusted = {section: printed[section].get("tls_ca") for section in ("database", "redis")}
    assert trusted == {"database": None, "redis": None} | wanted, f"{overlay}: {name}: {trusted}"
    assert ("tls_cert" in printed["server"]) == (overlay == "tls" and name == "tokenward"), printed["server"]


def redis_accepts(home, overlay, whole):
    """The real server, with the options of each container."""
    for name, service in whole["services"].items():
        if not name.startswith("redis"):
            continue
        with tempfile.TemporaryDirectory() as directory:
            socket = f"{directory}/s"
            command = [
                str(word).replace("/run/secrets", f"{directory}/secrets").replace("/data", directory)
                for word in service["command"]
            ]
            os.mkdir(f"{directory}/secrets")
            for secret in service["secrets"]:
                shutil.copy(home / whole["secrets"][secret]["file"], f"{directory}/secrets/{secret}")
            # The last one wins: nobody needs a TCP port here.
            command += ["--port", "0", "--tls-port", "0", "--unixsocket", socket, "--dir", directory]
            command += ["--replicaof", "no", "one"] if "--replicaof" in command else []
            command += ["--cluster-port", "1"] if "--cluster-enabled" in command else []
            answers(command, socket, (home / "secrets/redis-password").read_text().strip())
    ok(f"{overlay}: redis-server accepts its options")


def answers(command, socket, password):
    if "--cluster-enabled" in command:
        # A node of a cluster wants a port for the others, and fails to get one later than it reads its options.
        command = [*command, "--bind", "127.0.0.1"]
        command[command.index("--cluster-enabled") + 1] = "no"
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        environment = os.environ | {"REDISCLI_AUTH": password}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert server.poll() is None, server.stdout.read()
            ping = subprocess.run(["redis-cli", "-s", socket, "ping"], env=environment, capture_output=True, text=True)
            if ping.stdout.strip() == "PONG":
                return
            time.sleep(0.02)
        raise AssertionError(f"no answer: {command}")
    finally:
        server.kill()
        server.wait()


def main():
    with tempfile.TemporaryDirectory() as directory:
        deploy = pathlib.Path(directory) / "deploy"
        shutil.copytree(DEPLOY / "compose", deploy / "compose", ignore=shutil.ignore_patterns("secrets", "data", ".env"))
        shutil.copytree(DEPLOY / "envoy", deploy / "envoy")
        home = deploy / "compose"
        for _ in range(2):
            subprocess.run([home / "init"], check=True, stdout=subprocess.DEVNULL)
            made = {file: file.read_bytes() for file in (home / "secrets").rglob("*") if file.is_file()}
        subprocess.run([home / "init"], check=True, stdout=subprocess.DEVNULL)
        assert made == {file: file.read_bytes() for file in made}, "what is there stays"
        assert all(file.stat().st_mode & 0o077 == 0 for file in made), "nobody else can read them"
        ignored = (home / ".gitignore").read_text().split()
        assert ignored == ["/.env", "/data/", "/secrets/"] and (home / "data/redis-6").is_dir()
        ok("init makes every secret once")
        for overlay in OVERLAYS:
            whole = project(home, overlay)
            is_whole(home, overlay, whole)
            the_program_accepts(home, overlay, whole)
            redis_accepts(home, overlay, whole)
        build = whole["services"]["tokenward"]["build"]
        assert (DEPLOY / "compose" / build["context"]).resolve() == ROOT and (ROOT / build["dockerfile"]).is_file()


sys.exit(main())
