//! `oncebox healthcheck`: asks the service beside it how it is, for a container's HEALTHCHECK. It
//! runs every few seconds, so it opens nothing but one connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{Flags, address_to_ask, seconds};

/// The most that is read of an answer.
const MOST: u64 = 64 * 1024;

pub(super) fn command() -> Command {
    let timeout = |text: &str| match seconds(text) {
        Ok(time) if time.is_zero() => Err("write a time above 0".to_owned()),
        read => read,
    };
    Command::new("healthcheck")
        .about("Ask the service at HOST and PORT how it is; exit code 0 when it is well")
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(ArgAction::SetTrue)
                .help("Ask whether it is ready, not only whether it lives"),
        )
        // Here it is not a script's.
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .default_value("3")
                .value_parser(timeout)
                .help("For the whole answer"),
        )
}

pub(super) fn run(flags: &Flags, matches: &ArgMatches) -> ExitCode {
    let path = if matches.get_flag("ready") { "/ready" } else { "/health" };
    let timeout = matches.get_one("timeout").copied().unwrap_or(Duration::from_secs(3));
    let asked = address_to_ask(flags, |name| std::env::var(name).ok())
        .map_err(|e| e.to_string())
        .and_then(|address| ask(address, path, timeout));
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("oncebox: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Nothing, where the answer is 200 and came in time.
fn ask(address: SocketAddr, path: &str, timeout: Duration) -> Result<(), String> {
    let failed = |e: io::Error| match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("http://{address}{path} did not answer within {} s", timeout.as_secs_f64())
        }
        _ => format!("http://{address}{path} does not answer: {e}"),
    };
    let answer = exchange(address, path, Instant::now() + timeout).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)) {
        Some("200") => Ok(()),
        Some(status) => Err(format!("http://{address}{path} answered {status}{}", said(&answer))),
        None => Err(format!("what answers at http://{address}{path} does not speak HTTP")),
    }
}

/// The service's own sentence, where the answer has one.
fn said(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let document = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    let detail = document["detail"].as_str().map(crate::telemetry::clean);
    detail.map_or_else(String::new, |detail| format!(": {detail}"))
}

fn exchange(address: SocketAddr, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    // Zero would be no deadline at all.
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while (answer.len() as u64) < MOST {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    /// What is said of a service that answers this, a byte at a time, and then stays silent.
    fn check(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let silent = answer.is_empty() || answer.ends_with('…');
            for byte in answer.trim_end_matches('…').bytes() {
                stream.write_all(&[byte]).unwrap();
            }
            if silent {
                let _ = stream.read_to_end(&mut Vec::new());
            } else {
                let _ = stream.read(&mut [0; 1024]);
            }
        });
        let asked = ask(address, "/health", SHORT);
        server.join().unwrap();
        asked.map_err(|why| why.replace(&address.to_string(), "ADDRESS"))
    }

    #[test]
    fn only_a_whole_200_in_time_is_well() {
        assert_eq!(check("HTTP/1.1 200 OK\r\n\r\n{}"), Ok(()));
        let problem = "HTTP/1.1 503 x\r\na: b\r\n\r\n{\"detail\":\"still\\nfilling\"}";
        let told = check(problem).unwrap_err();
        assert!(told.starts_with("http://ADDRESS/health answered 503: still"), "{told}");
        assert!(!told.contains('\n'), "{told}");
        assert_eq!(
            check("HTTP/1.1 401 x\r\n\r\n").unwrap_err(),
            "http://ADDRESS/health answered 401"
        );
        for silent in ["", "HTTP/1.1 200 OK\r\n…"] {
            let told = check(silent).unwrap_err();
            assert_eq!(told, "http://ADDRESS/health did not answer within 0.2 s");
        }
        assert!(check("SSH-2.0-x\r\n").unwrap_err().contains("does not speak HTTP"));
    }

    #[test]
    fn nobody_there_is_not_well() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ask(address, "/health", SHORT).unwrap_err().contains("does not answer: "));
    }
}
