//! The list in Docker's form (the OCI runtime specification's `linux.seccomp`, with `names`).

use serde_json::{Value, json};

use super::{Allowed, Answered, Pattern, allowed, list};

/// The filter as the document that `SecurityOpt: ["seccomp=…"]` carries.
///
/// The newest call of the list is named with its own errno, so that runc's rule "newer than the
/// profile is `ENOSYS`" draws the line where the native filter draws it.
#[must_use]
pub fn docker_json() -> String {
    let unconditional: Vec<&str> =
        allowed().filter(|call| call.patterns.is_empty()).map(|call| call.name).collect();
    let mut rules = vec![json!({"names": unconditional, "action": "SCMP_ACT_ALLOW"})];
    rules.extend(allowed().flat_map(conditional));
    rules.extend(list::ANSWERED.iter().chain([&list::NEWEST]).map(answered));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [ARCHITECTURE],
        "syscalls": rules,
    })
    .to_string()
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

fn conditional(call: &'static Allowed) -> impl Iterator<Item = Value> {
    let allow = |pattern: &Pattern| json!({"names": [call.name], "action": "SCMP_ACT_ALLOW", "args": args(pattern)});
    let feign = |pattern: &Pattern| json!({"names": [call.name], "action": "SCMP_ACT_ERRNO", "errnoRet": 0, "args": args(pattern)});
    call.patterns.iter().map(allow).chain(call.feigned.iter().map(feign))
}

fn args(pattern: &Pattern) -> Vec<Value> {
    let args = pattern.iter().map(|argument| {
        json!({
            "index": argument.index,
            "value": argument.mask,
            "valueTwo": argument.value,
            "op": "SCMP_CMP_MASKED_EQ",
        })
    });
    args.collect()
}

fn answered(call: &Answered) -> Value {
    json!({"names": [call.name], "action": "SCMP_ACT_ERRNO", "errnoRet": call.errno})
}
