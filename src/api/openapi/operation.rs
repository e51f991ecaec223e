//! One operation: a method of an address, with what it takes and everything it can answer.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ComponentsBuilder, Content, Header, ObjectBuilder, Paths, Ref, RefOr, Required, Schema, Type,
};

use super::{examples, parameters, refusals};
use crate::api::Code;

/// The name of the one way to say who is asking.
pub(super) const KEY: &str = "key";

pub(super) const JSON: &str = "application/json";
pub(super) const FORM: &str = "multipart/form-data";
pub(super) const EVENTS: &str = "text/event-stream";

pub(super) struct Operation {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// Beside those of every request.
    pub(super) parameters: Vec<RefOr<Parameter>>,
    pub(super) body: Option<RequestBody>,
    pub(super) answers: Vec<(u16, Response)>,
    /// What an API key must allow; everyone may do what needs nothing.
    pub(super) scope: Option<&'static str>,
    /// What can be wrong, beside what can be wrong with every request.
    pub(super) refusals: Vec<Code>,
}

impl Operation {
    pub(super) fn new(method: HttpMethod, path: &'static str, id: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            tag: "service",
            summary: "",
            description: "",
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            scope: None,
            refusals: Vec::new(),
        }
    }

    pub(super) fn about(self, tag: &'static str, summary: &'static str) -> Self {
        Self { tag, summary, ..self }
    }

    pub(super) fn description(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    pub(super) fn needs(self, scope: &'static str) -> Self {
        Self { scope: Some(scope), ..self }
    }

    pub(super) fn takes(mut self, parameter: RefOr<Parameter>) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A body in any of these encodings.
    pub(super) fn body(self, contents: impl IntoIterator<Item = (&'static str, Content)>) -> Self {
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        let body = contents.into_iter().fold(body, |body, (mime, content)| {
            let examples = examples::requests(self.id, mime);
            let content = ContentBuilder::from(content).examples_from_iter(examples);
            body.content(mime, content.build())
        });
        Self { body: Some(body.build()), ..self }
    }

    pub(super) fn answers(self, status: u16, what: &str, mime: &str, content: Content) -> Self {
        self.answers_with(status, ResponseBuilder::new().description(what), [(mime, content)])
    }

    pub(super) fn answers_with<'a>(
        mut self,
        status: u16,
        response: ResponseBuilder,
        contents: impl IntoIterator<Item = (&'a str, Content)>,
    ) -> Self {
        let response = contents.into_iter().fold(response, |response, (mime, content)| {
            let examples = examples::answers(self.id, status, mime);
            let content = ContentBuilder::from(content).examples_from_iter(examples);
            response.content(mime, content.build())
        });
        self.answers.push((status, headed(response, self.scope.is_some()).build()));
        self
    }

    pub(super) fn refuses(mut self, codes: &[Code]) -> Self {
        self.refusals.extend(codes);
        self
    }

    /// The same without a body, which is what HTTP has for every `GET`.
    fn head(&self) -> OperationBuilder {
        let statuses = self.answers.iter().map(|(status, response)| {
            let mut bare = response.clone();
            bare.content.clear();
            bare.links.clear();
            (status.to_string(), RefOr::T(bare))
        });
        let refusals = refusals::by_status(self).into_keys().map(|status| {
            let what = status.canonical_reason().unwrap_or_default();
            let bare = ResponseBuilder::new().description(what);
            (status.as_str().to_owned(), RefOr::T(headed(bare, false).build()))
        });
        self.builder(statuses.chain(refusals).collect())
            .operation_id(Some(format!("{}Head", self.id)))
            .description(Some(format!("The head of what `GET {}` answers.", self.path)))
    }

    fn whole(&self) -> OperationBuilder {
        let answers = self.answers.iter();
        let answers =
            answers.map(|(status, response)| (status.to_string(), RefOr::T(response.clone())));
        let operation = self.builder(answers.chain(refusals::responses(self)).collect());
        let description = Some(self.description).filter(|text| !text.is_empty());
        operation
            .operation_id(Some(self.id))
            .description(description)
            .request_body(self.body.clone())
    }

    fn builder(&self, responses: Vec<(String, RefOr<Response>)>) -> OperationBuilder {
        let operation = OperationBuilder::new().tag(self.tag).summary(Some(self.summary));
        let operation = match self.scope {
            // Either with a key that allows it, or with none where there are no keys at all.
            Some(scope) => operation
                .security(SecurityRequirement::new(KEY, [scope]))
                .security(SecurityRequirement::default()),
            None => operation.securities(Some([])),
        };
        let operation = parameters::EVERYWHERE
            .iter()
            .fold(operation, |operation, name| parameter(operation, parameters::reference(name)));
        let operation = self
            .parameters
            .iter()
            .fold(operation, |operation, parameter| self::parameter(operation, parameter.clone()));
        responses
            .into_iter()
            .fold(operation, |operation, (status, response)| operation.response(status, response))
    }
}

fn parameter(operation: OperationBuilder, parameter: RefOr<Parameter>) -> OperationBuilder {
    match parameter {
        RefOr::Ref(reference) => operation.parameter_ref(reference),
        RefOr::T(parameter) => operation.parameter(parameter),
    }
}

/// All addresses; whatever can be got can be asked for its head too.
pub(super) fn paths(operations: Vec<Operation>) -> Paths {
    let mut paths = Paths::new();
    for operation in operations {
        if operation.method == HttpMethod::Get {
            paths.add_path_operation(operation.path, vec![HttpMethod::Head], operation.head());
        }
        let method = operation.method.clone();
        paths.add_path_operation(operation.path, vec![method], operation.whole());
    }
    paths
}

/// Content of a named type.
pub(super) fn of(name: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(name)))
}

/// Content that is text to JSON Schema.
pub(super) fn text(description: &str) -> Content {
    Content::new(Some(Schema::from(
        ObjectBuilder::new().schema_type(Type::String).description(Some(description)).build(),
    )))
}

/// A header that is always there.
pub(super) fn header(what: &str, schema: impl Into<RefOr<Schema>>) -> Header {
    let mut header = sometimes(what, schema);
    // The builder has no word for it.
    header.extensions = Some([("required", true)].into_iter().collect());
    header
}

/// A header that is there where it says so.
pub(super) fn sometimes(what: &str, schema: impl Into<RefOr<Schema>>) -> Header {
    let mut header = Header::new(schema);
    header.description = Some(what.to_owned());
    header
}

/// What every response has.
pub(super) const REQUEST_ID: &str = "X-Request-Id";

/// Where the caller stands with his rate, where he has one.
const RATE: [(&str, &str); 2] = [
    ("RateLimit", "What is left of the rate, and when it is whole again."),
    ("RateLimit-Policy", "The rate that holds."),
];

/// With the headers that all responses of such operations have.
pub(super) fn headed(response: ResponseBuilder, rated: bool) -> ResponseBuilder {
    let named = |name: &str| Ref::new(format!("#/components/headers/{name}"));
    let response = response.header_ref(REQUEST_ID, named(REQUEST_ID));
    let rate = RATE.iter().filter(|_| rated);
    rate.fold(response, |response, (name, _)| response.header_ref(*name, named(name)))
}

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    let id =
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9._-]{1,128}$"));
    let what = "The id that the request was given, or a new one.";
    let components = components.header(REQUEST_ID, header(what, id.build()));
    RATE.iter().fold(components, |components, (name, what)| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        components.header(*name, sometimes(what, text.build()))
    })
}
