//! The request of `POST /execute` as a form: parts of the same names as the JSON fields.
//!
//! `args`, `env` (each `NAME=value`), `outputs` and `files` may come more than once. A part of
//! `files` bears its relative path as its file name; such a file is never executable, as a form
//! has no place to say so. `script` and `stdin` may hold any bytes.

use std::str::FromStr;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::error::PayloadError;
use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::body::Whole;
use super::code::Code;
use super::dto::{ExecuteRequest, RequestFile};
use super::fields::from_base64;
use super::problem::Problem;
use crate::execution::request::Invalid;

/// The body goes to the parser in pieces that fit its buffer.
const PIECE: usize = 16 * 1024;
/// More parts than any honest form has; each of them costs memory of its own.
const MAX_PARTS: usize = 4096;

/// Reads a whole form.
///
/// # Errors
/// 400 that names the part.
pub(super) async fn read(headers: &HeaderMap, body: Bytes) -> Result<ExecuteRequest, Problem> {
    let starts = (0..body.len()).step_by(PIECE);
    let pieces: Vec<Result<Bytes, PayloadError>> =
        starts.map(|at| Ok(body.slice(at..body.len().min(at + PIECE)))).collect();
    let mut form = Multipart::new(headers, stream::iter(pieces));
    let mut request = ExecuteRequest::default();
    let mut parts = 0;
    while let Some(part) = form.next().await {
        let mut part = part.map_err(broken)?;
        parts += 1;
        if parts > MAX_PARTS {
            return Err(not_a_form(format!("there are more than {MAX_PARTS} parts")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.content_disposition().and_then(|disposition| {
            disposition.get_filename().map(str::to_owned).or_else(|| {
                let extended = disposition.get_filename_ext()?;
                String::from_utf8(extended.value.clone()).ok()
            })
        });
        let content = whole(&mut part).await?;
        put(&mut request, &name, file_name, content)?;
    }
    Ok(request)
}

async fn whole(part: &mut Field) -> Result<Bytes, Problem> {
    let mut content = Whole::default();
    while let Some(piece) = part.next().await {
        content.push(piece.map_err(broken)?);
    }
    Ok(content.into_bytes())
}

fn put(
    request: &mut ExecuteRequest,
    name: &str,
    file_name: Option<String>,
    content: Bytes,
) -> Result<(), Problem> {
    match name {
        "script" => once(name, &mut request.script, content),
        "stdin" => once(name, &mut request.stdin, content),
        "script_base64" => {
            let script = from_base64(&content);
            let script = script.map_err(|rule| Problem::field(Code::InvalidRequest, name, rule))?;
            once(name, &mut request.script_base64, script)
        }
        "image" => once(name, &mut request.image, text(name, content)?),
        "pull_policy" => once(name, &mut request.pull_policy, text(name, content)?),
        "language" => once(name, &mut request.language, text(name, content)?),
        "timeout" => once(name, &mut request.timeout, value(name, content)?),
        "memory_limit" => once(name, &mut request.memory_limit, value(name, content)?),
        "cpu_limit" => once(name, &mut request.cpu_limit, value(name, content)?),
        "pids_limit" => {
            let text = text(name, content)?;
            let count = text.trim().parse().map_err(|_| {
                Problem::field(Code::InvalidRequest, name, "write a whole number of processes")
            })?;
            once(name, &mut request.pids_limit, count)
        }
        "tmp_size" => once(name, &mut request.tmp_size, value(name, content)?),
        "output_limit" => once(name, &mut request.output_limit, value(name, content)?),
        "retry_on_interrupt" => once(name, &mut request.retry_on_interrupt, choice(name, content)?),
        "forward_env" => once(name, &mut request.forward_env, choice(name, content)?),
        "webhook" => once(name, &mut request.webhook, text(name, content)?),
        "args" => {
            request.args.push(text(name, content)?);
            Ok(())
        }
        "outputs" => {
            request.outputs.push(text(name, content)?);
            Ok(())
        }
        "env" => {
            let pair = text(name, content)?;
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| Problem::field(Code::InvalidRequest, "env", "write NAME=value"))?;
            request.env.0.push((name.to_owned(), value.to_owned()));
            Ok(())
        }
        "files" => {
            let path = file_name.ok_or_else(|| {
                let detail = "the part needs a file name: the path inside the container";
                Problem::field(
                    Code::MissingField,
                    format!("files[{}].path", request.files.len()),
                    detail,
                )
            })?;
            let content = Some(content);
            request.files.push(RequestFile { path, content, ..RequestFile::default() });
            Ok(())
        }
        _ => {
            let detail = format!("unknown part {name:?}; parts are named like the JSON fields");
            Err(Problem::field(Code::UnknownField, name, detail))
        }
    }
}

fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), Problem> {
    if slot.replace(value).is_some() {
        return Err(Problem::field(Code::ConflictingFields, name, "this part is given twice"));
    }
    Ok(())
}

fn text(name: &str, content: Bytes) -> Result<String, Problem> {
    String::from_utf8(content.into())
        .map_err(|_| Problem::field(Code::InvalidRequest, name, "this part must be UTF-8 text"))
}

fn choice(name: &str, content: Bytes) -> Result<bool, Problem> {
    let text = text(name, content)?;
    let choice = text.trim().parse();
    choice.map_err(|_| Problem::field(Code::InvalidRequest, name, "write true or false"))
}

fn value<T: FromStr<Err = Invalid>>(name: &str, content: Bytes) -> Result<T, Problem> {
    let text = text(name, content)?;
    text.trim()
        .parse()
        .map_err(|e: Invalid| Problem::field(Code::InvalidRequest, name, e.to_string()))
}

fn broken(error: MultipartError) -> Problem {
    not_a_form(match error {
        MultipartError::Incomplete => "it breaks off".to_owned(),
        MultipartError::Parse(_) => "the headers of a part cannot be read".to_owned(),
        other => other.to_string(),
    })
}

fn not_a_form(reason: String) -> Problem {
    let detail = format!("the body is not a multipart form: {reason}");
    Problem::new(Code::InvalidForm, detail)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{CONTENT_TYPE, HeaderValue};

    use super::*;

    async fn check(body: Vec<u8>) -> Result<ExecuteRequest, Problem> {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("multipart/form-data; boundary=xx");
        headers.insert(CONTENT_TYPE, form);
        read(&headers, body.into()).await
    }

    fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
        let head = format!("--xx\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    }

    fn form(parts: &[Vec<u8>]) -> Vec<u8> {
        [parts.concat(), b"--xx--\r\n".to_vec()].concat()
    }

    #[actix_web::test]
    async fn every_part_finds_its_field() {
        let any: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        let request = check(form(&[
            part("name=\"script\"; filename=\"x.sh\"", &any),
            part("name=\"stdin\"", b"\xff"),
            part("name=\"args\"", b"one"),
            part("name=\"args\"", b"two"),
            part("name=\"env\"", b"A=b=c"),
            part("name=\"outputs\"", b"*.txt"),
            part("name=\"pull_policy\"", b"never"),
            part("name=\"files\"; filename=\"dir/a.txt\"", b"content"),
            part("name=\"timeout\"", b"2.5"),
            part("name=\"pids_limit\"", b"7"),
            part("name=\"forward_env\"", b"false"),
        ]))
        .await
        .expect("a form");
        assert_eq!(request.script.as_deref(), Some(&*any));
        assert_eq!(request.stdin.as_deref(), Some(&b"\xff"[..]));
        assert_eq!(request.args, ["one", "two"]);
        assert_eq!(request.env.0, [("A".into(), "b=c".into())]);
        assert_eq!(request.outputs, ["*.txt"]);
        assert_eq!(request.pull_policy.as_deref(), Some("never"));
        assert_eq!(request.files[0].path, "dir/a.txt");
        assert_eq!(request.files[0].content.as_deref(), Some(&b"content"[..]));
        assert_eq!(request.timeout, "2.5".parse().ok());
        assert_eq!(request.pids_limit, Some(7));
        assert_eq!(request.forward_env, Some(false));
    }

    #[actix_web::test]
    async fn what_is_wrong_is_named() {
        let cases = [
            (form(&[part("name=\"bogus\"", b"1")]), "unknown_field", Some("bogus")),
            (form(&[part("name=\"env\"", b"A")]), "invalid_request", Some("env")),
            (form(&[part("name=\"image\"", b"\xff")]), "invalid_request", Some("image")),
            (form(&[part("name=\"timeout\"", b"soon")]), "invalid_request", Some("timeout")),
            (form(&[part("name=\"forward_env\"", b"no")]), "invalid_request", Some("forward_env")),
            (form(&[part("name=\"files\"", b"")]), "missing_field", Some("files[0].path")),
            (
                form(&[part("name=\"script\"", b"a"), part("name=\"script\"", b"b")]),
                "conflicting_fields",
                Some("script"),
            ),
            (part("name=\"script\"", b"a"), "invalid_form", None),
            (b"nonsense".to_vec(), "invalid_form", None),
            (form(&vec![part("name=\"args\"", b""); MAX_PARTS + 1]), "invalid_form", None),
        ];
        for (body, code, field) in cases {
            let problem = check(body).await.expect_err("refused");
            assert_eq!((problem.code.name(), problem.field.as_deref()), (code, field), "{problem}");
        }
    }
}
