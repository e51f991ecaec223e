//! Every operation there is. A test holds the addresses and methods against those that answer.

use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::HttpMethod::{Delete, Get, Post};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use super::event::{Event, events};
use super::operation::{EVENTS, FORM, JSON, Operation, header, of, sometimes, text};
use super::parameters::{path, query, reference, string};
use super::refusals::{BODY, IMAGE, RUNS, SCRIPT, STORE};
use super::{fields, form};
use crate::api::Code::*;
use crate::api::executions::{LARGEST_PAGE, USUAL_PAGE};
use crate::telemetry::metrics::CONTENT_TYPE;

/// The id of an event: how much there was so far.
const SO_FAR: &str = "^[0-9]+$";
const RUN_EVENTS: [Event; 5] = [
    ("started", "EventStarted", Some("^0$")),
    ("stdout", "EventOutput", Some(SO_FAR)),
    ("stderr", "EventOutput", Some(SO_FAR)),
    ("result", "Answer", Some("^end$")),
    ("error", "Problem", Some("^end$")),
];
const RUN: &str = "`started` (`EventStarted`), `stdout` and `stderr` (`EventOutput`) in the order they \
    were written, then one `result` (`Answer`) or one `error` (`Problem`). The `id` of an event is \
    the number of bytes so far, that of the last one `end`. Comments keep the connection alive.";
const PULL_EVENTS: [Event; 3] =
    [("progress", "PullProgress", None), ("done", "PulledImage", None), ("error", "Problem", None)];
const PULL: &str = "`progress` (`PullProgress`), then one `done` (`PulledImage`) or one `error` \
    (`Problem`). Comments keep the connection alive.";

pub(super) fn all() -> Vec<Operation> {
    [scripts(), executions(), images(), runtimes(), service()].into_iter().flatten().collect()
}

fn scripts() -> Vec<Operation> {
    let replayed =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["true"])).build();
    let ran = ResponseBuilder::new()
        .description("The script ran, however it ended.")
        .header("Idempotent-Replayed", sometimes("The answer to an earlier request.", replayed));
    vec![
        Operation::new(Post, "/execute", "execute")
            .about("execute", "Run a script and wait for its end")
            .description(
                "With `Accept: text/event-stream` the answer is a stream of events. What is known \
                 to be wrong before the script starts has its own status there too. A client that \
                 leaves cancels its script.",
            )
            .needs("execute")
            .takes(reference("Idempotency-Key"))
            .body([(JSON, of("ExecuteRequest")), (FORM, form::content(false))])
            .answers_with(200, ran, [(JSON, of("Answer")), (EVENTS, events(RUN, &RUN_EVENTS))])
            .refuses(BODY)
            .refuses(SCRIPT)
            .refuses(RUNS)
            .refuses(IMAGE),
        Operation::new(Get, "/languages", "listLanguages")
            .about("execute", "What languages scripts can be in")
            .needs("execute")
            .answers(200, "The catalogue.", JSON, of("Languages")),
    ]
}

fn executions() -> Vec<Operation> {
    let accepted = ResponseBuilder::new()
        .description("It will run; the answer is at `Location`.")
        .header("Location", header("Where it is.", string().build()))
        .link("get", same("getExecution"))
        .link("cancel", same("cancelExecution"))
        .link("follow", same("followExecution"));
    let id = || path("id", "What `POST /executions` answered.", uuid());
    let one = |method, id_of, what| {
        Operation::new(method, "/executions/{id}", id_of)
            .about("executions", what)
            .needs("execute")
            .takes(id())
            .refuses(&[ExecutionNotFound])
    };
    vec![
        Operation::new(Post, "/executions", "createExecution")
            .about("executions", "Run a script in the background")
            .needs("execute")
            .takes(reference("Idempotency-Key"))
            .body([(JSON, of("ExecutionRequest")), (FORM, form::content(true))])
            .answers_with(202, accepted, [(JSON, of("Execution"))])
            .refuses(BODY)
            .refuses(SCRIPT)
            .refuses(&[WebhookNotAllowed]),
        Operation::new(Get, "/executions", "listExecutions")
            .about("executions", "One's own executions, the newest first")
            .needs("execute")
            .takes(query(
                "limit",
                "How many, at most.",
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(1))
                    .maximum(Some(LARGEST_PAGE as u64))
                    .default(Some(USUAL_PAGE.into())),
            ))
            .takes(query("after", "`next` of the page before.", uuid()))
            .answers(200, "A page of them.", JSON, of("Executions"))
            .refuses(&[InvalidRequest]),
        one(Get, "getExecution", "How far an execution is, and its result").answers(
            200,
            "What there is to say about it.",
            JSON,
            of("Execution"),
        ),
        one(Delete, "cancelExecution", "Cancel an execution")
            .description("One that is over stays as it is.")
            .answers(200, "What there is to say about it now.", JSON, of("Execution")),
        Operation::new(Get, "/executions/{id}/events", "followExecution")
            .about("executions", "Follow an execution")
            .description("From its beginning, or from after `Last-Event-ID`; then as it happens.")
            .needs("execute")
            .without_head()
            .takes(id())
            .takes(reference("Last-Event-ID"))
            .answers(200, "Its events.", EVENTS, events(RUN, &RUN_EVENTS))
            .answers_with(
                204,
                ResponseBuilder::new().description("`Last-Event-ID` was the last one."),
                [],
            )
            .refuses(&[InvalidRequest, ExecutionNotFound]),
    ]
}

/// The same execution.
fn same(operation: &str) -> Link {
    LinkBuilder::new().operation_id(operation).parameter("id", "$response.body#/id").build()
}

fn uuid() -> ObjectBuilder {
    string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}

fn images() -> Vec<Operation> {
    let mut operations = vec![
        Operation::new(Get, "/images", "listImages")
            .about("images", "What images are here")
            .needs("images")
            .answers(200, "All of them.", JSON, of("Images"))
            .refuses(STORE),
        Operation::new(Post, "/images/pull", "pullImage")
            .about("images", "Pull an image, whether it is here or not")
            .description(
                "With `Accept: text/event-stream` the answer is a stream of events. A client that \
                 leaves gives the pull up, unless others wait for it.",
            )
            .needs("images")
            .body([(JSON, of("PullRequest"))])
            .answers_with(
                200,
                ResponseBuilder::new().description("It is here."),
                [(JSON, of("PulledImage")), (EVENTS, events(PULL, &PULL_EVENTS))],
            )
            .refuses(BODY)
            .refuses(IMAGE)
            .refuses(&[InvalidImage, ImageNotAllowed, TooManyPulls]),
    ];
    // `pull` is also a name that an image may have.
    for (address, ids) in [
        ("/images/{reference}", ["describeImage", "removeImage"]),
        ("/images/pull", ["describeImagePull", "removeImagePull"]),
    ] {
        let [describe, remove] = [(Get, ids[0]), (Delete, ids[1])].map(|(method, id)| {
            let operation = Operation::new(method, address, id).needs("images");
            let operation = operation.refuses(STORE).refuses(&[InvalidImage, ImageNotFound]);
            if address.contains('{') {
                let schema = ObjectBuilder::from(fields::image());
                let what = "An image; its `/` may stand as they are.";
                operation.takes(path("reference", what, schema.examples(["python:3.13"])))
            } else {
                operation.description("Of the image that is called `pull`.")
            }
        });
        operations.push(describe.about("images", "What there is to say about an image").answers(
            200,
            "Its details.",
            JSON,
            of("ImageDetails"),
        ));
        operations.push(
            remove
                .about("images", "Remove an image")
                .answers(200, "What went.", JSON, of("RemovedImages"))
                .refuses(&[ImageInUse]),
        );
    }
    operations
}

fn runtimes() -> Vec<Operation> {
    let registered = ResponseBuilder::new()
        .description("It is registered.")
        .header("Location", header("Where it is.", string().build()));
    let one = |method, id, what| {
        let name = ObjectBuilder::from(fields::runtime_name());
        Operation::new(method, "/runtimes/{name}", id)
            .about("runtimes", what)
            .takes(path("name", "A runtime.", name))
            .refuses(&[RuntimeNotFound])
    };
    vec![
        Operation::new(Get, "/runtimes", "listRuntimes")
            .about("runtimes", "What `runtime` and `resources` may name")
            .needs("execute")
            .answers(200, "All of them.", JSON, of("RuntimeList")),
        Operation::new(Post, "/runtimes", "registerRuntime")
            .about("runtimes", "Register a runtime")
            .description(
                "It is kept until it is deleted. Its image is held against the operator's rules now \
                 and whenever it is run; it is pulled when it is first needed.",
            )
            .needs("admin")
            .body([(JSON, of("RuntimeRequest"))])
            .answers_with(201, registered, [(JSON, of("Runtime"))])
            .refuses(BODY)
            .refuses(&[
                InvalidImage,
                UnknownLanguage,
                LimitExceeded,
                ImageNotAllowed,
                RuntimeExists,
                RuntimeInFile,
                TooManyRuntimes,
                NoSpace,
            ]),
        one(Get, "describeRuntime", "What there is to say about a runtime")
            .needs("execute")
            .answers(200, "All of it.", JSON, of("Runtime")),
        one(Delete, "removeRuntime", "Remove a runtime that was registered")
            .description("What runs in it goes on.")
            .needs("admin")
            .answers_with(204, ResponseBuilder::new().description("It is gone."), [])
            .refuses(&[RuntimeInFile, Draining, NoSpace]),
    ]
}

fn service() -> Vec<Operation> {
    let get = |path, id, what| Operation::new(Get, path, id).about("service", what);
    vec![
        get("/health", "health", "Whether the process lives").answers(
            200,
            "It does.",
            JSON,
            of("Health"),
        ),
        get("/ready", "ready", "Whether scripts run, and on what")
            .answers(200, "They do.", JSON, of("Ready"))
            .refuses(&[Draining, PoolFilling]),
        get("/metrics", "metrics", "Counts and times for Prometheus").needs("admin").answers(
            200,
            "All of them.",
            CONTENT_TYPE,
            text("OpenMetrics."),
        ),
        get("/openapi.json", "describeApi", "This document").answers(
            200,
            "OpenAPI 3.1.",
            JSON,
            utoipa::openapi::Content::new(Some(ObjectBuilder::new().schema_type(Type::Object))),
        ),
        get("/docs", "docs", "This document, for people").answers(
            200,
            "A page.",
            "text/html",
            text("HTML."),
        ),
        get("/docs/{file}", "docsFile", "What that page is made of")
            .takes(path(
                "file",
                "A file's name.",
                string().enum_values(Some(crate::api::docs::FILES)),
            ))
            .answers_with(
                200,
                ResponseBuilder::new().description("The file."),
                [
                    ("text/css", text("A style sheet.")),
                    ("text/javascript", text("A program.")),
                    ("image/png", text("A picture.")),
                ],
            )
            .refuses(&[NotFound]),
    ]
}
