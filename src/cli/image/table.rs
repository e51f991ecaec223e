//! Images for people: as a table, and each with everything about it.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{DecimalBytes, HumanDuration};

use crate::cli::columns::columns;
use crate::registry::{Details, Summary};

/// Digits of a digest that are told apart by eye.
const DIGITS: usize = 12;
const HEAD: [&str; 5] = ["REFERENCE", "DIGEST", "SIZE", "CREATED", "LAST USED"];

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A line for each name, and for each image without one.
pub(super) fn list(images: &[Summary], now: u64) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    for image in images {
        let unnamed = ["<none>".to_owned()];
        let names = if image.references.is_empty() { &unnamed[..] } else { &image.references };
        rows.extend(names.iter().map(|name| {
            let time = |then: Option<u64>| then.map_or_else(|| "-".into(), |then| ago(then, now));
            let (created, used) = (time(image.created), time(image.last_used));
            [name.clone(), short(&image.digest).to_owned(), size(image.size), created, used]
        }));
    }
    columns(&rows)
}

/// Everything about one.
pub(super) fn details(details: &Details, now: u64) -> String {
    let Details { summary, os, architecture, config, layers, history } = details;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14} {}", printable(value));
    };
    line("digest", &summary.digest);
    for reference in &summary.references {
        line("reference", reference);
    }
    line("size", &size(summary.size));
    line("platform", &format!("{os}/{architecture}"));
    if let Some(created) = summary.created {
        line("created", &ago(created, now));
    }
    if let Some(used) = summary.last_used {
        line("last used", &ago(used, now));
    }
    for (name, value) in config.as_object().into_iter().flatten() {
        line(name, &value.to_string());
    }
    for layer in layers {
        line("layer", &format!("{}  {}", layer.diff_id, layer.size.map(size).unwrap_or_default()));
    }
    for entry in history {
        let made = entry.created_by.as_deref().or(entry.comment.as_deref()).unwrap_or("-");
        line("history", made);
    }
    text
}

/// Bytes as people say them, in powers of ten.
pub(super) fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}

/// An image's own words on a terminal: on one line, and moving nothing there.
fn printable(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn ago(then: u64, now: u64) -> String {
    format!("{} ago", HumanDuration(Duration::from_secs(now.saturating_sub(then))))
}

fn short(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..DIGITS).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{HistoryEntry, LayerDetails};

    fn summary(references: &[&str]) -> Summary {
        Summary {
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            references: references.iter().map(|name| (*name).to_owned()).collect(),
            size: 7_340_032,
            created: Some(1_000_000),
            last_used: None,
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_name() {
        let used = Summary { last_used: Some(1_999_940), created: None, ..summary(&[]) };
        let images = [summary(&["alpine:3", "registry.example/a:latest"]), used];
        insta::assert_snapshot!(list(&images, 2_000_000));
        assert_eq!(list(&[], 0), "REFERENCE   DIGEST   SIZE   CREATED   LAST USED\n");
    }

    #[test]
    fn details_keep_an_image_s_own_words_on_their_lines() {
        insta::assert_snapshot!(details(
            &Details {
                summary: summary(&["alpine:3"]),
                os: "linux".into(),
                architecture: "amd64".into(),
                config: serde_json::json!({"Cmd": ["/bin/sh"], "Env": ["A=\u{1b}[31m"]}),
                layers: vec![LayerDetails { diff_id: "sha256:aa".into(), size: Some(1) }],
                history: vec![HistoryEntry {
                    created_by: Some("RUN a\nb".into()),
                    ..HistoryEntry::default()
                }],
            },
            2_000_000
        ));
    }
}
