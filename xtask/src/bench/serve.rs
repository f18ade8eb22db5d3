//! `imgconv serve` beside `docker-registry`, both over one storage of a registry: the throughput of many
//! clients, the memory that they take, and the time to the first byte of a blob.
//!
//! The clients are threads of this process. They hash what they get, so a part of the time is theirs, for
//! both servers.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::migrate;
use super::puller::{Pulled, Puller};
use super::setting::{Bench, JOBS};
use super::table::{markdown, median};
use crate::process::{Result, end, free_port, installed};

/// Clients at once.
const CLIENTS: usize = 64;
/// The least throughput as a part of that of the peer; the most MiB that the clients may take beyond those
/// of one client; the most milliseconds to the first byte.
const THROUGHPUT: f64 = 1.0;
const MEMORY: f64 = 128.0;
const FIRST_MS: f64 = 5.0;

/// Fills the storage of a registry.
const FILL: &str = r#"
    eval "$START"
    "$IMGCONV" -q --jobs $JOBS migrate oci:$LAYOUT docker://127.0.0.1:$PORT/bench"#;

/// A server.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Ours,
    Theirs,
}

/// The figures of one server in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    wall: f64,
    /// CPU seconds of the server.
    cpu: f64,
    /// MiB for all clients, and for one.
    memory: f64,
    memory_of_one: f64,
    /// Milliseconds to the first byte.
    first: f64,
    pulled: Pulled,
}

/// Runs all rounds.
pub(super) fn run(bench: &Bench, size: u64) -> Result<(String, Value)> {
    if !installed("docker-registry") {
        return Err("the benchmark of the server needs docker-registry".to_owned());
    }
    eprintln!("making {} images, {size} MB", migrate::IMAGES);
    let inputs = migrate::make(bench, size)?;
    bench.prepare(FILL, &inputs)?;
    let data = bench.path("data");
    let images: Vec<String> = (0..migrate::IMAGES)
        .map(|i| format!("bench/image-{i}:1"))
        .collect();
    let mut rounds: Vec<[Figures; 2]> = Vec::new();
    for round in 0..bench.rounds {
        eprintln!("round {}", round + 1);
        let mut figures = [Figures::default(); 2];
        // The second server of a round finds the files in memory as the first does.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for at in order {
            let kind = [Kind::Ours, Kind::Theirs][at];
            figures[at] = measure(bench, kind, &data, &images)?;
        }
        rounds.push(figures);
    }
    let of = |at: usize, pick: fn(&Figures) -> f64| {
        median(rounds.iter().map(|figures| pick(&figures[at])).collect())
    };
    let ratio = |pick: fn(&Figures) -> f64| {
        let pairs = rounds
            .iter()
            .map(|[ours, theirs]| pick(ours) / pick(theirs));
        median(pairs.collect())
    };
    let pulled = rounds[0][0].pulled;
    let mb = pulled.bytes as f64 / 1e6;
    let rows: Vec<Vec<String>> = ["imgconv serve", "docker-registry"]
        .iter()
        .enumerate()
        .map(|(at, name)| {
            vec![
                (*name).to_owned(),
                format!("{:.2}", of(at, |f| f.wall)),
                format!("{:.0}", mb / of(at, |f| f.wall)),
                format!("{:.2}", of(at, |f| f.cpu)),
                format!("{:.0}", of(at, |f| f.memory)),
                format!("{:.0}", of(at, |f| f.memory_of_one)),
                format!("{:.2}", of(at, |f| f.first)),
            ]
        })
        .collect();
    let head = [
        "server",
        "wall s",
        "MB/s",
        "CPU s",
        "peak MiB",
        "peak MiB, one client",
        "ms to the first byte",
    ];
    // The time is the reverse of the throughput.
    let throughput = 1.0 / ratio(|f| f.wall);
    let more = of(0, |f| f.memory) - of(0, |f| f.memory_of_one);
    let (first, first_ratio) = (of(0, |f| f.first), ratio(|f| f.first));
    let judged = |met: bool| if met { "met" } else { "missed" };
    let text = format!(
        "{CLIENTS} clients that pull {} images each, every blob once: {} answers, {mb:.0} MB, medians of {} rounds\n\n{}\n\
         Throughput, ours / theirs: {throughput:.2} (goal {THROUGHPUT:.2}: {}); CPU of the server, ours / theirs: {:.2}; \
         memory of {CLIENTS} clients beyond that of one: {more:.0} MiB (goal {MEMORY:.0}: {}); \
         first byte: {first:.2} ms (goal {FIRST_MS:.0}: {}), ours / theirs: {first_ratio:.2}\n",
        migrate::IMAGES,
        pulled.answers,
        bench.rounds,
        markdown(&head, &rows),
        judged(throughput >= THROUGHPUT),
        ratio(|f| f.cpu),
        judged(more <= MEMORY),
        judged(first <= FIRST_MS),
    );
    let json = json!({
        "benchmark": "serve", "clients": CLIENTS, "images": migrate::IMAGES, "answers": pulled.answers,
        "mb": mb, "rounds": bench.rounds, "throughput_ratio": throughput, "cpu_ratio": ratio(|f| f.cpu),
        "memory_beyond_one_mib": more, "first_byte_ms": first, "first_byte_ratio": first_ratio,
    });
    Ok((text, json))
}

/// Measures a server: each figure with a process of its own.
fn measure(bench: &Bench, kind: Kind, data: &Path, images: &[String]) -> Result<Figures> {
    let server = Server::start(bench, kind, data)?;
    let first = Puller::connect(server.port)?.first_bytes(images)?;
    let first = median(first) * 1000.0;
    drop(server);

    let server = Server::start(bench, kind, data)?;
    pull(server.port, 1, images)?;
    let (_, memory_of_one) = server.used()?;
    drop(server);

    let server = Server::start(bench, kind, data)?;
    let begun = Instant::now();
    let pulled = pull(server.port, CLIENTS, images)?;
    let wall = begun.elapsed().as_secs_f64();
    let (cpu, memory) = server.used()?;
    drop(server);
    Ok(Figures {
        wall,
        cpu,
        memory,
        memory_of_one,
        first,
        pulled,
    })
}

/// Pulls all images by each of the clients at once. Each begins with another image.
fn pull(port: u16, clients: usize, images: &[String]) -> Result<Pulled> {
    let barrier = Barrier::new(clients);
    let all = thread::scope(|scope| {
        let started: Vec<_> = (0..clients)
            .map(|client| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let connected = Puller::connect(port);
                    barrier.wait();
                    let from = client * images.len() / clients;
                    let order = images[from..].iter().chain(&images[..from]);
                    connected?.pull(order.map(|image| &**image))
                })
            })
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        let ended = ended.map(|pulled| pulled.unwrap_or(Err("a client panicked".to_owned())));
        ended.collect::<Result<Vec<Pulled>>>()
    })?;
    Ok(Pulled {
        answers: all.iter().map(|pulled| pulled.answers).sum(),
        bytes: all.iter().map(|pulled| pulled.bytes).sum(),
    })
}

/// A running server.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(bench: &Bench, kind: Kind, data: &Path) -> Result<Self> {
        let log = File::create(bench.path("server.log")).map_err(|e| e.to_string())?;
        let server = match kind {
            Kind::Ours => ours(bench, data, log)?,
            Kind::Theirs => theirs(bench, data, log)?,
        };
        for _ in 0..200 {
            if server.port != 0 && TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        drop(server);
        let log = fs::read_to_string(bench.path("server.log")).unwrap_or_default();
        Err(format!("the server does not listen: {log}"))
    }

    /// Returns the CPU seconds and the largest resident set in MiB.
    fn used(&self) -> Result<(f64, f64)> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.child.id());
            fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))
        };
        let stat = read("stat")?;
        // The name of the program may hold spaces.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse::<f64>().ok())
            .sum();
        let status = read("status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        // The kernel counts CPU time in hundredths of a second.
        Ok((ticks / 100.0, peak.unwrap_or_default() / 1024.0))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child, Duration::from_secs(5));
    }
}

fn ours(bench: &Bench, data: &Path, log: File) -> Result<Server> {
    let mut child = Command::new(&bench.program)
        .args(["--jobs", &JOBS.to_string(), "serve"])
        .arg(format!("registry-storage:{}", data.display()))
        .args(["--listen", "127.0.0.1:0"])
        .env("TMPDIR", bench.work.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        let read = BufReader::new(output).read_line(&mut line);
        read.map_err(|e| e.to_string())?;
    }
    let port = line
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|text| text.split(':').next());
    let port = port.and_then(|text| text.parse().ok()).unwrap_or_default();
    Ok(Server { child, port })
}

fn theirs(bench: &Bench, data: &Path, log: File) -> Result<Server> {
    let port = free_port()?;
    let config = bench.path("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: '{}'}}, cache: {{blobdescriptor: inmemory}}}}\n\
         http: {{addr: '127.0.0.1:{port}'}}\n",
        data.display()
    );
    fs::write(&config, text).map_err(|e| e.to_string())?;
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .env("GOMAXPROCS", JOBS.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(|e| e.to_string())?)
        .stderr(log)
        .spawn()
        .map_err(|e| format!("docker-registry: {e}"))?;
    Ok(Server { child, port })
}
