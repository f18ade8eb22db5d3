//! Tests through the command, a file for each subject.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod addressing;
mod archives;
mod bombs;
mod bytes;
mod care;
mod chunked;
mod command;
mod contents;
mod corpus;
mod descriptors;
mod discovered;
mod docker;
mod docker_archives;
mod docker_records;
mod docker_reversal;
mod documents;
mod engines;
mod help;
mod hostile;
mod images;
mod indexes;
mod layers;
mod listed_names;
mod loopback;
mod matrix;
mod migrate;
mod names;
mod newcomers;
mod newest_record;
mod old_acis;
mod one_name;
mod own_files;
mod pipes;
mod places;
mod platforms;
mod printed;
mod records;
mod referrers;
mod registries;
mod registries_v1;
mod rendered;
mod report_page;
mod reversal;
mod rootfs;
mod sandbox;
mod selves;
mod serve_command;
mod serving;
mod stores;
mod tags;
mod terminal;
mod told;
mod trust;
mod unexamined;
mod unread_records;
mod ways_back;
mod whole_program;
mod whole_registries;
mod windows;
