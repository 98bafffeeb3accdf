"""What the compiled file says, and that the SDK and the specification's protobuf accept it."""

import json

import kfp
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

import schemas
from tests.kubeflow.conftest import IMAGE


@pytest.fixture
def compiled(compile_file):
    return compile_file("/mnt/ml-32m", "/mnt/serving", pipeline_root="s3://bucket/root")


def containers(spec):
    return {
        name: spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        for name, component in spec["components"].items()
    }


def test_sdk_and_protobuf_accept_the_file(compiled):
    text = compiled.path.read_text()
    loaded = kfp.components.load_component_from_text(text)
    assert set(loaded.component_spec.inputs) == {
        "data",
        "serving_dir",
        "data_config",
        "trainer_config",
        "gate_config",
        "pusher_config",
        "data_fingerprint",
    }
    spec = json_format.ParseDict(yaml.safe_load(text), pipeline_spec_pb2.PipelineSpec())  # An unknown field raises.
    assert len(spec.components) == 8
    assert spec.schema_version == "2.1.0"


def test_compiling_twice_gives_the_same_bytes(compiled, compile_file):
    before = compiled.path.read_bytes()
    compile_file("/mnt/ml-32m", "/mnt/serving", pipeline_root="s3://bucket/root")
    assert compiled.path.read_bytes() == before


def test_only_containers_by_digest_and_no_hook(compiled):
    for name, container in containers(compiled.documents[0]).items():
        assert container.keys() == {"args", "command", "image", "resources"}, name
        assert container["image"] == IMAGE


def test_defaults_make_a_parameter_optional_and_its_absence_required(compiled, compile_file):
    parameters = compiled.documents[0]["root"]["inputDefinitions"]["parameters"]
    assert parameters["data"] == {"parameterType": "STRING", "defaultValue": "/mnt/ml-32m", "isOptional": True}
    assert json.loads(parameters["trainer_config"]["defaultValue"])["epochs"] == 2
    assert compiled.documents[0]["defaultPipelineRoot"] == "s3://bucket/root"
    bare = compile_file().documents[0]
    assert bare["root"]["inputDefinitions"]["parameters"]["data"] == {"parameterType": "STRING"}
    assert "defaultPipelineRoot" not in bare


def test_gate_and_pusher_are_never_cached(compiled):
    tasks = compiled.documents[0]["root"]["dag"]["tasks"]
    uncached = {name for name, task in tasks.items() if "cachingOptions" not in task}
    # Nobody knows whether data that cannot be read here has changed.
    assert uncached == {"EvaluationGate", "Pusher", "PolarsExampleGen"}


def test_resources_and_retries(compile_file):
    compiled = compile_file(
        resources={"Trainer": {"cpu": 8, "memory_gib": 32, "gpus": 1}}, retries=3, retry_wait_s=10
    ).documents[0]
    found = containers(compiled)
    assert found["Trainer"]["resources"] == {
        "cpuLimit": 8,
        "memoryLimit": pytest.approx(34.36, abs=0.01),  # Gigabytes, as the specification counts.
        "accelerator": {"type": "nvidia.com/gpu", "count": "1"},
    }
    assert found["PolarsExampleGen"]["resources"]["cpuLimit"] == 1
    task = compiled["root"]["dag"]["tasks"]["Trainer"]
    assert (task["retryPolicy"]["maxRetryCount"], task["retryPolicy"]["backoffDuration"]) == (3, "10s")


def test_a_tuner_feeds_the_trainer(compile_file, compiled):
    assert "Tuner" not in compiled.documents[0]["components"]
    spec = compile_file(trials=4).documents[0]
    assert containers(spec)["Tuner"]["image"] == IMAGE
    assert json.loads(spec["root"]["inputDefinitions"]["parameters"]["tuner_config"]["defaultValue"]) == {"trials": 4}
    taken = spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]["artifacts"]["hyperparameters"]["taskOutputArtifact"]
    assert taken == {"producerTask": "Tuner", "outputArtifactKey": "best_hyperparameters"}


def test_a_warm_start_feeds_example_gen_and_trainer(compile_file, compiled):
    assert "WarmStart" not in compiled.documents[0]["components"]
    spec = compile_file(warm_start=True).documents[0]
    assert containers(spec)["WarmStart"]["image"] == IMAGE
    for task in ("PolarsExampleGen", "Trainer"):
        taken = spec["root"]["dag"]["tasks"][task]["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]
        assert taken == {"producerTask": "WarmStart", "outputArtifactKey": "base_model"}
    assert "cachingOptions" not in spec["root"]["dag"]["tasks"]["WarmStart"]


def test_lists_for_everybody_follow_the_pusher(compile_file, compiled):
    assert "BulkRecommender" not in compiled.documents[0]["components"]
    spec = compile_file(list_movies=20).documents[0]
    assert containers(spec)["BulkRecommender"]["image"] == IMAGE
    task = spec["root"]["dag"]["tasks"]["BulkRecommender"]
    taken = task["inputs"]["artifacts"]["pushed_model"]["taskOutputArtifact"]
    assert taken == {"producerTask": "Pusher", "outputArtifactKey": "pushed_model"}
    default = spec["root"]["inputDefinitions"]["parameters"]["bulk_config"]["defaultValue"]
    assert json.loads(default) == {"list_movies": 20}
    assert "cachingOptions" not in task


@pytest.mark.parametrize("name", ["BaseModel", "MovieCatalog", "RecommendationLists", "UserHistories"])
def test_kubeflow_finds_our_artifact_types_by_their_names(name):
    found = getattr(schemas, name)
    assert f"schemas.{name}" == found.TYPE_NAME


def test_an_image_pull_policy_is_a_document_of_its_own(compile_file):
    compiled = compile_file(image_pull_policy="Always")
    _, platforms = yaml.safe_load_all(compiled.path.read_text())
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == compiled.documents[0]["deploymentSpec"]["executors"].keys()
    assert executors["Trainer_executor"] == {"imagePullPolicy": "Always"}
    kfp.components.load_component_from_text(compiled.path.read_text())


def test_data_that_can_be_read_is_fingerprinted(compile_file, write_data):
    def default(data):
        spec = compile_file(str(data)).documents[0]
        return spec["root"]["inputDefinitions"]["parameters"]["data_fingerprint"]["defaultValue"]

    data = write_data("userId,movieId,rating,timestamp\n1,1,4,3\n")
    first = default(data)
    assert len(first) == 64
    write_data("userId,movieId,rating,timestamp\n1,1,5,3\n")
    assert default(data) != first
    assert default("/mnt/ml-32m") == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image": "matinee:latest"}, "kubeflow.image = 'matinee:latest'"),
        ({"image": ""}, "no image; pass --image"),
        ({"resources": {"Trianer": {}}}, "there is no component 'Trianer'"),
    ],
)
def test_bad_configuration_is_told(compile_file, overrides, message):
    with pytest.raises(ValueError, match=message):
        compile_file(**overrides)
