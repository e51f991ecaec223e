//! How far a pull has come, on stderr: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::api::images::document::phase_name;
use crate::registry::{LayerPhase, LayerState, PullState};

const DIGITS: usize = 12;
const BAR: &str = "{prefix:12} {msg:11} {bar:30} {bytes}/{total_bytes}";
const NO_BAR: &str = "{prefix:12} {msg:11} {bytes}";

/// What is shown, until it is dropped.
pub(super) enum Shown {
    Bars { all: MultiProgress, layers: HashMap<String, ProgressBar> },
    Lines { attempt: u32, phases: HashMap<String, LayerPhase> },
}

impl Shown {
    pub(super) fn on_stderr() -> Self {
        match stderr().is_terminal() {
            true => Self::Bars { all: MultiProgress::new(), layers: HashMap::new() },
            false => Self::lines(),
        }
    }

    fn lines() -> Self {
        Self::Lines { attempt: 0, phases: HashMap::new() }
    }

    pub(super) fn update(&mut self, state: &PullState) {
        match self {
            Self::Bars { all, layers } => {
                for layer in &state.layers {
                    let bar = layers.entry(layer.digest.clone()).or_insert_with(|| {
                        all.add(ProgressBar::no_length().with_prefix(short(&layer.digest)))
                    });
                    draw(bar, layer);
                }
            }
            Self::Lines { .. } => {
                for line in self.changes(state) {
                    eprintln!("{line}");
                }
            }
        }
    }

    /// What has changed since the last time, a line each; bytes would be too many of them.
    fn changes(&mut self, state: &PullState) -> Vec<String> {
        let Self::Lines { attempt, phases } = self else { return vec![] };
        let mut lines = Vec::new();
        if state.attempt > *attempt && state.attempt > 1 {
            lines.push(format!("attempt {}", state.attempt));
        }
        *attempt = state.attempt;
        for LayerState { digest, phase, .. } in &state.layers {
            let known = phases.insert(digest.clone(), *phase);
            if known != Some(*phase) && *phase != LayerPhase::Waiting {
                lines.push(format!("{} {}", short(digest), phase_name(*phase)));
            }
        }
        lines
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Self::Bars { layers, .. } = self {
            layers.values().for_each(ProgressBar::abandon);
        }
    }
}

fn draw(bar: &ProgressBar, layer: &LayerState) {
    let template = if layer.total.is_some() { BAR } else { NO_BAR };
    if bar.length() != layer.total || bar.message().is_empty() {
        // The templates are ours; a broken one would only look plain.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        if let Some(total) = layer.total {
            bar.set_length(total);
        }
    }
    bar.set_message(phase_name(layer.phase));
    bar.set_position(match layer.phase {
        LayerPhase::Done => layer.total.unwrap_or(layer.done),
        _ => layer.done,
    });
}

fn short(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;

    fn state(attempt: u32, done: u64, total: Option<u64>, phase: LayerPhase) -> PullState {
        let digest = "sha256:0123456789abcdef".into();
        PullState { attempt, layers: vec![LayerState { digest, done, total, phase }] }
    }

    #[test]
    fn lines_say_phases_and_further_attempts_only() {
        let mut shown = Shown::lines();
        let steps = [
            (state(1, 0, None, LayerPhase::Waiting), &[][..]),
            (state(1, 1, Some(9), LayerPhase::Downloading), &["0123456789ab downloading"]),
            (state(1, 5, Some(9), LayerPhase::Downloading), &[]),
            (state(2, 5, Some(9), LayerPhase::Unpacking), &["attempt 2", "0123456789ab unpacking"]),
            (state(2, 9, Some(9), LayerPhase::Done), &["0123456789ab done"]),
            (state(2, 9, Some(9), LayerPhase::Done), &[]),
        ];
        for (state, lines) in steps {
            assert_eq!(shown.changes(&state), lines, "{state:?}");
        }
    }

    #[test]
    fn bars_show_bytes_and_phases() {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut shown = Shown::Bars { all, layers: HashMap::new() };
        let mut bar = |step: PullState| {
            shown.update(&step);
            let Shown::Bars { layers, .. } = &shown else { panic!("these are bars") };
            let bar = &layers["sha256:0123456789abcdef"];
            assert_eq!((layers.len(), bar.prefix()), (1, "0123456789ab".into()));
            (bar.message(), bar.position(), bar.length())
        };
        let downloading = |done, total| state(1, done, total, LayerPhase::Downloading);
        assert_eq!(bar(downloading(5, None)), ("downloading".into(), 5, None));
        assert_eq!(bar(downloading(6, Some(9))), ("downloading".into(), 6, Some(9)));
        let done = state(1, 6, Some(9), LayerPhase::Done);
        assert_eq!(bar(done), ("done".into(), 9, Some(9)));
    }

    #[test]
    fn the_templates_are_understood() {
        for template in [BAR, NO_BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
