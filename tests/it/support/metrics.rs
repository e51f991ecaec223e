//! What `GET /metrics` says.

use std::collections::{BTreeMap, BTreeSet};

use super::Service;

/// Every metric by its name, with its samples by their whole names.
pub struct Metrics {
    pub names: BTreeSet<String>,
    pub samples: BTreeMap<String, f64>,
}

impl Metrics {
    pub fn of(service: &Service) -> Self {
        let reply = service.get("/metrics").expect("an answer");
        assert_eq!(reply.http, 200);
        let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(reply.content_type, openmetrics);
        let text = String::from_utf8(reply.body).expect("text");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let name = |line: &str| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned());
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().expect("a number")))
        };
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(sample);
        Self { names: text.lines().filter_map(name).collect(), samples: samples.collect() }
    }

    pub fn sample(&self, name: &str) -> f64 {
        self.samples.get(name).copied().unwrap_or_default()
    }

    /// One of its samples is not 0.
    pub fn moved(&self, name: &str) -> bool {
        let own = |sample: &str| {
            let rest = sample.strip_prefix(name)?;
            let rest = rest.split('{').next()?;
            ["", "_total", "_count", "_info"].contains(&rest).then_some(())
        };
        self.samples.iter().any(|(sample, value)| *value != 0.0 && own(sample).is_some())
    }
}
