//! The request of `POST /execute` as a form, described from what it is as JSON.

use utoipa::PartialSchema;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder};
use utoipa::openapi::{Content, KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

use super::parameters::string;
use crate::api::dto::ExecuteRequest;

/// Parts that may come more than once.
const LISTS: [(&str, &str); 4] = [
    ("args", "An argument of the script's."),
    ("env", "`NAME=value`."),
    ("outputs", "A pattern of files to bring back."),
    ("files", "A file; its relative path is the part's file name."),
];
/// Parts of any bytes.
const BINARY: [&str; 2] = ["script", "stdin"];

/// Parts of the same names as the JSON fields.
pub(super) fn content() -> Content {
    let form = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "Parts of the same names as the fields in JSON. A file is never executable.",
        ))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let RefOr::T(Schema::Object(json)) = ExecuteRequest::schema() else {
        return Content::default();
    };
    let form = json.properties.into_keys().fold(form, |form, name| {
        let list = LISTS.iter().find(|(list, _)| *list == name);
        match list {
            Some((_, about)) => {
                let item = if name == "files" { binary() } else { string() };
                let items = ArrayBuilder::new().items(item.build()).description(Some(*about));
                form.property(name, items.build())
            }
            None if BINARY.contains(&&*name) => form.property(name, binary().build()),
            None => form.property(name, string().build()),
        }
    });
    Content::new(Some(Schema::from(form.build())))
}

fn binary() -> ObjectBuilder {
    string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
}
