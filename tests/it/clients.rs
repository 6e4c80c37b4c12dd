//! One day of a hub, as client libraries see it that others wrote: each must tell the same list.

use std::{
    fs,
    path::Path,
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use serde_json::json;

use super::*;

/// The libraries, by the program that drives them.
const LIBRARIES: [(&str, &[&str]); 2] = [
    ("client.py", &["httpx_sse", "sseclient", "aiohttp"]),
    ("client.mjs", &["eventsource", "eventsource-client", "fetch-event-source"]),
];

/// What must not end a line, a field or a block, and no page may take for markup.
const NASTY: &str = "1\n2\r3\r\n4\n\nevent: x\ndata: y\u{2028}\u{202e}<img src=x onerror=alert(1)>\u{0}\"\\가";

pub struct Client {
    library: &'static str,
    process: Child,
    told: Receiver<Value>,
    seen: Vec<(String, Value)>,
}

impl Client {
    pub fn start(program: &str, library: &'static str, url: &str) -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = project.join("tests/clients").join(program);
        let venv = project.join(".venv/bin/python");
        let (interpreter, installed) = if program.ends_with(".py") {
            (venv.clone(), venv)
        } else {
            ("node".into(), script.with_file_name("node_modules"))
        };
        assert!(installed.exists(), "{} is not there: `make setup` installs it", installed.display());
        let mut process = Command::new(interpreter)
            .arg(script)
            .args([library, url])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the client starts");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (tell, told) = sync_channel(1_000);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("a client prints JSON");
                if tell.send(event).is_err() {
                    return; // the test has ended
                }
            }
        });
        Self { library, process, told, seen: Vec::new() }
    }

    /// Reads on until this event came, and keeps what it reads.
    pub fn wait_for(&mut self, event: &str, id: Option<&str>) {
        loop {
            let told = self.told.recv_timeout(Duration::from_secs(60));
            let told = told.unwrap_or_else(|cause| panic!("{} was not told {event} {id:?}: {cause}", self.library));
            let data: Value = serde_json::from_str(told["data"].as_str().unwrap()).expect("data is JSON");
            let name = told["event"].as_str().unwrap().to_owned();
            assert!(!told["id"].as_str().unwrap().is_empty(), "{}: {name} has an id", self.library);
            let found = name == event && id.is_none_or(|id| data["id"] == id);
            if name != "hello" && name != "ping" {
                self.seen.push((name, data));
            }
            if found {
                return;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait(); // as above
    }
}

#[test]
fn every_client_library_tells_the_same_day_over_a_kill_of_the_hub() {
    let directory = TempDir::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let hub = Hub::start(directory.path(), &["--listen", &listen]);
    let mut clients: Vec<Client> = LIBRARIES
        .iter()
        .flat_map(|(program, libraries)| libraries.iter().map(move |library| (program, library)))
        .map(|(program, library)| {
            let url = format!("http://{listen}/connection/{library}?lang=ja");
            Client::start(program, library, &url)
        })
        .collect();
    for client in &mut clients {
        client.wait_for("hello", None);
    }

    write(directory.path(), THREE);
    fs::write(directory.path().join("nasty.txt"), NASTY).unwrap();
    write_python(
        directory.path(),
        "message = open('nasty.txt', newline='').read()\n\
         c.execute(\"INSERT INTO alarm (id, lang, message, isn_dt) VALUES ('2', 'ja', ?, 'then')\", [message])",
    );
    clients.iter_mut().for_each(|client| client.wait_for("alarm", Some("2")));
    write(directory.path(), "UPDATE alarm SET message = '改' WHERE id = '5b48ff24' AND lang = 'ja'");
    clients.iter_mut().for_each(|client| client.wait_for("updated", Some("5b48ff24")));
    write(directory.path(), "DELETE FROM alarm WHERE id = '2'");
    clients.iter_mut().for_each(|client| client.wait_for("cleared", Some("2")));

    drop(hub); // kill -9
    write(directory.path(), "INSERT INTO alarm (id, lang, message, isn_dt) VALUES ('3', 'ja', '三', NULL)");
    let hub = Hub::start(directory.path(), &["--listen", &listen, "--db", "alarms.db"]);
    clients.iter_mut().for_each(|client| client.wait_for("alarm", Some("3")));
    write(directory.path(), "INSERT INTO alarm (id, lang, message, isn_dt) VALUES ('end', 'ja', '終', NULL)");
    clients.iter_mut().for_each(|client| client.wait_for("alarm", Some("end")));
    drop(hub);

    let alarm = |id: &str, lang: &str, message: &str, isn_dt: Option<&str>| json!({"message": message, "id": id, "lang": lang, "isn_dt": isn_dt, "fallback": false});
    let then = Some("2023-12-01 11:10:04");
    let day = [
        ("alarm", alarm("5b48ff24", "ja", "予約に成功しました", then)),
        ("alarm", alarm("2", "ja", NASTY, Some("then"))),
        ("updated", alarm("5b48ff24", "ja", "改", then)),
        ("cleared", json!({"id": "2"})),
        ("alarm", alarm("3", "ja", "三", None)),
        ("alarm", alarm("end", "ja", "終", None)),
    ];
    for client in &clients {
        let seen: Vec<(&str, Value)> = client.seen.iter().map(|(name, data)| (&**name, data.clone())).collect();
        assert_eq!(seen, day, "{}", client.library);
    }
}
