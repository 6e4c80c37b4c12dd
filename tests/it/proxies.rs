//! Behind nginx, HAProxy and Caddy, with their defaults and with what packaging/ ships for them.

use std::{env, fs, net::TcpListener, path::PathBuf};

use super::*;
use crate::{clients::Client, server::until};

struct Proxy {
    process: Child,
    address: String,
    directory: TempDir,
}

impl Proxy {
    /// nginx with this within its `http { }`, in which `LISTEN` stands for where it listens.
    fn nginx(http: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let places =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};\n"));
        let main = "daemon off; master_process off; pid pid; error_log error.log; events {}";
        let whole = format!("{main} http {{ access_log off;\n{}{http} }}", places.concat());
        let prefix = directory.path().to_str().unwrap().to_owned();
        Self::start("nginx", &["-p", &prefix, "-e", "error.log", "-c", "conf"], &whole, directory)
    }

    fn haproxy(whole: &str) -> Option<Self> {
        Self::start("haproxy", &["-db", "-f", "conf"], whole, TempDir::new().unwrap())
    }

    /// Caddy with this, where `http://LISTEN` stands for where it listens.
    fn caddy(sites: &str) -> Option<Self> {
        let whole = format!("{{\nadmin off\nauto_https off\n}}\n{sites}");
        Self::start("caddy", &["run", "--adapter", "caddyfile", "--config", "conf"], &whole, TempDir::new().unwrap())
    }

    fn start(name: &str, arguments: &[&str], configuration: &str, directory: TempDir) -> Option<Self> {
        let mut places: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        places.push("/usr/sbin".into());
        let Some(binary) = places.iter().map(|place| place.join(name)).find(|binary| binary.exists()) else {
            eprintln!("LEFT OUT: {name} is not installed, so nobody knows whether the hub works behind it");
            return None;
        };
        let address = free();
        fs::write(directory.path().join("conf"), configuration.replace("LISTEN", &address)).unwrap();
        let mut command = Command::new(binary);
        // Caddy keeps what it was told last below the user's home.
        command.args(arguments).current_dir(directory.path()).env_clear().env("HOME", directory.path());
        let said = fs::File::create(directory.path().join("said")).unwrap();
        let process = command.stderr(said).spawn().unwrap();
        let mut proxy = Self { process, address, directory };
        until("the proxy listens", || {
            let said = || fs::read_to_string(proxy.directory.path().join("said")).unwrap();
            assert!(proxy.process.try_wait().unwrap().is_none(), "{name} ended: {}", said());
            TcpStream::connect(&proxy.address).is_ok()
        });
        Some(proxy)
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait(); // as above
    }
}

/// An address of this machine at which nothing listens.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn shipped(file: &str, hub: &str, listen: [&str; 2]) -> String {
    let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file)).unwrap();
    assert!(text.contains("127.0.0.1:5000") && text.contains(listen[0]));
    text.replace("127.0.0.1:5000", hub).replace(listen[0], listen[1])
}

/// A hub that can be started again at its address.
fn hub(directory: &Path, address: &str, more: &[&str]) -> Hub {
    Hub::start(directory, &[&["--listen", address, "--base-path", "/alarms"], more].concat())
}

/// What a user's page lives through behind a proxy when the hub is killed and started again.
fn lives_through_a_restart(name: &str, proxy: &Proxy, directory: &Path, address: &str) {
    let first = hub(directory, address, &[]);
    let url = format!("http://{}/alarms/connection/{name}?lang=ko", proxy.address);
    let mut clients = ["eventsource", "eventsource-client"].map(|library| {
        let mut client = Client::start("client.mjs", library, &url.replace(name, library));
        client.wait_for("hello", None);
        client
    });
    write(directory, THREE);
    clients.iter_mut().for_each(|client| client.wait_for("alarm", Some("5b48ff24")));
    drop(first); // kill -9
    let away = proxy.get("/alarms/connection/somebody");
    assert!(away.starts_with("HTTP/1.1 200 "), "{away}");
    assert!(away.contains("text/event-stream") && away.contains("no-store"), "{away}");
    assert!(away.split("\r\n\r\n").nth(1).unwrap().starts_with("retry: ") && away.ends_with("\n\n"), "{away}");
    assert!(proxy.get("/alarms/healthz").starts_with("HTTP/1.1 50"), "an error is an error to everything else");
    write(directory, "INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'missed')");
    let second = hub(directory, address, &["--db", "alarms.db"]);
    clients.iter_mut().for_each(|client| client.wait_for("alarm", Some("2")));
    drop(clients);
    drop(second);
}

#[test]
fn clients_come_back_alone_behind_the_nginx_that_is_shipped_when_the_hub_restarts() {
    let (directory, address) = (TempDir::new().unwrap(), free());
    let Some(proxy) = Proxy::nginx(&shipped("nginx.conf", &address, ["listen 80;", "listen LISTEN;"])) else { return };
    lives_through_a_restart("nginx", &proxy, directory.path(), &address);
}

#[test]
fn clients_come_back_alone_behind_the_haproxy_that_is_shipped_when_the_hub_restarts() {
    let (directory, address) = (TempDir::new().unwrap(), free());
    let Some(proxy) = Proxy::haproxy(&shipped("haproxy.cfg", &address, ["bind :80", "bind LISTEN"])) else { return };
    lives_through_a_restart("haproxy", &proxy, directory.path(), &address);
}

#[test]
fn clients_come_back_alone_behind_the_caddy_that_is_shipped_when_the_hub_restarts() {
    let (directory, address) = (TempDir::new().unwrap(), free());
    let listen = ["alarms.example {", "http://LISTEN {"];
    let Some(proxy) = Proxy::caddy(&shipped("Caddyfile", &address, listen)) else { return };
    lives_through_a_restart("caddy", &proxy, directory.path(), &address);
}

fn stream(proxy: &Proxy, user: &str) -> Stream {
    let request = format!("GET /alarms/connection/{user} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address);
    let mut stream = Stream::request(&proxy.address, &request);
    assert_eq!(stream.event().0, "hello");
    stream
}

#[test]
fn a_proxy_with_its_defaults_passes_events_on_at_once_and_the_heartbeat_outlives_its_time_out() {
    let directory = TempDir::new().unwrap();
    let silent = hub(directory.path(), "127.0.0.1:0", &["--heartbeat", "10m"]);
    let beating = hub(directory.path(), "127.0.0.1:0", &["--heartbeat", "500ms", "--db", "alarms.db"]);
    let nginx = |hub: &Hub| {
        let location = format!("proxy_pass http://{}; proxy_read_timeout 3s;", hub.address);
        Proxy::nginx(&format!("server {{ listen LISTEN; location / {{ {location} }} }}"))
    };
    let haproxy = |hub: &Hub| {
        let times = "timeout connect 3s\ntimeout client 3s\ntimeout server 3s";
        Proxy::haproxy(&format!("listen hub\nmode http\n{times}\nbind LISTEN\nserver hub {}\n", hub.address))
    };
    // Left alone, Caddy waits for ever.
    let caddy = |hub: &Hub| {
        let upstream = format!("reverse_proxy {} {{\ntransport http {{\nread_timeout 3s\n}}\n}}", hub.address);
        Proxy::caddy(&format!("http://LISTEN {{\n{upstream}\n}}\n"))
    };
    let proxies =
        [(nginx(&silent), nginx(&beating)), (haproxy(&silent), haproxy(&beating)), (caddy(&silent), caddy(&beating))];
    for (proxy, beats) in proxies {
        let (Some(proxy), Some(beats)) = (proxy, beats) else { continue };
        let (mut quiet, mut kept) = (stream(&proxy, "quiet"), stream(&beats, "kept"));
        let insert = format!("INSERT INTO alarm (id, lang, message) VALUES ('{}', 'ko', 'x')", proxy.address);
        write(directory.path(), &insert);
        assert_eq!(quiet.event().0, "alarm", "without waiting for more to fill a buffer with");
        assert_eq!((0..12).filter(|_| kept.any_event().0 == "ping").count(), 11, "all but the alarm");
        let mut rest = String::new();
        let _ = quiet.lines.read_to_string(&mut rest); // how it ends is the proxy's business
        assert!(!rest.contains("event:"), "the time-out is there: {rest}");
    }
}
