//! How long to wait before trying again.

/// Capped exponential backoff with full jitter: uniform between 0 and
/// `min(cap_ms, base_ms * 2^(attempt - 1))`, both ends included.
///
/// `attempt` counts the failures so far and starts at 1. `random` is any uniformly
/// distributed number. Full jitter spreads callers that failed together best; see Marc
/// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[must_use]
pub fn full_jitter(base_ms: u64, cap_ms: u64, attempt: u32, random: u64) -> u64 {
    let doublings = attempt.saturating_sub(1).min(63);
    let ceiling_ms = base_ms.saturating_mul(1 << doublings).min(cap_ms);
    // The high half of a widening product maps `random` onto 0..=ceiling without a
    // division and without the bias of a remainder.
    let scaled = u128::from(random) * (u128::from(ceiling_ms) + 1);
    (scaled >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_both_ends_of_a_ceiling_that_doubles_up_to_the_cap() {
        for (attempt, ceiling) in [(1, 100), (2, 200), (3, 400), (4, 500), (200, 500)] {
            assert_eq!(full_jitter(100, 500, attempt, 0), 0);
            assert_eq!(full_jitter(100, 500, attempt, u64::MAX), ceiling);
        }
        assert_eq!(
            full_jitter(u64::MAX, u64::MAX, u32::MAX, u64::MAX),
            u64::MAX
        );
    }
}
