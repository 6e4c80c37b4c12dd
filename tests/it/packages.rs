//! How the packages are tried without a risk to the machine that tries them; packaging/test and test-tarball do it.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

#[test]
fn what_a_test_of_a_package_mounts_is_not_removed_with_its_directory() {
    let apart = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/apart");
    let precious = TempDir::new().unwrap();
    let file = precious.path().join("file");
    fs::write(&file, "kept").unwrap();
    let run =
        |script: &str| Command::new(&apart).args(["bash", "-ec", script]).env("PRECIOUS", precious.path()).output();
    if !run("true").unwrap().status.success() {
        eprintln!("LEFT OUT: no namespaces here, so nobody knows whether tests of packages leave this machine alone");
        return;
    }
    // A service that outlives the test keeps the mount in use.
    let script = "mkdir $APART/dev; mount --bind $PRECIOUS $APART/dev; (cd $APART/dev && sleep 600) & \
                  until [ -e $APART/dev/file ]; do :; done; echo $APART; exit 3";
    let done = run(script).unwrap();
    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::read_to_string(file).unwrap(), "kept");
    let directory = String::from_utf8(done.stdout).unwrap();
    assert!(directory.starts_with('/') && !Path::new(directory.trim_end()).exists(), "{directory} is left");
}
