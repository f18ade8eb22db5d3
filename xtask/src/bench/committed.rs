//! `docs/benchmarks.md`: the last committed figures, with the machine and the versions that they hold for.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::setting::Bench;
use crate::process::{Result, call, root};

const PATH: &str = "docs/benchmarks.md";

/// Columns of the tables that are compared, by their heads.
const JOB: &str = "job";
const BESIDE: &str = "beside";
const WALL: &str = "wall, ours / theirs";

/// The ratios of wall time of the committed tables, by job and peer.
#[derive(Debug, Default)]
pub(super) struct Committed(BTreeMap<(String, String), String>);

impl Committed {
    /// Reads the committed figures; there are none if the file is missing.
    pub(super) fn load() -> Self {
        Self::parse(&fs::read_to_string(path()).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut found = BTreeMap::new();
        let mut columns = None;
        for line in text.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let column = |head| cells.iter().position(|cell| *cell == head);
            if let (Some(job), Some(beside), Some(wall)) =
                (column(JOB), column(BESIDE), column(WALL))
            {
                columns = Some([job, beside, wall]);
            } else if let Some(columns) = columns
                && let [Some(job), Some(beside), Some(wall)] = columns.map(|at| cells.get(at))
            {
                let ratio = wall.split(' ').next().unwrap_or_default();
                found.insert(((*job).to_owned(), (*beside).to_owned()), ratio.to_owned());
            }
        }
        Self(found)
    }

    /// Returns the ratio of a job beside a peer, or an empty text.
    pub(super) fn ratio(&self, job: &str, peer: &str) -> &str {
        let key = (job.to_owned(), peer.to_owned());
        self.0.get(&key).map_or("", String::as_str)
    }
}

/// Writes new figures.
pub(super) fn save(bench: &Bench, figures: &str) -> Result {
    let script = r#"
        printf -- '- Date: %s\n' "$(date -u +%F)"
        printf -- '- Machine: %s, %s cores\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
        printf -- '- %s\n' "$("$IMGCONV" --version)" "$(skopeo --version)" "$(umoci --version | head -n 1)"
        if command -v docker2aci > /dev/null; then printf -- '- %s\n' "$(docker2aci -version | head -n 1)"; fi"#;
    let mut command = std::process::Command::new("bash");
    command
        .args(["-euc", script])
        .env("IMGCONV", &bench.program)
        .env("PATH", bench.search_path());
    let facts = call(&mut command)?;
    let text = format!(
        "# Benchmarks\n\n\
         Figures of `cargo xtask bench all --save`. Each program does the same job in turn, in one run; ratios are medians of\n\
         the rounds. The floor is the least work of a job in one process (`xtask/src/bench/floor.rs`). Figures of two machines\n\
         can't be compared; ratios can, roughly.\n\n{facts}\n{figures}"
    );
    fs::write(path(), text).map_err(|error| format!("{PATH}: {error}"))
}

fn path() -> PathBuf {
    root().join(PATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_ratios_are_found_by_job_and_peer() {
        let text = "| job | wall s | beside | wall, ours / theirs |\n| --- | --- | --- | --- |\n\
                    | a | 1.0 | skopeo | 0.62 (goal 0.65: met) |\n\ntext\n";
        let committed = Committed::parse(text);
        assert_eq!(committed.ratio("a", "skopeo"), "0.62");
        assert_eq!(committed.ratio("a", "umoci"), "");
    }
}
