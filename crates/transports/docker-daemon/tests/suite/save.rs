//! Images that an engine gives out.

use imgconv_model::{Bundle, Code, Name, Root, RootEntry};
use imgconv_testkit::engine::refusal;

use crate::fixture::{place, recipe, three, with};

fn names(entries: &[RootEntry]) -> Vec<String> {
    let text = |entry: &RootEntry| entry.name.as_ref().map_or("-".to_owned(), Name::to_string);
    entries.iter().map(text).collect()
}

/// Reads the root document of an entry as `migrate` does: in the part that holds the entry.
fn root(bundle: &dyn Bundle, entry: &RootEntry) -> String {
    let (part, inner) = bundle.part(entry).unwrap().unwrap();
    match part.root(&inner).unwrap() {
        Root::Document(document) => String::from_utf8_lossy(&document.bytes).into_owned(),
        Root::Stream(_) => panic!("an archive has documents"),
    }
}

// robustness Q01: one image by its name, its ID, a shortened ID.
#[test]
fn q01_an_image_is_read_by_its_name_or_its_id() {
    let place = place(&three());
    let id = place.engine.images()[0].id.clone();
    for (text, expected) in [
        ("a:1", "docker.io/library/a:1"),
        ("b", "docker.io/library/b:latest"),
        (&*id, "-"),
        (&id["sha256:".len()..][..12], "-"),
        (&*format!("@{id}"), "-"),
    ] {
        let bundle = place.open(text).unwrap();
        let roots = bundle.roots().unwrap();
        assert_eq!(names(&roots), [expected], "{text}");
        assert!(root(&*bundle, &roots[0]).contains("Layers"), "{text}");
        if expected == "-" {
            assert_eq!(format!("sha256:{}", roots[0].texts[0]), id);
        }
    }
}

// robustness Q02: all images: names in one archive, so that shared layers are sent once; an image
// without a name by its ID.
#[test]
fn q02_all_images_are_read_by_few_requests() {
    let place = place(&three());
    let bundle = place.open("").unwrap();
    assert_eq!(place.engine.requests(), ["GET /images/json"]);
    let roots = bundle.roots().unwrap();
    let expected = [
        "docker.io/library/a:1",
        "example.com/a:2",
        "docker.io/library/b:latest",
        "-",
    ];
    assert_eq!(names(&roots), expected);
    let positions: Vec<usize> = roots.iter().map(|entry| entry.position).collect();
    assert_eq!(positions, [0, 0, 1, 3]);
    let fetched = |requests: &[String]| {
        let get = |request: &&String| request.starts_with("GET /images/get");
        requests.iter().filter(get).count()
    };
    assert_eq!(fetched(&place.engine.requests()), 2);
    for entry in &roots {
        root(&*bundle, entry);
    }
    assert_eq!(
        fetched(&place.engine.requests()),
        2,
        "nothing is fetched again"
    );
}

// robustness Q03: a list of images costs no image.
#[test]
fn q03_a_listing_fetches_no_image() {
    let place = place(&three());
    let bundle = place.open("").unwrap();
    let lines = bundle.summaries().unwrap().unwrap();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0].name.as_deref(), Some("docker.io/library/a:1"));
    assert_eq!(
        lines[0].platform.as_ref().unwrap().to_string(),
        "linux/amd64"
    );
    assert_eq!(lines[0].digest, place.engine.images()[0].id);
    assert_eq!(lines[3].name, None);
    let requests = place.engine.requests();
    assert!(
        !requests.iter().any(|it| it.contains("/get")),
        "{requests:?}"
    );
}

// robustness Q04: an image that the engine does not have: the error lists those that there are.
#[test]
fn q04_a_missing_image_is_told_with_those_that_there_are() {
    let one = place(&three());
    let error = one.fails("nope:1");
    assert_eq!(error.code(), Code::Missing);
    let text = format!("{error} {}", error.advice().unwrap());
    assert!(text.contains("has no image \"nope:1\""), "{text}");
    assert!(
        text.contains(r#""a:1", "b:latest", "example.com/a:2""#),
        "{text}"
    );
    let error = place(&[]).fails("nope:1");
    assert!(
        error.advice().unwrap().contains("no images at all"),
        "{error}"
    );
}

// robustness Q05: an image that the engine does not give out is one bad entry.
#[test]
fn q05_one_bad_image_is_one_bad_entry() {
    let place = with(&three(), |request| {
        let names = request.queries("names");
        let bad = request.path() == "/images/get" && names.iter().any(|name| name == "b:latest");
        bad.then(|| refusal(500, "blob not found"))
    });
    let bundle = place.open("").unwrap();
    let roots = bundle.roots().unwrap();
    assert_eq!(roots.len(), 4);
    for entry in &roots {
        let is_b = entry
            .name
            .as_ref()
            .is_some_and(|name| name.to_string().contains("/b:"));
        match &entry.error {
            Some(error) => {
                assert!(
                    is_b && error.to_string().contains("blob not found"),
                    "{error}"
                );
                assert!(bundle.root(entry).is_err());
            }
            None => assert!(!is_b && root(&*bundle, entry).contains("Layers")),
        }
    }
}

#[test]
fn hundreds_of_images_are_several_archives() {
    let many: Vec<_> = (0..400)
        .map(|i| {
            recipe(
                &format!("example.com/{}/{i}", "x".repeat(40)),
                "1",
                &["base"],
            )
        })
        .collect();
    let mut many = many;
    for (i, image) in many.iter_mut().enumerate() {
        image.head.author = i.to_string();
    }
    let place = place(&many);
    let roots = place.open("").unwrap().roots().unwrap();
    assert_eq!(roots.len(), 400);
    let requests = place.engine.requests();
    assert!((3..8).contains(&requests.len()), "{}", requests.len());
}
