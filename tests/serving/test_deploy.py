"""The deployment files, each against its schema, and against what the code expects of them."""

import pathlib
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from schemas.signatures import USER_TOWER
from serving.config import ServiceConfig

DEPLOY = pathlib.Path(__file__).parents[2] / "serving" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
MANIFESTS = [
    document for name in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((KUBERNETES / name).read_text())
]
DEPLOYMENTS = [document for document in MANIFESTS if document["kind"] == "Deployment"]


def named(document):
    return f"{document['kind']}/{document['metadata']['name']}"


@pytest.mark.parametrize("document", MANIFESTS, ids=named)
def test_kubernetes_takes_the_manifests(document):
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_a_wrong_manifest_would_be_noticed():
    wrong = {**MANIFESTS[0], "spec": {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


def test_the_kustomization_names_every_file():
    files = {path.name for path in KUBERNETES.glob("*")} - {"kustomization.yaml"}
    generated = KUSTOMIZATION["configMapGenerator"][0]["files"]
    assert files == {*KUSTOMIZATION["resources"], *generated}
    images = {container["image"] for d in DEPLOYMENTS for container in d["spec"]["template"]["spec"]["containers"]}
    assert {image["name"] for image in KUSTOMIZATION["images"]} <= images


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)
def test_pods_are_locked_down_bounded_and_probed(deployment):
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    for container in pod["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert any(d["kind"] == "PodDisruptionBudget" and named(d).endswith(named(deployment)[10:]) for d in MANIFESTS)


def test_the_pod_outlives_the_services_own_shutdown():
    (service,) = (d for d in DEPLOYMENTS if d["metadata"]["name"] == "service")
    assert service["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > ServiceConfig().shutdown_s + 5


def test_compose_takes_the_file():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*command, str(DEPLOY / "compose.yaml")], check=True, timeout=60)
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["read_only"]
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source.startswith("${SERVING_DIR") or (DEPLOY / source).exists()


def test_a_damaged_tower_holds_up_no_later_version_for_minutes():
    """TensorFlow Serving's own default is five more tries, a minute apart, before it looks at the next version."""
    (tower,) = (d for d in DEPLOYMENTS if d["metadata"]["name"] == "user-tower")
    (container,) = tower["spec"]["template"]["spec"]["containers"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["user-tower"]
    assert set(compose["command"]) == set(container["args"])
    options = dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])
    assert int(options["max_num_load_retries"]) * int(options["load_retry_interval_micros"]) <= 10_000_000


def test_tensorflow_serving_is_started_with_the_first_publication(tmp_path):
    """Over an empty root it opens no port, so that its probes would end it again and again."""
    (tower,) = (d for d in DEPLOYMENTS if d["metadata"]["name"] == "user-tower")
    (waits,) = tower["spec"]["template"]["spec"]["initContainers"]
    command = [part.replace("/serving/", f"{tmp_path}/").replace("sleep 2", "sleep 0.05") for part in waits["command"]]
    process = subprocess.Popen(command)
    try:
        for name in (".staging-7-abc", "7"):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            (tmp_path / USER_TOWER / name).mkdir(parents=True)
            (tmp_path / USER_TOWER / name / "saved_model.pb").touch()
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["service"]
    assert compose["depends_on"] == ["user-tower"], "started, not healthy"


def test_tensorflow_serving_takes_the_model_config():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((KUBERNETES / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert model.name == USER_TOWER
    assert model.base_path.endswith(f"/{USER_TOWER}")
    # Not `latest`, the default: it unloads a version while services still use its index.
    assert model.model_version_policy.WhichOneof("policy_choice") == "all"


def test_tensorflow_serving_takes_the_monitoring_config():
    """The message is not in the package of the API; this is tensorflow_serving/config/monitoring_config.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="monitoring.proto", package="t", syntax="proto3")
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=8, label=1)
    prometheus.field.add(name="path", number=2, type=9, label=1)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(name="prometheus_config", number=1, type=11, label=1, type_name=".t.PrometheusConfig")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = pool.FindMessageTypeByName("t.MonitoringConfig")
    make = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    config = make(message)()
    text_format.Parse((KUBERNETES / "monitoring.config").read_text(), config)
    assert config.prometheus_config.enable
    (tower,) = (d for d in DEPLOYMENTS if d["metadata"]["name"] == "user-tower")
    annotations = tower["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == config.prometheus_config.path
