//! Which file of the source uses which, read from the code itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, UseTree, Visibility};

use super::{is_test_file, rust_files};

/// The path of a module below the crate: `["hub", "asks"]`.
type Module = Vec<String>;

/// One file of the source.
struct Source {
    path: PathBuf,
    syntax: File,
    /// What the file passes on under a name of its own: the name, and the whole path of what it is.
    passed_on: BTreeMap<String, Vec<String>>,
}

/// The files of the source, by module.
pub struct Sources(BTreeMap<Module, Source>);

impl Sources {
    /// Reads all files below this directory but those that hold tests.
    pub fn read(directory: &Path) -> Self {
        let mut all = BTreeMap::new();
        for path in rust_files(directory).into_iter().filter(|path| !is_test_file(path)) {
            let place = path.strip_prefix(directory).unwrap().with_extension("");
            let module: Module = place.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module[0] == "bin" {
                continue;
            }
            let module = if module == ["lib"] { Module::new() } else { module };
            let syntax = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let passed_on = passed_on(&syntax, &module);
            all.insert(module, Source { path: place, syntax, passed_on });
        }
        Self(all)
    }

    /// Returns each file with the files that it uses.
    pub fn arrows(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut arrows = BTreeMap::new();
        for (module, source) in &self.0 {
            let mut found = Paths { module, paths: Vec::new() };
            found.visit_file(&source.syntax);
            let used = found.paths.iter().filter_map(|path| self.file_of(path, 0));
            let others = used.filter(|used| *used != source.path).collect();
            arrows.insert(source.path.as_path(), others);
        }
        arrows
    }

    /// Returns the file that defines what this path names; none where it is of another crate.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&Path> {
        let n_modules = (0..=path.len()).rev().find(|n| self.0.contains_key(&path[..*n]))?;
        let source = self.0.get(&path[..n_modules])?;
        match path.get(n_modules).and_then(|name| source.passed_on.get(name)) {
            Some(target) if depth < 8 => {
                let whole: Vec<String> = target.iter().chain(&path[n_modules + 1..]).cloned().collect();
                self.file_of(&whole, depth + 1)
            }
            Some(_) | None => (n_modules > 0).then_some(source.path.as_path()),
        }
    }
}

/// Returns the files that use each other, directly or by way of others: each circle as one group.
pub fn circles<'a>(arrows: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> Vec<BTreeSet<&'a Path>> {
    let reach = |from: &'a Path| {
        let (mut met, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(arrows.get(file).into_iter().flatten().copied().filter(|used| met.insert(*used)));
        }
        met
    };
    let reached: BTreeMap<&Path, BTreeSet<&Path>> = arrows.keys().map(|file| (*file, reach(file))).collect();
    let mut groups = BTreeSet::new();
    for (file, theirs) in &reached {
        if theirs.contains(file) {
            let is_in_it = |other: &&Path| reached.get(other).is_some_and(|theirs| theirs.contains(file));
            groups.insert(theirs.iter().copied().filter(is_in_it).collect());
        }
    }
    groups.into_iter().collect()
}

/// Returns what uses what among modules that lie beside each other: each file counts for the modules that it is below.
pub fn between_siblings<'a>(arrows: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> BTreeMap<&'a Path, BTreeSet<&'a Path>> {
    let mut siblings: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (file, used) in arrows.iter().flat_map(|(file, all)| all.iter().map(move |used| (*file, *used))) {
        let n_shared = file.components().zip(used.components()).take_while(|(one, other)| one == other).count();
        let below_shared = |path: &'a Path| path.ancestors().find(|above| above.components().count() == n_shared + 1);
        if let (Some(user), Some(used)) = (below_shared(file), below_shared(used)) {
            siblings.entry(user).or_default().insert(used);
        }
    }
    siblings
}

/// Collects the paths into the crate that a file names outside of its tests.
struct Paths<'a> {
    module: &'a Module,
    paths: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // What is only passed on is used by those who name it.
        if matches!(item.vis, Visibility::Inherited) {
            self.paths.extend(leaves(&item.tree).into_iter().filter_map(|(_, path)| whole(self.module, &path)));
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {
        // Who may see something is not what it uses.
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.paths.extend(whole(self.module, &segments));
        }
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|flag| flag == "test")
    })
}

/// Returns the names that a file brings in from elsewhere: modules below it see the private ones as well.
fn passed_on(syntax: &File, module: &Module) -> BTreeMap<String, Vec<String>> {
    let uses = syntax.items.iter().filter_map(|item| if let Item::Use(item) = item { Some(item) } else { None });
    let leaves = uses.flat_map(|item| leaves(&item.tree));
    leaves.filter_map(|(name, path)| Some((name, whole(module, &path)?))).collect()
}

/// Returns what a `use` brings in: each name with the path that it stands for.
fn leaves(tree: &UseTree) -> Vec<(String, Vec<String>)> {
    let below = |first: String, tree: &UseTree| {
        let longer = |(name, path): (String, Vec<String>)| {
            let path: Vec<String> = std::iter::once(first.clone()).chain(path).collect();
            (
                if name == "self" { first.clone() } else { name },
                path.into_iter().filter(|part| part != "self" || first == "self").collect(),
            )
        };
        leaves(tree).into_iter().map(longer).collect()
    };
    match tree {
        UseTree::Path(path) => below(path.ident.to_string(), &path.tree),
        UseTree::Name(name) => vec![(name.ident.to_string(), vec![name.ident.to_string()])],
        UseTree::Rename(rename) => vec![(rename.rename.to_string(), vec![rename.ident.to_string()])],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Glob(_) => Vec::new(),
    }
}

/// Returns a path from the crate's root on; none where it does not begin with `crate`, `self` or `super`.
fn whole(module: &Module, path: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.clone(),
        _ => return None,
    };
    let mut rest = path;
    while let Some((first, others)) =
        rest.split_first().filter(|(first, _)| ["crate", "self", "super"].contains(&first.as_str()))
    {
        if first == "super" {
            base.pop();
        }
        rest = others;
    }
    base.extend_from_slice(rest);
    Some(base)
}
