//! `docs/grafana/oncebox.json` against the metrics that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Metrics;

const DASHBOARD: &str = include_str!("../../../docs/grafana/oncebox.json");
/// Metrics that are not shown, each with its reason.
const LEFT_OUT: [&str; 0] = [];

/// Every metric by its name in `/metrics`, without what the encoder adds to samples.
fn there_are() -> BTreeSet<String> {
    let metrics = Metrics::new();
    // Its kinds have no samples, and so no name, before the first request.
    metrics.http().request("/health", "GET").answered(200);
    metrics.images().breakers("docker.io", 0);
    metrics.images().spared(super::Spared::JustFailed);
    let text = metrics.encode();
    let name = |line: &str| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned());
    text.lines().filter_map(name).collect()
}

/// Every text beneath a key of this name.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str));
            map.values().for_each(|value| texts(value, key, found));
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

fn shown() -> BTreeSet<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard, "query", &mut queries);
    let words = queries.iter().flat_map(|query| {
        query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned)
    });
    let ours = words.filter(|word| word.starts_with("oncebox_") || word.starts_with("process_"));
    ours.map(|word| {
        let added = ["_bucket", "_total", "_info"];
        added.iter().find_map(|end| word.strip_suffix(end)).map(str::to_owned).unwrap_or(word)
    })
    .collect()
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let missing: Vec<_> = shown().difference(&there_are()).cloned().collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
}

#[test]
fn every_metric_is_on_the_dashboard_or_left_out() {
    let left_out = LEFT_OUT.map(str::to_owned).into();
    let shown = shown();
    assert!(shown.is_disjoint(&left_out));
    let unseen: Vec<_> = there_are().difference(&(&shown | &left_out)).cloned().collect();
    assert!(unseen.is_empty(), "neither in docs/grafana/oncebox.json nor left out: {unseen:?}");
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut sources = Vec::new();
    texts(&dashboard["panels"], "uid", &mut sources);
    assert!(!sources.is_empty() && sources.iter().all(|uid| *uid == "${datasource}"));
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
}
