"""Envoy's configurations, judged by Envoy; Istio's and every other file, as far as that can be done without a mesh."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import yaml

from common import DEPLOY, ROOT, Loader, load, ok

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


def found(node, key):
    """Whatever has this key, however deep."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    here = [node[key]] if isinstance(node, dict) and key in node else []
    return here + [it for child in children for it in found(child, key)]


def one(node, key):
    values = found(node, key)
    assert len(values) == 1, (key, values)
    return values[0]


def contract():
    """The methods of the contract, as paths."""
    for file in sorted((ROOT / "proto/tokenward/v1").glob("*.proto")):
        for service, body in re.findall(r"(?ms)^service (\w+) \{(.*?)^\}", file.read_text()):
            yield from (f"/tokenward.v1.{service}/{it}" for it in re.findall(r"rpc (\w+)", body))


def retries_are_the_tested_ones():
    """What docs/operations.md shows; tests/it/topology/balanced.rs runs load-balancer.yaml itself."""
    guide = (ROOT / "docs/operations.md").read_text()
    balancer = load(DEPLOY / "envoy/load-balancer.yaml")
    shown = yaml.safe_load(re.search(r"```yaml\n(clusters:.*?)```", guide, re.DOTALL)[1])
    twice, once = found(balancer, "retry_policy")
    # Nothing that a replica has answered, and what it may have begun only where that does no harm.
    assert once["retry_on"] == "connect-failure,refused-stream,reset-before-request", once
    assert twice == once | {"retry_on": once["retry_on"] + ",reset"}, twice
    methods = re.compile(one(balancer, "safe_regex")["regex"])
    repeated = [it for it in contract() if methods.fullmatch(it)]
    assert len(repeated) > 8 and not [it for it in repeated if "/Issue" in it or "All" in it or "/U" in it], repeated
    assert {"/tokenward.v1.TokenService/Authenticate", "/tokenward.v1.TokenService/Revoke"} <= set(repeated), repeated
    assert one(load(DEPLOY / "envoy/ext-authz.yaml"), "retry_policy") == twice, "a question may be asked twice"
    for name in ("load-balancer", "ext-authz"):
        shipped = load(DEPLOY / f"envoy/{name}.yaml")
        for health, other in ((one(it, "health_checks")[0], one(balancer, "health_checks")[0]) for it in (shipped, shown)):
            looks = {"interval": "", "no_traffic_interval": ""}
            assert health | looks == other | looks, (name, health)
        assert one(shipped, "max_retries") >= 1000, "3 at once by default"
        assert one(shipped, "common_lb_config") == one(shown, "common_lb_config"), name
    assert one(shown, "retry_policy") == once
    settings = tomllib.loads((DEPLOY / "compose/tokenward.toml").read_text())["server"]
    health = one(balancer, "health_checks")[0]
    drain, interval = (float(it.removesuffix("s")) for it in (settings["drain_delay"], health["interval"]))
    assert drain > interval * (health["unhealthy_threshold"] + 1), "a replica that drains is left out in time"
    ok("retries and health checks are those that the tests run and the guide shows")


def istio_is_whole():
    objects = [it for file in sorted((DEPLOY / "istio").glob("*.yaml")) for it in yaml.safe_load_all(file.read_text())]
    for it in objects:
        version, fields = ISTIO[it["kind"]]
        assert it["apiVersion"] == version and fields <= it["spec"].keys(), it
    provider = next(it for it in objects if it["kind"] == "IstioOperator")["spec"]["meshConfig"]["extensionProviders"][0]
    assert provider["envoyExtAuthzGrpc"]["failOpen"] is False
    routes = [route for it in objects for route in it["spec"].get("http", [])]
    twice, once = (route["retries"]["retryOn"] for route in routes)
    assert (once, twice) == ("connect-failure,refused-stream", "connect-failure,refused-stream,reset"), routes
    assert routes[0]["match"][0]["uri"] == one(load(DEPLOY / "envoy/load-balancer.yaml"), "safe_regex"), routes
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
    retries_are_the_tested_ones()
    istio_is_whole()
    everything_parses()


sys.exit(main())
