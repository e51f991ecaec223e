//! What a script is given itself: its environment, its user, its descriptors (I01, I14, I15).

use serde_json::{Value, json};

use super::beside;
use crate::stage::Stage;
use crate::support::service::CANARY;
use crate::support::{Engine, host};

/// Where programs are looked up, unless an image says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks for the canaries in all of its own memory, where the kernel put the environment and where
/// anything of PID 1's would still be; then for one that it has made itself. The canaries do not
/// stand in the script as such.
const SEARCH: &str = "
import os, re
wanted = re.compile(os.environ['WANTED'].encode())
def search():
    found = 0
    with open('/proc/self/mem', 'rb', 0) as memory:
        for line in open('/proc/self/maps'):
            addresses, rights = line.split()[:2]
            start, end = (int(address, 16) for address in addresses.split('-'))
            try:
                memory.seek(start)
                found += bool(wanted.search(memory.read(end - start)))
            except (OSError, OverflowError, ValueError):
                pass
    return found
print(search())
planted = os.environ['WANTED'].replace('[', '').replace(']', '').split('|')[0]
print(search() > 0)
";

fn i01_the_environment_is_the_documented_one(engine: Engine) {
    let settings = [("CORS_ORIGINS", "https://canary-of-the-settings.example")];
    let stage = Stage::with(engine, &settings);
    let expected = format!("ASKED=for\nHOME=/tmp\nLANG=C.UTF-8\nPATH={PATH}\n");
    for (language, script) in [
        ("sh", "tr '\\0' '\\n' </proc/$$/environ | sort"),
        (
            "python",
            "print(*sorted(open('/proc/self/environ').read().split('\\0')[:-1]), sep='\\n')",
        ),
        (
            "node",
            "for (const name of Object.keys(process.env).sort()) console.log(name + '=' + process.env[name])",
        ),
    ] {
        let request = json!({"script": script, "language": language, "env": {"ASKED": "for"}});
        assert_eq!(stage.attack(&request).text(), expected, "{language}");
    }
    let (head, last) = CANARY.split_at(CANARY.len() - 1);
    let wanted = format!("{head}[{last}]|canary-of-the-setting[s]");
    let request = json!({"script": SEARCH, "language": "python", "env": {"WANTED": wanted}});
    let answer = stage.attack(&request);
    assert_eq!(answer.text(), "0\nTrue\n", "{}", answer.0);
}

/// The user of scripts, and neither root nor any further group of the machine's.
fn i14_a_script_is_nobody_in_particular(engine: Engine) {
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        beside(service, &json!({}), |pid| {
            let guest = host::status(pid, "PPid").expect("a parent").parse().expect("a pid");
            for process in [pid, guest] {
                for ids in ["Uid", "Gid"] {
                    let ids = host::status(process, ids).expect("a living process");
                    let ids: Vec<u32> =
                        ids.split_whitespace().map(|id| id.parse().expect("an id")).collect();
                    assert!(ids[0] >= 1000 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
                }
                // Docker 20.10 names the process's own group once more.
                let groups = host::status(process, "Groups").expect("a living process");
                let own = host::status(process, "Gid").expect("a living process");
                let more: Vec<_> =
                    groups.split_whitespace().filter(|group| !own.contains(group)).collect();
                assert!(more.is_empty(), "{groups}");
            }
        });
    });
    let script = "
import os, subprocess
ids = {*os.getresuid(), *os.getresgid()}
print(len(ids), 0 in ids, set(os.getgroups()) - ids)
for name in 'uid', 'gid':
    # Inside, outside, how many.
    maps = [[int(n) for n in line.split()] for line in open(f'/proc/self/{name}_map')]
    print([m for m in maps if m[1] == 0 and m[2] < 2**32 - 1])
print(subprocess.check_output(['id', '-u'], text=True))
";
    let told = stage.python(script);
    let own = told.strip_prefix("1 False set()\n[]\n[]\n").unwrap_or_else(|| panic!("{told}"));
    assert!(own.trim().parse::<u32>().expect("an id") >= 1000, "{own}");
}

/// Three descriptors, with an interpreter that was started ahead as with one that was started now.
fn i15_three_descriptors_are_open(engine: Engine) {
    let listing = "ls /proc/self/fd | tr '\\n' ' '";
    let python = "
import os
held = []
for fd in range(1024):
    try:
        os.fstat(fd)
        held.append(fd)
    except OSError:
        pass
print(held, os.readlink('/proc/self/fd/0').split(':')[0], os.readlink('/proc/self/fd/1').split(':')[0])
";
    let requests: [(Value, &str); 4] = [
        (json!({"script": listing}), "0 1 2 3 "),
        (json!({"script": listing, "stdin": "x"}), "0 1 2 3 "),
        (json!({"script": python, "language": "python"}), "[0, 1, 2] /dev/null pipe\n"),
        (
            json!({"script": "exec python3 -c \"$CODE\"", "env": {"CODE": python}}),
            "[0, 1, 2] /dev/null pipe\n",
        ),
    ];
    let stage = Stage::get(engine);
    for (request, expected) in &requests {
        let answer = stage.attack(request);
        assert_eq!(answer.text(), *expected, "{request}: {}", answer.0);
    }
    drop(stage);
    // What waits ahead comes and goes, so that what is clean shows when the service ends.
    let stage = Stage::with(engine, &[("POOL_SIZE", "2")]);
    for (request, expected) in requests.iter().cycle().take(8) {
        let answer = stage.service().run(request);
        assert_eq!(answer.text(), *expected, "{request}: {}", answer.0);
    }
}

on_both_engines! {
    together: i01_the_environment_is_the_documented_one, i14_a_script_is_nobody_in_particular,
        i15_three_descriptors_are_open
}
