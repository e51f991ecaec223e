//! What went wrong around the service and did not end it, by its kind.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Label;

/// A kind of trouble that is nobody's request's. Each has a line of the log as well, but for the one
/// that is the log's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process did not run for more than a second.
    StoodStill,
    /// The clock of the day was set.
    ClockSet,
    /// The process could not open one file more.
    NoDescriptors,
    /// A line of the log could not be written.
    LogLost,
    /// A container was still there two seconds after its end, or could not be removed at the first try.
    NotGone,
    /// The last life of this service did not end in order.
    CutShort,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::StoodStill,
        Self::ClockSet,
        Self::NoDescriptors,
        Self::LogLost,
        Self::NotGone,
        Self::CutShort,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::StoodStill => "stood_still",
            Self::ClockSet => "clock_set",
            Self::NoDescriptors => "no_descriptors",
            Self::LogLost => "log_lost",
            Self::NotGone => "not_gone",
            Self::CutShort => "cut_short",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct FaultMetrics(Family<Label, Counter>);

impl FaultMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        // Shown from the start, so that the first one of its kind is seen as a step.
        for fault in Fault::ALL {
            self.add(fault, 0);
        }
        let help = "What went wrong around the service and did not end it, by its kind";
        registry.register("faults", help, self.0.clone());
    }

    pub(super) fn add(&self, fault: Fault, times: u64) {
        self.0.get_or_create(&[("fault", fault.name())]).inc_by(times);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::moved;
    use super::*;

    #[test]
    fn each_kind_moves_its_own_sample() {
        for fault in Fault::ALL {
            let sample = format!("oncebox_faults_total{{fault=\"{}\"}} 1", fault.name());
            assert_eq!(moved(|metrics| metrics.fault(fault)), [sample]);
        }
    }
}
