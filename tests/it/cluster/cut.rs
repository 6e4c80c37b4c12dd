//! A hub that is cut off from Redis: network namespaces, so that packets vanish and nobody is told.

use super::*;

/// A namespace with a way for clients, and one for Redis. Both end here.
struct Namespace {
    name: String,
    number: u32,
}

fn ip(arguments: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let done = Command::new("ip").args(arguments.split(' ')).env("PATH", path).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

impl Namespace {
    /// `None`: this machine does not let us make one.
    fn new() -> Option<Self> {
        let namespace = Self { name: format!("hub{}", std::process::id()), number: std::process::id() % 250 };
        if !ip(&format!("netns add {}", namespace.name)) {
            return None;
        }
        let Self { name, number } = &namespace;
        for (way, net) in [("c", 77), ("r", 78)] {
            let (here, there) = (format!("{name}{way}"), format!("{name}{way}n"));
            let made = [
                format!("link add {here} type veth peer name {there} netns {name}"),
                format!("addr add 10.{net}.{number}.1/24 dev {here}"),
                format!("link set {here} up"),
                format!("-n {name} addr add 10.{net}.{number}.2/24 dev {there}"),
                format!("-n {name} link set {there} up"),
            ];
            made.iter().for_each(|made| assert!(ip(made), "ip {made}"));
        }
        Some(namespace)
    }

    /// Starts a hub in it.
    fn hub(&self, directory: &Path, arguments: &[&str]) -> Hub {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_alarm-hub")]).args(arguments);
        command.args(["--listen", &format!("10.77.{}.2:0", self.number), "--insecure-no-auth"]);
        Hub::run(command.env("PATH", path).current_dir(directory).stderr(Stdio::null()))
    }

    /// Packets between Redis and the hub vanish, or pass again.
    fn cut(&self, off: bool) {
        assert!(ip(&format!("link set {}r {}", self.name, if off { "down" } else { "up" })));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

#[test]
fn a_hub_that_was_cut_off_catches_up_without_a_double_and_closes_what_went_elsewhere() {
    let Some(namespace) = Namespace::new() else {
        eprintln!("LEFT OUT: network namespaces need root; nothing was tested of a hub that is cut off");
        return;
    };
    let port = free_port();
    let near = format!("10.78.{}.1", namespace.number);
    let everywhere = ["--port", &port, "--bind", "127.0.0.1", &near, "--protected-mode", "no"];
    let redis = Redis::with(port.parse().unwrap(), &everywhere);
    let cluster = Cluster::around(redis, 1);
    let [origin] = &cluster.hubs[..] else { panic!("one hub") };
    let folder = cluster.directory.path().join("far");
    std::fs::create_dir_all(&folder).unwrap();
    let far = namespace.hub(&folder, &["--redis", &format!("redis://{near}:{port}"), "--settle", "0s"]);
    is_well(&far);
    let (mut older, mut other) = (open(&far, "tiaz"), open(&far, "other"));
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    for stream in [&mut older, &mut other] {
        assert_eq!(event(stream).1["id"], "1");
    }
    namespace.cut(true);
    let mut newer = open(origin, "tiaz");
    for id in 2..5 {
        cluster.write(&format!("INSERT INTO alarm (id, lang, message) VALUES ('{id}', 'ko', 'x')"));
        assert_eq!(event(&mut newer).1["id"], id.to_string(), "those on this side of the cut go on");
    }
    // Silence does not look like all is well. That Redis is away may be told first.
    loop {
        let (name, data) = other.event();
        assert_eq!(name, "status", "{data}");
        if data["source"] == "down" {
            break;
        }
    }
    let mut alone = open(&far, "new");
    namespace.cut(false);
    while event(&mut older).0 != "bye" {} // what it missed may come first
    let back = resume(&far, "tiaz", &older.id);
    assert!(back.status.contains(" 204 "), "{}", back.status);
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('5', 'ko', 'x')");
    for id in 2..6 {
        assert_eq!(event(&mut other).1["id"], id.to_string(), "each once, in order");
        assert_eq!(event(&mut alone).1["id"], id.to_string());
    }
    assert_eq!(event(&mut newer).1["id"], "5");
    let moved = open(origin, "new");
    is_superseded(&mut alone);
    drop(moved);
}
