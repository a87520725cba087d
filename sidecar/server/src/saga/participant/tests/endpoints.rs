use super::Endpoint;

#[test]
fn legal_endpoints_name_their_authority() {
    for (url, authority, uri) in [
        ("http://stock", "stock:80", "http://stock:80/"),
        (
            "http://Stock:8080/Reserve",
            "stock:8080",
            "http://stock:8080/Reserve",
        ),
        ("HTTP://stock/a?b=c", "stock:80", "http://stock:80/a?b=c"),
        ("http://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/"),
        ("http://[::1]:8080/a", "[::1]:8080", "http://[::1]:8080/a"),
    ] {
        let endpoint = Endpoint::http("steps[0].url", url).unwrap();
        assert_eq!(&**endpoint.authority(), authority, "{url}");
        assert_eq!(endpoint.uri().to_string(), uri, "{url}");
        assert_eq!(endpoint.url(), url);
    }
    for url in ["http://stock:7080", "http://stock:7080/"] {
        let endpoint = Endpoint::grpc("steps[0].url", url, "reserve").unwrap();
        assert_eq!(&**endpoint.authority(), "stock:7080", "{url}");
        assert_eq!(endpoint.operation(), "reserve");
    }
}

#[test]
fn an_illegal_endpoint_is_refused_by_field_and_value() {
    for (url, reason) in [
        ("", "empty"),
        ("stock", "must begin with http://"),
        ("/reserve", "must begin with http://"),
        ("ftp://stock/", "must begin with http://"),
        ("https://stock/", "asks for TLS"),
        ("http://", ""),
        ("http://:80/", "no host"),
        ("http://stock:0/", "from 1 to 65535"),
        ("http://stock:65536/", "from 1 to 65535"),
        ("http://stock:/", "from 1 to 65535"),
        ("http://stock:+80/", ""),
        ("http://stock:http/", ""),
        ("http://sto ck/", ""),
        ("http://stock/a b", ""),
        ("http://stock/a#b", "fragment"),
    ] {
        let http = Endpoint::http("steps[0].url", url).unwrap_err();
        let grpc = Endpoint::grpc("steps[0].url", url, "").unwrap_err();
        for error in [http.to_string(), grpc.to_string()] {
            assert!(error.starts_with("steps[0].url: "), "{url}: {error}");
            assert!(error.contains(&format!("{url:?}")), "{url}: {error}");
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
    for url in ["http://stock:1/outrigger", "http://stock:1/?a"] {
        let error = Endpoint::grpc("url", url, "").unwrap_err().to_string();
        assert!(error.contains("no path"), "{error}");
    }
    let long = format!("http://stock/{}", "a".repeat(Endpoint::URL_BYTES_MAX));
    let error = Endpoint::http("url", &long).unwrap_err().to_string();
    assert!(error.contains("8205 bytes; at most 8192"), "{error}");
    let error = Endpoint::http("url", "http://ann:secret@stock/").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
}
