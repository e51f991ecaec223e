use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rstest::rstest;

use super::*;

/// A blob that takes several pieces to read.
fn bytes() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn of(bytes: &[u8]) -> Descriptor {
    Descriptor { media_type: String::new(), digest: sha256(bytes), size: bytes.len() as u64 }
}

async fn read(fake: &Fake, descriptor: &Descriptor) -> Result<Vec<u8>, (usize, ImageError)> {
    let mut all = Vec::new();
    let opened = fake.client().blob(&fake.reference(), descriptor).await;
    let mut blob = opened.map_err(|error| (0, error))?;
    loop {
        match blob.next().await {
            Ok(Some(piece)) => all.extend_from_slice(&piece),
            Ok(None) => return Ok(all),
            Err(error) => {
                assert!(blob.next().await.is_err(), "what has failed stays so");
                return Err((all.len(), error));
            }
        }
    }
}

/// The part of the blob that a request wants.
fn rest(asked: &Asked, bytes: &[u8]) -> Reply {
    let Some(from) = asked.header("range").strip_prefix("bytes=") else {
        return reply(200, bytes);
    };
    let from: usize = from.strip_suffix('-').unwrap().parse().unwrap();
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    reply(206, &bytes[from..]).with("Content-Range", range)
}

/// Sends no more than so many bytes of what it declares.
fn cut(mut reply: Reply, most: usize) -> Reply {
    let length = reply.body.len();
    reply.body.truncate(most);
    reply.declaring(Some(length))
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(300_000)]
#[tokio::test]
async fn a_blob_is_read_whole(#[case] length: usize) {
    let body = bytes()[..length].to_vec();
    let descriptor = of(&body);
    let (sent, chunked) = (body.clone(), body.clone());
    let fake = Fake::new(move |_, _| reply(200, sent.clone())).await;
    assert_eq!(read(&fake, &descriptor).await.unwrap(), body);
    assert_eq!(fake.asked()[0].path, format!("/v2/team/app/blobs/{}", descriptor.digest));
    let fake = Fake::new(move |_, _| reply(200, chunked.clone()).declaring(None)).await;
    assert_eq!(read(&fake, &descriptor).await.unwrap(), body);
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let fake = Fake::new(|asked, _| cut(rest(asked, &bytes()), 80_000)).await;
    assert_eq!(read(&fake, &of(&bytes())).await.unwrap(), bytes());
    let ranges: Vec<_> =
        fake.asked().iter().map(|asked| asked.header("range").to_owned()).collect();
    assert_eq!(ranges, ["", "bytes=80000-", "bytes=160000-", "bytes=240000-"]);
}

#[tokio::test]
async fn a_stall_is_taken_up_as_well() {
    let fake = Fake::new(|asked, _| match asked.header("range") {
        "" => cut(rest(asked, &bytes()), 80_000).ending(End::Silence),
        _ => rest(asked, &bytes()),
    })
    .await;
    assert_eq!(read(&fake, &of(&bytes())).await.unwrap(), bytes());
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn it_is_not_taken_up_for_ever() {
    let fake = Fake::new(|asked, _| cut(rest(asked, &bytes()), 100)).await;
    let (came, error) = read(&fake, &of(&bytes())).await.unwrap_err();
    assert!(error.kind == ImageErrorKind::Unavailable && error.passing, "{error}");
    assert_eq!((came, fake.asked().len()), (600, 6));
}

#[tokio::test]
async fn it_is_not_taken_up_when_nothing_came() {
    let fake = Fake::new(|asked, _| cut(rest(asked, &bytes()), 0)).await;
    let (came, error) = read(&fake, &of(&bytes())).await.unwrap_err();
    assert!(error.kind == ImageErrorKind::Unavailable && error.passing, "{error}");
    assert_eq!((came, fake.asked().len()), (0, 1));
}

#[rstest]
#[case(End::Silence)]
#[case(End::Drip)]
#[tokio::test]
async fn a_trickle_is_a_stall(#[case] end: End) {
    let fake = Fake::new(move |asked, _| cut(rest(asked, &bytes()), 10).ending(end)).await;
    let (_, error) = read(&fake, &of(&bytes())).await.unwrap_err();
    assert!(error.kind == ImageErrorKind::Timeout && error.passing, "{error}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn only_the_very_rest_is_taken() {
    let wrong: [fn(&[u8]) -> Reply; 5] = [
        |bytes| reply(200, bytes),
        |bytes| reply(206, &bytes[80_000..]),
        |bytes| reply(206, bytes).with("Content-Range", "bytes 0-299999/300000"),
        |bytes| reply(206, &bytes[80_000..]).with("Content-Range", "bytes 80000-299999/400000"),
        |_| reply(416, ""),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        let fake = Fake::new(move |asked, _| match asked.header("range") {
            "" => cut(rest(asked, &bytes()), 80_000),
            _ => wrong(&bytes()),
        })
        .await;
        let (came, error) = read(&fake, &of(&bytes())).await.unwrap_err();
        assert_eq!((came, fake.asked().len()), (80_000, 2), "{number}");
        assert!(error.kind == ImageErrorKind::Unavailable && error.passing, "{number}: {error}");
        assert!(error.detail.contains("does not continue"), "{number}: {error}");
    }
}

#[rstest]
#[case::flipped(|mut bytes: Vec<u8>| { bytes[150_000] ^= 1; bytes })]
#[case::flipped_last(|mut bytes: Vec<u8>| { bytes[299_999] ^= 1; bytes })]
#[case::short(|mut bytes: Vec<u8>| { bytes.truncate(299_999); bytes })]
#[case::long(|mut bytes: Vec<u8>| { bytes.push(0); bytes })]
#[case::empty(|_: Vec<u8>| Vec::new())]
#[tokio::test]
async fn what_is_not_its_digest_never_ends_well(#[case] change: fn(Vec<u8>) -> Vec<u8>) {
    for declared in [true, false] {
        let fake = Fake::new(move |_, _| {
            let answer = reply(200, change(bytes()));
            if declared { answer } else { answer.declaring(None) }
        })
        .await;
        let (came, error) = read(&fake, &of(&bytes())).await.unwrap_err();
        assert!(error.kind == ImageErrorKind::Corrupt && error.passing, "{error}");
        // The last piece is not handed out.
        assert!(came < 300_000, "{came}");
        assert_eq!(fake.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_blob_without_end_is_stopped() {
    let fake = Fake::new(|_, _| reply(200, vec![0; 8 << 20]).declaring(None)).await;
    let (came, error) = read(&fake, &of(&bytes())).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Corrupt);
    assert!(came < 300_000, "{came}");
}

#[tokio::test]
async fn a_token_may_expire_while_a_blob_is_read() {
    let given = AtomicUsize::new(0);
    let fake = Fake::new(move |asked, own| {
        if asked.path.starts_with("/token") {
            let token = format!("t{}", given.fetch_add(1, SeqCst));
            return reply(200, json!({"access_token": token, "expires_in": 300}).to_string());
        }
        // The first token is good for the first part only.
        match (asked.header("authorization"), asked.header("range")) {
            ("Bearer t0", "") => cut(rest(asked, &bytes()), 80_000),
            ("Bearer t1", _) => rest(asked, &bytes()),
            _ => reply(401, "")
                .with("WWW-Authenticate", format!(r#"Bearer realm="http://{own}/token""#)),
        }
    })
    .await;
    assert_eq!(read(&fake, &of(&bytes())).await.unwrap(), bytes());
    assert_eq!(fake.asked().len(), 6);
}

#[tokio::test]
async fn a_blob_that_is_missing_is_not_found() {
    let fake = Fake::new(|_, _| reply(404, r#"{"errors": [{"code": "BLOB_UNKNOWN"}]}"#)).await;
    let (_, error) = read(&fake, &of(b"x")).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NotFound);
    assert_eq!(error.cause, "status 404, BLOB_UNKNOWN");
}
