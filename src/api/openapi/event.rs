//! Streams of events (server-sent events): what each event may be.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::schema::{OneOfBuilder, SchemaType};
use utoipa::openapi::{Content, ObjectBuilder, Ref, Schema, Type};

use super::operation::JSON;
use super::parameters::string;

/// Its name, the type of its data, and what its id is like, where it has one.
pub(super) type Event = (&'static str, &'static str, Option<&'static str>);

/// A stream of such events. OpenAPI 3.1 has no word for it, so what each event is stands there in the
/// words of 3.2, beside a description for whoever knows only 3.1.
pub(super) fn events(description: &str, all: &[Event]) -> Content {
    let each = all.iter().fold(OneOfBuilder::new(), |one_of, event| one_of.item(schema(event)));
    let stream = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    let stream = Schema::from(stream.description(Some(description)).build());
    ContentBuilder::new().schema(Some(stream)).item_schema(Some(Schema::from(each.build()))).build()
}

fn schema((name, data, id): &Event) -> Schema {
    let data = string().content_media_type(JSON).content_schema(Some(Ref::from_schema_name(*data)));
    let event = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("event", string().enum_values(Some([*name])).build())
        .required("event")
        .property("data", data.build())
        .required("data");
    match id {
        Some(id) => event.property("id", string().pattern(Some(*id)).build()).required("id"),
        None => event,
    }
    .into()
}
