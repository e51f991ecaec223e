//! What fields hold, where their Rust types do not say it: the rules of `execution` as JSON Schema.

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ArrayItems, ObjectBuilder, SchemaType,
};
use utoipa::openapi::{Array, Object, OneOfBuilder, Ref, Schema, Type};

use crate::execution::language::{ALIASES, CATALOGUE};
use crate::execution::limits::FLOOR;
use crate::execution::outcome::{LimitHit, Status};
use crate::execution::quantity::Seconds;
use crate::execution::request::{MAX_ENV, MAX_FILES, MAX_OUTPUTS, MAX_STRING};

/// Anything but NUL.
const NO_NUL: &str = r"^[^\u0000]*$";
/// RFC 4648, padded, with nothing in the bits that are left over.
const BASE64: &str =
    r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
/// Up to 64 names, none of them `.` or `..`, without control characters.
const PATH: &str = r"^(?!\s*$)(?!\.{1,2}(/|$))[^/\u0000-\u001f\u007f-\u009f]+(/(?!\.{1,2}(/|$))[^/\u0000-\u001f\u007f-\u009f]+){0,63}$";
const MAX_PATH: usize = 4095;
const ENV_NAME: &str = r"^[^=\u0000-\u001f\u007f-\u009f]+$";
const SIZE: &str = r"^[0-9]+(\.[0-9]+)? ?([bB]|[kKmMgGtT][iI]?[bB]?)?$";
const CPU: &str = r"^[0-9]+(\.[0-9]+)?m?$";
/// The characters of references; the rest of their grammar is Docker's.
const IMAGE: &str = r"^[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*$";
/// A name, a tag and the longest digest, with what stands between them.
const MAX_IMAGE: usize = 255 + 1 + 128 + 1 + "sha512:".len() + 128;

fn string(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn number(kind: Type, minimum: f64) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind).minimum(Some(minimum))
}

/// One of a closed list of words.
pub fn words<'a>(description: &str, words: impl IntoIterator<Item = &'a str>) -> Object {
    string(description).enum_values(Some(words)).build()
}

pub fn script() -> Object {
    // What is blank to `u8::is_ascii_whitespace`.
    let more_than_blanks = r"[^ \t\n\f\r]";
    string("The script. Give this or `script_base64`.").pattern(Some(more_than_blanks)).build()
}

pub fn script_base64() -> Object {
    let base64 = string("A script of any bytes. Give this or `script`.").min_length(Some(4));
    base64.pattern(Some(BASE64)).content_encoding("base64").build()
}

pub fn base64() -> Object {
    string("Any bytes (RFC 4648, padded).").pattern(Some(BASE64)).content_encoding("base64").build()
}

pub fn stdin() -> Object {
    string("Standard input; without it, `/dev/null`.").build()
}

pub fn image() -> Object {
    string("An image reference, as Docker writes it; without it, the operator's `BASE_IMAGE`.")
        .pattern(Some(IMAGE))
        .max_length(Some(MAX_IMAGE))
        .build()
}

pub fn pull_policy() -> Object {
    words(
        "When a registry is asked for the image: `always`, only where it is not here, or `never`; \
         no laxer than the operator's own.",
        ["always", "if-not-present", "never"],
    )
}

pub fn language() -> Object {
    let names = CATALOGUE.iter().map(|language| language.name);
    words(
        "How to run a script without a `#!` line; without either it is `/bin/sh`. See \
         `GET /languages`.",
        names.chain(ALIASES.iter().map(|(alias, _)| *alias)),
    )
}

fn argument() -> Object {
    string("Without NUL.").pattern(Some(NO_NUL)).max_length(Some(MAX_STRING)).build()
}

pub fn args() -> Array {
    ArrayBuilder::new().items(argument()).description(Some("The script's arguments.")).build()
}

pub fn env() -> Object {
    let value = string("Without NUL.").pattern(Some(NO_NUL)).max_length(Some(MAX_STRING)).build();
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some(ENV_NAME)).build();
    ObjectBuilder::new()
        .description(Some(
            "Environment variables, on top of `PATH`, `HOME`, `LANG` and the image's own.",
        ))
        .property_names(Some(name))
        .additional_properties(Some(AdditionalProperties::RefOr(value.into())))
        .max_properties(Some(MAX_ENV))
        .build()
}

pub fn forward_env() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some(
            "Whether the script gets what the operator forwards of the service's own variables; \
             true without it. `env` stands above them.",
        ))
        .build()
}

pub fn files() -> Array {
    ArrayBuilder::new()
        .items(ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name("RequestFile").into())))
        .max_items(Some(MAX_FILES))
        .description(Some(
            "Files to put into the working directory, `/tmp/work`, beside the script.",
        ))
        .build()
}

pub fn path() -> Object {
    string("Relative to the working directory, and never out of it.")
        .pattern(Some(PATH))
        .max_length(Some(MAX_PATH))
        .build()
}

pub fn outputs() -> Array {
    let pattern =
        string("A path in which `*`, `?` and `[…]` stand for characters, `**` for folders.");
    ArrayBuilder::new()
        .items(pattern.pattern(Some(PATH)).max_length(Some(MAX_PATH)).build())
        .max_items(Some(MAX_OUTPUTS))
        .description(Some("Files to bring back."))
        .build()
}

pub fn timeout() -> Object {
    number(Type::Number, FLOOR.timeout.as_secs_f64())
        .maximum(Some(Seconds::MOST.as_secs_f64()))
        .description(Some("Seconds; up to the operator's `MAX_TIMEOUT`."))
        .examples([json!(2.5)])
        .build()
}

pub fn pids_limit() -> Object {
    number(Type::Integer, f64::from(FLOOR.pids))
        .maximum(Some(f64::from(u32::MAX)))
        .description(Some(
            "Processes and threads, our own PID 1 included; up to the operator's `MAX_PIDS_LIMIT`.",
        ))
        .build()
}

pub fn memory_limit() -> Schema {
    size(FLOOR.memory, "Memory, without swap; up to the operator's `MAX_MEMORY_LIMIT`.")
}

pub fn tmp_size() -> Schema {
    size(FLOOR.tmp, "Room in `/tmp`; up to the operator's `MAX_TMP_SIZE`.")
}

pub fn output_limit() -> Schema {
    size(
        FLOOR.output,
        "What is kept of stdout and of stderr, each; up to the operator's `MAX_OUTPUT_LIMIT`.",
    )
}

fn size(least: u64, description: &str) -> Schema {
    let units = "A number and a unit; every unit is binary: `256m`, `1.5g`, `512Mi`, `64 KiB`.";
    let bytes = number(Type::Number, least as f64).description(Some("Bytes.")).build();
    written(bytes, units, SIZE, json!("256m")).description(Some(description)).into()
}

pub fn cpu_limit() -> Schema {
    let cores = number(Type::Number, f64::from(FLOOR.cpu_millis) / 1000.0);
    let cores = cores.description(Some("Cores.")).build();
    written(cores, "Cores, or thousandths of one: `0.5`, `500m`.", CPU, json!("500m"))
        .description(Some("Share of CPU; up to the operator's `MAX_CPU_LIMIT`."))
        .into()
}

/// A number, or a text that says its unit.
fn written(plain: Object, units: &str, pattern: &str, example: Value) -> OneOfBuilder {
    OneOfBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .item(plain)
        .item(string(units).pattern(Some(pattern)).examples([example]).build())
}

pub fn retry_on_interrupt() -> Object {
    let what = "Run it again when the service ended before it did; otherwise it is `interrupted`.";
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(what)).build()
}

pub fn webhook() -> Object {
    string(
        "An address of a host among the operator's `WEBHOOK_HOSTS`: the document is sent there when \
         the execution is over.",
    )
    .build()
}

pub fn state() -> Object {
    words(
        "`queued`; `running`; `ended` with a `result`; `failed` with a `problem`; `interrupted`, when \
         the service ended before it did; `cancelled` before it ran.",
        ["queued", "running", "ended", "failed", "interrupted", "cancelled"],
    )
}

pub fn status() -> Object {
    words(
        "How it ended: `completed` it exited, with any code; `signaled`; `timed_out`; \
         `out_of_memory` the kernel killed any process of it for memory; `cancelled`.",
        Status::ALL.iter().map(|status| status.name()),
    )
}

pub fn limits_hit() -> Array {
    let words = words("A limit.", LimitHit::ALL.iter().map(|limit| limit.name()));
    ArrayBuilder::new().items(words).description(Some("Limits that it ran into.")).build()
}

pub fn skipped() -> Object {
    words("Why its content is not here.", ["not_regular", "too_large", "too_many", "unreadable"])
}

pub fn phase() -> Object {
    words("How far this layer is.", ["waiting", "downloading", "unpacking", "done"])
}
