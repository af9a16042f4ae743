//! The configurations in `examples/configs/`, as they are shipped.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Folder, ended, veylor};

/// Where the files say that their scripts are.
const INSTALLED: &str = "/etc/veylor/";

#[test]
fn shipped_configurations_are_right() {
    let folder = Folder::new();
    let faults: Vec<_> = configurations().iter().filter_map(|file| fault(&folder, file)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn scripts_of_shipped_configurations_are_beside_them_and_may_be_run() {
    let named: HashSet<_> = configurations().iter().flat_map(|file| scripts_in(file)).collect();
    assert!(!named.is_empty(), "no configuration names a script");
    for name in &named {
        let mode = fs::metadata(shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(mode.permissions().mode() & 0o111, 0o111, "{name}");
    }
    let there = files().into_iter().filter(|file| !is_configuration(file));
    let unused: Vec<_> = there.filter(|file| !named.contains(&name(file))).collect();
    assert!(unused.is_empty(), "no configuration names these: {unused:?}");
}

#[test]
fn shipped_configurations_are_listed() {
    let list = fs::read_to_string(shipped("../README.md")).unwrap();
    let is_missing = |file: &PathBuf| !list.contains(&format!("`{}`", name(file)));
    let missing: Vec<_> = configurations().into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "examples/README.md does not tell of {missing:?}");
}

/// What `veylor check` has against a file, whose variables are set.
fn fault(folder: &Folder, file: &Path) -> Option<String> {
    let mut check = veylor(folder);
    check.arg("check").arg("-c").arg(file);
    set_variables(&mut check, &fs::read_to_string(file).unwrap());
    let (code, plan, stderr) = ended(&mut check);
    let is_right = code == 0 && !plan.contains("warning: ");
    (!is_right).then(|| format!("{}: exit code {code}\n{plan}{stderr}", name(file)))
}

fn set_variables(command: &mut Command, text: &str) {
    for hole in text.split("${env:").skip(1) {
        let (variable, _) = hole.split_once('}').unwrap();
        command.env(variable, "secret");
    }
}

fn scripts_in(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let names = text.split(INSTALLED).skip(1);
    names.map(|rest| rest.split(']').next().unwrap().to_owned()).collect()
}

fn configurations() -> Vec<PathBuf> {
    let configurations: Vec<_> =
        files().into_iter().filter(|file| is_configuration(file)).collect();
    assert!(configurations.len() > 10, "the configurations are not where they are looked for");
    configurations
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(shipped("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn is_configuration(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "yaml")
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs").join(name)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}
