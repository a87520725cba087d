use std::sync::mpsc;

use super::{
    Caller, Endpoint, ErrorClass, LONG_MS, Mode, NotTried, Options, Outcome, Phase, Scripted, call,
    class,
    scripted::{Reply, answer},
    success, unsettled,
};

/// What becomes of one call that is answered so.
async fn outcome(
    reply: impl Fn() -> Reply + Clone + Send + Sync + 'static,
) -> Result<Outcome, NotTried> {
    let participant = Scripted::start(move |_| {
        let reply = reply();
        async move { reply }
    })
    .await;
    let outcome = Caller::new(Options::default())
        .call(&call(participant.endpoint()))
        .await;
    assert_eq!(participant.requests(), 1, "asked once");
    outcome
}

async fn answered(bytes: Vec<u8>) -> Result<Outcome, NotTried> {
    outcome(move || Reply::SendAndClose(bytes.clone())).await
}

fn failure(message: &str) -> Result<Outcome, NotTried> {
    let message = message.to_owned();
    Ok(Outcome::Failure { message })
}

#[tokio::test]
async fn every_status_means_one_thing() {
    use ErrorClass::{Internal, Ongoing, Overloaded};

    for status in [200, 201, 203, 204, 206, 299] {
        let body: &[u8] = if status == 204 { b"" } else { b"{}" };
        assert_eq!(
            answered(answer(status, "", body)).await,
            success(body),
            "{status}"
        );
    }
    assert_eq!(
        answered(answer(409, "", b"no\nstock\n")).await,
        failure("no stock")
    );
    let classes = [
        (Ongoing, &[202, 425][..]),
        (Overloaded, &[429, 503]),
        (Internal, &[300, 301, 302, 304, 307, 308]),
        (
            Internal,
            &[400, 401, 403, 404, 405, 408, 410, 412, 418, 422, 499],
        ),
        (Internal, &[500, 501, 502, 504, 505, 599]),
    ];
    for (class, statuses) in classes {
        for &status in statuses {
            let body: &[u8] = if status == 304 { b"" } else { b"because" };
            for (header, after_ms) in [
                ("", None),
                ("retry-after: 3\r\n", Some(3_000)),
                ("retry-after: 86400\r\n", Some(60_000)),
            ] {
                let is = unsettled(answered(answer(status, header, body)).await);
                assert_eq!((is.0, is.2), (class, after_ms), "{status}");
                assert!(is.1.contains(&status.to_string()), "{is:?}");
                assert!(status == 304 || is.1.ends_with(": because"), "{is:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_participant_is_told_what_it_is_called_for() {
    let (sender, received) = mpsc::channel();
    let participant = Scripted::start(move |request| {
        sender.send((request.head, request.body)).unwrap();
        async { Reply::Send(answer(200, "", b"")) }
    })
    .await;
    let caller = Caller::new(Options::default());
    let mut call = call(participant.endpoint());
    call.saga = "bücher-17".to_owned();
    call.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    for (mode, phase, name) in [
        (Mode::Saga, Phase::Action, "action"),
        (Mode::Saga, Phase::Undo, "undo"),
        (Mode::Tcc, Phase::Action, "try"),
        (Mode::Tcc, Phase::Confirm, "confirm"),
        (Mode::Tcc, Phase::Undo, "cancel"),
    ] {
        (call.mode, call.phase) = (mode, phase);
        call.attempt += 1;
        assert_eq!(caller.call(&call).await, success(b""));
        let (head, body) = received.recv().unwrap();
        assert!(head.starts_with("POST /reserve HTTP/1.1\r\n"), "{head}");
        assert_eq!(body, br#"{"amount":12}"#);
        for line in [
            format!("host: {}", call.endpoint.authority()),
            "content-type: application/json".to_owned(),
            "outrigger-saga-id: bücher-17".to_owned(),
            "outrigger-step: reserve".to_owned(),
            format!("outrigger-phase: {name}"),
            format!("outrigger-attempt: {}", call.attempt),
            "outrigger-saga-started-at: 1700000000000".to_owned(),
            "idempotency-key: order-17/reserve/action".to_owned(),
            format!("traceparent: {}", call.traceparent.clone().unwrap()),
        ] {
            assert!(head.lines().any(|l| l == line), "{line} is not in {head}");
        }
    }
    call.step = "two\r\nlines: x".to_owned();
    assert_eq!(class(caller.call(&call).await), ErrorClass::Internal);
    assert_eq!(participant.requests(), 5, "nothing was sent");
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let elsewhere = Scripted::answering(answer(200, "", b"")).await;
    let location = format!("location: {}\r\n", elsewhere.endpoint().url());
    let is = answered(answer(307, &location, b"")).await;
    assert_eq!(class(is), ErrorClass::Internal);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn what_is_not_the_protocol_settles_nothing() {
    let garbage: [&[u8]; 7] = [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\0\x01\x02\x03\xff\xfe\xfd\r\n\r\n",
        // The beginning of HTTP/2.
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\r\n\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: some\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nno chunk",
    ];
    for bytes in garbage {
        let is = unsettled(answered(bytes.to_vec()).await);
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(is.0, ErrorClass::BadAnswer, "{text:?}: {is:?}");
    }
    let endless_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    assert_eq!(class(answered(endless_head).await), ErrorClass::BadAnswer);
}

#[tokio::test]
async fn half_an_answer_settles_nothing() {
    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"reserved\":",
        "HTTP/1.1 409 Conflict\r\ncontent-length: 100\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let is = unsettled(answered(bytes.into()).await);
        assert_eq!(is.0, ErrorClass::Internal, "{bytes:?}: {is:?}");
    }
    assert_eq!(class(outcome(|| Reply::Reset).await), ErrorClass::Internal);

    let resetting = Scripted::resetting().await;
    let caller = Caller::new(Options::default());
    let is = caller.call(&call(resetting.endpoint())).await;
    assert_eq!(class(is), ErrorClass::Internal);
    assert_eq!(resetting.connections(), 1, "not tried again");
}

#[tokio::test]
async fn who_cannot_be_reached_is_named() {
    // Its port is taken, but nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let caller = Caller::new(Options::default());
    for (url, message) in [
        (format!("http://{address}/"), "refused"),
        (
            "http://there-is-no-such-host.invalid/".to_owned(),
            "there-is-no-such-host.invalid",
        ),
    ] {
        let endpoint = Endpoint::http("endpoint", &url).unwrap();
        let is = unsettled(caller.call(&call(endpoint)).await);
        assert_eq!(is.0, ErrorClass::Unreachable, "{is:?}");
        assert!(is.1.contains(message), "{is:?}");
    }
}

#[tokio::test]
async fn no_answer_in_time_settles_nothing() {
    let silent = Scripted::start(|_| std::future::pending()).await;
    let slow = Scripted::start(|_| async {
        // The head is there in time, the body is not.
        Reply::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12".to_vec())
    })
    .await;
    for participant in [silent, slow] {
        let caller = Caller::new(Options {
            call_timeout_ms_max: 40,
            ..Options::default()
        });
        for (timeout_ms, message) in [(30, "no answer in 30 ms"), (LONG_MS, "no answer in 40 ms")] {
            let mut call = call(participant.endpoint());
            call.timeout_ms = timeout_ms;
            let is = unsettled(caller.call(&call).await);
            assert_eq!((is.0, is.1.as_str()), (ErrorClass::TimedOut, message));
        }
        assert_eq!(
            participant.connections(),
            2,
            "such a connection is of no use"
        );
    }
}

#[tokio::test]
async fn an_output_is_taken_up_to_its_limit() {
    const LIMIT: usize = 1 << 20;
    let whole = vec![b'x'; LIMIT];
    assert_eq!(answered(answer(200, "", &whole)).await, success(&whole));

    let five_megabytes = vec![b'x'; 5 << 20];
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 65_536], b"\r\n".to_vec()].concat();
    let unannounced = [head, chunk.repeat(80)].concat();
    for bytes in [
        answer(200, "", &vec![b'x'; LIMIT + 1]),
        answer(200, "", &five_megabytes),
        unannounced,
    ] {
        let is = unsettled(answered(bytes).await);
        assert_eq!(is.0, ErrorClass::BadAnswer);
        assert!(is.1.contains("1048576"), "{is:?}");
        assert!(is.1.contains("response_bytes_max"), "{is:?}");
    }
    // Where the status says all there is to say, the rest is cut off.
    let words = "x".repeat(1_024);
    let is = answered(answer(409, "", &five_megabytes)).await;
    assert_eq!(is, failure(&words));
    let is = class(answered(answer(425, "", &five_megabytes)).await);
    assert_eq!(is, ErrorClass::Ongoing);

    // A call may ask for less, but not for more than the options allow.
    let participant = Scripted::answering(answer(200, "", b"12345")).await;
    for (options, asked, is_taken) in [(10, 5, true), (10, 4, false), (4, 10, false)] {
        let caller = Caller::new(Options {
            response_bytes_max: options,
            ..Options::default()
        });
        let mut call = call(participant.endpoint());
        call.response_bytes_max = asked;
        let is = caller.call(&call).await;
        assert_eq!(is == success(b"12345"), is_taken, "{is:?}");
    }
}
