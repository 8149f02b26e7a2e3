"""Which of ZenML's names there are, and what stands behind each of them."""

from __future__ import annotations

_CONFIGURATION = "penstock.model.configuration"
_OWN = "penstock.compat.zenml"

_STEPS = {
    "pipeline": "penstock:pipeline",
    "step": "penstock:step",
    "unmapped": "penstock:unmapped",
    "get_step_context": "penstock:get_step_context",
    "log_metadata": "penstock:log_metadata",
    "add_tags": "penstock:add_tags",
    "remove_tags": "penstock:remove_tags",
    "save_artifact": "penstock:save_artifact",
    "load_artifact": "penstock:load_artifact",
    "ArtifactConfig": "penstock:ArtifactConfig",
}
_SETTINGS = {
    "DockerSettings": f"{_OWN}.settings:DockerSettings",
    "ResourceSettings": f"{_OWN}.settings:ResourceSettings",
}
_RETRY = {"StepRetryConfig": f"{_CONFIGURATION}:StepRetryConfig"}
_POLICY = {"CachePolicy": f"{_CONFIGURATION}:CachePolicy"}
_RUN = {"PipelineRunConfiguration": f"{_CONFIGURATION}:PipelineRunConfiguration"}

MODULES: dict[str, dict[str, str]] = {
    "zenml": _STEPS | {"__version__": "penstock:__version__"},
    "zenml.client": {"Client": f"{_OWN}.client:Client"},
    "zenml.pipelines": {"pipeline": "penstock:pipeline"},
    "zenml.steps": {"step": "penstock:step", "get_step_context": "penstock:get_step_context"},
    "zenml.config": _SETTINGS | _RETRY | _POLICY,
    "zenml.config.cache_policy": _POLICY,
    "zenml.config.docker_settings": {"DockerSettings": _SETTINGS["DockerSettings"]},
    "zenml.config.pipeline_run_configuration": _RUN,
    "zenml.config.resource_settings": {"ResourceSettings": _SETTINGS["ResourceSettings"]},
    "zenml.config.retry_config": _RETRY,
    "zenml.config.step_configurations": {"StepConfigurationUpdate": f"{_CONFIGURATION}:StepConfiguration"},
    "zenml.artifacts": {},
    "zenml.artifacts.artifact_config": {"ArtifactConfig": "penstock:ArtifactConfig"},
    "zenml.artifacts.unmaterialized_artifact": {"UnmaterializedArtifact": "penstock:UnmaterializedArtifact"},
    "zenml.artifacts.utils": {"load_artifact": "penstock:load_artifact", "save_artifact": "penstock:save_artifact"},
    "zenml.logger": {"get_logger": "logging:getLogger"},
    "zenml.types": {"HTMLString": "penstock:HTML", "MarkdownString": "penstock:Markdown"},
    "zenml.utils": {},
    "zenml.utils.metadata_utils": {"log_metadata": "penstock:log_metadata"},
    "zenml.utils.tag_utils": {"add_tags": "penstock:add_tags", "remove_tags": "penstock:remove_tags"},
}
"""Module -> name in it -> `module:attribute` of ours."""

ADVICE: dict[str, str] = {
    "Model": "name the artifact instead: `Annotated[T, ArtifactConfig(name=...)]`, and load_artifact(name)",
    "ExternalArtifact": "keep the value with save_artifact, and load it in a step by its name",
    "register_artifact": "return the `pathlib.Path` of the file from a step: its content is kept",
    "get_pipeline_context": "use the parameters of the pipeline, and `extra` of its steps",
    "log_artifact_metadata": "use log_metadata(..., artifact_name=...)",
    "log_step_metadata": "use log_metadata inside the step",
    "link_artifact_to_model": "name the artifact instead",
    "run_hook": "give the hook to the step: on_success, on_failure, on_start, on_end",
    "Tag": "tags are plain words here: add_tags('word')",
    "CommandStep": "call subprocess.run in a step",
    "Schedule": "schedules belong to the server here, not to the code",
    "zenml.integrations": "values of known libraries are kept without integrations",
    "zenml.materializers": "see `penstock.runtime.materializers`: Materializer and register",
    "zenml.hooks": "give functions of your own as on_success and on_failure",
    "zenml.stack": "stacks are described by `penstock stack`",
}
"""What to do instead, for names that have nothing behind them."""
