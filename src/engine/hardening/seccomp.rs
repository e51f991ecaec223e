//! The system calls a script may make: one list, for both engines.

/// The filter in Docker's JSON form, for `SecurityOpt: ["seccomp=…"]`.
#[must_use]
pub fn docker_json() -> String {
    String::new()
}
