//! A stream of server-sent events, read one by one as they come.

use std::io::{BufRead, BufReader};

use reqwest::blocking::Response;
use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

/// The events of a response, the next one when it is there; comments are left out.
pub struct Events(BufReader<Response>);

impl Events {
    pub fn of(response: Response) -> Self {
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(BufReader::new(response))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (mut name, mut id, mut data) = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("a whole stream") == 0 {
                assert!(data.is_empty(), "the stream ends within an event: {data}");
                return None;
            }
            let line = line.trim_end_matches('\n');
            if line.is_empty() && !data.is_empty() {
                let data = serde_json::from_str(&data).expect("JSON");
                return Some(Event { name, id, data });
            }
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("id", value)) => id = value.to_owned(),
                Some(("data", value)) => data += value,
                _ => assert!(line.is_empty() || line.starts_with(':'), "no field: {line}"),
            }
        }
    }
}
