//! `demo`: the hub at work, with made-up alarms in a database that is deleted at the end.

use std::{
    net::TcpListener,
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use actors::alarm::NewAlarm;
use clap::Args;

use super::{Failure, print, send, serve, tell};
use crate::{
    Hub,
    config::{Config, Flags, Sources, value},
    log,
    store::{self, Make, Options},
};

/// What `demo` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where to listen; a loopback address [default: 127.0.0.1:5000, or any free port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// How often an alarm comes (10ms to 1h)
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = pace)]
    every: Duration,
}

fn pace(text: &str) -> Result<Duration, String> {
    value::duration(text, Duration::from_millis(10)..=Duration::from_secs(3_600))
}

/// The same thing in ko, en-US and ja.
const ALARMS: [[&str; 3]; 8] = [
    ["예약에 성공했습니다!", "Your reservation is made.", "予約に成功しました。"],
    ["3번 펌프의 압력이 너무 높습니다.", "The pressure of pump 3 is too high.", "ポンプ3の圧力が高すぎます。"],
    ["새 메시지가 도착했습니다.", "A new message has arrived.", "新しいメッセージが届きました。"],
    ["서버실 온도가 28도입니다.", "The server room is at 28 degrees.", "サーバー室の温度は28度です。"],
    ["백업이 끝났습니다.", "The backup is complete.", "バックアップが完了しました。"],
    ["정문이 열려 있습니다.", "The main gate is open.", "正門が開いています。"],
    ["회의가 10분 뒤에 시작합니다.", "The meeting starts in ten minutes.", "会議は10分後に始まります。"],
    ["디스크 공간이 부족합니다.", "Disk space is running low.", "ディスクの空き容量が不足しています。"],
];

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("alarm-hub-demo-").tempdir();
    let folder = folder.map_err(|cause| Failure::Failed(format!("no temporary folder can be made: {cause}")))?;
    // Settings of a real hub, from the environment or a file, have no part in this.
    let listen = arguments.listen.unwrap_or_else(|| free("127.0.0.1:5000"));
    let settings = [("listen", listen), ("log", "warn".to_owned())];
    let config = Config::from_sources(&Sources::new(Flags::new(settings, None), [], None)?)?;
    let config = Config { db: folder.path().join("alarms.db"), create: true, ..config };
    let log = log::Log::begin(&config)?;
    let mut signals = serve::Signals::new().map_err(|cause| Failure::Failed(cause.to_string()))?;
    let hub = Hub::start(config.clone(), log.lost()).await?;
    for address in hub.addresses() {
        let page = serve::page(&config, *address);
        print(&format!("open {page}&lang=ko, and switch to en-US or ja there"))?;
        print(&format!(
            "or   alarm-hub tail --user tiaz --lang ja --url http://{address}   (it takes the page's place)"
        ))?;
    }
    tell("an alarm comes every few seconds; Ctrl+C ends the demonstration and deletes its database");
    let options = Options {
        path: config.db.clone(),
        make: Make::Nothing,
        aliases: config.aliases.clone(),
        retention: config.retention,
    };
    let writer = Writer::start(options, arguments.every)?;
    signals.next().await;
    let written = tokio::task::spawn_blocking(|| writer.stop());
    tokio::select! {
        _ = hub.drain() => {} // whoever looks at a demonstration sees its end
        () = signals.next() => {}
    }
    let written = written.await.unwrap_or_else(|_| Err("the thread that makes alarms panicked".to_owned()));
    // The database first: the actors still look at it, and without it make nothing beside it.
    let removed = std::fs::remove_file(&config.db).and_then(|()| folder.close());
    removed.map_err(|cause| Failure::Failed(format!("the temporary folder stays behind: {cause}")))?;
    written.map_err(Failure::Failed)
}

/// `address`, or a free port beside it if somebody listens there already.
fn free(address: &str) -> String {
    match TcpListener::bind(address) {
        Ok(_) => address.to_owned(),
        Err(_) => "127.0.0.1:0".to_owned(),
    }
}

/// The program that writes alarms: a thread that blocks on the database, as any other program would.
struct Writer {
    end: SyncSender<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl Writer {
    fn start(options: Options, every: Duration) -> Result<Self, Failure> {
        let (end, ended) = sync_channel(1);
        let write = move || {
            for number in 1_usize.. {
                let texts = ALARMS[(number - 1) % ALARMS.len()];
                let messages = ["ko", "en-US", "ja"].into_iter().zip(texts);
                let alarm = NewAlarm {
                    id: format!("demo-{number}"),
                    user: None,
                    isn_dt: None,
                    messages: messages.map(|(lang, text)| (lang.to_owned(), text.to_owned())).collect(),
                };
                store::send::send(options.clone(), &alarm).map_err(send::refused)?;
                if ended.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("demo-writer".to_owned()).spawn(write);
        Ok(Self { end, thread: thread.map_err(|cause| Failure::Failed(cause.to_string()))? })
    }

    /// Waits until the thread has ended; what went wrong in it.
    fn stop(self) -> Result<(), String> {
        drop(self.end);
        self.thread.join().unwrap_or_else(|_| Err("the thread that makes alarms panicked".to_owned()))
    }
}
