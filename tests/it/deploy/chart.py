"""The chart, rendered by Helm's own library and judged by Kubernetes' own schemas and by the program."""

import pathlib
import re
import sys
import tempfile
import tomllib

import helm_python as helm
import kubernetes_validate
import yaml

from common import DEPLOY, authority, ok, settings

CHART = DEPLOY / "helm" / "tokenward"
KUBERNETES = ["1.27", "1.37"]
# Not Kubernetes' own, so it has no schema here.
CUSTOM = {"ServiceMonitor": "monitoring.coreos.com/v1"}


def render(values):
    with helm.Chart.load(str(CHART)) as chart:
        rendered = chart.render(values, name="demo", namespace="prod")
    documents = [yaml.safe_load_all(text) for name, text in rendered.items() if name.endswith(".yaml")]
    return [document for stream in documents for document in stream if document]


def one(objects, kind, name="demo-tokenward"):
    return next((it for it in objects if it["kind"] == kind and it["metadata"]["name"] == name), None)


def kubernetes_accepts(case, objects):
    names = [(it["kind"], it["metadata"]["name"]) for it in objects]
    assert len(names) == len(set(names)), names
    for it in objects:
        if it["kind"] in CUSTOM:
            assert it["apiVersion"] == CUSTOM[it["kind"]], it
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(it, version, strict=True)
    ok(f"{case}: {len(objects)} objects are Kubernetes'")


def parts_fit(case, objects):
    """Names and labels by which the objects find each other."""
    deployment = one(objects, "Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    for it in objects:
        selector = it["spec"].get("selector") if it["kind"] == "Service" else None
        selector = it["spec"].get("podSelector", {}).get("matchLabels") if it["kind"] == "NetworkPolicy" else selector
        selector = it["spec"]["selector"]["matchLabels"] if it["kind"] in ("PodDisruptionBudget", "Deployment") else selector
        assert selector is None or selector.items() <= labels, it
    migrate = one(objects, "Job", "demo-tokenward-migrate")
    if migrate:
        runs_first(migrate, one(objects, "ConfigMap", "demo-tokenward-migrate"))
    templates = [pod] + ([migrate["spec"]["template"]] if migrate else [])
    selected = deployment["spec"]["selector"]["matchLabels"].items()
    assert not any(selected <= it["metadata"]["labels"].items() for it in templates[1:]), "no call goes to the job"
    for template in templates[1:]:
        # Else a proxy outlives the job's container, and the hook fails at its deadline.
        assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false", template["metadata"]
        assert template["metadata"]["annotations"]["linkerd.io/inject"] == "disabled", template["metadata"]
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    for template in templates:
        spec, container = template["spec"], template["spec"]["containers"][0]
        assert spec["enableServiceLinks"] is False and spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"], context
        assert context["capabilities"] == {"drop": ["ALL"]}, "as the restricted Pod Security Standard demands"
        assert {it["name"] for it in container["volumeMounts"]} == {it["name"] for it in spec["volumes"]}
        assert not container.get("env"), "a secret is a file"
    for service in (it for it in objects if it["kind"] == "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for monitor in (it for it in objects if it["kind"] == "ServiceMonitor"):
        is_scraped_as_the_alerts_say(monitor, [it for it in objects if it["kind"] == "Service"])
    ok(f"{case}: selectors, ports, volumes and security contexts fit")


def runs_first(job, config):
    """Before anything of the release is there or changed, its configuration before the job."""
    annotations = [it["metadata"]["annotations"] for it in (config, job)]
    assert {it["helm.sh/hook"] for it in annotations} == {"pre-install,pre-upgrade"}, annotations
    before, after = (int(it["helm.sh/hook-weight"]) for it in annotations)
    assert before < after, annotations
    mounted = [it["configMap"]["name"] for it in job["spec"]["template"]["spec"]["volumes"] if "configMap" in it]
    assert config["metadata"]["name"] in mounted, mounted


def is_scraped_as_the_alerts_say(monitor, services):
    """Prometheus's operator names the job by a label of the Service, and by the Service's name without one."""
    jobs = set(re.findall(r'job="(\w+)"', (DEPLOY / "prometheus/alerts.yaml").read_text()))
    spec = monitor["spec"]
    selected = [it for it in services if spec["selector"]["matchLabels"].items() <= it["metadata"]["labels"].items()]
    ports = {endpoint["port"] for endpoint in spec["endpoints"]}
    scraped = [it for it in selected if ports & {port["name"] for port in it["spec"]["ports"]}]
    assert len(scraped) == 1, "each replica once"
    label = spec.get("jobLabel")
    assert jobs == {scraped[0]["metadata"]["labels"].get(label, scraped[0]["metadata"]["name"])}, (jobs, label)


def probes_are_answered(case, objects):
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    server = tomllib.loads(one(objects, "ConfigMap")["data"]["tokenward.toml"])["server"]
    for probe in ("startupProbe", "readinessProbe"):
        if "tls_cert" in server:
            assert container[probe]["httpGet"] == {"path": "/readyz", "port": "http"}, "no gRPC probe speaks TLS"
        else:
            assert container[probe]["grpc"] == {"port": 50051, "service": "tokenward.v1.TokenService"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    ok(f"{case}: probes")


def the_program_accepts(case, objects, secrets):
    """The configuration as it is mounted, with files where the pod has them."""
    text = one(objects, "ConfigMap")["data"]["tokenward.toml"]
    migrate = one(objects, "ConfigMap", "demo-tokenward-migrate")
    assert migrate is None or migrate["data"]["tokenward.toml"] == text
    job = one(objects, "Job", "demo-tokenward-migrate")
    for it in filter(None, (one(objects, "Deployment"), job)):
        the_program_accepts_in(it["spec"]["template"]["spec"], text, secrets)
    ok(f"{case}: the program accepts its settings")


def the_program_accepts_in(pod, text, secrets):
    mounted = {
        mount["mountPath"]: next(it for it in pod["volumes"] if it["name"] == mount["name"])
        for mount in pod["containers"][0]["volumeMounts"]
    }
    with tempfile.TemporaryDirectory() as directory:
        for path, volume in mounted.items():
            if volume["name"] == "config":
                continue
            home = pathlib.Path(directory + path)
            home.mkdir(parents=True)
            keys = [it["path"] for it in volume.get("secret", {}).get("items", [])] or sorted(secrets[volume["name"]])
            for key in keys:
                (home / key).write_text(secrets[volume["name"]][key])
        printed = settings(directory, text.replace('"/etc/', f'"{directory}/etc/'), verb="print")
        assert "0.0.0.0:50051" in printed


def senseless_values_are_refused():
    for values in [
        {"tls": {"secretName": ""}},
        {"callers": {"secretName": ""}},
        {"config": {"server": {"listen": "127.0.0.1:1"}}},
        {"config": {"database": {"url": "postgres://u:secret@h/d"}}},
        {"config": {"redis": {"password": "secret"}}},
        {"config": {"redis": {"url": "redis://:secret@redis:6379"}}},
        {"config": {"redis": {"url": "rediss-sentinel://u:secret@s:26379?sentinelServiceName=main"}}},
        {"config": {"redis": {"url": "redis-sentinel://s:26379?sentinelServiceName=main&sentinelPassword=secret"}}},
        {"config": {"knox_redis": {"password": "secret"}}},
        {"config": {"knox_redis": {"url": "redis://:secret@redis:6379"}}},
        {"replicaCount": "three"},
        {"image": {"digest": "latest"}},
        {"repicaCount": 3},
        {"networkPolicy": {"callers": [1]}},
    ]:
        try:
            render(values)
        except helm.HelmError as refusal:
            assert "schema" in str(refusal) or "don't meet" in str(refusal), refusal
        else:
            raise AssertionError(f"rendered: {values}")
    ok("senseless values are refused")


def main():
    lint = helm.lint(str(CHART))
    told = [it for it in lint["messages"] if "icon is recommended" not in it["error"]]
    assert not told and not lint["errors"], lint
    ok("helm lint finds nothing")
    with tempfile.TemporaryDirectory() as directory:
        ca, cert, key = authority(directory)
    secrets = {
        "secrets": {
            "database-url": "postgres://u:p@db/tokenward",
            "redis-url": "rediss://redis:6379",
            "redis-password": "p",
            "cache-mac-key": "0123456789abcdef" * 4,
            "cache-mac-key-previous": "fedcba9876543210" * 4,
            "knox-redis-url": "redis://knox:6379",
            "knox-redis-password": "p",
        },
        "callers": {"callers.toml": ""},
        "tls": {"tls.crt": cert, "tls.key": key, "ca.crt": ca},
        # Of ci/tls-values.yaml.
        "authority": {"ca.crt": ca},
        "identity": {"tls.crt": cert, "tls.key": key},
    }
    cases = {"defaults": {}} | {
        file.stem: yaml.safe_load(file.read_text()) for file in sorted((CHART / "ci").glob("*.yaml"))
    }
    assert len(cases) == 5
    for case, values in cases.items():
        objects = render(values)
        kubernetes_accepts(case, objects)
        parts_fit(case, objects)
        probes_are_answered(case, objects)
        the_program_accepts(case, objects, secrets)
    kinds = {it["kind"] for it in render(cases["full-values"])}
    assert kinds >= {"HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "Job"}, kinds
    senseless_values_are_refused()


sys.exit(main())
