use std::time::SystemTime;

use ::http::{HeaderMap, header::RETRY_AFTER};

use super::Options;

/// In how many milliseconds the participant wants to be asked again: `Retry-After` in
/// seconds or as a date (RFC 9110, 10.2.3), within the bounds of the options. What cannot be
/// read says nothing.
pub(super) fn read(headers: &HeaderMap, options: &Options, now: SystemTime) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let asked_ms = if is_number {
        // More than a u64 holds is more than anybody waits.
        text.parse().unwrap_or(u64::MAX).saturating_mul(1_000)
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let wait = at.duration_since(now).unwrap_or_default();
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
    };
    Some(bounded(asked_ms, options))
}

/// Within the bounds of the options.
pub(super) fn bounded(asked_ms: u64, options: &Options) -> u64 {
    let asked_ms = asked_ms.min(options.retry_after_ms_max);
    asked_ms.max(options.retry_after_ms_min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_honoured_within_bounds() {
        let options = Options::default();
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            read(&headers, &options, now)
        };
        assert_eq!(read("7"), Some(7_000));
        assert_eq!(read("0"), Some(10));
        assert_eq!(read("61"), Some(60_000));
        assert_eq!(read("99999999999999999999999"), Some(60_000));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3_000));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(10));
        assert_eq!(read("Tue, 06 Nov 2294 08:49:00 GMT"), Some(60_000));
        for text in ["", "soon", "-1", "+1", "1.5"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
