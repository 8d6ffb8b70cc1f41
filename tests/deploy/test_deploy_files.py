"""Linters over what is shipped to run the service, and that its parts agree with each other and with the code."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
import yaml

from deploy_files import (
    COMPOSE_VARIABLES,
    DEPLOY,
    KUBERNETES,
    ROOT,
    compose,
    dockerfile,
    files,
    health_command,
    image_environment,
    manifest,
    manifests,
    only,
    tool,
    version,
)
from fhir_aftercare.clinic_file import _ClinicFile
from fhir_aftercare.config import Settings, read_clinic
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.intake.settings import secret_names
from fhir_aftercare.smart_settings import secret_name

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = DEPLOY / "clinics" / "example.toml"
YAMLLINT = {
    "extends": "default",
    "rules": {
        "document-start": "disable",
        "line-length": {"max": 140},
        "truthy": {"check-keys": False},
        "comments": {"min-spaces-from-content": 1},
    },
}
# Secrets of a clinic are named after it.
OF_A_CLINIC = (secret_name(""), secret_names("")[0])
SETTING = re.compile(r"\bAFTERCARE_[A-Z0-9_]+\b")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = compose(tmp_path_factory.mktemp("home"))["services"]
    return found


def scripts() -> list[Path]:
    return [*files("*.sh", below=ROOT), ROOT / ".ci" / "run"]


def settings() -> dict[str, object]:
    """Every setting by the name of its environment variable, with its default."""
    return {f"AFTERCARE_{name.upper()}": field.default for name, field in Settings.model_fields.items()}


# ---- linters


def test_hadolint_has_no_remark_about_the_dockerfile() -> None:
    done = tool("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_has_no_remark_about_a_script(path: Path) -> None:
    done = tool("shellcheck", path)
    assert done.returncode == 0, done.stdout
    assert path.stat().st_mode & 0o111, "cannot be executed"


def test_yamllint_has_no_remark_about_a_yaml_file() -> None:
    done = tool("yamllint", "--strict", "-d", json.dumps(YAMLLINT), *files("*.yaml", "*.yml"))
    assert done.returncode == 0, done.stdout


# ---- versions


def test_every_image_is_pinned_to_a_release(services: dict[str, dict[str, object]]) -> None:
    images = [
        *(only(stage, "FROM").split()[0] for stage in dockerfile()),
        *(str(service["image"]) for service in services.values()),
        *(each["image"] for each in manifest("Deployment")["spec"]["template"]["spec"]["containers"]),
    ]
    assert not [image for image in images if not re.search(r":v?\d+\.\d+[^/:]*$", image)]
    assert not [path for path in files("*") if path.suffix in {".yaml", ".md"} and ":latest" in path.read_text("utf-8")]


def test_both_stages_of_the_image_have_the_same_python() -> None:
    build, run = (only(stage, "FROM").split()[0] for stage in dockerfile())
    assert build == run
    assert re.fullmatch(r"python:3\.12\.\d+-slim-\w+", run)


def test_our_image_is_named_after_the_version_of_the_package(services: dict[str, dict[str, object]]) -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    named = f"fhir-aftercare:{version()}"
    assert services["aftercare"]["image"] == named
    assert manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"] == named
    assert str(kustomization["images"][0]["newTag"]) == version()
    for path in (DEPLOY / "Dockerfile", DEPLOY / "README.md"):
        assert set(re.findall(r"fhir-aftercare:(\d[\w.]*)", path.read_text("utf-8"))) == {version()}, path.name


def test_compose_runs_the_hapi_that_the_tests_run(services: dict[str, dict[str, object]]) -> None:
    pom = ET.parse(DEPLOY / "hapi" / "pom.xml")  # noqa: S314  (our own file)
    tested = pom.findtext(".//{*}properties/{*}hapi.version")
    assert tested
    assert re.fullmatch(rf"hapiproject/hapi:v{re.escape(tested)}-\d+", str(services["hapi"]["image"]))


# ---- settings


@pytest.mark.parametrize("path", files("*"), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_that_is_named_exists(path: Path) -> None:
    named = set(SETTING.findall(path.read_bytes().decode("utf-8", "replace")))
    assert not {each for each in named if not each.startswith(OF_A_CLINIC)} - set(settings())


def test_the_example_of_an_environment_documents_every_setting_with_its_default() -> None:
    text = (DEPLOY / "env.example").read_text("utf-8")
    documented = dict(re.findall(r"^# (AFTERCARE_[A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert set(documented) == set(settings())
    for name, default in settings().items():
        field = name.removeprefix("AFTERCARE_").lower()
        assert (documented[name] == "") == (default in (None, ())), name
        if documented[name]:
            assert getattr(Settings.model_validate({field: documented[name]}), field) == default, name


def test_the_example_of_an_environment_holds_no_secret() -> None:
    text = (DEPLOY / "env.example").read_text("utf-8")
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert values == {name: "./my-clinics" if name == "CLINICS_FOLDER" else "" for name in COMPOSE_VARIABLES}


def test_the_image_holds_no_secret_and_opens_nothing() -> None:
    names = {name for name in image_environment() if name.startswith("AFTERCARE_")}
    assert names == {"AFTERCARE_CLINICS", "AFTERCARE_DATABASE_URL"}
    assert not [each for stage in dockerfile() for each in stage if each.name in {"ARG", "ADD"}]
    assert "@" not in image_environment()["AFTERCARE_DATABASE_URL"]


# ---- ports and probes


def test_all_agree_on_the_ports(services: dict[str, dict[str, object]]) -> None:
    both = {Settings.model_fields["port"].default, Settings.model_fields["metrics_port"].default}
    pod = manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]
    values = manifest("ConfigMap")["data"]
    opened = manifest("NetworkPolicy")["spec"]["ingress"]
    assert {int(port) for port in only(dockerfile()[-1], "EXPOSE").split()} == both
    assert {port["target"] for port in services["aftercare"]["ports"]} == both  # type: ignore[attr-defined]
    assert {port["containerPort"] for port in pod["ports"]} == both
    assert {int(values["AFTERCARE_PORT"]), int(values["AFTERCARE_METRICS_PORT"])} == both
    assert {port["port"] for rule in opened for port in rule["ports"]} == both
    scraped = manifest("Service", "fhir-aftercare-metrics")
    assert int(scraped["metadata"]["annotations"]["prometheus.io/port"]) == scraped["spec"]["ports"][0]["port"]
    assert scraped["spec"]["ports"][0]["port"] == Settings.model_fields["metrics_port"].default


def test_the_image_tells_that_it_lives_by_its_own_route() -> None:
    *_, program = health_command()
    assert "'/livez'" in program
    assert f"'{Settings.model_fields['port'].default}'" in program


# ---- clinics


def test_the_example_of_a_clinic_can_be_used_as_it_stands() -> None:
    read = read_clinic(EXAMPLE.stem, EXAMPLE.read_text("utf-8"))
    assert read.clinic.name == "Example Clinic"
    assert read.clinic.organization == "Organization/clinic"


def test_the_example_of_a_clinic_shows_everything_that_a_clinic_may_say() -> None:
    text = EXAMPLE.read_text("utf-8")
    shown = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)) | set(
        re.findall(r"^\[(\w+)\]", text, re.MULTILINE)
    )
    assert not set(_ClinicFile.model_fields) - shown


def test_what_the_example_of_a_clinic_comments_out_is_right_too() -> None:
    text = re.sub(r"^# (\w+ = |\[)", r"\1", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    assert text != EXAMPLE.read_text("utf-8")
    read = read_clinic("example", text, environ={secret_names("example")[0]: "0123456789abcdef"})
    assert read.clinic.owners.on_call == "PractitionerRole/on-call"
    assert read.smart is not None
    doors = read.doors
    assert None not in (doors.subscription, doors.cds_hooks, doors.hl7v2, doors.per_minute)


def test_in_compose_a_clinic_needs_an_address_of_its_own(services: dict[str, dict[str, object]]) -> None:
    """The README's two lines: without the second, identifiers would be made on a name that nobody owns."""
    readme = (DEPLOY / "README.md").read_text("utf-8")
    (server,) = re.findall(r'^fhir_base_url = "(.+)"$', readme, re.MULTILINE)
    assert server == "http://hapi:8080/fhir"
    assert services["hapi"]["ports"][0]["target"] == 8080  # type: ignore[index]
    moved = EXAMPLE.read_text("utf-8").replace("http://127.0.0.1:8080/fhir", server)
    with pytest.raises(ConfigFault, match="an address that your clinic owns"):
        read_clinic("harbor", moved)
    owned = moved.replace("https://aftercare.example.org", "https://aftercare.harbor-clinic.health")
    assert read_clinic("harbor", owned).fhir_base_url == server


def test_the_clinic_shipped_for_kubernetes_is_refused_until_it_has_an_address_of_its_own() -> None:
    data = manifest("ConfigMap", "fhir-aftercare-clinics")["data"]
    for name, text in data.items():
        with pytest.raises(ConfigFault) as refused:
            read_clinic(name.removesuffix(".toml"), text)
        assert [fault.partition(":")[0] for fault in refused.value.faults] == ["identifier_base"]
        assert read_clinic(name.removesuffix(".toml"), text.replace(".invalid", ".harbor.health"))


# ---- the rest


def test_the_image_asks_for_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    install = next(each.value for each in dockerfile()[0] if each.name == "RUN")
    (extras,) = re.findall(r"\.whl\)\[([\w,]+)\]", install)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_guide_is_short_and_names_files_that_exist() -> None:
    text = (DEPLOY / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 90
    first = text.partition("\n## ")[0]
    named = re.findall(r"`([\w./-]+)`", "\n".join(line for line in first.splitlines() if line.startswith("| `")))
    assert {"Dockerfile", "compose.yaml", "kubernetes/", "env.example"} <= set(named)
    assert not [name for name in named if not name.startswith("/") and not (DEPLOY / name).exists()]


def test_every_object_for_kubernetes_is_in_the_service_s_namespace() -> None:
    (namespace,) = (each["metadata"]["name"] for each in manifests() if each["kind"] == "Namespace")
    assert {each["metadata"].get("namespace") for each in manifests() if each["kind"] != "Namespace"} == {namespace}
