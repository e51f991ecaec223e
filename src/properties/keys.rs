//! The operator's file of API keys: keys that can be told apart, or a fault in one line that holds
//! no key.

use crate::api::access::file::{Key, parse};
use crate::api::access::token::may_hold_a_key;
use crate::execution::limits::FLOOR;

pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read = parse(text);
    match &read {
        Ok(keys) => keys.iter().enumerate().for_each(|(number, key)| sound(key, &keys[..number])),
        Err(fault) => {
            let said = fault.to_string();
            super::one_line(&said);
            assert!(said.len() < 1000, "{said}");
            assert!(!may_hold_a_key(&said), "{said}");
        }
    }
    assert_eq!(read, parse(text));
}

fn sound(key: &Key, before: &[Key]) {
    assert!((1..=64).contains(&key.name.len()) && key.name.bytes().all(|b| b.is_ascii_graphic()));
    assert!(!key.scopes.is_empty());
    assert!(before.iter().all(|other| other.name != key.name && other.hash != key.hash));
    let most = &key.allowance.most;
    assert!(most.timeout.is_none_or(|timeout| timeout >= FLOOR.timeout));
    assert!(most.memory.is_none_or(|memory| memory >= FLOOR.memory));
    assert!(most.pids.is_none_or(|pids| pids >= FLOOR.pids));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let needed = (
            "(name = \"[a-c .]{0,3}\")?",
            "(hash = \"sha256:(0{64}|[0-9a-f]{64}|[1-2]{64})\")?",
            "(scopes = \\[(\"(execute|images|admin)\",?){0,3}\\])?",
        );
        let more = prop_oneof![
            "rate = \"[0-9]{1,3}/(s|m|h|x)\"",
            "concurrency = (-?[0-9]{1,3}|\"[0-9]\"|1\\.5|true)",
            "max_(timeout|memory_limit|cpu_limit|pids_limit|tmp_size) = (\"[0-9]{1,3}[kmg]?\"|[0-9]{1,6})",
            "[a-z]{1,6} = (\"?obx_[A-Za-z0-9]{20}\"?|'\u{1b}')",
        ];
        let key = (needed, prop::collection::btree_set(more, 0..3)).prop_map(|(needed, more)| {
            let (name, hash, scopes) = needed;
            let more: Vec<_> = more.into_iter().collect();
            format!("[[keys]]\n{name}\n{hash}\n{scopes}\n{}\n", more.join("\n"))
        });
        let files = prop::collection::vec(key, 0..4).prop_map(|keys| keys.concat().into_bytes());
        twin::run("keys", 1000, files, super::check);
    }
}
