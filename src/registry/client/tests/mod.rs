//! Against servers that do what no good registry does.

mod blobs;
mod manifests;
mod redirects;
mod signing_in;
mod tls;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::testing::*;
use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("sha256:{}", LayerId(Sha256::digest(bytes).into()))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

fn image() -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", b"layer")],
    })
    .to_string()
}

fn manifest(body: impl Into<Vec<u8>>, content_type: &str) -> Reply {
    let body = body.into();
    let digest = sha256(&body);
    reply(200, body).with("Content-Type", content_type).with("Docker-Content-Digest", digest)
}

/// What an error says to anybody at all.
fn said(error: &ImageError) -> String {
    format!("{error} {error:?}")
}
