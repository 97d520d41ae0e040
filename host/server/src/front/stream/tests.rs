//! The connection by itself, over a pair of pipes and with paused time.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const REFUSED: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
    content-length: 0\r\ndate: Sat, 28 Nov 2026 22:00:00 GMT\r\n\r\n";

fn pair(size: usize) -> (Stream<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(size);
    (Stream::new(server, Arc::new(Telemetry::new(false))), client)
}

#[tokio::test]
async fn a_refusal_without_a_body_gets_one_also_through_a_narrow_pipe() {
    let (mut server, mut client) = pair(7);
    let reading = tokio::spawn(async move {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    });
    server.write_all(REFUSED).await.unwrap();
    server.unread.set(false);
    server.shutdown().await.unwrap();
    drop(server);
    let answer = reading.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert_eq!(head.matches("connection: close").count(), 1, "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["code"], "headers_too_large");
}

#[test]
fn an_answer_of_our_own_is_left_as_it_is() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nmore",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1",
        "",
    ] {
        assert!(refusal_of(answer.as_bytes()).is_none(), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_still_comes_is_dropped_up_to_a_limit_in_bytes_and_in_time() {
    // All of it is read, where it comes to an end.
    let (mut server, mut client) = pair(1024);
    server.unread.set(true);
    let sending = tokio::spawn(async move { client.write_all(&vec![0; 8 << 20]).await });
    server.shutdown().await.unwrap();
    sending.await.unwrap().unwrap();
    // A client that never ends is left after so many bytes.
    let (mut server, mut client) = pair(1024);
    server.unread.set(true);
    let sending = tokio::spawn(async move { client.write_all(&vec![0; 64 << 20]).await });
    server.shutdown().await.unwrap();
    drop(server);
    assert!(sending.await.unwrap().is_err(), "it is cut off");
    // One that sends a byte now and then is left after so much time, and a silent one sooner.
    for (pause, limit) in [(Duration::from_millis(900), MAX_DROPPING), (Duration::MAX, MAX_PAUSE)] {
        let (mut server, mut client) = pair(1024);
        server.unread.set(true);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if client.write_all(b"x").await.is_err() {
                    return;
                }
            }
        });
        let begun = Deadline::now();
        server.shutdown().await.unwrap();
        assert!(begun.elapsed() <= limit + Duration::from_millis(10), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_bodies_were_read_is_closed_at_once() {
    let (mut server, _client) = pair(1024);
    let begun = Deadline::now();
    server.shutdown().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
