//! Executions in the background, what is kept of them, and whom they are told.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Label;

/// What became of one try to tell the end of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// It is tried again.
    Failed,
    /// It is not.
    GivenUp,
}

impl Delivery {
    const ALL: [Self; 3] = [Self::Delivered, Self::Failed, Self::GivenUp];

    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// What there is to count about executions that outlive their requests.
#[derive(Debug, Default)]
pub struct BackgroundMetrics {
    executions: Family<Label, Gauge>,
    bytes: Gauge,
    webhooks: Family<Label, Counter>,
}

impl BackgroundMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        // Shown from the start, so that the first one of its kind is seen as a step.
        for delivery in Delivery::ALL {
            let _ = self.webhooks.get_or_create(&[("result", delivery.name())]);
        }
        self.now(0, 0, 0);
        let help = "Executions that outlive their requests and have not ended, by how far they are";
        registry.register("background_executions", help, self.executions.clone());
        let help = "Bytes that are kept of executions";
        registry.register("execution_store_bytes", help, self.bytes.clone());
        let help = "Tries to tell the end of an execution, by what became of them";
        registry.register("webhooks", help, self.webhooks.clone());
    }

    /// How many there are now, and how many bytes are kept.
    pub fn now(&self, queued: usize, running: usize, bytes: u64) {
        for (state, count) in [("queued", queued), ("running", running)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.executions.get_or_create(&[("state", state)]).set(count);
        }
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The end of an execution was told, or not.
    pub fn webhook(&self, delivery: Delivery) {
        self.webhooks.get_or_create(&[("result", delivery.name())]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::moved;
    use super::*;

    #[test]
    fn each_event_moves_its_own_metric() {
        let mut now = moved(|m| m.background().now(1, 2, 3));
        now.sort();
        assert_eq!(
            now,
            [
                r#"oncebox_background_executions{state="queued"} 1"#,
                r#"oncebox_background_executions{state="running"} 2"#,
                "oncebox_execution_store_bytes 3"
            ]
        );
        for (delivery, name) in Delivery::ALL.into_iter().zip(["delivered", "failed", "given_up"]) {
            let sample = format!("oncebox_webhooks_total{{result=\"{name}\"}} 1");
            assert_eq!(moved(|m| m.background().webhook(delivery)), [sample]);
        }
    }
}
