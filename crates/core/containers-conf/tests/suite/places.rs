//! What the tables mean for a repository.

use imgconv_model::Code;

use crate::read;

const TABLES: &str = r#"
unqualified-search-registries = ["docker.io", "q.example:5000"]

[aliases]
short = "docker.io/short"

[[registry]]
prefix = "a.example/foo"
location = "inner.example/bar"
[[registry.mirror]]
location = "m0.example/mirror-for-foo"
[[registry.mirror]]
location = "m1.example:5000/mirrors/foo"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m2.example"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "a.example/foo/inner"
location = "longer.example"
insecure = true

[[registry]]
prefix = "*.wild.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.example/wild"

[[registry]]
prefix = "*.rewritten.example"
location = "to.example/here"

[[registry]]
prefix = "docker.io/library"
location = "hub.example/library"

[[registry]]
prefix = "moved.example"
location = "host.example"

[[registry]]
location = "blocked.example"
blocked = true

[[registry]]
prefix = "only-mirrors.example"
location = "only-mirrors.example"
blocked = true
[[registry.mirror]]
location = "m.example/only"
[[registry.mirror]]
location = "blocked.example/x"

[[registry]]
prefix = "to-blocked.example"
location = "blocked.example/y"

[[registry]]
prefix = "bad.example"
location = "no-host"

[[registry]]
prefix = "tagged.example/x:1"
location = "tagged.example/x:1"
blocked = true
"#;

fn reading(name: &str, by_digest: bool) -> Vec<String> {
    let reading = read(TABLES).unwrap().reading(name, by_digest).unwrap();
    let places = reading.mirrors.into_iter().chain([reading.own]);
    let shown = |place: imgconv_containers_conf::Place| match place.insecure {
        true => format!("{} insecure", place.repository),
        false => place.repository,
    };
    places.map(shown).collect()
}

#[test]
fn l18a_the_table_with_the_longest_prefix_leads_to_mirrors_and_then_to_the_location() {
    for (name, by_digest, places) in [
        (
            "a.example/foo/image",
            false,
            &[
                "m0.example/mirror-for-foo/image",
                "m2.example/image",
                "inner.example/bar/image",
            ][..],
        ),
        (
            "a.example/foo/image",
            true,
            &[
                "m0.example/mirror-for-foo/image",
                "m1.example:5000/mirrors/foo/image insecure",
                "inner.example/bar/image",
            ],
        ),
        (
            "a.example/foo/inner/x",
            false,
            &["longer.example/x insecure"],
        ),
        // A prefix ends where a part of a name ends.
        ("a.example/foobar/x", false, &["a.example/foobar/x"]),
        ("a.example/x", false, &["a.example/x"]),
        ("b.a.example/foo/x", false, &["b.a.example/foo/x"]),
        ("x.y.wild.example/z", false, &["x.y.wild.example/z"]),
        (
            "x.y.wild.example/z",
            true,
            &["m.example/wild/z", "x.y.wild.example/z"],
        ),
        ("wild.example/z", true, &["wild.example/z"]),
        ("wild.example.org/z", true, &["wild.example.org/z"]),
        ("a.org/b.wild.example/z", true, &["a.org/b.wild.example/z"]),
        ("x.rewritten.example/z", true, &["to.example/here/z"]),
        ("docker.io/library/x", false, &["hub.example/library/x"]),
        ("docker.io/x/y", false, &["docker.io/x/y"]),
        // As in containers/image.
        ("moved.example:5000/x", false, &["host.example:5000/x"]),
    ] {
        assert_eq!(reading(name, by_digest), places, "{name} {by_digest}");
    }
    let found = read(TABLES).unwrap();
    let error = found.reading("bad.example/x", false).unwrap_err();
    assert_eq!(error.code(), Code::BadManifest);
    assert!(error.to_string().contains("\"no-host/x\""), "{error}");
    // The engines never choose such a table, and what it blocks would be read without a word.
    let error = found.reading("tagged.example/x", false).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    found.reading("tagged.example/xy", false).unwrap();
}

#[test]
fn l18c_what_is_blocked_is_blocked_by_every_name() {
    let found = read(TABLES).unwrap();
    let blocked = |place: &imgconv_containers_conf::Place| {
        let refusal = place.refusal()?;
        assert_eq!(refusal.code(), Code::Denied);
        Some(refusal.to_string())
    };
    let own = |name: &str| blocked(&found.reading(name, false).unwrap().own);
    let message = own("blocked.example/x").unwrap();
    assert!(message.contains("\"blocked.example\""), "{message}");
    assert!(message.contains("registries.conf"), "{message}");
    assert!(own("to-blocked.example/x").is_some());
    assert!(own("a.example/foo/x").is_none());
    let reading = found.reading("only-mirrors.example/x", false).unwrap();
    assert!(blocked(&reading.own).is_some());
    let mirrors: Vec<bool> = reading
        .mirrors
        .iter()
        .map(|place| blocked(place).is_some())
        .collect();
    assert_eq!(mirrors, [false, true]);
    assert!(blocked(&found.named("blocked.example/x").unwrap()).is_some());
    let error = found.listing("blocked.example").unwrap_err();
    assert_eq!(error.code(), Code::Denied);
}

#[test]
fn l18a_a_place_that_is_written_is_the_named_one() {
    let found = read(TABLES).unwrap();
    let place = found.named("a.example/foo/inner/x").unwrap();
    assert_eq!(place.repository, "a.example/foo/inner/x");
    assert!(place.insecure);
    assert!(!found.named("a.example/foo/x").unwrap().insecure);
}

#[test]
fn l18a_a_registry_is_listed_where_its_table_leads() {
    let found = read(TABLES).unwrap();
    let listing = |host: &str| found.listing(host).map(|place| place.repository);
    assert_eq!(listing("moved.example").unwrap(), "host.example");
    assert_eq!(listing("other.example").unwrap(), "other.example");
    assert_eq!(listing("x.wild.example").unwrap(), "x.wild.example");
    let error = listing("x.rewritten.example").unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
}

// D16i
#[test]
fn short_names_are_aliases_and_names_at_searched_registries() {
    let found = read(TABLES).unwrap();
    assert_eq!(
        found.short_names("docker.io/library/short"),
        ["library/short", "short"]
    );
    assert_eq!(found.short_names("docker.io/a/b"), ["a/b"]);
    assert_eq!(found.short_names("q.example:5000/a/b"), ["a/b"]);
    let none: [&str; 0] = [];
    assert_eq!(found.short_names("q.example/a"), none);
}
