"""The manifests: valid for the oldest Kubernetes that we name and for the newest, safe, and in step with each other."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy_files import DEPLOY, KUBERNETES, dockerfile, image_environment, manifest, manifests, only
from fhir_aftercare.api.health import PROBE_SECONDS
from fhir_aftercare.config import Settings
from fhir_aftercare.store.database import Database

OLDEST = "1.30"
SECRET = "secret.example.yaml"


def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


@pytest.mark.parametrize("release", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("each", manifests(), ids=lambda each: f"{each['kind']}/{each['metadata']['name']}")
def test_a_manifest_is_valid(each: dict[str, Any], release: str) -> None:
    kubernetes_validate.validate(each, release, strict=True)


def test_the_guide_names_the_oldest_release_that_is_tried() -> None:
    assert f"## Kubernetes ({OLDEST} or later)" in (DEPLOY / "README.md").read_text("utf-8")


def test_everything_is_applied_but_the_example_of_a_secret() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    there = {path.name for path in KUBERNETES.iterdir()} - {"kustomization.yaml", SECRET}
    assert set(kustomization["resources"]) == there


def test_the_pod_keeps_to_the_restricted_standard() -> None:
    """Kubernetes' own pod security standard, which the namespace enforces."""
    assert manifest("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    of_pod, of_container = pod()["securityContext"], container()["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container["allowPrivilegeEscalation"] is False
    assert of_container["readOnlyRootFilesystem"] is True
    assert of_container["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod())
    assert pod()["automountServiceAccountToken"] is False


def test_the_pod_runs_as_the_user_of_the_image() -> None:
    user, group = (int(number) for number in only(dockerfile()[-1], "USER").split(":"))
    assert user > 0
    assert (pod()["securityContext"]["runAsUser"], pod()["securityContext"]["runAsGroup"]) == (user, group)


def test_the_probes_ask_the_routes_that_are_there_for_it() -> None:
    asked = {name: container()[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {probe["port"] for probe in asked.values()} == {"http"}
    # Else a slow database is a probe without an answer instead of one that says what is wrong.
    assert container()["readinessProbe"]["timeoutSeconds"] > PROBE_SECONDS


def test_resources_are_asked_for_and_memory_is_limited() -> None:
    asked = container()["resources"]
    assert {"cpu", "memory"} <= set(asked["requests"])
    assert "memory" in asked["limits"]


def test_what_the_pod_refers_to_is_there() -> None:
    named = {name for source in container()["envFrom"] for name in [next(iter(source.values()))["name"]]}
    assert {("ConfigMap", name) for name in named} & {(m["kind"], m["metadata"]["name"]) for m in manifests()}
    assert manifest("Secret")["metadata"]["name"] in named
    volumes = {volume["name"] for volume in pod()["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes
    assert manifest("ConfigMap", pod()["volumes"][0]["configMap"]["name"])


def test_everything_selects_the_pods_of_the_deployment() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in container()["ports"]}
    selectors = [
        manifest("Deployment")["spec"]["selector"]["matchLabels"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        manifest("Service")["spec"]["selector"],
        manifest("Service", "fhir-aftercare-metrics")["spec"]["selector"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    for name in ("fhir-aftercare", "fhir-aftercare-metrics"):
        assert {port["targetPort"] for port in manifest("Service", name)["spec"]["ports"]} <= ports


def test_one_pod_can_go_while_another_serves() -> None:
    assert manifest("Deployment")["spec"]["replicas"] > manifest("PodDisruptionBudget")["spec"]["minAvailable"] >= 1
    assert manifest("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_nothing_calls_the_api_but_what_was_let_in() -> None:
    policy, default = manifest("NetworkPolicy"), manifest("NetworkPolicy", "default-deny")
    for each in (policy, default):
        assert set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert default["spec"]["podSelector"] == {}
    assert not {"ingress", "egress"} & set(default["spec"])
    guide = (DEPLOY / "README.md").read_text("utf-8")
    for rule in policy["spec"]["ingress"]:
        (source,) = rule["from"]
        (label,) = source["namespaceSelector"]["matchLabels"].items()
        assert "=".join(label) in guide


def test_the_settings_are_ones_that_the_service_accepts() -> None:
    given = {**manifest("ConfigMap")["data"], **manifest("Secret")["stringData"]}
    read = Settings.model_validate({name.removeprefix("AFTERCARE_").lower(): value for name, value in given.items()})
    assert read.insecure_bind
    # Two pods cannot share a file.
    assert Database(read.database_url or "").dialect == "postgresql"


def test_the_clinics_and_the_data_are_mounted_where_the_image_expects_them() -> None:
    places = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert places["clinics"] == image_environment()["AFTERCARE_CLINICS"]
    assert places["clinics"] == manifest("ConfigMap")["data"]["AFTERCARE_CLINICS"]
    assert [places["data"]] == yaml.safe_load(only(dockerfile()[-1], "VOLUME"))
