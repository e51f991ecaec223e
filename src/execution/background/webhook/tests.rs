use super::deliver::again;
use super::*;

fn webhooks(hosts: &[&str]) -> Webhooks {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
    Webhooks::new(WebhookOptions { hosts, secret }).unwrap()
}

#[test]
fn only_listed_hosts_are_told() {
    let webhooks = webhooks(&["example.org", "*.example.com"]);
    let allow = |url: &str| webhooks.allow(url);
    assert_eq!(allow("https://Example.org/a?b#c").as_deref(), Ok("https://example.org/a?b"));
    assert!(allow("https://a.example.com/").is_ok());
    for other in ["https://example.net/", "http://example.org/", "https://127.0.0.1/"] {
        assert_eq!(allow(other), Err(NoWebhook::NotListed), "{other}");
    }
    let long = format!("https://example.org/{}", "x".repeat(MAX_URL));
    for wrong in [
        "",
        "example.org",
        "/hook",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://me@example.org/",
        "https://me:secret@example.org/",
        "https://",
        &long,
    ] {
        assert_eq!(allow(wrong), Err(NoWebhook::Invalid), "{wrong}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let host = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let why =
        webhooks(&[&host]).send(&format!("{host}/"), Uuid::nil(), None, vec![]).await.unwrap_err();
    assert!(why.contains("no public address"), "{why}");
    assert!(listener.accept().is_err(), "nobody came");
}

#[test]
fn tries_come_ever_later_and_end_after_an_hour() {
    let (mut now, mut tries) = (1_000_000, 0);
    let ended = now;
    let mut pauses = Vec::new();
    loop {
        tries += 1;
        let Some(due) = again(ended, tries, now) else { break };
        pauses.push(due - now);
        now = due;
    }
    assert!((500..=1000).contains(&pauses[0]), "{pauses:?}");
    assert!((4500..=9000).contains(&pauses[2]), "{pauses:?}");
    assert!((8..=13).contains(&tries), "{tries}: {pauses:?}");
    assert!(now - ended < 3_600_000);
    assert!(again(0, u32::MAX, u64::MAX).is_none());
}
