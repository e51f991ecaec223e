use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::execution::request::Execution;
use crate::execution::store::kept::{pack_runtime, unpack_runtime};
use crate::execution::testing::{CEILINGS, execution};
use crate::execution::{Rejection, RejectionCode};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn pair(name: &str, value: &str) -> (EnvName, EnvValue) {
    (name.to_owned().try_into().unwrap(), value.to_owned().try_into().unwrap())
}

fn python() -> Runtime {
    Runtime {
        name: name("python"),
        display_name: Some("Python".into()),
        description: None,
        version: Some("3.13".into()),
        image: "python:3.13".parse().unwrap(),
        language: Language::find("python").ok(),
        env: vec![pair("A", "runtime"), pair("B", "runtime")],
        limits: AskedLimits { memory: Some(100 << 20), pids: Some(7), ..AskedLimits::default() },
        pool: 2,
    }
}

fn catalogue() -> Catalogue {
    let catalogue = Catalogue::default();
    let templates = built_in(&CEILINGS.max);
    catalogue.offer(Offered { runtimes: vec![python()], templates });
    catalogue
}

fn names(runtime: Option<&str>, resources: Option<&str>) -> Names {
    Names { runtime: runtime.map(Into::into), resources: resources.map(Into::into) }
}

fn resolved(execution: Execution, names: &Names) -> Execution {
    catalogue().resolve(names, execution).unwrap()
}

#[rstest]
#[case("python-scientific", true)]
#[case("3.13_x", true)]
#[case("a", true)]
#[case("", false)]
#[case("-a", false)]
#[case(".a", false)]
#[case("A", false)]
#[case("a/b", false)]
#[case("a b", false)]
fn a_name_is_plain(#[case] text: &str, #[case] is: bool) {
    assert_eq!(text.parse::<Name>().is_ok(), is);
}

#[test]
fn a_name_has_an_end() {
    assert!("x".repeat(MAX_NAME).parse::<Name>().is_ok());
    assert!("x".repeat(MAX_NAME + 1).parse::<Name>().is_err());
}

#[test]
fn what_the_request_says_stands_above_its_runtime() {
    let mut own = execution("print(1)");
    own.env = vec![pair("B", "request"), pair("C", "request")];
    own.language = Language::find("node").ok();
    let run = resolved(own, &names(Some("python"), None));
    assert_eq!(run.image, "python:3.13".parse().ok());
    assert_eq!(run.language.unwrap().name, "node");
    let env = [("A", "runtime"), ("B", "request"), ("C", "request")];
    assert_eq!(run.env, env.map(|(name, value)| pair(name, value)));
    let runtime = run.runtime.unwrap();
    assert_eq!((runtime.name.as_str(), runtime.chosen_by), ("python", ChosenBy::Operator));
    let plain = resolved(execution("print(1)"), &names(Some("python"), None));
    assert_eq!(plain.language.unwrap().name, "python");
}

#[test]
fn a_limit_is_the_requests_else_the_templates_else_the_runtimes_else_the_operators() {
    let mut own = execution("print(1)");
    own.limits.pids = Some(9);
    let run = resolved(own, &names(Some("python"), Some("small")));
    let runtime = run.runtime.as_ref().unwrap();
    let ceilings = CEILINGS.with_default(&runtime.limits);
    let limits = ceilings.hold(&run.asked_limits()).unwrap();
    assert_eq!((limits.pids, limits.memory, limits.cpu_millis), (9, 128 << 20, 250));
    let run = resolved(execution("print(1)"), &names(Some("python"), None));
    let limits = ceilings.hold(&run.asked_limits()).unwrap();
    assert_eq!((limits.pids, limits.memory, limits.cpu_millis), (7, 100 << 20, 500));
    assert_eq!(limits.timeout, CEILINGS.default.timeout);
}

#[rstest]
#[case(Some("ruby"), None, RejectionCode::UnknownRuntime, "runtime", "choose one of python")]
#[case(None, Some("huge"), RejectionCode::UnknownResources, "resources", "large, medium, small")]
#[case(Some("a\"b"), None, RejectionCode::UnknownRuntime, "runtime", "choose one of python")]
fn what_is_not_known_names_what_is(
    #[case] runtime: Option<&str>,
    #[case] resources: Option<&str>,
    #[case] code: RejectionCode,
    #[case] field: &str,
    #[case] told: &str,
) {
    let refused = catalogue().resolve(&names(runtime, resources), execution("x")).unwrap_err();
    assert_eq!((refused.code, refused.field), (code, field));
    assert!(refused.detail.contains(told), "{}", refused.detail);
}

#[test]
fn a_long_list_of_names_is_cut() {
    let catalogue = Catalogue::default();
    let one = |number: usize| Runtime { name: name(&format!("r{number}")), ..python() };
    let none = catalogue.resolve(&names(Some("x"), None), execution("x")).unwrap_err();
    assert!(none.detail.contains("there is none"), "{}", none.detail);
    let runtimes = (0..25).map(one).collect();
    catalogue.offer(Offered { runtimes, templates: BTreeMap::new() });
    let many = catalogue.resolve(&names(Some("x"), None), execution("x")).unwrap_err();
    assert!(many.detail.ends_with("and 5 more"), "{}", many.detail);
}

#[test]
fn the_file_stands_above_what_is_registered() {
    let catalogue = catalogue();
    catalogue.put(Runtime { pool: 0, ..python() });
    catalogue.put(Runtime { name: name("other"), ..python() });
    let now = catalogue.now();
    let shown: Vec<_> = now.runtimes().map(|(r, by)| (r.name.as_str(), r.pool, by)).collect();
    let expected = [("other", 2, ChosenBy::Request), ("python", 2, ChosenBy::Operator)];
    assert_eq!(shown, expected);
    catalogue.offer(Offered { runtimes: vec![], templates: BTreeMap::new() });
    assert_eq!(catalogue.now().find("python").unwrap().1, ChosenBy::Request);
    catalogue.take(&name("python"));
    assert!(catalogue.now().find("python").is_none());
}

#[test]
fn templates_are_within_the_ceilings() {
    let most = Limits { memory: 200 << 20, cpu_millis: 100, ..CEILINGS.max };
    for (_, limits) in built_in(&most) {
        assert!(
            crate::execution::limits::Ceilings { max: most, default: most }.hold(&limits).is_ok()
        );
    }
}

#[test]
fn a_runtime_that_is_kept_is_read_as_it_was() {
    let limits = AskedLimits {
        timeout: Some(Duration::from_millis(1500)),
        memory: Some(u64::MAX),
        cpu_millis: Some(1),
        pids: Some(2),
        tmp: Some(3),
        output: Some(0),
    };
    let description = Some("two\nlines".into());
    for runtime in [python(), Runtime { limits, description, env: vec![], pool: 0, ..python() }] {
        let packed = pack_runtime(&runtime).unwrap();
        assert_eq!(unpack_runtime(runtime.name.clone(), &packed).unwrap(), runtime);
    }
}

#[test]
fn there_is_room_for_so_many() {
    let room = Room { most: 10, others: 4 };
    assert!(room.hold(3, 3).is_ok());
    let Rejection { code, field, detail } = room.hold(4, 3).unwrap_err();
    assert_eq!((code, field), (RejectionCode::LimitExceeded, "pool"));
    assert!(detail.contains("more than the 3"), "{detail}");
    assert!(Room::default().hold(0, 0).is_ok());
    assert!(Room::default().hold(1, 0).unwrap_err().detail.contains("POOL_SIZE"));
}
