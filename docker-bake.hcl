# `docker buildx bake` builds for this machine, `docker buildx bake release --push` for both.
variable "IMAGE" { default = "oncebox" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }
variable "CREATED" { default = "1970-01-01T00:00:00Z" }
# A digest goes behind the tag.
variable "RUST_IMAGE" { default = "rust:1.95-slim-bookworm" }
variable "RUNTIME_IMAGE" { default = "gcr.io/distroless/cc-debian12:nonroot" }

group "default" {
  targets = ["service"]
}

target "service" {
  context = "."
  args = {
    RUST_IMAGE    = RUST_IMAGE
    RUNTIME_IMAGE = RUNTIME_IMAGE
    VERSION       = VERSION
    REVISION      = REVISION
    CREATED       = CREATED
  }
  tags = ["${IMAGE}:${VERSION}", "${IMAGE}:latest"]
}

# Each for itself, by a builder that has machines of both or emulates one.
target "release" {
  inherits  = ["service"]
  platforms = ["linux/amd64", "linux/arm64"]
  attest    = ["type=provenance,mode=max", "type=sbom"]
}
