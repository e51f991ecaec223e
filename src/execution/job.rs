//! From a valid request to what the guest is told.

use std::collections::BTreeMap;

use oncebox_guest::wire;

use super::forward::Forwarded;
use super::language::how_to_run;
use super::limits::Limits;
use super::request::{EnvName, EnvValue, Execution};
use super::text::MAX_STRING;
use crate::engine::{Job, JobFile};
use crate::registry::{Image, ImageError};

/// One result file, at most; a larger one is skipped.
pub(super) const RESULT_FILE_CAP: u64 = 16 << 20;
/// Result files, at most.
pub(super) const RESULT_FILES: u32 = 100;
/// All result files together, at most; also never more than `/tmp` holds.
pub(super) const RESULT_FILES_CAP: u64 = 64 << 20;

/// Bytes of environment an image may bring along, so that there is room for the request's.
const IMAGE_ENV_CAP: usize = 256 * 1024;

/// The environment of every script, before the image's and the request's own. `PATH` is Docker's.
const ENV: &[(&str, &str)] = &[
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/tmp"),
    ("LANG", "C.UTF-8"),
];

/// The job for one container.
///
/// # Errors
/// `Unsupported` for an image whose own environment no program could be started with.
pub(super) fn compose(
    execution: &Execution,
    forwarded: &[Forwarded],
    image: &Image,
    limits: &Limits,
) -> Result<Job, ImageError> {
    let how = how_to_run(&execution.script, execution.language, &execution.args);
    let entry = JobFile {
        path: how.entry.into(),
        content: execution.script.clone(),
        executable: how.executable,
    };
    let files = execution.files.iter().map(|file| JobFile {
        path: file.path.as_str().into(),
        content: file.content.clone(),
        executable: file.executable,
    });
    Ok(Job {
        head: wire::Job {
            argvs: how.argvs,
            env: environment(&execution.env, forwarded, image)?,
            output_cap: limits.output,
            outputs: execution.outputs.iter().map(|p| p.as_str().as_bytes().to_vec()).collect(),
            file_cap: RESULT_FILE_CAP,
            files_cap: RESULT_FILES_CAP.min(limits.tmp),
            files_count: RESULT_FILES,
            // The container sets it, from the timeout.
            timer_ms: 0,
            // The executor sets it, when it has a container.
            prestarted: false,
        },
        files: [entry].into_iter().chain(files).collect(),
        stdin: execution.stdin.clone(),
        timeout: limits.timeout,
    })
}

/// Ours, then the image's, then the service's, then the request's: the later wins.
pub(super) fn environment(
    of_request: &[(EnvName, EnvValue)],
    forwarded: &[Forwarded],
    image: &Image,
) -> Result<Vec<Vec<u8>>, ImageError> {
    let sizes = || image.env.iter().map(|(name, value)| name.len() + value.len() + 2);
    if sizes().sum::<usize>() > IMAGE_ENV_CAP || sizes().any(|size| size > MAX_STRING) {
        return Err(ImageError::unsupported(&image.reference, "its environment is too large"));
    }
    let of_image = image.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let of_request = of_request.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let forwarded = forwarded.iter().map(Forwarded::pair);
    let merged: BTreeMap<_, _> =
        ENV.iter().copied().chain(of_image).chain(forwarded).chain(of_request).collect();
    Ok(merged.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::testing::{CEILINGS, execution, file};
    use crate::registry::ImageErrorKind;

    fn image(env: &[(&str, &str)]) -> Image {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Image { reference: "alpine".parse().unwrap(), digest: None, env, layers: None }
    }

    #[test]
    fn the_request_wins_over_the_service_and_that_over_the_image_and_that_over_the_defaults() {
        let mut request = execution("echo");
        let pair = |name: &str, value: &str| {
            (name.to_owned().try_into().unwrap(), value.to_owned().try_into().unwrap())
        };
        request.env = vec![pair("B", "request"), pair("HOME", "/tmp/work")];
        let image = image(&[("A", "image"), ("B", "image"), ("C", "image"), ("LANG", "C")]);
        let forwarded = ["B", "C", "D"].map(|name| {
            let (name, value) = pair(name, "service");
            Forwarded::new(name, value)
        });
        let job = compose(&request, &forwarded, &image, &CEILINGS.default).unwrap();
        let env: Vec<_> =
            job.head.env.into_iter().map(|pair| String::from_utf8(pair).unwrap()).collect();
        assert_eq!(
            env,
            [
                "A=image",
                "B=request",
                "C=service",
                "D=service",
                "HOME=/tmp/work",
                "LANG=C",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            ]
        );
    }

    #[test]
    fn the_script_comes_first_and_the_caps_are_set() {
        let mut request = execution("#!/bin/sh\necho");
        request.files = vec![file("a/b", "x")];
        let limits = Limits { tmp: 1 << 20, output: 77, ..CEILINGS.default };
        let job = compose(&request, &[], &image(&[]), &limits).unwrap();
        let files: Vec<_> =
            job.files.iter().map(|file| (file.path.as_str(), file.executable)).collect();
        assert_eq!(files, [("script", true), ("a/b", false)]);
        assert_eq!((job.head.output_cap, job.head.files_cap), (77, 1 << 20));
        assert_eq!(job.timeout, limits.timeout);
    }

    #[test]
    fn an_image_with_a_huge_environment_is_refused() {
        let huge = "x".repeat(MAX_STRING);
        let refused = compose(&execution("echo"), &[], &image(&[("A", &huge)]), &CEILINGS.default);
        assert_eq!(refused.unwrap_err().kind, ImageErrorKind::Unsupported);
    }
}
