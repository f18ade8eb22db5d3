//! Converts samples of several programs to rows of a table, with ratios within each round.

use serde_json::{Value, json};

use super::measure::Sample;

/// One line of the table: medians, and the medians of ours / this, round by round.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) median: Sample,
    pub(super) wall_ratio: f64,
    pub(super) cpu_ratio: f64,
    pub(super) output_ratio: f64,
}

impl Row {
    /// Compares the samples of ours with those of a runner, round by round. Memory is the maximum.
    pub(super) fn new(name: &str, samples: &[Sample], ours: &[Sample]) -> Self {
        let of = |pick: fn(&Sample) -> f64| median(samples.iter().map(pick).collect());
        let ratio = |pick: fn(&Sample) -> f64| {
            let pairs = ours.iter().zip(samples);
            median(pairs.map(|(ours, this)| pick(ours) / pick(this)).collect())
        };
        Self {
            name: name.to_owned(),
            median: Sample {
                wall: of(|s| s.wall),
                cpu: of(|s| s.cpu),
                memory: samples.iter().map(|s| s.memory).fold(0.0, f64::max),
                output: of(|s| s.output),
            },
            wall_ratio: ratio(|s| s.wall),
            cpu_ratio: ratio(|s| s.cpu),
            output_ratio: ratio(|s| s.output),
        }
    }

    /// Returns the row as JSON.
    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name, "wall_s": self.median.wall, "cpu_s": self.median.cpu,
            "peak_mib": self.median.memory, "output_mb": self.median.output,
            "wall_ratio": self.wall_ratio, "cpu_ratio": self.cpu_ratio,
            "output_ratio": self.output_ratio,
        })
    }
}

/// Returns the middle value, or the mean of the two middle ones.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Returns a Markdown table.
pub(super) fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    [head, rule]
        .iter()
        .chain(rows)
        .map(|cells| line(cells))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_paired() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        let sample = |wall| Sample {
            wall,
            cpu: wall,
            memory: wall,
            output: 1.0,
        };
        let ours = [sample(1.0), sample(10.0), sample(2.0)];
        let peer = [sample(2.0), sample(20.0), sample(1.0)];
        let row = Row::new("peer", &peer, &ours);
        assert_eq!(
            (row.wall_ratio, row.median.wall, row.median.memory),
            (0.5, 2.0, 20.0)
        );
    }

    #[test]
    fn a_table_is_markdown() {
        let table = markdown(&["a", "b"], &[vec!["1".into(), "2".into()]]);
        assert_eq!(table, "| a | b |\n| --- | --- |\n| 1 | 2 |\n");
    }
}
