//! The source of the workspace as modules, functions and the paths that they name, parsed by `syn`.
//!
//! Code under `#[cfg(test)]` is left out, and so are `tests/`, benches and examples: the measures
//! describe the code that a reader of the program reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, BinOp, Expr, ImplItem, Item, ItemMod, ItemUse, Lit, Pat, Signature, Token,
    TraitItem, Type, UseTree, Visibility,
};

use crate::process::Result;

/// The segments of a path, as written.
pub(super) type Segments = Vec<String>;

/// The parsed workspace.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) crates: Vec<Crate>,
    pub(super) functions: Vec<Function>,
    /// Comparisons with a string literal: the file, the line and the text.
    pub(super) comparisons: Vec<(String, usize, String)>,
    /// String literals that name a scheme or a format: the result of `fn scheme`, the field
    /// `scheme` of a value, and the argument of `FormatId`.
    pub(super) ids: BTreeSet<String>,
}

/// A crate of the workspace.
#[derive(Debug, Default)]
pub(super) struct Crate {
    /// The folder under `crates/`, or `xtask`.
    pub(super) folder: String,
    /// The name by which other crates refer to it.
    pub(super) name: String,
    /// The modules by their path; the root has an empty path.
    pub(super) modules: BTreeMap<Segments, Module>,
    /// The number of items with plain `pub`.
    pub(super) public: usize,
    /// The lines that belong to items under `#[cfg(test)]`, by file.
    pub(super) tests: BTreeMap<String, BTreeSet<usize>>,
}

/// A module: a file, or an inline module of a file.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) file: String,
    pub(super) children: BTreeSet<String>,
    pub(super) items: BTreeSet<String>,
    /// The fields of the structs, by struct and field, with the types that are paths.
    pub(super) fields: BTreeMap<(String, String), Segments>,
    /// A name that `use` brings in, and its path.
    pub(super) uses: BTreeMap<String, Segments>,
    pub(super) globs: Vec<Segments>,
    /// Every path that the module names, without re-exports by `pub use`.
    pub(super) paths: BTreeSet<Segments>,
}

/// A function, a method, or a method of a trait.
#[derive(Debug)]
pub(super) struct Function {
    /// The crate, as an index.
    pub(super) owner: usize,
    pub(super) module: Segments,
    pub(super) file: String,
    pub(super) name: String,
    /// The type of the `impl`, or the trait of a method that a trait declares.
    pub(super) of: Option<Segments>,
    /// The trait of the `impl`.
    pub(super) of_trait: Option<Segments>,
    pub(super) parameters: usize,
    pub(super) line: usize,
    pub(super) lines: usize,
    pub(super) paths: BTreeSet<Segments>,
    /// The parameters whose types are paths.
    pub(super) typed: BTreeMap<String, Segments>,
    /// The calls of methods: on which value, and the name of the method.
    pub(super) methods: BTreeSet<(Receiver, String)>,
}

/// The value whose method is called, as far as its type can be read off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Receiver {
    /// `self`.
    Own,
    /// A field of `self`.
    Field(String),
    /// A variable.
    Variable(String),
    /// Any other expression.
    Other,
}

impl Receiver {
    fn of(expression: &Expr) -> Self {
        let name = |expression: &Expr| match expression {
            Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
            _ => None,
        };
        match expression {
            Expr::Field(field) if name(&field.base).as_deref() == Some("self") => {
                match &field.member {
                    syn::Member::Named(field) => Self::Field(field.to_string()),
                    syn::Member::Unnamed(_) => Self::Other,
                }
            }
            Expr::Reference(inner) => Self::of(&inner.expr),
            Expr::Paren(inner) => Self::of(&inner.expr),
            _ => match name(expression) {
                Some(name) if name == "self" => Self::Own,
                Some(name) => Self::Variable(name),
                None => Self::Other,
            },
        }
    }
}

/// Parses every library and program of the workspace that `cargo metadata` lists.
///
/// # Errors
/// A file that can't be read or parsed.
pub(super) fn parse(root: &Path, metadata: &Value) -> Result<Workspace> {
    let mut workspace = Workspace::default();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    for package in packages.filter(|package| package["source"].is_null()) {
        let targets = package["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|target| {
            let kinds = target["kind"].as_array().into_iter().flatten();
            kinds
                .filter_map(Value::as_str)
                .any(|kind| kind == "lib" || kind == "bin")
        }) {
            let path = Path::new(target["src_path"].as_str().unwrap_or_default());
            let path = path.strip_prefix(root).unwrap_or(path);
            let folder = path.to_string_lossy().into_owned();
            let folder = folder.split("/src/").next().unwrap_or_default();
            let mut reader = Reader {
                root,
                workspace: &mut workspace,
                krate: Crate {
                    folder: folder.strip_prefix("crates/").unwrap_or(folder).to_owned(),
                    name: target["name"]
                        .as_str()
                        .unwrap_or_default()
                        .replace('-', "_"),
                    ..Crate::default()
                },
            };
            let children = path.parent().unwrap_or(Path::new("")).to_owned();
            reader.file(&path.to_string_lossy(), &children, Vec::new())?;
            let krate = reader.krate;
            workspace.crates.push(krate);
        }
    }
    workspace.crates.sort_by(|a, b| a.folder.cmp(&b.folder));
    let order: BTreeMap<String, usize> = (workspace.crates.iter().enumerate())
        .map(|(index, krate)| (krate.folder.clone(), index))
        .collect();
    for function in &mut workspace.functions {
        let folder = function.file.split("/src/").next().unwrap_or_default();
        let folder = folder.strip_prefix("crates/").unwrap_or(folder);
        function.owner = order[folder];
    }
    workspace
        .functions
        .sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    workspace.comparisons.sort();
    Ok(workspace)
}

/// Reads one crate.
struct Reader<'a> {
    root: &'a Path,
    workspace: &'a mut Workspace,
    krate: Crate,
}

impl Reader<'_> {
    /// Reads a file that is a module; `children` is the folder of its child modules.
    fn file(&mut self, path: &str, children: &Path, module: Segments) -> Result {
        let text = fs::read_to_string(self.root.join(path)).map_err(|e| format!("{path}: {e}"))?;
        let file = syn::parse_file(&text).map_err(|e| format!("{path}: {e}"))?;
        self.items(&file.items, path, children, module)
    }

    fn items(&mut self, items: &[Item], file: &str, children: &Path, module: Segments) -> Result {
        let mut found = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items {
            if let Some((attributes, visibility)) = parts(item) {
                if is_test(attributes) {
                    let span = item.span();
                    let lines = span.start().line..=span.end().line;
                    let tests = self.krate.tests.entry(file.to_owned()).or_default();
                    tests.extend(lines);
                    continue;
                }
                self.krate.public += usize::from(visibility.is_some_and(is_public));
            }
            match item {
                Item::Mod(inner) => {
                    found.children.insert(inner.ident.to_string());
                    self.module(inner, file, children, &module)?;
                }
                Item::Use(used) => imports(used, &mut found),
                _ => self.definition(item, file, &module, &mut found),
            }
        }
        self.krate.modules.insert(module, found);
        Ok(())
    }

    fn module(&mut self, item: &ItemMod, file: &str, folder: &Path, above: &Segments) -> Result {
        let name = item.ident.to_string();
        let children = folder.join(&name);
        let module = [above.as_slice(), std::slice::from_ref(&name)].concat();
        if let Some((_, items)) = &item.content {
            return self.items(items, file, &children, module);
        }
        let flat = folder.join(format!("{name}.rs"));
        let path = match self.root.join(&flat).exists() {
            true => flat,
            false => children.join("mod.rs"),
        };
        self.file(&path.to_string_lossy(), &children, module)
    }

    /// Reads an item that is neither a module nor an import.
    fn definition(&mut self, item: &Item, file: &str, module: &Segments, found: &mut Module) {
        if let Some(name) = name_of(item) {
            found.items.insert(name);
        }
        if let Item::Struct(item) = item {
            for field in &item.fields {
                if let (Some(name), Some(of)) = (&field.ident, type_path(&field.ty)) {
                    let key = (item.ident.to_string(), name.to_string());
                    found.fields.insert(key, of);
                }
            }
        }
        let mut walk = Walk::default();
        walk.visit_item(item);
        let paths = walk.items();
        for (line, text) in walk.comparisons {
            let place = (file.to_owned(), line, text);
            self.workspace.comparisons.push(place);
        }
        self.workspace.ids.extend(walk.ids);
        found.paths.extend(paths);
        let place = (file, module);
        match item {
            Item::Fn(function) => self.function(place, &function.sig, item, (None, None)),
            Item::Impl(block) => {
                let of = type_path(&block.self_ty);
                let of_trait = block.trait_.as_ref().map(|(path, ..)| segments(path));
                for inner in &block.items {
                    if let ImplItem::Fn(function) = inner {
                        let public = of_trait.is_none() && is_public(&function.vis);
                        self.krate.public += usize::from(public);
                        let of = (of.clone(), of_trait.clone());
                        self.function(place, &function.sig, function, of);
                    }
                }
            }
            Item::Trait(block) => {
                for inner in &block.items {
                    if let TraitItem::Fn(function) = inner {
                        let of = (Some(vec![block.ident.to_string()]), None);
                        self.function(place, &function.sig, function, of);
                    }
                }
            }
            _ => {}
        }
    }

    fn function(
        &mut self,
        (file, module): (&str, &Segments),
        signature: &Signature,
        node: &(impl Spanned + Walked),
        (of, of_trait): (Option<Segments>, Option<Segments>),
    ) {
        let mut walk = Walk::default();
        node.walk(&mut walk);
        let typed = signature.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Typed(input) => match &*input.pat {
                Pat::Ident(name) => Some((name.ident.to_string(), type_path(&input.ty)?)),
                _ => None,
            },
            syn::FnArg::Receiver(_) => None,
        });
        let typed = typed.collect();
        let (start, end) = (signature.span().start().line, node.span().end().line);
        self.workspace.functions.push(Function {
            owner: 0,
            module: module.clone(),
            file: file.to_owned(),
            name: signature.ident.to_string(),
            of,
            of_trait,
            parameters: signature.inputs.len(),
            line: start,
            lines: end + 1 - start,
            paths: walk.items(),
            typed,
            methods: walk.methods,
        });
    }
}

/// A node that has a function's body.
trait Walked {
    fn walk(&self, walk: &mut Walk);
}

impl Walked for Item {
    fn walk(&self, walk: &mut Walk) {
        walk.visit_item(self);
    }
}

impl Walked for syn::ImplItemFn {
    fn walk(&self, walk: &mut Walk) {
        walk.visit_impl_item_fn(self);
    }
}

impl Walked for syn::TraitItemFn {
    fn walk(&self, walk: &mut Walk) {
        walk.visit_trait_item_fn(self);
    }
}

/// Collects the paths that an item names.
#[derive(Default)]
struct Walk {
    paths: BTreeSet<Segments>,
    methods: BTreeSet<(Receiver, String)>,
    /// The names of variables and parameters, which are no items.
    variables: BTreeSet<String>,
    comparisons: Vec<(usize, String)>,
    ids: BTreeSet<String>,
}

impl Walk {
    /// Returns the paths that are no variables.
    fn items(&mut self) -> BTreeSet<Segments> {
        let paths = std::mem::take(&mut self.paths).into_iter();
        let variable = |path: &Segments| path.len() == 1 && self.variables.contains(&path[0]);
        paths.filter(|path| !variable(path)).collect()
    }

    fn compared(&mut self, literal: &Lit) {
        if let Lit::Str(text) = literal {
            let line = text.span().start().line;
            self.comparisons.push((line, text.value()));
        }
    }

    fn compared_expression(&mut self, expression: &Expr) {
        match expression {
            Expr::Lit(literal) => self.compared(&literal.lit),
            Expr::Reference(inner) => self.compared_expression(&inner.expr),
            Expr::Paren(inner) => self.compared_expression(&inner.expr),
            Expr::Array(list) => list.elems.iter().for_each(|e| self.compared_expression(e)),
            Expr::Call(call) if ends_with(&call.func, &["FormatId", "Some"]) => {
                call.args.iter().for_each(|e| self.compared_expression(e));
            }
            _ => {}
        }
    }
}

impl<'a> Visit<'a> for Walk {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.paths.insert(segments(path));
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        let receiver = Receiver::of(&call.receiver);
        self.methods.insert((receiver, call.method.to_string()));
        if call.method == "contains" {
            self.compared_expression(&call.receiver);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_binary(&mut self, binary: &'a syn::ExprBinary) {
        if matches!(binary.op, BinOp::Eq(_) | BinOp::Ne(_)) {
            self.compared_expression(&binary.left);
            self.compared_expression(&binary.right);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_pat_ident(&mut self, pattern: &'a syn::PatIdent) {
        self.variables.insert(pattern.ident.to_string());
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_pat(&mut self, pattern: &'a Pat) {
        if let Pat::Lit(literal) = pattern {
            self.compared(&literal.lit);
        }
        visit::visit_pat(self, pattern);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        if ends_with(&call.func, &["FormatId"]) {
            self.ids.extend(call.args.iter().filter_map(text_of));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_field_value(&mut self, field: &'a syn::FieldValue) {
        if matches!(&field.member, syn::Member::Named(name) if name == "scheme") {
            self.ids.extend(text_of(&field.expr));
        }
        visit::visit_field_value(self, field);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        if function.sig.ident == "scheme"
            && let Some(syn::Stmt::Expr(last, None)) = function.block.stmts.last()
        {
            self.ids.extend(text_of(last));
        }
        visit::visit_impl_item_fn(self, function);
    }

    /// The arguments of a macro are read as expressions, or as those of `matches!`, if they can be.
    fn visit_macro(&mut self, call: &'a syn::Macro) {
        let list = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(arguments) = list.parse2(call.tokens.clone()) {
            for argument in &arguments {
                Walk::visit_expr(self, argument);
            }
        } else if let Ok((value, pattern)) = matched.parse2(call.tokens.clone()) {
            Walk::visit_expr(self, &value);
            Walk::visit_pat(self, &pattern);
        }
        visit::visit_macro(self, call);
    }
}

/// Reads the arguments of `matches!`; a guard is passed over.
fn matched(input: ParseStream<'_>) -> syn::Result<(Expr, Pat)> {
    let value = input.parse()?;
    input.parse::<Token![,]>()?;
    let pattern = Pat::parse_multi_with_leading_vert(input)?;
    input.parse::<proc_macro2::TokenStream>()?;
    Ok((value, pattern))
}

fn ends_with(expression: &Expr, names: &[&str]) -> bool {
    let Expr::Path(path) = expression else {
        return false;
    };
    let last = path.path.segments.last();
    last.is_some_and(|last| names.iter().any(|name| last.ident == name))
}

fn text_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(syn::ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

fn segments(path: &syn::Path) -> Segments {
    let names = path.segments.iter();
    names.map(|segment| segment.ident.to_string()).collect()
}

fn type_path(of: &Type) -> Option<Segments> {
    match of {
        Type::Path(path) => Some(segments(&path.path)),
        Type::Reference(inner) => type_path(&inner.elem),
        _ => None,
    }
}

/// Records the names that a `use` brings in. A re-export by `pub use` is followed by those who name
/// it, and is no reference of this module.
fn imports(item: &ItemUse, found: &mut Module) {
    let mut open = vec![(Vec::new(), &item.tree)];
    while let Some((prefix, tree)) = open.pop() {
        let with = |name: &syn::Ident| [prefix.as_slice(), &[name.to_string()]].concat();
        let (name, path) = match tree {
            UseTree::Path(path) => {
                open.push((with(&path.ident), &path.tree));
                continue;
            }
            UseTree::Group(group) => {
                open.extend(group.items.iter().map(|tree| (prefix.clone(), tree)));
                continue;
            }
            UseTree::Glob(_) => {
                found.globs.push(prefix);
                continue;
            }
            UseTree::Name(name) if name.ident == "self" => {
                (prefix.last().cloned().unwrap_or_default(), prefix)
            }
            UseTree::Name(name) => (name.ident.to_string(), with(&name.ident)),
            UseTree::Rename(renamed) if renamed.ident == "self" => {
                (renamed.rename.to_string(), prefix)
            }
            UseTree::Rename(renamed) => (renamed.rename.to_string(), with(&renamed.ident)),
        };
        if matches!(item.vis, Visibility::Inherited) {
            found.paths.insert(path.clone());
        }
        found.uses.insert(name, path);
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

/// Returns the attributes of an item, and its visibility if such an item has one.
fn parts(item: &Item) -> Option<(&[Attribute], Option<&Visibility>)> {
    Some(match item {
        Item::Const(item) => (&item.attrs, Some(&item.vis)),
        Item::Enum(item) => (&item.attrs, Some(&item.vis)),
        Item::Fn(item) => (&item.attrs, Some(&item.vis)),
        Item::Impl(item) => (&item.attrs, None),
        Item::Macro(item) => (&item.attrs, None),
        Item::Mod(item) => (&item.attrs, Some(&item.vis)),
        Item::Static(item) => (&item.attrs, Some(&item.vis)),
        Item::Struct(item) => (&item.attrs, Some(&item.vis)),
        Item::Trait(item) => (&item.attrs, Some(&item.vis)),
        Item::Type(item) => (&item.attrs, Some(&item.vis)),
        Item::Use(item) => (&item.attrs, Some(&item.vis)),
        _ => return None,
    })
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}
