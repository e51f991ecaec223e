//! What runtimes and templates there are now, and what they make of a request.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, PoisonError, RwLock};

use super::{InRuntime, Name, Names, Offered, Runtime, Template};
use crate::execution::request::{AskedLimits, Execution};
use crate::execution::{Rejection, RejectionCode};
use crate::registry::{ChosenBy, quoted};

/// Names that a refusal lists, at most.
const LISTED: usize = 20;

/// Everything that can be named.
#[derive(Debug, Default)]
pub struct Catalogue(RwLock<Arc<Entries>>);

/// The same at one moment.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// The operator's file has them; they stand above the others.
    of_file: BTreeMap<Name, Arc<Runtime>>,
    registered: BTreeMap<Name, Arc<Runtime>>,
    templates: BTreeMap<Name, AskedLimits>,
}

impl Catalogue {
    /// What there is now.
    #[must_use]
    pub fn now(&self) -> Arc<Entries> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what the operator offers in place of what he has offered so far.
    pub fn offer(&self, offered: Offered) {
        let of_file = offered.runtimes.into_iter();
        let of_file = of_file.map(|runtime| (runtime.name.clone(), Arc::new(runtime))).collect();
        self.change(|entries| {
            entries.of_file = of_file;
            entries.templates = offered.templates;
        });
    }

    pub(super) fn put(&self, runtime: Runtime) -> Arc<Runtime> {
        let runtime = Arc::new(runtime);
        self.change(|entries| {
            entries.registered.insert(runtime.name.clone(), Arc::clone(&runtime));
        });
        runtime
    }

    pub(super) fn take(&self, name: &Name) {
        self.change(|entries| {
            entries.registered.remove(name);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Entries)) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut now));
    }

    /// What a request asks for that names these. Its own fields stand above the template's, and those
    /// above the runtime's.
    ///
    /// # Errors
    /// `unknown_runtime` or `unknown_resources`, with what there is.
    pub fn resolve(&self, names: &Names, execution: Execution) -> Result<Execution, Rejection> {
        if names.is_empty() { Ok(execution) } else { self.now().resolve(names, execution) }
    }
}

impl Entries {
    /// All runtimes that can be named, in the order of their names, with whose choice they are.
    pub fn runtimes(&self) -> impl Iterator<Item = (&Arc<Runtime>, ChosenBy)> {
        let all: BTreeMap<_, _> = self.registered.iter().chain(&self.of_file).collect();
        all.into_values().map(|runtime| (runtime, self.chosen_by(&runtime.name)))
    }

    /// The runtime of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&Arc<Runtime>, ChosenBy)> {
        let runtime = self.of_file.get(name).or_else(|| self.registered.get(name))?;
        Some((runtime, self.chosen_by(&runtime.name)))
    }

    #[must_use]
    pub fn templates(&self) -> &BTreeMap<Name, AskedLimits> {
        &self.templates
    }

    pub(super) fn registered(&self) -> &BTreeMap<Name, Arc<Runtime>> {
        &self.registered
    }

    fn chosen_by(&self, name: &Name) -> ChosenBy {
        if self.of_file.contains_key(name) { ChosenBy::Operator } else { ChosenBy::Request }
    }

    fn resolve(&self, names: &Names, mut execution: Execution) -> Result<Execution, Rejection> {
        if let Some(name) = &names.resources {
            let known = self.templates.get_key_value(name.as_str());
            let (name, limits) = known.ok_or_else(|| {
                let known = self.templates.keys();
                unknown(RejectionCode::UnknownResources, "resources", name, known)
            })?;
            execution.resources = Some(Template { name: name.clone(), limits: *limits });
        }
        if let Some(name) = &names.runtime {
            let (runtime, chosen_by) = self.find(name).ok_or_else(|| {
                let known = self.runtimes().map(|(runtime, _)| &runtime.name);
                unknown(RejectionCode::UnknownRuntime, "runtime", name, known)
            })?;
            runtime.apply(chosen_by, &mut execution);
        }
        Ok(execution)
    }
}

impl Runtime {
    fn apply(&self, chosen_by: ChosenBy, execution: &mut Execution) {
        execution.image = Some(self.image.clone());
        execution.language = execution.language.or(self.language);
        let own: HashSet<_> = execution.env.iter().map(|(name, _)| name).collect();
        let beneath = self.env.iter().filter(|(name, _)| !own.contains(name)).cloned();
        let beneath: Vec<_> = beneath.collect();
        execution.env.splice(..0, beneath);
        execution.runtime = Some(InRuntime {
            name: self.name.clone(),
            chosen_by,
            limits: self.limits,
            has_env: !self.env.is_empty(),
        });
    }
}

fn unknown(
    code: RejectionCode,
    field: &'static str,
    name: &str,
    known: impl Iterator<Item = impl Display>,
) -> Rejection {
    let known: Vec<_> = known.map(|name| name.to_string()).collect();
    let more = match known.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let detail = match known.len() {
        0 => format!("{} is not known; there is none yet", quoted(name)),
        all => format!(
            "{} is not known; choose one of {}{more}",
            quoted(name),
            known[..all.min(LISTED)].join(", ")
        ),
    };
    Rejection { code, field, detail }
}
