"""Artifacts: folders of student, feature spec and manifest; verified, tried, loaded, published."""

from models.artifact.artifact import (
    PRETRAINED_FOLDER,
    Artifact,
    ArtifactError,
    ArtifactFault,
    ArtifactFiles,
    fetch_artifact,
    load_artifact,
    open_artifact,
    read_manifest,
    write_artifact,
)

__all__ = [
    "PRETRAINED_FOLDER",
    "Artifact",
    "ArtifactError",
    "ArtifactFault",
    "ArtifactFiles",
    "fetch_artifact",
    "load_artifact",
    "open_artifact",
    "read_manifest",
    "write_artifact",
]
