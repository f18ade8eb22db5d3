//! Shares of a plan: which jobs each of several processes does.
//!
//! Every process makes the same plan and the same shares of it, without talking to the others. The jobs
//! of one base (the lowest layer) are one piece, so that one process handles the base. A base that much of
//! the store has would be most of the work of one process: its jobs are cut into several pieces, in the
//! order of the plan, and the base is handled once by each of the processes that got one. The pieces are
//! given out from the largest to the smallest, each to the share that has the fewest bytes.
//!
//! The promise: a share has at most an eighth more bytes than the mean of all shares, or, if one job is
//! larger than that eighth, at most the bytes of the mean and of that job. For if every piece is at most
//! an eighth of the mean, a share had at most the mean before it got its last piece. Larger pieces are
//! tried first, because they cut fewer bases.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// The largest pieces that are tried, as parts of the mean; the last one keeps the promise.
const PARTS: [u64; 4] = [1, 2, 4, 8];
/// The work on a job besides its bytes, as bytes: documents, names, a line of the journal. Without it all
/// jobs without layers of their own would be one share's.
const JOB: u64 = 16 << 10;

/// Jobs that stay together: their bytes and their positions.
type Piece = (u64, Vec<usize>);

/// Returns the share of each job, from 0. A job is its base and the bytes of its layers that no earlier job
/// has.
pub(super) fn assign<'a>(jobs: impl Iterator<Item = (&'a str, u64)>, count: u64) -> Vec<u64> {
    let jobs: Vec<(&str, u64)> = jobs
        .map(|(base, bytes)| (base, bytes.saturating_add(JOB)))
        .collect();
    let sizes = || jobs.iter().map(|(_, bytes)| *bytes);
    let total = sizes().fold(0, u64::saturating_add);
    let mean = total / count.max(1);
    let more = sizes()
        .max()
        .unwrap_or(0)
        .max(mean / PARTS[PARTS.len() - 1]);
    let mut best: Option<(u64, Vec<u64>)> = None;
    for part in PARTS {
        let found = give(cut(&jobs, mean / part), jobs.len(), count);
        let enough = found.0 <= mean.saturating_add(more);
        if best.as_ref().is_none_or(|best| found.0 < best.0) {
            best = Some(found);
        }
        if enough {
            break;
        }
    }
    best.unwrap_or_default().1
}

/// Cuts the jobs into pieces of at most `largest` bytes, except for single jobs.
fn cut(jobs: &[(&str, u64)], largest: u64) -> Vec<Piece> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut pieces: Vec<Piece> = Vec::new();
    for (job, (base, bytes)) in jobs.iter().enumerate() {
        match open.get(base).map(|at| &mut pieces[*at]) {
            Some((size, piece)) if size.saturating_add(*bytes) <= largest => {
                *size += bytes;
                piece.push(job);
            }
            _ => {
                open.insert(base, pieces.len());
                pieces.push((*bytes, vec![job]));
            }
        }
    }
    pieces
}

/// Gives the pieces to the shares; returns the bytes of the largest share, and the share of each job.
fn give(mut pieces: Vec<Piece>, jobs: usize, count: u64) -> (u64, Vec<u64>) {
    // Pieces of one size stay in the order of the plan.
    pieces.sort_by_key(|(size, _)| Reverse(*size));
    let mut shares: BinaryHeap<Reverse<(u64, u64)>> = (0..count.min(jobs as u64 + 1))
        .map(|share| Reverse((0, share)))
        .collect();
    let (mut largest, mut of_job) = (0, vec![0; jobs]);
    for (size, piece) in pieces {
        let Some(Reverse((bytes, share))) = shares.pop() else {
            break;
        };
        for job in piece {
            of_job[job] = share;
        }
        let bytes = bytes.saturating_add(size);
        largest = largest.max(bytes);
        shares.push(Reverse((bytes, share)));
    }
    (largest, of_job)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A generator of numbers that is the same everywhere (the constants are Knuth's, of MMIX).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
            self.0 >> 33
        }

        /// A size with a heavy tail: half of all are below 2 MB, one of a thousand is above 1 GB.
        fn size(&mut self) -> u64 {
            let rank = self.next() % 1000 + 1;
            1_000_000 * 1000 / rank
        }
    }

    /// A store: bases with Zipf's frequencies, so that the first one has about an eighth of all images, and
    /// images of which some are names of others and have no layer of their own.
    fn store(images: usize) -> Vec<(String, u64)> {
        let mut random = Random(1);
        let mut seen = BTreeSet::new();
        let image = |_| {
            let base = 2000 / (random.next() % 2000 + 1);
            let base = match random.next() % 4 {
                0 => format!("own-{}", random.next()),
                _ => format!("base-{base}"),
            };
            let own = match random.next() % 10 {
                0 => 0,
                _ => random.size(),
            };
            let first = if seen.insert(base.clone()) {
                random.size()
            } else {
                0
            };
            (base, own + first)
        };
        (0..images).map(image).collect()
    }

    fn loads(store: &[(String, u64)], count: u64) -> Vec<u64> {
        let jobs = || store.iter().map(|(base, bytes)| (&**base, *bytes));
        let shares = assign(jobs(), count);
        assert_eq!(shares, assign(jobs(), count));
        assert_eq!(shares.len(), store.len());
        let mut loads = vec![0; count as usize];
        for (share, (_, bytes)) in shares.iter().zip(store) {
            loads[*share as usize] += bytes + JOB;
        }
        loads
    }

    /// The largest share is at most an eighth above the mean, except for one job that is larger.
    #[test]
    fn a_hundred_thousand_images_are_cut_into_even_shares() {
        let store = store(100_000);
        let total: u64 = store.iter().map(|(_, bytes)| bytes + JOB).sum();
        let largest_job = store.iter().map(|(_, bytes)| bytes + JOB).max().unwrap();
        let mut skews = Vec::new();
        for count in [1, 2, 3, 16, 100, 1000] {
            let loads = loads(&store, count);
            assert_eq!(loads.iter().sum::<u64>(), total);
            let mean = total / count;
            let largest = *loads.iter().max().unwrap();
            let bound = mean + (mean / 8).max(largest_job);
            assert!(largest <= bound, "{count}: {largest} above {bound}");
            skews.push((count, largest * 1000 / mean));
        }
        // The largest share in thousandths of the mean. A thousandth of the store is less than its largest
        // image and an average share together.
        let expected = [
            (1, 1000),
            (2, 1000),
            (3, 1000),
            (16, 1000),
            (100, 1000),
            (1000, 1233),
        ];
        assert_eq!(skews, expected);
    }

    #[test]
    fn a_small_base_is_in_one_share_and_a_large_one_in_few() {
        let mut store = Vec::new();
        for image in 0..1000 {
            store.push((format!("small-{}", image % 100), 10 << 20));
            store.push(("large".to_owned(), 10 << 20));
        }
        let jobs = || store.iter().map(|(base, bytes)| (&**base, *bytes));
        let shares = assign(jobs(), 4);
        let of = |base: &str| {
            let own = store
                .iter()
                .zip(&shares)
                .filter(|((own, _), _)| own == base);
            own.map(|(_, share)| *share).collect::<BTreeSet<_>>().len()
        };
        assert!((0..100).all(|i| of(&format!("small-{i}")) == 1));
        assert_eq!(of("large"), 2);
        // One base alone is cut too, and a single image can't be.
        let alone = assign((0..100).map(|_| ("one", 1000)), 4);
        assert_eq!(alone.iter().collect::<BTreeSet<_>>().len(), 4);
        assert_eq!(assign([("one", 1000)].into_iter(), 4), [0]);
        assert_eq!(assign(std::iter::empty(), 4), [0; 0]);
        assert_eq!(
            assign([("a", u64::MAX), ("b", u64::MAX)].into_iter(), 2),
            [0, 1]
        );
    }

    /// What is more than one step for each image is a sort of the pieces and a heap of the shares: there are no
    /// more pieces for an image of a large store than of a small one.
    #[test]
    fn the_work_for_an_image_does_not_grow_with_the_store() {
        let pieces = |images: usize| {
            let store = store(images);
            let jobs = store.iter().map(|(base, bytes)| (&**base, *bytes));
            let jobs: Vec<_> = jobs.collect();
            let mean = jobs.iter().map(|(_, bytes)| bytes).sum::<u64>() / 100;
            cut(&jobs, mean / 8).len()
        };
        let (small, large) = (pieces(10_000), pieces(100_000));
        assert!(large <= 10 * small, "{small} {large}");
    }
}
