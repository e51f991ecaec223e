//! What a service in a container needs.

use super::*;

/// Compose hands `${KEY:-}` on as an empty text.
#[test]
fn an_empty_variable_is_as_if_it_were_not_there() {
    let empty = |name: &str| {
        let known = KEYS.iter().any(|key| key.variable() == name);
        known.then(String::new).or_else(|| (name == "HOME").then(|| "/home/x".to_owned()))
    };
    let home = |name: &str| (name == "HOME").then(|| "/home/x".to_owned());
    let flags = Flags { file: Some("/dev/null".into()), ..Flags::default() };
    let shown = |settings: Result<Settings, _>| format!("{:?}", settings.expect("valid"));
    assert_eq!(
        shown(Settings::load(&flags, empty, &MACHINE)),
        shown(Settings::load(&flags, home, &MACHINE))
    );
    assert_eq!(
        load("", "MEMORY_LIMIT=", "memory_limit = '7m'").expect("valid").ceilings.default.memory,
        7 << 20
    );
    // Of a flag or the file nobody means that.
    assert!(load("port=", "", "").is_err() && load("", "", "port = ''").is_err());
}

#[test]
fn where_a_containers_port_is_published_counts_in_place_of_where_it_listens() {
    for safe in ["127.0.0.1", "127.0.0.2", "::1", "localhost"] {
        let settings = load("", &format!("HOST=0.0.0.0\nPUBLISHED_ON={safe}"), "").expect("valid");
        assert_eq!(settings.address.to_string(), "0.0.0.0:8080");
    }
    let published = "HOST=0.0.0.0\nPUBLISHED_ON=0.0.0.0";
    for (more, allowed) in
        [("ALLOW_ANONYMOUS=true", true), ("API_KEYS_FILE=/x", true), ("PUBLISHED_ON=", false)]
    {
        assert_eq!(load("", &format!("{published}\n{more}"), "").is_ok(), allowed, "{more}");
    }
}

/// What a container may use itself says nothing of the daemon's other containers.
#[test]
fn scripts_on_docker_may_use_all_the_machine_has() {
    let machine = Machine { cores: 1, processors: 16, memory: 1 << 40, ..MACHINE };
    let of = |engine: &str| {
        let variable = |name: &str| (name == "ENGINE").then(|| engine.to_owned());
        let flags = Flags { file: Some("/dev/null".into()), ..Flags::default() };
        let settings = Settings::load(&flags, variable, &machine).expect("valid");
        (settings.ceilings.max.cpu_millis, settings.admission.max_concurrent)
    };
    assert_eq!(of("native"), (1000, 4));
    let (cpu_millis, at_once) = of("docker");
    assert_eq!(cpu_millis, 16_000);
    assert!(at_once > 4, "{at_once}");
}

#[test]
fn a_service_is_asked_where_it_listens() {
    let asked = |environment: &str| {
        let pairs: BTreeMap<_, _> = environment.lines().filter_map(|l| l.split_once('=')).collect();
        let flags = Flags { file: Some("/dev/null".into()), ..Flags::default() };
        address_to_ask(&flags, |name| pairs.get(name).map(|value| (*value).to_owned()))
            .map(|address| address.to_string())
            .map_err(|e| e.to_string())
    };
    assert_eq!(asked(""), Ok("127.0.0.1:8080".into()));
    assert_eq!(asked("HOST=0.0.0.0\nPORT=9"), Ok("127.0.0.1:9".into()));
    assert_eq!(asked("HOST=::"), Ok("[::1]:8080".into()));
    assert_eq!(asked("HOST=192.0.2.7\nTIMEOUT=nonsense"), Ok("192.0.2.7:8080".into()));
    assert!(asked("PORT=0").expect_err("refused").contains("PORT"));
}

#[test]
fn forwarded_variables_leave_room_for_a_requests_own() {
    let of = |size: usize| {
        let value = "x".repeat(size);
        let environment = format!("FORWARD_ENV_KEYS=A,B,C\nA={value}\nB={value}\nC={value}");
        load("", &environment, "").map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(of(80_000), Ok(()));
    for size in [90_000, 200_000] {
        let told = of(size).expect_err("refused");
        assert!(told.len() < 400 && told.contains("FORWARD_ENV_KEYS"), "{}", told.len());
    }
}
