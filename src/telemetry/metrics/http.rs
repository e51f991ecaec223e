//! What is counted and measured at the door. Labels come from lists: an address that is on none
//! counts as `other`, and so does a method.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Label, seconds};

/// Every address there is, as a label.
pub const ROUTES: [&str; 16] = [
    "/execute",
    "/executions",
    "/executions/{id}",
    "/executions/{id}/events",
    "/languages",
    "/images",
    "/images/pull",
    "/images/{reference}",
    "/runtimes",
    "/runtimes/{name}",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    OTHER,
];
/// Every method that an address may know, and OPTIONS for browsers.
pub const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", OTHER];
/// Classes of status; `none` is a client that left before there was one.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", NONE];

const OTHER: &str = "other";
const NONE: &str = "none";

type Labels = [(&'static str, &'static str); 3];

/// What there is to count about HTTP. Clones count the same.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<Labels, Counter>,
    took: Family<Label, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    bytes: Counter,
    connections: Gauge,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            took: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            bytes: Counter::default(),
            connections: Gauge::default(),
        }
    }
}

impl HttpMetrics {
    /// Gives everything its name; the encoder adds `_total` to counters.
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Requests, by address, method and class of status";
        r.register("http_requests", help, self.requests.clone());
        let help = "From a request's head to the last byte of its answer, by address";
        r.register("http_request_seconds", help, self.took.clone());
        let help = "Requests whose answer is not complete yet";
        r.register("http_in_flight", help, self.in_flight.clone());
        r.register("http_response_bytes", "Bytes of all answers' bodies", self.bytes.clone());
        r.register("http_connections", "Open connections", self.connections.clone());
    }

    /// A request begins.
    pub fn request(&self, path: &str, method: &str) -> Request {
        self.in_flight.inc();
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER);
        let metrics = self.clone();
        Request { metrics, route: route(path), method, class: NONE, began: Instant::now() }
    }

    /// A connection is open until this is dropped.
    pub fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }
}

/// The label of an address.
fn route(path: &str) -> &'static str {
    if let Some(exact) = ROUTES.into_iter().find(|route| *route == path && *route != OTHER) {
        return exact;
    }
    match path.split_once('/').and_then(|(_, path)| path.split_once('/')) {
        Some(("executions", rest)) => match rest.split_once('/') {
            None => "/executions/{id}",
            Some((_, "events")) => "/executions/{id}/events",
            Some(_) => OTHER,
        },
        Some(("images", rest)) if !rest.is_empty() => "/images/{reference}",
        Some(("runtimes", rest)) if !rest.is_empty() && !rest.contains('/') => "/runtimes/{name}",
        Some(("docs", _)) => "/docs",
        _ => OTHER,
    }
}

/// A request, until the last byte of its answer was given out or its client has left.
#[derive(Debug)]
#[must_use]
pub struct Request {
    metrics: HttpMetrics,
    route: &'static str,
    method: &'static str,
    class: &'static str,
    began: Instant,
}

impl Request {
    /// Its answer begins.
    pub fn answered(&mut self, status: u16) {
        self.class = CLASSES.get(usize::from(status / 100).wrapping_sub(1)).unwrap_or(&NONE);
    }

    /// Some of the answer was given out.
    pub fn sent(&self, bytes: usize) {
        self.metrics.bytes.inc_by(bytes as u64);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let Self { metrics, route, method, class, began } = self;
        metrics.in_flight.dec();
        let labels = [("route", *route), ("method", *method), ("class", *class)];
        metrics.requests.get_or_create(&labels).inc();
        let took = began.elapsed().as_secs_f64();
        metrics.took.get_or_create(&[("route", *route)]).observe(took);
    }
}

/// An open connection.
#[derive(Debug)]
#[must_use]
pub struct Connection(Gauge);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::super::tests::moved;
    use super::*;

    #[test]
    fn every_address_has_its_own_label() {
        for exact in ROUTES {
            assert_eq!(route(exact), exact);
        }
        for (path, label) in [
            ("/executions/0190", "/executions/{id}"),
            ("/executions/0190/events", "/executions/{id}/events"),
            ("/executions/0190/other", OTHER),
            ("/images/a/b:1", "/images/{reference}"),
            ("/images/", OTHER),
            ("/docs/index.html", "/docs"),
            ("//execute", OTHER),
            ("/execute/", OTHER),
            ("/EXECUTE", OTHER),
            ("", OTHER),
            ("other", OTHER),
            ("*", OTHER),
        ] {
            assert_eq!(route(path), label, "{path}");
        }
    }

    /// Or a new address would be counted as `other`, and nobody notice.
    #[test]
    fn every_address_of_the_api_has_its_label() {
        let api = include_str!("../../../docs/openapi.json");
        let api: serde_json::Value = serde_json::from_str(api).unwrap();
        for (path, known) in api["paths"].as_object().unwrap() {
            let example =
                path.replace("{id}", "0190").replace("{reference}", "a:1").replace("{name}", "a");
            assert!(ROUTES.contains(&route(&example)) && route(&example) != OTHER, "{path}");
            for method in known.as_object().unwrap().keys() {
                let method = method.to_uppercase();
                assert!(METHODS.contains(&method.as_str()) || method == "PARAMETERS", "{method}");
            }
        }
    }

    #[test]
    fn a_request_counts_when_its_answer_is_complete() {
        let metrics = Metrics::new();
        let mut request = metrics.http().request("/health", "GET");
        assert!(metrics.encode().contains("\noncebox_http_in_flight 1\n"));
        request.answered(200);
        request.sent(7);
        assert!(!metrics.encode().contains("oncebox_http_requests_total{"));
        drop(request);
        let text = metrics.encode();
        for sample in [
            r#"http_requests_total{route="/health",method="GET",class="2xx"} 1"#,
            r#"http_request_seconds_count{route="/health"} 1"#,
            "http_response_bytes_total 7",
            "http_in_flight 0",
        ] {
            assert!(text.contains(&format!("\noncebox_{sample}\n")), "{sample} in {text}");
        }
    }

    #[test]
    fn no_text_of_a_request_becomes_a_label() {
        let samples = moved(|metrics| {
            metrics.http().request("/s3cret", "S3CRET").answered(999);
            metrics.http().request("/execute", "POST").answered(99);
        });
        let count = |labels: &str| format!("oncebox_http_requests_total{{{labels}}} 1");
        for labels in [
            r#"route="other",method="other",class="none""#,
            r#"route="/execute",method="POST",class="none""#,
        ] {
            assert!(samples.contains(&count(labels)), "{samples:?}");
        }
        assert!(!format!("{samples:?}").to_lowercase().contains("s3cret"));
    }

    #[test]
    fn connections_are_counted_while_they_are_open() {
        let metrics = Metrics::new();
        let open = metrics.http().connection();
        assert!(metrics.encode().contains("\noncebox_http_connections 1\n"));
        drop(open);
        assert!(metrics.encode().contains("\noncebox_http_connections 0\n"));
    }
}
