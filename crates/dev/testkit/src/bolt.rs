//! A bbolt database in containerd's form, made from keys and values.
//!
//! This writer follows the description of the format and shares no code with the reader under test.
//! Pages have 4096 bytes. As in bbolt, a small bucket without inner buckets is stored in the value
//! of its parent, and a bucket with many keys has several leaves and a branch.

use std::collections::BTreeMap;

const PAGE: usize = 4096;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META: u16 = 4;
const FREE_LIST: u16 = 16;
/// The number of keys in one leaf: small, so that a few keys make a branch.
const KEYS: usize = 8;

/// The content of a key.
#[derive(Clone, Debug)]
pub enum Node {
    /// A value.
    Value(Vec<u8>),
    /// A bucket.
    Bucket(Bucket),
}

/// A bucket.
pub type Bucket = BTreeMap<Vec<u8>, Node>;

/// Adds a value under a path of buckets; the last part is the key.
pub fn put(bucket: &mut Bucket, path: &[&str], value: &[u8]) {
    let (first, rest) = (path[0].as_bytes().to_vec(), &path[1..]);
    if rest.is_empty() {
        bucket.insert(first, Node::Value(value.to_vec()));
        return;
    }
    let below = bucket
        .entry(first)
        .or_insert_with(|| Node::Bucket(Bucket::new()));
    if let Node::Bucket(below) = below {
        put(below, rest, value);
    }
}

/// Makes the file of a database.
pub fn file(root: &Bucket) -> Vec<u8> {
    // Two meta pages and the free list come first.
    let mut pages = vec![vec![0; PAGE]; 3];
    let top = write_bucket(&mut pages, root);
    let mut free = header(2, FREE_LIST, 0, 0);
    free.resize(PAGE, 0);
    pages[2] = free;
    let count = pages.len() as u64;
    for number in 0..2u64 {
        // The second meta page belongs to the transaction before.
        let transaction = 8 - number;
        let root = if number == 0 { top } else { 2 };
        pages[number as usize] = meta(number, root, count, transaction);
    }
    pages.concat()
}

fn meta(number: u64, root: u64, count: u64, transaction: u64) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0xED0C_DAED_u32.to_le_bytes());
    body.extend(2u32.to_le_bytes());
    body.extend((PAGE as u32).to_le_bytes());
    body.extend(0u32.to_le_bytes());
    for field in [root, 0, 2, count, transaction] {
        body.extend(field.to_le_bytes());
    }
    let mut sum: u64 = 14_695_981_039_346_656_037;
    for byte in &body {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
    }
    body.extend(sum.to_le_bytes());
    let mut page = header(number, META, 0, 0);
    page.extend(body);
    page.resize(PAGE, 0);
    page
}

fn header(number: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let mut out = number.to_le_bytes().to_vec();
    out.extend(flags.to_le_bytes());
    out.extend((count as u16).to_le_bytes());
    out.extend(overflow.to_le_bytes());
    out
}

/// Writes the pages of a bucket; returns the number of its root page.
fn write_bucket(pages: &mut Vec<Vec<u8>>, bucket: &Bucket) -> u64 {
    let elements: Vec<(Vec<u8>, u32, Vec<u8>)> = bucket
        .iter()
        .map(|(key, node)| match node {
            Node::Value(value) => (key.clone(), 0, value.clone()),
            Node::Bucket(below) => (key.clone(), 1, bucket_value(pages, below)),
        })
        .collect();
    if elements.len() <= KEYS {
        return write_leaf(pages, &elements);
    }
    let mut branch = Vec::new();
    for part in elements.chunks(KEYS) {
        branch.push((part[0].0.clone(), write_leaf(pages, part)));
    }
    let number = pages.len() as u64;
    let mut page = header(number, BRANCH, branch.len(), 0);
    let mut keys: Vec<u8> = Vec::new();
    for (i, (key, child)) in branch.iter().enumerate() {
        let distance = (branch.len() - i) * 16 + keys.len();
        page.extend((distance as u32).to_le_bytes());
        page.extend((key.len() as u32).to_le_bytes());
        page.extend(child.to_le_bytes());
        keys.extend(key);
    }
    page.extend(keys);
    store(pages, page)
}

/// Returns the value of a bucket: the number of its root page, or the page itself.
fn bucket_value(pages: &mut Vec<Vec<u8>>, bucket: &Bucket) -> Vec<u8> {
    let plain = bucket.values().all(|node| matches!(node, Node::Value(_)));
    if plain && bucket.len() <= KEYS {
        let elements: Vec<_> = bucket
            .iter()
            .filter_map(|(key, node)| match node {
                Node::Value(value) => Some((key.clone(), 0, value.clone())),
                Node::Bucket(_) => None,
            })
            .collect();
        let page = leaf(0, &elements);
        if page.len() < PAGE / 4 {
            return [vec![0; 16], page].concat();
        }
    }
    let root = write_bucket(pages, bucket);
    [root.to_le_bytes(), [0; 8]].concat()
}

fn write_leaf(pages: &mut Vec<Vec<u8>>, elements: &[(Vec<u8>, u32, Vec<u8>)]) -> u64 {
    let page = leaf(pages.len() as u64, elements);
    store(pages, page)
}

fn leaf(number: u64, elements: &[(Vec<u8>, u32, Vec<u8>)]) -> Vec<u8> {
    let mut page = header(number, LEAF, elements.len(), 0);
    let mut data: Vec<u8> = Vec::new();
    for (i, (key, flags, value)) in elements.iter().enumerate() {
        let distance = (elements.len() - i) * 16 + data.len();
        page.extend(flags.to_le_bytes());
        page.extend((distance as u32).to_le_bytes());
        page.extend((key.len() as u32).to_le_bytes());
        page.extend((value.len() as u32).to_le_bytes());
        data.extend(key);
        data.extend(value);
    }
    page.extend(data);
    page
}

/// Adds a page, with as many following pages as it needs.
fn store(pages: &mut Vec<Vec<u8>>, mut page: Vec<u8>) -> u64 {
    let number = pages.len() as u64;
    let more = page.len().div_ceil(PAGE) - 1;
    page[12..16].copy_from_slice(&(more as u32).to_le_bytes());
    page.resize((more + 1) * PAGE, 0);
    pages.extend(page.chunks(PAGE).map(<[u8]>::to_vec));
    number
}
