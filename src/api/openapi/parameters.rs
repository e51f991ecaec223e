//! What requests say outside of their bodies.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ComponentsBuilder, ObjectBuilder, Ref, RefOr, Required, Type};

/// Headers that every request may have.
pub(super) const EVERYWHERE: [&str; 2] = ["X-Request-Id", "traceparent"];

pub(super) fn reference(name: &str) -> RefOr<Parameter> {
    RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")))
}

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .parameter(
            "X-Request-Id",
            header(
                "X-Request-Id",
                "1 to 128 of `A-Z a-z 0-9 . _ -`; anything else is replaced by an id of ours.",
                string(),
            ),
        )
        .parameter(
            "traceparent",
            header(
                "traceparent",
                "The trace that the request belongs to (W3C Trace Context); ignored where it is \
                 not one.",
                string(),
            ),
        )
        .parameter(
            "Idempotency-Key",
            header(
                "Idempotency-Key",
                "1 to 255 visible characters of ASCII. Equal requests with the same key are one \
                 execution and get the same answer; another request with it is 409 \
                 `idempotency_conflict`.",
                string().pattern(Some("^[!-~]{1,255}$")),
            ),
        )
        .parameter(
            "Last-Event-ID",
            header(
                "Last-Event-ID",
                "The `id` of the last event that was seen: a number of bytes, or `end`.",
                string().pattern(Some("^([0-9]{1,20}|end)?$")),
            ),
        )
}

fn header(name: &str, what: &str, schema: ObjectBuilder) -> Parameter {
    parameter(name, ParameterIn::Header, what, schema)
}

pub(super) fn query(name: &str, what: &str, schema: ObjectBuilder) -> RefOr<Parameter> {
    parameter(name, ParameterIn::Query, what, schema).into()
}

pub(super) fn path(name: &str, what: &str, schema: ObjectBuilder) -> RefOr<Parameter> {
    parameter(name, ParameterIn::Path, what, schema).into()
}

fn parameter(name: &str, place: ParameterIn, what: &str, schema: ObjectBuilder) -> Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(what))
        .schema(Some(schema.build()))
        .build()
}

pub(super) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
