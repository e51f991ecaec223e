//! Which executions an interpreter may wait for, started before they were asked for.

use oncebox_guest::wire::Prestart;

use super::job::environment;
use super::language::{self, FALLBACK, Language, how_to_run};
use super::limits::Limits;
use super::request::Execution;
use crate::engine::ContainerSpec;
use crate::pool::{Ahead, Need, Recipe};
use crate::registry::{Image, ImageError};

/// What this execution needs: a container with its limits, and what is made ahead for its like.
/// `forwards`: it gets variables of the service's own, which nothing that waits may have.
pub(super) fn need(
    execution: &Execution,
    forwards: bool,
    image: Image,
    limits: &Limits,
    usual: &Limits,
) -> Result<Need, ImageError> {
    let ahead = match fitting(execution).filter(|_| !forwards) {
        Some(language) => Some(ahead(language, &image)?),
        None => None,
    };
    let recipe = Recipe { spec: spec(image.clone(), usual), ahead };
    Ok(Need { spec: spec(image, limits), recipe })
}

/// What is made ahead of an image that nobody has asked for yet: for scripts that name no language.
pub(super) fn floor_recipe(image: Image, usual: &Limits, forwards: bool) -> Recipe {
    // An image whose environment is too large is refused when it is asked for.
    let ahead = if forwards { None } else { ahead(FALLBACK, &image).ok() };
    Recipe { spec: spec(image, usual), ahead }
}

fn spec(image: Image, limits: &Limits) -> ContainerSpec {
    let Limits { memory, cpu_millis, pids, tmp, .. } = *limits;
    ContainerSpec { image, memory, cpu_millis, pids, tmp }
}

fn ahead(language: Language, image: &Image) -> Result<Ahead, ImageError> {
    let how = how_to_run(b"", Some(language), &[]);
    let (argvs, env, entry) = (how.argvs, environment(&[], &[], image)?, how.entry.into());
    Ok(Ahead { language: language.name, order: Prestart { argvs, env, entry } })
}

/// The language whose interpreter, started with nothing but the image's environment and an empty
/// input, would answer this execution to the byte as one started for it.
fn fitting(execution: &Execution) -> Option<Language> {
    let language = execution.language.unwrap_or(FALLBACK);
    let language::Ahead { longest, looked_for, encoding_line } = language.ahead?;
    let script = &execution.script;
    let is_text = || !script.contains(&0) && str::from_utf8(script).is_ok();
    let started_alike = execution.args.is_empty()
        && execution.env.is_empty()
        && execution.stdin.is_none()
        && !script.starts_with(b"#!");
    let in_sight = |name: &&str| execution.files.iter().any(|file| file.path.as_str() == *name);
    let fits = started_alike
        && script.len() <= longest
        && !looked_for.iter().any(in_sight)
        && is_text()
        && !(encoding_line && names_encoding(script));
    fits.then_some(language)
}

/// One of the first two lines may say how the rest is encoded.
fn names_encoding(script: &[u8]) -> bool {
    let head = script.split(|byte| *byte == b'\n').take(2);
    head.into_iter().any(|line| line.windows(6).any(|word| word == b"coding"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rstest::rstest;

    use super::*;
    use crate::execution::testing::{CEILINGS, execution, file};

    fn fits(language: &str, script: &str, change: impl FnOnce(&mut Execution)) -> bool {
        let mut execution = execution(script);
        execution.language = Some(Language::find(language).unwrap());
        change(&mut execution);
        fitting(&execution).is_some()
    }

    #[rstest]
    #[case("sh")]
    #[case("bash")]
    #[case("python")]
    #[case("node")]
    fn a_plain_script_fits_and_what_the_interpreter_would_have_seen_does_not(
        #[case] language: &str,
    ) {
        let text = |text: &str| text.to_owned();
        let with_file = |name: &'static str| {
            move |execution: &mut Execution| execution.files = vec![file(name, "")]
        };
        assert!(fits(language, "x", |_| {}));
        assert!(fits(language, "x", with_file("data.txt")));
        assert!(!fits(language, "#!/bin/cat\n", |_| {}));
        assert!(!fits(language, "x\0", |_| {}));
        assert!(!fits(language, "x", |e| e.script = Bytes::from_static(b"\xff")));
        assert!(!fits(language, "x", |e| e.stdin = Some(Bytes::new())));
        assert!(!fits(language, "x", |e| e.args = vec![text("a").try_into().unwrap()]));
        assert!(!fits(language, "x", |e| {
            e.env = vec![(text("A").try_into().unwrap(), text("").try_into().unwrap())];
        }));
        assert!(!fits(language, &"x".repeat(oncebox_guest::PROGRAM_CAP + 1), |_| {}));
        assert_eq!(fits(language, "x", with_file("package.json")), language != "node");
        let encoded = fits(language, "\n# -*- coding: latin-1 -*-\n", |_| {});
        assert_eq!(encoded, language != "python");
    }

    #[test]
    fn a_script_without_a_language_is_the_shells() {
        assert_eq!(fitting(&execution("echo")).map(|language| language.name), Some("sh"));
        assert!(!fits("perl", "print 1", |_| {}));
    }

    #[test]
    fn a_need_has_the_requests_limits_and_its_like_the_usual_ones() {
        let image = Image {
            reference: "alpine".parse().unwrap(),
            digest: None,
            env: vec![("A".into(), "b".into())],
            layers: None,
        };
        let usual = CEILINGS.default;
        let limits = Limits { memory: 64 << 20, ..usual };
        let need = need(&execution("echo"), false, image.clone(), &limits, &usual).unwrap();
        assert_eq!((need.spec.memory, need.recipe.spec.memory), (64 << 20, usual.memory));
        let ahead = need.recipe.ahead.as_ref().unwrap();
        assert_eq!(ahead.order.entry, b"script.sh");
        assert!(ahead.order.env.contains(&b"A=b".to_vec()));
        assert_eq!(need.recipe, floor_recipe(image.clone(), &usual, false));
        let need = super::need(&execution("echo"), true, image.clone(), &limits, &usual).unwrap();
        assert_eq!(need.recipe.ahead, None);
        assert_eq!(need.recipe, floor_recipe(image, &usual, true));
    }
}
