//! What the tests of this module share.

#![allow(clippy::unwrap_used)]
#![cfg_attr(fuzzing, allow(dead_code))]

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::limits::{Ceilings, Limits};
use super::request::{AskedLimits, Execution, InputFile};

pub(crate) const CEILINGS: Ceilings = Ceilings {
    default: Limits {
        timeout: Duration::from_secs(30),
        memory: 256 << 20,
        cpu_millis: 500,
        pids: 64,
        tmp: 64 << 20,
        output: 1 << 20,
    },
    max: Limits {
        timeout: Duration::from_secs(60),
        memory: 1 << 30,
        cpu_millis: 2000,
        pids: 256,
        tmp: 256 << 20,
        output: 4 << 20,
    },
};

pub(crate) fn execution(script: &str) -> Execution {
    Execution {
        id: Uuid::now_v7(),
        script: Bytes::copy_from_slice(script.as_bytes()),
        stdin: None,
        image: None,
        pull_policy: None,
        language: None,
        args: Vec::new(),
        env: Vec::new(),
        forward_env: true,
        files: Vec::new(),
        outputs: Vec::new(),
        limits: AskedLimits::default(),
        runtime: None,
        resources: None,
    }
}

pub(crate) fn file(path: &str, content: &str) -> InputFile {
    InputFile {
        path: path.to_owned().try_into().unwrap(),
        content: Bytes::copy_from_slice(content.as_bytes()),
        executable: false,
    }
}
