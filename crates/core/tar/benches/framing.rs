//! Framing: ten thousand members of 1 KiB, with names that fit a header and with longer ones.

use divan::{Bencher, counter::ItemsCount};
use imgconv_model::{Limits, Notes};
use imgconv_tar::{END, Entry, EntryKind, Reader, head};

const MEMBERS: usize = 10_000;

fn main() {
    divan::main();
}

fn entry(number: usize, directory: &str) -> Entry {
    Entry {
        size: 1024,
        ..Entry::new(
            format!("{directory}/{}/file-{number}", number / 100),
            EntryKind::Regular,
        )
    }
}

fn tar(directory: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..MEMBERS {
        bytes.extend(head(&entry(number, directory)).expect("a name that can be written"));
        bytes.extend([b'x'; 1024]);
    }
    bytes.extend(END);
    bytes
}

#[divan::bench(args = ["usr/share", "with PAX"])]
fn reading(bencher: Bencher<'_, '_>, name: &str) {
    let tar = match name {
        "with PAX" => tar(&"a-long-name/".repeat(25)),
        short => tar(short),
    };
    bencher.counter(ItemsCount::new(MEMBERS)).bench_local(|| {
        let mut reader = Reader::new(&tar[..], &Limits::default(), &Notes::default(), "bench");
        let mut count = 0;
        while reader.next_entry().expect("a sound tar").is_some() {
            count += 1;
        }
        assert_eq!(count, MEMBERS);
    });
}

#[divan::bench]
fn headers(bencher: Bencher<'_, '_>) {
    let entries: Vec<Entry> = (0..MEMBERS)
        .map(|number| entry(number, "usr/share"))
        .collect();
    bencher.counter(ItemsCount::new(MEMBERS)).bench_local(|| {
        let heads = entries
            .iter()
            .map(|entry| head(entry).expect("it can be written"));
        heads.map(|head| head.len()).sum::<usize>()
    });
}
