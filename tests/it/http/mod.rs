//! What strangers do to a service that speaks HTTP (section 5 of the list of attacks), each row by
//! its number.

use crate::support::Service;

/// As `on_both_engines!`, for what is decided before any engine is asked: one of them is enough.
macro_rules! on_one_engine {
    (together: $($together:ident),* $(,)?; alone: $($alone:ident),* $(,)?) => {
        mod native {
            on_both_engines! { @tests Native, together, $($together),* }
            on_both_engines! { @tests Native, alone, $($alone),* }
        }
    };
    (together: $($together:ident),* $(,)?) => {
        on_one_engine! { together: $($together),*; alone: }
    };
}

mod body;
mod gone;
mod head;
mod load;
mod log;
mod refusals;
mod slow;
mod smuggling;
mod text;
mod values;

/// What a service has in `/metrics` under this name.
fn sample(service: &Service, name: &str) -> f64 {
    crate::support::metrics::Metrics::of(service).sample(name)
}

/// Scripts that were asked for and ran, however they ended.
fn executions(service: &Service) -> f64 {
    let statuses = ["completed", "signaled", "timed_out", "out_of_memory", "cancelled"];
    let name = |status| format!("oncebox_executions_total{{status=\"{status}\"}}");
    statuses.iter().map(|status| sample(service, &name(status))).sum()
}
