use std::marker::PhantomData;

use crate::PercentileStats;

/// Every power of two is divided into this many buckets, as a power of two.
const SUB_BUCKET_BITS: u32 = 2;
const SUB_BUCKETS: u64 = 1 << SUB_BUCKET_BITS;

/// Counts values in buckets that grow with the value: a percentile is off by an eighth of
/// the value at most.
///
/// Buckets are allocated up to the largest value seen, at most 252 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    _slot: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Without values; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: Vec::new(),
            _slot: PhantomData,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = bucket_of(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(counted) = self.counts.get_mut(bucket) {
            *counted = counted.saturating_add(count);
        }
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A value that about this share of the counted values does not exceed, from 0 to 1;
    /// 0 when nothing was counted.
    #[must_use]
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = (self.total() as f64 * share.clamp(0.0, 1.0))
            .ceil()
            .max(1.0) as u64;
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return middle_of(bucket);
            }
        }
        0
    }

    /// The usual percentiles.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

fn bucket_of(value: u64) -> usize {
    if value < SUB_BUCKETS {
        return value as usize;
    }
    let exponent = value.ilog2();
    let shift = exponent - SUB_BUCKET_BITS;
    let sub_bucket = (value >> shift) & (SUB_BUCKETS - 1);
    (u64::from(shift + 1) * SUB_BUCKETS + sub_bucket) as usize
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB_BUCKETS {
        return bucket;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let lowest = (SUB_BUCKETS + bucket % SUB_BUCKETS) << shift;
    lowest + ((1_u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_an_eighth() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile(0.5), 0);
        (1..=10_000).for_each(|value| histogram.record(value));
        assert_eq!(histogram.total(), 10_000);
        for (share, exact) in [(0.001, 10_u64), (0.5, 5_000), (0.99, 9_900), (1.0, 10_000)] {
            let found = histogram.percentile(share);
            assert!(
                found.abs_diff(exact) <= exact / 8 + 1,
                "{share}: {found}, not {exact}"
            );
        }
    }

    #[test]
    fn every_value_has_a_bucket() {
        let mut last = 0;
        for exponent in 0..64 {
            for value in [
                1_u64 << exponent,
                (1_u64 << exponent) | ((1_u64 << exponent) - 1),
            ] {
                let bucket = bucket_of(value);
                assert!(bucket >= last);
                last = bucket;
                assert!(middle_of(bucket).abs_diff(value) <= value / 8 + 1);
            }
        }
        assert_eq!(bucket_of(u64::MAX), 251);
    }
}
