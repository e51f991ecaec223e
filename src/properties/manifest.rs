//! What registries send as manifests and configurations: the first line is the type it is sent as,
//! the rest is the document.

use super::one_line;
use crate::registry::manifest::{
    Config, Descriptor, Document, MAX_CONFIG, MAX_LAYERS, Refusal, architecture,
};

pub fn check(bytes: &[u8]) {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let content_type = String::from_utf8_lossy(&bytes[..line]);
    let body = bytes.get(line + 1..).unwrap_or_default();
    let document = Document::parse(&content_type, body);
    let config = Config::parse(body);
    match &document {
        Ok(document) => sound(document),
        Err(refusal) => said(refusal),
    }
    match &config {
        Ok(config) => {
            assert!((1..=MAX_LAYERS).contains(&config.diff_ids.len()));
            assert!(config.history.len() <= 4096);
            assert!(config.env.iter().all(|(name, _)| !name.contains('=')));
        }
        Err(why) => plain(why),
    }
    if let (Ok(Document::Image(image)), Ok(config)) = (&document, &config)
        && config.fits(image).is_ok()
    {
        assert_eq!(config.diff_ids.len(), image.layers.len());
    }
    assert_eq!(format!("{document:?}"), format!("{:?}", Document::parse(&content_type, body)));
    assert_eq!(config, Config::parse(body));
}

/// What must hold of whatever was accepted.
fn sound(document: &Document) {
    match document {
        Document::Image(image) => {
            assert!((1..=MAX_LAYERS).contains(&image.layers.len()));
            assert!(sha256(&image.config) && image.layers.iter().all(sha256));
            assert!(image.config.size <= MAX_CONFIG);
            let total = image.layers.iter().try_fold(0_u64, |sum, one| sum.checked_add(one.size));
            assert!(total.is_some_and(|total| i64::try_from(total).is_ok()));
        }
        Document::Index(index) => {
            for architecture in [architecture(), "riscv64", ""] {
                match index.pick(architecture) {
                    Ok(picked) => assert!(sha256(picked)),
                    Err(refusal) => said(&refusal),
                }
            }
        }
    }
}

fn sha256(descriptor: &Descriptor) -> bool {
    let hex = descriptor.digest.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn said((Refusal::Corrupt(why) | Refusal::Unsupported(why)): &Refusal) {
    plain(why);
}

/// A sentence of ours, without a stranger's words.
fn plain(why: &str) {
    one_line(why);
    assert!(why.is_ascii() && why.len() < 120, "{why}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use super::super::twin;

    const TYPES: &[&str] = &[
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/json",
        "",
    ];

    fn descriptor(media_type: &str) -> Value {
        let digest = format!("sha256:{}", "a".repeat(64));
        json!({"mediaType": media_type, "digest": digest, "size": 7})
    }

    /// JSON that is nearly a manifest or a configuration: real keys with values of every kind.
    fn documents() -> impl Strategy<Value = Value> {
        let layer = || descriptor("application/vnd.oci.image.layer.v1.tar+gzip");
        let config = || descriptor("application/vnd.oci.image.config.v1+json");
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            select(TYPES).prop_map(Value::from),
            Just(config()),
            Just(layer()),
            Just(json!([layer()])),
            Just(json!({"os": "linux", "architecture": "amd64"})),
            Just(json!({"diff_ids": [format!("sha256:{}", "b".repeat(64))]})),
        ];
        let key = select(vec![
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "manifests",
            "digest",
            "size",
            "platform",
            "rootfs",
            "diff_ids",
            "history",
            "os",
            "Env",
        ]);
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                    Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
                }),
            ]
        })
    }

    #[test]
    fn holds() {
        let sent = (select(TYPES), documents());
        let sent =
            sent.prop_map(|(sent_as, document)| format!("{sent_as}\n{document}").into_bytes());
        twin::run("manifest", 1000, sent, super::check);
    }
}
