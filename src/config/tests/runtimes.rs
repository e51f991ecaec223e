use super::*;

/// A file of runtimes that is read from the environment, and what comes of it.
fn with_runtimes(environment: &str, runtimes: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runtimes.toml");
    fs::write(&path, runtimes).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let loaded = load("", &format!("RUNTIMES_FILE={path}\n{environment}"), "");
    loaded.map_err(|e| e.to_string().replace(path, "FILE"))
}

#[test]
fn what_waits_for_runtimes_counts_among_all_that_waits() {
    let runtimes = "[[runtimes]]\nname = \"a\"\nimage = \"own.example/a\"\npool = 3";
    let settings = with_runtimes("POOL_SIZE=0\nCUSTOM_POOLS=b=4", runtimes).expect("valid");
    let Pools { runtimes: waiting, room, budget, .. } = settings.pools;
    assert_eq!((waiting, room.others), (3, 4));
    // As many as fit into a quarter of the memory, 16 MiB each.
    assert_eq!((room.most, budget.is_some()), (128, true));
    // The operator's own images may come from anywhere, as those that wait do.
    let named: Vec<_> = settings.images.policy.named.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["own.example/a:latest", "b:latest"]);
    let alone = with_runtimes("POOL_SIZE=0", runtimes).expect("valid");
    assert!(alone.pools.budget.is_some());
    let none = load("", "POOL_SIZE=0", "").expect("valid");
    assert_eq!((none.pools.budget, none.pools.room.most), (None, 0));
}

#[test]
fn a_file_of_runtimes_is_refused_by_its_name() {
    let runtime = |more: &str| format!("[[runtimes]]\nname = \"a\"\nimage = \"b\"\n{more}");
    let said = with_runtimes("", &runtime("timeout = 301")).expect_err("refused");
    assert_eq!(
        said,
        "RUNTIMES_FILE is \"FILE\" (from the environment): runtime 1 (a): timeout: 301 s is more \
         than the ceiling of 300 s, MAX_TIMEOUT"
    );
    let said = with_runtimes("", &runtime("pool = 100000")).expect_err("refused");
    assert!(said.contains("RUNTIMES_FILE") && said.contains("containers can wait"), "{said}");
    let large = "[resources.large]\nmemory_limit = \"2g\"";
    let said = with_runtimes("", large).expect_err("refused");
    assert!(said.contains("resources.large: memory_limit: 2 GiB is more"), "{said}");
}

#[test]
fn the_shipped_runtimes_are_valid() {
    let settings = with_runtimes("", include_str!("../../../custom-images/runtimes.toml"));
    let names = settings.expect("valid").runtimes.offered.runtimes;
    let names: Vec<_> = names.iter().map(|runtime| runtime.name.as_str()).collect();
    assert_eq!(names, ["python-scientific", "nodejs", "multi-language"]);
}
