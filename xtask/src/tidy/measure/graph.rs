//! References between the files of the workspace: resolved paths and methods, circles, and the
//! files between two functions.
//!
//! Names are resolved as the compiler does it, as far as that needs no types: through modules,
//! imports, re-exports and globs. A method call leads to the method of the receiver's type, if the
//! receiver is `self`, a field of `self` or a parameter whose type is written out. Any other call
//! leads to every method of that name whose type or trait the calling file names, unless the
//! collections of the standard library have a method of that name. A call of a trait's method leads
//! to all implementations.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Function, Module, Receiver, Segments, Workspace};

/// An item: the crate as an index, the module, the name.
pub(super) type Definition = (usize, Segments, String);

/// For each file, the files that it refers to and the names by which it does.
pub(super) type References<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<String>>>;

/// Files of one crate each of which refers to all others, directly or through others.
#[derive(Debug)]
pub(super) struct Circle<'a> {
    /// The paths of the files, sorted.
    pub(super) files: Vec<&'a str>,
    /// The references between these files.
    pub(super) references: References<'a>,
}

/// Imports that lead to imports are followed this far; a circle of globs ends here.
const HOPS: usize = 12;

/// Methods of the collections of the standard library. On a receiver whose type is unknown, such a
/// name says nothing about the type.
const COLLECTIONS: &[&str] = &[
    "contains", "entry", "extend", "find", "get", "insert", "is_empty", "iter", "len", "map",
    "push", "remove", "retain",
];

/// The functions and files between two functions.
#[derive(Debug)]
pub(super) struct Way {
    /// The functions that lie on any way of calls from the one to the other.
    pub(super) between: BTreeSet<usize>,
    /// The number of calls of the shortest way, if there is a way.
    pub(super) shortest: Option<usize>,
    /// All functions that calls lead to from the first.
    pub(super) reached: BTreeSet<usize>,
}

/// The workspace with its names resolved.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    workspace: &'a Workspace,
    crates: BTreeMap<&'a str, usize>,
    /// The items that each file names.
    named: BTreeMap<&'a str, BTreeSet<Definition>>,
    /// The type of each function, resolved.
    types: Vec<Option<Definition>>,
    /// The trait of each function, resolved.
    traits: Vec<Option<Definition>>,
    /// The free functions and, by type or trait, the methods.
    functions: BTreeMap<(Definition, String), Vec<usize>>,
    methods: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Graph<'a> {
    /// Resolves the names of a workspace.
    pub(super) fn new(workspace: &'a Workspace) -> Self {
        let crates = (workspace.crates.iter().enumerate())
            .map(|(index, krate)| (krate.name.as_str(), index))
            .collect();
        let mut graph = Self {
            workspace,
            crates,
            named: BTreeMap::new(),
            types: Vec::new(),
            traits: Vec::new(),
            functions: BTreeMap::new(),
            methods: BTreeMap::new(),
        };
        for (index, krate) in workspace.crates.iter().enumerate() {
            for (path, module) in &krate.modules {
                let found = (module.paths.iter())
                    .filter_map(|segments| graph.resolve(index, path, segments, 0))
                    .map(|(definition, _)| definition)
                    .collect::<BTreeSet<_>>();
                graph.named.entry(&module.file).or_default().extend(found);
            }
        }
        for (index, function) in workspace.functions.iter().enumerate() {
            let find = |path: &Option<Segments>| {
                let path = path.as_ref()?;
                Some(graph.resolve(function.owner, &function.module, path, 0)?.0)
            };
            let (of, of_trait) = (find(&function.of), find(&function.of_trait));
            let free = (
                function.owner,
                function.module.clone(),
                function.name.clone(),
            );
            let mut keys = vec![(free, String::new())];
            if function.of.is_some() {
                let homes = of.iter().chain(&of_trait);
                keys = homes
                    .map(|home| (home.clone(), function.name.clone()))
                    .collect();
                graph.methods.entry(&function.name).or_default().push(index);
            }
            for key in keys {
                graph.functions.entry(key).or_default().push(index);
            }
            graph.types.push(of);
            graph.traits.push(of_trait);
        }
        graph
    }

    fn module(&self, krate: usize, path: &[String]) -> Option<&'a Module> {
        self.workspace.crates[krate].modules.get(path)
    }

    fn file(&self, (krate, module, _): &Definition) -> Option<&'a str> {
        self.module(*krate, module).map(|module| &*module.file)
    }

    /// Finds the item that a path means in a module, and the segments after the item.
    fn resolve(
        &self,
        krate: usize,
        path: &[String],
        segments: &[String],
        hops: usize,
    ) -> Option<(Definition, Segments)> {
        let (first, rest) = segments.split_first()?;
        if hops > HOPS {
            return None;
        }
        match first.as_str() {
            "crate" => self.walk(krate, Vec::new(), rest, hops),
            "self" => self.walk(krate, path.to_vec(), rest, hops),
            "super" => {
                let (_, above) = path.split_last()?;
                match rest.first().is_some_and(|next| next == "super") {
                    true => self.resolve(krate, above, rest, hops + 1),
                    false => self.walk(krate, above.to_vec(), rest, hops),
                }
            }
            name => (self.walk(krate, path.to_vec(), segments, hops)).or_else(|| {
                let other = *self.crates.get(name)?;
                self.walk(other, Vec::new(), rest, hops)
            }),
        }
    }

    /// Follows a path downwards from a module.
    fn walk(
        &self,
        krate: usize,
        mut path: Segments,
        segments: &[String],
        hops: usize,
    ) -> Option<(Definition, Segments)> {
        let mut open = segments;
        loop {
            let (name, rest) = open.split_first()?;
            let module = self.module(krate, &path)?;
            if module.children.contains(name) && !rest.is_empty() {
                path.push(name.clone());
                open = rest;
                continue;
            }
            if module.items.contains(name) {
                return Some(((krate, path, name.clone()), rest.to_vec()));
            }
            if let Some(used) = module.uses.get(name) {
                let whole = [used.as_slice(), rest].concat();
                // An import of a crate's own name would lead here again.
                let found = self.resolve(krate, &path, &whole, hops + 1);
                return found.filter(|_| used.as_slice() != [name.clone()]);
            }
            return module.globs.iter().find_map(|glob| {
                let whole = [glob.as_slice(), open].concat();
                self.resolve(krate, &path, &whole, hops + 1)
            });
        }
    }

    /// Returns the functions that a function may call, as indexes.
    fn calls(&self, index: usize) -> BTreeSet<usize> {
        let function = &self.workspace.functions[index];
        let mut found = BTreeSet::new();
        for segments in &function.paths {
            let own = segments.first().is_some_and(|first| first == "Self");
            let (definition, rest) = match (own, &self.types[index]) {
                (true, Some(of)) => (of.clone(), segments[1..].to_vec()),
                (true, None) => continue,
                _ => match self.resolve(function.owner, &function.module, segments, 0) {
                    Some(resolved) => resolved,
                    None => continue,
                },
            };
            let name = rest.first().cloned().unwrap_or_default();
            if let Some(functions) = self.functions.get(&(definition, name)) {
                found.extend(functions);
            }
        }
        for (receiver, name) in &function.methods {
            let known = self.type_of(index, receiver);
            for method in self.methods.get(name.as_str()).into_iter().flatten() {
                let (of, of_trait) = (&self.types[*method], &self.traits[*method]);
                let fits = match &known {
                    Some(known) if of_trait.is_none() => of.as_ref() == Some(known),
                    None if of_trait.is_none() && COLLECTIONS.contains(&name.as_str()) => false,
                    _ => self.is_named(function, index, *method),
                };
                if fits {
                    found.insert(*method);
                }
            }
        }
        found.remove(&index);
        found
    }

    /// Returns the type of a value in a function, where it is `self`, a field of `self` or a
    /// parameter and the type is written as a path to an item of the workspace.
    fn type_of(&self, index: usize, receiver: &Receiver) -> Option<Definition> {
        let function = &self.workspace.functions[index];
        let own = self.types[index].as_ref();
        let resolve = |owner, module: &[String], path: &[String]| {
            let (found, rest) = self.resolve(owner, module, path, 0)?;
            rest.is_empty().then_some(found)
        };
        match receiver {
            Receiver::Own => own.cloned(),
            Receiver::Field(field) => {
                let (owner, module, name) = own?;
                let home = self.module(*owner, module)?;
                let of = home.fields.get(&(name.clone(), field.clone()))?;
                resolve(*owner, module, of)
            }
            Receiver::Variable(name) => {
                let of = function.typed.get(name)?;
                resolve(function.owner, &function.module, of)
            }
            Receiver::Other => None,
        }
    }

    /// Says whether the file of a function names the type or the trait of a method.
    fn is_named(&self, caller: &Function, index: usize, method: usize) -> bool {
        let named = &self.named[&*caller.file];
        let of = [&self.types[method], &self.traits[method]];
        of.into_iter().flatten().any(|home| {
            let own = self.types[index].as_ref() == Some(home);
            own || named.contains(home) || self.file(home) == Some(&caller.file)
        })
    }

    /// Returns, for each file, the other files of its crate that the file refers to, with the names
    /// that it uses of them: by a path, or, with `methods`, by a call of an inherent method that
    /// stands there.
    fn references(&self, methods: bool) -> References<'a> {
        let mut edges = References::new();
        let folder = |file: &str| file.split("/src/").next().map(str::to_owned);
        let mut add = |from: &'a str, to: &'a str, name: &str| {
            if from != to && folder(from) == folder(to) {
                let names = edges.entry(from).or_default().entry(to).or_default();
                names.insert(name.to_owned());
            }
        };
        for (file, named) in &self.named {
            for definition in named {
                if let Some(target) = self.file(definition) {
                    add(file, target, &definition.2);
                }
            }
        }
        if !methods {
            return edges;
        }
        for (index, function) in self.workspace.functions.iter().enumerate() {
            for called in self.calls(index) {
                if self.traits[called].is_none() {
                    let called = &self.workspace.functions[called];
                    add(&function.file, &called.file, &called.name);
                }
            }
        }
        edges
    }

    /// Returns the circles: sets of files of one crate each of which leads to all others, and the
    /// references between the files of each set.
    pub(super) fn circles(&self, methods: bool) -> Vec<Circle<'a>> {
        circles(&self.references(methods))
    }

    /// Finds the way from one function to another, in the files that `allowed` takes.
    pub(super) fn way(&self, start: usize, end: usize, allowed: &dyn Fn(&str) -> bool) -> Way {
        let functions = &self.workspace.functions;
        let mut back: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut steps = BTreeMap::from([(start, 0)]);
        let mut open = std::collections::VecDeque::from([start]);
        while let Some(index) = open.pop_front() {
            let step = steps[&index] + 1;
            for called in self.calls(index) {
                if !allowed(&functions[called].file) {
                    continue;
                }
                back.entry(called).or_default().insert(index);
                steps.entry(called).or_insert_with(|| {
                    open.push_back(called);
                    step
                });
            }
        }
        let mut found = BTreeSet::new();
        let mut open = vec![end];
        while let Some(index) = open.pop() {
            if steps.contains_key(&index) && found.insert(index) {
                open.extend(back.get(&index).into_iter().flatten());
            }
        }
        Way {
            between: found,
            shortest: steps.get(&end).copied(),
            reached: steps.into_keys().collect(),
        }
    }
}

/// Returns the strongly connected components with more than one member, each sorted.
fn circles<'a>(edges: &References<'a>) -> Vec<Circle<'a>> {
    let reach = |start: &'a str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(next) = open.pop() {
            for to in edges.get(next).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(*to) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|file| (*file, reach(file))).collect();
    let mut found = BTreeSet::new();
    for (file, others) in &reached {
        let back = |other: &&&'a str| reached.get(**other).is_some_and(|set| set.contains(file));
        let circle: Vec<&str> = others.iter().filter(back).copied().collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    let circle = |files: Vec<&'a str>| {
        let mut references = References::new();
        for file in &files {
            let mut targets = edges[file].clone();
            targets.retain(|target, _| files.contains(target));
            references.insert(file, targets);
        }
        Circle { files, references }
    };
    found.into_iter().map(circle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_chains_are_not() {
        let to = |names: &[&'static str]| -> BTreeMap<_, _> {
            let names = names.iter();
            names
                .map(|name| (*name, BTreeSet::from(["f".to_owned()])))
                .collect()
        };
        let edges = BTreeMap::from([
            ("a", to(&["b"])),
            ("b", to(&["c"])),
            ("c", to(&["b", "d"])),
            ("d", to(&[])),
        ]);
        let found = circles(&edges);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].files, ["b", "c"]);
        let references = [("b", to(&["c"])), ("c", to(&["b"]))];
        assert_eq!(found[0].references, BTreeMap::from(references));
    }
}
