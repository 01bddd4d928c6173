#!/usr/bin/env python3
"""Checks the manifests the way a cluster and the binaries would.

Renders every overlay with `kubectl kustomize`, validates each object strictly, and asserts what no schema can: that ports,
ConfigMap keys, secret paths, selectors and accounts agree with the configuration files inside the ConfigMaps, that the binaries
accept those files, and that the network policies let through what the mesh needs and nothing else.

Usage: check.py BINARIES_DIRECTORY
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
SERVICES = {"svc-accounts", "svc-cache", "svc-docs", "svc-ledger"}
WORKLOADS = SERVICES | {"edge"}
KUBERNETES = "1.32"


class Overlay:
    """The objects of one rendered overlay, and what is wrong with them."""

    def __init__(self, name, objects):
        self.name = name
        self.objects = objects
        self.problems = []

    def expect(self, condition, message):
        if not condition:
            self.problems.append(f"{self.name}: {message}")

    def kind(self, kind):
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] == kind}

    def configs(self):
        """The parsed configuration of every workload."""
        maps = self.kind("ConfigMap")
        return {name: tomllib.loads(maps[config_map(d)]["data"]["config.toml"]) for name, d in self.kind("Deployment").items()}


def render(overlay):
    rendered = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True)
    if rendered.returncode != 0:
        sys.exit(f"k8s-check: {overlay.name} does not render: {rendered.stderr.strip()}")
    return Overlay(overlay.name, [o for o in yaml.safe_load_all(rendered.stdout) if o])


def validate(overlay):
    for o in overlay.objects:
        try:
            kubernetes_validate.validate(o, KUBERNETES, strict=True)
        except Exception as error:  # the library raises several unrelated types
            overlay.expect(False, f"{o['kind']} {o['metadata']['name']}: {error}")
        if o["kind"] != "Namespace":
            overlay.expect(o["metadata"].get("namespace") == "causeway", f"{o['kind']} {o['metadata']['name']} has no namespace")


def pod(deployment):
    return deployment["spec"]["template"]["spec"]


def container(deployment):
    (only,) = pod(deployment)["containers"]
    return only


def volumes(deployment):
    return {v["name"]: v for v in pod(deployment)["volumes"]}


def config_map(deployment):
    return volumes(deployment)["config"]["configMap"]["name"]


def labels(deployment):
    return deployment["spec"]["template"]["metadata"]["labels"]


def selects(selector, pod_labels):
    """Whether a LabelSelector matches, as far as these manifests use it."""
    exact = all(pod_labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())
    listed = all(e["operator"] == "In" and pod_labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))
    return exact and listed


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def listening(name, config):
    """The ports a binary opens, by what its configuration says."""
    if name == "edge":
        ports = {port_of(listener["listen"]) for listener in config["listener"].values()}
        return ports, port_of(config["admin"]["listen"])
    return {port_of(config["server"]["listen"])}, port_of(config["server"]["admin"])


def strings(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def check_workloads(overlay):
    deployments = overlay.kind("Deployment")
    overlay.expect(set(deployments) == WORKLOADS, f"deployments are {sorted(deployments)}")
    accounts, maps, configs = overlay.kind("ServiceAccount"), overlay.kind("ConfigMap"), overlay.configs()
    for name, deployment in deployments.items():
        main, spec = container(deployment), pod(deployment)
        say = lambda condition, message, name=name: overlay.expect(condition, f"{name}: {message}")
        say(selects(deployment["spec"]["selector"], labels(deployment)), "the selector does not match the template")
        say(spec["serviceAccountName"] == name and name in accounts, "the service account is not its own")
        say(not spec["automountServiceAccountToken"], "mounts an API token")
        say(main["image"].split(":")[0].split("/")[-1] == name, f"runs image {main['image']}")
        say(not main["image"].endswith(":latest") and re.search("[:@]", main["image"]), "the image has no version")

        listen, admin = listening(name, configs[name])
        declared = {p["name"]: p["containerPort"] for p in main["ports"]}
        say(declared.pop("admin", None) == admin, f"the admin port is not {admin}")
        say(set(declared.values()) == listen, f"declares {sorted(declared.values())} and listens on {sorted(listen)}")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            say(main[probe]["grpc"]["port"] == admin, f"{probe} does not ask port {admin}")
        say(main["readinessProbe"]["grpc"]["service"] == "ready", "readiness does not ask for ready")
        say(main["livenessProbe"]["grpc"]["service"] == "live", "liveness does not ask for live")

        mounts = {m["mountPath"]: m["name"] for m in main["volumeMounts"]}
        say(set(mounts.values()) == set(volumes(deployment)), "volumes and mounts differ")
        flag, path = main["args"]
        directory, key = path.rsplit("/", 1)
        say(flag == "--config" and mounts.get(directory) == "config", f"{path} is not in the ConfigMap's mount")
        say(set(maps[config_map(deployment)]["data"]) == {key}, f"the ConfigMap does not hold just {key}")
        for text in strings(configs[name]):
            if text.startswith("/var/run/causeway/"):
                say(text.rsplit("/", 1)[0] in mounts, f"{text} is in no mounted secret")
        check_restricted(say, deployment)
        grace = spec["terminationGracePeriodSeconds"]
        say(grace > main["lifecycle"]["preStop"]["sleep"]["seconds"] + 27, "the grace period is shorter than the drain")


def check_restricted(say, deployment):
    outer, inner = pod(deployment)["securityContext"], container(deployment)["securityContext"]
    say(outer["runAsNonRoot"] and outer["seccompProfile"]["type"] == "RuntimeDefault", "does not meet the restricted profile")
    say(not inner["allowPrivilegeEscalation"] and inner["capabilities"] == {"drop": ["ALL"]}, "keeps privileges")
    say(inner["readOnlyRootFilesystem"], "can write its root file system")
    resources = container(deployment)["resources"]
    say(resources["limits"] == {"memory": resources["requests"]["memory"]}, "the memory limit is not the request")


def check_services(overlay):
    deployments, configs = overlay.kind("Deployment"), overlay.configs()
    reachable = {}
    for name, service in overlay.kind("Service").items():
        behind = [d for d in deployments.values() if selects({"matchLabels": service["spec"]["selector"]}, labels(d))]
        overlay.expect(len(behind) == 1, f"Service {name} selects {len(behind)} workloads")
        if len(behind) != 1:
            continue
        ports = {p["name"]: p["containerPort"] for p in container(behind[0])["ports"]}
        for port in service["spec"]["ports"]:
            overlay.expect(port["targetPort"] in ports, f"Service {name} targets {port['targetPort']}")
            reachable[(name, port["port"])] = (behind[0]["metadata"]["name"], port["targetPort"])
        overlay.expect(name == "edge" or service["spec"].get("clusterIP") == "None", f"Service {name} is not headless")
    for name in SERVICES:
        for address in configs[name]["edge"]["addresses"]:
            host = (address.rsplit(":", 1)[0], port_of(address))
            overlay.expect(reachable.get(host) == ("edge", "mesh"), f"{name} calls {address}, which is not the mesh listener")
    for upstream in configs["edge"]["upstream"]:
        for address in upstream["addresses"]:
            host = (address.rsplit(":", 1)[0], port_of(address))
            overlay.expect(reachable.get(host) == (upstream["name"], "grpc"), f"edge calls {address} for {upstream['name']}")
    for name, budget in overlay.kind("PodDisruptionBudget").items():
        behind = [d for d in deployments.values() if selects(budget["spec"]["selector"], labels(d))]
        overlay.expect(len(behind) == 1, f"PodDisruptionBudget {name} selects {len(behind)} workloads")


def allowed(overlay, direction, subject, peer, port):
    """Whether a policy lets `subject` receive from, or send to, a pod with the labels `peer`."""
    rules, ends = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    for policy in overlay.kind("NetworkPolicy").values():
        spec = policy["spec"]
        if direction not in spec["policyTypes"] or not selects(spec["podSelector"], subject):
            continue
        for rule in spec.get(rules, []):
            ports = [p["port"] for p in rule.get("ports", [])]
            peers = rule.get(ends)
            open_peer = peers is None or any(
                "namespaceSelector" not in p and "podSelector" in p and selects(p["podSelector"], peer) for p in peers)
            if open_peer and (not ports or port in ports):
                return True
    return False


def check_network(overlay):
    deployments, configs = overlay.kind("Deployment"), overlay.configs()
    of = {name: labels(d) for name, d in deployments.items()}
    deny = overlay.kind("NetworkPolicy").get("default-deny", {}).get("spec", {})
    closed = deny.get("podSelector") == {} and set(deny.get("policyTypes", [])) == {"Ingress", "Egress"}
    overlay.expect(closed and not deny.get("ingress") and not deny.get("egress"), "there is no default deny")
    mesh = port_of(configs["edge"]["listener"]["mesh"]["listen"])
    stranger = {"app.kubernetes.io/name": "stranger"}
    for callee in WORKLOADS:
        ports, admin = listening(callee, configs[callee])
        for caller, caller_labels in [*of.items(), ("stranger", stranger)]:
            for port in ports | {admin}:
                got = allowed(overlay, "Ingress", of[callee], caller_labels, port) and (
                    caller == "stranger" or allowed(overlay, "Egress", caller_labels, of[callee], port))
                public = callee == "edge" and port not in (mesh, admin) and caller == "stranger"
                wanted = public or (callee == "edge" and port == mesh and caller in SERVICES) or (
                    callee in SERVICES and caller == "edge" and port != admin)
                overlay.expect(got == wanted, f"{caller} -> {callee}:{port} is {'open' if got else 'closed'}")


def check_binaries(overlay, binaries):
    """The binaries accept their files. Paths of the image are moved to a scratch directory that holds the descriptor set."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        descriptors = scratch / "causeway.binpb"
        subprocess.run([binaries / "dev", "descriptors", descriptors], check=True)
        for name, deployment in overlay.kind("Deployment").items():
            text = overlay.kind("ConfigMap")[config_map(deployment)]["data"]["config.toml"]
            text = text.replace("/usr/share/causeway/causeway.binpb", str(descriptors))
            path = scratch / f"{name}.toml"
            path.write_text(text)
            command = [binaries / name, "check", "--config", path] if name == "edge" else [binaries / name, "--config", path, "--check"]
            ran = subprocess.run(command, capture_output=True, text=True)
            overlay.expect(ran.returncode == 0, f"{name} refuses its configuration: {ran.stderr.strip()}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip().splitlines()[-1])
    if shutil.which("kubectl") is None:
        sys.exit("k8s-check: kubectl is missing: install it to render the overlays")
    problems = []
    for path in sorted((HERE / "overlays").iterdir()):
        overlay = render(path)
        validate(overlay)
        check_workloads(overlay)
        check_services(overlay)
        check_network(overlay)
        check_binaries(overlay, pathlib.Path(sys.argv[1]).resolve())
        problems += overlay.problems
        print(f"{overlay.name}: {len(overlay.objects)} objects, {len(overlay.problems)} problems")
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
