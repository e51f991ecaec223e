use rstest::rstest;
use serde_json::{Value, json};

use super::document::Index;
use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn descriptor(media_type: &str, digit: char) -> Value {
    json!({"mediaType": media_type, "digest": digest(digit), "size": 7})
}

fn config() -> Value {
    descriptor("application/vnd.oci.image.config.v1+json", 'c')
}

fn layer() -> Value {
    descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 'a')
}

fn manifest() -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI, "config": config(), "layers": [layer()]})
}

fn entry(os: &str, architecture: &str, variant: Option<&str>, digit: char) -> Value {
    let mut entry = descriptor(OCI, digit);
    entry["platform"] = json!({"os": os, "architecture": architecture});
    if let Some(variant) = variant {
        entry["platform"]["variant"] = variant.into();
    }
    entry
}

fn parse(content_type: &str, body: &Value) -> Result<Document, Refusal> {
    Document::parse(content_type, body.to_string().as_bytes())
}

fn refusal(content_type: &str, body: &Value) -> String {
    match parse(content_type, body).unwrap_err() {
        Refusal::Corrupt(why) => format!("corrupt: {why}"),
        Refusal::Unsupported(why) => format!("unsupported: {why}"),
    }
}

fn index(entries: Vec<Value>) -> Index {
    let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    match parse(INDEX, &body).unwrap() {
        Document::Index(index) => index,
        Document::Image(_) => panic!("an image"),
    }
}

#[rstest]
#[case(OCI)]
#[case("application/vnd.oci.image.manifest.v1+json; charset=utf-8")]
#[case("Application/vnd.OCI.image.manifest.v1+JSON")]
#[case("application/json")]
#[case("application/octet-stream")]
#[case("")]
fn an_image_is_read(#[case] content_type: &str) {
    let Document::Image(image) = parse(content_type, &manifest()).unwrap() else {
        panic!("an index")
    };
    assert_eq!(image.config.digest, digest('c'));
    assert_eq!((image.layers.len(), image.layers[0].size), (1, 7));
}

#[test]
fn a_manifest_need_not_name_its_type() {
    let mut body = manifest();
    body.as_object_mut().unwrap().remove("mediaType");
    for content_type in [OCI, DOCKER, ""] {
        assert!(matches!(parse(content_type, &body), Ok(Document::Image(_))), "{content_type}");
    }
    assert!(refusal(INDEX, &body).starts_with("corrupt: it holds something else"));
}

#[test]
fn what_is_two_things_at_once_is_refused() {
    let mut both = manifest();
    both["manifests"] = json!([]);
    for content_type in [OCI, ""] {
        assert!(refusal(content_type, &both).contains("an index and an image"));
    }
    // The header says index, the body says it is an image, and the reverse.
    assert!(refusal(INDEX, &manifest()).starts_with("corrupt: it is sent as another type"));
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    assert!(refusal(OCI, &list).starts_with("corrupt: it is sent as another type"));
    assert!(refusal(LIST, &list).starts_with("corrupt: it is sent as another type"));
    // The type says index, and there are layers in it.
    let mut liar = manifest();
    liar["mediaType"] = INDEX.into();
    assert!(refusal(INDEX, &liar).starts_with("corrupt: it holds something else"));
    // A key twice is read one way here and another way there.
    let twice = manifest().to_string().replacen('{', r#"{"layers":[],"#, 1);
    assert!(matches!(Document::parse(OCI, twice.as_bytes()), Err(Refusal::Corrupt(_))));
}

#[rstest]
#[case("text/html", json!("<html>"), "corrupt: it is a web page")]
#[case("application/json", json!({}), "corrupt: it lists neither")]
#[case("application/json", json!([]), "corrupt: line 1")]
#[case("", json!({"config": null, "layers": []}), "corrupt: it lacks a configuration")]
#[case("application/json", json!({"schemaVersion": 1, "fsLayers": []}), "unsupported: its manifest is of the old")]
#[case("application/vnd.docker.distribution.manifest.v1+prettyjws", json!({}), "unsupported: its manifest is of the old")]
#[case("application/vnd.cncf.notary", json!({"manifests": []}), "unsupported: its manifest is of an unknown")]
fn what_is_no_manifest_is_refused(
    #[case] content_type: &str,
    #[case] body: Value,
    #[case] reason: &str,
) {
    let refusal = refusal(content_type, &body);
    assert!(refusal.starts_with(reason), "{refusal}");
}

#[rstest]
#[case("/config/mediaType", json!("application/vnd.oci.empty.v1+json"), "unsupported: it is something else")]
#[case("/config/size", json!(MAX_CONFIG + 1), "unsupported: its configuration has")]
#[case("/config/digest", json!("sha256:abc"), "corrupt: a digest")]
#[case("/config/digest", json!(format!("sha512:{}", "a".repeat(128))), "unsupported: it has digests")]
#[case("/layers", json!([]), "unsupported: it has no layers")]
#[case("/layers/0/size", json!(-1), "corrupt: line")]
#[case("/layers/0/size", json!(1.5), "corrupt: line")]
#[case("/layers/0/size", json!(u64::MAX), "corrupt: its layers have more")]
#[case("/layers/0/digest", json!("../../etc/passwd"), "corrupt: a digest")]
#[case("/layers/0/digest", json!(digest('A')), "corrupt: a digest")]
#[case("/layers/0/mediaType", json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "unsupported: a layer of it is kept outside")]
#[case("/layers/0/mediaType", json!("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), "unsupported: a layer of it is kept outside")]
#[case("/layers/0/mediaType", json!("application/vnd.oci.image.layer.v1.tar+encrypted"), "unsupported: a layer of it is of an unknown")]
fn one_wrong_part_is_enough(#[case] place: &str, #[case] value: Value, #[case] reason: &str) {
    let mut body = manifest();
    *body.pointer_mut(place).unwrap() = value;
    let refusal = refusal(OCI, &body);
    assert!(refusal.starts_with(reason), "{refusal}");
}

#[test]
fn layers_are_counted_and_summed() {
    let mut body = manifest();
    body["layers"] = vec![layer(); MAX_LAYERS].into();
    assert!(parse(OCI, &body).is_ok());
    body["layers"] = vec![layer(); MAX_LAYERS + 1].into();
    assert!(refusal(OCI, &body).contains("128 layers, the most is 127"));
    let mut huge = layer();
    huge["size"] = (u64::MAX / 2).into();
    body["layers"] = vec![huge; 3].into();
    assert!(refusal(OCI, &body).contains("more bytes than there can be"));
}

#[test]
fn the_manifest_for_this_machine_is_picked() {
    let many = index(vec![
        entry("unknown", "unknown", None, '0'),
        entry("windows", "amd64", None, '1'),
        entry("linux", "amd64", Some("v3"), '2'),
        entry("linux", "arm64", Some("v8"), '3'),
        entry("linux", "amd64", None, '4'),
        entry("linux", "arm64", None, '5'),
        entry("linux", "arm", Some("v7"), '6'),
    ]);
    assert_eq!(many.pick("amd64").unwrap().digest, digest('4'));
    assert_eq!(many.pick("arm64").unwrap().digest, digest('5'));
    let refusal = many.pick("riscv64").unwrap_err();
    assert_eq!(refusal, Refusal::Unsupported("it is not made for linux/riscv64".into()));
    let only = index(vec![entry("linux", "arm64", Some("v8"), '3')]);
    assert_eq!(only.pick("arm64").unwrap().digest, digest('3'));
    assert!(index(vec![entry("linux", "amd64", Some("v3"), '3')]).pick("amd64").is_err());
}

#[test]
fn an_index_in_an_index_is_not_followed() {
    let mut nested = entry("linux", "amd64", None, '1');
    nested["mediaType"] = INDEX.into();
    let within = Refusal::Unsupported("its index holds another index".into());
    assert_eq!(index(vec![nested.clone()]).pick("amd64").unwrap_err(), within);
    nested.as_object_mut().unwrap().remove("platform");
    assert_eq!(index(vec![nested.clone()]).pick("amd64").unwrap_err(), within);
    let beside = index(vec![nested, entry("linux", "amd64", None, '2')]);
    assert_eq!(beside.pick("amd64").unwrap().digest, digest('2'));
}

fn configuration() -> Value {
    json!({
        "os": "linux",
        "architecture": architecture(),
        "created": "2024-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin", "EMPTY=", "odd"], "User": "99999999999", "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest('d')]},
        "history": [
            {"created_by": "ADD x", "comment": "c"},
            {"created_by": "CMD", "empty_layer": true},
        ],
    })
}

fn configured(place: &str, value: Value) -> Result<Config, String> {
    let mut body = configuration();
    *body.pointer_mut(place).unwrap() = value;
    Config::parse(body.to_string().as_bytes())
}

#[test]
fn a_configuration_is_read_and_held_against_its_manifest() {
    let read = Config::parse(configuration().to_string().as_bytes()).unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(read.env, [pair("PATH", "/bin"), pair("EMPTY", "")]);
    assert_eq!(read.created.as_deref(), Some("2024-01-01T00:00:00Z"));
    assert_eq!((read.history.len(), read.history[1].empty_layer), (2, true));
    assert_eq!(format!("{:?}", read.diff_ids), format!("[{}]", digest('d')));
    assert_eq!(read.config["User"], "99999999999");
    let Document::Image(image) = parse(OCI, &manifest()).unwrap() else { panic!("an index") };
    assert_eq!(read.fits(&image), Ok(()));
    let two = configured("/rootfs/diff_ids", json!([digest('d'), digest('e')])).unwrap();
    assert!(two.fits(&image).unwrap_err().contains("2 layers and its manifest 1"));
    for (place, value) in [("/os", "windows"), ("/architecture", "mips"), ("/os", "")] {
        let other = configured(place, value.into()).unwrap();
        assert!(other.fits(&image).unwrap_err().contains("not made for linux/"), "{place}");
    }
}

#[rstest]
#[case("/rootfs", json!({}))]
#[case("/rootfs/diff_ids", json!(null))]
#[case("/rootfs/diff_ids/0", json!("sha512:00"))]
#[case("/rootfs/diff_ids/0", json!("../x"))]
#[case("/rootfs/diff_ids", json!(vec![digest('a'); MAX_LAYERS + 1]))]
#[case("/history", json!(vec![json!({}); 4097]))]
#[case("/config/Env", json!({"a": "b"}))]
fn a_broken_configuration_is_refused(#[case] place: &str, #[case] value: Value) {
    let why = configured(place, value).unwrap_err();
    assert!(why.contains("configuration"), "{why}");
}

#[test]
fn a_configuration_has_a_most() {
    let body = format!("{}{}", configuration(), " ".repeat(1 << 20));
    assert!(Config::parse(body.as_bytes()).unwrap_err().contains("more than"));
}
