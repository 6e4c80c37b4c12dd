//! `openapi.yaml` against what the hub really answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Hub,
    ask::{Answer, bearer, guarded},
    write,
};

/// The description, as the hub itself serves it.
struct Described(Value);

impl Described {
    fn by(hub: &Hub) -> Self {
        let answer = hub.get("/openapi.yaml", "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/yaml")), "{answer:?}");
        Self(serde_saphyr::from_str(answer.text()).expect("it is YAML"))
    }

    /// All operations: method in capitals and path.
    fn operations(&self) -> BTreeSet<(String, String)> {
        let methods = ["get", "put", "post", "delete"];
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths
            .flat_map(|(path, item)| {
                let here = methods.iter().filter(|method| item.get(**method).is_some());
                here.map(|method| (method.to_ascii_uppercase(), path.clone()))
            })
            .collect()
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(to) => self.0.pointer(&to[1..]).unwrap_or_else(|| panic!("{to} leads nowhere")),
            None => value,
        }
    }

    fn validate(&self, schema: &Value, value: &Value) {
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).expect("a JSON schema");
        let wrong: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {value}");
    }

    /// Makes sure that an answer is one of those that are described for a method of a path.
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let responses = &self.0["paths"][path][method.to_ascii_lowercase()]["responses"];
        let status = answer.status.to_string();
        let response = responses.get(&status).unwrap_or(&responses["default"]);
        let response = self.resolved(response);
        assert!(response.is_object(), "{method} {path}: {answer:?} is not described");
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let value = answer.header(&name.to_ascii_lowercase());
            assert!(header["required"] != true || value.is_some(), "{method} {path}: no {name} in {answer:?}");
            if let Some(wanted) = header["schema"].get("const") {
                assert_eq!(value, wanted.as_str(), "{method} {path}: {name}");
            }
        }
        let Some(contents) = response.get("content") else {
            assert!(answer.body.is_empty(), "{method} {path}: a body that is not described: {answer:?}");
            return;
        };
        let kind = answer.header("content-type").unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
        let kind = kind.split(';').next().unwrap_or_default();
        let content = contents.get(kind).unwrap_or_else(|| panic!("{method} {path}: {kind} is not described"));
        if kind.ends_with("json") {
            self.validate(&content["schema"], &answer.json());
        }
    }

    fn event(&self, name: &str, data: &Value) {
        let schema = match name {
            "hello" => "Hello",
            "alarm" | "updated" => "Alarm",
            "cleared" => "Cleared",
            "acknowledged" => "Acknowledged",
            "bye" => "Bye",
            other => panic!("{other} has no schema"),
        };
        self.validate(&json!({"$ref": format!("#/components/schemas/{schema}")}), data);
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn every_operation_answers_as_it_is_described() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let described = Described::by(&hub);
    let all = format!("{JSON}Accept: text/event-stream\r\n{}", bearer("tiaz", "publish sessions metrics"));
    let mut tiaz = hub.connect("tiaz?lang=ko", &all);
    let mut next = |wanted: &str| {
        let (event, data) = tiaz.event();
        assert_eq!(event, wanted, "{data}");
        described.event(&event, &data);
        data
    };
    next("hello");
    let alarm = json!({"id": "1", "isn_dt": null, "messages": {"ko": "하나", "en_US": "one"}});
    let other = json!({"id": "1", "messages": {"ko": "둘"}});
    let wrong = json!({"messages": {}});
    let large = json!({"messages": {"ko": "x".repeat(1 << 20)}});
    let replaced = json!({"messages": {"ko": "새로", "en": "anew"}});
    let page = hub.get("/", "");
    let etag = format!("If-None-Match: {}\r\n", page.header("etag").unwrap());
    let (sound, nobody, stranger) = (&*all, JSON, format!("{JSON}{}", bearer("other", "")));
    let kick = format!("{JSON}{}", bearer("operator", "sessions"));
    let cases: Vec<(&str, &str, &str, &str, &Value, u16)> = vec![
        ("POST", "/alarms", "/alarms", sound, &alarm, 201),
        ("POST", "/alarms", "/alarms", sound, &alarm, 200),
        ("POST", "/alarms", "/alarms", sound, &other, 409),
        ("POST", "/alarms", "/alarms", sound, &wrong, 400),
        ("POST", "/alarms", "/alarms", sound, &large, 413),
        ("POST", "/alarms", "/alarms", &sound[JSON.len()..], &alarm, 415),
        ("POST", "/alarms", "/alarms", nobody, &alarm, 401),
        ("POST", "/alarms", "/alarms", &stranger, &alarm, 403),
        ("PUT", "/alarms/{id}", "/alarms/1", sound, &replaced, 200),
        ("PUT", "/alarms/{id}", "/alarms/1", sound, &wrong, 400),
        ("PUT", "/alarms/{id}", "/alarms/1", &stranger, &replaced, 403),
        ("GET", "/users/{user}/alarms", "/users/tiaz/alarms", sound, &Value::Null, 200),
        ("GET", "/users/{user}/alarms", "/users/tiaz/alarms?limit=0", sound, &Value::Null, 400),
        ("GET", "/users/{user}/alarms", "/users/%00/alarms", sound, &Value::Null, 400),
        ("GET", "/users/{user}/alarms", "/users/tiaz/alarms", nobody, &Value::Null, 401),
        ("GET", "/users/{user}/alarms", "/users/tiaz/alarms", &stranger, &Value::Null, 403),
        ("PUT", "/users/{user}/alarms/{id}/ack", "/users/tiaz/alarms/1/ack", sound, &Value::Null, 204),
        ("DELETE", "/users/{user}/alarms/{id}/ack", "/users/tiaz/alarms/1/ack", sound, &Value::Null, 204),
        ("DELETE", "/users/{user}/alarms/{id}/ack", "/users/tiaz/alarms/none/ack", sound, &Value::Null, 404),
        ("POST", "/users/{user}/ticket", "/users/tiaz/ticket", sound, &Value::Null, 200),
        ("POST", "/users/{user}/ticket", "/users/tiaz/ticket", &stranger, &Value::Null, 403),
        ("DELETE", "/alarms/{id}", "/alarms/1", sound, &Value::Null, 204),
        ("DELETE", "/alarms/{id}", "/alarms/1", sound, &Value::Null, 404),
        ("GET", "/sessions", "/sessions", sound, &Value::Null, 200),
        ("GET", "/sessions", "/sessions", &stranger, &Value::Null, 403),
        ("GET", "/sessions/{user}", "/sessions/tiaz", sound, &Value::Null, 200),
        ("GET", "/sessions/{user}", "/sessions/nobody", sound, &Value::Null, 404),
        ("GET", "/connection/{user}", "/connection/tiaz", "Accept: text/html\r\n", &Value::Null, 401),
        ("GET", "/connection/{user}", "/connection/tiaz", &stranger, &Value::Null, 403),
        ("GET", "/connection/{user}", "/connection/%2e%2e", sound, &Value::Null, 400),
        ("DELETE", "/sessions/{user}", "/sessions/tiaz", &kick, &Value::Null, 204),
        ("DELETE", "/sessions/{user}", "/sessions/tiaz", &kick, &Value::Null, 404),
        ("GET", "/connection/{user}", "/connection/tiaz", sound, &Value::Null, 200),
        ("GET", "/metrics", "/metrics", sound, &Value::Null, 200),
        ("GET", "/metrics", "/metrics", nobody, &Value::Null, 401),
        ("GET", "/healthz", "/healthz", "", &Value::Null, 200),
        ("GET", "/readyz", "/readyz", "", &Value::Null, 200),
        ("GET", "/openapi.yaml", "/openapi.yaml", "", &Value::Null, 200),
        ("GET", "/problems", "/problems", "", &Value::Null, 200),
        ("GET", "/problems/{slug}", "/problems/conflict", "", &Value::Null, 200),
        ("GET", "/problems/{slug}", "/problems/none", "", &Value::Null, 404),
        ("GET", "/", "/?user=tiaz&lang=ja", "", &Value::Null, 200),
        ("GET", "/", "/", &etag, &Value::Null, 304),
        ("GET", "/operator", "/operator", "", &Value::Null, 200),
        ("GET", "/assets/{file}", "/assets/alarm-hub.js", "", &Value::Null, 200),
        ("GET", "/assets/{file}", "/assets/none.js", "", &Value::Null, 404),
    ];
    let mut driven = BTreeSet::new();
    for (method, path, address, headers, body, status) in cases {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = hub.ask(method, address, headers, body.as_bytes());
        assert_eq!(answer.status, status, "{method} {address}: {answer:?}");
        described.check(method, path, &answer);
        driven.insert((method.to_owned(), path.to_owned()));
        let options = hub.ask("OPTIONS", address, "", b"");
        if options.status == 204 {
            let told: BTreeSet<&str> = options.header("allow").unwrap().split(", ").collect();
            let described = described.operations();
            let described = described.iter().filter(|(_, other)| other == path).map(|(method, _)| &**method);
            let wanted: BTreeSet<&str> = described
                .flat_map(|method| [method, if method == "GET" { "HEAD" } else { "OPTIONS" }])
                .chain(["OPTIONS"])
                .collect();
            assert_eq!(told, wanted, "{path}: its methods are described");
        }
    }
    assert_eq!(driven, described.operations(), "every operation was driven");
    for wanted in ["alarm", "updated", "acknowledged", "acknowledged", "cleared", "bye"] {
        next(wanted);
    }
}

#[test]
fn what_a_table_or_a_database_cannot_do_is_described_too() {
    let directory = TempDir::new().unwrap();
    write(
        directory.path(),
        "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang))",
    );
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let described = Described::by(&hub);
    let answer = hub.post("/alarms", "", &json!({"user_id": "tiaz", "messages": {"ko": "a"}}));
    assert_eq!(answer.status, 422, "{answer:?}");
    described.check("POST", "/alarms", &answer);
    let _live = hub.live("tiaz", "");
    let implicit = hub.get("/connection/tiaz", "");
    assert_eq!(implicit.status, 406, "{implicit:?}");
    described.check("GET", "/connection/{user}", &implicit);
    let gone = hub.get("/healthz", "Host: evil.example\r\n");
    assert_eq!(gone.status, 421, "{gone:?}");
    described.check("GET", "/healthz", &gone);
}
