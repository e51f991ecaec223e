//! Executions as spans, sent to an OpenTelemetry collector by OTLP over HTTP.
//!
//! Spans are made when all is over, from what the log says. They wait in a bounded queue for a
//! thread of their own: a collector that is slow, wrong or away costs spans, and nothing else.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};
use tracing::{info, warn};

use super::Trace;
use super::trace::new_span;

/// Where the standard says that the collector is named.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// For what waits to be sent when the service stops.
const FLUSH: Duration = Duration::from_secs(3);

static PROCESSOR: OnceLock<BatchSpanProcessor> = OnceLock::new();

/// Begins to export, where the environment names a collector. It starts threads.
pub fn start() {
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value == "true");
    if disabled || !ENDPOINTS.into_iter().any(set) {
        return;
    }
    // The exporter's client takes the process's. A process chooses once; a second choice is not
    // another one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = match SpanExporter::builder().with_http().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            warn!(%error, "no spans are exported");
            return;
        }
    };
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    let mut resource = Resource::builder();
    if !set("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name("oncebox");
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    processor.set_resource(&resource.with_attribute(version).build());
    if PROCESSOR.set(processor).is_ok() {
        info!("spans of executions are exported");
    }
}

/// Sends what waits, within a few seconds, and ends the export. It blocks.
pub fn stop() {
    let Some(processor) = PROCESSOR.get() else { return };
    if let Err(error) = processor.shutdown_with_timeout(FLUSH) {
        warn!(%error, "some spans were not exported");
    }
}

/// Whether spans of this trace are exported: unless its caller does not keep it.
#[must_use]
pub fn keeps(trace: &Trace) -> bool {
    exports() && trace.parent_sampled() != Some(false)
}

pub(super) fn exports() -> bool {
    PROCESSOR.get().is_some()
}

/// What is said of a span.
#[derive(Debug, Default)]
pub struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub fn add(&mut self, name: &'static str, value: impl Attribute) {
        self.0.extend(value.value().map(|value| KeyValue::new(name, value)));
    }
}

/// What can be said of one.
pub trait Attribute {
    fn value(self) -> Option<Value>;
}

impl Attribute for &str {
    fn value(self) -> Option<Value> {
        Some(self.to_owned().into())
    }
}

impl Attribute for u64 {
    fn value(self) -> Option<Value> {
        Some(i64::try_from(self).unwrap_or(i64::MAX).into())
    }
}

impl Attribute for f64 {
    fn value(self) -> Option<Value> {
        Some(self.into())
    }
}

impl<T: Attribute> Attribute for Option<T> {
    fn value(self) -> Option<Value> {
        self.and_then(Attribute::value)
    }
}

/// A piece of work that is over, with its parts one after the other.
#[derive(Debug)]
pub struct Spans {
    pub trace: Trace,
    pub name: &'static str,
    pub began: SystemTime,
    pub attributes: Attributes,
    pub phases: Vec<(&'static str, Duration)>,
    /// Why, where the fault is ours.
    pub failed: Option<&'static str>,
}

/// Hands the spans over to be sent; returns at once.
pub fn export(spans: Spans) {
    let Some(processor) = PROCESSOR.get() else { return };
    let Spans { trace, name, began, attributes, phases, failed } = spans;
    let span = |name, id, parent: Option<[u8; 8]>, start_time, end_time| SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(trace.id),
            SpanId::from_bytes(id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name,
        start_time,
        end_time,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("oncebox").build(),
    };
    let mut at = began;
    for (name, took) in phases {
        let end = at + took;
        processor.on_end(span(name.into(), new_span(), Some(trace.span), at, end));
        at = end;
    }
    processor.on_end(SpanData {
        parent_span_is_remote: trace.parent.is_some(),
        span_kind: SpanKind::Server,
        attributes: attributes.0,
        status: failed.map_or(Status::Unset, Status::error),
        ..span(name.into(), trace.span, trace.parent, began, SystemTime::now().max(at))
    });
}
