//! Which files are read, in which order, and what a file must not contain.

use std::sync::Arc;

use imgconv_containers_conf::Registries;
use imgconv_model::{Code, Network, RegistriesFiles};

use crate::{Folder, read};

fn location(host: &str) -> String {
    format!("[[registry]]\nprefix = \"a.example\"\nlocation = \"{host}\"\n")
}

/// Returns where `a.example/x` is read, by the files.
fn place(files: &RegistriesFiles) -> String {
    let reading = Registries::read(files)
        .unwrap()
        .reading("a.example/x", false);
    reading.unwrap().own.repository
}

#[test]
fn l18a_the_files_of_the_user_count_before_those_of_the_system() {
    let folder = Folder::new();
    let (system, own) = (folder.path("etc/r.conf"), folder.path("home/r.conf"));
    let additions = ["etc/r.conf.d", "home/r.conf.d"].map(|name| folder.path(name));
    let files = RegistriesFiles {
        places: vec![
            (own, vec![additions[1].clone()]),
            (system, additions.to_vec()),
        ],
        ..RegistriesFiles::default()
    };
    assert_eq!(place(&files), "a.example/x");
    folder.write("etc/r.conf", &location("system.example"));
    assert_eq!(place(&files), "system.example/x");
    // Of the additions the last one counts; other files and folders are no additions.
    folder.write("etc/r.conf.d/1.conf", &location("one.example"));
    folder.write("etc/r.conf.d/2.conf", &location("two.example"));
    folder.write("etc/r.conf.d/3.config", "[");
    folder.write("etc/r.conf.d/4.conf/x", "[");
    assert_eq!(place(&files), "two.example/x");
    folder.write("home/r.conf.d/0.conf", &location("own-addition.example"));
    assert_eq!(place(&files), "own-addition.example/x");
    // With a file of the user, nothing of the system is read.
    folder.write("home/r.conf", "unqualified-search-registries = []");
    folder.write("home/r.conf.d/0.conf", "");
    assert_eq!(place(&files), "a.example/x");
    let only = RegistriesFiles {
        only: Some(folder.write("only.conf", &location("only.example"))),
        ..files
    };
    assert_eq!(place(&only), "only.example/x");
    let missing = RegistriesFiles {
        only: Some(folder.path("missing.conf")),
        ..RegistriesFiles::default()
    };
    let error = Registries::read(&missing).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("missing.conf"), "{error}");
}

#[test]
fn l18a_the_files_are_read_once_in_a_run() {
    let folder = Folder::new();
    let mut network = Network::default();
    network.registries.only = Some(folder.write("r.conf", &location("b.example")));
    let first = Registries::of(&network).unwrap();
    folder.write("r.conf", "[");
    assert!(Arc::ptr_eq(
        &first,
        &Registries::of(&network.clone()).unwrap()
    ));
    // Other files are other settings.
    network.registries.only = Some(folder.write("other.conf", ""));
    let other = Registries::of(&network).unwrap();
    assert!(!Arc::ptr_eq(&first, &other));
}

#[test]
fn l18a_additions_merge_tables_aliases_and_search_registries() {
    let folder = Folder::new();
    let main = folder.write(
        "r.conf",
        "unqualified-search-registries = [\"one.example\"]\n\
         [aliases]\na = \"one.example/a\"\nb = \"one.example/b\"\n\
         [[registry]]\nlocation = \"kept.example\"\nblocked = true\n",
    );
    folder.write(
        "r.conf.d/1.conf",
        "unqualified-search-registries = [\"two.example\"]\n\
         [aliases]\na = \"\"\nc = \"two.example/c\"\n",
    );
    let recorded = folder.write("recorded.conf", "[aliases]\nc = \"three.example/c\"\n");
    let files = RegistriesFiles {
        places: vec![(main, vec![folder.path("r.conf.d")])],
        recorded_aliases: Some(recorded),
        ..RegistriesFiles::default()
    };
    let found = Registries::read(&files).unwrap();
    let none: [&str; 0] = [];
    assert_eq!(found.short_names("one.example/a"), none);
    assert_eq!(found.short_names("one.example/b"), ["b"]);
    assert_eq!(found.short_names("two.example/c"), ["c"]);
    assert_eq!(found.short_names("two.example/x/y"), ["x/y"]);
    assert_eq!(found.short_names("three.example/c"), ["c"]);
    assert!(found.named("kept.example/x").unwrap().blocked.is_some());
}

#[test]
fn l18d_a_malformed_file_is_named_with_its_key() {
    let registry = |rest: &str| format!("[[registry]]\nlocation = \"a.example\"\n{rest}\n");
    let mirror = |rest: &str| registry(&format!("[[registry.mirror]]\n{rest}"));
    for (text, named) in [
        ("x = 1\n[registry".to_owned(), "line 2"),
        ("registry = 1".to_owned(), "`registry` is no list of tables"),
        (registry("insecure = \"yes\""), "`registry[0].insecure`"),
        (registry("blocked = 1"), "`registry[0].blocked`"),
        (
            registry("pull-from-mirror = \"all\""),
            "`registry[0].pull-from-mirror`",
        ),
        (
            "[[registry]]\nlocation = 1".to_owned(),
            "`registry[0].location` is no text",
        ),
        (
            "[[registry]]\nlocation = \"https://a.example\"".to_owned(),
            "`registry[0].location` is \"https://a.example\"",
        ),
        (
            "[[registry]]\nblocked = true".to_owned(),
            "`registry[0].location` is not set",
        ),
        (
            "[[registry]]\nprefix = \"a.example\"".to_owned(),
            "`registry[0].location` is not set",
        ),
        (
            "[[registry]]\nprefix = \"*.a.example/x\"".to_owned(),
            "`registry[0].prefix`",
        ),
        (registry("prefix = \"a.*.example\""), "`registry[0].prefix`"),
        (mirror(""), "`registry[0].mirror[0].location` is not set"),
        (
            mirror("location = \"b.example\"\npull-from-mirror = \"never\""),
            "`registry[0].mirror[0].pull-from-mirror` is \"never\"",
        ),
        (
            registry(
                "mirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"b.example\"\n\
                 pull-from-mirror = \"all\"",
            ),
            "`mirror-by-digest-only`",
        ),
        (
            registry(
                "[[registry]]\nlocation = \"a.example\"\nprefix = \"b.example\"\nblocked = true",
            ),
            "`registry[1].blocked` is true, and another table for \"a.example\" has false",
        ),
        (
            "unqualified-search-registries = [\"a.example/x\"]".to_owned(),
            "`unqualified-search-registries[0]`",
        ),
        (
            "unqualified-search-registries = \"a.example\"".to_owned(),
            "`unqualified-search-registries` is no list",
        ),
        (
            "short-name-mode = \"sometimes\"".to_owned(),
            "`short-name-mode` is \"sometimes\"",
        ),
        (
            "[aliases]\n\"a.example/x\" = \"b.example/x\"".to_owned(),
            "`aliases.\"a.example/x\"` is no short name",
        ),
        (
            "[aliases]\nx = \"x\"".to_owned(),
            "`aliases.\"x\"` is no full name",
        ),
        (
            "[aliases]\nx = \"b.example/x:1\"".to_owned(),
            "`aliases.\"x\"` is no full name",
        ),
        (
            "[registries.search]\nregistries = [\"a.example\"]".to_owned(),
            "`registries.search` is a table of version 1",
        ),
        (
            "[registries.block]\nregistries = [\"a.example\"]".to_owned(),
            "`registries.block` is a table of version 1",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert_eq!(error.code(), Code::BadManifest, "{text}");
        let message = error.to_string();
        assert!(message.contains("registries.conf"), "{text}: {message}");
        assert!(message.contains(named), "{text}: {message}");
    }
    let folder = Folder::new();
    let path = folder.path("registries.conf");
    std::fs::write(&path, b"# \n# \xff\n").unwrap();
    let files = RegistriesFiles {
        only: Some(path),
        ..RegistriesFiles::default()
    };
    let error = Registries::read(&files).unwrap_err().to_string();
    assert!(
        error.contains("line 2") && error.contains("UTF-8"),
        "{error}"
    );
}

#[test]
fn l18d_what_engines_accept_is_accepted() {
    // Keys of newer engines, and tables of version 1 that say nothing.
    read(
        "credential-helpers = [\"x\"]\nnew = 1\nshort-name-mode = \"enforcing\"\n\
         [registries.search]\nregistries = []\n\
         [[registry]]\nlocation = \"a.example/\"\nnew = true\n",
    )
    .unwrap();
    let found = read("").unwrap();
    assert_eq!(found.reading("a.example/x", true).unwrap().mirrors, []);
}
