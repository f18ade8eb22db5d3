//! The project's own tasks: `cargo xtask TASK`.
//!
//! One file per task, and a `match`. Nothing here is part of the program that users get.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task talks to the terminal"
)]

mod assurance;
mod bench;
mod ci;
mod corpus;
mod dist;
mod docs;
mod faults;
mod fuzz;
mod members;
mod newer;
mod oracle;
mod picture;
mod process;
mod selves;
mod tidy;
mod torture;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask TASK

  ci                         all checks that need no other program: fmt, clippy, tidy, docs, tests
  tidy [--measure]           the rules that the compiler does not know; --measure prints numbers
                             about the shape of the source instead
  corpus run [CASE]          run the cases of testdata/corpus
  corpus build NAME DIR      write a recipe of testdata/images as NAME.aci and as a layout
  corpus bless [CASE] [--yes]
                             show (--yes: write) what the golden files would become
  selves                     keep what the program of a release writes, in testdata/selves/VERSION: later
                             programs are tested with it
  docs [--check]             write (--check: compare) the generated documents and the picture
  dist [--out DIR] [--profile NAME | --program FILE]
                             write the files of a release to target/dist; the same commit gives the
                             same bytes
  dist --check [--out DIR] [--require-all]
                             install and use each file of a release where nothing else is (as root)
  oracle [GROUP] [--require-all] [--keep] [--rounds N] [--record]
                             let tools that no one here wrote judge our output; --rounds: of the
                             writers on two machines (group locks); --record puts the result into
                             testdata/assurance.json, of which docs/assurance.md is made
  torture [--minutes N] [--seed S] [--images N] [--jobs J] [--save DIR] [--json] [--record],
        torture --case DIR
                             random images through random chains of conversions, compared with a model
                             (as root also unpacked); --case runs a saved chain
  fuzz [--minutes N | --hours N] [--target T]... [--jobs J] [--json] [--record FILE]
                             look for inputs that break a reader, guided by the code that they reach;
                             --record adds the numbers to a file. It needs a C++ compiler
  faults [--kind TEXT] [--share K/N] [--only FAULT] [--json] [--ignored] [--record]
                             let each file system call of small jobs fail, fill the disk there, kill the
                             program there, and check what is left
  newer [--again]            make the directory with the newer peers for oracle and bench (as root, by
                             debootstrap; IMGCONV_NEWER names another directory)
  bench [goals] [--only JOB] [--size MB], bench scaling [--model], bench memory [--only INPUT],
        bench migrate [--only JOB] [--size MB], bench store [--only JOB] [--size MB],
        bench serve [--size MB], bench start, bench all
        [--json] [--rounds N] [--folder DIR] [--save]
                             time, memory and bytes, beside other programs that do the same; all
                             --save writes docs/benchmarks.md

corpus, docs, faults, oracle, selves, torture and bench take `--program PATH` instead of building the program.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> process::Result {
    let [task, rest @ ..] = words else {
        return Err(USAGE.to_owned());
    };
    if process::asks_for_usage(task, rest) || matches!(*task, "help" | "--help" | "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    process::operands(task, rest)?;
    match *task {
        "ci" => ci::run(),
        "torture" => torture::run(rest),
        "tidy" => tidy::run(rest),
        "corpus" => corpus::run(rest),
        "dist" => dist::run(rest),
        "faults" => faults::run(rest),
        faults::WORD => faults::become_traced(rest),
        "docs" => docs::run(rest),
        "fuzz" => fuzz::run(rest),
        "selves" => selves::run(rest),
        "newer" => newer::run(rest),
        "oracle" => oracle::run(rest),
        "bench" => bench::run(rest),
        "floor" => bench::run_floor(rest),
        "measure" => bench::run_script(rest),
        _ => Err(USAGE.to_owned()),
    }
}
