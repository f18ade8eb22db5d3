//! Checks of migrations under schedulers: a job array of a real Slurm, of which one task is killed
//! and requeued, and the command lines of the Kubernetes manifests, run directly because no cluster
//! is available.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

use imgconv_testkit::{Head, ImageRecipe, build, recipe, stores};
use serde_json::Value;

use super::checks::Oracle;
use super::docker::equal;
use super::migrate::{Report, contents};
use crate::process::{Result, call, end, free_port, root};

/// The store: images of two layers, a base that two of them share and one of its own.
const IMAGES: usize = 32;
const SOURCE: &str = "registry-storage:slurm/store";
/// Additional arguments of the job array; they make a task take long enough to be killed.
const SLOWLY: [&str; 6] = ["--compression", "zstd", "--level", "15", "--jobs", "1"];
/// Additional arguments in the Kubernetes manifest.
const IN_PODS: [&str; 2] = ["--compression", "zstd"];

/// Submits, kills task 2 when some of its images are done and not all, requeues it and waits for the last job. That
/// job is held meanwhile: without the killed task the array may be at its end.
const ARRAY: &str = r#"
wait_for() {
    for _ in $(seq "$1"); do if eval "$2"; then return; fi; sleep 0.05; done
    echo "it takes too long: $2" >&2
    squeue -r -t all >&2
    tail -n 5 slurm/reports/*.log >&2
    exit 1
}
is() { test "$(squeue -h -r -t all -j "$1" -o %T 2>/dev/null)" = "$2"; }
done_by_two() { cat slurm/shared/.imgconv-migrate/*-2-of-4* 2>/dev/null | grep -c '"image"'; }
ids=$("$SUBMIT" 4 slurm/reports "$SOURCE" oci:slurm/shared $OPTIONS)
task=${ids% *}_2
merge=${ids#* }
scontrol hold "$merge"
wait_for 600 'test "$(done_by_two)" -ge 1'
scancel --signal=KILL --batch "$task"
wait_for 200 'is "$task" FAILED'
test ! -e slurm/reports/shard-2-of-4.json
scontrol requeue "$task"
scontrol release "$merge"
wait_for 1200 'is "$merge" COMPLETED || is "$merge" FAILED'
squeue -h -r -t all -o '%i %T %r'
"#;

/// Runs every check of schedulers.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("slurm") {
        return;
    }
    let made = oracle.check("slurm: one undisturbed run", &[], |oracle| {
        store(oracle)?;
        for (layout, options) in [
            ("slurm/alone", &SLOWLY[..]),
            ("slurm/alone-in-pods", &IN_PODS),
        ] {
            let migrate = ["migrate", SOURCE, &format!("oci:{layout}")];
            oracle.imgconv(&[&migrate[..], options].concat())?;
            let names = contents(&oracle.path(layout))?.names;
            equal("images", &names.len(), &IMAGES)?;
        }
        Ok(())
    });
    if !made {
        return;
    }
    array(oracle);
    pods(oracle);
}

/// Writes the storage of a registry.
fn store(oracle: &Oracle) -> Result {
    let mut images = Vec::new();
    for i in 0..IMAGES {
        let layer = |name: String| recipe::parse(&format!("file {name} noise=600000"), &name);
        let layers = [layer(format!("base-{}", i / 2)), layer(format!("app-{i}"))];
        images.push(ImageRecipe {
            head: Head {
                name: format!("team/app-{i}"),
                version: "1".into(),
                os: "linux".into(),
                arch: "amd64".into(),
                ..Head::default()
            },
            manifest: None,
            layers: layers
                .into_iter()
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| e.to_string())?,
        });
    }
    let made = oracle.path("slurm/made");
    build::layout(&images, &made)
        .and_then(|()| stores::registry_v2(&made, &oracle.path("slurm/store")))
        .map_err(|e| e.to_string())
}

fn array(oracle: &mut Oracle) {
    let mut slurm = None;
    let needs = ["munged", "slurmctld", "slurmd", "sbatch", "root"];
    oracle.check("slurm: a controller and a node start", &needs, |oracle| {
        slurm = Some(Slurm::start(oracle)?);
        Ok(())
    });
    let Some(slurm) = slurm else {
        return;
    };
    let name = "slurm: a task of the array is killed and requeued";
    let done = oracle.check(name, &[], |oracle| {
        let said = slurm.shell(oracle, ARRAY)?;
        for line in said.lines() {
            equal(line, &line.contains(" COMPLETED "), &true)?;
        }
        equal("tasks and the job that merges", &said.lines().count(), &5)
    });
    if !done {
        return;
    }
    oracle.check("slurm: the merged report is complete", &[], |oracle| {
        Report::read(&oracle.path("slurm/reports/merged.json"))?.complete(IMAGES)?;
        let killed = Report::read(&oracle.path("slurm/reports/shard-2-of-4.json"))?;
        match (killed.count("kept"), killed.count("done")) {
            (1.., 1..) => Ok(()),
            (kept, done) => Err(format!(
                "the killed task found {kept} images done and did {done}"
            )),
        }
    });
    oracle.check(
        "slurm: the layout is that of the undisturbed run",
        &[],
        |oracle| same_as(oracle, "slurm/alone", "slurm/shared"),
    );
}

/// Demands that a layout is sound and has the names, digests and blobs of an undisturbed run.
fn same_as(oracle: &Oracle, alone: &str, layout: &str) -> Result {
    oracle.imgconv(&["verify", &format!("oci:{layout}")])?;
    let found = contents(&oracle.path(layout))?;
    let expected = contents(&oracle.path(alone))?;
    let blobs: Vec<_> = found.blobs.symmetric_difference(&expected.blobs).collect();
    equal("what only one of the layouts has", &blobs, &Vec::new())?;
    match found.names == expected.names {
        true => Ok(()),
        false => Err(format!(
            "names or digests of {layout} are others than of {alone}"
        )),
    }
}

/// The manifests have the properties that the documentation promises, and their command lines work.
fn pods(oracle: &mut Oracle) {
    let name = "slurm: the Kubernetes jobs are indexed, bounded and without rights";
    oracle.check(name, &["yq"], |_| {
        let job = Job::read("migrate")?;
        equal(
            "completionMode",
            &job.0["spec"]["completionMode"],
            &"Indexed".into(),
        )?;
        let count = &job.0["spec"]["completions"];
        equal("parallelism", &job.0["spec"]["parallelism"], count)?;
        let shares = format!("job/{count}");
        let words = job.words();
        equal("shares", &words.contains(&shares.as_str()), &true)?;
        let merge = Job::read("merge")?;
        let reports = merge
            .words()
            .into_iter()
            .filter(|word| word.ends_with(".json"));
        equal(
            "what is merged",
            &Some(reports.count() as u64),
            &count.as_u64(),
        )?;
        for job in [job, merge] {
            let pod = &job.0["spec"]["template"]["spec"];
            equal("restartPolicy", &pod["restartPolicy"], &"Never".into())?;
            equal(
                "runAsNonRoot",
                &pod["securityContext"]["runAsNonRoot"],
                &true.into(),
            )?;
            let container = job.container();
            let rights = &container["securityContext"];
            equal(
                "escalation",
                &rights["allowPrivilegeEscalation"],
                &false.into(),
            )?;
            equal(
                "capabilities",
                &rights["capabilities"]["drop"][0],
                &"ALL".into(),
            )?;
            equal("root", &rights["readOnlyRootFilesystem"], &true.into())?;
            equal(
                "memory",
                &container["resources"]["limits"]["memory"].is_string(),
                &true,
            )?;
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                let read_only = mount["readOnly"].as_bool().unwrap_or_default();
                let sources = mount["mountPath"] == "/source" || container["name"] == "merge";
                equal("a mount", &read_only, &sources)?;
            }
        }
        Ok(())
    });
    let name = "slurm: the command lines of the Kubernetes jobs, every index at once";
    oracle.check(name, &["yq"], |oracle| {
        let job = Job::read("migrate")?;
        let count = job.0["spec"]["completions"].as_u64().unwrap_or_default();
        fs::create_dir(oracle.path("slurm/destination")).map_err(|e| e.to_string())?;
        let pod = |index: u64| call(&mut job.command(oracle, &index.to_string()));
        thread::scope(|scope| {
            let pods: Vec<_> = (0..count)
                .map(|index| scope.spawn(move || pod(index)))
                .collect();
            let mut ended = pods
                .into_iter()
                .map(|pod| pod.join().map_err(|_| "a thread broke off")?);
            ended.try_for_each(|said| said.map(drop))
        })?;
        let printed = call(&mut Job::read("merge")?.command(oracle, ""))?;
        let merged = oracle.path("slurm/destination/merged.json");
        fs::write(&merged, printed).map_err(|e| e.to_string())?;
        Report::read(&merged)?.complete(IMAGES)?;
        same_as(oracle, "slurm/alone-in-pods", "slurm/destination/images")
    });
}

/// A job of Kubernetes.
struct Job(Value);

impl Job {
    fn read(name: &str) -> Result<Self> {
        let path = root().join(format!("deploy/kubernetes/{name}.yaml"));
        let text = call(Command::new("yq").arg(".").arg(path))?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(|e| e.to_string())
    }

    fn container(&self) -> &Value {
        &self.0["spec"]["template"]["spec"]["containers"][0]
    }

    /// The arguments of the container, whose image has a fixed command.
    fn words(&self) -> Vec<&str> {
        let words = self.container()["args"].as_array().into_iter().flatten();
        words.filter_map(Value::as_str).collect()
    }

    /// The container's command line in the pod with this index: the index is set as Kubernetes sets
    /// it, and what is mounted there is replaced by folders of ours.
    fn command(&self, oracle: &Oracle, index: &str) -> Command {
        let at = |name: &str| oracle.path(name).to_string_lossy().into_owned();
        let words = self.words().into_iter().map(|word| {
            word.replace("/source", &at("slurm/store"))
                .replace("/destination", &at("slurm/destination"))
                .replace("$(JOB_COMPLETION_INDEX)", index)
        });
        let mut command = Command::new(&oracle.program);
        command.args(words).env("JOB_COMPLETION_INDEX", index);
        command
    }
}

/// A Slurm of one node, on the loopback device: munge, a controller and the node's daemon.
#[derive(Debug)]
struct Slurm {
    config: PathBuf,
    /// In the order in which they end.
    daemons: Vec<Child>,
}

impl Slurm {
    fn start(oracle: &Oracle) -> Result<Self> {
        let at = |name: &str| oracle.path(&format!("slurm/daemons/{name}"));
        let config = at("slurm.conf");
        let name = call(Command::new("uname").arg("-n"))?;
        let name = name.trim().split('.').next().unwrap_or_default();
        let text = configuration(name, &at(""), free_port()?, free_port()?);
        fs::write(&config, text).map_err(|e| e.to_string())?;
        oracle.shell(
            "cd slurm/daemons && mkdir state spool && umask 077 && head -c 64 /dev/urandom > key",
        )?;
        let mut slurm = Self {
            config,
            daemons: Vec::new(),
        };
        let munge = format!(
            "exec munged --foreground --force --key-file=key --socket='{0}/munge.socket' \
             --pid-file='{0}/munge.pid' --log-file='{0}/munge.log' --seed-file='{0}/seed'",
            at("").display()
        );
        slurm.spawn(&at("munged"), &munge)?;
        slurm.wait(oracle, "test -S slurm/daemons/munge.socket", &at("munged"))?;
        slurm.spawn(&at("slurmctld"), "exec slurmctld -D")?;
        slurm.spawn(&at("slurmd"), "exec slurmd -D")?;
        slurm.wait(oracle, "sinfo -h -o %t | grep -qx idle", &at("slurmctld"))?;
        Ok(slurm)
    }

    fn spawn(&mut self, log: &Path, script: &str) -> Result {
        let file = File::create(log).map_err(|e| e.to_string())?;
        let child = Command::new("sh")
            .args(["-c", script])
            .env("SLURM_CONF", &self.config)
            .current_dir(log.parent().unwrap_or(log))
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(|e| e.to_string())?)
            .stderr(file)
            .spawn()
            .map_err(|e| e.to_string())?;
        self.daemons.insert(0, child);
        Ok(())
    }

    /// Waits until a script succeeds, at most ten seconds; the failure shows a log.
    fn wait(&self, oracle: &Oracle, script: &str, log: &Path) -> Result {
        for _ in 0..100 {
            if self.shell(oracle, script).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(log).unwrap_or_default();
        Err(format!("`{script}` fails after ten seconds; a log:\n{log}"))
    }

    /// Runs a script that may talk to this Slurm.
    fn shell(&self, oracle: &Oracle, script: &str) -> Result<String> {
        oracle.shell(&format!(
            "export SLURM_CONF='{}' IMGCONV='{}'\nSUBMIT='{}' SOURCE={SOURCE} OPTIONS='{}'\n{script}",
            self.config.display(),
            oracle.program.display(),
            root().join("deploy/slurm/submit.sh").display(),
            SLOWLY.join(" "),
        ))
    }
}

impl Drop for Slurm {
    /// Ends the jobs, then the daemons, each by its id.
    fn drop(&mut self) {
        // Jobs outlive their daemon. Without jobs or without a controller no wait is needed.
        let script = "scancel --user=root; for _ in $(seq 50); do \
                      test -n \"$(squeue -h)\" || exit; sleep 0.1; done";
        let _ = Command::new("sh")
            .args(["-c", script])
            .env("SLURM_CONF", &self.config)
            .stderr(Stdio::null())
            .status();
        for daemon in &mut self.daemons {
            end(daemon, Duration::from_secs(10));
        }
    }
}

/// The configuration of both daemons. It claims eight processors, so that four tasks run at once; a
/// task that is requeued waits until its credential has expired, which five seconds is the shortest
/// that Slurm takes.
fn configuration(host: &str, folder: &Path, controller: u16, node: u16) -> String {
    let folder = folder.display();
    format!(
        "ClusterName=oracle
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=2
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=4000
PartitionName=all Nodes={host} Default=YES MaxTime=10
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script of `deploy` that finds `echo` in place of the program.
    fn said(script: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("sh");
        command
            .arg(root().join("deploy").join(script))
            .args(arguments);
        command
            .env("IMGCONV", "echo")
            .envs(environment.iter().copied());
        call(&mut command).map(|text| text.trim().to_owned())
    }

    fn slurm(array: [&str; 5]) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().to_string_lossy().into_owned();
        let [task, first, last, step, count] = array;
        let environment = [
            ("SLURM_ARRAY_TASK_ID", task),
            ("SLURM_ARRAY_TASK_MIN", first),
            ("SLURM_ARRAY_TASK_MAX", last),
            ("SLURM_ARRAY_TASK_STEP", step),
            ("SLURM_ARRAY_TASK_COUNT", count),
        ];
        let text = said(
            "migrate-shard.sh",
            &environment,
            &[&reports, "a", "b", "--jobs", "2"],
        )?;
        Ok(text.replace(&reports, "R"))
    }

    #[test]
    fn arrays_begin_anywhere_and_shares_at_one() {
        let first = "migrate a b --jobs 2 --shard 1/4 --report R/shard-1-of-4.json";
        assert_eq!(slurm(["1", "1", "4", "1", "4"]).unwrap(), first);
        assert_eq!(slurm(["0", "0", "3", "1", "4"]).unwrap(), first);
        let last = "migrate a b --jobs 2 --shard 4/4 --report R/shard-4-of-4.json";
        assert_eq!(slurm(["3", "0", "3", "1", "4"]).unwrap(), last);
        assert_eq!(slurm(["16", "10", "16", "2", "4"]).unwrap(), last);
        assert!(
            slurm(["7", "1", "7", "1", "3"])
                .unwrap_err()
                .contains("not evenly spaced")
        );
    }

    #[test]
    fn a_script_without_an_array_fails() {
        let error = said("migrate-shard.sh", &[], &["reports", "a", "b"]).unwrap_err();
        assert!(
            error.contains("exit status: 2") && error.contains("no task of a job array"),
            "{error}"
        );
    }

    #[test]
    fn reports_of_other_numbers_of_shares_are_not_joined() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "shard-1-of-2.json",
            "shard-2-of-2.json",
            "shard-1-of-12.json",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let reports = folder.path().to_string_lossy().into_owned();
        said("merge-shards.sh", &[], &[&reports, "2"]).unwrap();
        let found = fs::read_to_string(folder.path().join("merged.json")).unwrap();
        let expected = "migrate merge-reports R/shard-1-of-2.json R/shard-2-of-2.json --json\n";
        assert_eq!(found.replace(&reports, "R"), expected);
    }
}
