"""Envoy's configurations, judged by Envoy; Istio's and every other file, as far as that can be done without a mesh."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

import yaml

from common import DEPLOY, Loader, load, ok

# The kinds that the examples for Istio are made of, with what each must say.
ISTIO = {
    "AuthorizationPolicy": ("security.istio.io/v1", {"selector", "action", "rules"}),
    "DestinationRule": ("networking.istio.io/v1", {"host", "trafficPolicy"}),
    "IstioOperator": ("install.istio.io/v1alpha1", {"meshConfig"}),
    "PeerAuthentication": ("security.istio.io/v1", {"selector", "mtls"}),
    "VirtualService": ("networking.istio.io/v1", {"hosts", "http"}),
}


def envoy_accepts():
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory) / "compose"
        home.mkdir()
        shutil.copy(DEPLOY / "compose/init", home)
        subprocess.run([home / "init"], check=True, stdout=subprocess.DEVNULL)
        tls = home / "secrets/tls"
        # Whose they are does not matter here; they are read, and must belong together.
        for name in ("gateway", "caller"):
            for end in ("crt", "key"):
                shutil.copy(tls / f"envoy.{end}", tls / f"{name}.{end}")
        files = sorted((DEPLOY / "envoy").glob("*.yaml"))
        assert len(files) == 3, files
        for file in files:
            text = file.read_text().replace("/run/secrets", str(tls)).replace("/etc/envoy/tls", str(tls))
            copy = pathlib.Path(directory) / file.name
            copy.write_text(text)
            command = [os.environ["ENVOY"], "--mode", "validate", "--config-path", copy]
            done = subprocess.run(command, capture_output=True, text=True)
            said = done.stdout + done.stderr
            assert done.returncode == 0 and "deprecated" not in said.lower(), said
            ok(f"envoy accepts {file.name}")


def the_load_balancers_differ_by_tls_alone():
    plain, tls = (load(DEPLOY / f"envoy/load-balancer{end}.yaml") for end in ("", "-tls"))
    del tls["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"]
    del tls["static_resources"]["clusters"][0]["transport_socket"]
    assert plain == tls
    ok("load-balancer-tls.yaml is load-balancer.yaml with TLS")


def istio_is_whole():
    objects = [it for file in sorted((DEPLOY / "istio").glob("*.yaml")) for it in yaml.safe_load_all(file.read_text())]
    for it in objects:
        version, fields = ISTIO[it["kind"]]
        assert it["apiVersion"] == version and fields <= it["spec"].keys(), it
    provider = next(it for it in objects if it["kind"] == "IstioOperator")["spec"]["meshConfig"]["extensionProviders"][0]
    assert provider["envoyExtAuthzGrpc"]["failOpen"] is False
    custom = [it["spec"]["provider"]["name"] for it in objects if it["spec"].get("action") == "CUSTOM"]
    assert custom == [provider["name"]]
    hosts = {it["spec"]["host"] for it in objects if "host" in it["spec"]} | {provider["envoyExtAuthzGrpc"]["service"]}
    assert len(hosts) == 1, hosts
    ok("the examples for Istio name each other")


def everything_parses():
    read = {".yaml": lambda text: list(yaml.load_all(text, Loader)), ".json": json.loads, ".toml": tomllib.loads}
    files = [file for file in DEPLOY.rglob("*") if file.suffix in read and "secrets" not in file.parts]
    # What Helm renders is no YAML before that.
    files = [file for file in files if "templates" not in file.parts]
    assert len(files) > 15, files
    for file in files:
        assert read[file.suffix](file.read_text()), file
    ok("every file parses")


def main():
    envoy_accepts()
    the_load_balancers_differ_by_tls_alone()
    istio_is_whole()
    everything_parses()


sys.exit(main())
