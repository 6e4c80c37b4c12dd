//! The ways to Redis: over TLS, with a password, through Sentinel.

use std::fs;

use super::*;

const SECRET: &str = "correct horse battery staple";

/// An authority, and a certificate for 127.0.0.1 that it signed.
fn certificates(directory: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let authority = ["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"];
    let signed =
        ["-subj", "/CN=redis", "-keyout", "redis.key", "-out", "redis.pem", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"];
    for rest in [&authority[..], &[&signed[..], &leaf].concat()] {
        let mut make = Command::new("openssl");
        make.args(["req", "-x509"]).args(key).args(rest).current_dir(directory).stderr(Stdio::null());
        assert!(make.status().expect("openssl is there").success());
    }
}

/// What `/readyz` says is wrong with Redis.
fn complaint(hub: &Hub) -> String {
    let (head, body) = get(&hub.address, "/readyz");
    assert!(head.contains(" 200 "), "{head}");
    let body: Value = serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap();
    body["checks"]["redis"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn hubs_meet_over_tls_with_a_password_and_say_why_they_cannot() {
    let directory = TempDir::new().unwrap();
    certificates(directory.path());
    fs::write(directory.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let port = free_port();
    let (key, certificate, authority) = (file("redis.key"), file("redis.pem"), file("ca.pem"));
    let mut tls = vec!["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no", "--tls-key-file", &key];
    tls.extend(["--tls-cert-file", &certificate, "--tls-ca-cert-file", &authority, "--requirepass", SECRET]);
    let redis = Redis::with(port.parse().unwrap(), &tls);
    let url = format!("rediss://127.0.0.1:{}", redis.port);
    let hub = |arguments: &[&str]| {
        let folder = TempDir::new_in(directory.path()).unwrap().keep();
        Hub::start(&folder, &[&["--redis", &url, "--settle", "0s"], arguments].concat())
    };
    let (password, ca) = (["--redis-password-file", "../secret"], ["--redis-ca-file", "../ca.pem"]);
    write(directory.path(), "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, PRIMARY KEY (id, lang))");
    let origin = Hub::start(
        directory.path(),
        &["--redis", &url, "--db", "alarms.db", "--redis-password-file", "secret", "--redis-ca-file", "ca.pem"],
    );
    is_well(&origin);
    let [a, b] = [(); 2].map(|()| hub(&[password, ca].concat()));
    is_well(&a);
    is_well(&b);
    let mut older = open(&a, "tiaz");
    let mut newer = open(&b, "tiaz");
    is_superseded(&mut older);
    write(directory.path(), "INSERT INTO alarm VALUES ('1', 'ko', 'x')");
    assert_eq!(event(&mut newer).1["id"], "1");

    let stranger = hub(&password);
    eventually("a certificate of an unknown authority is refused", || complaint(&stranger).contains("certificate"));
    let nobody = hub(&ca);
    eventually("Redis wants a password", || complaint(&nobody).to_lowercase().contains("auth"));
    fs::write(directory.path().join("wrong"), "wrong").unwrap();
    let wrong = hub(&[&ca[..], &["--redis-password-file", "../wrong"]].concat());
    eventually("the password is wrong", || complaint(&wrong).contains("assword"));
}

/// A primary, its replica, and one Sentinel that decides alone.
struct Watched {
    sentinel: Redis,
    primary: Redis,
    _replica: Redis,
}

impl Watched {
    fn start() -> Self {
        let secret = ["--requirepass", SECRET, "--masterauth", SECRET, "--repl-diskless-sync-delay", "0"];
        let port = free_port();
        let primary = Redis::with(port.parse().unwrap(), &[&["--port", &port][..], &secret].concat());
        let own = free_port();
        let follow = ["--port", &own, "--replicaof", "127.0.0.1", &port];
        let replica = Redis::with(own.parse().unwrap(), &[&follow[..], &secret].concat());
        let at = free_port();
        let directory = TempDir::new().unwrap();
        let settings = directory.path().join("sentinel.conf");
        let text = format!(
            "port {at}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 1\nsentinel auth-pass main \"{SECRET}\"\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
        );
        fs::write(&settings, text).unwrap();
        let arguments = [settings.to_str().unwrap(), "--sentinel"].map(str::to_owned).to_vec();
        let sentinel = Redis::run(at.parse().unwrap(), directory, arguments);
        eventually("Sentinel knows the replica, and it has all", || {
            sentinel.ask(&["sentinel", "replicas", "main"]).contains("master-link-status\nok")
        });
        Self { sentinel, primary, _replica: replica }
    }

    fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel.port)
    }
}

#[test]
fn hubs_follow_sentinel_to_the_replica_when_the_primary_is_killed() {
    let mut watched = Watched::start();
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("secret"), SECRET).unwrap();
    write(directory.path(), "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, PRIMARY KEY (id, lang))");
    let url = watched.url();
    let all = ["--redis", &url, "--redis-password-file", "secret", "--settle", "0s"];
    let origin = Hub::start(directory.path(), &[&all[..], &["--db", "alarms.db"]].concat());
    is_well(&origin);
    let edge = Hub::start(directory.path(), &all);
    is_well(&edge);
    let mut older = open(&origin, "tiaz");
    let mut other = open(&edge, "other");
    write(directory.path(), "INSERT INTO alarm VALUES ('1', 'ko', 'x')");
    for stream in [&mut older, &mut other] {
        assert_eq!(event(stream).1["id"], "1");
    }
    watched.primary.kill();
    let mut newer = open(&edge, "tiaz");
    write(directory.path(), "INSERT INTO alarm VALUES ('2', 'ko', 'x')");
    assert_eq!(event(&mut older).1["id"], "2", "it is not withheld");
    is_superseded(&mut older);
    is_well(&origin);
    is_well(&edge);
    write(directory.path(), "INSERT INTO alarm VALUES ('3', 'ko', 'x')");
    for id in ["2", "3"] {
        assert_eq!(event(&mut other).1["id"], id, "each once, in order");
        assert_eq!(event(&mut newer).1["id"], id);
    }
}
