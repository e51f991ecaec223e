//! Which of an index's manifests runs here.

use serde::Deserialize;

/// For which machines a manifest is (OCI image spec, image-index.md).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// This machine's architecture in the words of images, such as `amd64`.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Platform {
    /// How well it fits an architecture: the lower the better, `None` where it does not run.
    pub(super) fn rank(&self, architecture: &str) -> Option<u8> {
        if self.os != "linux" || self.architecture != architecture {
            return None;
        }
        // Later variants, such as amd64's v3, need what not every machine has.
        let base = match architecture {
            "amd64" => "v1",
            "arm64" => "v8",
            _ => "",
        };
        match self.variant.as_deref().unwrap_or_default() {
            "" => Some(0),
            variant if variant == base => Some(1),
            _ => None,
        }
    }
}
