//! Discovery (appc spec, discovery.md, and the order of appc/spec pull request 584): public keys,
//! image tags, then the image.
//!
//! Each kind of meta tag is searched separately, first on the page of the whole name, then on the
//! pages of its parents. A page is requested once.

use std::collections::BTreeMap;

use imgconv_http::{Client, RemoteFile, Request, Url};
use imgconv_model::{
    Bundle as _, Code, Env, Error, Fetched, Limits, Platform, Result, Root, Signature, Signed as _,
    quote,
};
use imgconv_tags::{ImageTags, Labels};

use crate::{
    image::{AppImage, check_labels},
    page::{self, Kind, Meta},
    template::{self, Rendered},
};

/// One discovery of one name.
#[derive(Debug)]
pub(crate) struct Discovery<'e> {
    client: Client,
    env: &'e Env,
    name: String,
    /// The host that the user named, or its mirror.
    named: Url,
    /// The meta tags of pages, by the paths of the pages.
    pages: BTreeMap<String, Vec<Meta>>,
    /// The failed attempts, for the final error.
    tried: Vec<String>,
    requests: u64,
}

impl<'e> Discovery<'e> {
    pub(crate) fn new(name: &str, env: &'e Env) -> Result<Self> {
        let client = Client::new(env)?;
        let host = name.split('/').next().unwrap_or_default();
        let mirrors = &env.network.mirrors;
        let mirror = mirrors.iter().find(|(from, _)| from == host);
        let named = match mirror {
            Some((_, to)) => mirrored(&client, to, "")?,
            None => client.base(host)?,
        };
        Ok(Self {
            client,
            env,
            name: name.to_owned(),
            named,
            pages: BTreeMap::new(),
            tried: Vec::new(),
            requests: 0,
        })
    }

    /// Fetches an image.
    ///
    /// # Errors
    /// [`Code::Missing`] that lists every answer, if nothing was found; [`Code::BadSignature`] or
    /// [`Code::Denied`] for image tags without a good signature; [`Code::Limit`] if too many
    /// requests would be needed; the errors of [`Client::send`].
    pub(crate) fn image(&mut self, image: &AppImage) -> Result<RemoteFile> {
        let keys = match self.env.network.insecure_image {
            true => Vec::new(),
            false => self.public_keys()?,
        };
        let tags = match &image.tag {
            Some(_) => self.image_tags(&keys)?,
            None => None,
        };
        let labels = imgconv_tags::merge(tags.as_ref(), image.tag.as_deref(), &image.labels)?;
        check_labels(&labels)?;
        let assumed: Labels = platform_labels(&self.env.host)
            .into_iter()
            .filter(|(label, _)| !labels.contains_key(label))
            .collect();
        let mut values = labels.clone();
        values.extend(assumed.clone());
        let asked = Fetched {
            name: Some(self.name.clone()),
            labels,
            assumed,
            tag: image.tag.clone(),
            ..Fetched::default()
        };
        if let Some(found) = self.fetch(&values, &asked, &keys)? {
            return Ok(found);
        }
        // By the specification a template with `{version}` can't be used then; appc's own client
        // uses `latest` as the version.
        if !values.contains_key("version") {
            values.insert("version".to_owned(), "latest".to_owned());
            if let Some(found) = self.fetch(&values, &asked, &keys)? {
                return Ok(found);
            }
        }
        Err(self.nothing(Kind::Image))
    }

    /// Fetches the image tags of the name, and verifies their signature.
    pub(crate) fn tags_alone(&mut self) -> Result<ImageTags> {
        let keys = match self.env.network.insecure_image {
            true => Vec::new(),
            false => self.public_keys()?,
        };
        let tags = self.image_tags(&keys)?;
        tags.ok_or_else(|| self.nothing(Kind::ImageTags))
    }

    fn fetch(
        &mut self,
        labels: &Labels,
        asked: &Fetched,
        keys: &[Url],
    ) -> Result<Option<RemoteFile>> {
        for path in parents(&self.name) {
            for rendered in self.rendered(&path, Kind::Image, labels)? {
                let url = Url::parse(&rendered.url("aci"))?;
                let signature = Url::parse(&rendered.url("aci.asc"))?;
                let Some(file) = self.attempt(&url, &signature, keys)? else {
                    continue;
                };
                return Ok(Some(file.asked_for(asked.clone())));
            }
        }
        Ok(None)
    }

    /// Fetches a file that may be missing, from the first place that has it; the signature comes
    /// from the same place.
    fn attempt(&mut self, url: &Url, signature: &Url, keys: &[Url]) -> Result<Option<RemoteFile>> {
        let places = self.places(url)?.into_iter();
        for (request, signature) in places.zip(self.places(signature)?) {
            self.count()?;
            match RemoteFile::fetch(&self.client, &request, self.env) {
                Ok(file) => {
                    let keys = keys.iter().map(|url| self.places(url));
                    let keys = keys.collect::<Result<_>>()?;
                    return Ok(Some(file.signed_at(signature).keys_at(keys)));
                }
                Err(error) if error.code() == Code::Missing => {
                    self.tried.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn image_tags(&mut self, keys: &[Url]) -> Result<Option<ImageTags>> {
        for path in parents(&self.name) {
            for rendered in self.rendered(&path, Kind::ImageTags, &Labels::new())? {
                let url = Url::parse(&rendered.url("json"))?;
                let signature = Url::parse(&rendered.url("json.asc"))?;
                let Some(file) = self.attempt(&url, &signature, keys)? else {
                    continue;
                };
                return self
                    .read_tags(&file)
                    .map(Some)
                    .map_err(|error| error.at(url.to_string()));
            }
        }
        Ok(None)
    }

    fn read_tags(&self, file: &RemoteFile) -> Result<ImageTags> {
        let roots = file.roots()?;
        let root = roots.first().map(|entry| file.root(entry)).transpose()?;
        let Some(Root::Stream(blob)) = root else {
            return Err(Error::new(Code::Missing, "there is no file"));
        };
        let limits = &self.env.limits;
        let limit = ("image_tags", limits.image_tags);
        let bytes = imgconv_stream::read_to_limit(blob.open()?, limit, "image tags")?;
        if !self.env.network.insecure_image {
            let signature = file.signature(limits)?.ok_or_else(unsigned)?;
            self.verify(&signature, &bytes)?;
        }
        ImageTags::parse(&bytes, limits, "image tags")
    }

    fn verify(&self, signature: &Signature, bytes: &[u8]) -> Result<()> {
        let data = || -> Result<imgconv_model::Reader> {
            Ok(Box::new(std::io::Cursor::new(bytes.to_vec())))
        };
        imgconv_openpgp::check(signature, &self.name, &data, self.env).map(drop)
    }

    /// Finds the URLs of public keys.
    fn public_keys(&mut self) -> Result<Vec<Url>> {
        for path in parents(&self.name) {
            let found = self.meta(&path, Kind::PublicKeys)?;
            if !found.is_empty() {
                return found
                    .iter()
                    .map(|meta| Url::parse(&meta.template))
                    .collect();
            }
        }
        Ok(Vec::new())
    }

    /// The usable templates of a page: of these, the ones with the most labels (discovery.md).
    fn rendered(&mut self, path: &str, kind: Kind, labels: &Labels) -> Result<Vec<Rendered>> {
        let name = self.name.clone();
        Ok(usable(&self.meta(path, kind)?, &name, labels))
    }

    /// The meta tags of a page that apply to the name.
    fn meta(&mut self, path: &str, kind: Kind) -> Result<Vec<Meta>> {
        if !self.pages.contains_key(path) {
            let page = self.page(path)?;
            self.pages.insert(path.to_owned(), page);
        }
        let page = self.pages.get(path).into_iter().flatten();
        let wanted = |meta: &&Meta| meta.kind == kind && meta.is_for(&self.name);
        Ok(page.filter(wanted).cloned().collect())
    }

    /// Requests a page. A client error, or a page without meta tags, counts as no page.
    fn page(&mut self, path: &str) -> Result<Vec<Meta>> {
        self.count()?;
        let below = path.split_once('/').map_or("", |(_, below)| below);
        let url = format!("{}{below}?ac-discovery=1", self.named.as_str());
        let url = Url::parse(&url)?;
        let request = self.with_host_headers(Request::get(&url));
        let response = self.client.send(&request)?;
        let status = response.status();
        if status != 200 {
            self.tried
                .push(format!("{url}: the server answered {status}"));
            return match status {
                400..=499 => Ok(Vec::new()),
                _ => Err(response.into_failure()),
            };
        }
        let coding = response.header("content-encoding").unwrap_or("identity");
        if !coding.eq_ignore_ascii_case("identity") {
            let message = format!(
                "the page is encoded by {}, and `identity` was asked for",
                quote(coding)
            );
            return Err(Error::new(Code::Net, message).at(url.to_string()));
        }
        let limit = ("discovery_page", self.env.limits.discovery_page);
        let found = page::read(&response.into_bytes(limit)?);
        if found.is_empty() {
            self.tried
                .push(format!("{url}: the page has no discovery tags"));
        }
        Ok(found)
    }

    /// The requests for a URL from a page: to the mirrors of its host, which the user named, and to
    /// the host itself.
    fn places(&self, url: &Url) -> Result<Vec<Request<'static>>> {
        let mut places = Vec::new();
        for (from, to) in &self.env.network.mirrors {
            let from = from.to_ascii_lowercase();
            if from == url.authority() || from == url.host() {
                let start = url.as_str().find("://").map_or(0, |at| at + 3);
                let below = url.as_str()[start..].split_once('/');
                let mirror = mirrored(&self.client, to, below.map_or("", |(_, below)| below))?;
                places.push(self.with_host_headers(Request::get(&mirror)));
            }
        }
        let named = self.named.authority();
        places.push(self.with_host_headers(Request::get(url).made_up_by(Some(named))));
        Ok(places)
    }

    /// Adds the headers that the user named for exactly this host (robustness J7).
    fn with_host_headers(&self, mut request: Request<'static>) -> Request<'static> {
        let url = request.url().clone();
        for header in &self.env.network.host_headers {
            if url.is_https() && header.host.eq_ignore_ascii_case(url.authority()) {
                self.env.secrets.add(header.value.expose());
                request = request.private_header(header.name.clone(), header.value.expose());
            }
        }
        request
    }

    fn count(&mut self) -> Result<()> {
        let limit = self.env.limits.discovery_requests;
        if self.requests >= limit {
            let what = format!("the discovery of {}", quote(&self.name));
            return Err(Limits::exceeded("discovery_requests", limit, what));
        }
        self.requests += 1;
        Ok(())
    }

    fn nothing(&self, kind: Kind) -> Error {
        let message = format!(
            "no usable `{}` was found: {}",
            kind.name(),
            self.tried.join("; ")
        );
        Error::new(Code::Missing, message).at(quote(&self.name))
    }
}

/// The URL on a mirror, `HOST[/PREFIX]`, for a path and query of a host, without the first slash.
fn mirrored(client: &Client, mirror: &str, below: &str) -> Result<Url> {
    let (host, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
    let base = client.base(host)?;
    let prefix = prefix.trim_end_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    Url::parse(&format!("{}{prefix}{slash}{below}", base.as_str()))
}

fn unsigned() -> Error {
    Error::new(Code::Denied, "the image tags have no signature")
        .hint("`--insecure-image` accepts them without a signature")
}

/// A name and its parents: `a/b/c`, `a/b`, `a`.
fn parents(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    let mut rest = name;
    while let Some((parent, _)) = rest.rsplit_once('/') {
        all.push(parent.to_owned());
        rest = parent;
    }
    all
}

/// The labels `os` and `arch` of a platform, with appc's values.
fn platform_labels(platform: &Platform) -> Labels {
    let arch = match (&*platform.architecture, platform.variant.as_deref()) {
        ("386", _) => "i386",
        ("arm64", _) => "aarch64",
        ("arm", Some("v7")) => "armv7l",
        ("arm", _) => "armv6l",
        (other, _) => other,
    };
    [("os", &*platform.os), ("arch", arch)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .collect()
}

/// The rendered templates with the most labels, of those that lead to a web server.
pub(crate) fn usable(metas: &[Meta], name: &str, labels: &Labels) -> Vec<Rendered> {
    let usable = |meta: &Meta| {
        let scheme = meta.template.split_once("://").map(|(scheme, _)| scheme);
        let web = scheme.is_some_and(|scheme| {
            ["http", "https"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
        });
        template::render(&meta.template, name, labels).filter(|_| web)
    };
    let mut found: Vec<Rendered> = metas.iter().filter_map(usable).collect();
    let most = found.iter().map(|rendered| rendered.labels).max();
    found.retain(|rendered| Some(rendered.labels) == most);
    found
}
